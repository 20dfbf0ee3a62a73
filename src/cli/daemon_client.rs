//! The client of a running daemon, for `get --from-daemon`, `env` and `status`.

pub(crate) mod address;
pub(crate) mod exchange;
pub(crate) mod known_token;

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http::StatusCode;
use serde_json::Value;

use crate::cli::daemon_client::address::{address, credentials_path};
use crate::cli::daemon_client::exchange::{ExchangeError, ListenerOwner, connect, not_a_daemon, request, with_timeout};
use crate::cli::daemon_client::known_token::{DaemonAccess, KnownToken, daemon_access};
use crate::cli::error::CommandError;
use crate::config::listen::ListenAddress;
use crate::config::server::ServerConfig;
use crate::context::Context;
use crate::model::error::ErrorKind;
use crate::model::identity_name::IdentityName;
use crate::model::secret::Secret;
use crate::model::text::Escaped;
use crate::os::progress::Progress;

/// Sends requests with the auth token to a daemon, after a check that the daemon owns the listener.
#[derive(Debug)]
pub(crate) struct DaemonClient {
    pub(crate) address: ListenAddress,
    access: DaemonAccess,
    /// The position of the token that was used last. The position after the last token is access by user alone.
    used: AtomicUsize,
    progress: Progress,
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
        const CODES: [&str; 6] = [
            "CredentialsUnavailable",
            "CredentialsNotConfigured",
            "SourceMisconfigured",
            "SourceDenied",
            "LoginRequired",
            "MfaRequired",
        ];
        CODES.contains(&&*self.code)
    }
}

impl DaemonRefusal {
    /// Returns what a person has to do, if only that helps.
    #[must_use]
    pub(crate) fn needed(&self) -> Option<ErrorKind> {
        match &*self.code {
            "LoginRequired" => Some(ErrorKind::LoginRequired),
            "MfaRequired" => Some(ErrorKind::MfaRequired),
            _ => None,
        }
    }

    pub(crate) fn message(&self) -> &str {
        &self.message
    }
}

impl std::fmt::Display for DaemonRefusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The message may quote foreign text, such as the name of a profile.
        write!(f, "{} {}: {}", self.status.as_u16(), Escaped(&self.code), Escaped(&self.message))
    }
}

impl DaemonClient {
    /// Finds the address and the auth tokens of the daemon of this configuration.
    ///
    /// # Errors
    /// If a named token file cannot be read.
    pub(crate) fn find(server: &ServerConfig, context: &Context) -> Result<Self, CommandError> {
        let access = daemon_access(server, context)?;
        Ok(Self {
            address: address(&server.listen, &context.environment),
            access,
            used: AtomicUsize::new(0),
            progress: context.progress.clone(),
        })
    }

    fn used_token(&self) -> Option<&KnownToken> {
        self.access.tokens.get(self.used.load(Ordering::Relaxed))
    }

    /// Returns the file of the token that was used last, if it is in a file.
    pub(crate) fn token_file(&self) -> Option<&Path> {
        self.used_token()?.file.as_deref()
    }

    /// Returns the token that was used last; `None` if the daemon knows the client by its user alone.
    pub(crate) fn token(&self) -> Option<&Secret> {
        self.used_token().map(|token| &token.token)
    }

    /// Returns the URL of an identity's credentials, for SDKs.
    ///
    /// # Errors
    /// If the daemon listens on a Unix socket alone, which SDKs do not know.
    pub(crate) fn credentials_uri(&self, identity: &IdentityName) -> Result<String, CommandError> {
        if let Some(warning) = self.address.sdk_warning() {
            tracing::warn!("{warning}");
        }
        match self.address.tcp() {
            Some(address) => Ok(format!("http://{address}{}", credentials_path(identity))),
            None => Err(CommandError::new(format!(
                "{}: SDKs know no Unix sockets; let the daemon listen on an address, too: --listen 127.0.0.1:9733 (listen). \
                 `credenza get --from-daemon` uses the socket",
                self.address
            ))),
        }
    }

    /// Sends a GET request and returns the body.
    ///
    /// # Errors
    /// If no daemon answers, the listener is not the daemon's, or the daemon refuses the request.
    pub(crate) async fn get(&self, path: &str) -> Result<Bytes, CommandError> {
        self.try_get(path).await?.map_err(|refusal| self.refused(&refusal))
    }

    /// Sends a GET request and returns the body or the refusal of the daemon. If several token files exist, for example
    /// one of an earlier daemon, the next is used when the daemon refuses one or belongs to another user. The last attempt
    /// is without a token, because a client may be known by its user alone.
    ///
    /// # Errors
    /// If no daemon answers, or the listener is not the daemon's.
    pub(crate) async fn try_get(&self, path: &str) -> Result<Result<Bytes, DaemonRefusal>, CommandError> {
        let first = self.used.load(Ordering::Relaxed);
        let last = self.access.tokens.len() + usize::from(self.access.by_user.is_some());
        let (mut refused, mut answer) = (Vec::new(), None);
        for number in first..last {
            let next = self.get_with(number, path).await;
            let has_token = number < self.access.tokens.len();
            let is_refused = matches!(next, Ok((StatusCode::UNAUTHORIZED, _)));
            let is_foreign = matches!(next, Err(ExchangeError::ForeignListener(_)));
            if is_refused && has_token {
                refused.push(number);
            }
            // A refusal of a token explains most. An attempt without a token explains least.
            if answer.is_none() || !(is_foreign || is_refused && !has_token) {
                answer = Some(next);
                self.used.store(number, Ordering::Relaxed);
            }
            if !(is_refused || is_foreign) {
                break;
            }
        }
        let answer = answer.unwrap_or_else(|| Err(ExchangeError::Other(CommandError::new("there is no auth token"))));
        let (status, body) = answer.map_err(|error| self.explained(error))?;
        if status == StatusCode::UNAUTHORIZED {
            return Err(self.refuses_token(&refused));
        }
        if status == StatusCode::OK {
            return Ok(Ok(body));
        }
        let document: Value = serde_json::from_slice(&body).map_err(|error| not_a_daemon(&self.address, error))?;
        let text = |name: &str| document[name].as_str().unwrap_or_default().into();
        Ok(Err(DaemonRefusal { status, code: text("code"), message: text("message") }))
    }

    /// Sends a request with the token of this number, or without one after the last.
    async fn get_with(&self, number: usize, path: &str) -> Result<(StatusCode, Bytes), ExchangeError> {
        let token = self.access.tokens.get(number);
        let owners = self.access.by_user.as_deref().unwrap_or_default();
        let owner = token.map_or(ListenerOwner::OneOf(owners), ListenerOwner::OfToken);
        let exchange = async {
            let stream = connect(&self.address, owner).await?;
            Ok(request(stream, &self.address, path, token.map(|token| &token.token)).await?)
        };
        let whom = || format!("the daemon at {}", self.address);
        self.progress.asking(whom, with_timeout(&self.address, exchange)).await
    }

    /// Adds the reasons why a token file is not used to an error.
    fn explained(&self, error: ExchangeError) -> CommandError {
        let error = CommandError::from(error);
        if self.access.unused.is_empty() {
            return error;
        }
        CommandError::new(format!("{error}; {}", self.access.unused.join("; ")))
    }

    /// Makes the error of a daemon that refused the tokens with these numbers.
    fn refuses_token(&self, refused: &[usize]) -> CommandError {
        let tokens = &self.access.tokens;
        let unused = self.access.unused.iter().map(|reason| format!("; {reason}")).collect::<String>();
        if tokens.is_empty() {
            return CommandError::new(format!(
                "{}: 401 InvalidAuthorizationToken: the daemon does not know this user without a token{unused}; \
                 or set its token file with --token-file",
                self.address
            ));
        }
        let files: Vec<String> = refused
            .iter()
            .filter_map(|number| tokens.get(*number)?.file.as_deref())
            .map(|file| Escaped(&file.to_string_lossy()).to_string())
            .collect();
        let token = if files.is_empty() {
            "the given auth token".into()
        } else {
            format!("the token in {}", files.join(" or "))
        };
        CommandError::new(format!(
            "{}: 401 InvalidAuthorizationToken: the daemon does not accept {token}; it runs with another token: name its file with --token-file, or restart \
             the daemon{unused}",
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
        let mut status: Value = serde_json::from_slice(&status).map_err(|error| not_a_daemon(&self.address, error))?;
        Ok(status["identities"][identity.as_str()].take())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::daemon_client::exchange::{DaemonClientError, foreign_listener};
    use crate::config::value::listen_address;

    #[test]
    fn messages_escape_the_token_file() {
        let token = KnownToken { token: "t".into(), file: Some("/d/a\u{1b}[2J".into()), owner: 7 };
        let client = DaemonClient {
            address: listen_address("127.0.0.1:1").unwrap(),
            access: DaemonAccess { tokens: vec![token], ..DaemonAccess::default() },
            used: AtomicUsize::new(0),
            progress: Progress::default(),
        };
        let DaemonClientError::ForeignListener(foreign) =
            foreign_listener(&client.address, 8, ListenerOwner::OfToken(&client.access.tokens[0]))
        else {
            panic!()
        };
        for message in [client.refuses_token(&[0]).to_string(), foreign.to_string()] {
            assert!(message.contains("/d/a\\u{1b}[2J") && !message.contains('\u{1b}'), "{message:?}");
        }
    }
}
