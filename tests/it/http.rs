//! Every path, code and body of the endpoint, and its access control.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use testkit::harness::{HUSH, Home, KEYS, Response, TIMEOUT, keys_file, profile, send};
use testkit::server::{Reply, Server};

#[test]
fn response_body_suits_every_sdk() {
    let home = Home::new();
    let broker = home.serve(&[], &[KEYS[0], KEYS[1], ("AWS_ACCOUNT_ID", "123456789012")]);
    let answer = broker.get("/credentials");
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let body = answer.json();
    let mut keys: Vec<&String> = body.as_object().unwrap().keys().collect();
    keys.sort();
    let all = ["AccessKeyId", "AccountId", "Code", "Expiration", "LastUpdated", "SecretAccessKey", "Token", "Type"];
    assert_eq!(keys, all);
    assert_eq!(
        (&body["AccessKeyId"], &body["SecretAccessKey"], &body["Token"]),
        (&"AKIAENV".into(), &"hush-env".into(), &"".into())
    );
    assert!(body["Expiration"].as_str().unwrap().ends_with('Z'));
    assert_eq!(broker.get("/credentials/default").key().as_deref(), Some("AKIAENV"));
}

#[test]
fn fast_path_and_router_respond_alike() {
    let home = Home::new();
    let broker = home.serve(&[], &KEYS);
    let token = home.token();
    let seen = |answer: &Response| {
        let head = answer.head.lines().filter(|line| !line.to_ascii_lowercase().starts_with("date:"));
        head.map(str::to_owned).collect::<BTreeSet<_>>()
    };
    let short = broker.get("/credentials");
    assert_eq!(short.key().as_deref(), Some("AKIAENV"));
    // An escaped name and HEAD go through the router.
    let paths = ["/credentials/default", "/credentials/%64efault", "/v2/credentials", "/v2/credentials/%64efault"];
    for path in paths {
        let other = broker.get(path);
        assert_eq!((seen(&other), &other.body), (seen(&short), &short.body), "{path}");
    }
    let host = broker.address();
    let head = broker.request(&format!("HEAD /credentials HTTP/1.1\r\nHost: {host}\r\nAuthorization: {token}\r\n"));
    assert_eq!((seen(&head), head.body.as_str()), (seen(&short), ""));
}

#[test]
fn serves_each_path_with_its_code() {
    let home = Home::new();
    home.write("credentials", profile("a/b%c", "AKIAODD"));
    home.write("empty", "");
    let broker = home.serve_config(
        r#"
        [identities.default]
        sources = ["environment"]
        [identities."a/b%c"]
        sources = [{ profile = "a/b%c", credentials_file = "~/credentials" }]
        [identities.half]
        sources = [{ access_key_id_file = "~/empty", secret_access_key_file = "~/empty" }]
        [identities.missing]
        sources = [{ profile = "nobody", credentials_file = "~/no-such-file" }]
        "#,
        &KEYS[..0],
    );
    let token = home.token();
    let table: &[(&str, &str, u16, &str)] = &[
        ("/credentials", "", 401, "InvalidAuthorizationToken"),
        ("/credentials", "wrong", 401, "InvalidAuthorizationToken"),
        ("/credentials", &token, 404, "CredentialsNotConfigured"),
        ("/credentials/default", &token, 404, "CredentialsNotConfigured"),
        ("/credentials/nobody", &token, 404, "IdentityNotFound"),
        ("/credentials/a%2Fb%25c", &token, 200, ""),
        ("/credentials/a/b%25c", &token, 200, ""),
        ("/credentials/half", &token, 403, "SourceMisconfigured"),
        ("/credentials/missing", &token, 503, "CredentialsUnavailable"),
        ("/credentials/%ff", &token, 404, "IdentityNotFound"),
        ("/credentials/", &token, 404, "NotFound"),
        ("/v2/credentials", &token, 404, "CredentialsNotConfigured"),
        ("/v2/credentials/a/b%25c", &token, 200, ""),
        ("/v2/credentials/half", &token, 403, "SourceMisconfigured"),
        ("/v2/credentials/a/b%25c", "", 401, "InvalidAuthorizationToken"),
        ("/v2/credentials/", &token, 404, "NotFound"),
        ("/v2credentials", &token, 404, "NotFound"),
        ("/v2/status", &token, 404, "NotFound"),
        ("/", &token, 404, "NotFound"),
        ("/latest/meta-data/", &token, 404, "NotFound"),
        ("/", "", 401, "InvalidAuthorizationToken"),
        ("/healthz", "", 200, ""),
        ("/readyz", "", 503, "NotReady"),
        ("/status", "", 401, "InvalidAuthorizationToken"),
        ("/status", &token, 200, ""),
    ];
    for (path, token, status, code) in table {
        let answer = broker.get_with(path, token);
        assert_eq!(answer.status, *status, "{path}: {answer:?}");
        if !code.is_empty() {
            assert_eq!(answer.code(), *code, "{path}");
            assert_eq!(answer.header("retry-after").is_some(), *status == 503 && *code != "NotReady", "{path}");
        }
        assert!(
            answer.header("location").is_none()
                && (*status == 200 && path.contains("cred") || !answer.body.contains(HUSH))
        );
    }
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "PATCH"] {
        let answer =
            broker.request(&format!("{method} /credentials HTTP/1.1\r\nHost: localhost\r\nAuthorization: {token}\r\n"));
        assert_eq!((answer.status, answer.code().as_str()), (405, "MethodNotAllowed"), "{method}");
    }
}

#[test]
fn access_control_checks_host_and_headers() {
    let home = Home::new();
    let broker = home.serve(&[], &KEYS);
    let token = home.token();
    let with = |head: &str| broker.request(&format!("{head}Authorization: {token}\r\n"));
    let port = broker.address().port();
    let with_port = ["localhost", "[::1]"].map(|host| format!("{host}:{port}"));
    for host in ["127.0.0.1", "LOCALHOST", &with_port[0], "[::1]", "::1", &with_port[1], "127.0.0.1:1"] {
        assert_eq!(with(&format!("GET /credentials HTTP/1.1\r\nHost: {host}\r\n")).status, 200, "{host}");
    }
    let refused: &[(&str, &str)] = &[
        ("GET /credentials HTTP/1.1\r\n", "ForbiddenHost"),
        ("GET /credentials HTTP/1.1\r\nHost: evil.example\r\n", "ForbiddenHost"),
        ("GET /credentials HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n", "ForbiddenHost"),
        ("GET http://evil.example/credentials HTTP/1.1\r\nHost: localhost\r\n", "ForbiddenHost"),
        ("GET /credentials HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: 1.2.3.4\r\n", "Forwarded"),
        ("GET /credentials HTTP/1.1\r\nHost: localhost\r\nForwarded: for=1.2.3.4\r\n", "Forwarded"),
        ("GET /credentials HTTP/1.1\r\nHost: localhost\r\nVia: 1.1 x\r\n", "Forwarded"),
        ("GET /credentials HTTP/1.1\r\nHost: localhost\r\nOrigin: http://localhost\r\n", "Forwarded"),
        ("GET /credentials HTTP/1.1\r\nHost: localhost\r\nReferer: http://localhost/\r\n", "Forwarded"),
        ("GET /healthz HTTP/1.1\r\nHost: localhost\r\nSec-Fetch-Site: cross-site\r\n", "Forwarded"),
        ("GET /credentials HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-Host: a\r\n", "Forwarded"),
        ("GET /credentials HTTP/1.1\r\nHost: localhost\r\nX-Real-IP: 1.2.3.4\r\n", "Forwarded"),
        ("GET /credentials HTTP/1.1\r\nHost: localhost\r\nCF-Connecting-IP: 1.2.3.4\r\n", "Forwarded"),
        ("GET /credentials HTTP/1.1\r\nHost: localhost\r\nX-Envoy-Internal: true\r\n", "Forwarded"),
        ("GET /healthz HTTP/1.1\r\nHost: evil.example\r\n", "ForbiddenHost"),
    ];
    for (head, code) in refused {
        let answer = with(head);
        assert_eq!((answer.status, answer.code().as_str()), (403, *code), "{head}");
    }
    assert_eq!(
        with(&format!("GET http://127.0.0.1:{port}/credentials HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n")).status,
        200
    );
}

#[test]
fn answers_odd_requests_and_serves_the_next() {
    let home = Home::new();
    let broker = home.serve(&[], &KEYS);
    let token = home.token();
    let head = format!("Host: localhost\r\nAuthorization: {token}\r\n");
    let get = format!("GET /credentials HTTP/1.1\r\n{head}");
    // HTTP/1.0, with a Host.
    assert_eq!(broker.send(format!("GET /credentials HTTP/1.0\r\n{head}\r\n").as_bytes()).status, 200);
    // A body is ignored.
    assert_eq!(broker.send(format!("{get}Content-Length: 5\r\nConnection: close\r\n\r\nhello").as_bytes()).status, 200);
    // Pipelined: both are answered, in order.
    let two = broker
        .send(format!("{get}\r\nGET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").as_bytes());
    let all = format!("{}{}", two.head, two.body);
    assert_eq!(all.matches("HTTP/1.1 200 OK").count(), 2, "{all}");
    assert!(all.find("AccessKeyId") < all.find("\"ok\""));
    // Too long.
    let long = broker.send(format!("{get}X-Long: {}\r\n\r\n", "x".repeat(200_000)).as_bytes());
    assert!(matches!(long.status, 431 | 0), "{long:?}");
    let long = broker.send(format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(100_000)).as_bytes());
    assert!(matches!(long.status, 414 | 431 | 400 | 0), "{long:?}");
    // Not HTTP.
    for bytes in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..],
        b"\0\0\0\0\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
    ] {
        let answer = broker.send(&[bytes, b"\r\n\r\n"].concat());
        assert!(matches!(answer.status, 400 | 505 | 0), "{answer:?}");
    }
    assert_eq!(broker.get("/credentials").status, 200);
}

#[test]
fn unreadable_requests_get_json_errors() {
    let home = Home::new();
    let broker = home.serve(&[], &KEYS);
    let head = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n";
    let headers: String = (0..101).map(|number| format!("X-{number}: y\r\n")).collect();
    let malformed = [
        "GET\r\n\r\n".to_owned(),
        "\0\0\0\0\r\n\r\n".to_owned(),
        "GET / HTTP/9.9\r\n\r\n".to_owned(),
        "\u{16}\u{3}\u{1}\u{2}\0\u{1}\0\u{1}\r\n\r\n".to_owned(),
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\u{4}\0\0\0\0\0".to_owned(),
        format!("{head}Content-Length: many\r\n\r\n"),
        format!("{head}X: a\0b\r\n\r\n"),
        // Cut off: the client closes its sending side.
        head.to_owned(),
    ];
    let too_large = [format!("{head}X: {}\r\n\r\n", "x".repeat(20_000)), format!("{head}{headers}\r\n")];
    let malformed = malformed.into_iter().map(|bytes| (bytes, 400, "MalformedRequest"));
    let too_large = too_large.into_iter().map(|bytes| (bytes, 431, "RequestHeadTooLarge"));
    for (bytes, status, code) in malformed.chain(too_large) {
        let mut stream = TcpStream::connect(broker.address()).unwrap();
        stream.set_read_timeout(Some(TIMEOUT)).unwrap();
        stream.write_all(bytes.as_bytes()).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{bytes:.80}: {answer:?}"));
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{bytes:.80}: {answer}");
        let head = head.to_ascii_lowercase();
        assert!(head.contains("content-type: application/json") && head.contains("connection: close"), "{answer}");
        let body: serde_json::Value = serde_json::from_str(body).unwrap();
        assert!(body["code"] == code && body["message"].is_string(), "{bytes:.80}: {answer}");
        assert_eq!(answer.matches("HTTP/1.1 4").count(), 1, "{answer}");
    }
}

/// The client closes its sending side with the request or a little later. In both cases it still reads.
#[test]
fn answers_a_half_closed_client() {
    let home = Home::new();
    // The source never answers, so that `/status` waits a second for a region.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let uri = format!("http://{}/", silent.local_addr().unwrap());
    let broker = home.serve(&[], &[("AWS_CONTAINER_CREDENTIALS_FULL_URI", uri.as_str())]);
    let token = home.token();
    let half_close = |path: &str, pause: Duration| {
        let mut stream = TcpStream::connect(broker.address()).unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: {token}\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        std::thread::sleep(pause);
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        stream.set_read_timeout(Some(TIMEOUT)).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 ") && answer.contains("\r\n\r\n{"), "{path} {pause:?}: {answer:?}");
    };
    for _ in 0..100 {
        half_close("/nothing", Duration::ZERO);
        half_close("/healthz", Duration::ZERO);
    }
    for pause in [0, 100] {
        half_close("/status", Duration::from_millis(pause));
    }
}

#[test]
fn connection_without_a_token_gets_one_answer() {
    let home = Home::new();
    let broker = home.serve(&[], &KEYS);
    let token = home.token();
    broker.wait_for_key("AKIAENV");
    let with =
        |path: &str, token: &str| format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: {token}\r\n\r\n");
    let count = |requests: String| {
        let mut stream = TcpStream::connect(broker.address()).unwrap();
        stream.set_read_timeout(Some(TIMEOUT)).unwrap();
        stream.write_all(requests.as_bytes()).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answers = String::new();
        // The kernel may reset the connection, because the daemon does not read the other requests.
        let _ = stream.read_to_string(&mut answers);
        (answers.matches("HTTP/1.1 ").count(), answers.to_ascii_lowercase().matches("connection: close").count())
    };
    for path in ["/credentials", "/healthz", "/readyz"] {
        assert_eq!(count(with(path, "wrong").repeat(50)), (1, 1), "{path}");
    }
    assert_eq!(count(with("/credentials", &token).repeat(50)), (50, 0));
    assert_eq!(count(with("/credentials", &token) + &with("/healthz", "").repeat(50)), (51, 0), "it has shown a token");
}

#[test]
fn cuts_off_unfinished_requests_and_serves_others() {
    let home = Home::new();
    let broker = home.serve_config("[server]\nmax_connections = 8\n", &KEYS);
    let head = "GET /credentials HTTP/1.1\r\nHost: local";
    let mut unfinished: Vec<TcpStream> = (0..40).map(|_| send(broker.address(), head)).collect();
    for _ in 0..5 {
        assert_eq!(broker.get("/credentials").status, 200);
    }
    // The oldest connection was closed, long before the header timeout.
    let began = Instant::now();
    assert_eq!(Response::read(&mut unfinished[0]).status, 0);
    assert!(began.elapsed() < Duration::from_secs(10));
}

#[test]
fn listens_on_ipv6_and_reports_ports_in_use() {
    let home = Home::new();
    let broker = home.serve(&["--listen", "127.0.0.1:0", "--listen", "[::1]:0"], &KEYS);
    assert_eq!(broker.addresses.len(), 2);
    assert!(broker.addresses[1].is_ipv6());
    let head = "GET /healthz HTTP/1.1\r\nHost: ::1\r\nConnection: close\r\n\r\n";
    assert_eq!(Response::read(&mut send(broker.addresses[1], head)).status, 200);
    let taken = broker.address().to_string();
    let ended = home.run(&["serve", "--listen", &taken], &KEYS);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.stderr.contains(&taken) && ended.stderr.contains("another program listens there"), "{ended:?}");
    let ended = home.run(&["serve", "--listen", "0.0.0.0:0"], &KEYS);
    assert!(ended.code == Some(2) && ended.stderr.contains("allow_remote"), "{ended:?}");
}

#[test]
fn readyz_and_status_report_failures_without_secrets() {
    let home = Home::new();
    home.write("good", keys_file("AKIAGOOD"));
    let broker = home.serve_config(
        r#"
        [identities.good]
        sources = ["environment", { profile = "default", credentials_file = "~/good", region = "eu-west-1" }]
        [identities.bad]
        sources = [{ access_key_id_file = "~/none", secret_access_key_file = "~/none" }, "environment"]
        [identities.lazy]
        eager = false
        sources = ["environment"]
        "#,
        &[],
    );
    let token = home.token();
    broker.wait_for_identity("good");
    let (answer, _) = broker.wait_for("/readyz", |answer| answer.json()["identities"][0] == "bad");
    assert_eq!((answer.status, answer.code().as_str()), (503, "NotReady"));
    assert!(broker.get_with("/readyz", "").json()["identities"].is_null(), "names only with the token");
    let status = broker.get("/status").json();
    let good = &status["identities"]["good"];
    assert_eq!(
        (&good["state"], &good["region"], &good["access_key_id"]),
        (&"available".into(), &"eu-west-1".into(), &"AKIAGOOD".into())
    );
    assert_eq!((&good["sources"][0]["said"], &good["sources"][1]["said"]), (&"not configured".into(), &"found".into()));
    assert!(good["notice"].as_str().unwrap().contains("Rust"), "{good}");
    let bad = &status["identities"]["bad"];
    assert_eq!((&bad["state"], &bad["sources"][1]["said"]), (&"failing".into(), &"not asked".into()));
    assert!(bad["failure"]["message"].as_str().unwrap().contains("none"), "{bad}");
    assert_eq!(status["identities"]["lazy"]["state"], "not loaded yet");
    home.write("none", "");
    let shown = broker.get("/status").body;
    assert!(!shown.contains(HUSH) && !shown.contains(&token), "{shown}");
}

#[test]
fn stop_finishes_a_response_in_progress() {
    let home = Home::new();
    // The source never answers, so that `/status` waits a second for a region.
    let silent = Server::start(|_| Reply::Hang);
    let mut broker = home.serve(&[], &[("AWS_CONTAINER_CREDENTIALS_FULL_URI", &silent.url("/"))]);
    let mut stream = broker.begin("/status");
    std::thread::sleep(Duration::from_millis(300));
    broker.signal(rustix::process::Signal::TERM);
    let answer = Response::read(&mut stream);
    assert!(answer.status == 200 && answer.body.ends_with('}'), "{answer:?}");
    assert_eq!(broker.wait().code(), Some(0));
}

#[test]
fn stop_serves_connections_accepted_before() {
    let home = Home::new();
    let mut broker = home.serve(&[], &KEYS);
    broker.wait_for_key("AKIAENV");
    let mut stream = TcpStream::connect(broker.address()).unwrap();
    // Connections are accepted in order: after this response, the connection above has been accepted.
    assert_eq!(broker.get_with("/healthz", "").status, 200);
    broker.signal(rustix::process::Signal::TERM);
    broker.wait_for_log("stopping");
    let request = format!("GET /credentials HTTP/1.1\r\nHost: localhost\r\nAuthorization: {}\r\n\r\n", home.token());
    stream.write_all(request.as_bytes()).unwrap();
    assert_eq!(Response::read(&mut stream).status, 200);
    assert_eq!(broker.wait().code(), Some(0));
}

#[test]
fn stop_does_not_wait_for_unfinished_requests() {
    let home = Home::new();
    let mut broker = home.serve(&[], &KEYS);
    let _unfinished = send(broker.address(), "GET /credentials HTTP/1.1\r\nHost: loc");
    std::thread::sleep(Duration::from_millis(200));
    let began = Instant::now();
    broker.signal(rustix::process::Signal::TERM);
    assert_eq!(broker.wait().code(), Some(0));
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
}

#[test]
fn stop_answers_waiting_clients_with_503() {
    let home = Home::new();
    // The source never answers.
    let silent = Server::start(|_| Reply::Hang);
    let mut broker = home.serve(&[], &[("AWS_CONTAINER_CREDENTIALS_FULL_URI", &silent.url("/"))]);
    let mut waiting = broker.begin("/credentials");
    std::thread::sleep(Duration::from_millis(300));
    let began = Instant::now();
    broker.signal(rustix::process::Signal::TERM);
    let answer = Response::read(&mut waiting);
    assert!(answer.status == 503 && answer.body.contains("stopping"), "{answer:?}");
    assert_eq!(broker.wait().code(), Some(0));
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
}
