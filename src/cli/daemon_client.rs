//! The client of a running daemon, for `get --from-daemon`, `env` and `status`.

pub(crate) mod known_token;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::rt::TokioIo;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use tokio::net::TcpStream;

use crate::cli::daemon_client::known_token::{KnownToken, known_tokens};
use crate::cli::error::CommandError;
use crate::config::listen::{Listen, PORT};
use crate::config::server::ServerConfig;
use crate::context::Context;
use crate::model::identity_name::IdentityName;
use crate::model::secret::Secret;
use crate::model::text::Escaped;
use crate::os::peer;

/// The timeout of a request. A daemon on this host answers much faster.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The maximum length of a response body in bytes. The status of a thousand identities is a few megabytes long.
const MAX_BODY_LEN: usize = 16 * 1024 * 1024;

/// The characters that are percent-encoded in a path segment (RFC 3986, section 2.3).
const PATH_SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Returns the address for requests to the daemon of this configuration: the listen address that most SDKs accept.
///
/// If the daemon listens on all addresses, it is the loopback address.
#[must_use]
pub(crate) fn address(listen: &Listen) -> SocketAddr {
    let addresses = match listen {
        Listen::Default => &[],
        Listen::Addresses(addresses) => &addresses[..],
    };
    preferred_address(addresses).unwrap_or((Ipv4Addr::LOCALHOST, PORT).into())
}

/// Returns the listen address that most SDKs accept.
#[must_use]
pub(crate) fn preferred_address(listen: &[SocketAddr]) -> Option<SocketAddr> {
    let reachable = listen.iter().map(|address| match address {
        SocketAddr::V4(all) if all.ip().is_unspecified() => (Ipv4Addr::LOCALHOST, all.port()).into(),
        SocketAddr::V6(all) if all.ip().is_unspecified() => (Ipv6Addr::LOCALHOST, all.port()).into(),
        address => *address,
    });
    reachable.min_by_key(|address| sdk_preference(address.ip()))
}

/// Returns the rank of an address. Rank 0 is `127.0.0.1`, which all SDKs accept. Some SDKs refuse other IPv4 loopback
/// addresses, and more SDKs refuse `[::1]`.
fn sdk_preference(ip: IpAddr) -> u8 {
    match ip {
        IpAddr::V4(Ipv4Addr::LOCALHOST) => 0,
        IpAddr::V4(ip) if ip.is_loopback() => 1,
        IpAddr::V6(Ipv6Addr::LOCALHOST) => 2,
        _ => 3,
    }
}

/// Returns the path of an identity's credentials.
#[must_use]
pub(crate) fn credentials_path(identity: &IdentityName) -> String {
    if identity.as_str() == IdentityName::DEFAULT {
        return "/credentials".into();
    }
    format!("/credentials/{}", utf8_percent_encode(identity.as_str(), PATH_SEGMENT))
}

/// Sends requests with the auth token to a daemon, after a check that the daemon owns the listener.
#[derive(Debug)]
pub(crate) struct DaemonClient {
    pub(crate) address: SocketAddr,
    /// The tokens that the daemon may accept. There is at least one.
    tokens: Vec<KnownToken>,
    /// The position of the token that was used last.
    used: AtomicUsize,
}

/// An error response of the daemon.
#[derive(Debug)]
pub(crate) struct DaemonRefusal {
    status: StatusCode,
    code: Box<str>,
    message: Box<str>,
}

impl DaemonRefusal {
    /// Returns true if the client may have the identity, and only its credentials are missing.
    #[must_use]
    pub(crate) fn is_about_credentials(&self) -> bool {
        const CODES: [&str; 5] = [
            "CredentialsUnavailable",
            "CredentialsNotConfigured",
            "SourceMisconfigured",
            "SourceDenied",
            "LoginRequired",
        ];
        CODES.contains(&&*self.code)
    }
}

impl std::fmt::Display for DaemonRefusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The message may quote foreign text, such as the name of a profile.
        write!(f, "{} {}: {}", self.status.as_u16(), Escaped(&self.code), Escaped(&self.message))
    }
}

impl DaemonClient {
    /// Finds the address and the auth token of the daemon of this configuration.
    ///
    /// # Errors
    /// If the auth token cannot be read.
    pub(crate) fn find(server: &ServerConfig, context: &Context) -> Result<Self, CommandError> {
        let tokens = known_tokens(server, context)?;
        Ok(Self { address: address(&server.listen), tokens, used: AtomicUsize::new(0) })
    }

    /// Returns the file of the token that was used last, if it is in a file.
    pub(crate) fn token_file(&self) -> Option<&Path> {
        self.tokens.get(self.used.load(Ordering::Relaxed))?.file.as_deref()
    }

    /// Sends a GET request and returns the body.
    ///
    /// # Errors
    /// If no daemon answers, the listener is not the daemon's, or the daemon refuses the request.
    pub(crate) async fn get(&self, path: &str) -> Result<Bytes, CommandError> {
        self.try_get(path).await?.map_err(|refusal| self.refused(&refusal))
    }

    /// Sends a GET request and returns the body or the refusal of the daemon. If several token files exist, for example
    /// one of an earlier daemon, the next is used when the daemon refuses one or belongs to another user.
    ///
    /// # Errors
    /// If no daemon answers, or the listener is not the daemon's.
    pub(crate) async fn try_get(&self, path: &str) -> Result<Result<Bytes, DaemonRefusal>, CommandError> {
        let first = self.used.load(Ordering::Relaxed);
        let mut answer = self.get_with(first, path).await;
        for number in first + 1..self.tokens.len() {
            if !matches!(&answer, Ok((StatusCode::UNAUTHORIZED, _)) | Err(ExchangeError::ForeignListener(_))) {
                break;
            }
            match self.get_with(number, path).await {
                Err(ExchangeError::ForeignListener(_)) => {}
                other => {
                    answer = other;
                    self.used.store(number, Ordering::Relaxed);
                }
            }
        }
        let (status, body) = answer?;
        if status == StatusCode::UNAUTHORIZED {
            return Err(self.refuses_token());
        }
        if status == StatusCode::OK {
            return Ok(Ok(body));
        }
        let document: Value = serde_json::from_slice(&body).map_err(|error| not_a_daemon(self.address, error))?;
        let text = |name: &str| document[name].as_str().unwrap_or_default().into();
        Ok(Err(DaemonRefusal { status, code: text("code"), message: text("message") }))
    }

    async fn get_with(&self, number: usize, path: &str) -> Result<(StatusCode, Bytes), ExchangeError> {
        let token = &self.tokens[number];
        let exchange = async {
            let stream = self.connect(token).await?;
            Ok(request(stream, self.address, path, Some(&token.token)).await?)
        };
        with_timeout(self.address, exchange).await
    }

    fn refuses_token(&self) -> CommandError {
        let files: Vec<String> = self
            .tokens
            .iter()
            .filter_map(|token| token.file.as_deref())
            .map(|file| Escaped(&file.to_string_lossy()).to_string())
            .collect();
        let token = if files.is_empty() {
            "the given auth token".into()
        } else {
            format!("the token in {}", files.join(" or "))
        };
        CommandError::new(format!(
            "{}: 401 InvalidAuthorizationToken: the daemon does not accept {token}; it runs with another token: name its file with --token-file, or restart \
             the daemon",
            self.address
        ))
    }

    /// Converts a refusal to an error.
    #[must_use]
    pub(crate) fn refused(&self, refusal: &DaemonRefusal) -> CommandError {
        CommandError::new(format!("{}: {refusal}", self.address))
    }

    /// Gets the status of an identity; null if `/status` does not list it.
    ///
    /// # Errors
    /// As [`DaemonClient::get`].
    pub(crate) async fn identity_status(&self, identity: &IdentityName) -> Result<Value, CommandError> {
        let status = self.get("/status").await?;
        let mut status: Value = serde_json::from_slice(&status).map_err(|error| not_a_daemon(self.address, error))?;
        Ok(status["identities"][identity.as_str()].take())
    }

    /// Connects to the daemon, and to no other program.
    ///
    /// The listening sockets must be equal before and after the connect. Each must belong to the owner of the token
    /// file or to root.
    async fn connect(&self, token: &KnownToken) -> Result<TcpStream, DaemonClientError> {
        let listeners = || {
            peer::at(self.address).map_err(|error| {
                self.unknown_listener(&format!("neither sock_diag nor /proc/net/tcp can be read: {error}"))
            })
        };
        let before = listeners()?;
        let stream = TcpStream::connect(self.address).await.map_err(DaemonClientError::from)?;
        let after = listeners()?;
        if after.is_empty() {
            return Err(self.unknown_listener("no socket of this host and network namespace listens there"));
        }
        if before != after {
            return Err(self.unknown_listener("the listener has just changed; try again"));
        }
        for listener in after {
            if listener.uid != token.owner && listener.uid != 0 {
                return Err(self.foreign_listener(listener.uid, token));
            }
            if peer::is_ambiguous(listener.uid).map_err(|error| self.unknown_listener(&error.to_string()))? {
                return Err(self.unknown_listener("its user has no id in this user namespace"));
            }
        }
        Ok(stream)
    }

    fn foreign_listener(&self, uid: u32, token: &KnownToken) -> DaemonClientError {
        let owner = match &token.file {
            Some(path) => {
                format!("the token file {} belongs to user {}", Escaped(&path.to_string_lossy()), token.owner)
            }
            None => format!("the token belongs to user {}", token.owner),
        };
        DaemonClientError::ForeignListener(CommandError::new(format!(
            "{}: user {uid} listens there, and {owner}, so the token was not sent; stop that program, or set the daemon's \
             address with --listen and its token with --token-file",
            self.address
        )))
    }

    fn unknown_listener(&self, reason: &str) -> DaemonClientError {
        DaemonClientError::NotSent(CommandError::new(format!(
            "{}: cannot find out which user listens there: {reason}; the token was not sent",
            self.address
        )))
    }
}

/// Sends a GET request without a token. The listener is not checked, because no secret is sent.
///
/// # Errors
/// If no daemon answers.
pub(crate) async fn get_without_token(address: SocketAddr, path: &str) -> Result<(StatusCode, Bytes), CommandError> {
    with_timeout(address, async {
        let stream = TcpStream::connect(address).await.map_err(DaemonClientError::from)?;
        Ok(request(stream, address, path, None).await?)
    })
    .await
    .map_err(CommandError::from)
}

/// The program at the address does not answer like a daemon.
pub(crate) fn not_a_daemon(address: SocketAddr, reason: impl std::fmt::Display) -> CommandError {
    CommandError::new(format!("{address}: not a Credenza daemon: {reason}; set the daemon's address with --listen"))
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

enum DaemonClientError {
    /// The connection or the HTTP exchange failed.
    NoAnswer(BoxError),
    /// The request was not sent.
    NotSent(CommandError),
    /// The request was not sent, because the listener belongs to another user than the token.
    ForeignListener(CommandError),
}

/// An error after [`with_timeout`], as the user sees it.
enum ExchangeError {
    ForeignListener(CommandError),
    Other(CommandError),
}

impl From<ExchangeError> for CommandError {
    fn from(error: ExchangeError) -> Self {
        match error {
            ExchangeError::ForeignListener(error) | ExchangeError::Other(error) => error,
        }
    }
}

impl<E: Into<BoxError>> From<E> for DaemonClientError {
    fn from(error: E) -> Self {
        Self::NoAnswer(error.into())
    }
}

async fn with_timeout<T>(
    address: SocketAddr,
    request: impl Future<Output = Result<T, DaemonClientError>>,
) -> Result<T, ExchangeError> {
    let no_answer = |reason: String| {
        CommandError::new(format!(
            "no daemon answers at {address}: {reason}; start one with `credenza serve`, or set its address with --listen"
        ))
    };
    match tokio::time::timeout(TIMEOUT, request).await {
        Ok(result) => result.map_err(|error| match error {
            DaemonClientError::NoAnswer(error) => ExchangeError::Other(no_answer(error.to_string())),
            DaemonClientError::NotSent(error) => ExchangeError::Other(error),
            DaemonClientError::ForeignListener(error) => ExchangeError::ForeignListener(error),
        }),
        Err(_) => Err(ExchangeError::Other(no_answer(format!("no response within {} s", TIMEOUT.as_secs())))),
    }
}

async fn request(
    stream: TcpStream,
    address: SocketAddr,
    path: &str,
    token: Option<&Secret>,
) -> Result<(StatusCode, Bytes), BoxError> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let mut request = Request::get(path).header(header::HOST, address.to_string());
    if let Some(token) = token {
        let mut value = http::HeaderValue::from_str(token.expose())?;
        value.set_sensitive(true);
        request = request.header(header::AUTHORIZATION, value);
    }
    let exchange = async {
        let response = sender.send_request(request.body(Empty::<Bytes>::new())?).await?;
        let status = response.status();
        let body = Limited::new(response.into_body(), MAX_BODY_LEN).collect().await?.to_bytes();
        Ok((status, body))
    };
    let mut connection = std::pin::pin!(connection);
    let mut exchange = std::pin::pin!(exchange);
    tokio::select! {
        response = &mut exchange => response,
        ended = &mut connection => {
            ended?;
            exchange.await
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connects_to_loopback_if_daemon_listens_everywhere() {
        let of = |text: &str| address(&Listen::Addresses(vec![text.parse().unwrap()])).to_string();
        assert_eq!(address(&Listen::Default).to_string(), "127.0.0.1:9733");
        for (listens, expected) in [
            ("127.0.0.2:1", "127.0.0.2:1"),
            ("0.0.0.0:1", "127.0.0.1:1"),
            ("[::]:1", "[::1]:1"),
            ("[::1]:2", "[::1]:2"),
        ] {
            assert_eq!(of(listens), expected);
        }
    }

    #[test]
    fn prefers_the_address_that_most_sdks_accept() {
        let of = |texts: &[&str]| {
            let addresses = texts.iter().map(|text| text.parse().unwrap()).collect();
            address(&Listen::Addresses(addresses)).to_string()
        };
        for (listens, expected) in [
            (&["[::1]:1", "169.254.170.2:80", "127.0.0.2:2", "127.0.0.1:3", "127.0.0.1:4"][..], "127.0.0.1:3"),
            (&["[::1]:1", "0.0.0.0:3"], "127.0.0.1:3"),
            (&["169.254.170.2:80", "[::1]:1", "127.0.0.2:2", "127.0.0.3:2"], "127.0.0.2:2"),
            (&["169.254.170.2:80", "[::]:1"], "[::1]:1"),
            (&["169.254.170.23:80", "169.254.170.2:80"], "169.254.170.23:80"),
            (&[], "127.0.0.1:9733"),
        ] {
            assert_eq!(of(listens), expected, "{listens:?}");
        }
    }

    #[test]
    fn messages_escape_the_token_file() {
        let token = KnownToken { token: "t".into(), file: Some("/d/a\u{1b}[2J".into()), owner: 7 };
        let client =
            DaemonClient { address: "127.0.0.1:1".parse().unwrap(), tokens: vec![token], used: AtomicUsize::new(0) };
        let DaemonClientError::ForeignListener(foreign) = client.foreign_listener(8, &client.tokens[0]) else {
            panic!()
        };
        for message in [client.refuses_token().to_string(), foreign.to_string()] {
            assert!(message.contains("/d/a\\u{1b}[2J") && !message.contains('\u{1b}'), "{message:?}");
        }
    }

    #[test]
    fn encodes_identity_names_in_paths() {
        assert_eq!(credentials_path(&IdentityName::default()), "/credentials");
        assert_eq!(credentials_path(&"team-a.b_c~".into()), "/credentials/team-a.b_c~");
        assert_eq!(credentials_path(&"a/b c?é".into()), "/credentials/a%2Fb%20c%3F%C3%A9");
    }
}
