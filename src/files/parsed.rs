//! Several files made into one thing, once per change however many readers there are. It is asked, not pushed: there
//! is no task to own and none to stop.

use std::any::Any;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use super::{Contents, FileError, blocking, contents, digest};
use crate::watch::{Registry, Signature, Watched};

/// A file of a set. Readers that treat a missing file otherwise have a set of their own.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Wanted {
    /// Where it is.
    pub path: PathBuf,
    /// Whether it is an error when it is missing.
    pub required: bool,
}

type Value = Arc<dyn Any + Send + Sync>;
type Parse = dyn Fn(Vec<Result<Contents, FileError>>) -> Value + Send + Sync;
type Digest = dyn Fn(&Value) -> u64 + Send + Sync;

/// The sets of files of a process that somebody reads.
#[derive(Default)]
pub(super) struct Cache(Mutex<HashMap<Vec<Wanted>, Arc<Slot>>>);

/// One set of files.
pub(super) struct Slot {
    files: Vec<Wanted>,
    parse: Box<Parse>,
    /// Held by the thread that reads the files, so that one reader reads for all, and a dead file system has one thread.
    made: Arc<tokio::sync::Mutex<Option<Made>>>,
}

/// What was made, and of what.
#[derive(Clone)]
struct Made {
    value: Value,
    watched: Vec<Arc<Watched>>,
    versions: Vec<u64>,
    signatures: Vec<Option<Signature>>,
    digests: Vec<u64>,
    /// Whether no file failed to be read for a reason that passes without a change of the file.
    settled: bool,
}

/// What one reader used of a set of files.
pub(super) struct Used {
    slot: Arc<Slot>,
    versions: Mutex<Vec<u64>>,
    digest: u64,
    of: Box<Digest>,
}

impl Cache {
    /// The slot of these files; those that nobody holds any more are forgotten.
    pub(super) fn slot<T, P>(&self, files: &[Wanted], parse: P) -> Arc<Slot>
    where
        T: Send + Sync + 'static,
        P: Fn(Vec<Result<Contents, FileError>>) -> T + Send + Sync + 'static,
    {
        let mut slots = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = slots.get(files) {
            return Arc::clone(slot);
        }
        slots.retain(|_, slot| Arc::strong_count(slot) > 1);
        let slot = Arc::new(Slot {
            files: files.to_vec(),
            parse: Box::new(move |contents| Arc::new(parse(contents))),
            made: Arc::default(),
        });
        slots.insert(files.to_vec(), Arc::clone(&slot));
        slot
    }
}

impl Slot {
    /// What the files come to now, and the versions it was made of.
    ///
    /// # Panics
    /// When two readers of the same files make different things of them.
    pub(super) async fn get<T: Send + Sync + 'static>(
        self: &Arc<Self>,
        registry: Option<Arc<Registry>>,
    ) -> (Arc<T>, Vec<u64>) {
        let made = self.made(registry).await;
        let value = Arc::downcast(made.value).expect("all readers of a set of files make the same of it");
        (value, made.versions)
    }

    async fn made(self: &Arc<Self>, registry: Option<Arc<Registry>>) -> Made {
        let (slot, mut held) = (Arc::clone(self), Arc::clone(&self.made).lock_owned().await);
        blocking(move || {
            let made = slot.make(registry.as_deref(), held.clone());
            *held = Some(made.clone());
            made
        })
        .await
    }

    /// Reads the files if they look other than before, and parses them if they are.
    fn make(&self, registry: Option<&Registry>, before: Option<Made>) -> Made {
        // Watched first, looked at then: what happens in between has a new version later.
        let watched: Vec<_> = registry
            .map(|registry| self.files.iter().map(|file| registry.register(&file.path)).collect())
            .unwrap_or_default();
        let versions: Vec<u64> = watched.iter().map(|file| file.version()).collect();
        let signatures: Vec<_> = self.files.iter().map(|file| Signature::of(&file.path)).collect();
        let is_same = |before: &Made| before.versions == versions && before.signatures == signatures;
        let before = match before {
            Some(before) if registry.is_some() && before.settled && is_same(&before) => return before,
            before => before,
        };
        let contents: Vec<_> = self.files.iter().map(|file| contents::read(&file.path)).collect();
        let settled = !contents.iter().any(|read| read.as_ref().is_err_and(FileError::may_pass));
        let digests: Vec<u64> = contents.iter().map(digest).collect();
        let value = match before {
            Some(before) if before.digests == digests => before.value,
            _ => (self.parse)(contents),
        };
        Made { value, watched, versions, signatures, digests, settled }
    }
}

impl Used {
    pub(super) fn new<T, D>(slot: Arc<Slot>, versions: Vec<u64>, digest: u64, of: D) -> Self
    where
        T: Send + Sync + 'static,
        D: Fn(&T) -> u64 + Send + Sync + 'static,
    {
        let of = move |value: &Value| value.downcast_ref().map_or(0, &of);
        Self { slot, versions: Mutex::new(versions), digest, of: Box::new(of) }
    }

    /// Whether the files have come to something other, as far as this reader depends on them. Dropping it half-way loses
    /// nothing.
    pub(super) async fn has_changed(&self, registry: Arc<Registry>) -> bool {
        let now = self.slot.made.lock().await.as_ref().map(Made::current);
        if now.as_ref() == Some(&*self.versions()) {
            return false;
        }
        let made = self.slot.made(Some(registry)).await;
        let changed = (self.of)(&made.value) != self.digest;
        if !changed {
            *self.versions() = made.versions;
        }
        changed
    }

    fn versions(&self) -> std::sync::MutexGuard<'_, Vec<u64>> {
        self.versions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Made {
    /// The versions that its files have by now.
    fn current(&self) -> Vec<u64> {
        self.watched.iter().map(|file| file.version()).collect()
    }
}
