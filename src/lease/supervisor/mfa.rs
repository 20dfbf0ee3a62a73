//! Obtains a session with MFA for an identity, with a code that its owner gives.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use ring::digest;
use tokio::time::Instant;

use crate::config::identity::Identity;
use crate::context::Context;
use crate::context::mfa::Mfa;
use crate::lease::handle::{LeaseHandle, WakeReason};
use crate::model::error::{ErrorKind, SourceError};
use crate::model::outcome::Outcome;
use crate::model::secret::Secret;
use crate::source::build;

/// The time for which a code is remembered. STS accepts it for less than two minutes.
const REMEMBERED: Duration = Duration::from_secs(300);

/// The codes that were sent, as digests: no code is sent twice. Clones share them.
#[derive(Clone, Debug, Default)]
pub(crate) struct SentCodes(Arc<Mutex<Vec<(digest::Digest, Instant)>>>);

impl SentCodes {
    fn digest(code: &Secret) -> digest::Digest {
        digest::digest(&digest::SHA256, code.expose().as_bytes())
    }

    /// Remembers a code. Returns false if it was sent before.
    fn insert(&self, code: &Secret) -> bool {
        let (digest, now) = (Self::digest(code), Instant::now());
        let mut sent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        sent.retain(|(_, at)| now.saturating_duration_since(*at) < REMEMBERED);
        let is_new = !sent.iter().any(|(known, _)| known.as_ref() == digest.as_ref());
        sent.extend(is_new.then_some((digest, now)));
        is_new
    }

    /// Forgets a code that was not sent.
    fn remove(&self, code: &Secret) {
        let digest = Self::digest(code);
        let mut sent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        sent.retain(|(known, _)| known.as_ref() != digest.as_ref());
    }
}

/// Loads the identity once with the code, and wakes all refreshers if that gave a session: other identities may stand on
/// it too. Returns the end of the session.
///
/// # Errors
/// The error of the load, or if the code was sent before, or no source of the identity uses a code.
pub(crate) async fn obtain(
    context: Context,
    identity: Identity,
    code: Secret,
    sent: SentCodes,
    handles: Vec<LeaseHandle>,
) -> Result<Option<SystemTime>, SourceError> {
    if !sent.insert(&code) {
        return Err(SourceError::new(ErrorKind::MfaRequired, "this code was sent already, and a code works once")
            .with_hint("wait for the next code of the device"));
    }
    let mfa = Mfa::for_session(code.clone());
    let context = Context { mfa: mfa.clone(), ..context.for_refresher().for_identity(&identity.name) };
    let chain = build::chain(&identity.chain());
    let load = chain.load(&context, None, identity.load_timeout).await;
    if !mfa.was_asked() {
        sent.remove(&code);
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn remembers_codes_for_a_while() {
        let (sent, code) = (SentCodes::default(), Secret::from("123456"));
        assert!(sent.insert(&code) && !sent.insert(&code) && sent.insert(&"654321".into()));
        sent.remove(&code);
        assert!(sent.insert(&code) && !sent.insert(&code));
        tokio::time::advance(REMEMBERED).await;
        assert!(sent.insert(&code));
    }
}
