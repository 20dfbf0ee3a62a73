//! Asks STS which principal the credentials of an identity belong to.

use crate::aws::sts;
use crate::aws::sts::answer::CallerIdentity;
use crate::config::identity::Identity;
use crate::context::Context;
use crate::model::error::SourceError;
use crate::model::outcome::Outcome;
use crate::source::build;
use crate::source::store::check_store;

/// Loads the identity and asks STS with its own keys (GetCallerIdentity, which every principal may call).
///
/// # Errors
/// The error of the load or of STS. The keys of another store are never sent to AWS.
pub(crate) async fn caller_of(context: Context, identity: Identity) -> Result<CallerIdentity, SourceError> {
    let context = context.for_refresher().for_identity(&identity.name);
    let chain = build::chain(&identity.chain());
    match chain.load(&context, None, identity.load_timeout).await.verdict {
        Outcome::Found { winner, credentials } => {
            let settings = chain.settings(&context, winner).await;
            check_store(&credentials, &settings, "cannot be shown to STS")?;
            sts::get_caller_identity(&context, &settings, &credentials).await
        }
        Outcome::Failed { error, .. } => Err(error),
        Outcome::NotConfigured | Outcome::Vanished { .. } => {
            Err(SourceError::misconfigured("no credentials are configured")
                .with_hint("`credenza check` explains each source"))
        }
    }
}
