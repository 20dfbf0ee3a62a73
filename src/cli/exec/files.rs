//! The shared files of the command of `exec`, in which the default profile has no credentials of the user.

use std::path::PathBuf;

use crate::cli::error::CommandError;
use crate::cli::exec::folder::PrivateFolder;
use crate::cli::region_endpoint::RegionEndpoint;
use crate::context::Context;
use crate::shared_config::render::BesideProfiles;
use crate::source::profile::child_files::child_files;
use crate::source::spec::SourceSpec;

#[derive(Debug)]
pub(crate) struct WrittenFiles {
    /// A config file with a default profile that has no credentials.
    pub(crate) config: PathBuf,
    /// A credentials file without a default profile.
    pub(crate) credentials: PathBuf,
    /// An empty file in place of the configuration of boto 2. botocore prefers its keys to the broker.
    pub(crate) boto_config: PathBuf,
    keeps_profiles: bool,
}

impl WrittenFiles {
    /// Writes the files. They keep the settings of the profile of `sources`, and with `keeps_profiles` the other profiles
    /// of the user.
    ///
    /// # Errors
    /// If the user's files cannot be read, a setting in them is not trusted, or a file cannot be written.
    pub(crate) async fn write(
        folder: &PrivateFolder,
        sources: &[SourceSpec],
        region_endpoint: RegionEndpoint<'_>,
        keeps_profiles: bool,
        context: &Context,
    ) -> Result<Self, CommandError> {
        let RegionEndpoint { region, endpoint, .. } = region_endpoint;
        let kept = keeps_profiles.then_some(BesideProfiles { region, endpoint });
        let files = child_files(sources, kept, context).await.map_err(CommandError::new)?;
        let write = |name, text: &str| folder.write(name, text).map_err(CommandError::new);
        Ok(Self {
            config: write("config", &files.config)?,
            credentials: write("credentials", &files.credentials)?,
            boto_config: write("boto", "")?,
            keeps_profiles,
        })
    }

    /// Returns the files of this folder, without writing them.
    #[cfg(test)]
    pub(crate) fn at(folder: &std::path::Path) -> Self {
        let [config, credentials, boto_config] = ["config", "credentials", "boto"].map(|name| folder.join(name));
        Self { config, credentials, boto_config, keeps_profiles: false }
    }

    /// Returns the region and endpoint for the variables of the command. Variables take precedence over all profiles, so
    /// that kept profiles would lose theirs.
    pub(crate) fn for_variables<'a>(&self, region_endpoint: RegionEndpoint<'a>) -> RegionEndpoint<'a> {
        match self.keeps_profiles {
            true => RegionEndpoint { region: None, endpoint: None, ..region_endpoint },
            false => region_endpoint,
        }
    }
}
