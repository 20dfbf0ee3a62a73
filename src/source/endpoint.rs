//! What the container endpoint and the metadata service have in common: how no answer, or another one than was asked
//! for, becomes a failure.

use http::StatusCode;
use serde::Deserialize;

use super::{Failure, Kind};
use crate::clock::Clock;
use crate::failure::excerpt;
use crate::secret::Secret;
use crate::upstream::{Cause, Response, SendError};

impl From<SendError> for Failure {
    fn from(error: SendError) -> Self {
        let kind = if error.cause().passes() { Kind::Unavailable } else { Kind::Misconfigured };
        let advice = if error.cause().is_untrusted() { " (SSL_CERT_FILE names others than the system's)" } else { "" };
        Self::new(kind, format!("{error}{advice}"))
    }
}

/// What a person can do about an endpoint that gives no credentials, in the words of its source.
#[derive(Clone, Copy, Debug)]
pub struct Advice {
    /// Nobody answers.
    pub silent: &'static str,
    /// It says no to us.
    pub denied: &'static str,
    /// It answers something else.
    pub other: &'static str,
}

/// What may be over by itself.
const MAY_PASS: &str = "it may recover by itself: ask again in a while";

impl Advice {
    /// The failure of a request that was not answered. What says itself how to mend it is left as it is.
    #[must_use]
    pub fn unanswered(self, error: SendError) -> Failure {
        let advice = match error.cause() {
            cause if cause.is_silence() => self.silent,
            Cause::OwnListener(_)
            | Cause::TooLarge(_)
            | Cause::Tls(_)
            | Cause::NoCertificateFor
            | Cause::Protocol(_) => self.other,
            _ => return error.into(),
        };
        Self::to(error.into(), advice)
    }

    /// The same as [`refused`], with what to do.
    #[must_use]
    pub fn refused(self, response: &Response, tried: &str, clock: &Clock, hush: Option<&Secret>) -> Failure {
        let failure = refused(response, tried, clock, hush);
        let advice = match failure.kind {
            Kind::Denied => self.denied,
            Kind::Unavailable if !response.status.is_success() => MAY_PASS,
            _ => self.other,
        };
        Self::to(failure, advice)
    }

    /// The failure of an answer that holds no credentials.
    #[must_use]
    pub fn useless(self, failure: Failure) -> Failure {
        let advice = if failure.kind == Kind::Denied { self.denied } else { self.other };
        Self::to(failure, advice)
    }

    fn to(failure: Failure, advice: &str) -> Failure {
        Failure { message: format!("{}; {advice}", failure.message).into(), ..failure }
    }
}

/// The failure that an answer without credentials comes to. `tried` is the request; `hush` went out with it, and must
/// not come back in what upstream says.
#[must_use]
pub fn refused(response: &Response, tried: &str, clock: &Clock, hush: Option<&Secret>) -> Failure {
    let status = response.status;
    let said = explanation(&response.body, hush).map_or_else(String::new, |text| format!(": {text}"));
    let hint = if status.is_redirection() { " (redirects are not followed)" } else { "" };
    let mut failure = Failure::new(kind_of(status), format!("{tried}: status {status}{hint}{said}"));
    failure.retry_after = failure.kind.passes().then(|| response.retry_after(clock)).flatten();
    failure
}

fn kind_of(status: StatusCode) -> Kind {
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Kind::Denied,
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => Kind::Unavailable,
        _ if status.is_client_error() || status.is_redirection() => Kind::Misconfigured,
        _ => Kind::Unavailable,
    }
}

/// `code: message` of an error in JSON. Any other body stays unseen.
fn explanation(body: &[u8], hush: Option<&Secret>) -> Option<String> {
    #[derive(Deserialize)]
    struct Said {
        #[serde(alias = "Code")]
        code: Option<String>,
        #[serde(alias = "Message")]
        message: Option<String>,
    }
    let said: Said = serde_json::from_slice(body).ok()?;
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

    fn failure(status: u16, body: &str) -> Failure {
        refused(&response(status, body), "GET http://h/", &Clock::default(), Some(&"hush".into()))
    }

    #[test]
    fn every_answer_that_is_none_says_what_to_do() {
        let advice = Advice { silent: "wake it", denied: "ask nicely", other: "look at it" };
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
            assert!(failure.message.ends_with(&format!("; {told}")), "{failure}");
        }
        assert_eq!(&*advice.useless(Failure::new(Kind::Denied, "no")).message, "no; ask nicely");
        assert_eq!(&*advice.useless(Failure::unavailable("no")).message, "no; look at it");
    }

    #[test]
    fn statuses_are_kinds() {
        for (status, kind) in [
            (400, Kind::Misconfigured),
            (401, Kind::Denied),
            (403, Kind::Denied),
            (404, Kind::Misconfigured),
            (408, Kind::Unavailable),
            (429, Kind::Unavailable),
            (500, Kind::Unavailable),
            (503, Kind::Unavailable),
            (301, Kind::Misconfigured),
            (307, Kind::Misconfigured),
            (204, Kind::Unavailable),
        ] {
            let failure = failure(status, "");
            assert_eq!(failure.kind, kind, "{status}");
            assert_eq!(failure.retry_after, kind.passes().then_some(Duration::from_secs(7)), "{status}");
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
