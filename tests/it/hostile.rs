//! Hostile services and clients: memory stays bounded, and other clients are served meanwhile.

use std::time::{Duration, Instant};

use testkit::harness::{Broker, Home, KeepAlive, Response, TIMEOUT, open_many_files, send, skip};
use testkit::server::{Reply, Server};

/// At info, as a daemon runs: clients without an auth token must not fill the log.
const QUIET: [(&str, &str); 3] =
    [("AWS_ACCESS_KEY_ID", "AKIAENV"), ("AWS_SECRET_ACCESS_KEY", "hush-env"), ("RUST_LOG", "info")];

/// In kB. An idle debug build has 13,000; a daemon that kept its input would have gigabytes.
const ENOUGH: u64 = 64_000;

/// The maximum number of log lines, regardless of the number of hostile clients.
const FEW: usize = 20;

fn assert_calm(broker: &Broker) {
    assert!(broker.peak_memory() < ENOUGH, "{} kB", broker.peak_memory());
    let log = broker.log();
    assert!(log.lines().count() < FEW, "{log}");
}

#[test]
fn survives_endless_responses() {
    std::thread::scope(|scope| {
        for reply in [Reply::Flood, Reply::FloodHead, Reply::Drip, Reply::DripHead] {
            scope.spawn(move || survives_endless_response(&reply));
        }
    });
}

/// Uses the service as container endpoint and as IMDS, beside an identity that needs neither.
fn survives_endless_response(reply: &Reply) {
    let endless = reply.clone();
    let server = Server::start(move |_| endless.clone());
    let home = Home::new();
    let config: String = [("default", "environment"), ("container", "container"), ("imds", "imds")]
        .map(|(identity, source)| format!("[identities.{identity}]\nsources = [\"{source}\"]\n"))
        .concat();
    let (container, metadata) = (server.url("/credentials"), server.url("/"));
    let variables = [
        QUIET[0],
        QUIET[1],
        QUIET[2],
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", container.as_str()),
        ("AWS_EC2_METADATA_SERVICE_ENDPOINT", metadata.as_str()),
        ("AWS_EC2_METADATA_DISABLED", "false"),
    ];
    let broker = home.serve_config(config, &variables);
    let began = Instant::now();
    let failed = |identity: &str| {
        let log = broker.log();
        log.lines().any(|line| line.contains("load failed") && line.contains(&format!("identity={identity}")))
    };
    while !failed("container") || !failed("imds") {
        assert_eq!(broker.get("/credentials").status, 200);
        assert!(began.elapsed() < TIMEOUT, "{reply:?}: no load ended\n{}", broker.log());
        std::thread::sleep(Duration::from_millis(50));
    }
    for identity in ["container", "imds"] {
        let answer = broker.get(&format!("/credentials/{identity}"));
        assert!(answer.status == 503 && answer.message().contains(identity), "{reply:?}: {answer:?}");
    }
    assert!(server.lines().iter().any(|line| line == "GET /credentials"));
    assert!(server.lines().iter().any(|line| line == "PUT /latest/api/token"), "{:?}", server.lines());
    assert_calm(&broker);
}

#[test]
fn refuses_oversized_heads() {
    let home = Home::new();
    let broker = home.serve(&[], &QUIET);
    broker.wait_for_key("AKIAENV");
    let head = format!("GET /credentials HTTP/1.1\r\nHost: localhost\r\nX: {}\r\n\r\n", "x".repeat(200_000));
    let many: String = (0..10_000).map(|number| format!("X-{number}: y\r\n")).collect();
    let many = format!("GET /credentials HTTP/1.1\r\nHost: localhost\r\n{many}\r\n");
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                for head in [&head, &many].into_iter().cycle().take(10) {
                    let answer = broker.send(head.as_bytes());
                    // The response is lost if the kernel resets the connection because of unread bytes.
                    assert!(
                        answer.status == 0 || answer.status == 431 && answer.code() == "RequestHeadTooLarge",
                        "{answer:?}"
                    );
                }
            });
        }
        for _ in 0..50 {
            assert_eq!(broker.get("/credentials").status, 200);
        }
    });
    assert_calm(&broker);
}

#[test]
fn serves_during_ten_thousand_unfinished_requests() {
    let files = open_many_files(10_000);
    if files.is_none() && skip("10,000 connections need ulimit -n 14000") {
        return;
    }
    let home = Home::new();
    let broker = home.serve(&[], &QUIET);
    broker.wait_for_key("AKIAENV");
    let mut client = KeepAlive::to(&broker);
    assert_eq!(client.request(), 200);
    let (began, mut unfinished) = (Instant::now(), Vec::new());
    for number in 0..10_000 {
        // A head, a body, and bytes that are not HTTP.
        let bytes = match number % 3 {
            0 => "GET /credentials HTTP/1.1\r\nHost: local",
            1 => "POST /credentials HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999\r\n\r\n{",
            _ => "\x16\x03\x01",
        };
        unfinished.push(send(broker.address(), bytes));
        if number % 500 == 0 {
            assert_eq!(broker.get("/credentials").status, 200, "a new client");
            assert_eq!(client.request(), 200, "an authorized client keeps its connection");
            // If each kept its slot for 15 s, all of them would take five minutes.
            assert!(began.elapsed() < 3 * TIMEOUT, "unfinished requests keep their slots");
        }
    }
    // All of these were closed for newer connections, long before the header timeout.
    for stream in &mut unfinished[..5000] {
        Response::read(stream);
    }
    assert_eq!(client.request(), 200);
    assert_calm(&broker);
}

#[test]
fn refuses_malformed_and_smuggled_requests() {
    let home = Home::new();
    let broker = home.serve(&[], &QUIET);
    let token = home.token();
    broker.wait_for_key("AKIAENV");
    let good = format!("Host: localhost\r\nAuthorization: {token}\r\n");
    let smuggled = format!("0\r\n\r\nGET /credentials HTTP/1.1\r\n{good}\r\n");
    let health = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n";
    let post = "POST /credentials HTTP/1.1\r\nHost: localhost\r\n";
    let credentials = format!("GET /credentials HTTP/1.1\r\n{good}");
    let close = format!("{good}Connection: close\r\n\r\n");
    let table: &[(&str, &[u16])] = &[
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\u{4}\0\0\0\0\0", &[0, 400, 505]),
        ("CONNECT evil.example:443 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", &[403]),
        ("OPTIONS * HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", &[401]),
        (&format!("{post}Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n{smuggled}"), &[400, 401]),
        (&format!("{health}Content-Length: 5\r\nContent-Length: 6\r\n\r\n{smuggled}"), &[400]),
        (&format!("{health}Transfer-Encoding: xchunked\r\n\r\n{smuggled}"), &[400]),
        (&format!("{credentials}Content-Length: 99999999999999999999999\r\n\r\n"), &[400]),
        (&format!("{credentials}X: a\0b\r\n\r\n"), &[400]),
        (&format!("GET /credentials/\0 HTTP/1.1\r\n{good}\r\n"), &[400]),
        (&format!("GET /credentials HTTP/1.1\r\nHost : localhost\r\n{good}\r\n"), &[400]),
        (&format!("{post}Expect: 100-continue\r\nContent-Length: 9000000\r\n\r\n"), &[401]),
        (&format!("GET /healthz/../credentials HTTP/1.1\r\n{close}"), &[404]),
        (&format!("GET /credentials/..%2f HTTP/1.1\r\n{close}"), &[404]),
        (&format!("GET /credentials/%00%0d%0a%1b HTTP/1.1\r\n{close}"), &[404]),
        (&format!("GET /credentials/{} HTTP/1.1\r\n{close}", "n".repeat(15_000)), &[404]),
    ];
    for (bytes, statuses) in table {
        let answer = broker.send(bytes.as_bytes());
        assert!(statuses.contains(&answer.status), "{bytes:.80}: {answer:?}");
        let all = format!("{}{}", answer.head, answer.body);
        assert!(!all.contains("AccessKeyId") && all.matches("HTTP/1.1 ").count() <= 1, "{bytes:.80}: {all}");
        assert!(answer.body.len() < 4096 && !answer.body.contains(['\0', '\u{1b}']), "{bytes:.80}: {answer:?}");
    }
    assert_eq!(broker.get("/credentials").status, 200);
    assert_calm(&broker);
}
