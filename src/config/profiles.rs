//! Reads `[profiles]`: profiles of the shared files that are served as identities with their names.

use std::fmt;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use crate::config::identity::{Identity, IdentityDefaults};
use crate::config::table::{ConfigErrors, TableSection};
use crate::config::value;
use crate::model::identity_name::IdentityName;
use crate::model::text::usable;
use crate::source::spec::SourceKind;

/// The default period after which an identity without requests is dropped: twice the default of a role session.
pub(crate) const DEFAULT_IDLE: Duration = Duration::from_secs(2 * 3600);

const IDLE_ALLOWED: RangeInclusive<Duration> = Duration::from_secs(60)..=Duration::from_secs(7 * 24 * 3600);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ServedProfiles {
    /// The patterns. A profile is served if its name matches one of them.
    pub(crate) patterns: Vec<ProfilePattern>,
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

    pub(crate) fn new(patterns: Vec<ProfilePattern>, defaults: IdentityDefaults) -> Self {
        Self { patterns, idle: DEFAULT_IDLE, credentials_file: None, config_file: None, defaults }
    }
}

/// A profile name in which `*` matches any number of characters: `dev`, `team-*`, `*`.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct ProfilePattern(Box<str>);

impl ProfilePattern {
    /// Parses a pattern.
    ///
    /// # Errors
    /// If no profile name can match.
    pub(crate) fn new(text: &str) -> Result<Self, String> {
        Ok(Self(usable("pattern", text).map_err(|error| error.to_string())?.into()))
    }

    /// Returns true if the pattern matches the whole name.
    pub(crate) fn matches(&self, name: &str) -> bool {
        let mut parts = self.0.split('*');
        let first = parts.next().unwrap_or_default();
        let Some(mut rest) = name.strip_prefix(first) else { return false };
        let mut parts: Vec<&str> = parts.collect();
        let Some(last) = parts.pop() else { return rest.is_empty() };
        for part in parts {
            match rest.find(part) {
                Some(at) => rest = &rest[at + part.len()..],
                None => return false,
            }
        }
        rest.ends_with(last)
    }
}

impl fmt::Debug for ProfilePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Reads `[profiles]`. Without `serve` it serves no profile.
pub(crate) fn read(
    mut section: TableSection<'_>,
    defaults: IdentityDefaults,
    errors: &mut ConfigErrors,
) -> Option<ServedProfiles> {
    let entries = section.take("serve").and_then(|entry| entry.list(errors, "pattern"));
    let patterns = entries.into_iter().flatten().filter_map(|entry| entry.read(errors, ProfilePattern::new)).collect();
    let idle = section.take("idle").and_then(|entry| entry.read(errors, value::duration(&IDLE_ALLOWED)));
    let mut file = |key| section.take(key).and_then(|entry| entry.read(errors, value::path));
    let (credentials_file, config_file) = (file("credentials_file"), file("config_file"));
    section.close();
    let served = ServedProfiles { credentials_file, config_file, ..ServedProfiles::new(patterns, defaults) };
    Some(ServedProfiles { idle: idle.unwrap_or(DEFAULT_IDLE), ..served })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn pattern_matches_whole_names() {
        for (pattern, names, others) in [
            ("dev", &["dev"][..], &["", "de", "devx", "xdev"][..]),
            ("team-*", &["team-", "team-a", "team-a/b"], &["team", "ateam-a"]),
            ("*-prod", &["-prod", "a-prod", "-prod-prod"], &["a-prod-x"]),
            ("a*b*c", &["abc", "aXbYc", "abbcc"], &["acb", "ab", "aXc"]),
            ("*", &["", "anything"], &[]),
            ("a*a", &["aa", "aba"], &["a"]),
        ] {
            let pattern = ProfilePattern::new(pattern).unwrap();
            for name in names {
                assert!(pattern.matches(name), "{pattern:?} {name}");
            }
            for other in others {
                assert!(!pattern.matches(other), "{pattern:?} {other}");
            }
        }
        assert!(
            ProfilePattern::new(" ").is_err()
                && ProfilePattern::new("a\n").is_ok()
                && ProfilePattern::new("a\nb").is_err()
        );
    }

    proptest! {
        #[test]
        fn star_matches_any_text(parts in prop::collection::vec("[ab]{0,3}", 1..4), between in "[abc/]{0,4}") {
            let pattern = ProfilePattern(parts.join("*").into());
            prop_assert!(pattern.matches(&parts.join(&between)) || parts.len() == 1);
        }
    }
}
