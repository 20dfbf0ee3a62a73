//! Requests through a proxy.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use http::Method;
use testkit::proxy::{Proxy, Verdict};
use testkit::server::{Reply, Server, nobody};
use testkit::tls::{Authority, Tls};

use crate::http::address_policy::AddressPolicy;
use crate::http::client::*;
use crate::http::error::HttpError;
use crate::http::message::Request;
use crate::http::stream::LARGEST_HEAD;
use crate::http::url::Url;
use crate::os::environment::Environment;

const LONG: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(200);

/// A host that has no address without a proxy.
const URL: &str = "https://sts.example.com/p?hush";

fn request(url: &str, timeout: Duration) -> Request {
    Request::new(Method::POST, Url::parse(url).unwrap(), AddressPolicy::Anywhere, timeout)
        .with_body("x=hush")
        .with_secret(http::header::AUTHORIZATION, "signature", &"hush-signature".into())
        .unwrap()
}

fn within(variables: &[(&str, &str)]) -> HttpClient {
    let names = HashMap::from([("proxy.example.com".into(), vec!["127.0.0.1".parse().unwrap()])]);
    let environment = Environment::new(variables.iter().copied());
    HttpClient::with_names(Arc::default(), names).with_environment(&environment)
}

/// Returns the error of a request through a proxy with this reply.
async fn refused(reply: Reply, timeout: Duration) -> HttpError {
    let proxy = Proxy::start(Verdict::Answer(reply));
    let named = format!("http://me:hush-password@{}", proxy.address());
    let error = within(&[("HTTPS_PROXY", &named)]).send(request(URL, timeout).through_proxy()).await.unwrap_err();
    let expected = format!("POST https://sts.example.com/p: proxy http://{} (HTTPS_PROXY): ", proxy.address());
    assert!(error.to_string().starts_with(&expected), "{error}");
    assert!(!format!("{error} {error:?}").contains("hush"), "{error}");
    assert_eq!(proxy.seen().len(), 1);
    error
}

#[tokio::test]
async fn https_goes_through_a_tunnel() {
    let authority = Authority::new("a");
    let server = Server::start(|_| Reply::ok("x"));
    let tls = Tls::before(server.address(), authority.sign("sts.example.com"));
    for head in
        ["HTTP/1.1 200 Connection established\r\n\r\n", "HTTP/1.0 200 OK\r\nconnection: close\r\nvia: p\r\n\r\n"]
    {
        let proxy = Proxy::start(Verdict::Connect(head, tls.address()));
        let named = format!("http://m%65:hush%20word@proxy.example.com:{}/", proxy.address().port());
        let client = within(&[("https_proxy", &named), ("HTTP_PROXY", "http://127.0.0.1:1")]);
        let roots = client.roots(authority.pem().to_owned()).await.unwrap();
        let answer = client.send(request(URL, LONG).through_proxy().with_roots(roots)).await.unwrap();
        assert_eq!((answer.status.as_u16(), &answer.body[..]), (200, &b"x"[..]));
        let [seen] = &proxy.seen()[..] else { panic!() };
        let agent = concat!("credenza/", env!("CARGO_PKG_VERSION"));
        let headers =
            [("host", "sts.example.com:443"), ("user-agent", agent), ("proxy-authorization", "Basic bWU6aHVzaCB3b3Jk")];
        assert_eq!(seen.line(), "CONNECT sts.example.com:443");
        assert_eq!(seen.headers, headers.map(|(name, value)| (name.into(), value.into())));
        let seen = server.seen().pop().unwrap();
        assert_eq!((seen.line().as_str(), &seen.body[..]), ("POST /p?hush", &b"x=hush"[..]));
        assert_eq!((seen.header("host"), seen.header("proxy-authorization")), (Some("sts.example.com"), None));
    }
    assert_eq!(server.lines().len(), 2);
}

#[tokio::test]
async fn connects_to_a_proxy_with_tls() {
    let authority = Authority::new("a");
    let server = Server::start(|_| Reply::ok("x"));
    let tls = Tls::before(server.address(), authority.sign("sts.example.com"));
    let proxy = Proxy::start(Verdict::to(tls.address()));
    let before = Tls::before(proxy.address(), authority.sign("proxy.example.com"));
    let named = format!("https://proxy.example.com:{}", before.address().port());
    let client = within(&[("HTTPS_PROXY", &named)]);
    let roots = client.roots(authority.pem().to_owned()).await.unwrap();
    let answer = client.send(request(URL, LONG).through_proxy().with_roots(roots)).await.unwrap();
    assert_eq!(answer.status, 200);
    assert_eq!((proxy.seen().len(), server.lines()), (1, vec!["POST /p?hush".into()]));
    let untrusted = client.send(request(URL, LONG).through_proxy()).await.unwrap_err();
    assert!(untrusted.cause().is_untrusted() && untrusted.to_string().contains("proxy https://proxy"), "{untrusted}");
}

#[tokio::test]
async fn sends_plain_http_with_whole_url_to_the_proxy() {
    let proxy = Server::start(|_| Reply::ok("x"));
    let named = format!("http://me:hush@{}", proxy.address());
    let client = within(&[("http_proxy", &named)]);
    let url = "http://sts.example.com:8080/p?q=r";
    assert_eq!(client.send(request(url, LONG).through_proxy()).await.unwrap().status, 200);
    let [seen] = &proxy.seen()[..] else { panic!() };
    assert_eq!(seen.line(), format!("POST {url}"));
    assert_eq!(seen.header("host"), Some("sts.example.com:8080"));
    assert_eq!(seen.header("proxy-authorization"), Some("Basic bWU6aHVzaA=="));
    assert_eq!((seen.header("authorization"), &seen.body[..]), (Some("hush-signature"), &b"x=hush"[..]));
    let proxy = Server::start(|_| Reply::of(407, "hush"));
    let client = within(&[("http_proxy", &proxy.address().to_string())]);
    let error = client.send(request(url, LONG).through_proxy()).await.unwrap_err();
    assert!(error.to_string().contains("407 Proxy Authentication Required: set a user name"), "{error}");
}

#[tokio::test]
async fn reports_the_status_of_a_refusal_without_its_body() {
    for (status, expected, passes) in [
        (407, "it refused with status 407 Proxy Authentication Required: set a user name and a password", false),
        (
            403,
            "it refused with status 403 Forbidden: allow this host at the proxy, or list the host in NO_PROXY",
            false,
        ),
        (302, "it refused with status 302 Found", false),
        (502, "it refused with status 502 Bad Gateway", true),
        (429, "it refused with status 429 Too Many Requests", true),
    ] {
        let error = refused(Reply::of(status, "hush-password"), LONG).await;
        assert!(error.to_string().contains(expected), "{error}");
        assert_eq!((error.cause().passes(), error.cause().is_silence()), (passes, false), "{error}");
    }
}

#[tokio::test]
async fn bounds_a_proxy_that_hangs_drips_or_floods() {
    for reply in [Reply::Hang, Reply::DripHead] {
        let error = refused(reply, SHORT).await;
        assert!(
            error.cause().is_silence() && error.to_string().ends_with("no complete response within 0.2 s"),
            "{error}"
        );
    }
    let error = refused(Reply::FloodHead, LONG).await;
    assert!(error.cause().passes() && error.to_string().ends_with("the response is larger than 16 kB"), "{error}");
    let long = format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "y".repeat(LARGEST_HEAD));
    assert!(refused(Reply::Raw(long.into()), LONG).await.to_string().ends_with("larger than 16 kB"));
    for raw in ["", "SSH-2.0-OpenSSH_9.2\r\n", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 502 hush\r\n\r\n"] {
        assert!(refused(Reply::Raw(raw.into()), LONG).await.cause().passes(), "{raw}");
    }
    // An error inside of the tunnel is not blamed on the proxy.
    let tunnel = Proxy::start(Verdict::Answer(Reply::Raw(b"HTTP/1.1 200 OK\r\n\r\nhush, no TLS".to_vec())));
    let client = within(&[("HTTPS_PROXY", &tunnel.address().to_string())]);
    let error = client.send(request(URL, LONG).through_proxy()).await.unwrap_err();
    assert!(!error.to_string().contains("hush") && !error.to_string().contains("proxy"), "{error}");
}

#[tokio::test]
async fn missing_proxy_is_transient_and_unusable_one_is_not() {
    for named in [nobody().to_string(), "http://unknown.example.com".into()] {
        let error = within(&[("ALL_PROXY", &named)]).send(request(URL, LONG).through_proxy()).await.unwrap_err();
        assert!(error.cause().is_silence() && error.to_string().contains("(ALL_PROXY): "), "{error}");
    }
    let client = within(&[("HTTPS_PROXY", "socks5://me:hush@h")]);
    let error = client.send(request(URL, LONG).through_proxy()).await.unwrap_err();
    assert!(!error.cause().passes(), "{error}");
    let expected = "POST https://sts.example.com/p: HTTPS_PROXY begins neither with http:// nor with https://";
    assert_eq!(error.to_string(), expected);
}

#[tokio::test]
async fn own_listener_is_not_used_as_proxy() {
    let proxy = Proxy::start(Verdict::to(nobody()));
    let client = within(&[("HTTPS_PROXY", &proxy.address().to_string())]);
    client.listening_on(&[proxy.address()]);
    let error = client.send(request(URL, LONG).through_proxy()).await.unwrap_err();
    assert!(error.to_string().contains("is a listener of this process"), "{error}");
    assert!(proxy.seen().is_empty());
}

#[tokio::test]
async fn only_requests_that_ask_for_a_proxy_use_it() {
    let (proxy, server) = (Server::start(|_| Reply::ok("proxy")), Server::start(|_| Reply::ok("direct")));
    let names = ["h", "sts.example.com"].map(|name| (name.into(), vec![server.address().ip()]));
    let port = server.address().port();
    let (named, h, sts) = (proxy.url(""), format!("http://h:{port}/"), format!("http://sts.example.com:{port}/"));
    let environment = Environment::new([("HTTP_PROXY", named.as_str()), ("ALL_PROXY", &named), ("NO_PROXY", "h")]);
    let client = HttpClient::with_names(Arc::default(), HashMap::from(names)).with_environment(&environment);
    let near =
        |url: &str| Request::new(Method::GET, Url::parse(url).unwrap(), AddressPolicy::Container, LONG).through_proxy();
    for (request, expected) in [
        (request(&sts, LONG).through_proxy(), "proxy"),
        (request(&sts, LONG), "direct"),
        (near(&sts), "direct"),
        (request(&h, LONG).through_proxy(), "direct"),
        (request(&server.url("/"), LONG).through_proxy(), "direct"),
    ] {
        let tried = request.to_string();
        assert_eq!(&client.send(request).await.unwrap().body[..], expected.as_bytes(), "{tried}");
    }
}
