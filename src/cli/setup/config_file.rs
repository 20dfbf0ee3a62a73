//! The config file of the user, in which new profiles are written.

use std::fmt::Display;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::LazyLock;

use crate::cli::error::CommandError;
use crate::context::Context;
use crate::model::text::Escaped;
use crate::os::files::contents::SHARED;
use crate::os::files::rewrite::rewrite;
use crate::shared_config::edit::{NewProfile, with_profiles};
use crate::shared_config::locate::{NamedPaths, locate};
use crate::shared_config::section::{Property, Section};
use crate::shared_config::{SharedConfig, SharedFile};
use crate::source::profile::files::ProfileFiles;
use crate::source::profile::plan::missing_hint;

/// The config file with its text, and both files as they are read.
pub(crate) struct ConfigFile {
    path: PathBuf,
    bytes: zeroize::Zeroizing<Vec<u8>>,
    profiles: ProfileFiles,
}

impl ConfigFile {
    /// Reads the files. A missing config file is empty, unless a flag names it.
    ///
    /// # Errors
    /// If a file cannot be read or parsed, or no path is known.
    pub(crate) async fn open(context: &Context, named: &NamedPaths) -> Result<Self, CommandError> {
        let environment = &context.environment;
        let named = NamedPaths {
            credentials: named.credentials.as_ref().map(|path| environment.expand(path)),
            config: named.config.as_ref().map(|path| environment.expand(path)),
        };
        let paths = locate(environment.variables(), environment.home(), &named).map_err(CommandError::new)?;
        let path = paths.config.map(|file| file.path);
        let path =
            path.ok_or_else(|| CommandError::new("the home directory is unknown; set HOME, or name --config-file"))?;
        let bytes = match context.files.read_up_to(&path, SHARED).await {
            Ok(contents) => contents.bytes,
            Err(error) if error.is_missing() => Default::default(),
            Err(error) => return Err(CommandError::new(error)),
        };
        let profiles = ProfileFiles::open(context, &named, |_| 0).await.map_err(CommandError::new)?;
        profiles.files().map_err(CommandError::new)?;
        Ok(Self { path, bytes, profiles })
    }

    pub(crate) fn files(&self) -> &SharedConfig {
        // `open` has checked that the files have no errors.
        static NONE: LazyLock<SharedConfig> = LazyLock::new(SharedConfig::default);
        self.profiles.files().unwrap_or(&NONE)
    }

    /// Returns the path for messages.
    pub(crate) fn shown(&self) -> String {
        Escaped(&self.path.to_string_lossy()).to_string()
    }

    /// Returns the hint for a missing profile.
    pub(crate) fn missing_hint(&self, name: &str) -> String {
        missing_hint(self.files(), name)
    }

    pub(crate) fn failed(&self, error: &dyn Display) -> CommandError {
        CommandError::new(format!("{}: {error}", self.shown()))
    }

    /// Checks that the profiles can be written, before a person is asked.
    ///
    /// # Errors
    /// As [`ConfigFile::write`].
    pub(crate) fn check(&self, profiles: &[NewProfile], replaces: bool) -> Result<(), CommandError> {
        for profile in profiles {
            let of_credentials = |property: &&Property| property.file() == SharedFile::Credentials;
            let there = self.files().profile(profile.name());
            if let Some(property) =
                there.into_iter().flat_map(Section::properties).map(|(_, property)| property).find(of_credentials)
            {
                return Err(CommandError::new(format!(
                    "there is a profile {} in the credentials file ({}), which takes precedence; choose another name",
                    Escaped(profile.name()),
                    property.location()
                )));
            }
        }
        with_profiles(&self.bytes, profiles, replaces).map(drop).map_err(|error| self.failed(&error))
    }

    /// Shows the new sections on standard error.
    pub(crate) fn show(&self, profiles: &[NewProfile]) {
        let sections: Vec<String> = profiles.iter().map(NewProfile::section).collect();
        // Ignore errors: the reader may have closed the pipe.
        let _ = writeln!(io::stderr(), "{}:\n\n{}", self.shown(), sections.join("\n"));
    }

    /// Writes the profiles into the file as it is now.
    ///
    /// # Errors
    /// If the file has changed so that they cannot be written, or the file cannot be replaced.
    pub(crate) async fn write(
        &self,
        context: &Context,
        profiles: &[NewProfile],
        replaces: bool,
    ) -> Result<(), CommandError> {
        let (path, trust, profiles) = (self.path.clone(), context.trust.clone(), profiles.to_vec());
        let change = move |bytes: &[u8]| with_profiles(bytes, &profiles, replaces).map_err(|error| error.to_string());
        let written = tokio::task::spawn_blocking(move || rewrite(&path, &trust, change)).await;
        written.map_err(CommandError::new)?.map_err(CommandError::new)
    }
}
