//! Several files made into one thing, once per change however many readers there are. It is asked, not pushed: there
//! is no task to own and none to stop.

use std::any::Any;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use crate::os::files::contents::{FileContents, FileError};
use crate::os::files::watcher::{FileVersion, WatchRegistry, WatchedFile};
use crate::os::files::{blocking, contents, digest};

/// A file of a set. Readers that treat a missing file otherwise have a set of their own.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct FileRequest {
    /// Where it is.
    pub(crate) path: PathBuf,
    /// Whether it is an error when it is missing.
    pub(crate) required: bool,
}

type ParsedValue = Arc<dyn Any + Send + Sync>;
type ParseFunction = dyn Fn(Vec<Result<FileContents, FileError>>) -> ParsedValue + Send + Sync;
type UsedDigest = dyn Fn(&ParsedValue) -> u64 + Send + Sync;

/// The sets of files of a process that somebody reads.
#[derive(Default)]
pub(crate) struct ParseCache(Mutex<HashMap<Vec<FileRequest>, Arc<ParseSlot>>>);

/// One set of files.
pub(crate) struct ParseSlot {
    files: Vec<FileRequest>,
    parse: Box<ParseFunction>,
    /// Held by the thread that reads the files, so that one reader reads for all, and a dead file system has one thread.
    made: Arc<tokio::sync::Mutex<Option<ParsedFiles>>>,
}

/// What was made, and of what.
#[derive(Clone)]
struct ParsedFiles {
    value: ParsedValue,
    watched: Vec<Arc<WatchedFile>>,
    versions: Vec<u64>,
    signatures: Vec<Option<FileVersion>>,
    digests: Vec<u64>,
    /// Whether no file failed to be read for a reason that passes without a change of the file.
    settled: bool,
}

/// What one reader used of a set of files.
pub(crate) struct UsedProperties {
    slot: Arc<ParseSlot>,
    versions: Mutex<Vec<u64>>,
    digest: u64,
    of: Box<UsedDigest>,
}

impl ParseCache {
    /// The slot of these files; those that nobody holds any more are forgotten.
    pub(crate) fn slot<T, P>(&self, files: &[FileRequest], parse: P) -> Arc<ParseSlot>
    where
        T: Send + Sync + 'static,
        P: Fn(Vec<Result<FileContents, FileError>>) -> T + Send + Sync + 'static,
    {
        let mut slots = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = slots.get(files) {
            return Arc::clone(slot);
        }
        slots.retain(|_, slot| Arc::strong_count(slot) > 1);
        let slot = Arc::new(ParseSlot {
            files: files.to_vec(),
            parse: Box::new(move |contents| Arc::new(parse(contents))),
            made: Arc::default(),
        });
        slots.insert(files.to_vec(), Arc::clone(&slot));
        slot
    }
}

impl ParseSlot {
    /// What the files come to now, and the versions it was made of.
    ///
    /// # Panics
    /// When two readers of the same files make different things of them.
    pub(crate) async fn get<T: Send + Sync + 'static>(
        self: &Arc<Self>,
        registry: Option<Arc<WatchRegistry>>,
    ) -> (Arc<T>, Vec<u64>) {
        let made = self.made(registry).await;
        let value = Arc::downcast(made.value).expect("all readers of a set of files make the same of it");
        (value, made.versions)
    }

    async fn made(self: &Arc<Self>, registry: Option<Arc<WatchRegistry>>) -> ParsedFiles {
        let (slot, mut held) = (Arc::clone(self), Arc::clone(&self.made).lock_owned().await);
        blocking(move || {
            let made = slot.make(registry.as_deref(), held.clone());
            *held = Some(made.clone());
            made
        })
        .await
    }

    /// Reads the files if they look other than before, and parses them if they are.
    fn make(&self, registry: Option<&WatchRegistry>, before: Option<ParsedFiles>) -> ParsedFiles {
        // Watched first, looked at then: what happens in between has a new version later.
        let watched: Vec<_> = registry
            .map(|registry| self.files.iter().map(|file| registry.register(&file.path)).collect())
            .unwrap_or_default();
        let versions: Vec<u64> = watched.iter().map(|file| file.version()).collect();
        let signatures: Vec<_> = self.files.iter().map(|file| FileVersion::of(&file.path)).collect();
        let is_same = |before: &ParsedFiles| before.versions == versions && before.signatures == signatures;
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
        ParsedFiles { value, watched, versions, signatures, digests, settled }
    }
}

impl UsedProperties {
    pub(crate) fn new<T, D>(slot: Arc<ParseSlot>, versions: Vec<u64>, digest: u64, of: D) -> Self
    where
        T: Send + Sync + 'static,
        D: Fn(&T) -> u64 + Send + Sync + 'static,
    {
        let of = move |value: &ParsedValue| value.downcast_ref().map_or(0, &of);
        Self { slot, versions: Mutex::new(versions), digest, of: Box::new(of) }
    }

    /// Whether the files have come to something other, as far as this reader depends on them. Dropping it half-way loses
    /// nothing.
    pub(crate) async fn has_changed(&self, registry: Arc<WatchRegistry>) -> bool {
        let now = self.slot.made.lock().await.as_ref().map(ParsedFiles::current);
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

impl ParsedFiles {
    /// The versions that its files have by now.
    fn current(&self) -> Vec<u64> {
        self.watched.iter().map(|file| file.version()).collect()
    }
}
