//! One watched file: its version, and the metadata that makes a new version.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::os::files::watcher::lock;

/// A file that at least one reader has read.
#[derive(Debug)]
pub(crate) struct WatchedFile {
    path: PathBuf,
    version: AtomicU64,
    pub(super) state: Mutex<WatchState>,
    /// True while a thread checks the file. It may hang there forever.
    is_checked: AtomicBool,
}

#[derive(Debug, Default)]
pub(super) struct WatchState {
    pub(super) directories: BTreeSet<PathBuf>,
    stat: Option<FileStat>,
}

impl WatchedFile {
    /// Makes a watched file. Blocks on the file system.
    pub(super) fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            version: AtomicU64::new(0),
            state: Mutex::new(WatchState { stat: FileStat::of(path), ..WatchState::default() }),
            is_checked: AtomicBool::new(false),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns a number that grows whenever there is a reason to read the file again.
    pub(crate) fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// Makes a new version if the file was touched or its [`FileStat`] has changed. Blocks on the file system.
    pub(super) fn check(&self, touched: bool) -> bool {
        let stat = FileStat::of(&self.path);
        let mut state = lock(&self.state);
        let changed = touched || state.stat != stat;
        if changed {
            state.stat = stat;
            self.version.fetch_add(1, Ordering::AcqRel);
        }
        changed
    }

    /// Runs a check, unless another thread is checking the file: that thread may hang in a file system.
    pub(super) fn check_alone(&self, check: impl FnOnce()) {
        if !self.is_checked.swap(true, Ordering::AcqRel) {
            check();
            self.is_checked.store(false, Ordering::Release);
        }
    }
}

/// The metadata that changes when a file is written or replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FileStat {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl FileStat {
    /// Returns `None` if there is no file.
    fn of(path: &Path) -> Option<Self> {
        let meta = path.metadata().ok()?;
        Some(Self {
            device: meta.dev(),
            inode: meta.ino(),
            size: meta.size(),
            modified: (meta.mtime(), meta.mtime_nsec()),
            changed: (meta.ctime(), meta.ctime_nsec()),
        })
    }
}
