//! Bytes on a connection, through hyper with the options of the daemon, access control and the router.

use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::fuzzing::broker;
use crate::fuzzing::broker::TOKEN;
use crate::server::parser_refusal::builder;

pub fn check(data: &[u8]) {
    let response = send(data);
    let text = String::from_utf8_lossy(&response);
    // Each body with keys answers a request with a token.
    let tokens = count(data, TOKEN.as_bytes());
    let keys = count(&response, b"hush-");
    assert!(keys <= tokens, "{keys} responses with keys for {tokens} tokens:\n{text}");
    if tokens == 0 {
        // A client without a token learns neither the names of identities nor their keys.
        assert!(!text.contains("AKIA"), "{text}");
        assert!(!text.contains("a%2Fb") || count(data, b"a%2Fb") > 0, "{text}");
    }
    assert!(!text.contains(TOKEN), "a response repeats a token:\n{text}");
    assert!(response.is_empty() || response.starts_with(b"HTTP/1."), "{text}");
    for (index, status) in text.match_indices("HTTP/1.1 ").map(|(at, _)| (at, text.get(at + 9..at + 12))) {
        assert!(status.is_none_or(|status| !status.starts_with(['3', '1']) && status != "500"), "{index}: {text}");
    }
}

fn count(all: &[u8], part: &[u8]) -> usize {
    all.windows(part.len()).filter(|window| *window == part).count()
}

/// Sends the bytes, closes the sending side, and returns every byte of the response.
fn send(data: &[u8]) -> Vec<u8> {
    let routes = broker::routes();
    broker::run(async move {
        let (mut client, server) = tokio::io::duplex(1 << 16);
        let service = service_fn(move |request: http::Request<hyper::body::Incoming>| {
            routes.answer(request, &Default::default(), |_| ()).wait()
        });
        let serve = async move {
            // Bytes that are not HTTP end the connection with an error.
            let _ = builder().serve_connection(TokioIo::new(server), service).await;
        };
        let request = async move {
            let mut response = Vec::new();
            let (mut from, mut to) = tokio::io::split(&mut client);
            let write = async {
                // The server may have closed the connection before.
                let _ = to.write_all(data).await;
                let _ = to.shutdown().await;
            };
            let read = async {
                let _ = from.read_to_end(&mut response).await;
            };
            tokio::join!(write, read);
            response
        };
        tokio::join!(serve, request).1
    })
}
