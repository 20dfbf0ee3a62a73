//! The commands of the control socket, by which the owner of a running daemon makes grants, chooses identities and
//! rotates tokens.
//!
//! Each command sends one request and returns its output. [`socket`] finds the daemon, [`client`] talks to it.

pub(crate) mod answer;
pub(crate) mod client;
pub(crate) mod client_file;
pub(crate) mod complete_names;
pub(crate) mod grant;
pub(crate) mod grants;
pub(crate) mod mfa;
pub(crate) mod mfa_session;
pub(crate) mod reload;
pub(crate) mod revoke;
pub(crate) mod socket;
pub(crate) mod token;
pub(crate) mod use_identity;
pub(crate) mod whoami;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use zeroize::Zeroizing;

use crate::cli::args::complete::Completion;
use crate::cli::control::complete_names::NameKind;
use crate::cli::control::grant::GrantCommand;
use crate::cli::error::CommandError;
use crate::cli::pick_name::pick_name;
use crate::config::Config;
use crate::config::load::{self, ConfigLoader, LoadError};
use crate::context::Context;
use crate::model::client_name::ClientName;
use crate::model::identity_name::IdentityName;
use crate::model::nearest::did_you_mean;
use crate::model::secret::Secret;
use crate::os::environment::Environment;
use crate::os::files::Files;
use crate::os::files::trust::TrustPolicy;
use crate::os::progress::Progress;

/// A command of the control socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ControlCommand {
    Grant(GrantCommand),
    Grants {
        json: bool,
    },
    Revoke {
        name: ClientName,
        json: bool,
    },
    Use {
        identity: IdentityName,
        /// The period after which `default` is its own identity again. `None` means until the daemon ends.
        period: Option<Duration>,
        json: bool,
    },
    Whoami {
        identity: IdentityName,
        verify: bool,
        json: bool,
    },
    Reload {
        json: bool,
    },
    ShowToken {
        client: Option<ClientName>,
        json: bool,
    },
    RotateToken {
        client: Option<ClientName>,
        json: bool,
    },
    Mfa {
        identity: IdentityName,
        /// The code. `None` asks for it at the terminal.
        code: Option<Secret>,
        json: bool,
    },
    CompleteNames(NameKind),
    /// Prints the words that continue a command line.
    Complete(Completion),
    /// Lets a person pick an identity or a profile.
    PickName,
}

impl ControlCommand {
    /// Returns the name of an identity, a client or a grant that must be known to the daemon.
    fn named(&self) -> Option<(NameKind, String)> {
        Some(match self {
            Self::Grant(grant) => (NameKind::Identities, grant.identity.as_str().to_owned()),
            Self::Use { identity, .. } | Self::Whoami { identity, .. } | Self::Mfa { identity, .. } => {
                (NameKind::Identities, identity.as_str().to_owned())
            }
            Self::ShowToken { client: Some(client), .. } | Self::RotateToken { client: Some(client), .. } => {
                (NameKind::Clients, client.to_string())
            }
            Self::Revoke { name, .. } => (NameKind::Grants, name.to_string()),
            _ => return None,
        })
    }

    /// Returns the name of the command.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Grant(_) => "grant",
            Self::Grants { .. } => "grants",
            Self::Revoke { .. } => "revoke",
            Self::Use { .. } => "use",
            Self::Whoami { .. } => "whoami",
            Self::Reload { .. } => "reload",
            Self::ShowToken { .. } => "token show",
            Self::RotateToken { .. } => "token rotate",
            Self::Mfa { .. } => "mfa",
            Self::CompleteNames(_) => "complete-names",
            Self::Complete(_) => "complete",
            Self::PickName => "pick-name",
        }
    }
}

/// The inputs of a command of the control socket.
#[derive(Debug)]
pub(crate) struct ControlInputs {
    pub(crate) context: Context,
    pub(crate) config: Config,
    /// The socket that `--control-socket` or its variable names.
    pub(crate) named: Option<PathBuf>,
    /// The error of a configuration file that is not used.
    pub(crate) refused: Option<Box<str>>,
}

/// The output of a command.
#[derive(Default)]
pub(crate) struct CommandOutput {
    /// The text for standard output. It may contain a token.
    pub(crate) text: Zeroizing<String>,
    /// Lines for standard error, without a secret.
    pub(crate) notes: Vec<String>,
}

impl std::fmt::Debug for CommandOutput {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CommandOutput").field("notes", &self.notes).finish_non_exhaustive()
    }
}

impl From<String> for CommandOutput {
    fn from(text: String) -> Self {
        Self { text: Zeroizing::new(text), notes: Vec::new() }
    }
}

impl ControlInputs {
    /// The inputs of a configuration that is in use. `named` is the socket of a flag or a variable.
    pub(crate) fn new(context: Context, config: Config, named: Option<PathBuf>) -> Self {
        Self { context, config, named, refused: None }
    }

    /// Loads the configuration, which decides where the socket is.
    ///
    /// A file with an error leaves the defaults: a grant must be revocable, and `reload` shows the daemon's view of the
    /// file.
    ///
    /// # Errors
    /// If flags or variables conflict.
    pub(crate) async fn load(
        loader: &ConfigLoader,
        environment: Environment,
        files: Files,
        named: Option<PathBuf>,
        progress: Progress,
    ) -> Result<Self, LoadError> {
        let (config, refused) = match loader.load_for_client().await {
            Ok(config) => (config, None),
            Err(error) => {
                let config = loader.without_file()?;
                tracing::warn!("the configuration is not used to find the control socket: {error}");
                (config, Some(error.to_string().into()))
            }
        };
        let owners = match load::resolve_accounts(&config) {
            Ok(accounts) => accounts.trusted_owners.into(),
            Err(_) => Default::default(),
        };
        let folders = config.trusted_files.folders.iter().map(|folder| environment.expand(folder)).collect();
        let trust = TrustPolicy::of_process(owners, folders);
        let context = Context { trust, ..Context::new(environment, files) }.with_progress(progress);
        Ok(Self { context, config, named, refused })
    }
}

/// Runs a command.
///
/// # Errors
/// If no daemon answers at the control socket, or it refuses the request.
pub(crate) async fn control(command: ControlCommand, inputs: &ControlInputs) -> Result<CommandOutput, CommandError> {
    let named = command.named();
    let error = match run(command, inputs).await {
        Ok(output) => return Ok(output),
        Err(error) => error,
    };
    let Some((kind, name)) = named.filter(|_| error.is_unknown_name) else { return Err(error) };
    // The answer only completes an error message.
    let known = tokio::time::timeout(complete_names::TIMEOUT, complete_names::names(inputs, kind)).await;
    let known = known.unwrap_or_default();
    if known.contains(&name) {
        return Err(error);
    }
    match did_you_mean(&name, known.iter().map(String::as_str)) {
        Some(hint) => Err(CommandError::new(format!("{error}; {hint}")).with_code(error.code)),
        None => Err(error),
    }
}

async fn run(command: ControlCommand, inputs: &ControlInputs) -> Result<CommandOutput, CommandError> {
    match command {
        ControlCommand::Grant(request) => grant::grant(inputs, &request).await,
        ControlCommand::Grants { json } => grants::grants(inputs, json).await,
        ControlCommand::Revoke { name, json } => revoke::revoke(inputs, &name, json).await,
        ControlCommand::Use { identity, period, json } => {
            use_identity::use_identity(inputs, &identity, period, json).await
        }
        ControlCommand::Whoami { identity, verify, json } => whoami::whoami(inputs, &identity, verify, json).await,
        ControlCommand::Reload { json } => reload::reload(inputs, json).await,
        ControlCommand::ShowToken { client, json } => token::show(inputs, client.as_ref(), json).await,
        ControlCommand::RotateToken { client, json } => token::rotate(inputs, client.as_ref(), json).await,
        ControlCommand::Mfa { identity, code, json } => mfa::mfa(inputs, &identity, code, json).await,
        ControlCommand::PickName => {
            let names: Vec<String> = complete_names::names(inputs, NameKind::Targets).await.into_iter().collect();
            let picked = tokio::task::spawn_blocking(move || pick_name(&names)).await.map_err(CommandError::new)??;
            Ok(format!("{picked}\n").into())
        }
        ControlCommand::CompleteNames(kind) => Ok(complete_names::complete_names(inputs, kind).await.into()),
        ControlCommand::Complete(completion) => {
            let names = match completion.names {
                Some(kind) => complete_names::names(inputs, kind).await,
                None => BTreeSet::new(),
            };
            Ok(completion.text(names.iter().map(String::as_str)).into())
        }
    }
}
