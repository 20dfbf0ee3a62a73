//! One exchange with a daemon: verifies the listener, sends the request and limits time and size of the response.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpStream, UnixStream};
use tokio_util::either::Either;

use crate::cli::daemon_client::known_token::KnownToken;
use crate::cli::error::CommandError;
use crate::config::listen::ListenAddress;
use crate::model::secret::Secret;
use crate::model::text::Escaped;
use crate::os::peer;

/// The timeout of a request. A daemon on this host answers much faster.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The maximum length of a response body in bytes. The status of a thousand identities is a few megabytes long.
const MAX_BODY_LEN: usize = 16 * 1024 * 1024;

/// The users that may own the listener. Root always may.
#[derive(Clone, Copy, Debug)]
pub(super) enum ListenerOwner<'a> {
    /// The owner of the token that is sent there.
    OfToken(&'a KnownToken),
    /// Users whose answers are believed, where no secret is sent.
    OneOf(&'a [u32]),
}

/// Connects to the daemon, and to no other program: the kernel says which user listens there.
pub(super) async fn connect(
    address: &ListenAddress,
    token: ListenerOwner<'_>,
) -> Result<DaemonStream, DaemonClientError> {
    match address {
        ListenAddress::Tcp(tcp) => connect_tcp(address, *tcp, token).await.map(Either::Left),
        ListenAddress::Unix(path) => connect_unix(address, path, token).await.map(Either::Right),
    }
}

/// A connection to a daemon.
pub(super) type DaemonStream = Either<TcpStream, UnixStream>;

/// Connects by TCP. The listening sockets must be equal before and after the connect.
async fn connect_tcp(
    address: &ListenAddress,
    tcp: SocketAddr,
    token: ListenerOwner<'_>,
) -> Result<TcpStream, DaemonClientError> {
    let listeners = || {
        peer::at(tcp).map_err(|error| {
            unknown_listener(address, &format!("neither sock_diag nor /proc/net/tcp can be read: {error}"))
        })
    };
    let before = listeners()?;
    let stream = TcpStream::connect(tcp).await.map_err(DaemonClientError::from)?;
    let after = listeners()?;
    if after.is_empty() {
        return Err(unknown_listener(address, "no socket of this host and network namespace listens there"));
    }
    if before != after {
        return Err(unknown_listener(address, "the listener has just changed; try again"));
    }
    for listener in after {
        check_listener(address, listener.uid, token)?;
    }
    Ok(stream)
}

/// Connects to a Unix socket. The kernel tells the user that listens at the other end of the connection.
/// The maximum number of further attempts to connect to a Unix socket with a full queue: a second of them.
const MAX_CONNECTS: u32 = 100;

const CONNECT_PAUSE: Duration = Duration::from_millis(10);

async fn connect_unix(
    address: &ListenAddress,
    path: &Path,
    token: ListenerOwner<'_>,
) -> Result<UnixStream, DaemonClientError> {
    let mut tries = 0;
    let stream = loop {
        match UnixStream::connect(path).await {
            // The queue of the socket is full for a moment.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && tries < MAX_CONNECTS => {
                tries += 1;
                tokio::time::sleep(CONNECT_PAUSE).await;
            }
            connected => break connected.map_err(DaemonClientError::from)?,
        }
    };
    let listener = stream.peer_cred().map_err(|error| unknown_listener(address, &error.to_string()))?;
    check_listener(address, listener.uid(), token)?;
    Ok(stream)
}

fn check_listener(address: &ListenAddress, uid: u32, owner: ListenerOwner<'_>) -> Result<(), DaemonClientError> {
    let is_expected = match owner {
        ListenerOwner::OfToken(token) => uid == token.owner,
        ListenerOwner::OneOf(users) => users.contains(&uid),
    };
    if !is_expected && uid != 0 {
        return Err(foreign_listener(address, uid, owner));
    }
    if peer::is_ambiguous(uid).map_err(|error| unknown_listener(address, &error.to_string()))? {
        return Err(unknown_listener(address, "its user has no id in this user namespace"));
    }
    Ok(())
}

pub(super) fn foreign_listener(address: &ListenAddress, uid: u32, owner: ListenerOwner<'_>) -> DaemonClientError {
    let token = match owner {
        ListenerOwner::OfToken(token) => token,
        ListenerOwner::OneOf(_) => {
            return DaemonClientError::ForeignListener(CommandError::new(format!(
                "{address}: user {uid} listens there, which is neither root, nor this user, nor the user of the system's \
                 daemon, so nothing was asked; set the daemon's address with --listen, or name its token with --token-file"
            )));
        }
    };
    let owner = match &token.file {
        Some(path) => {
            format!("the token file {} belongs to user {}", Escaped(&path.to_string_lossy()), token.owner)
        }
        None => format!("the token belongs to user {}", token.owner),
    };
    DaemonClientError::ForeignListener(CommandError::new(format!(
        "{address}: user {uid} listens there, and {owner}, so the token was not sent; stop that program, or set the daemon's \
         address with --listen and its token with --token-file"
    )))
}

fn unknown_listener(address: &ListenAddress, reason: &str) -> DaemonClientError {
    DaemonClientError::NotSent(CommandError::new(format!(
        "{address}: cannot find out which user listens there: {reason}; nothing was sent"
    )))
}

/// Sends a GET request without a token. The listener is not checked, because no secret is sent.
///
/// # Errors
/// If no daemon answers.
pub(crate) async fn get_without_token(
    address: &ListenAddress,
    path: &str,
) -> Result<(StatusCode, Bytes), CommandError> {
    with_timeout(address, async {
        let stream = match address {
            ListenAddress::Tcp(address) => TcpStream::connect(address).await.map(Either::Left),
            ListenAddress::Unix(path) => UnixStream::connect(path).await.map(Either::Right),
        };
        let stream = stream.map_err(DaemonClientError::from)?;
        Ok(request(stream, address, path, None).await?)
    })
    .await
    .map_err(CommandError::from)
}

/// The program at the address does not answer like a daemon.
pub(crate) fn not_a_daemon(address: &ListenAddress, reason: impl std::fmt::Display) -> CommandError {
    CommandError::new(format!("{address}: not a Credenza daemon: {reason}; set the daemon's address with --listen"))
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

pub(super) enum DaemonClientError {
    /// The connection or the HTTP exchange failed.
    NoAnswer(BoxError),
    /// The request was not sent.
    NotSent(CommandError),
    /// The request was not sent, because the listener belongs to another user than the token.
    ForeignListener(CommandError),
}

/// An error after [`with_timeout`], as the user sees it.
pub(super) enum ExchangeError {
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

pub(super) async fn with_timeout<T>(
    address: &ListenAddress,
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

pub(super) async fn request(
    stream: DaemonStream,
    address: &ListenAddress,
    path: &str,
    token: Option<&Secret>,
) -> Result<(StatusCode, Bytes), BoxError> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let host = address.tcp().map_or_else(|| "localhost".to_owned(), |address| address.to_string());
    let mut request = Request::get(path).header(header::HOST, host);
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
