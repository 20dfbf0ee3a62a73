//! What else the metadata service and container endpoints answer: the list of roles, the identity document, errors.
#![cfg_attr(fuzzing, no_main)]

use std::time::{Duration, SystemTime};

use credenza::clock::Clock;
use credenza::source::Kind;
use credenza::source::endpoint::refused;
use credenza::source::imds::{Identity, role_path};
use credenza::upstream::{Response, Url};
use http::StatusCode;

/// The first two bytes are a status, the rest is the body.
pub fn check(data: &[u8]) {
    let Some((status, body)) = data.split_first_chunk::<2>() else { return };
    role(body);
    identity(body);
    let status = 200 + u16::from_be_bytes(*status) % 400;
    error(StatusCode::from_u16(status).expect("from 200 to 599"), body);
}

fn role(body: &[u8]) {
    match role_path(body, "GET x") {
        Ok(path) => {
            let role = path.strip_prefix("/latest/meta-data/iam/security-credentials/").expect("below the list");
            assert!(!role.is_empty() && !role.contains(['/', '%', '?', '#']) && role != ".." && role != ".");
            let url = Url::parse("http://h").and_then(|url| url.join(&path)).expect("a role is a segment of a path");
            assert_eq!(url.to_string(), format!("http://h{path}"));
        }
        Err(failure) => assert_eq!(&*failure.message, "GET x: the answer names no role that there could be"),
    }
}

fn identity(body: &[u8]) {
    let Identity { region, account_id } = Identity::read(body);
    assert!(region.is_none_or(|it| !it.is_empty() && it.trim() == &*it && !it.chars().any(char::is_control)));
    assert!(account_id.is_none_or(|it| it.len() == 12 && it.bytes().all(|byte| byte.is_ascii_digit())));
}

fn error(status: StatusCode, body: &[u8]) {
    let clock = Clock::injected(SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_449_600));
    let response = Response { status, headers: Default::default(), body: body.to_vec().into() };
    let failure = refused(&response, "GET x", &clock, Some(&"hush".into()));
    let message = &failure.message;
    assert!(message.starts_with("GET x: status ") && message.len() < 8_000, "{message:?}");
    assert!(!message.chars().any(char::is_control) && !message.contains("hush"), "{message:?}");
    assert!(!status.is_server_error() || failure.kind == Kind::Unavailable, "{status}: {failure:?}");
}

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| check(data));
