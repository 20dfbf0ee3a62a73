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
use crate::cli::daemon_client::exchange::{ExchangeError, connect, not_a_daemon, request, with_timeout};
use crate::cli::daemon_client::known_token::{KnownToken, known_tokens};
use crate::cli::error::CommandError;
use crate::config::listen::ListenAddress;
use crate::config::server::ServerConfig;
use crate::context::Context;
use crate::model::identity_name::IdentityName;
use crate::model::secret::Secret;
use crate::model::text::Escaped;
use crate::os::progress::Progress;

/// Sends requests with the auth token to a daemon, after a check that the daemon owns the listener.
#[derive(Debug)]
pub(crate) struct DaemonClient {
    pub(crate) address: ListenAddress,
    /// The tokens that the daemon may accept. There is at least one.
    tokens: Vec<KnownToken>,
    /// The position of the token that was used last.
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
        Ok(Self {
            address: address(&server.listen, &context.environment),
            tokens,
            used: AtomicUsize::new(0),
            progress: context.progress.clone(),
        })
    }

    /// Returns the file of the token that was used last, if it is in a file.
    pub(crate) fn token_file(&self) -> Option<&Path> {
        self.tokens.get(self.used.load(Ordering::Relaxed))?.file.as_deref()
    }

    /// Returns the token that was used last.
    pub(crate) fn token(&self) -> &Secret {
        &self.tokens[self.used.load(Ordering::Relaxed)].token
    }

    /// Returns the URL of an identity's credentials, for SDKs.
    ///
    /// # Errors
    /// If the daemon listens on a Unix socket alone, which SDKs do not know.
    pub(crate) fn credentials_uri(&self, identity: &IdentityName) -> Result<String, CommandError> {
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
        let document: Value = serde_json::from_slice(&body).map_err(|error| not_a_daemon(&self.address, error))?;
        let text = |name: &str| document[name].as_str().unwrap_or_default().into();
        Ok(Err(DaemonRefusal { status, code: text("code"), message: text("message") }))
    }

    async fn get_with(&self, number: usize, path: &str) -> Result<(StatusCode, Bytes), ExchangeError> {
        let token = &self.tokens[number];
        let exchange = async {
            let stream = connect(&self.address, token).await?;
            Ok(request(stream, &self.address, path, Some(&token.token)).await?)
        };
        let whom = || format!("the daemon at {}", self.address);
        self.progress.asking(whom, with_timeout(&self.address, exchange)).await
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
            tokens: vec![token],
            used: AtomicUsize::new(0),
            progress: Progress::default(),
        };
        let DaemonClientError::ForeignListener(foreign) = foreign_listener(&client.address, 8, &client.tokens[0])
        else {
            panic!()
        };
        for message in [client.refuses_token().to_string(), foreign.to_string()] {
            assert!(message.contains("/d/a\\u{1b}[2J") && !message.contains('\u{1b}'), "{message:?}");
        }
    }
}
