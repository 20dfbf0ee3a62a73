//! The HTTP client for services that issue credentials.
//!
//! Each request has its own connection, which the future of the request drives. So no connection outlives a dropped load, and
//! the client connects to the addresses that it has judged. It speaks HTTP/1.1 without redirects and cookies. Only requests
//! that ask for a proxy go through one.

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, OnceLock};

use tokio::time::{Instant, timeout_at};

pub(crate) use crate::http::error::{HttpError, HttpErrorCause};
pub(crate) use crate::http::message::{Request, Response};
pub(crate) use crate::http::stream::Connecting;
pub(crate) use crate::http::trust_roots::{TrustRoots, TrustRootsError};
pub(crate) use crate::http::url::Url;

use crate::http::connect::{Connector, NameResolver};
use crate::http::proxy::ProxySettings;
use crate::http::trust_roots::{CaBundles, SystemRoots};
use crate::os::environment::Environment;

/// The HTTP client. Clones share their state. The default reaches no address.
#[derive(Clone, Default)]
pub(crate) struct HttpClient {
    network: Option<Arc<Connector>>,
    machine: Arc<ClientEnvironment>,
    bundles: Arc<CaBundles>,
}

/// The proxies and certificate authorities of the environment.
#[derive(Default)]
struct ClientEnvironment {
    proxies: ProxySettings,
    roots: SystemRoots,
}

impl HttpClient {
    /// Returns a client for the network of this machine. `own` are the listeners of this process, set after they are bound. No
    /// request is sent to them, by any name or address.
    #[must_use]
    pub(crate) fn system(own: Arc<OnceLock<Vec<SocketAddr>>>) -> Self {
        Self::with(NameResolver::System, own)
    }

    /// Returns a client that resolves only these names, and connects to any address.
    #[must_use]
    pub(crate) fn with_names(own: Arc<OnceLock<Vec<SocketAddr>>>, names: HashMap<Box<str>, Vec<IpAddr>>) -> Self {
        Self::with(NameResolver::Fixed(names), own)
    }

    /// Returns a client that resolves no names and makes its connections by `dial`.
    #[must_use]
    pub(crate) fn injected(dial: impl Fn(SocketAddr) -> Connecting + Send + Sync + 'static) -> Self {
        Self::over(NameResolver::Fixed(HashMap::new()), Arc::default(), Some(Box::new(dial)))
    }

    fn with(names: NameResolver, own: Arc<OnceLock<Vec<SocketAddr>>>) -> Self {
        Self::over(names, own, None)
    }

    fn over(
        names: NameResolver,
        own: Arc<OnceLock<Vec<SocketAddr>>>,
        dial: Option<Box<dyn Fn(SocketAddr) -> Connecting + Send + Sync>>,
    ) -> Self {
        let network = Connector { names, dial, own, answered: Mutex::default() };
        Self { network: Some(Arc::new(network)), ..Self::default() }
    }

    /// Sets the proxies and certificate authorities of the environment: `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY`, `NO_PROXY`,
    /// `SSL_CERT_FILE` and `SSL_CERT_DIR`.
    #[must_use]
    pub(crate) fn with_environment(self, environment: &Environment) -> Self {
        let machine =
            ClientEnvironment { proxies: ProxySettings::of(environment), roots: SystemRoots::of(environment) };
        Self { machine: Arc::new(machine), ..self }
    }

    /// Parses a bundle in PEM for [`Request::with_roots`]. Equal content is parsed once.
    ///
    /// # Errors
    /// If no certificate is usable or one is broken. The message continues a sentence that begins with the name of the file.
    pub(crate) async fn roots(&self, pem: impl AsRef<[u8]> + Send + 'static) -> Result<TrustRoots, TrustRootsError> {
        let bundles = Arc::clone(&self.bundles);
        let made = tokio::task::spawn_blocking(move || bundles.roots(pem.as_ref())).await;
        made.unwrap_or_else(|_| Err(TrustRootsError::Tls("the process stops".into())))
    }

    /// Sets the listeners of this process, once. No request is sent to them from then on.
    pub(crate) fn listening_on(&self, addresses: &[SocketAddr]) {
        if let Some(network) = &self.network {
            let _ = network.own.set(addresses.to_vec());
        }
    }

    /// Sends one request and reads the whole response with any status, within the timeout of the request.
    ///
    /// # Errors
    /// If there is no complete response, or the request must not be sent to this address. The error names method and URL.
    pub(crate) async fn send(&self, request: Request) -> Result<Response, HttpError> {
        let (tried, timeout) = (request.to_string(), request.timeout());
        let deadline = Instant::now() + timeout;
        let proxy = if request.asks_for_proxy() { self.machine.proxies.proxy_for(request.url()) } else { Ok(None) };
        let via = proxy.as_ref().ok().and_then(Option::as_ref).map(ToString::to_string);
        let outcome = match (&self.network, proxy) {
            (None, _) => Err(HttpErrorCause::NoClient),
            (_, Err(bad)) => Err(bad),
            (Some(network), Ok(proxy)) => {
                let exchange = network.exchange(request, &self.machine.roots, proxy.as_deref(), deadline);
                timeout_at(deadline, exchange).await.unwrap_or(Err(HttpErrorCause::TimedOut(timeout)))
            }
        };
        let status = outcome.as_ref().ok().map(|response| response.status.as_u16());
        tracing::debug!(request = %tried, via, status, "sent an HTTP request");
        outcome.map_err(|cause| HttpError::new(tried, cause))
    }

    /// Returns true if this scheme, host and port has ever responded to this process, with any status.
    #[must_use]
    pub(crate) fn has_answered(&self, url: &Url) -> bool {
        self.network.as_ref().is_some_and(|network| network.answered().contains(&*url.origin()))
    }
}

impl fmt::Debug for HttpClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.network.is_some() { "HttpClient(network)" } else { "HttpClient(no network)" })
    }
}

#[cfg(test)]
mod tests {
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
        for reply in [Reply::ok([full, vec![b'x']].concat()), Reply::Raw(head), Reply::Flood, Reply::Raw(heads.into())]
        {
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
            matches!(
                plain.cause(),
                HttpErrorCause::Unreachable(_) | HttpErrorCause::TimedOut(_) | HttpErrorCause::Tls(_)
            ),
            "{plain}"
        );
        assert!(server.lines().is_empty(), "nothing readable was sent");
    }

    #[tokio::test]
    async fn debug_shows_only_if_there_is_a_network() {
        let client = HttpClient::system(Arc::default());
        assert_eq!(format!("{client:?} {:?}", HttpClient::default()), "HttpClient(network) HttpClient(no network)");
    }
}
