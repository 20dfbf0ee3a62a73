//! The document of `GET /status`: what an operator may know, never a secret.

use std::collections::BTreeMap;
use std::time::SystemTime;

use serde::Serialize;

use crate::board::{Board, Handle, Phase, Published, Trouble};
use crate::chain::{Said, Step};
use crate::clock::timestamp;
use crate::credentials::Name;
use crate::source::Kind;

/// All identities of one client.
#[derive(Debug, Serialize)]
pub(super) struct Status {
    version: &'static str,
    now: String,
    started: String,
    /// Why the configuration on disk is not the one in force.
    configuration_refused: Option<String>,
    profiles: Profiles,
    identities: BTreeMap<String, Identity>,
}

/// Profiles of the shared files that are served when somebody asks for them.
#[derive(Debug, Serialize)]
struct Profiles {
    /// How many there are that this client may have.
    known: usize,
    /// How many of them somebody has asked for.
    live: usize,
}

#[derive(Debug, Serialize)]
struct Identity {
    state: &'static str,
    eager: bool,
    source: Option<String>,
    access_key_id: Option<String>,
    account_id: Option<String>,
    endpoint: Option<String>,
    region: Option<String>,
    loaded: Option<String>,
    expiration: Option<String>,
    serve_until: Option<String>,
    next_refresh: Option<String>,
    login_ends: Option<String>,
    login_command: Option<String>,
    notice: Option<&'static str>,
    failure: Option<Failed>,
    sources: Vec<Source>,
}

#[derive(Debug, Serialize)]
struct Failed {
    source: String,
    kind: &'static str,
    message: String,
    since: String,
    times: u32,
}

#[derive(Debug, Serialize)]
struct Source {
    source: String,
    said: &'static str,
    reason: Option<String>,
}

impl Status {
    /// The status of these identities; `may_have` says of further ones whether the client may know of them.
    pub(super) fn new(
        board: &Board,
        started: SystemTime,
        now: SystemTime,
        identities: &[(Name, Handle)],
        may_have: impl Fn(&Name) -> bool,
    ) -> Self {
        let known = board.known.borrow().clone().unwrap_or_default();
        let profiles = Profiles {
            known: known.iter().filter(|name| may_have(name)).count(),
            live: identities.iter().filter(|(name, _)| known.contains(name)).count(),
        };
        let identity = |(name, handle): &(Name, Handle)| (name.as_str().to_owned(), Identity::new(&handle.now(), now));
        Self {
            version: env!("CARGO_PKG_VERSION"),
            now: timestamp(now),
            started: timestamp(started),
            configuration_refused: board.refused.borrow().as_deref().map(ToOwned::to_owned),
            profiles,
            identities: identities.iter().map(identity).collect(),
        }
    }
}

impl Identity {
    fn new(published: &Published, now: SystemTime) -> Self {
        let lease = published.lease.as_deref();
        let usable = published.usable(now).is_some();
        Self {
            state: match (usable, &published.trouble, published.phase) {
                (true, None, _) => "ok",
                (true, Some(Trouble::Failing { failure, .. }), _) if failure.kind == Kind::LoginRequired => {
                    "ok, login required"
                }
                (false, Some(Trouble::Failing { failure, .. }), _) if failure.kind == Kind::LoginRequired => {
                    "login required"
                }
                (true, Some(_), _) => "ok, refresh failing",
                (false, Some(Trouble::NotConfigured), _) => "not configured",
                (false, Some(Trouble::Failing { .. }), _) => "failing",
                (false, None, Phase::Asleep) => "asleep",
                (false, None, _) => "loading",
            },
            eager: published.eager,
            source: lease.map(|lease| lease.source.to_string()),
            access_key_id: lease.map(|lease| lease.access_key_id.to_string()),
            account_id: lease.and_then(|lease| lease.account_id.as_deref()).map(ToOwned::to_owned),
            endpoint: lease.and_then(|lease| lease.endpoint.as_deref()).map(ToOwned::to_owned),
            region: published.region.clone().flatten().map(Into::into),
            loaded: lease.map(|lease| timestamp(lease.loaded)),
            expiration: lease.and_then(|lease| lease.expiration).map(timestamp),
            serve_until: lease.map(|lease| timestamp(lease.serve_until)),
            next_refresh: match published.phase {
                Phase::Waiting { next } | Phase::BackingOff { next } => Some(timestamp(next)),
                Phase::Asleep | Phase::Loading { .. } => None,
            },
            login_ends: lease.and_then(|lease| lease.login_ends.as_ref()).map(|end| timestamp(end.at)),
            login_command: lease.and_then(|lease| lease.login_ends.as_ref()).map(|end| end.remedy.to_string()),
            notice: lease.filter(|lease| lease.without_token).map(|_| crate::lease::LONG_LIVED_NOTICE),
            failure: match &published.trouble {
                Some(Trouble::Failing { source, failure, since, times }) => Some(Failed {
                    source: source.to_string(),
                    kind: kind(failure.kind),
                    message: failure.to_string(),
                    since: timestamp(*since),
                    times: *times,
                }),
                Some(Trouble::NotConfigured) | None => None,
            },
            sources: published.steps.iter().map(Source::new).collect(),
        }
    }
}

impl Source {
    fn new(step: &Step) -> Self {
        let (said, reason) = match &step.said {
            Said::Found => ("found", None),
            Said::NotConfigured(reason) => ("not configured", Some(reason.to_string())),
            Said::Failing(failure) => ("failing", Some(failure.to_string())),
            Said::NotAsked => ("not asked", None),
        };
        Self { source: step.source.to_string(), said, reason }
    }
}

fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Unavailable => "unavailable",
        Kind::Unsettled => "unsettled",
        Kind::Misconfigured => "misconfigured",
        Kind::Denied => "denied",
        Kind::LoginRequired => "login required",
    }
}
