//! The document of `GET /status`: the state of all identities of one client, without secrets.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use serde::Serialize;

use crate::lease::LONG_LIVED_NOTICE;
use crate::lease::registry::LeaseRegistry;
use crate::lease::state::{LeaseError, LeaseState, RefreshState};
use crate::model::credentials::{LACKS_SESSION_TOKEN, LoginEnd, lacks_session_token};
use crate::model::error::{ErrorKind, SourceError};
use crate::model::identity_name::IdentityName;
use crate::model::location::Location;
use crate::model::outcome::{Attempt, AttemptResult};
use crate::model::time::timestamp;

/// The status document for one client.
#[derive(Debug, Serialize)]
pub(crate) struct StatusDocument {
    version: &'static str,
    now: String,
    started: String,
    /// The reason why the last reload refused the configuration on disk.
    configuration_refused: Option<String>,
    profiles: StatusProfiles,
    /// Only for the owner, and only with an audit log.
    #[serde(skip_serializing_if = "Option::is_none")]
    audit: Option<StatusAudit>,
    identities: BTreeMap<String, StatusIdentity>,
}

/// The events of the audit log since the start.
#[derive(Debug, Serialize)]
struct StatusAudit {
    written: u64,
    lost: u64,
}

#[derive(Debug, Serialize)]
struct StatusProfiles {
    /// The number of profiles that this client may have.
    known: usize,
    /// The number of these profiles with a running refresher.
    live: usize,
}

#[derive(Debug, Serialize)]
struct StatusIdentity {
    /// One of `available`, `refresh failing`, `login required`, `failing`, `not configured`, `loading`, `not loaded yet`.
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
    /// True if the next refresh needs a person, while the lease may still be served.
    login_required: bool,
    /// The command that logs in again. Set if a login is required, or the lease stands on a login.
    login_command: Option<String>,
    notice: Option<&'static str>,
    failure: Option<StatusError>,
    sources: Vec<StatusSource>,
}

#[derive(Debug, Serialize)]
struct StatusError {
    source: String,
    kind: &'static str,
    /// The error in one line, with location and hint.
    message: String,
    /// The error without location and hint.
    reason: String,
    location: Option<StatusLocation>,
    hint: Option<String>,
    since: String,
    times: u32,
}

/// The location that an error is about. For a variable only `property` is set: it holds the name of the variable.
#[derive(Debug, Serialize)]
struct StatusLocation {
    file: Option<String>,
    line: Option<usize>,
    profile: Option<String>,
    property: Option<String>,
}

#[derive(Debug, Serialize)]
struct StatusSource {
    source: String,
    said: &'static str,
    reason: Option<String>,
}

impl StatusDocument {
    /// Makes the document of these identities. `may_have` returns true for each profile that the client may have.
    pub(crate) fn new(
        registry: &LeaseRegistry,
        started: SystemTime,
        now: SystemTime,
        identities: &[(IdentityName, Arc<LeaseState>)],
        may_have: impl Fn(&IdentityName) -> bool,
    ) -> Self {
        let known = registry.known_profiles.borrow().clone().unwrap_or_default();
        let profiles = StatusProfiles {
            known: known.iter().filter(|name| may_have(name)).count(),
            live: identities.iter().filter(|(name, _)| known.contains(name)).count(),
        };
        let identity = |(name, state): &(IdentityName, Arc<LeaseState>)| {
            (name.as_str().to_owned(), StatusIdentity::new(state, now))
        };
        Self {
            version: env!("CARGO_PKG_VERSION"),
            now: timestamp(now),
            started: timestamp(started),
            configuration_refused: registry.config_error.borrow().as_deref().map(ToOwned::to_owned),
            profiles,
            audit: None,
            identities: identities.iter().map(identity).collect(),
        }
    }
}

impl StatusDocument {
    /// Adds the numbers of written and lost events of the audit log.
    pub(crate) fn add_audit(&mut self, counts: Option<(u64, u64)>) {
        self.audit = counts.map(|(written, lost)| StatusAudit { written, lost });
    }

    /// Leaves out what the error of the configuration says: it may name other clients and identities.
    pub(crate) fn hide_configuration(&mut self) {
        if let Some(error) = &mut self.configuration_refused {
            *error = "the configuration on disk has an error, which the owner sees with `credenza status`".into();
        }
    }
}

impl StatusIdentity {
    fn new(state: &LeaseState, now: SystemTime) -> Self {
        let lease = state.lease.as_deref();
        let usable = state.usable(now).is_some();
        let login = lease.and_then(|lease| lease.login_ends.as_ref());
        let failed = match &state.error {
            Some(LeaseError::Failed { error, .. }) => Some(error),
            Some(LeaseError::NotConfigured) | None => None,
        };
        let needs_person = failed.is_some_and(|error| error.kind.needs_person());
        let login_required = needs_person || login.is_some_and(|end| end.at <= now);
        Self {
            state: match (usable, &state.error, state.refresh) {
                (_, Some(_), _) if needs_person => "login required",
                (true, None, _) => "available",
                (true, Some(_), _) => "refresh failing",
                (false, Some(LeaseError::NotConfigured), _) => "not configured",
                (false, Some(LeaseError::Failed { .. }), _) => "failing",
                (false, None, RefreshState::NotLoaded) => "not loaded yet",
                (false, None, _) => "loading",
            },
            eager: state.eager,
            source: lease.map(|lease| lease.source.to_string()),
            access_key_id: lease.map(|lease| lease.access_key_id.to_string()),
            account_id: lease.and_then(|lease| lease.account_id.as_deref()).map(ToOwned::to_owned),
            endpoint: lease.and_then(|lease| lease.endpoint.as_deref()).map(ToOwned::to_owned),
            region: state.region.clone().flatten().map(Into::into),
            loaded: lease.map(|lease| timestamp(lease.loaded)),
            expiration: lease.and_then(|lease| lease.expiration).map(timestamp),
            serve_until: lease.map(|lease| timestamp(lease.serve_until)),
            next_refresh: match state.refresh {
                RefreshState::Waiting { next } | RefreshState::BackingOff { next } => Some(timestamp(next)),
                RefreshState::NotLoaded | RefreshState::Loading { .. } => None,
            },
            login_ends: login.map(|end| timestamp(end.at)),
            login_required,
            login_command: match failed.filter(|_| needs_person) {
                Some(error) => Some(command_of(error, login)),
                None => login.map(|end| end.remedy.to_string()),
            },
            notice: lease.filter(|lease| lease.is_long_lived).map(|lease| {
                match lacks_session_token(&lease.access_key_id, false, lease.endpoint.is_some()) {
                    true => LACKS_SESSION_TOKEN,
                    false => LONG_LIVED_NOTICE,
                }
            }),
            failure: match &state.error {
                Some(LeaseError::Failed { source, error, since, times }) => Some(StatusError {
                    source: source.to_string(),
                    kind: kind(error.kind),
                    message: error.to_string(),
                    reason: error.reason().into_owned(),
                    location: error.location.as_ref().map(StatusLocation::new),
                    hint: error.hint.as_deref().map(ToOwned::to_owned),
                    since: timestamp(*since),
                    times: *times,
                }),
                Some(LeaseError::NotConfigured) | None => None,
            },
            sources: state.attempts.iter().map(StatusSource::new).collect(),
        }
    }
}

/// Returns the command in the hint of an error that needs a person, else that of the lease.
fn command_of(error: &SourceError, login: Option<&Arc<LoginEnd>>) -> String {
    let hinted = error.hint.as_deref().and_then(|hint| hint.split_once("run: ")).map(|(_, command)| command.to_owned());
    hinted.or_else(|| login.map(|end| end.remedy.to_string())).unwrap_or_else(|| "credenza login".to_owned())
}

impl StatusLocation {
    fn new(location: &Location) -> Self {
        Self {
            file: location.file().map(|file| file.to_string_lossy().into_owned()),
            line: location.line_number(),
            profile: location.profile().map(ToOwned::to_owned),
            property: location.property().map(ToOwned::to_owned),
        }
    }
}

impl StatusSource {
    fn new(attempt: &Attempt) -> Self {
        let (said, reason) = match &attempt.said {
            AttemptResult::Found => ("found", None),
            AttemptResult::NotConfigured(reason) => ("not configured", Some(reason.to_string())),
            AttemptResult::Failed(error) => ("failing", Some(error.to_string())),
            AttemptResult::NotAsked => ("not asked", None),
        };
        Self { source: attempt.source.to_string(), said, reason }
    }
}

fn kind(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::Unavailable => "unavailable",
        ErrorKind::Unsettled => "unsettled",
        ErrorKind::Misconfigured => "misconfigured",
        ErrorKind::Denied => "denied",
        ErrorKind::LoginRequired => "login required",
        ErrorKind::MfaRequired => "MFA required",
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn gives_location_and_hint_of_an_error_apart() {
        let location = Location::line(Path::new("/c"), 3).in_profile("dev").with_property("role_arn");
        let error = SourceError::misconfigured("it is empty").with_hint("write an ARN").at(location);
        let failed =
            LeaseError::Failed { source: "profile dev".into(), error, since: SystemTime::UNIX_EPOCH, times: 2 };
        let state = LeaseState { error: Some(failed), ..LeaseState::default() };
        let shown = serde_json::to_value(StatusIdentity::new(&state, SystemTime::UNIX_EPOCH)).unwrap();
        let expected = serde_json::json!({
            "source": "profile dev", "kind": "misconfigured", "since": "1970-01-01T00:00:00Z", "times": 2,
            "message": "/c, line 3: profile dev: it is empty; write an ARN", "reason": "it is empty", "hint": "write an ARN",
            "location": { "file": "/c", "line": 3, "profile": "dev", "property": "role_arn" },
        });
        assert_eq!(shown["failure"], expected);
    }

    #[test]
    fn an_error_that_needs_a_person_has_a_command() {
        let of = |kind, hint: &str| {
            let error = SourceError::new(kind, "the login ended").with_hint(hint);
            let failed = LeaseError::Failed { source: "sso".into(), error, since: SystemTime::UNIX_EPOCH, times: 1 };
            let state = LeaseState { error: Some(failed), ..LeaseState::default() };
            let shown = serde_json::to_value(StatusIdentity::new(&state, SystemTime::UNIX_EPOCH)).unwrap();
            ["state", "login_required", "login_command"].map(|key| shown[key].clone())
        };
        let (login, mfa) = (ErrorKind::LoginRequired, ErrorKind::MfaRequired);
        let required = |command: &str| [serde_json::Value::from("login required"), true.into(), command.into()];
        assert_eq!(of(login, "run: credenza login --all"), required("credenza login --all"));
        assert_eq!(of(mfa, "run: credenza mfa a"), required("credenza mfa a"));
        assert_eq!(of(login, "try later"), required("credenza login"));
        let denied = of(ErrorKind::Denied, "run: ls");
        assert_eq!(denied, ["failing".into(), false.into(), serde_json::Value::Null]);
    }
}
