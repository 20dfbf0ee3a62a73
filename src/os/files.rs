//! Files as keepers see them: read safely, remembered, and looked at again when something happened to them.

pub(crate) mod contents;
pub(crate) mod parse_cache;
#[cfg(test)]
mod tests;
pub(crate) mod watcher;

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use tokio::sync::{OwnedMutexGuard, watch};

pub(crate) use crate::os::files::contents::{FileContents, FileError, FileErrorReason};
pub(crate) use crate::os::files::parse_cache::FileRequest;

use crate::os::files::parse_cache::ParseCache;
use crate::os::files::watcher::{WatchRegistry, WatchedFile, Watcher};

/// The files of this machine as one reader sees them: it remembers what was read since [`Files::forget`], so that
/// [`Files::changed`] can tell whether any of it became other. The default reaches nothing.
///
/// Clones share that memory; [`Files::fresh`] gives another reader of the same files.
#[derive(Clone, Default)]
pub(crate) struct Files {
    service: Option<Arc<FileService>>,
    record: Arc<Mutex<Vec<Arc<ReadRecord>>>>,
}

/// What all readers of a process share.
struct FileService {
    /// `None`: nobody waits for changes.
    registry: Option<Arc<WatchRegistry>>,
    cache: ParseCache,
    /// Held by the thread that reads the file.
    turns: Mutex<HashMap<PathBuf, FileTurn>>,
}

type FileTurn = Arc<tokio::sync::Mutex<()>>;

impl FileService {
    /// Waits until nobody reads this file. A thread that hangs in a dead file system keeps its turn, so that whoever asks
    /// again waits without another thread: there are few.
    async fn turn(&self, path: &Path) -> OwnedMutexGuard<()> {
        let turn = {
            let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
            turns.retain(|_, turn| Arc::strong_count(turn) > 1);
            Arc::clone(turns.entry(path.to_owned()).or_default())
        };
        turn.lock_owned().await
    }
}

/// Something that was read.
enum ReadRecord {
    File { watched: Arc<WatchedFile>, version: AtomicU64, digest: u64 },
    Parsed(parse_cache::UsedProperties),
}

impl Files {
    /// Files that are read and never watched: for commands that look once.
    #[must_use]
    pub(crate) fn unwatched() -> Self {
        Self::over(None)
    }

    /// Files that are watched, as long as somebody runs the watcher.
    #[must_use]
    pub(crate) fn watched() -> (Self, Watcher) {
        let (registry, watcher) = Watcher::new();
        (Self::over(Some(registry)), watcher)
    }

    fn over(registry: Option<Arc<WatchRegistry>>) -> Self {
        Self {
            service: Some(Arc::new(FileService { registry, cache: ParseCache::default(), turns: Mutex::default() })),
            record: Arc::default(),
        }
    }

    /// The same files for another reader, who has read nothing yet.
    #[must_use]
    pub(crate) fn fresh(&self) -> Self {
        Self { service: self.service.clone(), record: Arc::default() }
    }

    /// Begins a new record.
    pub(crate) fn forget(&self) {
        self.record().clear();
    }

    /// Reads a whole file, watching it first.
    ///
    /// # Errors
    /// When it is missing, unreadable, not regular or larger than 16 MB.
    pub(crate) async fn read(&self, path: &Path) -> Result<FileContents, FileError> {
        let Some(service) = self.service.clone() else {
            return Err(FileError::new(path, FileErrorReason::Unreachable));
        };
        let (path, turn) = (path.to_owned(), service.turn(path).await);
        let (contents, seen) = blocking(move || {
            let _turn = turn;
            let watched = service.registry.as_ref().map(|registry| registry.register(&path));
            let version = watched.as_ref().map(|watched| watched.version());
            let contents = contents::read(&path);
            let digest = digest(&contents);
            let seen = watched.zip(version).map(|(watched, version)| {
                let version = AtomicU64::new(version);
                Arc::new(ReadRecord::File { watched, version, digest })
            });
            (contents, seen)
        })
        .await;
        self.record().extend(seen);
        contents
    }

    /// Reads several files and makes something of them, once per change for all readers of this process: `parse` is
    /// handed what each file gave, and `digest` says what of the result this reader depends on.
    ///
    /// All readers of the same files have to hand over an equal `parse`.
    pub(crate) async fn parsed<T, P, D>(&self, key: &[FileRequest], parse: P, digest: D) -> Arc<T>
    where
        T: Send + Sync + 'static,
        P: Fn(Vec<Result<FileContents, FileError>>) -> T + Send + Sync + 'static,
        D: Fn(&T) -> u64 + Send + Sync + 'static,
    {
        let Some(service) = self.service.clone() else {
            let unreachable = |wanted: &FileRequest| Err(FileError::new(&wanted.path, FileErrorReason::Unreachable));
            return Arc::new(parse(key.iter().map(unreachable).collect()));
        };
        let slot = service.cache.slot(key, parse);
        let (value, versions) = slot.get(service.registry.clone()).await;
        let digest_now = digest(&value);
        if service.registry.is_some() {
            self.record().push(Arc::new(ReadRecord::Parsed(parse_cache::UsedProperties::new(
                slot, versions, digest_now, digest,
            ))));
        }
        value
    }

    /// Waits until something that was read since [`Files::forget`] has really become other. Dropping it loses nothing.
    pub(crate) async fn changed(&self) {
        let Some((service, registry)) =
            self.service.as_ref().and_then(|service| Some((service, service.registry.clone()?)))
        else {
            return std::future::pending().await;
        };
        let mut generation = registry.generation();
        loop {
            generation.borrow_and_update();
            if self.has_changed(service, &registry).await {
                return;
            }
            wait(&mut generation).await;
        }
    }

    async fn has_changed(&self, service: &FileService, registry: &Arc<WatchRegistry>) -> bool {
        // Clones: whoever waits may be dropped at any await, and then nothing of the record is lost.
        let record = self.record().clone();
        for seen in record {
            let changed = match &*seen {
                ReadRecord::File { watched, version, digest: before } => {
                    let now = watched.version();
                    if now == version.load(Ordering::Acquire) {
                        continue;
                    }
                    let (path, turn) = (watched.path().to_owned(), service.turn(watched.path()).await);
                    let read = blocking(move || {
                        let _turn = turn;
                        digest(&contents::read(&path))
                    });
                    let is_other = *before != read.await;
                    if !is_other {
                        version.store(now, Ordering::Release);
                    }
                    is_other
                }
                ReadRecord::Parsed(used) => used.has_changed(Arc::clone(registry)).await,
            };
            if changed {
                return true;
            }
        }
        false
    }

    fn record(&self) -> std::sync::MutexGuard<'_, Vec<Arc<ReadRecord>>> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Files {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let watched = self.service.as_ref().map(|service| service.registry.is_some());
        f.debug_struct("Files").field("watched", &watched).finish_non_exhaustive()
    }
}

async fn wait(generation: &mut watch::Receiver<u64>) {
    if generation.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Runs what may block on a thread for such things.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        // The runtime is shutting down: nobody waits any more.
        Err(_) => std::future::pending().await,
    }
}

/// A number for what reading a file gave; equal for equal content or the same error. Keyed per process.
fn digest(contents: &Result<FileContents, FileError>) -> u64 {
    static KEY: LazyLock<RandomState> = LazyLock::new(RandomState::new);
    let mut hasher = KEY.build_hasher();
    match contents {
        Ok(contents) => {
            hasher.write_u8(1);
            // Whose it is decides whether its word counts.
            contents.owner.hash(&mut hasher);
            hasher.write(&contents.bytes);
        }
        Err(error) => hasher.write(error.to_string().as_bytes()),
    }
    hasher.finish()
}
