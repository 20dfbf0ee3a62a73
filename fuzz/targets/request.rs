//! Bytes on a connection, through hyper as the daemon sets it up, the door and the router.
#![cfg_attr(fuzzing, no_main)]

use credenza::server::connections::builder;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[path = "broker/mod.rs"]
mod broker;
use broker::TOKEN;

pub fn check(data: &[u8]) {
    let answered = converse(data);
    let text = String::from_utf8_lossy(&answered);
    // Each admitted request has a token of its own, and each body with credentials had an admitted request.
    let proven = count(data, TOKEN.as_bytes());
    let given = count(&answered, b"hush-");
    assert!(given <= proven, "{given} answers with keys for {proven} tokens:\n{text}");
    if proven == 0 {
        // Without a token nobody learns which identities there are, nor their keys.
        assert!(!text.contains("AKIA"), "{text}");
        assert!(!text.contains("a%2Fb") || count(data, b"a%2Fb") > 0, "{text}");
    }
    assert!(!text.contains(TOKEN), "a token is repeated:\n{text}");
    assert!(answered.is_empty() || answered.starts_with(b"HTTP/1."), "{text}");
    for (index, status) in text.match_indices("HTTP/1.1 ").map(|(at, _)| (at, text.get(at + 9..at + 12))) {
        assert!(status.is_none_or(|status| !status.starts_with(['3', '1']) && status != "500"), "{index}: {text}");
    }
}

fn count(all: &[u8], part: &[u8]) -> usize {
    all.windows(part.len()).filter(|window| *window == part).count()
}

/// All that is answered to these bytes and their end.
fn converse(data: &[u8]) -> Vec<u8> {
    let paths = broker::paths();
    broker::run(async move {
        let (mut client, server) = tokio::io::duplex(1 << 16);
        let service =
            service_fn(move |request: http::Request<hyper::body::Incoming>| paths.answer(request, || ()).wait());
        let serve = async move {
            // What is no HTTP ends the connection with an error, as it should.
            let _ = builder().serve_connection(TokioIo::new(server), service).await;
        };
        let ask = async move {
            let mut answered = Vec::new();
            let (mut from, mut to) = tokio::io::split(&mut client);
            let write = async {
                // The other side may have hung up before.
                let _ = to.write_all(data).await;
                let _ = to.shutdown().await;
            };
            let read = async {
                let _ = from.read_to_end(&mut answered).await;
            };
            tokio::join!(write, read);
            answered
        };
        tokio::join!(serve, ask).1
    })
}

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| check(data));
