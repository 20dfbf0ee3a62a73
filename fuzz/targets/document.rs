//! The JSON document in which ECS, EKS and the metadata service hand out credentials.
#![cfg_attr(fuzzing, no_main)]

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use credenza::credentials::Credentials;
use credenza::lease::Lease;
use credenza::secret::Secret;
use credenza::source::document::{Code, credentials};
use credenza::source::{Failure, Kind};

const TRIED: &str = "GET http://h/";

pub fn check(data: &[u8]) {
    let hush = Secret::from("hush");
    let read = |code| credentials(data, code, TRIED, Some(&hush));
    let found = read(Code::IfPresent);
    assert_eq!(found, read(Code::IfPresent));
    match read(Code::Required) {
        Ok(strict) => assert_eq!(Ok(strict), found),
        Err(failure) => told(&failure),
    }
    match found {
        Ok(found) => usable(&found),
        Err(failure) => told(&failure),
    }
}

/// What is found can be served, and every SDK, such as this one, reads the same in what is served.
fn usable(found: &Credentials) {
    let token = found.session_token.as_ref().map(Secret::expose);
    for part in [Some(&*found.access_key_id), Some(found.secret_access_key.expose()), token].into_iter().flatten() {
        assert!(!part.is_empty() && !part.chars().any(char::is_control) && part.trim() == part, "{part:?}");
    }
    if let Some(account) = &found.account_id {
        assert!(account.len() == 12 && account.bytes().all(|byte| byte.is_ascii_digit()), "{account:?}");
    }
    let end_of_time = SystemTime::UNIX_EPOCH + Duration::from_secs(4_102_444_800);
    assert!(found.expiration.is_none_or(|end| end < end_of_time), "{:?}", found.expiration);
    // A day before its end, so that the end is the one that is served.
    let now = found.expiration.unwrap_or(end_of_time) - Duration::from_secs(1);
    let lease = Lease::new(found, Arc::from("fuzz"), now, Duration::from_secs(900));
    let served = credentials(&lease.body, Code::Required, TRIED, None).expect("what is served is a document");
    let expiration = Some(lease.serve_until).filter(|end| *end < end_of_time);
    assert_eq!(served, Credentials { expiration, ..found.clone() });
    assert!(found.expiration.is_none_or(|end| lease.serve_until <= end));
}

fn told(failure: &Failure) {
    let message = &failure.message;
    assert!(message.starts_with(TRIED) && message.len() < 8_000, "{message:?}");
    assert!(!message.chars().any(char::is_control) && !message.contains("hush"), "{message:?}");
    assert!(matches!(failure.kind, Kind::Unavailable | Kind::Misconfigured | Kind::Denied), "{failure:?}");
}

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| check(data));
