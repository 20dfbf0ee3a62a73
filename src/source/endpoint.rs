//! What the container endpoint and the metadata service have in common: how no answer, or another one than was asked
//! for, becomes a failure.

use http::StatusCode;
use serde::Deserialize;

use crate::http::error::{HttpError, HttpErrorCause};
use crate::http::message::Response;
use crate::model::error::{ErrorKind, SourceError};
use crate::model::secret::Secret;
use crate::model::text::excerpt;
use crate::os::clock::Clock;

impl From<HttpError> for SourceError {
    fn from(error: HttpError) -> Self {
        let kind = if error.cause().passes() { ErrorKind::Unavailable } else { ErrorKind::Misconfigured };
        let advice = if error.cause().is_untrusted() { " (SSL_CERT_FILE names others than the system's)" } else { "" };
        Self::new(kind, format!("{error}{advice}"))
    }
}

/// What a person can do about an endpoint that gives no credentials, in the words of its source.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EndpointHints {
    /// Nobody answers.
    pub(crate) silent: &'static str,
    /// It says no to us.
    pub(crate) denied: &'static str,
    /// It answers something else.
    pub(crate) other: &'static str,
}

/// What may be over by itself.
const MAY_PASS: &str = "it may recover by itself: ask again in a while";

impl EndpointHints {
    /// The failure of a request that was not answered. What says itself how to mend it is left as it is.
    #[must_use]
    pub(crate) fn unanswered(self, error: HttpError) -> SourceError {
        let advice = match error.cause() {
            cause if cause.is_silence() => self.silent,
            HttpErrorCause::OwnListener(_)
            | HttpErrorCause::TooLarge(_)
            | HttpErrorCause::Tls(_)
            | HttpErrorCause::NoCertificateFor
            | HttpErrorCause::Protocol(_) => self.other,
            _ => return error.into(),
        };
        Self::to(error.into(), advice)
    }

    /// The same as [`refused`], with what to do.
    #[must_use]
    pub(crate) fn refused(self, response: &Response, tried: &str, clock: &Clock, hush: Option<&Secret>) -> SourceError {
        let failure = refused(response, tried, clock, hush);
        let advice = match failure.kind {
            ErrorKind::Denied => self.denied,
            ErrorKind::Unavailable if !response.status.is_success() => MAY_PASS,
            _ => self.other,
        };
        Self::to(failure, advice)
    }

    /// The failure of an answer that holds no credentials.
    #[must_use]
    pub(crate) fn useless(self, failure: SourceError) -> SourceError {
        let advice = if failure.kind == ErrorKind::Denied { self.denied } else { self.other };
        Self::to(failure, advice)
    }

    fn to(failure: SourceError, advice: &str) -> SourceError {
        SourceError { message: format!("{}; {advice}", failure.message).into(), ..failure }
    }
}

/// The failure that an answer without credentials comes to. `tried` is the request; `hush` went out with it, and must
/// not come back in what upstream says.
#[must_use]
pub(crate) fn refused(response: &Response, tried: &str, clock: &Clock, hush: Option<&Secret>) -> SourceError {
    let status = response.status;
    let said = explanation(&response.body, hush).map_or_else(String::new, |text| format!(": {text}"));
    let hint = if status.is_redirection() { " (redirects are not followed)" } else { "" };
    let mut failure = SourceError::new(kind_of(status), format!("{tried}: status {status}{hint}{said}"));
    failure.retry_after = failure.kind.is_transient().then(|| response.retry_after(clock)).flatten();
    failure
}

fn kind_of(status: StatusCode) -> ErrorKind {
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => ErrorKind::Denied,
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => ErrorKind::Unavailable,
        _ if status.is_client_error() || status.is_redirection() => ErrorKind::Misconfigured,
        _ => ErrorKind::Unavailable,
    }
}

/// `code: message` of an error in JSON. Any other body stays unseen.
fn explanation(body: &[u8], hush: Option<&Secret>) -> Option<String> {
    #[derive(Deserialize)]
    struct EndpointErrorBody {
        #[serde(alias = "Code")]
        code: Option<String>,
        #[serde(alias = "Message")]
        message: Option<String>,
    }
    let said: EndpointErrorBody = serde_json::from_slice(body).ok()?;
    let texts: Vec<_> = [said.code, said.message].into_iter().flatten().map(|text| excerpt(&text, hush)).collect();
    (!texts.is_empty()).then(|| texts.join(": "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use zeroize::Zeroizing;

    fn response(status: u16, body: &str) -> Response {
        let headers = [(http::header::RETRY_AFTER, "7".parse().unwrap())].into_iter().collect();
        Response { status: StatusCode::from_u16(status).unwrap(), headers, body: Zeroizing::new(body.into()) }
    }

    fn failure(status: u16, body: &str) -> SourceError {
        refused(&response(status, body), "GET http://h/", &Clock::default(), Some(&"hush".into()))
    }

    #[test]
    fn every_answer_that_is_none_says_what_to_do() {
        let advice = EndpointHints { silent: "wake it", denied: "ask nicely", other: "look at it" };
        for (status, told) in [
            (400, "look at it"),
            (401, "ask nicely"),
            (403, "ask nicely"),
            (404, "look at it"),
            (429, MAY_PASS),
            (500, MAY_PASS),
            (302, "look at it"),
            (204, "look at it"),
        ] {
            let failure = advice.refused(&response(status, ""), "GET http://h/", &Clock::default(), None);
            assert!(failure.to_string().ends_with(&format!("; {told}")), "{failure}");
        }
        assert_eq!(&*advice.useless(SourceError::new(ErrorKind::Denied, "no")).message, "no; ask nicely");
        assert_eq!(&*advice.useless(SourceError::unavailable("no")).message, "no; look at it");
    }

    #[test]
    fn statuses_are_kinds() {
        for (status, kind) in [
            (400, ErrorKind::Misconfigured),
            (401, ErrorKind::Denied),
            (403, ErrorKind::Denied),
            (404, ErrorKind::Misconfigured),
            (408, ErrorKind::Unavailable),
            (429, ErrorKind::Unavailable),
            (500, ErrorKind::Unavailable),
            (503, ErrorKind::Unavailable),
            (301, ErrorKind::Misconfigured),
            (307, ErrorKind::Misconfigured),
            (204, ErrorKind::Unavailable),
        ] {
            let failure = failure(status, "");
            assert_eq!(failure.kind, kind, "{status}");
            assert_eq!(failure.retry_after, kind.is_transient().then_some(Duration::from_secs(7)), "{status}");
        }
    }

    #[test]
    fn what_upstream_says_is_told_and_no_more() {
        for (body, said) in [
            (r#"{"code":"NoSuchRole","message":"gone"}"#, ": NoSuchRole: gone"),
            (r#"{"Message":"a\nb"}"#, r": a\nb"),
            (r#"{"code":"X","message":"token hush is bad"}"#, ": X: token [redacted] is bad"),
            (r#"{"code":1}"#, ""),
            (r#"{"AccessKeyId":"hush"}"#, ""),
            ("<html>hush", ""),
        ] {
            assert_eq!(&*failure(404, body).message, format!("GET http://h/: status 404 Not Found{said}"));
        }
        assert!(failure(302, "").message.contains("not followed"));
        assert!(failure(404, &format!(r#"{{"code":"{}"}}"#, "é".repeat(9999))).message.len() < 700);
    }
}
