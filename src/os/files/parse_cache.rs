//! Parsed file sets: one parse per change for all readers of a file set. It runs no task; readers trigger the work.

use std::any::Any;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::os::files::blocking;
use crate::os::files::contents::{FileContents, FileError, FileReader, SHARED};
use crate::os::files::snapshot::FileSnapshot;
use crate::os::files::watcher::WatchRegistry;
use crate::os::single_flight::{Flight, SingleFlight};

/// One file of a set. The requests are the key of the set, so readers that treat a missing file differently use
/// different sets.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct FileRequest {
    pub(crate) path: PathBuf,
    /// True if a missing file is an error.
    pub(crate) required: bool,
}

type ParsedValue = Arc<dyn Any + Send + Sync>;
type ParseFunction = dyn Fn(Vec<Result<FileContents, FileError>>) -> ParsedValue + Send + Sync;
type UsedDigest = dyn Fn(&ParsedValue) -> u64 + Send + Sync;

/// The file sets that this process reads. A set without readers is removed when a new set is added.
#[derive(Default)]
pub(crate) struct ParseCache(SingleFlight<Vec<FileRequest>, ParsedSet>);

/// One set of files. The thread that reads the files holds the lock of the set. So one thread reads for all readers,
/// and a hanging file system blocks no other thread.
pub(crate) struct ParsedSet {
    files: Vec<FileRequest>,
    reader: Arc<FileReader>,
    parse: Box<ParseFunction>,
    parsed: Option<ParsedFiles>,
}

/// A parsed value, with the snapshots of the files that it was parsed from.
#[derive(Clone)]
struct ParsedFiles {
    value: ParsedValue,
    snapshots: Arc<[FileSnapshot]>,
    /// True if the value is valid until a file changes: no read failed for a transient reason.
    is_settled: bool,
    /// The time of the parse, if a file belongs to another user.
    foreign_since: Option<Instant>,
}

/// The time between two parses of a file of another user, which may change all the time.
const FOREIGN_PAUSE: Duration = Duration::from_secs(1);

/// The part of a file set that one reader depends on.
pub(crate) struct UsedProperties {
    set: Flight<ParsedSet>,
    snapshots: Mutex<Arc<[FileSnapshot]>>,
    digest: u64,
    digest_of: Arc<UsedDigest>,
}

impl ParseCache {
    /// Returns the parsed files as they are now, and a record of the part that this reader depends on.
    ///
    /// # Panics
    /// If two readers of a file set parse it into different types.
    pub(crate) async fn read<T, P, D>(
        &self,
        files: &[FileRequest],
        reader: &Arc<FileReader>,
        registry: Option<Arc<WatchRegistry>>,
        parse: P,
        digest: D,
    ) -> (Arc<T>, UsedProperties)
    where
        T: Send + Sync + 'static,
        P: Fn(Vec<Result<FileContents, FileError>>) -> T + Send + Sync + 'static,
        D: Fn(&T) -> u64 + Send + Sync + 'static,
    {
        let new = || ParsedSet {
            files: files.to_vec(),
            reader: Arc::clone(reader),
            parse: Box::new(move |contents| Arc::new(parse(contents))),
            parsed: None,
        };
        let set = self.0.flight(files, new, |_| false);
        let digest_of: Arc<UsedDigest> = Arc::new(move |value| value.downcast_ref().map_or(0, &digest));
        let (ParsedFiles { value, snapshots, .. }, digest) = refresh(&set, registry, &digest_of).await;
        let value: Arc<T> = Arc::downcast(value).expect("all readers of a file set parse it into the same type");
        let used = UsedProperties { set, snapshots: Mutex::new(snapshots), digest, digest_of };
        (value, used)
    }
}

/// Reads the changed files of a set, and parses the set if its content differs. Returns the digest, too. A large file
/// takes milliseconds, so all of this runs on a thread that may block.
async fn refresh(
    set: &Flight<ParsedSet>,
    registry: Option<Arc<WatchRegistry>>,
    digest_of: &Arc<UsedDigest>,
) -> (ParsedFiles, u64) {
    let mut set = Arc::clone(set).lock_owned().await;
    loop {
        let (registry, digest_of) = (registry.clone(), Arc::clone(digest_of));
        let refreshed = blocking(move || match set.refresh(registry.as_deref()) {
            Ok(parsed) => {
                let (parsed, digest) = (parsed.clone(), digest_of(&parsed.value));
                Ok((parsed, digest))
            }
            Err(pause) => Err((set, pause)),
        });
        match refreshed.await {
            Ok(refreshed) => return refreshed,
            Err((paused, pause)) => {
                set = paused;
                tokio::time::sleep(pause).await;
            }
        }
    }
}

impl ParsedSet {
    /// Returns the parsed files as they are now. Blocks on the file system.
    ///
    /// # Errors
    /// The time until the set may be parsed again, if a file of another user has changed too soon.
    fn refresh(&mut self, registry: Option<&WatchRegistry>) -> Result<&ParsedFiles, Duration> {
        let is_current = |before: &ParsedFiles| {
            before.is_settled && before.snapshots.iter().all(|snapshot| snapshot.is_current_after_stat(registry))
        };
        let is_current = self.parsed.as_ref().is_some_and(is_current);
        if !is_current && let Some(pause) = self.pause() {
            return Err(pause);
        }
        let parsed = match self.parsed.take() {
            Some(before) if is_current => before,
            before => self.read(registry, before),
        };
        Ok(self.parsed.insert(parsed))
    }

    /// Returns the time until the set may be parsed again. `None` if now.
    fn pause(&self) -> Option<Duration> {
        let parsed = self.parsed.as_ref()?;
        // A command reads its files a few times and ends, so only a daemon, which watches them, pauses.
        let is_watched = parsed.snapshots.iter().all(|snapshot| snapshot.path().is_some());
        FOREIGN_PAUSE
            .checked_sub(parsed.foreign_since.filter(|_| is_watched)?.elapsed())
            .filter(|pause| !pause.is_zero())
    }

    /// Reads all files. They are parsed only if their content has changed since the last parse.
    fn read(&self, registry: Option<&WatchRegistry>, before: Option<ParsedFiles>) -> ParsedFiles {
        let (contents, snapshots): (Vec<_>, Vec<_>) =
            self.files.iter().map(|file| FileSnapshot::take(&self.reader, registry, &file.path, SHARED)).unzip();
        let is_settled = !contents.iter().any(|read| read.as_ref().is_err_and(FileError::may_pass));
        let is_same = |before: &ParsedFiles| before.snapshots.iter().zip(&snapshots).all(|(a, b)| a.has_content_of(b));
        let ours = rustix::process::geteuid().as_raw();
        let is_foreign = |contents: &FileContents| ![0, ours].contains(&contents.facts.owner());
        let is_foreign = contents.iter().flatten().any(is_foreign);
        let value = match before {
            Some(before) if is_same(&before) => before.value,
            _ => (self.parse)(contents),
        };
        let foreign_since = is_foreign.then(Instant::now);
        ParsedFiles { value, snapshots: snapshots.into(), is_settled, foreign_since }
    }
}

impl UsedProperties {
    /// Returns true if the part of the files that this reader depends on has changed. Dropping the future loses no
    /// change.
    pub(crate) async fn has_changed(&self, registry: Arc<WatchRegistry>) -> bool {
        if self.snapshots().iter().all(FileSnapshot::is_current) {
            return false;
        }
        let (parsed, digest) = refresh(&self.set, Some(registry), &self.digest_of).await;
        let changed = digest != self.digest;
        if !changed {
            *self.snapshots() = parsed.snapshots;
        }
        changed
    }

    fn snapshots(&self) -> MutexGuard<'_, Arc<[FileSnapshot]>> {
        self.snapshots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
