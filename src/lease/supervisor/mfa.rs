//! Obtains a session with MFA for an identity, with a code that its owner gives.

use std::time::SystemTime;

use crate::config::identity::Identity;
use crate::context::Context;
use crate::context::mfa::Mfa;
use crate::lease::handle::{LeaseHandle, WakeReason};
use crate::model::error::SourceError;
use crate::model::outcome::Outcome;
use crate::model::secret::Secret;
use crate::source::build;

/// Loads the identity once with the code, and wakes all refreshers if that gave a session: other identities may stand on
/// it too. Returns the end of the session.
///
/// # Errors
/// The error of the load, or if no source of the identity uses a code.
pub(crate) async fn obtain(
    context: Context,
    identity: Identity,
    code: Secret,
    handles: Vec<LeaseHandle>,
) -> Result<Option<SystemTime>, SourceError> {
    let mfa = Mfa::for_session(code);
    let context = Context { mfa: mfa.clone(), ..context.for_refresher().for_identity(&identity.name) };
    let chain = build::chain(&identity.chain());
    let load = chain.load(&context, None, identity.load_timeout).await;
    match load.verdict {
        Outcome::Found { credentials, .. } if mfa.was_asked() => {
            tracing::info!(identity = %identity.name, "a session with MFA is open");
            handles.iter().for_each(|handle| handle.wake(WakeReason::Reload));
            Ok(credentials.login_ends.as_ref().map(|end| end.at))
        }
        Outcome::Failed { error, .. } => Err(error),
        Outcome::Found { .. } => Err(SourceError::misconfigured("no source of this identity asks for a code")
            .with_hint("set mfa_serial for its role or profile")),
        Outcome::NotConfigured | Outcome::Vanished { .. } => {
            Err(SourceError::misconfigured("no credentials are configured")
                .with_hint("`credenza check` explains each source"))
        }
    }
}
