//! Converts HTTP errors and unexpected responses to source errors, for the container endpoint and the metadata service.

use std::time::Duration;

use serde::Deserialize;

use crate::aws::call::kind_of_status;
use crate::http::error::{HttpError, HttpErrorCause};
use crate::http::message::Response;
use crate::model::error::{ErrorKind, SourceError};
use crate::model::secret::Secret;
use crate::model::text::excerpt;
use crate::os::clock::Clock;

impl From<HttpError> for SourceError {
    fn from(error: HttpError) -> Self {
        let kind = if error.cause().passes() { ErrorKind::Unavailable } else { ErrorKind::Misconfigured };
        let source_error = Self::new(kind, error.to_string());
        let source_error = match error.cause().is_untrusted() {
            true => source_error.with_hint("name a file with its certificate authority in SSL_CERT_FILE"),
            false => source_error,
        };
        source_error.caused_by(error)
    }
}

/// The hints of one source about an endpoint that gives no credentials.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EndpointHints {
    /// The hint if there is no response.
    pub(crate) silent: &'static str,
    /// The hint if the request is refused.
    pub(crate) denied: &'static str,
    /// The hint if the response does not follow the protocol.
    pub(crate) other: &'static str,
}

/// The hint for a transient error of the service.
const RETRY_LATER: &str = "it may recover by itself: try again later";

impl EndpointHints {
    /// Makes the error of a request without a response. If the cause has a hint, that hint stays.
    pub(crate) fn unanswered(self, error: HttpError) -> SourceError {
        let hint = match error.cause() {
            cause if cause.is_silence() => self.silent,
            HttpErrorCause::OwnListener(_)
            | HttpErrorCause::TooLarge(_)
            | HttpErrorCause::Tls(_)
            | HttpErrorCause::NoCertificateFor
            | HttpErrorCause::Protocol(_) => self.other,
            _ => return error.into(),
        };
        SourceError::from(error).with_hint(hint)
    }

    /// Calls [`refused`] and adds the hint.
    pub(crate) fn refused(
        self,
        response: &Response,
        request: &str,
        clock: &Clock,
        secret: Option<&Secret>,
    ) -> SourceError {
        let error = refused(response, request, clock, secret);
        let hint = match error.kind {
            ErrorKind::Denied => self.denied,
            ErrorKind::Unavailable if !response.status.is_success() => RETRY_LATER,
            _ => self.other,
        };
        error.with_hint(hint)
    }

    /// Adds the hint to the error of a response without credentials.
    pub(crate) fn useless(self, error: SourceError) -> SourceError {
        let hint = if error.kind == ErrorKind::Denied { self.denied } else { self.other };
        error.with_hint(hint)
    }
}

/// Makes the error of a response without credentials. The message names `request`, and does not show `secret`, which
/// was part of the request.
pub(crate) fn refused(response: &Response, request: &str, clock: &Clock, secret: Option<&Secret>) -> SourceError {
    let status = response.status;
    let explanation = explanation(&response.body, secret).map_or_else(String::new, |text| format!(": {text}"));
    let note = if status.is_redirection() { " (redirects are not followed)" } else { "" };
    let mut error = SourceError::new(kind_of_status(status), format!("{request}: status {status}{note}{explanation}"));
    error.retry_after = error.kind.is_transient().then(|| response.retry_after(clock)).flatten();
    error
}

/// Returns `Some` if another attempt may succeed: there was no response, or its status is transient. The inner value is
/// the pause that the service asks for.
pub(crate) fn retry(sent: &Result<Response, HttpError>, clock: &Clock) -> Option<Option<Duration>> {
    match sent {
        Ok(response) if response.status.is_success() => None,
        Ok(response) => kind_of_status(response.status).is_transient().then(|| response.retry_after(clock)),
        Err(error) => error.cause().is_silence().then_some(None),
    }
}
/// Returns `code: message` of an error in JSON. Other bodies are not shown.
fn explanation(body: &[u8], secret: Option<&Secret>) -> Option<String> {
    #[derive(Deserialize)]
    struct EndpointErrorBody {
        #[serde(alias = "Code")]
        code: Option<String>,
        #[serde(alias = "Message")]
        message: Option<String>,
    }
    let error: EndpointErrorBody = serde_json::from_slice(body).ok()?;
    let texts: Vec<_> = [error.code, error.message].into_iter().flatten().map(|text| excerpt(&text, secret)).collect();
    (!texts.is_empty()).then(|| texts.join(": "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::StatusCode;
    use std::time::Duration;
    use zeroize::Zeroizing;

    fn response(status: u16, body: &str) -> Response {
        let headers = [(http::header::RETRY_AFTER, "7".parse().unwrap())].into_iter().collect();
        Response { status: StatusCode::from_u16(status).unwrap(), headers, body: Zeroizing::new(body.into()) }
    }

    fn error(status: u16, body: &str) -> SourceError {
        refused(&response(status, body), "GET http://h/", &Clock::default(), Some(&"hush".into()))
    }

    #[test]
    fn maps_status_to_error_kind_and_hint() {
        use ErrorKind::{Denied, Misconfigured, Unavailable};
        let hints = EndpointHints { silent: "wake it", denied: "ask nicely", other: "look at it" };
        for (status, kind, hint) in [
            (204, Unavailable, "look at it"),
            (301, Misconfigured, "look at it"),
            (302, Misconfigured, "look at it"),
            (307, Misconfigured, "look at it"),
            (400, Misconfigured, "look at it"),
            (401, Denied, "ask nicely"),
            (403, Denied, "ask nicely"),
            (404, Misconfigured, "look at it"),
            (408, Unavailable, RETRY_LATER),
            (429, Unavailable, RETRY_LATER),
            (500, Unavailable, RETRY_LATER),
            (503, Unavailable, RETRY_LATER),
        ] {
            let error = hints.refused(&response(status, ""), "GET http://h/", &Clock::default(), None);
            assert_eq!((error.kind, error.hint.as_deref()), (kind, Some(hint)), "{status}");
            assert_eq!(error.retry_after, kind.is_transient().then_some(Duration::from_secs(7)), "{status}");
        }
        assert_eq!(&*hints.useless(SourceError::new(Denied, "no")).to_string(), "no; ask nicely");
        assert_eq!(&*hints.useless(SourceError::unavailable("no")).to_string(), "no; look at it");
    }

    #[test]
    fn shows_code_and_message_of_errors_only() {
        for (body, explanation) in [
            (r#"{"code":"NoSuchRole","message":"gone"}"#, ": NoSuchRole: gone"),
            (r#"{"Message":"a\nb"}"#, r": a\nb"),
            (r#"{"code":"X","message":"token hush is bad"}"#, ": X: token [redacted] is bad"),
            (r#"{"code":1}"#, ""),
            (r#"{"AccessKeyId":"hush"}"#, ""),
            ("<html>hush", ""),
        ] {
            assert_eq!(&*error(404, body).message, format!("GET http://h/: status 404 Not Found{explanation}"));
        }
        assert!(error(302, "").message.contains("not followed"));
        assert!(error(404, &format!(r#"{{"code":"{}"}}"#, "é".repeat(9999))).message.len() < 700);
    }
}
