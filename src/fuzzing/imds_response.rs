//! Responses of IMDS and of container endpoints without credentials: the role list, the identity document, errors.

use std::time::{Duration, SystemTime};

use http::StatusCode;

use crate::http::message::Response;
use crate::http::url::Url;
use crate::model::error::ErrorKind;
use crate::os::clock::Clock;
use crate::source::endpoint::refused;
use crate::source::imds::IdentityDocument;
use crate::source::imds::endpoint::role_path;

/// The first two bytes select the status, the rest is the body.
pub fn check(data: &[u8]) {
    let Some((status, body)) = data.split_first_chunk::<2>() else { return };
    check_role(body);
    check_identity(body);
    let status = 200 + u16::from_be_bytes(*status) % 400;
    check_error(StatusCode::from_u16(status).expect("from 200 to 599"), body);
}

fn check_role(body: &[u8]) {
    match role_path(body, "GET x") {
        Ok(path) => {
            let role = path.strip_prefix("/latest/meta-data/iam/security-credentials/").expect("below the list");
            assert!(!role.is_empty() && !role.contains(['/', '%', '?', '#']) && role != ".." && role != ".");
            let url = Url::parse("http://h").and_then(|url| url.join(&path)).expect("a role is a segment of a path");
            assert_eq!(url.to_string(), format!("http://h{path}"));
        }
        Err(error) => assert_eq!(&*error.message, "GET x: the answer has no valid role name"),
    }
}

fn check_identity(body: &[u8]) {
    let IdentityDocument { region, account_id } = IdentityDocument::read(body);
    assert!(region.is_none_or(|it| !it.is_empty() && it.trim() == &*it && !it.chars().any(char::is_control)));
    assert!(account_id.is_none_or(|it| it.len() == 12 && it.bytes().all(|byte| byte.is_ascii_digit())));
}

fn check_error(status: StatusCode, body: &[u8]) {
    let clock = Clock::injected(SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_449_600));
    let response = Response { status, headers: Default::default(), body: body.to_vec().into() };
    let error = refused(&response, "GET x", &clock, Some(&"hush".into()));
    let message = &error.message;
    assert!(message.starts_with("GET x: status ") && message.len() < 8_000, "{message:?}");
    assert!(!message.chars().any(char::is_control) && !message.contains("hush"), "{message:?}");
    assert!(!status.is_server_error() || error.kind == ErrorKind::Unavailable, "{status}: {error:?}");
}
