use std::io;
use std::time::Duration;

use http::Method;
use testkit::server::{Reply, Server, nobody};
use tokio::net::TcpStream;

use super::*;
use crate::http::address_policy::{self, AddressPolicy};
use crate::http::connect::LARGEST_BODY;

const LONG: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(100);

fn get(url: &str, timeout: Duration) -> Request {
    Request::new(Method::GET, Url::parse(url).unwrap(), AddressPolicy::Container, timeout)
}

async fn sent(reply: Reply, timeout: Duration) -> Result<Response, HttpErrorCause> {
    let server = Server::start(move |_| reply.clone());
    let outcome = HttpClient::system(Arc::default()).send(get(&server.url("/p?hush"), timeout)).await;
    outcome.map_err(|error| {
        assert!(error.to_string().starts_with(&format!("GET {}: ", server.url("/p"))), "{error}");
        error.cause().clone()
    })
}

#[tokio::test]
async fn default_reaches_no_address() {
    let error = HttpClient::default().send(get("http://127.0.0.1/x", LONG)).await.unwrap_err();
    assert_eq!(error.to_string(), "GET http://127.0.0.1/x: this context has no HTTP client");
}

#[tokio::test(start_paused = true)]
async fn injected_dial_makes_all_connections() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let (line, mut dialled) = tokio::sync::mpsc::unbounded_channel();
    let client = HttpClient::injected(move |address| {
        let (near, far) = tokio::io::duplex(1024);
        let outcome = if address.port() == 80 { Ok(Box::new(near) as _) } else { Err(io::ErrorKind::Other.into()) };
        line.send(far).unwrap();
        Box::pin(async { outcome })
    });
    let answering = async {
        let mut far = dialled.recv().await.unwrap();
        far.read_buf(&mut Vec::with_capacity(1024)).await.unwrap();
        far.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nx").await.unwrap();
        far
    };
    let (answer, _far) = tokio::join!(client.send(get("http://169.254.170.2/", LONG)), answering);
    assert_eq!(&answer.unwrap().body[..], b"x");
    let error = client.send(get("http://169.254.170.2:81/", LONG)).await.unwrap_err();
    assert!(matches!(error.cause(), HttpErrorCause::Unreachable(_)), "{error}");
    let error = client.send(get("http://localhost/", LONG)).await.unwrap_err();
    assert!(matches!(error.cause(), HttpErrorCause::NoAddress), "{error}");
}

#[tokio::test]
async fn a_request_is_sent_as_it_is_written() {
    let server = Server::start(|_| Reply::of(418, "tea").with("x-a", "b"));
    let client = HttpClient::system(Arc::default());
    let url = Url::parse(&server.url("/p/q?r=s")).unwrap();
    assert!(!client.has_answered(&url));
    let request = Request::new(Method::PUT, url.clone(), AddressPolicy::Anywhere, LONG)
        .with_secret(http::header::AUTHORIZATION, "token", &"hush".into())
        .unwrap();
    let response = client.send(request).await.unwrap();
    assert_eq!((response.status.as_u16(), &response.body[..]), (418, &b"tea"[..]));
    assert_eq!(response.headers["x-a"], "b");
    assert!(client.clone().has_answered(&url), "clones share their state");
    let [seen] = &server.seen()[..] else { panic!() };
    assert_eq!((seen.line().as_str(), seen.body.len()), ("PUT /p/q?r=s", 0));
    assert_eq!(seen.header("host"), Some(server.address().to_string().as_str()));
    assert_eq!(seen.header("authorization"), Some("hush"));
    assert_eq!(seen.header("connection"), Some("close"));
    assert!(seen.header("user-agent").unwrap().starts_with("credenza/"));
}

#[tokio::test]
async fn limits_bodies_to_64_kb_and_heads_to_16_kb() {
    let full = vec![b'x'; LARGEST_BODY];
    assert_eq!(sent(Reply::ok(full.clone()), LONG).await.unwrap().body.len(), LARGEST_BODY);
    let raw = [b"HTTP/1.1 200 OK\r\n\r\n", &full[..]].concat();
    assert_eq!(sent(Reply::Raw(raw), LONG).await.unwrap().body.len(), LARGEST_BODY);
    let head = b"HTTP/1.1 200 OK\r\ncontent-length: 10000000000\r\n\r\n".to_vec();
    let heads = format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "y".repeat(100_000));
    for reply in [Reply::ok([full, vec![b'x']].concat()), Reply::Raw(head), Reply::Flood, Reply::Raw(heads.into())] {
        assert!(matches!(sent(reply, LONG).await.unwrap_err(), HttpErrorCause::TooLarge(_)));
    }
}

#[tokio::test]
async fn times_out_when_a_server_hangs_or_drips() {
    for reply in [Reply::Hang, Reply::Drip] {
        assert_eq!(sent(reply, SHORT).await.unwrap_err(), HttpErrorCause::TimedOut(SHORT));
    }
}

#[tokio::test]
async fn broken_responses_are_transient_errors() {
    for (raw, protocol) in [
        ("", false),
        ("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhush", false),
        ("SSH-2.0-OpenSSH_9.2\r\n", true),
        ("HTTP/1.1 abc\r\n\r\n", true),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nhush", false),
    ] {
        let cause = sent(Reply::Raw(raw.into()), LONG).await.unwrap_err();
        assert!(!cause.to_string().contains("hush") && cause.passes(), "{cause}");
        assert_eq!(matches!(cause, HttpErrorCause::Protocol(_)), protocol, "{raw:?}: {cause:?}");
    }
}

#[tokio::test]
async fn does_not_follow_redirects() {
    let target = Server::start(|_| Reply::ok("x"));
    let redirect = Reply::of(307, "").with("location", target.url("/"));
    assert_eq!(sent(redirect, LONG).await.unwrap().status, 307);
    assert!(target.lines().is_empty());
}

#[tokio::test]
async fn refused_connection_and_unknown_name_are_no_response() {
    let names = HashMap::from([("empty".into(), Vec::new())]);
    let client = HttpClient::with_names(Arc::default(), names);
    for url in [format!("http://{}/", nobody()), "http://unknown/".into(), "http://empty/".into()] {
        let error = client.send(get(&url, LONG)).await.unwrap_err();
        assert!(error.cause().is_silence(), "{error}");
    }
}

#[tokio::test]
async fn tries_second_address_when_the_first_refuses() {
    let server = Server::start(|_| Reply::ok("x"));
    let addresses = vec!["127.0.0.9".parse().unwrap(), server.address().ip()];
    let client = HttpClient::with_names(Arc::default(), HashMap::from([("two".into(), addresses)]));
    let url = format!("http://two:{}/", server.address().port());
    assert_eq!(client.send(get(&url, LONG)).await.unwrap().status, 200);
    assert_eq!(server.seen()[0].header("host"), Some(&*format!("two:{}", server.address().port())));
}

#[tokio::test]
async fn does_not_connect_when_one_address_is_not_allowed() {
    let server = Server::start(|_| Reply::ok("x"));
    let addresses = vec![server.address().ip(), "192.0.2.1".parse().unwrap()];
    let client = HttpClient::with_names(Arc::default(), HashMap::from([("mixed".into(), addresses)]));
    let url = format!("http://mixed:{}/", server.address().port());
    let error = client.send(get(&url, LONG)).await.unwrap_err();
    assert_eq!(*error.cause(), HttpErrorCause::Forbidden("192.0.2.1".parse().unwrap()));
    assert!(server.lines().is_empty());
}

#[tokio::test]
async fn sends_no_request_to_own_listeners() {
    let server = Server::start(|_| Reply::ok("x"));
    let own = Arc::new(OnceLock::new());
    let client = HttpClient::system(Arc::clone(&own));
    assert!(client.send(get(&server.url("/"), LONG)).await.is_ok());
    own.set(vec![server.address()]).unwrap();
    let error = client.send(get(&server.url("/"), LONG)).await.unwrap_err();
    assert!(error.to_string().contains("is a listener of this process"), "{error}");
    assert_eq!(server.lines().len(), 1);
}

#[tokio::test]
async fn recognises_own_wildcard_listener_by_its_connection() {
    let server = Server::start(|_| Reply::ok("x"));
    let stream = TcpStream::connect(server.address()).await.unwrap();
    let port = server.address().port();
    assert!(address_policy::is_own_connection(&stream, &[SocketAddr::new("0.0.0.0".parse().unwrap(), port)]));
    assert!(!address_policy::is_own_connection(&stream, &[SocketAddr::new("0.0.0.0".parse().unwrap(), port ^ 1)]));
}

#[tokio::test]
async fn reports_a_server_without_tls() {
    let server = Server::start(|_| Reply::ok("x"));
    let https = server.url("/").replace("http:", "https:");
    let plain = HttpClient::system(Arc::default()).send(get(&https, SHORT)).await.unwrap_err();
    assert!(
        matches!(plain.cause(), HttpErrorCause::Unreachable(_) | HttpErrorCause::TimedOut(_) | HttpErrorCause::Tls(_)),
        "{plain}"
    );
    assert!(server.lines().is_empty(), "nothing readable was sent");
}

#[tokio::test]
async fn debug_shows_only_if_there_is_a_network() {
    let client = HttpClient::system(Arc::default());
    assert_eq!(format!("{client:?} {:?}", HttpClient::default()), "HttpClient(network) HttpClient(no network)");
}
