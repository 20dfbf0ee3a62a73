//! The commands of the client table, and their replies.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use tokio::sync::oneshot;

use crate::model::client_name::ClientName;
use crate::model::identity_name::IdentityName;
use crate::model::secret::Secret;
use crate::server::auth_token::AuthTokenError;
use crate::server::client_table::ClientSettings;
use crate::server::client_table::grants::{GrantError, GrantOrder, GrantState};

/// Two clients have one token, so that a request with it could come from either.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("clients {0} and {1} have the same token; give each client a token of its own")]
pub(crate) struct SharedToken(pub(crate) ClientName, pub(crate) ClientName);

#[derive(Debug)]
pub(crate) enum ClientCommand {
    /// Reads the tokens of new clients without replacing any. The reply is the reason why the new ones cannot be used.
    Prepare(ClientSettings, oneshot::Sender<Result<(), SharedToken>>),
    /// Replaces the clients by those that were prepared last. No file is read, so that it is quick and cannot fail. The number
    /// is that of the configuration of their identities.
    Replace(u64, oneshot::Sender<()>),
    /// Adds a grant. The reply has its token.
    Grant(GrantOrder, oneshot::Sender<Result<(GrantState, Secret), GrantError>>),
    Revoke(ClientName, oneshot::Sender<Result<GrantState, GrantError>>),
    ListGrants(oneshot::Sender<Vec<GrantState>>),
    /// Makes `default` mean another identity for a time, or itself again.
    Use(Option<(IdentityName, Option<Duration>)>, oneshot::Sender<Option<SystemTime>>),
    /// Returns the token of a client, and its file.
    Token(ClientName, oneshot::Sender<Result<CurrentToken, TokenError>>),
    /// Writes a new token to the file of a client.
    Rotate(ClientName, oneshot::Sender<Result<RotatedToken, TokenError>>),
}

/// The token of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CurrentToken {
    pub(crate) token: Secret,
    pub(crate) file: Option<PathBuf>,
}

/// A token that was replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RotatedToken {
    pub(crate) file: PathBuf,
    /// The moment from which the old token is refused.
    pub(crate) old_until: SystemTime,
}

fn unknown_client(client: &ClientName) -> String {
    match client.as_str() {
        ClientName::OWNER => {
            "there is no auth token, because [clients] are configured; name a client with --client".into()
        }
        _ => format!("there is no client {client}; `credenza check` lists the clients"),
    }
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum TokenError {
    #[error("{}", unknown_client(.0))]
    UnknownClient(ClientName),
    #[error("client {0} has no token: its user is its proof. There is nothing to rotate")]
    ByUser(ClientName),
    #[error("the token of client {client} is in the configuration, which Credenza does not write; change {place}")]
    Given { client: ClientName, place: String },
    #[error("client {0} has several token files; write the new token to one of them, and remove the old one later")]
    SeveralFiles(ClientName),
    #[error("client {0} has no usable token now: its file is missing or unfit; `credenza check` shows the reason")]
    None(ClientName),
    #[error(transparent)]
    File(#[from] AuthTokenError),
}
