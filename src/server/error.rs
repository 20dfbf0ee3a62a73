//! HTTP status codes and response bodies of errors.
//!
//! It renders the refusals of access control and the lease errors. No other module decides about status codes and error
//! bodies.

use std::time::SystemTime;

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use http_body_util::Full;

use crate::lease::state::{LeaseError, LeaseState, RefreshState};
use crate::model::error::{ErrorKind, SourceError};
use crate::model::identity_name::IdentityName;
use crate::model::text::Quoted;
use crate::model::time::timestamp;
use crate::server::access::Refusal;

/// The maximum length of a message, in bytes. boto prints messages in full, and users do not read longer ones.
const MAX_MESSAGE: usize = 2000;

// These are constants, because `from_static` in a function would check each byte at each request.
const JSON: HeaderValue = HeaderValue::from_static("application/json");
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");

const IDENTITY_NOT_FOUND: &str = "IdentityNotFound";

/// An error as a client gets it: `{"code": "…", "message": "…"}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ErrorResponse {
    /// 4xx for a permanent error, 503 for a transient one; never 429 and never a redirect.
    pub(crate) status: StatusCode,
    /// The code for programs.
    pub(crate) code: &'static str,
    /// The message for people: what failed, why, and what to do.
    pub(crate) message: String,
}

impl ErrorResponse {
    fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into() }
    }

    pub(crate) fn not_found() -> Self {
        let paths = "/credentials, /credentials/{identity} (both also below /v2), /healthz, /readyz, /status";
        Self::new(StatusCode::NOT_FOUND, "NotFound", format!("no such path; the paths are {paths}"))
    }

    pub(crate) fn method_not_allowed() -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed", "this path answers only GET")
    }

    pub(crate) fn identity_not_found(name: &IdentityName) -> Self {
        let message = format!("identity {name}: not found; `credenza status` lists the identities");
        Self::new(StatusCode::NOT_FOUND, IDENTITY_NOT_FOUND, message)
    }

    /// Returns true if the error is [`ErrorResponse::identity_not_found`].
    pub(crate) fn is_identity_not_found(&self) -> bool {
        self.code == IDENTITY_NOT_FOUND
    }

    /// Refuses one more session to a client that holds too many. It passes when one of them is idle.
    pub(crate) fn too_many_sessions(name: &IdentityName) -> Self {
        let message = format!(
            "identity {name}: this client holds a session for each of too many users; try again in five minutes, when unused ones \
             make room, or give groups of users clients of their own"
        );
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "TooManySessions", message)
    }

    /// Refuses an identity without telling the client if it exists.
    pub(crate) fn identity_not_allowed(name: &IdentityName) -> Self {
        let message = format!("identity {name}: the client of this token may not have it");
        Self::new(StatusCode::FORBIDDEN, "IdentityNotAllowed", message)
    }

    /// Explains why there is no usable lease: the identity, the source, its error and the time of the next try.
    pub(crate) fn no_lease(name: &IdentityName, state: &LeaseState, now: SystemTime) -> Self {
        let check = match state.is_profile {
            true => format!("credenza check --profile {}", Quoted(name.as_str())),
            false => "credenza check".to_owned(),
        };
        match &state.error {
            Some(LeaseError::NotConfigured) => {
                let tried: Vec<&str> = state.attempts.iter().map(|attempt| &*attempt.source).collect();
                let message = format!(
                    "identity {name}: no credentials are configured; tried {}; `{check}` explains each source",
                    tried.join(", ")
                );
                Self::new(StatusCode::NOT_FOUND, "CredentialsNotConfigured", message)
            }
            Some(LeaseError::Failed { source, error, .. }) => {
                let (status, code) = status_and_code(error.kind);
                let next = match state.refresh {
                    RefreshState::BackingOff { next } | RefreshState::Waiting { next } => {
                        let seconds = next.duration_since(now).unwrap_or_default().as_secs_f32().ceil();
                        format!("next try in {seconds} s")
                    }
                    RefreshState::Loading { .. } | RefreshState::NotLoaded => "trying again now".into(),
                };
                let expired = state.lease.as_ref().map_or_else(String::new, |lease| {
                    format!("; the last credentials expired at {}", timestamp(lease.serve_until))
                });
                let hint = if error.kind.is_transient() { String::new() } else { format!("; `{check}` explains it") };
                let message = format!("identity {name}: {} ({next}{expired}{hint})", error.of_source(source));
                Self::new(status, code, message)
            }
            None => {
                let message = format!("identity {name}: its credentials are still being loaded; request them again");
                Self::new(UNAVAILABLE.0, UNAVAILABLE.1, message)
            }
        }
    }

    /// Refuses a user at the control socket.
    pub(crate) fn not_owner() -> Self {
        let message = "only root and the user of the daemon may use its control socket; run the command as that user";
        Self::new(StatusCode::FORBIDDEN, "NotOwner", message)
    }

    pub(crate) fn no_control_path() -> Self {
        let message = "the control socket of this version has no such request; use the commands of the same version";
        Self::new(StatusCode::NOT_FOUND, "NotFound", message)
    }

    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "BadRequest", message)
    }

    /// Tells the owner that there is no client or grant of this name.
    pub(crate) fn no_such_name(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "UnknownName", message)
    }

    /// Tells the owner why a request of its own to STS failed.
    pub(crate) fn of_owner(error: &SourceError) -> Self {
        let (status, code) = status_and_code(error.kind);
        Self::new(status, code, error.to_string())
    }

    /// Tells the owner why a grant is not given. Nothing is tried again.
    pub(crate) fn of_grant(name: &IdentityName, state: &LeaseState) -> Option<Self> {
        let Some(LeaseError::Failed { source, error, .. }) = &state.error else { return None };
        let (status, code) = status_and_code(error.kind);
        Some(Self::new(status, code, format!("identity {name}: {source}: {error}")))
    }

    /// Tells the owner that a command cannot be executed as things stand.
    pub(crate) fn conflict(message: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, "Conflict", message)
    }

    pub(crate) fn configuration_refused(message: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, "ConfigurationRefused", message)
    }

    /// Tells the owner that the daemon is stopping.
    pub(crate) fn daemon_stopping() -> Self {
        let message = "the daemon is stopping; run the command again after its restart";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "CredentialsUnavailable", message)
    }

    /// Tells the client that a reload is not complete.
    pub(crate) fn reloading() -> Self {
        Self::new(UNAVAILABLE.0, UNAVAILABLE.1, "the broker is loading a new configuration; request again")
    }

    /// Refuses credentials because the line of the answer cannot be written, and the audit log is required.
    pub(crate) fn audit_unavailable() -> Self {
        let message = "the audit log cannot be written, and [audit] required = true allows no answer without it; the log of the \
                       daemon has the reason";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "AuditUnavailable", message)
    }

    /// Tells the client that the daemon is stopping.
    pub(crate) fn stopping(name: &IdentityName) -> Self {
        let message = format!("identity {name}: the broker is stopping");
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "CredentialsUnavailable", message)
    }
}

const UNAVAILABLE: (StatusCode, &str) = (StatusCode::SERVICE_UNAVAILABLE, "CredentialsUnavailable");

/// Returns the status and the code for the error of a source.
fn status_and_code(kind: ErrorKind) -> (StatusCode, &'static str) {
    match kind {
        ErrorKind::Unavailable | ErrorKind::Unsettled => UNAVAILABLE,
        ErrorKind::Misconfigured => (StatusCode::FORBIDDEN, "SourceMisconfigured"),
        ErrorKind::Denied => (StatusCode::FORBIDDEN, "SourceDenied"),
        ErrorKind::LoginRequired => (StatusCode::FORBIDDEN, "LoginRequired"),
        ErrorKind::MfaRequired => (StatusCode::FORBIDDEN, "MfaRequired"),
    }
}

impl From<Refusal> for ErrorResponse {
    fn from(refusal: Refusal) -> Self {
        const UNAUTHORIZED: (StatusCode, &str) = (StatusCode::UNAUTHORIZED, "InvalidAuthorizationToken");
        match refusal {
            Refusal::NoToken => Self::new(
                UNAUTHORIZED.0,
                UNAUTHORIZED.1,
                "the request has no token; set AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE to the broker's token file",
            ),
            Refusal::WrongToken => Self::new(
                UNAUTHORIZED.0,
                UNAUTHORIZED.1,
                "the token is not the broker's, or its grant has ended; set AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE to the token file, \
                 and unset AWS_CONTAINER_AUTHORIZATION_TOKEN if it holds an old one",
            ),
            Refusal::ForeignHost => Self::new(
                StatusCode::FORBIDDEN,
                "ForbiddenHost",
                "the Host header does not name the broker; use http://127.0.0.1 or http://localhost, or add the name to allowed_hosts",
            ),
            Refusal::Forwarded => Self::new(
                StatusCode::FORBIDDEN,
                "Forwarded",
                "the request came through a proxy or from a browser, and the broker refuses both; set NO_PROXY=127.0.0.1,localhost",
            ),
            Refusal::Malformed => Self::new(
                StatusCode::BAD_REQUEST,
                "MalformedRequest",
                "the request cannot be read: its head is incomplete or not HTTP/1.1; use plain http://, and HTTP/1.1",
            ),
            Refusal::HeadTooLarge => Self::new(
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
                "RequestHeadTooLarge",
                "the request head has more than 16 kB or 100 headers; send fewer headers, or shorter ones",
            ),
            Refusal::HeadTooLate => Self::new(
                StatusCode::REQUEST_TIMEOUT,
                "RequestTimeout",
                "the request head did not arrive within 15 s; send it at once",
            ),
        }
    }
}

impl From<ErrorResponse> for Response<Body> {
    fn from(mut error: ErrorResponse) -> Self {
        truncate(&mut error.message);
        let body = serde_json::json!({ "code": error.code, "message": error.message }).to_string();
        let mut response = json(error.status, body.into());
        if error.status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        // The next connection of the client may prove its user.
        if error.status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        if error.status == StatusCode::METHOD_NOT_ALLOWED {
            response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
        }
        response
    }
}

pub(crate) fn truncate(message: &mut String) {
    if message.len() > MAX_MESSAGE {
        message.truncate(message.floor_char_boundary(MAX_MESSAGE));
        message.push('…');
    }
}

/// Forbids every cache to store the response.
pub(crate) fn set_no_store(headers: &mut HeaderMap) {
    headers.insert(header::CACHE_CONTROL, NO_STORE);
}

/// Makes a JSON response that no cache may store.
pub(crate) fn json(status: StatusCode, body: Bytes) -> Response<Body> {
    unboxed_json(status, HeaderMap::new(), body).map(Body::new)
}

/// Makes the response of [`json`] without boxing its body. It reuses `headers`, usually those of the request. hyper
/// reads the next request into the header map of the response, so no request allocates a header map.
pub(crate) fn unboxed_json(status: StatusCode, mut headers: HeaderMap, body: Bytes) -> Response<Full<Bytes>> {
    headers.clear();
    headers.insert(header::CONTENT_TYPE, JSON);
    set_no_store(&mut headers);
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::error::SourceError;

    fn failed(kind: ErrorKind) -> LeaseState {
        let error = SourceError::new(kind, "the reason");
        let error = LeaseError::Failed { source: "imds".into(), error, since: SystemTime::UNIX_EPOCH, times: 2 };
        let next = SystemTime::UNIX_EPOCH + Duration::from_millis(2500);
        LeaseState { error: Some(error), refresh: RefreshState::BackingOff { next }, ..LeaseState::default() }
    }

    #[test]
    fn error_kind_decides_code_and_only_503_has_retry_after() {
        let table = [
            (ErrorKind::Unavailable, 503, "CredentialsUnavailable"),
            (ErrorKind::Unsettled, 503, "CredentialsUnavailable"),
            (ErrorKind::Misconfigured, 403, "SourceMisconfigured"),
            (ErrorKind::Denied, 403, "SourceDenied"),
            (ErrorKind::LoginRequired, 403, "LoginRequired"),
            (ErrorKind::MfaRequired, 403, "MfaRequired"),
        ];
        for (kind, status, code) in table {
            let error = ErrorResponse::no_lease(&"dev".into(), &failed(kind), SystemTime::UNIX_EPOCH);
            assert_eq!((error.status.as_u16(), error.code), (status, code));
            assert!(error.message.starts_with("identity dev: imds: the reason (next try in 3 s"), "{}", error.message);
            let response = Response::<Body>::from(error);
            assert_eq!(response.headers().contains_key(header::RETRY_AFTER), status == 503);
            assert_eq!(response.headers()[header::CACHE_CONTROL], "no-store");
        }
    }

    #[test]
    fn answers_404_when_no_source_is_configured() {
        let unset = LeaseState { error: Some(LeaseError::NotConfigured), ..LeaseState::default() };
        let error = ErrorResponse::no_lease(&IdentityName::default(), &unset, SystemTime::UNIX_EPOCH);
        assert_eq!((error.status.as_u16(), error.code), (404, "CredentialsNotConfigured"));
    }

    #[test]
    fn served_profile_names_its_own_check_command() {
        let message =
            |state: LeaseState| ErrorResponse::no_lease(&"a b".into(), &state, SystemTime::UNIX_EPOCH).message;
        let unset = LeaseState { error: Some(LeaseError::NotConfigured), ..LeaseState::default() };
        for (state, says) in [(failed(ErrorKind::Denied), "explains it)"), (unset, "explains each source")] {
            let of_profile = message(LeaseState { is_profile: true, ..state.clone() });
            assert!(of_profile.contains(&format!("`credenza check --profile 'a b'` {says}")), "{of_profile}");
            let configured = message(state);
            assert!(configured.contains(&format!("`credenza check` {says}")), "{configured}");
        }
    }

    #[tokio::test]
    async fn truncates_and_escapes_long_foreign_messages() {
        let error = ErrorResponse::identity_not_found(&IdentityName::new("é\n\"".repeat(3000)));
        let response = Response::<Body>::from(error);
        let body = axum::body::to_bytes(response.into_body(), 10_000).await.unwrap();
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        let message = body["message"].as_str().unwrap();
        assert!(message.len() < 2010 && message.ends_with('…') && !message.contains('\n'));
    }
}
