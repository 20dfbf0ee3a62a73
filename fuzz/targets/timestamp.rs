//! Moments as upstream writes them: RFC 3339 in documents, seconds or an HTTP date in `Retry-After`.
#![cfg_attr(fuzzing, no_main)]

use std::time::{Duration, SystemTime};

use credenza::clock::{Clock, parse_timestamp, timestamp};
use credenza::upstream::Response;
use http::{HeaderValue, StatusCode, header};

/// From here on no timestamp of four digits says the year.
const YEAR_10000: Duration = Duration::from_secs(253_402_300_800);

pub fn check(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data) {
        rfc3339(text);
    }
    if let Ok(value) = HeaderValue::from_bytes(data) {
        retry_after(value);
    }
}

fn rfc3339(text: &str) {
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

fn retry_after(value: HeaderValue) {
    let clock = Clock::injected(SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777));
    let headers = [(header::RETRY_AFTER, value)].into_iter().collect();
    let response = Response { status: StatusCode::SERVICE_UNAVAILABLE, headers, body: Default::default() };
    if let Some(pause) = response.retry_after(&clock) {
        assert!(pause <= Duration::from_secs(3600), "{pause:?}");
    }
}

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| check(data));
