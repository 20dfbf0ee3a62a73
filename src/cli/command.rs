//! The commands, one file each.

use std::fmt;
use std::sync::Arc;

use crate::config::identity::Identity;
use crate::context::Context;
use crate::model::credentials::Credentials;
use crate::model::error::SourceError;
use crate::model::identity_name::IdentityName;
use crate::model::outcome::{Attempt, Outcome};
use crate::source::build;
use crate::source::chain::Chain;

/// Why a command did not do what it was asked; printed to standard error, exit code 1.
#[derive(Debug)]
pub(crate) struct CommandError(Box<str>);

impl CommandError {
    /// For this reason.
    #[allow(clippy::needless_pass_by_value, reason = "errors are handed over by map_err")]
    pub(crate) fn because(reason: impl ToString) -> Self {
        Self(reason.to_string().into())
    }

    pub(crate) fn nothing_configured(name: &IdentityName, steps: &[Attempt]) -> Self {
        let tried: Vec<&str> = steps.iter().map(|step| &*step.source).collect();
        Self::because(format!(
            "identity {name}: no credentials are configured; tried {}; `credenza check` explains each source",
            tried.join(", ")
        ))
    }

    pub(crate) fn failing(name: &IdentityName, source: &str, failure: &SourceError) -> Self {
        Self::because(format!("identity {name}: {source}: {failure}"))
    }
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for CommandError {}

/// What one look at the chain of an identity gave.
pub(crate) struct LoadedIdentity {
    pub(crate) credentials: Credentials,
    pub(crate) source: Arc<str>,
    pub(crate) winner: usize,
    pub(crate) chain: Chain,
}

pub(crate) async fn resolve(context: &Context, identity: &Identity) -> Result<LoadedIdentity, CommandError> {
    let chain = build::chain(&identity.sources, identity.on_failure, identity.long_lived_keys);
    let outcome = chain.load(context, None, identity.load_timeout).await;
    match outcome.verdict {
        Outcome::Found { winner, credentials } => {
            Ok(LoadedIdentity { credentials, source: chain.source_name(winner), winner, chain })
        }
        Outcome::Failed { source, failure } => {
            Err(CommandError::failing(&identity.name, &chain.source_name(source), &failure))
        }
        Outcome::NotConfigured | Outcome::Vanished { .. } => {
            Err(CommandError::nothing_configured(&identity.name, &outcome.steps))
        }
    }
}
