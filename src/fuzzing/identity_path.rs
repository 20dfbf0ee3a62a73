//! The percent-encoded identity in a path, through access control and the router.

use axum::body::{Body, HttpBody};
use http::{Request, StatusCode, Uri};

use crate::fuzzing::broker;
use crate::fuzzing::broker::{NAMES, TOKEN};

/// Requests `/credentials/` followed by the input.
pub fn check(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(uri) = format!("/credentials/{text}").parse::<Uri>() else { return };
    let Some(written) = uri.path().strip_prefix("/credentials/").map(str::to_owned) else { return };
    let decoded = String::from_utf8(decode(written.as_bytes())).ok();
    let name = decoded.as_deref().and_then(|decoded| NAMES.iter().find(|name| **name == decoded));
    let (status, body) = request(uri);
    match name {
        Some(name) => {
            assert_eq!(status, StatusCode::OK, "{written}");
            assert_eq!(body, broker::lease(name).body, "{written}");
        }
        None => {
            assert_eq!(status, StatusCode::NOT_FOUND, "{written}");
            let error: serde_json::Value = serde_json::from_slice(&body).expect("errors are JSON");
            let message = error["message"].as_str().expect("errors have a message");
            assert!(!message.chars().any(char::is_control) && message.len() <= 2_100, "{message:?}");
            // The message repeats the path, which may hold that word itself.
            let is_in_path = decoded.as_deref().unwrap_or_default().contains("hush") || written.contains("hush");
            assert!(is_in_path || !String::from_utf8_lossy(&body).contains("hush"), "{message}");
        }
    }
}

/// Decodes once. Bytes that are not an escape stay.
fn decode(text: &[u8]) -> Vec<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let mut decoded = Vec::new();
    let mut rest = text;
    while let Some((first, after)) = rest.split_first() {
        rest = match after {
            [high, low, after @ ..] if *first == b'%' && digit(*high).is_some() && digit(*low).is_some() => {
                decoded.push((digit(*high).unwrap_or(0) * 16 + digit(*low).unwrap_or(0)) as u8);
                after
            }
            _ => {
                decoded.push(*first);
                after
            }
        };
    }
    decoded
}

fn request(uri: Uri) -> (StatusCode, Vec<u8>) {
    let routes = broker::routes();
    let request = Request::get(uri).header("host", "localhost").header("authorization", TOKEN);
    let request = request.body(Body::empty()).expect("the headers are valid");
    broker::run(async move {
        let Ok(response) = routes.answer(request, &Default::default(), |_| ()).wait().await;
        let (parts, body) = response.into_parts();
        let mut body = std::pin::pin!(body);
        let mut bytes = Vec::new();
        while let Some(frame) = std::future::poll_fn(|context| body.as_mut().poll_frame(context)).await {
            let frame = frame.expect("bodies are in memory");
            bytes.extend_from_slice(frame.data_ref().expect("bodies have no trailers"));
        }
        (parts.status, bytes)
    })
}
