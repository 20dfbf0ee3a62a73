//! The names of the served profiles, which change with the shared files.
//!
//! Only names are kept: a thousand profiles cost a thousand names and no loads.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};

use crate::config::profiles::ServedProfiles;
use crate::context::Context;
use crate::model::error::SourceError;
use crate::model::identity_name::IdentityName;
use crate::shared_config::SharedConfig;
use crate::shared_config::locate::NamedPaths;
use crate::source::profile::files::ProfileFiles;

/// A list of the profiles that one configuration serves.
#[derive(Debug)]
pub(crate) struct ServedProfileNames {
    /// A separate context for this list, because a context records which files were read through it.
    context: Context,
    served: ServedProfiles,
}

impl ServedProfileNames {
    pub(crate) fn new(context: &Context, served: ServedProfiles) -> Self {
        Self { context: context.for_refresher(), served }
    }

    /// Returns the names of the served profiles in the present shared files.
    ///
    /// # Errors
    /// If the files cannot be read or parsed.
    pub(crate) async fn list(&self) -> Result<BTreeSet<IdentityName>, SourceError> {
        self.context.files.forget();
        let environment = &self.context.environment;
        let named = NamedPaths {
            credentials: self.served.credentials_file.as_ref().map(|path| environment.expand(path)),
            config: self.served.config_file.as_ref().map(|path| environment.expand(path)),
        };
        let digest = |files: &SharedConfig| {
            let mut hasher = DefaultHasher::new();
            files.profiles().for_each(|name| name.hash(&mut hasher));
            hasher.finish()
        };
        let profiles = ProfileFiles::open(&self.context, &named, digest).await?;
        // Ten thousand names take milliseconds, and requests share this thread.
        let served = self.served.clone();
        let matching = move || {
            let names = profiles.files()?.profiles().filter(|name| served.matches(name));
            Ok(names.map(IdentityName::new).collect())
        };
        match tokio::task::spawn_blocking(matching).await {
            Ok(names) => names,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(_) => std::future::pending().await,
        }
    }

    /// Waits until the names differ from those of the last [`ServedProfileNames::list`], or the files become readable
    /// again.
    pub(crate) async fn changed(&self) {
        self.context.files.changed().await;
    }
}
