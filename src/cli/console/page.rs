//! A page on loopback that leads one browser to the login URL of the console, once.
//!
//! The login URL opens a session in every browser. So it is in no argument of a program and in no file: the browser gets
//! a short URL of this page, which answers only a program of this user.

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::header::{CACHE_CONTROL, CONNECTION, HOST, HeaderName, HeaderValue, LOCATION, REFERRER_POLICY};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::cli::error::CommandError;
use crate::model::secret::Secret;
use crate::os::peer::{ConnectionEnds, PeerUsers};
use crate::server::auth_token;

/// The maximum wait for the browser. A browser that has to start takes a few seconds.
pub(crate) const PAGE_TIMEOUT: Duration = Duration::from_secs(60);

/// The headers of each answer, which keep it out of caches and the URL out of the `Referer` of the next page.
const PRIVATE: [(HeaderName, HeaderValue); 3] = [
    (CACHE_CONTROL, HeaderValue::from_static("no-store")),
    (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (CONNECTION, HeaderValue::from_static("close")),
];

/// A listener on a free port, with one path that nobody can guess.
pub(crate) struct LoginPage {
    listener: TcpListener,
    address: SocketAddr,
    redirect: Arc<OnceRedirect>,
}

/// The answer of the page.
struct OnceRedirect {
    host: String,
    path: Secret,
    target: HeaderValue,
    is_served: AtomicBool,
}

impl LoginPage {
    /// Listens on a free port of loopback.
    ///
    /// # Errors
    /// If no port or no random number is to be had.
    pub(crate) async fn open(target: &Secret) -> Result<Self, CommandError> {
        let failed = |error: io::Error| {
            CommandError::new(format!("cannot open a page on loopback for the browser: {error}. Use --print"))
        };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let mut target = HeaderValue::from_str(target.expose())
            .map_err(|_| CommandError::new("the login URL is not a URL; try again"))?;
        target.set_sensitive(true);
        let path = Secret::new(format!("/{}", auth_token::random().map_err(failed)?.expose()));
        let redirect = OnceRedirect { host: address.to_string(), path, target, is_served: AtomicBool::new(false) };
        Ok(Self { listener, address, redirect: Arc::new(redirect) })
    }

    /// Returns the short URL for the browser. Other users may see it: they get nothing for it.
    pub(crate) fn url(&self) -> String {
        format!("http://{}{}", self.address, self.redirect.path.expose())
    }

    /// Serves until a browser of the user has got the login URL.
    ///
    /// # Errors
    /// If no browser came in time.
    pub(crate) async fn serve(self, user: u32, limit: Duration) -> Result<(), CommandError> {
        let peers = PeerUsers::new();
        match tokio::time::timeout(limit, self.until_served(&peers, user)).await {
            Ok(()) => Ok(()),
            Err(_) => Err(CommandError::new(format!(
                "no browser of this user came to {} within {} s. Run the command again, or with --print",
                self.address,
                limit.as_secs()
            ))),
        }
    }

    async fn until_served(&self, peers: &PeerUsers, user: u32) {
        let mut connections = JoinSet::new();
        // One warning: another user must not fill the terminal.
        let mut is_warned = false;
        loop {
            tokio::select! {
                accepted = self.listener.accept() => {
                    let Ok((stream, client)) = accepted else { continue };
                    let ends = ConnectionEnds { client, ours: self.address };
                    // The kernel is asked before anything is read. An unknown user is another one.
                    match peers.proven(ends) {
                        Some(peer) if peer == user => {
                            connections.spawn(serve_connection(stream, Arc::clone(&self.redirect)));
                        }
                        peer if !std::mem::replace(&mut is_warned, true) => {
                            tracing::warn!(peer, "closed a connection of another user to the page of the console");
                        }
                        peer => tracing::debug!(peer, "closed another connection of another user"),
                    }
                }
                Some(ended) = connections.join_next() => {
                    // The connection that got the login URL has ended. The end of another one would cut it off.
                    if ended.unwrap_or_default() {
                        return;
                    }
                }
            }
        }
    }
}

impl OnceRedirect {
    fn answer(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        let is_host = request.headers().get(HOST).is_some_and(|host| host.as_bytes() == self.host.as_bytes());
        let path = request.uri().path_and_query().map_or("", |path| path.as_str());
        if !is_host || is_led(request) || !self.path.is(path.as_bytes()) {
            return plain(StatusCode::NOT_FOUND, "There is no such page.\n");
        }
        if request.method() != Method::GET {
            return plain(StatusCode::METHOD_NOT_ALLOWED, "Use GET.\n");
        }
        if self.is_served.swap(true, Ordering::AcqRel) {
            return plain(StatusCode::GONE, "This page was opened before. Run credenza console again.\n");
        }
        let mut response = plain(StatusCode::FOUND, "");
        response.headers_mut().insert(LOCATION, self.target.clone());
        response
    }
}

/// Returns true if a web page or a proxy has led the browser here. A browser that a program opens says `none`, if anything.
fn is_led(request: &Request<Incoming>) -> bool {
    let site = request.headers().get("sec-fetch-site");
    let is_from_page = site.is_some_and(|site| site.as_bytes() != b"none");
    let of_proxy = ["origin", "referer", "via", "forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip"];
    is_from_page || of_proxy.iter().any(|name| request.headers().contains_key(*name))
}

fn plain(status: StatusCode, text: &'static str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from_static(text.as_bytes())));
    *response.status_mut() = status;
    response.headers_mut().extend(PRIVATE);
    response
}

/// Serves one connection. Returns true if it got the login URL.
async fn serve_connection(stream: TcpStream, redirect: Arc<OnceRedirect>) -> bool {
    let is_redirected = AtomicBool::new(false);
    let service = service_fn(|request: Request<Incoming>| {
        let response = redirect.answer(&request);
        is_redirected.fetch_or(response.status() == StatusCode::FOUND, Ordering::Relaxed);
        async move { Ok::<_, Infallible>(response) }
    });
    if let Err(error) = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await {
        tracing::debug!(%error, "a connection to the page of the console ended");
    }
    is_redirected.load(Ordering::Relaxed)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    const TARGET: &str = "https://signin.aws.amazon.com/federation?Action=login&SigninToken=hush";

    /// Sends a request and returns the answer.
    async fn ask(address: SocketAddr, head: String) -> io::Result<String> {
        tokio::task::spawn_blocking(move || {
            let mut stream = std::net::TcpStream::connect(address)?;
            stream.write_all(head.as_bytes())?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer)
        })
        .await
        .unwrap()
    }

    fn get(page: &str, host: &str) -> String {
        format!("GET {page} HTTP/1.1\r\nHost: {host}\r\n\r\n")
    }

    #[tokio::test]
    async fn answers_its_path_once() {
        let page = LoginPage::open(&TARGET.into()).await.unwrap();
        let (address, host) = (page.address, page.address.to_string());
        let path = page.url().strip_prefix(&format!("http://{host}")).unwrap().to_owned();
        assert!(path.len() > 60, "{path}");
        let ours = rustix::process::geteuid().as_raw();
        let serving = page.serve(ours, Duration::from_secs(20));
        let asking = async {
            // A browser may open a connection in advance, and close it at any time.
            let idle = std::net::TcpStream::connect(address).unwrap();
            for (head, status) in [
                (get("/", &host), 404),
                (get(&path[..path.len() - 1], &host), 404),
                (get(&format!("{path}?x"), &host), 404),
                (get(&path, "evil.example"), 404),
                (get(&path, &format!("{host}\r\nSec-Fetch-Site: cross-site")), 404),
                (get(&path, &format!("{host}\r\nOrigin: http://evil.example")), 404),
                (get(&path, &format!("{host}\r\nVia: 1.1 proxy")), 404),
                (format!("GET {path} HTTP/1.1\r\n\r\n"), 404),
                (format!("POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\n\r\n"), 405),
                (format!("HEAD {path} HTTP/1.1\r\nHost: {host}\r\n\r\n"), 405),
            ] {
                let answer = ask(address, head.clone()).await.unwrap();
                assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{head}: {answer}");
                assert!(!answer.contains("hush"), "{answer}");
            }
            drop(idle);
            let answer = ask(address, get(&path, &format!("{host}\r\nSec-Fetch-Site: none"))).await.unwrap();
            assert!(answer.starts_with("HTTP/1.1 302 ") && answer.contains(TARGET), "{answer}");
            assert!(answer.contains("cache-control: no-store") && answer.contains("referrer-policy: no-referrer"));
        };
        let (served, ()) = tokio::join!(serving, asking);
        served.unwrap();
        assert!(ask(address, get(&path, &host)).await.is_err(), "the page is closed");
    }

    #[tokio::test]
    async fn second_request_in_time_gets_nothing() {
        let page = LoginPage::open(&TARGET.into()).await.unwrap();
        page.redirect.is_served.store(true, Ordering::Release);
        let (address, host) = (page.address, page.address.to_string());
        let path = page.redirect.path.expose().to_owned();
        let serving = page.serve(rustix::process::geteuid().as_raw(), Duration::from_millis(500));
        let (_, answer) = tokio::join!(serving, ask(address, get(&path, &host)));
        let answer = answer.unwrap();
        assert!(answer.starts_with("HTTP/1.1 410 ") && !answer.contains("hush"), "{answer}");
    }

    #[tokio::test]
    async fn other_user_gets_nothing() {
        let page = LoginPage::open(&TARGET.into()).await.unwrap();
        let (address, host) = (page.address, page.address.to_string());
        let path = page.redirect.path.expose().to_owned();
        // To a page of another user this process is another one.
        let other = rustix::process::geteuid().as_raw() + 1;
        let serving = page.serve(other, Duration::from_millis(500));
        let (served, answer) = tokio::join!(serving, ask(address, get(&path, &host)));
        assert!(served.unwrap_err().to_string().contains("no browser of this user came"));
        assert!(answer.as_deref().unwrap_or_default().is_empty(), "{answer:?}");
    }
}
