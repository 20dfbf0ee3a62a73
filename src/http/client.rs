//! HTTP to places that hand out credentials.
//!
//! One request is one connection, driven inside the future that asked for it: nothing runs on when a load is dropped,
//! and the addresses that were judged are the ones connected to. No redirect, no cookie, HTTP/1.1, and a proxy only for
//! requests that ask for one.

#[cfg(test)]
use std::collections::HashMap;
use std::fmt;
#[cfg(test)]
use std::net::IpAddr;
use std::net::SocketAddr;
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

/// The one way out. Clones share what they learn; the default reaches nothing.
#[derive(Clone, Default)]
pub(crate) struct HttpClient {
    network: Option<Arc<Connector>>,
    machine: Arc<ClientEnvironment>,
    bundles: Arc<CaBundles>,
}

/// What the environment says about the way out.
#[derive(Default)]
struct ClientEnvironment {
    proxies: ProxySettings,
    roots: SystemRoots,
}

impl HttpClient {
    /// The network of this machine. `own` are the listeners of this process, set once they are bound: nothing is sent
    /// to them, whatever name or address leads there.
    #[must_use]
    pub(crate) fn system(own: Arc<OnceLock<Vec<SocketAddr>>>) -> Self {
        Self::with(NameResolver::System, own)
    }

    /// The network of this machine where only these names exist; addresses are reached as ever.
    #[cfg(test)]
    #[must_use]
    pub(crate) fn with_names(own: Arc<OnceLock<Vec<SocketAddr>>>, names: HashMap<Box<str>, Vec<IpAddr>>) -> Self {
        Self::with(NameResolver::Fixed(names), own)
    }

    /// A network without a machine: there are no names, and `dial` makes the connections to addresses.
    #[cfg(test)]
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

    /// The same with the proxies and the certificate authorities that this environment names: `HTTPS_PROXY` and its kin,
    /// `NO_PROXY`, `SSL_CERT_FILE`, `SSL_CERT_DIR`.
    #[must_use]
    pub(crate) fn with_environment(self, environment: &Environment) -> Self {
        let machine =
            ClientEnvironment { proxies: ProxySettings::of(environment), roots: SystemRoots::of(environment) };
        Self { machine: Arc::new(machine), ..self }
    }

    /// The authorities of a bundle in PEM, for [`Request::with_roots`]. The same content is made ready once.
    ///
    /// # Errors
    /// When there is no certificate in it that can be used, or one that is broken; the message goes on after the name of
    /// the file.
    pub(crate) async fn roots(&self, pem: impl AsRef<[u8]> + Send + 'static) -> Result<TrustRoots, TrustRootsError> {
        let bundles = Arc::clone(&self.bundles);
        let made = tokio::task::spawn_blocking(move || bundles.roots(pem.as_ref())).await;
        made.unwrap_or_else(|_| Err(TrustRootsError::Tls("reading it was broken off".into())))
    }

    /// Tells where this process listens, once: nothing is sent there from then on.
    pub(crate) fn listening_on(&self, addresses: &[SocketAddr]) {
        if let Some(network) = &self.network {
            let _ = network.own.set(addresses.to_vec());
        }
    }

    /// Sends one request and reads its whole answer, whatever the status, within the time the request allows.
    ///
    /// # Errors
    /// When there is no whole answer, or the request must not be sent there; the error says what was tried, on what.
    pub(crate) async fn send(&self, request: Request) -> Result<Response, HttpError> {
        let (tried, patience) = (request.to_string(), request.patience());
        let deadline = Instant::now() + patience;
        let proxy = if request.asks_for_proxy() { self.machine.proxies.towards(request.url()) } else { Ok(None) };
        let via = proxy.as_ref().ok().and_then(Option::as_ref).map(ToString::to_string);
        let outcome = match (&self.network, proxy) {
            (None, _) => Err(HttpErrorCause::NoUpstream),
            (_, Err(bad)) => Err(bad),
            (Some(network), Ok(proxy)) => {
                let exchange = network.exchange(request, &self.machine.roots, proxy.as_deref(), deadline);
                timeout_at(deadline, exchange).await.unwrap_or(Err(HttpErrorCause::TimedOut(patience)))
            }
        };
        let status = outcome.as_ref().ok().map(|response| response.status.as_u16());
        tracing::debug!(request = %tried, via, status, "asked upstream");
        outcome.map_err(|cause| HttpError::new(tried, cause))
    }

    /// Whether this scheme, host and port has ever answered this process, with whatever status.
    #[must_use]
    pub(crate) fn has_answered(&self, url: &Url) -> bool {
        self.network.as_ref().is_some_and(|network| network.answered().contains(&*url.origin()))
    }
}

impl fmt::Debug for HttpClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.network.is_some() { "Upstream(network)" } else { "Upstream(nothing)" })
    }
}

#[cfg(test)]
mod tests {
    use crate::http::address_policy;
    use std::io;
    use std::time::Duration;

    use http::Method;
    use tokio::net::TcpStream;

    use super::*;
    use crate::http::address_policy::AddressPolicy;
    use crate::http::connect::LARGEST_BODY;
    use testkit::server::{Reply, Server, nobody};

    const LONG: Duration = Duration::from_secs(20);
    const SHORT: Duration = Duration::from_millis(100);

    fn get(url: &str, patience: Duration) -> Request {
        Request::new(Method::GET, Url::parse(url).unwrap(), AddressPolicy::Container, patience)
    }

    async fn sent(reply: Reply, patience: Duration) -> Result<Response, HttpErrorCause> {
        let server = Server::start(move |_| reply.clone());
        let outcome = HttpClient::system(Arc::default()).send(get(&server.url("/p?hush"), patience)).await;
        outcome.map_err(|error| {
            assert!(error.to_string().starts_with(&format!("GET {}: ", server.url("/p"))), "{error}");
            error.cause().clone()
        })
    }

    #[tokio::test]
    async fn the_default_reaches_nothing() {
        let error = HttpClient::default().send(get("http://127.0.0.1/x", LONG)).await.unwrap_err();
        assert_eq!(error.to_string(), "GET http://127.0.0.1/x: no upstream in this World");
    }

    #[tokio::test(start_paused = true)]
    async fn injected_connections_are_used_and_the_machine_is_not() {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let (line, mut dialled) = tokio::sync::mpsc::unbounded_channel();
        let upstream = HttpClient::injected(move |address| {
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
        let (answer, _far) = tokio::join!(upstream.send(get("http://169.254.170.2/", LONG)), answering);
        assert_eq!(&answer.unwrap().body[..], b"x");
        let error = upstream.send(get("http://169.254.170.2:81/", LONG)).await.unwrap_err();
        assert!(matches!(error.cause(), HttpErrorCause::Unreachable(_)), "{error}");
        let error = upstream.send(get("http://localhost/", LONG)).await.unwrap_err();
        assert!(matches!(error.cause(), HttpErrorCause::NoAddress), "{error}");
    }

    #[tokio::test]
    async fn a_request_is_sent_as_it_is_written() {
        let server = Server::start(|_| Reply::of(418, "tea").with("x-a", "b"));
        let upstream = HttpClient::system(Arc::default());
        let url = Url::parse(&server.url("/p/q?r=s")).unwrap();
        assert!(!upstream.has_answered(&url));
        let request = Request::new(Method::PUT, url.clone(), AddressPolicy::Anywhere, LONG)
            .with_secret(http::header::AUTHORIZATION, "token", &"hush".into())
            .unwrap();
        let response = upstream.send(request).await.unwrap();
        assert_eq!((response.status.as_u16(), &response.body[..]), (418, &b"tea"[..]));
        assert_eq!(response.headers["x-a"], "b");
        assert!(upstream.clone().has_answered(&url), "clones share what they learn");
        let [seen] = &server.seen()[..] else { panic!() };
        assert_eq!((seen.line().as_str(), seen.body.len()), ("PUT /p/q?r=s", 0));
        assert_eq!(seen.header("host"), Some(server.address().to_string().as_str()));
        assert_eq!(seen.header("authorization"), Some("hush"));
        assert_eq!(seen.header("connection"), Some("close"));
        assert!(seen.header("user-agent").unwrap().starts_with("credenza/"));
    }

    #[tokio::test]
    async fn bodies_end_at_64_kb() {
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
    async fn time_is_up_for_those_who_hang_or_drip() {
        for reply in [Reply::Hang, Reply::Drip] {
            assert_eq!(sent(reply, SHORT).await.unwrap_err(), HttpErrorCause::TimedOut(SHORT));
        }
    }

    #[tokio::test]
    async fn what_is_no_answer_is_an_error() {
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
    async fn redirects_are_answers() {
        let target = Server::start(|_| Reply::ok("x"));
        let redirect = Reply::of(307, "").with("location", target.url("/"));
        assert_eq!(sent(redirect, LONG).await.unwrap().status, 307);
        assert!(target.lines().is_empty());
    }

    #[tokio::test]
    async fn refused_connections_and_unknown_names_are_silence() {
        let names = HashMap::from([("empty".into(), Vec::new())]);
        let upstream = HttpClient::with_names(Arc::default(), names);
        for url in [format!("http://{}/", nobody()), "http://unknown/".into(), "http://empty/".into()] {
            let error = upstream.send(get(&url, LONG)).await.unwrap_err();
            assert!(error.cause().is_silence(), "{error}");
        }
    }

    #[tokio::test]
    async fn the_second_address_is_tried_when_the_first_refuses() {
        let server = Server::start(|_| Reply::ok("x"));
        let addresses = vec!["127.0.0.9".parse().unwrap(), server.address().ip()];
        let upstream = HttpClient::with_names(Arc::default(), HashMap::from([("two".into(), addresses)]));
        let url = format!("http://two:{}/", server.address().port());
        assert_eq!(upstream.send(get(&url, LONG)).await.unwrap().status, 200);
        assert_eq!(server.seen()[0].header("host"), Some(&*format!("two:{}", server.address().port())));
    }

    #[tokio::test]
    async fn a_name_that_leads_elsewhere_is_not_connected_to() {
        let server = Server::start(|_| Reply::ok("x"));
        let addresses = vec![server.address().ip(), "192.0.2.1".parse().unwrap()];
        let upstream = HttpClient::with_names(Arc::default(), HashMap::from([("mixed".into(), addresses)]));
        let url = format!("http://mixed:{}/", server.address().port());
        let error = upstream.send(get(&url, LONG)).await.unwrap_err();
        assert_eq!(*error.cause(), HttpErrorCause::Forbidden("192.0.2.1".parse().unwrap()));
        assert!(server.lines().is_empty());
    }

    #[tokio::test]
    async fn nothing_is_sent_to_our_own_listeners() {
        let server = Server::start(|_| Reply::ok("x"));
        let own = Arc::new(OnceLock::new());
        let upstream = HttpClient::system(Arc::clone(&own));
        assert!(upstream.send(get(&server.url("/"), LONG)).await.is_ok());
        own.set(vec![server.address()]).unwrap();
        let error = upstream.send(get(&server.url("/"), LONG)).await.unwrap_err();
        assert!(error.to_string().contains("points at one of our own listeners, it would ask itself"), "{error}");
        assert_eq!(server.lines().len(), 1);
    }

    #[tokio::test]
    async fn a_wildcard_listener_is_known_by_its_connections() {
        let server = Server::start(|_| Reply::ok("x"));
        let stream = TcpStream::connect(server.address()).await.unwrap();
        let port = server.address().port();
        assert!(address_policy::is_own_connection(&stream, &[SocketAddr::new("0.0.0.0".parse().unwrap(), port)]));
        assert!(!address_policy::is_own_connection(&stream, &[SocketAddr::new("0.0.0.0".parse().unwrap(), port ^ 1)]));
    }

    #[tokio::test]
    async fn tls_is_spoken_to_https_and_its_failure_named() {
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
    async fn debug_shows_no_names() {
        let upstream = HttpClient::system(Arc::default());
        assert_eq!(format!("{upstream:?} {:?}", HttpClient::default()), "Upstream(network) Upstream(nothing)");
    }
}
