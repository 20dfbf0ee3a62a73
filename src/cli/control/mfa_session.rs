//! The sessions with MFA of a running daemon, for `exec`, `get` and `check`: a user types one code a day.

use std::pin::Pin;
use std::time::Duration;

use http::StatusCode;
use serde::Deserialize;
use serde_json::Value;

use crate::cache::key::CacheKey;
use crate::cli::control::ControlInputs;
use crate::cli::control::client::{ControlRequest, ask, exchange, parse};
use crate::cli::control::mfa::mfa;
use crate::cli::error::CommandError;
use crate::context::mfa_sessions::MfaSessionLender;
use crate::model::credentials::Credentials;
use crate::model::error::{ErrorKind, SourceError};
use crate::model::identity_name::IdentityName;
use crate::model::secret::Secret;
use crate::model::text::Escaped;
use crate::model::time::parse_timestamp;

/// The maximum time for the answer. The daemon has the session in memory; a user waits at the prompt.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Asks the daemon of this user or of root, and no other.
#[derive(Debug)]
pub(crate) struct DaemonMfaSessions {
    inputs: ControlInputs,
}

/// The answer of the daemon.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ReceivedSession {
    access_key_id: Box<str>,
    secret_access_key: Secret,
    token: Option<Secret>,
    expiration: Option<Box<str>>,
    account_id: Option<Box<str>>,
}

impl ReceivedSession {
    fn credentials(&self) -> Result<Credentials, String> {
        let expiration = self.expiration.as_deref().map(parse_timestamp).transpose();
        let expiration = expiration.map_err(|_| "its Expiration is not a timestamp")?;
        let keys = Credentials::new(&self.access_key_id, self.secret_access_key.expose())
            .and_then(|keys| keys.with_session_token(self.token.as_ref().map(Secret::expose)))
            .map_err(|error| error.to_string())?;
        Ok(keys.with_expiration(expiration).with_account_id(self.account_id.as_deref()))
    }
}

impl DaemonMfaSessions {
    pub(crate) fn new(inputs: ControlInputs) -> Self {
        Self { inputs }
    }

    /// Returns an identity of the daemon that waits for a code of this device.
    async fn waiting_identity(&self, serial: &str) -> Option<IdentityName> {
        let status: Value = ask(&self.inputs, "", ControlRequest::status()).await.ok()?;
        let needle = format!("mfa_serial {}: a code is needed", Escaped(serial));
        let waits = |entry: &Value| {
            let failure = &entry["failure"];
            failure["message"].as_str().is_some_and(|message| message.contains(&needle))
        };
        let (name, _) = status["identities"].as_object()?.iter().find(|(_, entry)| waits(entry))?;
        Some(IdentityName::new(name.as_str()))
    }

    async fn ask(&self, key: CacheKey) -> Result<Option<Credentials>, CommandError> {
        let request = ControlRequest::get(format!("/mfa/session?key={key}"));
        let (socket, answer) = exchange(&self.inputs, request).await?;
        match answer {
            Ok(body) => {
                let session: ReceivedSession = parse(&socket, &body)?;
                session.credentials().map(Some).map_err(CommandError::new)
            }
            Err(refusal) if refusal.status == StatusCode::NOT_FOUND => Ok(None),
            Err(refusal) => Err(refusal.of("session with MFA")),
        }
    }
}

impl MfaSessionLender for DaemonMfaSessions {
    fn session(&self, key: CacheKey) -> Pin<Box<dyn Future<Output = Option<Credentials>> + Send + '_>> {
        Box::pin(async move {
            match tokio::time::timeout(TIMEOUT, self.ask(key)).await {
                Ok(Ok(session)) => session,
                Ok(Err(reason)) => {
                    tracing::debug!(reason = %Escaped(&reason.to_string()), "no daemon lends a session with MFA");
                    None
                }
                Err(_) => {
                    tracing::warn!(
                        "sessions with MFA: the daemon did not answer within {} s. The command goes on without them",
                        TIMEOUT.as_secs()
                    );
                    None
                }
            }
        })
    }

    fn hand_over_code<'a>(
        &'a self,
        serial: &'a str,
    ) -> Pin<Box<dyn Future<Output = Result<bool, SourceError>> + Send + 'a>> {
        Box::pin(async move {
            let waiting = tokio::time::timeout(TIMEOUT, self.waiting_identity(serial)).await;
            let Some(identity) = waiting.unwrap_or_default() else { return Ok(false) };
            match mfa(&self.inputs, &identity, None, false).await {
                Ok(_) => Ok(true),
                Err(error) => Err(SourceError::new(ErrorKind::MfaRequired, error.to_string())),
            }
        })
    }
}
