//! Status codes and bodies: the one place that knows how the core's kinds of failure look in HTTP.

use crate::server::access::Refusal;
use std::time::SystemTime;

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use http_body_util::Full;

use crate::lease::registry::{LeaseError, LeaseState, RefreshState};
use crate::model::error::ErrorKind;
use crate::model::identity_name::IdentityName;
use crate::model::text::Quoted;
use crate::model::time::timestamp;

/// A message longer than this helps nobody; boto prints it word for word.
const LONGEST_MESSAGE: usize = 2000;

// Constants: `from_static` in a function checks each byte again at each request.
const JSON: HeaderValue = HeaderValue::from_static("application/json");
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");

const IDENTITY_NOT_FOUND: &str = "IdentityNotFound";

/// An error as clients see it: `{"code": "…", "message": "…"}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ErrorResponse {
    /// 4xx for what asking again cannot mend, 503 for what may pass. Never 429, never a redirect.
    pub(crate) status: StatusCode,
    /// A word for programs.
    pub(crate) code: &'static str,
    /// A sentence for people: what failed, and what to do.
    pub(crate) message: String,
}

impl ErrorResponse {
    fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into() }
    }

    /// No such path.
    #[must_use]
    pub(crate) fn not_found() -> Self {
        let paths = "/credentials, /credentials/{identity} (both also below /v2), /healthz, /readyz, /status";
        Self::new(StatusCode::NOT_FOUND, "NotFound", format!("there is nothing here; the paths are {paths}"))
    }

    /// Not by this method.
    #[must_use]
    pub(crate) fn method_not_allowed() -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed", "only GET is answered here")
    }

    /// No such identity.
    #[must_use]
    pub(crate) fn identity_not_found(name: &IdentityName) -> Self {
        let message = format!("identity {name}: there is none of this name; `credenza status` lists those that exist");
        Self::new(StatusCode::NOT_FOUND, IDENTITY_NOT_FOUND, message)
    }

    /// Whether it says that there is no such identity.
    #[must_use]
    pub(crate) fn is_identity_not_found(&self) -> bool {
        self.code == IDENTITY_NOT_FOUND
    }

    /// The client may not have it, whether it exists or not.
    #[must_use]
    pub(crate) fn identity_not_allowed(name: &IdentityName) -> Self {
        let message = format!("identity {name}: this client's token is not allowed to have it");
        Self::new(StatusCode::FORBIDDEN, "IdentityNotAllowed", message)
    }

    /// There is no usable lease: says which identity, which source, how it failed, when the next try is.
    #[must_use]
    pub(crate) fn no_lease(name: &IdentityName, published: &LeaseState, now: SystemTime) -> Self {
        const UNAVAILABLE: (StatusCode, &str) = (StatusCode::SERVICE_UNAVAILABLE, "CredentialsUnavailable");
        let check = match published.is_profile {
            true => format!("credenza check --profile {}", Quoted(name.as_str())),
            false => "credenza check".to_owned(),
        };
        match &published.trouble {
            Some(LeaseError::NotConfigured) => {
                let tried: Vec<&str> = published.steps.iter().map(|step| &*step.source).collect();
                let message = format!(
                    "identity {name}: no credentials are configured; tried {}; `{check}` explains each source",
                    tried.join(", ")
                );
                Self::new(StatusCode::NOT_FOUND, "CredentialsNotConfigured", message)
            }
            Some(LeaseError::Failed { source, failure, .. }) => {
                let (status, code) = match failure.kind {
                    ErrorKind::Unavailable | ErrorKind::Unsettled => UNAVAILABLE,
                    ErrorKind::Misconfigured => (StatusCode::FORBIDDEN, "SourceMisconfigured"),
                    ErrorKind::Denied => (StatusCode::FORBIDDEN, "SourceDenied"),
                    ErrorKind::LoginRequired => (StatusCode::FORBIDDEN, "LoginRequired"),
                };
                let next = match published.phase {
                    RefreshState::BackingOff { next } | RefreshState::Waiting { next } => {
                        let seconds = next.duration_since(now).unwrap_or_default().as_secs_f32().ceil();
                        format!("next try in {seconds} s")
                    }
                    RefreshState::Loading { .. } | RefreshState::NotLoaded => "trying again now".into(),
                };
                let expired = published.lease.as_ref().map_or_else(String::new, |lease| {
                    format!("; the last credentials expired at {}", timestamp(lease.serve_until))
                });
                let advice =
                    if failure.kind.is_transient() { String::new() } else { format!("; `{check}` explains it") };
                let message = format!("identity {name}: {source}: {failure} ({next}{expired}{advice})");
                Self::new(status, code, message)
            }
            None => {
                let message = format!("identity {name}: its credentials are still being loaded; ask again");
                Self::new(UNAVAILABLE.0, UNAVAILABLE.1, message)
            }
        }
    }

    /// The daemon is stopping and has nothing for this client.
    #[must_use]
    pub(crate) fn stopping(name: &IdentityName) -> Self {
        let message = format!("identity {name}: the broker is stopping");
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "CredentialsUnavailable", message)
    }
}

impl From<Refusal> for ErrorResponse {
    fn from(refusal: Refusal) -> Self {
        const UNAUTHORIZED: (StatusCode, &str) = (StatusCode::UNAUTHORIZED, "InvalidAuthorizationToken");
        match refusal {
            Refusal::NoToken => Self::new(
                UNAUTHORIZED.0,
                UNAUTHORIZED.1,
                "the request bears no token; set AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE to the broker's token file",
            ),
            Refusal::WrongToken => Self::new(
                UNAUTHORIZED.0,
                UNAUTHORIZED.1,
                "the token is not the broker's; set AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE to its token file, and unset \
                 AWS_CONTAINER_AUTHORIZATION_TOKEN where an old one stands",
            ),
            Refusal::ForeignHost => Self::new(
                StatusCode::FORBIDDEN,
                "ForbiddenHost",
                "the Host is not one of the broker's; use http://127.0.0.1 or http://localhost, or add the name to allowed_hosts",
            ),
            Refusal::Forwarded => Self::new(
                StatusCode::FORBIDDEN,
                "Forwarded",
                "the request came through a proxy or a browser, which the broker does not answer; set NO_PROXY=127.0.0.1,localhost",
            ),
        }
    }
}

impl From<ErrorResponse> for Response<Body> {
    fn from(mut error: ErrorResponse) -> Self {
        cut(&mut error.message);
        let body = serde_json::json!({ "code": error.code, "message": error.message }).to_string();
        let mut response = json(error.status, body.into());
        if error.status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        if error.status == StatusCode::METHOD_NOT_ALLOWED {
            response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
        }
        response
    }
}

/// Cuts a message that is too long to help.
pub(crate) fn cut(message: &mut String) {
    if message.len() > LONGEST_MESSAGE {
        message.truncate(message.floor_char_boundary(LONGEST_MESSAGE));
        message.push('…');
    }
}

/// Nobody may keep the body of this response.
pub(crate) fn unkept(headers: &mut HeaderMap) {
    headers.insert(header::CACHE_CONTROL, NO_STORE);
}

/// A JSON body that nobody may keep.
#[must_use]
pub(crate) fn json(status: StatusCode, body: Bytes) -> Response<Body> {
    whole(status, HeaderMap::new(), body).map(Body::new)
}

/// The same before it is put into a box. It takes over a map whose headers are not needed any more, such as the request's:
/// hyper reads the next request into the map of the response, so that no request allocates one.
#[must_use]
pub(crate) fn whole(status: StatusCode, mut headers: HeaderMap, body: Bytes) -> Response<Full<Bytes>> {
    headers.clear();
    headers.insert(header::CONTENT_TYPE, JSON);
    unkept(&mut headers);
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

    fn published(kind: ErrorKind) -> LeaseState {
        let failure = SourceError::new(kind, "the reason");
        let trouble = LeaseError::Failed { source: "imds".into(), failure, since: SystemTime::UNIX_EPOCH, times: 2 };
        let next = SystemTime::UNIX_EPOCH + Duration::from_millis(2500);
        LeaseState { trouble: Some(trouble), phase: RefreshState::BackingOff { next }, ..LeaseState::default() }
    }

    #[test]
    fn kinds_decide_codes_and_only_503_says_retry_after() {
        let table = [
            (ErrorKind::Unavailable, 503, "CredentialsUnavailable"),
            (ErrorKind::Unsettled, 503, "CredentialsUnavailable"),
            (ErrorKind::Misconfigured, 403, "SourceMisconfigured"),
            (ErrorKind::Denied, 403, "SourceDenied"),
            (ErrorKind::LoginRequired, 403, "LoginRequired"),
        ];
        for (kind, status, code) in table {
            let error = ErrorResponse::no_lease(&"dev".into(), &published(kind), SystemTime::UNIX_EPOCH);
            assert_eq!((error.status.as_u16(), error.code), (status, code));
            assert!(error.message.starts_with("identity dev: imds: the reason (next try in 3 s"), "{}", error.message);
            let response = Response::<Body>::from(error);
            assert_eq!(response.headers().contains_key(header::RETRY_AFTER), status == 503);
            assert_eq!(response.headers()[header::CACHE_CONTROL], "no-store");
        }
    }

    #[test]
    fn nothing_configured_is_404() {
        let published = LeaseState { trouble: Some(LeaseError::NotConfigured), ..LeaseState::default() };
        let error = ErrorResponse::no_lease(&IdentityName::default(), &published, SystemTime::UNIX_EPOCH);
        assert_eq!((error.status.as_u16(), error.code), (404, "CredentialsNotConfigured"));
    }

    #[test]
    fn a_served_profile_is_explained_by_its_own_check() {
        let message =
            |published: LeaseState| ErrorResponse::no_lease(&"a b".into(), &published, SystemTime::UNIX_EPOCH).message;
        let unset = LeaseState { trouble: Some(LeaseError::NotConfigured), ..LeaseState::default() };
        for (published, says) in [(published(ErrorKind::Denied), "explains it)"), (unset, "explains each source")] {
            let of_profile = message(LeaseState { is_profile: true, ..published.clone() });
            assert!(of_profile.contains(&format!("`credenza check --profile 'a b'` {says}")), "{of_profile}");
            let configured = message(published);
            assert!(configured.contains(&format!("`credenza check` {says}")), "{configured}");
        }
    }

    #[tokio::test]
    async fn long_and_foreign_messages_are_cut_and_escaped() {
        let error = ErrorResponse::identity_not_found(&IdentityName::new("é\n\"".repeat(3000)));
        let response = Response::<Body>::from(error);
        let body = axum::body::to_bytes(response.into_body(), 10_000).await.unwrap();
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        let message = body["message"].as_str().unwrap();
        assert!(message.len() < 2010 && message.ends_with('…') && !message.contains('\n'));
    }
}
