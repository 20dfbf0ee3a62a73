//! Sessions with MFA: one code proves the user for many roles over the same keys.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use crate::cache::key::CacheKey;
use crate::model::credentials::Credentials;

/// The sessions of this process, by the keys and the device that they were obtained with. Clones share them.
#[derive(Clone, Default)]
pub(crate) struct MfaSessions(Arc<Mutex<HashMap<CacheKey, Credentials>>>);

impl MfaSessions {
    /// Returns the session that is still good at `now`.
    pub(crate) fn get(&self, key: &CacheKey, now: SystemTime) -> Option<Credentials> {
        let mut sessions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        sessions.retain(|_, session| session.expiration.is_none_or(|end| now < end));
        sessions.get(key).cloned()
    }

    pub(crate) fn insert(&self, key: CacheKey, session: Credentials) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(key, session);
    }
}

impl fmt::Debug for MfaSessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MfaSessions").finish_non_exhaustive()
    }
}
