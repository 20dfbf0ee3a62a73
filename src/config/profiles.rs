//! Reads `[profiles]`: profiles of the shared files that are served as identities with their names.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use crate::config::identity::{Identity, IdentityDefaults};
use crate::config::table::{ConfigErrors, TableSection};
use crate::config::value;
use crate::model::identity_name::IdentityName;
use crate::model::name_pattern::NamePattern;
use crate::source::spec::SourceKind;

/// The default period after which an identity without requests is dropped: twice the default of a role session.
pub(crate) const DEFAULT_IDLE: Duration = Duration::from_secs(2 * 3600);

const IDLE_ALLOWED: RangeInclusive<Duration> = Duration::from_secs(60)..=Duration::from_secs(7 * 24 * 3600);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ServedProfiles {
    /// The patterns. A profile is served if its name matches one of them.
    pub(crate) patterns: Vec<NamePattern>,
    /// The period after the last request at which an identity is dropped.
    pub(crate) idle: Duration,
    /// Replaces the user's credentials file.
    pub(crate) credentials_file: Option<PathBuf>,
    /// Replaces the user's config file.
    pub(crate) config_file: Option<PathBuf>,
    defaults: IdentityDefaults,
}

impl ServedProfiles {
    /// Returns true if a profile of this name is served.
    pub(crate) fn matches(&self, profile: &str) -> bool {
        self.patterns.iter().any(|pattern| pattern.matches(profile))
    }

    /// Returns the identity of a profile of this name.
    pub(crate) fn identity(&self, profile: &IdentityName) -> Identity {
        let kind = SourceKind::Profile {
            name: Some(profile.as_str().into()),
            credentials_file: self.credentials_file.clone(),
            config_file: self.config_file.clone(),
        };
        let mut identity = self.defaults.identity(profile.clone(), vec![kind.into()]);
        identity.eager = false;
        identity.is_profile = true;
        identity
    }

    pub(crate) fn new(patterns: Vec<NamePattern>, defaults: IdentityDefaults) -> Self {
        Self { patterns, idle: DEFAULT_IDLE, credentials_file: None, config_file: None, defaults }
    }
}

/// Reads `[profiles]`. Without `serve` it serves no profile.
pub(crate) fn read(
    mut section: TableSection<'_>,
    defaults: IdentityDefaults,
    errors: &mut ConfigErrors,
) -> Option<ServedProfiles> {
    let entries = section.take("serve").and_then(|entry| entry.list(errors, "pattern"));
    let patterns = entries.into_iter().flatten().filter_map(|entry| entry.read(errors, NamePattern::new)).collect();
    let idle = section.take("idle").and_then(|entry| entry.read(errors, value::duration(&IDLE_ALLOWED)));
    let mut file = |key| section.take(key).and_then(|entry| entry.read(errors, value::path));
    let (credentials_file, config_file) = (file("credentials_file"), file("config_file"));
    section.close();
    let served = ServedProfiles { credentials_file, config_file, ..ServedProfiles::new(patterns, defaults) };
    Some(ServedProfiles { idle: idle.unwrap_or(DEFAULT_IDLE), ..served })
}
