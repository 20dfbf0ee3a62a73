//! The names of the profiles that are served, as the shared files change. Names only: a thousand profiles cost a thousand
//! names, not a thousand loads.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};

use crate::config::profiles::ServedProfiles;
use crate::context::Context;
use crate::model::error::SourceError;
use crate::model::identity_name::IdentityName;
use crate::shared_config::SharedConfig;
use crate::shared_config::locate::NamedPaths;
use crate::source::profile::files::ProfileFiles;

/// The profiles that one configuration serves.
#[derive(Debug)]
pub(crate) struct ServedProfileNames {
    /// Of its own: it remembers what this has read.
    context: Context,
    served: ServedProfiles,
}

impl ServedProfileNames {
    /// The profiles that `served` means.
    #[must_use]
    pub(crate) fn new(context: &Context, served: ServedProfiles) -> Self {
        Self { context: context.for_refresher(), served }
    }

    /// Their names now.
    ///
    /// # Errors
    /// When the files cannot be read or parsed.
    pub(crate) async fn names(&self) -> Result<BTreeSet<IdentityName>, SourceError> {
        self.context.files.forget();
        let home = &self.context.environment;
        let named = NamedPaths {
            credentials: self.served.credentials_file.as_ref().map(|path| home.expand(path)),
            config: self.served.config_file.as_ref().map(|path| home.expand(path)),
        };
        let digest = |files: &SharedConfig| {
            let mut hasher = DefaultHasher::new();
            files.profiles().for_each(|name| name.hash(&mut hasher));
            hasher.finish()
        };
        let profiles = ProfileFiles::open(&self.context, &named, digest).await?;
        Ok(profiles.files()?.profiles().filter(|name| self.served.matches(name)).map(IdentityName::new).collect())
    }

    /// Waits until the files have other profiles than [`ServedProfileNames::names`] has seen, or can be read again.
    pub(crate) async fn changed(&self) {
        self.context.files.changed().await;
    }
}
