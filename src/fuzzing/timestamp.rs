//! Times that services write: RFC 3339 in documents, seconds or an HTTP date in `Retry-After`.

use std::time::{Duration, SystemTime};

use http::{HeaderValue, StatusCode, header};

use crate::http::message::Response;
use crate::model::time::{parse_timestamp, timestamp};
use crate::os::clock::Clock;

/// The first year that four digits cannot write.
const YEAR_10000: Duration = Duration::from_secs(253_402_300_800);

pub fn check(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data) {
        check_rfc3339(text);
    }
    if let Ok(value) = HeaderValue::from_bytes(data) {
        check_retry_after(value);
    }
}

fn check_rfc3339(text: &str) {
    let Ok(at) = parse_timestamp(text) else { return };
    assert_eq!(parse_timestamp(text), Ok(at));
    let written = timestamp(at);
    assert!(written.len() == 20 && written.ends_with('Z'), "{text:?} is written {written:?}");
    let again = parse_timestamp(&written).unwrap_or_else(|error| panic!("{text:?}: {written:?} {error}"));
    if at >= SystemTime::UNIX_EPOCH + YEAR_10000 {
        return assert!(again < at, "{text:?} {written:?}");
    }
    let cut = at.duration_since(again).unwrap_or_else(|_| panic!("{text:?}: {written:?} is later"));
    assert!(cut < Duration::from_secs(1), "{text:?} {written:?}");
}

fn check_retry_after(value: HeaderValue) {
    let clock = Clock::injected(SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777));
    let headers = [(header::RETRY_AFTER, value)].into_iter().collect();
    let response = Response { status: StatusCode::SERVICE_UNAVAILABLE, headers, body: Default::default() };
    if let Some(pause) = response.retry_after(&clock) {
        assert!(pause <= Duration::from_secs(3600), "{pause:?}");
    }
}
