//! A running daemon, as the commands that ask it see it.

pub(crate) mod known_token;

use crate::os::peer;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::rt::TokioIo;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use tokio::net::TcpStream;

use crate::cli::command::CommandError;
use crate::cli::daemon_client::known_token::{KnownToken, known_token};
use crate::config::listen::{Listen, PORT};
use crate::config::server::ServerConfig;
use crate::context::Context;
use crate::model::identity_name::IdentityName;
use crate::model::secret::Secret;

/// A daemon on this host answers at once or not at all.
const PATIENCE: Duration = Duration::from_secs(5);

/// A status of a thousand identities is about this long, in bytes.
const LIMIT: usize = 16 * 1024 * 1024;

/// What of a name stands in a path as it is.
const IN_A_PATH: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Where the daemon of this configuration is asked: of the addresses on which it listens the one that most SDKs take,
/// as far as one can know; on loopback, if it listens on all addresses.
#[must_use]
pub(crate) fn address(listen: &Listen) -> SocketAddr {
    let addresses = match listen {
        Listen::Default => &[],
        Listen::Addresses(addresses) => &addresses[..],
    };
    preferred(addresses).unwrap_or((Ipv4Addr::LOCALHOST, PORT).into())
}

/// Of addresses on which a daemon listens, the one that most SDKs take.
#[must_use]
pub(crate) fn preferred(listened: &[SocketAddr]) -> Option<SocketAddr> {
    let reached = listened.iter().map(|address| match address {
        SocketAddr::V4(all) if all.ip().is_unspecified() => (Ipv4Addr::LOCALHOST, all.port()).into(),
        SocketAddr::V6(all) if all.ip().is_unspecified() => (Ipv6Addr::LOCALHOST, all.port()).into(),
        address => *address,
    });
    reached.min_by_key(|address| reluctance(address.ip()))
}

/// How many SDKs refuse an address, from none to most: some know no other loopback than the first, more no `[::1]`.
fn reluctance(ip: IpAddr) -> u8 {
    match ip {
        IpAddr::V4(Ipv4Addr::LOCALHOST) => 0,
        IpAddr::V4(ip) if ip.is_loopback() => 1,
        IpAddr::V6(Ipv6Addr::LOCALHOST) => 2,
        _ => 3,
    }
}

/// The path of an identity's credentials.
#[must_use]
pub(crate) fn path(identity: &IdentityName) -> String {
    if identity.as_str() == IdentityName::DEFAULT {
        return "/credentials".into();
    }
    format!("/credentials/{}", utf8_percent_encode(identity.as_str(), IN_A_PATH))
}

/// A daemon whose listener has to be its own: nobody else may get its token.
#[derive(Debug)]
pub(crate) struct DaemonClient {
    /// Where it is asked.
    pub(crate) address: SocketAddr,
    /// Where its token stands, if it is kept in a file.
    pub(crate) token_file: Option<PathBuf>,
    token: Secret,
    owner: u32,
}

/// The daemon's own words for why it does not give something.
#[derive(Debug)]
pub(crate) struct DaemonRefusal {
    status: StatusCode,
    code: Box<str>,
    message: Box<str>,
}

impl DaemonRefusal {
    /// Whether only the credentials are missing, of an identity that there is and that this client may have.
    #[must_use]
    pub(crate) fn is_for_want_of_credentials(&self) -> bool {
        const WANT: [&str; 5] = [
            "CredentialsUnavailable",
            "CredentialsNotConfigured",
            "SourceMisconfigured",
            "SourceDenied",
            "LoginRequired",
        ];
        WANT.contains(&&*self.code)
    }
}

impl std::fmt::Display for DaemonRefusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}: {}", self.status.as_u16(), self.code, self.message)
    }
}

impl DaemonClient {
    /// The daemon that the configuration names.
    ///
    /// # Errors
    /// When its token is not where it should be.
    pub(crate) fn find(server: &ServerConfig, context: &Context) -> Result<Self, CommandError> {
        let KnownToken { token, file } = known_token(server, context)?;
        let (token_file, owner) = file.map_or((None, context.uid()), |(path, owner)| (Some(path), owner));
        Ok(Self { address: address(&server.listen), token_file, token, owner })
    }

    /// The answer at a path, word for word.
    ///
    /// # Errors
    /// When no daemon answers, the listener is not its own, or it refuses; with its message.
    pub(crate) async fn ask(&self, path: &str) -> Result<Bytes, CommandError> {
        self.ask_or_hear_why(path).await?.map_err(|refusal| self.refused(&refusal))
    }

    /// The answer at a path, or the daemon's own words for why there is none.
    ///
    /// # Errors
    /// When no daemon answers, or the listener is not its own.
    pub(crate) async fn ask_or_hear_why(&self, path: &str) -> Result<Result<Bytes, DaemonRefusal>, CommandError> {
        let (status, body) = within_patience(self.address, async {
            let stream = self.connect().await?;
            Ok(request(stream, self.address, path, Some(&self.token)).await?)
        })
        .await?;
        if status == StatusCode::OK {
            return Ok(Ok(body));
        }
        let document: Value = serde_json::from_slice(&body).map_err(|error| foreign(self.address, error))?;
        let text = |name: &str| document[name].as_str().unwrap_or_default().into();
        Ok(Err(DaemonRefusal { status, code: text("code"), message: text("message") }))
    }

    /// A refusal as an error.
    #[must_use]
    pub(crate) fn refused(&self, refusal: &DaemonRefusal) -> CommandError {
        CommandError::because(format!("{}: {refusal}", self.address))
    }

    /// What `/status` says of an identity; null where it says nothing.
    ///
    /// # Errors
    /// As [`DaemonClient::ask`].
    pub(crate) async fn status_of(&self, identity: &IdentityName) -> Result<Value, CommandError> {
        let status = self.ask("/status").await?;
        let mut status: Value = serde_json::from_slice(&status).map_err(|error| foreign(self.address, error))?;
        Ok(status["identities"][identity.as_str()].take())
    }

    /// A connection that only a listener of the daemon's can have taken: the same sockets listen before and after, and all
    /// of them are the token owner's or root's.
    async fn connect(&self) -> Result<TcpStream, DaemonClientError> {
        let look = || {
            peer::at(self.address)
                .map_err(|error| self.untold(&format!("neither sock_diag nor /proc/net/tcp says it: {error}")))
        };
        let before = look()?;
        let stream = TcpStream::connect(self.address).await.map_err(DaemonClientError::from)?;
        let after = look()?;
        if after.is_empty() {
            return Err(self.untold("no socket of this host and network namespace listens there"));
        }
        if before != after {
            return Err(self.untold("it changed this moment; ask again"));
        }
        for listener in after {
            if listener.uid != self.owner && listener.uid != 0 {
                return Err(self.not_its_own(listener.uid));
            }
            if peer::is_ambiguous(listener.uid).map_err(|error| self.untold(&error.to_string()))? {
                return Err(self.untold("its user has no number in this user namespace"));
            }
        }
        Ok(stream)
    }

    fn not_its_own(&self, uid: u32) -> DaemonClientError {
        let owner = match &self.token_file {
            Some(path) => format!("the token file {} belongs to user {}", path.display(), self.owner),
            None => format!("the token is that of user {}", self.owner),
        };
        DaemonClientError::Final(CommandError::because(format!(
            "{}: user {uid} listens there, and {owner}: the token stays here; find out whose program that is, or name the \
             daemon's own address with --listen and its token with --token-file",
            self.address
        )))
    }

    fn untold(&self, why: &str) -> DaemonClientError {
        DaemonClientError::Final(CommandError::because(format!(
            "{}: it cannot be told whose listener that is: {why}; the token stays here",
            self.address
        )))
    }
}

/// Asks without a token, and so without looking whose listener it is.
///
/// # Errors
/// When no daemon answers.
pub(crate) async fn ask(address: SocketAddr, path: &str) -> Result<(StatusCode, Bytes), CommandError> {
    within_patience(address, async {
        let stream = TcpStream::connect(address).await.map_err(DaemonClientError::from)?;
        Ok(request(stream, address, path, None).await?)
    })
    .await
}

/// What answered is something else.
pub(crate) fn foreign(address: SocketAddr, why: impl std::fmt::Display) -> CommandError {
    CommandError::because(format!("{address}: that is not a Credenza daemon: {why}"))
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Why there is no answer.
enum DaemonClientError {
    /// Nobody there, or nobody who speaks HTTP.
    NoAnswer(BoxError),
    /// It is not even asked.
    Final(CommandError),
}

impl<E: Into<BoxError>> From<E> for DaemonClientError {
    fn from(error: E) -> Self {
        Self::NoAnswer(error.into())
    }
}

async fn within_patience<T>(
    address: SocketAddr,
    asking: impl Future<Output = Result<T, DaemonClientError>>,
) -> Result<T, CommandError> {
    let failed = |why: String| {
        CommandError::because(format!(
            "no daemon answers at {address}: {why}; start one with `credenza serve`, or name its address with --listen"
        ))
    };
    match tokio::time::timeout(PATIENCE, asking).await {
        Ok(answer) => answer.map_err(|trouble| match trouble {
            DaemonClientError::NoAnswer(error) => failed(error.to_string()),
            DaemonClientError::Final(error) => error,
        }),
        Err(_) => Err(failed(format!("nothing came for {} s", PATIENCE.as_secs()))),
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
    let asking = async {
        let response = sender.send_request(request.body(Empty::<Bytes>::new())?).await?;
        let status = response.status();
        let body = Limited::new(response.into_body(), LIMIT).collect().await?.to_bytes();
        Ok((status, body))
    };
    let mut connection = std::pin::pin!(connection);
    let mut asking = std::pin::pin!(asking);
    tokio::select! {
        answer = &mut asking => answer,
        ended = &mut connection => {
            ended?;
            asking.await
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_daemon_is_asked_on_loopback_where_it_has_all_addresses() {
        let of = |text: &str| address(&Listen::Addresses(vec![text.parse().unwrap()])).to_string();
        assert_eq!(address(&Listen::Default).to_string(), "127.0.0.1:9733");
        for (listens, asked) in [
            ("127.0.0.2:1", "127.0.0.2:1"),
            ("0.0.0.0:1", "127.0.0.1:1"),
            ("[::]:1", "[::1]:1"),
            ("[::1]:2", "[::1]:2"),
        ] {
            assert_eq!(of(listens), asked);
        }
    }

    #[test]
    fn of_several_addresses_it_is_the_one_that_most_sdks_take() {
        let of = |texts: &[&str]| {
            let addresses = texts.iter().map(|text| text.parse().unwrap()).collect();
            address(&Listen::Addresses(addresses)).to_string()
        };
        for (listens, asked) in [
            (&["[::1]:1", "169.254.170.2:80", "127.0.0.2:2", "127.0.0.1:3", "127.0.0.1:4"][..], "127.0.0.1:3"),
            (&["[::1]:1", "0.0.0.0:3"], "127.0.0.1:3"),
            (&["169.254.170.2:80", "[::1]:1", "127.0.0.2:2", "127.0.0.3:2"], "127.0.0.2:2"),
            (&["169.254.170.2:80", "[::]:1"], "[::1]:1"),
            (&["169.254.170.23:80", "169.254.170.2:80"], "169.254.170.23:80"),
            (&[], "127.0.0.1:9733"),
        ] {
            assert_eq!(of(listens), asked, "{listens:?}");
        }
    }

    #[test]
    fn every_name_fits_into_a_path() {
        assert_eq!(path(&IdentityName::default()), "/credentials");
        assert_eq!(path(&"team-a.b_c~".into()), "/credentials/team-a.b_c~");
        assert_eq!(path(&"a/b c?é".into()), "/credentials/a%2Fb%20c%3F%C3%A9");
    }
}
