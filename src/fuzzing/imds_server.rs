//! The IMDS server: request heads with valid and invalid tokens, against two servers that differ in `allow_v1`.

use std::sync::{Arc, Once};
use std::time::Duration;

use axum::body::{Body, to_bytes};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use percent_encoding::percent_decode_str;

use crate::fuzzing::{broker, request_head};
use crate::model::secret::Secret;
use crate::server::access::{AllowedHosts, check_addressed};
use crate::server::imds::ImdsServer;
use crate::server::imds::session_tokens::ImdsSessionTokens;

/// An identity with a slash. Another identity has its percent-encoded form as name.
const IDENTITY: &str = "a/b";
const ROLE: &str = "latest/meta-data/iam/security-credentials/";
const TOKEN_PATH: &str = "latest/api/token";
const TOKEN: &str = "x-aws-ec2-metadata-token";
const TTL: &str = "x-aws-ec2-metadata-token-ttl-seconds";

/// The number of characters in an IMDS session token.
const TOKEN_LENGTH: usize = 54;

/// The longest lifetime that the protocol allows: the fuzzer ends before it.
const LIFETIME: Duration = Duration::from_secs(21_600);

/// A server, a token that it issued, and a token of a server with another auth token.
struct Fixture {
    server: Arc<ImdsServer>,
    token: String,
    stranger: String,
}

thread_local! {
    static FIXTURES: [Fixture; 2] = [false, true].map(Fixture::new);
}

impl Fixture {
    fn new(allow_v1: bool) -> Self {
        let tokens = |auth_token: &str| ImdsSessionTokens::signed_with(&Secret::from(auth_token));
        let server = ImdsServer {
            leases: broker::leases(broker::temporary_lease),
            identity: IDENTITY.into(),
            hosts: AllowedHosts::default(),
            // A token of another fixture, or of an earlier run in the corpus, must not be valid here.
            session_tokens: tokens(&format!("{:x}", getrandom::u64().expect("the kernel has random numbers"))),
            allow_v1,
            long_lived_warning: Once::new(),
            log: Default::default(),
        };
        let now = server.leases.now();
        let (token, stranger) = (server.session_tokens.issue(now, LIFETIME), tokens("another").issue(now, LIFETIME));
        Self { server: Arc::new(server), token, stranger }
    }
}

/// Checks the request head of [`request_head::parse`]. In a header value `{token}` is replaced by the token of the
/// server, `{token7}` by that token with character 7 changed, and `{stranger}` by a token of the other.
pub fn check(data: &[u8]) {
    FIXTURES.with(|fixtures| {
        for Fixture { server, token, stranger } in fixtures {
            let verify = |token| server.session_tokens.verify(server.leases.now(), token);
            assert!(verify(token.as_bytes()) && !verify(stranger.as_bytes()));
            assert!(data == token.as_bytes() || !verify(data), "a token that was not issued");
            if let Some(request) = request_head::parse(data, |value| fill(value, token, stranger)) {
                check_response(server, &request, token);
            }
        }
    });
}

fn check_response(server: &Arc<ImdsServer>, request: &Parts, token: &str) {
    let (status, headers, body) = respond(server, request);
    let text = String::from_utf8_lossy(&body);
    let tokens: Vec<&[u8]> = request.headers.get_all(TOKEN).iter().map(HeaderValue::as_bytes).collect();
    let proven = if tokens.is_empty() { server.allow_v1 } else { tokens == [token.as_bytes()] };
    let ours = check_addressed(request, &server.hosts).is_ok();
    let path = request.uri.path();
    let below = path.strip_prefix('/').map(|below| below.trim_start_matches('/'));
    let reads = [Method::GET, Method::HEAD].contains(&request.method);

    // Uncached text with every status, and no status that clients follow or retry for ever.
    assert_eq!(headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes), Some(&b"text/plain"[..]));
    assert!(headers.get(header::CACHE_CONTROL).is_some_and(|value| value == "no-store"));
    assert!([200, 400, 401, 403, 404, 405].contains(&status.as_u16()), "{status} {text}");
    if status != StatusCode::OK {
        assert!(!body.is_empty() && !text.chars().any(char::is_control), "{text:?}");
        assert!(!text.contains(token) && !text.contains("AKIA"), "{text:?}");
    }
    if text.contains("hush") {
        assert!(ours && proven && reads && status == StatusCode::OK, "{status}: keys for {request:?}");
        let role = below.and_then(|below| below.strip_prefix(ROLE)).expect("only the path of the role has keys");
        assert_eq!(percent_decode_str(role).decode_utf8_lossy(), IDENTITY);
    }
    if !ours {
        assert_eq!(status, StatusCode::FORBIDDEN, "{request:?}");
    } else if below == Some(TOKEN_PATH) {
        check_token(server, request, (status, &headers, &text));
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

/// Panics unless a `PUT` with exactly one lifetime, in digits, gets a token that gives access.
fn check_token(server: &Arc<ImdsServer>, request: &Parts, (status, headers, text): (StatusCode, &HeaderMap, &str)) {
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
    assert_eq!((status, text.len()), (StatusCode::OK, TOKEN_LENGTH), "{request:?}");
    assert_eq!(headers.get(TTL).map(HeaderValue::as_bytes), Some(seconds.to_string().as_bytes()));
    let (mut next, ()) = http::Request::new(()).into_parts();
    next.uri = format!("/{ROLE}{IDENTITY}").parse().expect("a path");
    next.headers.insert(header::HOST, HeaderValue::from_static("localhost"));
    next.headers.insert(TOKEN, text.parse().expect("a token is a header value"));
    assert_eq!(respond(server, &next).0, StatusCode::OK);
}

fn respond(server: &Arc<ImdsServer>, request: &Parts) -> (StatusCode, HeaderMap, Vec<u8>) {
    broker::run(async {
        let (head, body) = server
            .answer(request, &Default::default(), || ())
            .wait()
            .await
            .unwrap_or_else(|never| match never {})
            .into_parts();
        let body = to_bytes(Body::new(body), 1 << 20).await.expect("the body is in memory");
        (head.status, head.headers, body.to_vec())
    })
}

/// Puts the tokens into a header value.
fn fill(value: &[u8], token: &str, stranger: &str) -> Vec<u8> {
    let text = std::str::from_utf8(value).unwrap_or_default();
    let named = text.split_once('{').and_then(|(before, rest)| Some((before, rest.split_once('}')?)));
    let Some((before, (name, after))) = named else { return value.to_vec() };
    let at = name.strip_prefix("token").and_then(|at| at.parse::<usize>().ok());
    let token = match (name, at) {
        ("token", _) => token.as_bytes().to_vec(),
        ("stranger", _) => stranger.as_bytes().to_vec(),
        (_, Some(at)) => changed(token, at % TOKEN_LENGTH),
        _ => return value.to_vec(),
    };
    [before.as_bytes(), &token, after.as_bytes()].concat()
}

fn changed(token: &str, at: usize) -> Vec<u8> {
    let mut token = token.as_bytes().to_vec();
    token[at] = if token[at] == b'A' { b'Q' } else { b'A' };
    token
}
