//! `[identities.NAME]`, and `[defaults]` for all of them.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::config::schema::IDENTITY;
use crate::config::sources::built_in_chain;
use crate::config::table::{ConfigErrors, TableEntry, TableSection};
use crate::config::{sources, value};
use crate::model::identity_name::IdentityName;
use crate::source::spec::SourceSpec;
use crate::source::spec::{LongLivedKeys, OnFailure};

/// How long credentials without an end are served before they are read again.
const LONG_LIVED: Duration = Duration::from_secs(3600);

/// Below a minute every client would ask anew all the time; above 12 hours no SDK is used to.
const LONG_LIVED_ALLOWED: RangeInclusive<Duration> = Duration::from_secs(60)..=Duration::from_secs(12 * 3600);

/// How long a session lasts that long-lived keys are exchanged for (the default of GetSessionToken).
const SESSION: Duration = Duration::from_secs(12 * 3600);

/// What GetSessionToken takes.
const SESSION_ALLOWED: RangeInclusive<Duration> = Duration::from_secs(900)..=Duration::from_secs(36 * 3600);

/// The deadline of a load.
const LOAD_TIMEOUT: Duration = Duration::from_secs(10);

const LOAD_TIMEOUT_ALLOWED: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(300);

/// A name under which one set of credentials is served. Comparing two says whether a reload changed anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    /// What clients ask for.
    pub(crate) name: IdentityName,
    /// Its chain, in order of precedence; never empty.
    pub(crate) sources: Vec<SourceSpec>,
    /// What a failing source means.
    pub(crate) on_failure: OnFailure,
    /// Whether it is loaded at the start.
    pub(crate) eager: bool,
    /// Whether it is a profile that is served once somebody asks, and not configured itself.
    pub(crate) is_profile: bool,
    /// What becomes of long-lived keys.
    pub(crate) long_lived_keys: LongLivedKeys,
    /// How long credentials without an end are served before they are read again.
    pub(crate) long_lived_expiration: Duration,
    /// The deadline of a load.
    pub(crate) load_timeout: Duration,
}

impl Identity {
    /// Whether `AWS_PROFILE` or `AWS_DEFAULT_PROFILE` says what one of its sources is.
    #[must_use]
    pub(crate) fn asks_for_the_environments_profile(&self) -> bool {
        self.sources.iter().any(SourceSpec::is_of_the_environments_profile)
    }
}

/// One `[identities.NAME]`.
pub(crate) fn read(
    name: &str,
    at: usize,
    entry: TableEntry<'_>,
    defaults: IdentityDefaults,
    errors: &mut ConfigErrors,
) -> Option<Identity> {
    let path = entry.path.clone();
    let name = value::identity(name).unwrap_or_else(|why| {
        errors.push(at, &path, why);
        IdentityName::default()
    });
    let before = errors.count();
    let mut section = TableSection::open(entry, &IDENTITY, errors)?;
    let sources = match section.take("sources") {
        Some(entry) => sources::read(entry, &name.to_string(), errors),
        None if name.as_str() == IdentityName::DEFAULT => built_in_chain(),
        None => {
            // A misspelt key or a broken line may be the one that is missing.
            if !errors.is_mended && errors.count() == before {
                errors.push(at, &path, "sources is missing: list where the credentials of this identity come from");
            }
            Vec::new()
        }
    };
    Some(IdentityDefaults::read(section, errors).or(defaults).identity(name, sources))
}

/// The words for [`LongLivedKeys`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LongLivedKeysSetting {
    Direct,
    Session,
}

/// What an identity may say beside its sources, and `[defaults]` for all of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct IdentityDefaults {
    on_failure: Option<OnFailure>,
    eager: Option<bool>,
    long_lived_keys: Option<LongLivedKeysSetting>,
    session_duration: Option<Duration>,
    long_lived_expiration: Option<Duration>,
    load_timeout: Option<Duration>,
}

impl IdentityDefaults {
    pub(crate) fn read(mut section: TableSection<'_>, errors: &mut ConfigErrors) -> Self {
        let words = [("stop", OnFailure::Stop), ("next", OnFailure::Next)];
        let on_failure = section.take("on_failure").and_then(|entry| entry.word(errors, &words));
        let eager = section.take("eager").and_then(|entry| entry.boolean(errors));
        let words = [("direct", LongLivedKeysSetting::Direct), ("session", LongLivedKeysSetting::Session)];
        let long_lived_keys = section.take("long_lived_keys").and_then(|entry| entry.word(errors, &words));
        let mut duration =
            |key, allowed| section.take(key).and_then(|entry| entry.read(errors, value::duration(allowed)));
        let long_lived_expiration = duration("long_lived_expiration", &LONG_LIVED_ALLOWED);
        let load_timeout = duration("load_timeout", &LOAD_TIMEOUT_ALLOWED);
        let session_duration = duration("session_duration", &SESSION_ALLOWED);
        section.close();
        Self { on_failure, eager, long_lived_keys, session_duration, long_lived_expiration, load_timeout }
    }

    fn or(self, other: Self) -> Self {
        Self {
            on_failure: self.on_failure.or(other.on_failure),
            eager: self.eager.or(other.eager),
            long_lived_keys: self.long_lived_keys.or(other.long_lived_keys),
            session_duration: self.session_duration.or(other.session_duration),
            long_lived_expiration: self.long_lived_expiration.or(other.long_lived_expiration),
            load_timeout: self.load_timeout.or(other.load_timeout),
        }
    }

    pub(crate) fn identity(self, name: IdentityName, sources: Vec<SourceSpec>) -> Identity {
        Identity {
            name,
            sources,
            on_failure: self.on_failure.unwrap_or_default(),
            eager: self.eager.unwrap_or(true),
            is_profile: false,
            long_lived_keys: match self.long_lived_keys {
                Some(LongLivedKeysSetting::Session) => {
                    LongLivedKeys::Session { duration: self.session_duration.unwrap_or(SESSION) }
                }
                Some(LongLivedKeysSetting::Direct) | None => LongLivedKeys::Direct,
            },
            long_lived_expiration: self.long_lived_expiration.unwrap_or(LONG_LIVED),
            load_timeout: self.load_timeout.unwrap_or(LOAD_TIMEOUT),
        }
    }
}
