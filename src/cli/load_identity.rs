//! Loads the credentials of an identity once, without a daemon.

use std::sync::Arc;

use crate::cli::error::CommandError;
use crate::config::identity::Identity;
use crate::context::Context;
use crate::model::credentials::Credentials;
use crate::model::outcome::Outcome;
use crate::source::build;
use crate::source::chain::Chain;

/// The credentials of an identity and the source that gave them.
pub(crate) struct LoadedIdentity {
    pub(crate) credentials: Credentials,
    pub(crate) source: Arc<str>,
    /// The position of the source in the chain, from 0.
    pub(crate) winner: usize,
    pub(crate) chain: Chain,
}

/// Loads the source chain of an identity.
///
/// # Errors
/// If a source fails, or none is configured.
pub(crate) async fn load_identity(context: &Context, identity: &Identity) -> Result<LoadedIdentity, CommandError> {
    let context = &context.for_identity(&identity.name);
    let chain = build::chain(&identity.chain());
    let outcome = chain.load(context, None, identity.load_timeout).await;
    match outcome.verdict {
        Outcome::Found { winner, credentials } => {
            Ok(LoadedIdentity { credentials, source: chain.source_name(winner), winner, chain })
        }
        Outcome::Failed { source, error } => {
            Err(CommandError::source_failed(&identity.name, &chain.source_name(source), error))
        }
        Outcome::NotConfigured | Outcome::Vanished { .. } => {
            Err(CommandError::not_configured(&identity.name, &outcome.steps))
        }
    }
}
