//! A URL with an access key, a secret and an endpoint.

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use crate::http::url::Url;
use crate::model::secret::Secret;
use crate::source::url::parse;

pub fn check(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let found = parse(text);
    assert_eq!(found, parse(text));
    let found = match found {
        Ok(found) => found,
        Err(error) => {
            let shown = error.to_string();
            assert!(!shown.chars().any(char::is_control));
            assert!(!(text.contains("hunter2") && shown.contains("hunter2")), "{shown}");
            return;
        }
    };
    let (key, secret) = (&*found.access_key_id, found.secret_access_key.expose());
    let endpoint = found.endpoint.as_deref().expect("a URL has an endpoint");
    for part in [key, secret, endpoint] {
        assert!(!part.is_empty() && !part.chars().any(char::is_control) && part.trim() == part, "{part:?}");
    }
    assert!(!endpoint.contains(['@', '?', '#']), "{endpoint}");
    if let Err(error) = Url::parse(endpoint) {
        panic!("{endpoint:?} {error}");
    }
    let (scheme, rest) = endpoint.split_once("://").expect("an endpoint has a scheme");
    let parts = [Some(key), Some(secret), found.session_token.as_ref().map(Secret::expose)];
    let parts = parts.into_iter().flatten().map(|part| utf8_percent_encode(part, NON_ALPHANUMERIC).to_string());
    let user_info = parts.collect::<Vec<_>>().join(":");
    assert_eq!(parse(&format!("{scheme}://{user_info}@{rest}")).as_ref(), Ok(&found));
}
