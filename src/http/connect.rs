//! Sends one request: resolves the name, checks the addresses, connects, negotiates TLS, and reads the response.

use std::collections::HashSet;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use http::StatusCode;
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Bytes, Incoming};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use zeroize::Zeroizing;

use crate::http::address_policy::{self, AddressPolicy};
use crate::http::error::HttpErrorCause;
use crate::http::message::{Request, Response};
use crate::http::proxy::Proxy;
use crate::http::stream::{ByteStream, Connecting, LARGEST_HEAD};
use crate::http::trust_roots::{SystemRoots, TrustRoots};
use crate::http::tunnel;
use crate::http::url::{Url, UrlHost};

/// The maximum size of a body. Real bodies are smaller: identity documents have 1 kB, credential documents 2 kB,
/// responses of STS and SSO up to 10 kB.
pub(crate) const LARGEST_BODY: usize = 64 * 1024;

/// The maximum number of addresses that are tried. With more addresses, each would get too little of the timeout.
const MOST_ADDRESSES: usize = 8;

/// Opens connections on this machine, or in a test.
pub(crate) struct Connector {
    pub(crate) names: NameResolver,
    /// The function of a test that opens connections instead of the operating system.
    pub(crate) dial: Option<Box<dyn Fn(SocketAddr) -> Connecting + Send + Sync>>,
    pub(crate) own: Arc<OnceLock<Vec<SocketAddr>>>,
    pub(crate) answered: Mutex<HashSet<Box<str>>>,
}

pub(crate) enum NameResolver {
    System,
    #[cfg(test)]
    Fixed(std::collections::HashMap<Box<str>, Vec<std::net::IpAddr>>),
}

impl Connector {
    /// Sends a request, through the proxy if there is one, before `deadline`.
    pub(crate) async fn exchange(
        &self,
        request: Request,
        system: &SystemRoots,
        proxy: Option<&Proxy>,
        deadline: Instant,
    ) -> Result<Response, HttpErrorCause> {
        let timeout = request.timeout;
        let stream = match proxy {
            None => self.connect(&request.url, request.address_policy, timeout, deadline).await,
            Some(proxy) => {
                let stream = timeout_at(deadline, self.through(proxy, &request, system, deadline)).await;
                stream.unwrap_or(Err(HttpErrorCause::TimedOut(timeout))).map_err(|cause| proxy.wrap(cause))
            }
        }?;
        let origin = request.url.origin();
        let answered = || {
            self.answered().insert(origin);
        };
        if request.url.is_https() {
            let stream = secure(stream, &request.url, request.roots.as_ref(), system).await?;
            return speak(stream, request.into_http(), answered).await;
        }
        let Some(proxy) = proxy else { return speak(stream, request.into_http(), answered).await };
        let response = speak(stream, request.into_http_through(proxy), answered).await?;
        if response.status == StatusCode::PROXY_AUTHENTICATION_REQUIRED {
            let refused = HttpErrorCause::ProxyRefused { status: response.status, variable: proxy.variable };
            return Err(proxy.wrap(refused));
        }
        Ok(response)
    }

    /// Connects to the proxy for http, and through a tunnel of the proxy to the host for https.
    async fn through(
        &self,
        proxy: &Proxy,
        request: &Request,
        system: &SystemRoots,
        deadline: Instant,
    ) -> Result<Box<dyn ByteStream>, HttpErrorCause> {
        let mut stream = self.connect(&proxy.url, AddressPolicy::Anywhere, request.timeout, deadline).await?;
        if proxy.url.is_https() {
            stream = secure(stream, &proxy.url, request.roots.as_ref(), system).await?;
        }
        if request.url.is_https() { tunnel::open(stream, proxy, &request.url).await } else { Ok(stream) }
    }

    /// Connects to the first address that accepts the connection. All addresses are checked before the first
    /// connection.
    async fn connect(
        &self,
        url: &Url,
        policy: AddressPolicy,
        timeout: Duration,
        deadline: Instant,
    ) -> Result<Box<dyn ByteStream>, HttpErrorCause> {
        let mut addresses = self.resolve(url).await?;
        let own = self.own.get().map_or(&[][..], Vec::as_slice);
        address_policy::judge(policy, url.host(), &addresses, own)?;
        addresses.truncate(MOST_ADDRESSES);
        let mut error = HttpErrorCause::NoAddress;
        while !addresses.is_empty() {
            // Divide the time among the addresses: the first one may never answer, as with IPv6 without a route back.
            let share =
                deadline.saturating_duration_since(Instant::now()) / u32::try_from(addresses.len()).unwrap_or(1);
            let address = addresses.remove(0);
            match tokio::time::timeout(share, self.dial(address, own)).await {
                Ok(Err(HttpErrorCause::Unreachable(why))) => error = HttpErrorCause::Unreachable(why),
                Ok(dialled) => return dialled,
                Err(_) => error = HttpErrorCause::TimedOut(timeout),
            }
        }
        Err(error)
    }

    async fn dial(&self, address: SocketAddr, own: &[SocketAddr]) -> Result<Box<dyn ByteStream>, HttpErrorCause> {
        let unreachable = |error: io::Error| HttpErrorCause::Unreachable(error.to_string().into());
        if let Some(dial) = &self.dial {
            return dial(address).await.map_err(unreachable);
        }
        let stream = TcpStream::connect(address).await.map_err(unreachable)?;
        if address_policy::is_own_connection(&stream, own) {
            return Err(HttpErrorCause::OwnListener(address));
        }
        Ok(Box::new(stream))
    }

    async fn resolve(&self, url: &Url) -> Result<Vec<SocketAddr>, HttpErrorCause> {
        let name = match url.host() {
            UrlHost::Address(ip) => return Ok(vec![SocketAddr::new(*ip, url.port())]),
            UrlHost::Name(name) => name,
        };
        let addresses: Vec<_> = match &self.names {
            NameResolver::System => tokio::net::lookup_host((&**name, url.port()))
                .await
                .map_err(|error| HttpErrorCause::Unresolved(error.to_string().into()))?
                .collect(),
            #[cfg(test)]
            NameResolver::Fixed(names) => {
                let known = names.get(name).map_or(&[][..], Vec::as_slice);
                known.iter().map(|ip| SocketAddr::new(*ip, url.port())).collect()
            }
        };
        if addresses.is_empty() { Err(HttpErrorCause::NoAddress) } else { Ok(addresses) }
    }

    /// Returns the origins that have responded.
    pub(crate) fn answered(&self) -> std::sync::MutexGuard<'_, HashSet<Box<str>>> {
        self.answered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Negotiates TLS. The certificate must be valid for the host of the URL.
async fn secure(
    stream: Box<dyn ByteStream>,
    url: &Url,
    roots: Option<&TrustRoots>,
    system: &SystemRoots,
) -> Result<Box<dyn ByteStream>, HttpErrorCause> {
    let name = match url.host() {
        UrlHost::Address(ip) => ServerName::from(*ip),
        UrlHost::Name(name) => {
            ServerName::try_from(String::from(&**name)).map_err(|_| HttpErrorCause::NoCertificateFor)?
        }
    };
    // Build the TLS connector at the first use: a process without https requests does not need it.
    let config = match roots {
        Some(TrustRoots(config)) => Arc::clone(config),
        None => system.config().await?,
    };
    match TlsConnector::from(config).connect(name, stream).await.map_err(HttpErrorCause::from) {
        Ok(stream) => Ok(Box::new(stream)),
        Err(cause) => {
            if roots.is_none() && cause.is_untrusted() {
                system.forget();
            }
            Err(cause)
        }
    }
}

/// Sends the request and reads the response. The connection ends with this future.
async fn speak(
    stream: Box<dyn ByteStream>,
    request: http::Request<Full<Bytes>>,
    answered: impl FnOnce(),
) -> Result<Response, HttpErrorCause> {
    let mut http = http1::Builder::new();
    http.max_buf_size(LARGEST_HEAD);
    let (mut sender, connection) = http.handshake::<_, Full<Bytes>>(TokioIo::new(stream)).await?;
    let mut exchange = pin!(async {
        let (head, body) = sender.send_request(request).await?.into_parts();
        answered();
        Ok(Response { status: head.status, headers: head.headers, body: read(body).await? })
    });
    let mut connection = pin!(connection);
    let mut open = true;
    loop {
        // Go on when the connection ends: the exchange may still have to read data, and it reports the errors.
        tokio::select! {
            biased;
            outcome = &mut exchange => return outcome,
            _ = &mut connection, if open => open = false,
        }
    }
}

/// Reads the whole body into memory that never moves, so that no copy of a secret stays behind.
async fn read(mut body: Incoming) -> Result<Zeroizing<Vec<u8>>, HttpErrorCause> {
    let expected = body.size_hint().exact().map_or(Ok(LARGEST_BODY), usize::try_from).unwrap_or(usize::MAX);
    if expected > LARGEST_BODY {
        return Err(HttpErrorCause::TooLarge(LARGEST_BODY));
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(expected));
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        if bytes.len() + data.len() > LARGEST_BODY {
            return Err(HttpErrorCause::TooLarge(LARGEST_BODY));
        }
        bytes.extend_from_slice(&data);
    }
    Ok(bytes)
}
