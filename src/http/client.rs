//! The HTTP client for services that issue credentials.
//!
//! Each request opens a connection, and dropping the request closes it. So the client connects only to addresses that
//! it has checked. It speaks HTTP/1.1 without redirects and cookies. Only requests that ask for a proxy go through one.

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
use crate::os::progress::Progress;

/// The HTTP client. Clones share their state. The default reaches no address.
#[derive(Clone, Default)]
pub(crate) struct HttpClient {
    network: Option<Arc<Connector>>,
    machine: Arc<ClientEnvironment>,
    bundles: Arc<CaBundles>,
    progress: Progress,
}

/// The proxies and certificate authorities of the environment.
#[derive(Default)]
struct ClientEnvironment {
    proxies: ProxySettings,
    roots: SystemRoots,
}

impl HttpClient {
    /// Returns a client for the network of this machine. `own` holds the listeners of this process, and is filled after
    /// they are bound. No request is sent to a listener in it, by any name or address.
    pub(crate) fn system(own: Arc<OnceLock<Vec<SocketAddr>>>) -> Self {
        Self::with(NameResolver::System, own)
    }

    /// Returns a client that resolves only these names, and connects to any address.
    #[cfg(test)]
    pub(crate) fn with_names(own: Arc<OnceLock<Vec<SocketAddr>>>, names: HashMap<Box<str>, Vec<IpAddr>>) -> Self {
        Self::with(NameResolver::Fixed(names), own)
    }

    /// Returns a client that resolves no names and makes its connections by `dial`.
    #[cfg(test)]
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

    /// Sets the proxies and certificate authorities of the environment: `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY`,
    /// `NO_PROXY`, `SSL_CERT_FILE` and `SSL_CERT_DIR`.
    pub(crate) fn with_environment(self, environment: &Environment) -> Self {
        let machine =
            ClientEnvironment { proxies: ProxySettings::of(environment), roots: SystemRoots::of(environment) };
        Self { machine: Arc::new(machine), ..self }
    }

    /// Sets the line that shows the user for which host this client waits.
    pub(crate) fn with_progress(self, progress: Progress) -> Self {
        Self { progress, ..self }
    }

    /// Parses a bundle in PEM for [`Request::with_roots`]. A bundle with equal content is parsed once.
    ///
    /// # Errors
    /// If no certificate is usable or one is broken. The message is the end of a sentence that begins with the name of
    /// the file.
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

    /// Returns the listeners of this process.
    #[must_use]
    pub(crate) fn own_listeners(&self) -> &[SocketAddr] {
        self.network.as_ref().and_then(|network| network.own.get()).map_or(&[], Vec::as_slice)
    }

    /// Sends one request and reads the whole response with any status, within the timeout of the request.
    ///
    /// # Errors
    /// If there is no complete response, or the request must not be sent to this address. The error names method and
    /// URL.
    pub(crate) async fn send(&self, request: Request) -> Result<Response, HttpError> {
        let (tried, timeout) = (request.to_string(), request.timeout);
        let deadline = Instant::now() + timeout;
        let proxy = if request.asks_for_proxy() { self.machine.proxies.proxy_for(&request.url) } else { Ok(None) };
        let via = proxy.as_ref().ok().and_then(Option::as_ref).map(ToString::to_string);
        let outcome = match (&self.network, proxy) {
            (None, _) => Err(HttpErrorCause::NoClient),
            (_, Err(bad)) => Err(bad),
            (Some(network), Ok(proxy)) => {
                let host = request.url.authority();
                let exchange = network.exchange(request, &self.machine.roots, proxy.as_deref(), deadline);
                let exchange = self.progress.asking(|| host, timeout_at(deadline, exchange)).await;
                exchange.unwrap_or(Err(HttpErrorCause::TimedOut(timeout)))
            }
        };
        let status = outcome.as_ref().ok().map(|response| response.status.as_u16());
        tracing::debug!(request = %tried, via, status, "sent an HTTP request");
        outcome.map_err(|cause| HttpError::new(tried, cause))
    }

    /// Returns true if this scheme, host and port has ever responded to this process, with any status.
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
mod tests;
