//! The lease of an identity: its credentials, rendered once into the response body that every SDK accepts.
//!
//! Data flows one way. A refresher loads a source chain and publishes its lease; the supervisor starts and stops
//! refreshers; the server sees only the lease registry.

pub(crate) mod handle;
pub(crate) mod key;
pub(crate) mod notify;
pub(crate) mod refresher;
pub(crate) mod registry;
pub(crate) mod served_profiles;
pub(crate) mod state;
pub(crate) mod supervisor;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use zeroize::Zeroizing;

use crate::model::credentials::{Credentials, LoginEnd, SessionDetails};
use crate::model::time::{timestamp, truncate_to_seconds};

/// The longest lifetime that counts as an expiration; a later expiration means "never". Temporary credentials live for
/// 36 hours at most, and several SDKs overflow on year 9999.
const LONGEST_LIFETIME: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// Lists the SDKs that can and cannot sign with an empty session token (measured; see docs/PROTOCOL.md).
pub(crate) const LONG_LIVED_NOTICE: &str = "long-lived keys are served unchanged: boto3, the AWS CLI, and the SDKs for JavaScript v3, Go and C++ \
     can sign with them; on AWS the SDKs for Rust, Java and Ruby cannot, nor can object_store and opendal";

/// The reason why the IMDS server refuses long-lived keys. With such a response the AWS CRT ends the whole program;
/// other SDKs sign with an empty token.
pub(crate) const LONG_LIVED_REFUSAL: &str = "long-lived keys without a session token are not served over IMDS: some SDKs crash on them, others sign \
     wrongly. Set long_lived_keys = \"session\" to exchange them for a session, or use \
     AWS_CONTAINER_CREDENTIALS_FULL_URI, which serves them unchanged";

/// Credentials as they are served. The rendered body is the only part that holds a secret.
#[derive(Clone)]
pub(crate) struct Lease {
    /// The body of `GET /credentials`, overwritten when the last clone is dropped.
    pub(crate) body: Bytes,
    /// The moment from which the body must not be served.
    pub(crate) serve_until: SystemTime,
    pub(crate) source: Arc<str>,
    /// The access key id, for logs and `status`.
    pub(crate) access_key_id: Box<str>,
    pub(crate) loaded: SystemTime,
    /// The expiration. `None` if the credentials never expire or the expiration is unknown.
    pub(crate) expiration: Option<SystemTime>,
    /// True if there is no session token to sign with.
    pub(crate) is_long_lived: bool,
    /// The end of the login behind the credentials, if known. Then a person has to log in again.
    pub(crate) login_ends: Option<Arc<LoginEnd>>,
    pub(crate) account_id: Option<Box<str>>,
    /// The S3 endpoint that belongs to the keys.
    pub(crate) endpoint: Option<Box<str>>,
    /// The facts about the session at STS, if there is one.
    pub(crate) session: Option<Arc<SessionDetails>>,
}

/// The limits of the time for which a lease is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LeaseLimits {
    /// The lifetime of credentials without an expiration. Each load extends it.
    pub(crate) long_lived: Duration,
    /// The longest lifetime that clients are told. Each load extends it.
    pub(crate) max_lifetime: Option<Duration>,
    /// The end of all leases, whatever the credentials have.
    pub(crate) until: Option<SystemTime>,
}

impl From<Duration> for LeaseLimits {
    fn from(long_lived: Duration) -> Self {
        Self { long_lived, max_lifetime: None, until: None }
    }
}

impl Lease {
    /// Renders a lease at `now`. Credentials without an expiration are served until `now + long_lived`, and each load
    /// extends this time.
    pub(crate) fn new(
        credentials: &Credentials,
        source: Arc<str>,
        now: SystemTime,
        limits: impl Into<LeaseLimits>,
    ) -> Self {
        let LeaseLimits { long_lived, max_lifetime, until } = limits.into();
        let expiration =
            credentials.expiration.filter(|end| end.duration_since(now).map_or(true, |left| left < LONGEST_LIFETIME));
        let ends = [Some(expiration.unwrap_or(now + long_lived)), max_lifetime.map(|longest| now + longest), until];
        let serve_until = truncate_to_seconds(ends.into_iter().flatten().min().unwrap_or(now));
        Self {
            body: render(credentials, serve_until, now),
            serve_until,
            source,
            access_key_id: credentials.access_key_id.clone(),
            loaded: now,
            expiration,
            is_long_lived: credentials.session_token.is_none(),
            login_ends: credentials.login_ends.clone(),
            account_id: credentials.account_id.clone(),
            endpoint: credentials.endpoint.clone(),
            session: credentials.session.clone(),
        }
    }

    /// Returns the body with an `Expiration` of `end` at the latest, for a client that may not hold the credentials longer.
    pub(crate) fn body_until(&self, end: SystemTime) -> Bytes {
        const FIELD: &[u8] = b"\"Expiration\":\"";
        let end = truncate_to_seconds(end);
        if end >= self.serve_until {
            return self.body.clone();
        }
        let mut body = Zeroizing::new(self.body.to_vec());
        let text = timestamp(end);
        // Quotes within the values are escaped, so that the field is found only once.
        if let Some(at) = body.windows(FIELD.len()).position(|window| window == FIELD) {
            let value = at + FIELD.len();
            body[value..value + text.len()].copy_from_slice(text.as_bytes());
        }
        Bytes::from_owner(body)
    }

    /// Returns true if the lease may be served at `now`.
    pub(crate) fn is_usable(&self, now: SystemTime) -> bool {
        now < self.serve_until
    }

    /// Returns true if `held` has the source and the access key of this lease and expires no earlier.
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

/// Renders the response body in the one form that all SDKs accept. Every field is present, `Token` is a string, and
/// `Expiration` is a real moment in whole seconds of UTC (measured over 17 clients; see docs/PROTOCOL.md).
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
    // Reserve the maximum: escaping turns one byte into at most six. A buffer that grows would leave copies of the
    // secret in memory.
    let capacity = 6 * (body.access_key_id.len() + body.secret_access_key.len() + body.token.len()) + 512;
    let mut bytes = Zeroizing::new(Vec::with_capacity(capacity));
    // Writing strings into memory cannot fail. Every client would refuse an empty body.
    let _ = serde_json::to_writer(&mut *bytes, &body);
    Bytes::from_owner(bytes)
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
    fn renders_every_field_in_the_form_all_clients_accept() {
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
    fn body_until_tells_an_earlier_expiration_only() {
        let expiration = |body: &[u8]| {
            let body: serde_json::Value = serde_json::from_slice(body).unwrap();
            (body["Expiration"].as_str().unwrap().to_owned(), body["Token"].as_str().unwrap().to_owned())
        };
        let token = "a\"Expiration\":\"2099-01-01T00:00:00Z\"";
        let temporary = keys().with_session_token(Some(token)).unwrap().with_expiration(Some(now() + HOUR));
        for (lease, token) in [(lease(&temporary), token), (lease(&keys()), "")] {
            for (end, told) in [
                (now() + HOUR / 2 + Duration::from_millis(900), "2026-11-23T16:30:00Z"),
                (now() + HOUR * 2, "2026-11-23T17:00:00Z"),
                (now() + HOUR, "2026-11-23T17:00:00Z"),
            ] {
                assert_eq!(expiration(&lease.body_until(end)), (told.to_owned(), token.to_owned()));
            }
        }
    }

    #[test]
    fn long_lived_keys_have_empty_token_and_rolling_expiration() {
        let lease = lease(&keys());
        let body: serde_json::Value = serde_json::from_slice(&lease.body).unwrap();
        assert_eq!((&body["Token"], &body["Expiration"]), (&"".into(), &"2026-11-23T17:00:00Z".into()));
        assert!(body.get("AccountId").is_none());
        assert!(lease.is_long_lived && lease.expiration.is_none());
    }

    #[test]
    fn limits_cap_what_clients_are_told() {
        let of = |expiration: Option<Duration>, max_lifetime, until: Option<Duration>| {
            let credentials = keys().with_expiration(expiration.map(|lifetime| now() + lifetime));
            let limits = LeaseLimits { max_lifetime, until: until.map(|until| now() + until), ..HOUR.into() };
            Lease::new(&credentials, "test".into(), now(), limits).serve_until.duration_since(now()).unwrap()
        };
        let half = Some(HOUR / 2);
        assert_eq!(of(Some(HOUR * 12), half, None), HOUR / 2);
        assert_eq!(of(Some(HOUR / 4), half, None), HOUR / 4);
        assert_eq!(of(None, half, None), HOUR / 2);
        assert_eq!(of(Some(HOUR), half, Some(HOUR / 3)), HOUR / 3);
        assert_eq!(of(Some(HOUR), None, Some(HOUR * 2)), HOUR);
        assert_eq!(of(None, None, Some(Duration::ZERO)), Duration::ZERO);
    }

    #[test]
    fn lease_is_usable_until_the_second_it_expires() {
        let lease = lease(&keys().with_expiration(Some(now() + HOUR + Duration::from_millis(900))));
        assert!(lease.is_usable(now() + HOUR - Duration::from_nanos(1)));
        assert!(!lease.is_usable(now() + HOUR));
    }

    #[test]
    fn drops_absurd_expiration_and_keeps_past_one() {
        let far = lease(&keys().with_expiration(Some(now() + LONGEST_LIFETIME * 300)));
        assert_eq!((far.expiration, far.serve_until), (None, now() + HOUR));
        assert!(!lease(&keys().with_expiration(Some(now() - HOUR))).is_usable(now()));
    }

    #[test]
    fn is_newer_by_source_key_or_later_expiration() {
        let held = lease(&keys().with_expiration(Some(now() + HOUR)));
        let with = |key: &str, source: &str, lifetime| {
            let credentials = Credentials::new(key, "s").unwrap().with_expiration(Some(now() + lifetime));
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
