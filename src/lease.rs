//! What an identity holds: credentials, rendered once into the bytes that every SDK takes.

pub(crate) mod refresher;
pub(crate) mod registry;
pub(crate) mod served_profiles;
pub(crate) mod supervisor;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use zeroize::Zeroizing;

use crate::model::credentials::{Credentials, LoginEnd};
use crate::model::time::timestamp;

/// An end further away than this is a way of saying "never": no temporary credentials live longer than 36 hours, and
/// several SDKs overflow on year 9999.
const NEVER: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// What `direct` means for the SDKs that cannot sign with an empty token (measured; see docs/PROTOCOL.md).
pub(crate) const LONG_LIVED_NOTICE: &str = "long-lived keys are served as they are: boto3, the AWS CLI, and the SDKs for JavaScript v3, Go and C++ \
     can sign with them; on AWS the SDKs for Rust, Java and Ruby cannot, nor object_store and opendal";

/// Why the metadata service serves none of them: the CRT ends the whole program over such an answer, others sign with an
/// empty token.
pub(crate) const LONG_LIVED_REFUSAL: &str = "long-lived keys without a session token are not served as those of an instance, for SDKs end or sign \
     wrongly over them; long_lived_keys = \"session\" exchanges them for a session, and \
     AWS_CONTAINER_CREDENTIALS_FULL_URI serves them as they are";

/// Credentials in the form in which they leave: no secret but the rendered body.
#[derive(Clone)]
pub(crate) struct Lease {
    /// The body of `GET /credentials`, overwritten when the last clone is dropped.
    pub(crate) body: Bytes,
    /// From this moment on the body must not be served any more.
    pub(crate) serve_until: SystemTime,
    /// The name of the source that supplied the credentials.
    pub(crate) source: Arc<str>,
    /// The access key, for logs and `status`.
    pub(crate) access_key_id: Box<str>,
    /// When they came.
    pub(crate) loaded: SystemTime,
    /// Their real end; `None` when unknown or never.
    pub(crate) expiration: Option<SystemTime>,
    /// Whether SDKs have to sign without a session token.
    pub(crate) without_token: bool,
    /// The moment from which a person has to log in again before there are others, where it is known.
    pub(crate) login_ends: Option<Arc<LoginEnd>>,
    /// The account, where the source is certain of it.
    pub(crate) account_id: Option<Box<str>>,
    /// The S3 endpoint that belongs to the keys.
    pub(crate) endpoint: Option<Box<str>>,
}

impl Lease {
    /// Renders a lease at `now`. Credentials without an end are served until `now + long_lived`, again and again.
    #[must_use]
    pub(crate) fn new(credentials: &Credentials, source: Arc<str>, now: SystemTime, long_lived: Duration) -> Self {
        let expiration = credentials.expiration.filter(|end| end.duration_since(now).is_ok_and(|left| left < NEVER));
        let expiration =
            if credentials.expiration.is_some_and(|end| end <= now) { credentials.expiration } else { expiration };
        let serve_until = whole_seconds(expiration.unwrap_or(now + long_lived));
        Self {
            body: render(credentials, serve_until, now),
            serve_until,
            source,
            access_key_id: credentials.access_key_id.clone(),
            loaded: now,
            expiration,
            without_token: credentials.session_token.is_none(),
            login_ends: credentials.login_ends.clone(),
            account_id: credentials.account_id.clone(),
            endpoint: credentials.endpoint.clone(),
        }
    }

    /// Whether it may be served at `now`.
    #[must_use]
    pub(crate) fn is_usable(&self, now: SystemTime) -> bool {
        now < self.serve_until
    }

    /// Whether this lease brings nothing over `held`: the same key of the same source, not ending later.
    #[must_use]
    pub(crate) fn is_no_newer_than(&self, held: &Self) -> bool {
        self.source == held.source && self.access_key_id == held.access_key_id && self.serve_until <= held.serve_until
    }
}

impl std::fmt::Debug for Lease {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lease")
            .field("body", &"[redacted]")
            .field("serve_until", &timestamp(self.serve_until))
            .field("source", &self.source)
            .field("access_key_id", &self.access_key_id)
            .finish_non_exhaustive()
    }
}

/// The body in the one shape that all SDKs take: every field always there, `Token` a string, `Expiration` real and in
/// whole seconds of UTC (measured over 17 clients; see docs/PROTOCOL.md).
#[must_use]
pub(crate) fn render(credentials: &Credentials, expiration: SystemTime, now: SystemTime) -> Bytes {
    #[derive(serde::Serialize)]
    #[serde(rename_all = "PascalCase")]
    struct LeaseBody<'a> {
        code: &'a str,
        #[serde(rename = "Type")]
        kind: &'a str,
        last_updated: &'a str,
        access_key_id: &'a str,
        secret_access_key: &'a str,
        token: &'a str,
        expiration: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        account_id: Option<&'a str>,
    }
    let body = LeaseBody {
        code: "Success",
        kind: "AWS-HMAC",
        last_updated: &timestamp(now),
        access_key_id: &credentials.access_key_id,
        secret_access_key: credentials.secret_access_key.expose(),
        token: credentials.session_token.as_ref().map_or("", |token| token.expose()),
        expiration: &timestamp(expiration),
        account_id: credentials.account_id.as_deref(),
    };
    // Sized so that the buffer never grows: a growing one would leave copies of the secret behind. Escaping takes at
    // most six bytes for one.
    let longest = 6 * (body.access_key_id.len() + body.secret_access_key.len() + body.token.len()) + 512;
    let mut bytes = Zeroizing::new(Vec::with_capacity(longest));
    // Writing strings into memory cannot fail; an empty body would be refused by every client.
    let _ = serde_json::to_writer(&mut *bytes, &body);
    Bytes::from_owner(bytes)
}

fn whole_seconds(at: SystemTime) -> SystemTime {
    let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    SystemTime::UNIX_EPOCH + Duration::from_secs(since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn now() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_449_600)
    }

    fn lease(credentials: &Credentials) -> Lease {
        Lease::new(credentials, "test".into(), now(), HOUR)
    }

    fn keys() -> Credentials {
        Credentials::new("AKIA1", "s\"\\é/").unwrap()
    }

    #[test]
    fn the_body_has_every_field_in_the_shape_that_all_clients_take() {
        let temporary = keys()
            .with_session_token(Some("tok"))
            .unwrap()
            .with_account_id(Some("123456789012"))
            .with_expiration(Some(now() + HOUR * 6 + Duration::from_millis(700)));
        let body: serde_json::Value = serde_json::from_slice(&lease(&temporary).body).unwrap();
        let expected = serde_json::json!({
            "Code": "Success", "Type": "AWS-HMAC", "LastUpdated": "2026-11-23T16:00:00Z", "AccessKeyId": "AKIA1",
            "SecretAccessKey": "s\"\\é/", "Token": "tok", "Expiration": "2026-11-23T22:00:00Z", "AccountId": "123456789012",
        });
        assert_eq!(body, expected);
    }

    #[test]
    fn long_lived_keys_have_an_empty_token_and_a_rolling_end() {
        let lease = lease(&keys());
        let body: serde_json::Value = serde_json::from_slice(&lease.body).unwrap();
        assert_eq!((&body["Token"], &body["Expiration"]), (&"".into(), &"2026-11-23T17:00:00Z".into()));
        assert!(body.get("AccountId").is_none());
        assert!(lease.without_token && lease.expiration.is_none());
    }

    #[test]
    fn usable_until_the_very_second() {
        let lease = lease(&keys().with_expiration(Some(now() + HOUR + Duration::from_millis(900))));
        assert!(lease.is_usable(now() + HOUR - Duration::from_nanos(1)));
        assert!(!lease.is_usable(now() + HOUR));
    }

    #[test]
    fn an_end_beyond_reason_is_no_end_and_a_past_one_stays() {
        let far = lease(&keys().with_expiration(Some(now() + NEVER * 300)));
        assert_eq!((far.expiration, far.serve_until), (None, now() + HOUR));
        assert!(!lease(&keys().with_expiration(Some(now() - HOUR))).is_usable(now()));
    }

    #[test]
    fn newer_means_another_source_another_key_or_a_later_end() {
        let held = lease(&keys().with_expiration(Some(now() + HOUR)));
        let with = |key: &str, source: &str, end| {
            let credentials = Credentials::new(key, "s").unwrap().with_expiration(Some(now() + end));
            Lease::new(&credentials, source.into(), now(), HOUR)
        };
        for (lease, no_newer) in [
            (with("AKIA1", "test", HOUR), true),
            (with("AKIA1", "test", HOUR / 2), true),
            (with("AKIA1", "test", HOUR * 2), false),
            (with("AKIA2", "test", HOUR / 2), false),
            (with("AKIA1", "other", HOUR / 2), false),
        ] {
            assert_eq!(lease.is_no_newer_than(&held), no_newer, "{lease:?}");
        }
    }

    #[test]
    fn debug_shows_no_secret() {
        let shown = format!("{:?}", lease(&Credentials::new("AKIA1", "hunter2").unwrap()));
        assert!(shown.contains("AKIA1") && !shown.contains("hunter2"), "{shown}");
    }
}
