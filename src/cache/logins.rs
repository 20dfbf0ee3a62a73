//! What this process remembers of log-ins: who refreshes now, what was refused, and which token follows which.

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

/// The log-ins of a process, one for each file of the token cache. Clones share them.
#[derive(Clone, Default)]
pub(crate) struct LoginState(Arc<Shared>);

#[derive(Default)]
struct Shared {
    attempts: SingleFlight<PathBuf, RefreshAttempts>,
    memories: Mutex<HashMap<PathBuf, Arc<Mutex<LoginMemory>>>>,
    lineages: AtomicU64,
}

/// One file of the cache.
pub(crate) struct LoginSlot {
    /// Held by the one who refreshes.
    pub(crate) attempts: Flight<RefreshAttempts>,
    memory: Arc<Mutex<LoginMemory>>,
}

#[derive(Default)]
pub(crate) struct RefreshAttempts {
    /// The last one that failed in a way that may pass.
    pub(crate) failed: Option<(Instant, SourceError)>,
    /// The refresh token that is not good any more: it never will be again.
    pub(crate) refused: Option<Secret>,
}

#[derive(Default)]
struct LoginMemory {
    lineage: Option<(Secret, u64)>,
    unwritten: Option<UnwrittenLogin>,
    warned: bool,
}

/// A refresh that could not be written into the file.
struct UnwrittenLogin {
    /// The token that stands there.
    file: Secret,
    entry: CacheEntry,
    token: AccessToken,
}

impl LoginState {
    pub(crate) fn slot(&self, path: &Path) -> LoginSlot {
        // A refused token stays refused for as long as the process runs.
        let attempts = self.0.attempts.flight(path, RefreshAttempts::default, |_| true);
        let memory = Arc::clone(lock(&self.0.memories).entry(path.to_owned()).or_default());
        LoginSlot { attempts, memory }
    }

    /// The log-in that a token of this file belongs to; a token that nobody here has seen begins one.
    #[must_use]
    pub(crate) fn lineage(&self, path: &Path, token: &Secret) -> u64 {
        self.slot(path).lineage(self, token)
    }
}

impl fmt::Debug for LoginState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Logins").field(&self.0.attempts.len()).finish()
    }
}

impl LoginSlot {
    fn lineage(&self, logins: &LoginState, token: &Secret) -> u64 {
        let mut memory = lock(&self.memory);
        match &memory.lineage {
            Some((known, lineage)) if known == token => *lineage,
            _ => {
                let lineage = logins.0.lineages.fetch_add(1, Ordering::Relaxed);
                memory.lineage = Some((token.clone(), lineage));
                lineage
            }
        }
    }

    /// We exchanged one token for another: the log-in is the same.
    pub(crate) fn succeed(&self, before: &Secret, token: &Secret) {
        if let Some((known, _)) = lock(&self.memory).lineage.as_mut().filter(|(known, _)| known == before) {
            *known = token.clone();
        }
    }

    /// Remembers a refresh for as long as this token stands in the file.
    pub(crate) fn keep(&self, file: &Secret, entry: CacheEntry, token: AccessToken) {
        let mut memory = lock(&self.memory);
        // Refreshed again: the file still says what it said at first.
        let file = match memory.unwritten.take() {
            Some(before) if before.token.token == *file => before.file,
            _ => file.clone(),
        };
        memory.unwritten = Some(UnwrittenLogin { file, entry, token });
    }

    /// The refresh that should stand in the file instead of this token.
    pub(crate) fn unwritten(&self, file: &Secret) -> Option<(CacheEntry, AccessToken)> {
        let mut memory = lock(&self.memory);
        if memory.unwritten.as_ref().is_some_and(|unwritten| unwritten.file != *file) {
            memory.unwritten = None;
        }
        memory.unwritten.as_ref().map(|unwritten| (unwritten.entry.clone(), unwritten.token.clone()))
    }

    /// Whether nobody has been warned of this file yet.
    pub(crate) fn warn_once(&self) -> bool {
        !std::mem::replace(&mut lock(&self.memory).warned, true)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
