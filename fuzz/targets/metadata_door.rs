//! The door of the metadata service: request heads, one part a line, with good tokens and bad ones, against two services
//! that differ in `allow_v1`.
#![cfg_attr(fuzzing, no_main)]

use std::sync::{Arc, Once};
use std::time::Duration;

use axum::body::{Body, to_bytes};
use credenza::server::guard::{Hosts, addressed};
use credenza::server::metadata::Metadata;
use credenza::server::metadata::sessions::Sessions;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use percent_encoding::percent_decode_str;

#[path = "broker/mod.rs"]
mod broker;

/// It has a slash, and another identity is called like its encoded form.
const IDENTITY: &str = "a/b";
const ROLE: &str = "latest/meta-data/iam/security-credentials/";
const TOKEN_PATH: &str = "latest/api/token";
const TOKEN: &str = "x-aws-ec2-metadata-token";
const TTL: &str = "x-aws-ec2-metadata-token-ttl-seconds";

/// Characters of a token.
const LENGTH: usize = 54;

/// Longer than anybody looks for faults, in seconds.
const LIFETIME: Duration = Duration::from_secs(21_600);

/// A service, a good token, and one of another process.
struct Stage {
    service: Arc<Metadata>,
    token: String,
    stranger: String,
}

thread_local! {
    static STAGES: [Stage; 2] = [false, true].map(Stage::new);
}

impl Stage {
    fn new(allow_v1: bool) -> Self {
        let sessions = || Sessions::new().expect("randomness");
        let service = Metadata {
            leases: broker::leases(broker::temporary_lease),
            identity: IDENTITY.into(),
            hosts: Hosts::default(),
            sessions: sessions(),
            allow_v1,
            refusal: Once::new(),
        };
        let (token, stranger) = (service.sessions.issue(LIFETIME), sessions().issue(LIFETIME));
        Self { service: Arc::new(service), token, stranger }
    }
}

/// The first line is `METHOD TARGET`, the others are headers; what is none is left out. In a value `{token}` is a good
/// token, `{token7}` one whose character 7 is another, and `{stranger}` a good one of another process.
pub fn check(data: &[u8]) {
    STAGES.with(|stages| {
        for Stage { service, token, stranger } in stages {
            assert!(service.sessions.hold(token.as_bytes()) && !service.sessions.hold(stranger.as_bytes()));
            assert!(data == token.as_bytes() || !service.sessions.hold(data), "a token that nobody issued");
            if let Some(request) = parts(data, token, stranger) {
                answered(service, &request, token);
            }
        }
    });
}

fn answered(service: &Arc<Metadata>, request: &Parts, token: &str) {
    let (status, headers, body) = ask(service, request);
    let text = String::from_utf8_lossy(&body);
    let tokens: Vec<&[u8]> = request.headers.get_all(TOKEN).iter().map(HeaderValue::as_bytes).collect();
    let proven = if tokens.is_empty() { service.allow_v1 } else { tokens == [token.as_bytes()] };
    let ours = addressed(request, &service.hosts).is_ok();
    let path = request.uri.path();
    let below = path.strip_prefix('/').map(|below| below.trim_start_matches('/'));
    let reads = [Method::GET, Method::HEAD].contains(&request.method);

    // Text that nobody keeps, whatever comes of it, and never what clients try again for ever or follow.
    assert_eq!(headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes), Some(&b"text/plain"[..]));
    assert!(headers.get(header::CACHE_CONTROL).is_some_and(|value| value == "no-store"));
    assert!([200, 400, 401, 403, 404, 405].contains(&status.as_u16()), "{status} {text}");
    if status != StatusCode::OK {
        assert!(!body.is_empty() && !text.chars().any(char::is_control), "{text:?}");
        assert!(!text.contains(token) && !text.contains("AKIA"), "{text:?}");
    }
    if text.contains("hush") {
        assert!(ours && proven && reads && status == StatusCode::OK, "{status}: keys for {request:?}");
        let role = below.and_then(|below| below.strip_prefix(ROLE)).expect("keys at their path alone");
        assert_eq!(percent_decode_str(role).decode_utf8_lossy(), IDENTITY);
    }
    if !ours {
        assert_eq!(status, StatusCode::FORBIDDEN, "{request:?}");
    } else if below == Some(TOKEN_PATH) {
        issued(service, request, (status, &headers, &text));
    } else if !proven {
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{request:?}");
    } else if !reads {
        assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED, "{request:?}");
    } else if below.and_then(|below| below.strip_prefix(ROLE)) == Some(IDENTITY) {
        assert!(status == StatusCode::OK && text.contains("hush-session"), "{request:?}");
    } else {
        assert!([200, 404].contains(&status.as_u16()), "{status} for {request:?}");
    }
}

/// A token for a `PUT` that names a lifetime, once and as a plain number; a token of now, which lets in.
fn issued(service: &Arc<Metadata>, request: &Parts, (status, headers, text): (StatusCode, &HeaderMap, &str)) {
    let lifetimes: Vec<&[u8]> = request.headers.get_all(TTL).iter().map(HeaderValue::as_bytes).collect();
    let seconds = match lifetimes[..] {
        [digits] if !digits.is_empty() && digits.iter().all(u8::is_ascii_digit) => digits
            .iter()
            .fold(0_u64, |seconds, digit| seconds.saturating_mul(10).saturating_add(u64::from(digit - b'0'))),
        _ => 0,
    };
    if request.method != Method::PUT {
        return assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED, "{request:?}");
    }
    if !(1..=21_600).contains(&seconds) {
        return assert_eq!(status, StatusCode::BAD_REQUEST, "{request:?}");
    }
    assert_eq!((status, text.len()), (StatusCode::OK, LENGTH), "{request:?}");
    assert_eq!(headers.get(TTL).map(HeaderValue::as_bytes), Some(seconds.to_string().as_bytes()));
    let (mut next, ()) = http::Request::new(()).into_parts();
    next.uri = format!("/{ROLE}{IDENTITY}").parse().expect("a path");
    next.headers.insert(header::HOST, HeaderValue::from_static("localhost"));
    next.headers.insert(TOKEN, text.parse().expect("a token is a value"));
    assert_eq!(ask(service, &next).0, StatusCode::OK);
}

fn ask(service: &Arc<Metadata>, request: &Parts) -> (StatusCode, HeaderMap, Vec<u8>) {
    broker::run(async {
        let (head, body) = service.answer(request).wait().await.unwrap_or_else(|never| match never {}).into_parts();
        let body = to_bytes(Body::new(body), 1 << 20).await.expect("it is in memory");
        (head.status, head.headers, body.to_vec())
    })
}

fn parts(data: &[u8], token: &str, stranger: &str) -> Option<Parts> {
    let mut lines = data.split(|byte| *byte == b'\n');
    let (method, target) = std::str::from_utf8(lines.next()?).ok()?.split_once(' ')?;
    let (mut request, ()) = http::Request::new(()).into_parts();
    (request.method, request.uri) = (method.parse().ok()?, target.parse::<Uri>().ok()?);
    for line in lines.take(100) {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let name = HeaderName::from_bytes(&line[..colon]);
        let value = filled(line[colon + 1..].trim_ascii(), token, stranger);
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(&value)) {
            request.headers.append(name, value);
        }
    }
    Some(request)
}

/// A value with its token.
fn filled(value: &[u8], token: &str, stranger: &str) -> Vec<u8> {
    let text = std::str::from_utf8(value).unwrap_or_default();
    let named = text.split_once('{').and_then(|(before, rest)| Some((before, rest.split_once('}')?)));
    let Some((before, (name, after))) = named else { return value.to_vec() };
    let place = name.strip_prefix("token").and_then(|place| place.parse::<usize>().ok());
    let put = match (name, place) {
        ("token", _) => token.as_bytes().to_vec(),
        ("stranger", _) => stranger.as_bytes().to_vec(),
        (_, Some(place)) => changed(token, place % LENGTH),
        _ => return value.to_vec(),
    };
    [before.as_bytes(), &put, after.as_bytes()].concat()
}

fn changed(token: &str, place: usize) -> Vec<u8> {
    let mut token = token.as_bytes().to_vec();
    token[place] = if token[place] == b'A' { b'Q' } else { b'A' };
    token
}

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| check(data));
