//! The JSON document with credentials that ECS, EKS and IMDS return.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::lease::Lease;
use crate::model::credentials::Credentials;
use crate::model::error::{ErrorKind, SourceError};
use crate::model::secret::Secret;
use crate::source::document::{SuccessCode, credentials};

const TRIED: &str = "GET http://h/";

pub fn check(data: &[u8]) {
    let sent = Secret::from("hush");
    let read = |code| credentials(data, code, TRIED, Some(&sent));
    let found = read(SuccessCode::IfPresent);
    assert_eq!(found, read(SuccessCode::IfPresent));
    match read(SuccessCode::Required) {
        Ok(strict) => assert_eq!(Ok(strict), found),
        Err(error) => assert_redacted(&error),
    }
    match found {
        Ok(found) => assert_served(&found),
        Err(error) => assert_redacted(&error),
    }
}

/// Returns the access key id, the secret and the session token.
pub(crate) fn parts(found: &Credentials) -> impl Iterator<Item = &str> {
    let token = found.session_token.as_ref().map(Secret::expose);
    [Some(&*found.access_key_id), Some(found.secret_access_key.expose()), token].into_iter().flatten()
}

/// Renders the credentials as a lease and reads the same credentials from its body, as an SDK does.
fn assert_served(found: &Credentials) {
    for part in parts(found) {
        assert!(!part.is_empty() && !part.chars().any(char::is_control) && part.trim() == part, "{part:?}");
    }
    if let Some(account) = &found.account_id {
        assert!(!account.is_empty() && !account.chars().any(char::is_control), "{account:?}");
    }
    let end_of_time = SystemTime::UNIX_EPOCH + Duration::from_secs(4_102_444_800);
    // One second before the expiration, so that the lease keeps it.
    let now = found.planned_expiration().unwrap_or(end_of_time) - Duration::from_secs(1);
    let lease = Lease::new(found, Arc::from("fuzz"), now, Duration::from_secs(900));
    let served =
        credentials(&lease.body, SuccessCode::Required, TRIED, None).expect("the body of a lease is a document");
    assert_eq!(served, Credentials { expiration: Some(lease.serve_until), ..found.clone() });
    assert!(found.expiration.is_none_or(|end| lease.serve_until <= end));
}

fn assert_redacted(error: &SourceError) {
    let message = &error.message;
    assert!(message.starts_with(TRIED) && message.len() < 8_000, "{message:?}");
    assert!(!message.chars().any(char::is_control) && !message.contains("hush"), "{message:?}");
    assert!(matches!(error.kind, ErrorKind::Unavailable | ErrorKind::Misconfigured | ErrorKind::Denied), "{error:?}");
}
