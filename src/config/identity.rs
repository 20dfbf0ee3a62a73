//! Reads `[identities.NAME]`, and `[defaults]` for all identities.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::config::schema::IDENTITY;
use crate::config::sources::built_in_chain;
use crate::config::table::{ConfigErrors, TableEntry, TableSection};
use crate::config::{roles, sources, value};
use crate::model::identity_name::IdentityName;
use crate::model::narrowing::Narrowing;
use crate::model::session_name::Placeholder;
use crate::source::spec::{ChainSpec, LongLivedKeys, OnFailure, RoleSpec, SourceSpec};

/// The default period after which credentials without an expiry are loaded again: the default of a role session.
const DEFAULT_LONG_LIVED_EXPIRATION: Duration = Duration::from_secs(3600);

/// The allowed range of this period. Below one minute each client would request credentials all the time; SDKs do not
/// expect more than 12 hours.
const LONG_LIVED_EXPIRATION_ALLOWED: RangeInclusive<Duration> =
    Duration::from_secs(60)..=Duration::from_secs(12 * 3600);

/// The default duration of a session made from long-lived keys: the default of GetSessionToken.
const DEFAULT_SESSION_DURATION: Duration = Duration::from_secs(12 * 3600);

/// The range that GetSessionToken accepts.
const SESSION_DURATION_ALLOWED: RangeInclusive<Duration> = Duration::from_secs(900)..=Duration::from_secs(36 * 3600);

/// The default deadline of a load. It limits the time that a client waits for the first credentials.
const DEFAULT_LOAD_TIMEOUT: Duration = Duration::from_secs(10);

/// The range of the lifetime that clients are told. Below half an hour SDKs would renew all the time: they begin 15
/// minutes ahead.
const MAX_LIFETIME_ALLOWED: RangeInclusive<Duration> = Duration::from_secs(1800)..=Duration::from_secs(36 * 3600);

const LOAD_TIMEOUT_ALLOWED: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(300);

/// A name under which one set of credentials is served. A reload compares the old and the new identity to find changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) name: IdentityName,
    /// The source chain, in order of precedence; never empty.
    pub(crate) sources: Vec<SourceSpec>,
    pub(crate) on_failure: OnFailure,
    /// Loads the credentials at the start, not at the first request.
    pub(crate) eager: bool,
    /// True for a served profile, false for a configured identity.
    pub(crate) is_profile: bool,
    pub(crate) long_lived_keys: LongLivedKeys,
    /// The period after which credentials without an expiry are loaded again.
    pub(crate) long_lived_expiration: Duration,
    pub(crate) load_timeout: Duration,
    /// The longest lifetime that clients are told, whatever the credentials have.
    pub(crate) max_lifetime: Option<Duration>,
    /// The role that is assumed with the credentials of the sources. Its session is what clients get.
    pub(crate) assume: Option<RoleSpec>,
    /// The narrowing of this identity for one client, grant or command.
    pub(crate) narrowing: Option<Narrowing>,
}

impl Identity {
    pub(crate) fn chain(&self) -> ChainSpec<'_> {
        ChainSpec {
            identity: &self.name,
            sources: &self.sources,
            on_failure: self.on_failure,
            long_lived_keys: self.long_lived_keys,
            assume: self.assume.as_ref(),
            narrowing: self.narrowing.as_ref(),
        }
    }

    /// Returns true if a session of this identity names its client or its user, so that clients do not share it.
    pub(crate) fn names(&self, placeholder: Placeholder) -> bool {
        self.chain().names(placeholder)
    }

    /// Returns true if `AWS_PROFILE` or `AWS_DEFAULT_PROFILE` selects the profile of one of the sources.
    pub(crate) fn uses_environment_profile(&self) -> bool {
        self.sources.iter().any(SourceSpec::is_of_the_environments_profile)
    }
}

/// Reads one `[identities.NAME]`.
pub(crate) fn read(
    name: &str,
    at: usize,
    entry: TableEntry<'_>,
    defaults: IdentityDefaults,
    errors: &mut ConfigErrors,
) -> Option<Identity> {
    let path = entry.path.clone();
    let name = value::identity(name).unwrap_or_else(|error| {
        errors.push(at, &path, error);
        IdentityName::default()
    });
    let before = errors.count();
    let mut section = TableSection::open(entry, &IDENTITY, errors)?;
    let (assume, max_lifetime) = (section.take("assume"), section.take("max_lifetime"));
    let max_lifetime = max_lifetime.and_then(|entry| entry.read(errors, value::duration(&MAX_LIFETIME_ALLOWED)));
    let sources = match section.take("sources") {
        Some(entry) => sources::read(entry, &name.to_string(), errors),
        None if name.as_str() == IdentityName::DEFAULT => built_in_chain(),
        None => {
            // Report no missing `sources` if a key is unknown: that key may be a misspelt `sources`.
            if errors.count() == before {
                errors.push(at, &path, "sources is missing; list the sources of this identity's credentials");
            }
            Vec::new()
        }
    };
    let is_chained = sources.iter().any(|source: &SourceSpec| source.kind.is_role_session());
    let assume = assume.and_then(|entry| roles::assume(entry, is_chained, errors));
    Some(Identity {
        assume,
        max_lifetime,
        ..IdentityDefaults::read(section, errors).or(defaults).identity(name, sources)
    })
}

/// The accepted words of the key `long_lived_keys`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LongLivedKeysSetting {
    Direct,
    Session,
}

/// The optional settings of an identity, and of `[defaults]` for all identities.
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
        let long_lived_expiration = duration("long_lived_expiration", &LONG_LIVED_EXPIRATION_ALLOWED);
        let load_timeout = duration("load_timeout", &LOAD_TIMEOUT_ALLOWED);
        let session_duration = duration("session_duration", &SESSION_DURATION_ALLOWED);
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
                    LongLivedKeys::Session { duration: self.session_duration.unwrap_or(DEFAULT_SESSION_DURATION) }
                }
                Some(LongLivedKeysSetting::Direct) | None => LongLivedKeys::Direct,
            },
            long_lived_expiration: self.long_lived_expiration.unwrap_or(DEFAULT_LONG_LIVED_EXPIRATION),
            load_timeout: self.load_timeout.unwrap_or(DEFAULT_LOAD_TIMEOUT),
            max_lifetime: None,
            assume: None,
            narrowing: None,
        }
    }
}
