//! The names of the profiles that are served, as the shared files change. Names only: a thousand profiles cost a thousand
//! names, not a thousand loads.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};

use crate::config::ServedProfiles;
use crate::credentials::Name;
use crate::failure::Failure;
use crate::profiles::Profiles;
use crate::shared_files::{Named, SharedFiles};
use crate::world::World;

/// The profiles that one configuration serves.
#[derive(Debug)]
pub struct Catalogue {
    /// Of its own: it remembers what this has read.
    world: World,
    served: ServedProfiles,
}

impl Catalogue {
    /// The profiles that `served` means.
    #[must_use]
    pub fn new(world: &World, served: ServedProfiles) -> Self {
        Self { world: world.for_keeper(), served }
    }

    /// Their names now.
    ///
    /// # Errors
    /// When the files cannot be read or parsed.
    pub async fn names(&self) -> Result<BTreeSet<Name>, Failure> {
        self.world.files.forget();
        let home = &self.world.environment;
        let named = Named {
            credentials: self.served.credentials_file.as_ref().map(|path| home.expand(path)),
            config: self.served.config_file.as_ref().map(|path| home.expand(path)),
        };
        let digest = |files: &SharedFiles| {
            let mut hasher = DefaultHasher::new();
            files.profiles().for_each(|name| name.hash(&mut hasher));
            hasher.finish()
        };
        let profiles = Profiles::open(&self.world, &named, digest).await?;
        Ok(profiles.files()?.profiles().filter(|name| self.served.matches(name)).map(Name::new).collect())
    }

    /// Waits until the files have other profiles than [`Catalogue::names`] has seen, or can be read again.
    pub async fn changed(&self) {
        self.world.files.changed().await;
    }
}
