//! The state of all logins in this process: running refreshes, refused tokens, and the login that each token belongs
//! to.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

use crate::cache::login_entry::{AccessToken, CacheEntry};
use crate::model::error::SourceError;
use crate::model::secret::Secret;
use crate::os::single_flight::{Flight, SingleFlight};

/// The logins of a process, one for each file of the login cache. Clones share them.
#[derive(Clone, Default)]
pub(crate) struct LoginState(Arc<Shared>);

#[derive(Default)]
struct Shared {
    attempts: SingleFlight<PathBuf, RefreshAttempts>,
    memories: Mutex<HashMap<PathBuf, Arc<Mutex<LoginMemory>>>>,
    lineages: AtomicU64,
}

/// The state of one file of the login cache.
pub(crate) struct LoginSlot {
    /// The refresh attempts. The lock is held during a refresh.
    pub(crate) attempts: Flight<RefreshAttempts>,
    memory: Arc<Mutex<LoginMemory>>,
}

#[derive(Default)]
pub(crate) struct RefreshAttempts {
    /// The time and error of the last refresh that failed for a transient reason.
    pub(crate) failed: Option<(Instant, SourceError)>,
    /// The refresh token that AWS refused. It is not sent again.
    pub(crate) refused: Option<Secret>,
}

#[derive(Default)]
struct LoginMemory {
    /// The current token and the number of its login. A refreshed token keeps the number.
    lineage: Option<(Secret, u64)>,
    unwritten: Option<UnwrittenLogin>,
    warned: bool,
}

/// A refreshed login that could not be written to the file.
struct UnwrittenLogin {
    /// The access token in the file, which is older than this login.
    file: Secret,
    entry: CacheEntry,
    token: AccessToken,
}

impl LoginState {
    pub(crate) fn slot(&self, path: &Path) -> LoginSlot {
        // Keep every state: a refused token must not be sent again as long as the process runs.
        let attempts = self.0.attempts.flight(path, RefreshAttempts::default, |_| true);
        let memory = Arc::clone(lock(&self.0.memories).entry(path.to_owned()).or_default());
        LoginSlot { attempts, memory }
    }

    /// Returns the number of the login that a token of this file belongs to. An unknown token begins a new login.
    pub(crate) fn lineage(&self, path: &Path, token: &Secret) -> u64 {
        self.slot(path).lineage(self, token)
    }
}

impl fmt::Debug for LoginState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LoginState").field(&self.0.attempts.len()).finish()
    }
}

impl LoginSlot {
    fn lineage(&self, state: &LoginState, token: &Secret) -> u64 {
        let mut memory = lock(&self.memory);
        match &memory.lineage {
            Some((known, lineage)) if known == token => *lineage,
            _ => {
                let lineage = state.0.lineages.fetch_add(1, Ordering::Relaxed);
                memory.lineage = Some((token.clone(), lineage));
                lineage
            }
        }
    }

    /// Records that a refresh exchanged one token of a login for another.
    pub(crate) fn succeed(&self, before: &Secret, token: &Secret) {
        if let Some((known, _)) = lock(&self.memory).lineage.as_mut().filter(|(known, _)| known == before) {
            *known = token.clone();
        }
    }

    /// Keeps a refreshed login in memory as long as the file holds the token `file`.
    pub(crate) fn keep(&self, file: &Secret, entry: CacheEntry, token: AccessToken) {
        let mut memory = lock(&self.memory);
        // If the login before was not written either, the file holds a token that is older still.
        let file = match memory.unwritten.take() {
            Some(before) if before.token.token == *file => before.file,
            _ => file.clone(),
        };
        memory.unwritten = Some(UnwrittenLogin { file, entry, token });
    }

    /// Returns the login that is newer than this token of the file, if one is kept in memory.
    pub(crate) fn unwritten(&self, file: &Secret) -> Option<(CacheEntry, AccessToken)> {
        let mut memory = lock(&self.memory);
        if memory.unwritten.as_ref().is_some_and(|unwritten| unwritten.file != *file) {
            memory.unwritten = None;
        }
        memory.unwritten.as_ref().map(|unwritten| (unwritten.entry.clone(), unwritten.token.clone()))
    }

    /// Returns true at the first call for this file.
    pub(crate) fn warn_once(&self) -> bool {
        !std::mem::replace(&mut lock(&self.memory).warned, true)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
