//! Files as refreshers see them: read safely, recorded, and read again after a change.

pub(crate) mod acl;
pub(crate) mod contents;
pub(crate) mod parse_cache;
pub(crate) mod rewrite;
mod snapshot;
#[cfg(test)]
mod tests;
pub(crate) mod trust;
pub(crate) mod walk;
pub(crate) mod watcher;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedMutexGuard, watch};

pub(crate) use crate::os::files::contents::{FileContents, FileError, FileErrorReason};
pub(crate) use crate::os::files::parse_cache::FileRequest;

use crate::os::files::contents::{FileReader, SMALL};
use crate::os::files::parse_cache::{ParseCache, UsedProperties};
use crate::os::files::snapshot::FileSnapshot;
use crate::os::files::watcher::{WatchRegistry, Watcher};
use crate::os::single_flight::SingleFlight;

/// The files of this machine for one reader. It records each read since [`Files::forget`], so that [`Files::changed`]
/// can wait for a change of any recorded file. The default reaches no file.
///
/// Clones share the record; [`Files::fresh`] makes another reader of these files.
#[derive(Clone, Default)]
pub(crate) struct Files {
    service: Option<Arc<FileService>>,
    record: Arc<Mutex<Vec<Arc<ReadRecord>>>>,
}

/// The part that all readers of a process share.
struct FileService {
    /// The watched files. `None` if no reader waits for changes.
    registry: Option<Arc<WatchRegistry>>,
    reader: Arc<FileReader>,
    cache: ParseCache,
    /// One lock for each file, held by the thread that reads the file.
    turns: SingleFlight<PathBuf, ()>,
}

impl FileService {
    /// Waits until no thread reads this file. If a thread hangs in a dead file system, later readers wait here without
    /// taking a thread: the number of threads is limited.
    async fn turn(&self, path: &Path) -> OwnedMutexGuard<()> {
        self.turns.flight(path, || (), |()| false).lock_owned().await
    }

    /// Reads a file on a thread that may block.
    async fn read(self: &Arc<Self>, path: &Path, limit: u64) -> (Result<FileContents, FileError>, FileSnapshot) {
        let (service, path, turn) = (Arc::clone(self), path.to_owned(), self.turn(path).await);
        blocking(move || {
            let _turn = turn;
            FileSnapshot::take(&service.reader, service.registry.as_deref(), &path, limit)
        })
        .await
    }

    /// Reads a file again if it has a later version. Returns true if its content differs from the snapshot.
    async fn has_changed(self: &Arc<Self>, snapshot: &Mutex<FileSnapshot>) -> bool {
        let before = lock(snapshot).clone();
        let Some(path) = before.path().filter(|_| !before.is_current()) else { return false };
        let (_, now) = self.read(path, before.limit).await;
        let is_same = now.has_content_of(&before);
        if is_same {
            *lock(snapshot) = now;
        }
        !is_same
    }
}

/// One read in the record: of a file, or of a set of parsed files.
enum ReadRecord {
    File(Mutex<FileSnapshot>),
    Parsed(UsedProperties),
}

impl Files {
    /// Returns files that are not watched, for commands that read once.
    #[must_use]
    pub(crate) fn unwatched() -> Self {
        Self::over(None, FileReader::default())
    }

    /// Returns these files, but a FIFO of this user may be read, once: for commands that end.
    #[must_use]
    pub(crate) fn with_fifos(self) -> Self {
        let registry = self.service.and_then(|service| service.registry.clone());
        Self::over(registry, FileReader::with_fifos())
    }

    /// Returns files that are watched while the [`Watcher`] runs.
    #[must_use]
    pub(crate) fn watched() -> (Self, Watcher) {
        let (registry, watcher) = Watcher::new();
        (Self::over(Some(registry), FileReader::default()), watcher)
    }

    fn over(registry: Option<Arc<WatchRegistry>>, reader: FileReader) -> Self {
        Self {
            service: Some(Arc::new(FileService {
                registry,
                reader: Arc::new(reader),
                cache: ParseCache::default(),
                turns: SingleFlight::default(),
            })),
            record: Arc::default(),
        }
    }

    /// Returns these files for another reader, with an empty record.
    #[must_use]
    pub(crate) fn fresh(&self) -> Self {
        Self { service: self.service.clone(), record: Arc::default() }
    }

    /// Clears the record.
    pub(crate) fn forget(&self) {
        self.record().clear();
    }

    /// Reads a whole small file: a secret, a token or a login. The watch starts before the read, so no change is lost.
    ///
    /// # Errors
    /// If it is missing, unreadable, not a regular file, larger than 64 kB, or if a symlink of another user leads to it.
    pub(crate) async fn read(&self, path: &Path) -> Result<FileContents, FileError> {
        self.read_up_to(path, SMALL).await
    }

    /// Reads a file of at most `limit` bytes, as [`Files::read`].
    ///
    /// # Errors
    /// As [`Files::read`].
    pub(crate) async fn read_up_to(&self, path: &Path, limit: u64) -> Result<FileContents, FileError> {
        let Some(service) = self.service.clone() else {
            return Err(FileError::new(path, FileErrorReason::Unreachable));
        };
        let is_watched = service.registry.is_some();
        let (contents, snapshot) = service.read(path, limit).await;
        if is_watched {
            self.record().push(Arc::new(ReadRecord::File(Mutex::new(snapshot))));
        }
        contents
    }

    /// Reads and parses a set of files. The files are parsed once per change for all readers in this process. `parse`
    /// gets the result of each read. `digest` hashes the part of the parsed value that this reader depends on.
    ///
    /// All readers of a set of files must pass an equal `parse`.
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
        let (value, used) = service.cache.read(key, &service.reader, service.registry.clone(), parse, digest).await;
        if service.registry.is_some() {
            self.record().push(Arc::new(ReadRecord::Parsed(used)));
        }
        value
    }

    /// Waits until the content of a file in the record has changed. Dropping the future loses no change.
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

    async fn has_changed(&self, service: &Arc<FileService>, registry: &Arc<WatchRegistry>) -> bool {
        // Clone the record: this future may be dropped at any await, and must not leave the record incomplete.
        let record = self.record().clone();
        for seen in record {
            let changed = match &*seen {
                ReadRecord::File(snapshot) => service.has_changed(snapshot).await,
                ReadRecord::Parsed(used) => used.has_changed(Arc::clone(registry)).await,
            };
            if changed {
                return true;
            }
        }
        false
    }

    fn record(&self) -> MutexGuard<'_, Vec<Arc<ReadRecord>>> {
        lock(&self.record)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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

/// Runs blocking work on a thread of tokio's pool for blocking work.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        // The runtime is shutting down: wait for ever, because no task needs the result.
        Err(_) => std::future::pending().await,
    }
}
