//! Sessions with MFA: one code proves the user for many roles over the same keys.

use std::collections::HashMap;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use crate::cache::key::CacheKey;
use crate::model::credentials::Credentials;
use crate::model::error::{ErrorKind, SourceError};
use crate::model::text::Escaped;

/// Gives the sessions of another process: those of a running daemon, for a command.
pub(crate) trait MfaSessionLender: fmt::Debug + Send + Sync {
    /// Returns the session of exactly these keys and this device. `None` if there is none.
    fn session(&self, key: CacheKey) -> Pin<Box<dyn Future<Output = Option<Credentials>> + Send + '_>>;

    /// Asks the user for a code of this device, and hands it to the other process, if that needs one for the device.
    /// Returns false, without a question, if it does not.
    ///
    /// # Errors
    /// If there is no code, or it was refused.
    fn hand_over_code<'a>(
        &'a self,
        serial: &'a str,
    ) -> Pin<Box<dyn Future<Output = Result<bool, SourceError>> + Send + 'a>>;
}

/// The sessions of this process, by the keys and the device that they were obtained with. Clones share them.
#[derive(Clone, Default)]
pub(crate) struct MfaSessions {
    kept: Arc<Mutex<HashMap<CacheKey, Credentials>>>,
    /// The daemon that a command asks for a session that it has not itself.
    lender: Option<Arc<dyn MfaSessionLender>>,
}

impl MfaSessions {
    /// Returns sessions that are also those of a running daemon.
    pub(crate) fn with_lender(lender: Arc<dyn MfaSessionLender>) -> Self {
        Self { kept: Arc::default(), lender: Some(lender) }
    }

    /// Returns the session of this process that is still good at `now`.
    pub(crate) fn get(&self, key: CacheKey, now: SystemTime) -> Option<Credentials> {
        let mut sessions = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        sessions.retain(|_, session| session.expiration.is_none_or(|end| now < end));
        sessions.get(&key).cloned()
    }

    /// Returns the session that is still good at `now`, of this process or of a running daemon.
    pub(crate) async fn find(&self, key: CacheKey, now: SystemTime) -> Option<Credentials> {
        if let Some(session) = self.get(key, now) {
            return Some(session);
        }
        let lent = self.lender.as_ref()?.session(key).await?;
        if lent.expiration.is_some_and(|end| end <= now) {
            return None;
        }
        self.insert(key, lent.clone());
        Some(lent)
    }

    /// Returns the session that a running daemon has obtained with a code, which the user types now. `None` if no daemon
    /// needs a code of this device.
    ///
    /// # Errors
    /// If there is no code, it was refused, or the session is that of other keys.
    pub(crate) async fn obtain(
        &self,
        key: CacheKey,
        now: SystemTime,
        serial: &str,
    ) -> Result<Option<Credentials>, SourceError> {
        let Some(lender) = &self.lender else { return Ok(None) };
        if !lender.hand_over_code(serial).await? {
            return Ok(None);
        }
        match self.find(key, now).await {
            Some(session) => Ok(Some(session)),
            None => {
                let message =
                    format!("mfa_serial {}: the running daemon has used the code for other keys", Escaped(serial));
                Err(SourceError::new(ErrorKind::MfaRequired, message)
                    .with_hint("run the command again, with a new code"))
            }
        }
    }

    /// Forgets all sessions of this process. Returns their number.
    pub(crate) fn forget(&self) -> usize {
        std::mem::take(&mut *self.kept.lock().unwrap_or_else(PoisonError::into_inner)).len()
    }

    pub(crate) fn insert(&self, key: CacheKey, session: Credentials) {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).insert(key, session);
    }
}

impl fmt::Debug for MfaSessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MfaSessions").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::cache::key::CacheKeyBuilder;

    /// A daemon with one session.
    #[derive(Debug)]
    struct Daemon(CacheKey, Credentials);

    impl MfaSessionLender for Daemon {
        fn session(&self, key: CacheKey) -> Pin<Box<dyn Future<Output = Option<Credentials>> + Send + '_>> {
            Box::pin(std::future::ready((key == self.0).then(|| self.1.clone())))
        }

        fn hand_over_code<'a>(
            &'a self,
            serial: &'a str,
        ) -> Pin<Box<dyn Future<Output = Result<bool, SourceError>> + Send + 'a>> {
            Box::pin(std::future::ready(Ok(serial == "known")))
        }
    }

    #[tokio::test]
    async fn keeps_lent_session_until_its_end() {
        let key = |name: &str| CacheKeyBuilder::new(name).cache_key();
        let (now, hour) = (SystemTime::UNIX_EPOCH, Duration::from_secs(3600));
        let session = Credentials::new("ASIAEXAMPLE", "secret").unwrap().with_expiration(Some(now + hour));
        let sessions = MfaSessions::with_lender(Arc::new(Daemon(key("a"), session.clone())));
        assert_eq!(sessions.get(key("a"), now), None);
        assert_eq!(sessions.find(key("b"), now).await, None);
        assert_eq!(sessions.find(key("a"), now).await.as_ref(), Some(&session));
        assert_eq!(sessions.get(key("a"), now).as_ref(), Some(&session));
        // The daemon still has the session, and it is over.
        assert_eq!(sessions.find(key("a"), now + hour).await, None);
        assert_eq!(MfaSessions::default().find(key("a"), now).await, None);
        assert_eq!(MfaSessions::default().obtain(key("a"), now, "known").await, Ok(None));
        assert_eq!(sessions.obtain(key("a"), now, "unknown").await, Ok(None));
        assert_eq!(sessions.obtain(key("a"), now, "known").await, Ok(Some(session)));
        let other = sessions.obtain(key("b"), now, "known").await.unwrap_err();
        assert!(other.to_string().contains("for other keys; run the command again"), "{other}");
    }
}
