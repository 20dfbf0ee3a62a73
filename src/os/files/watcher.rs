//! Directories that hold files which were read: their events, settled, become new versions of those files. What is in
//! a file decides elsewhere; here an event is only a reason to look.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::ffi::OsString;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

/// Events of one change come in bursts; this long after the first of them everybody looks.
const SETTLE: Duration = Duration::from_millis(150);

/// How often files are looked at all the same: the kernel tells nothing about changes that others make on a network
/// file system.
const POLL: Duration = Duration::from_secs(30);

/// How often when the kernel has no watches left and tells nothing at all.
const POLL_INSTEAD: Duration = Duration::from_secs(5);

/// A look that takes longer stands before a file system that hangs. The next one passes the file by.
const PATIENCE: Duration = Duration::from_secs(5);

/// Links on the way to a file, as many as Linux follows.
const LINKS: usize = 40;

/// A file that somebody reads.
#[derive(Debug)]
pub(crate) struct WatchedFile {
    path: PathBuf,
    version: AtomicU64,
    state: Mutex<WatchState>,
    /// Whether somebody is looking at it, perhaps for ever.
    looked_at: AtomicBool,
}

#[derive(Debug, Default)]
struct WatchState {
    directories: BTreeSet<PathBuf>,
    stat: Option<FileStat>,
}

impl WatchedFile {
    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// A number that grows whenever there is a reason to look at the file.
    pub(crate) fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// Gives it a new version when it looks other than before, or was touched. It may block.
    fn look(&self, touched: bool) -> bool {
        let stat = FileStat::of(&self.path);
        let mut state = lock(&self.state);
        let changed = touched || state.stat != stat;
        if changed {
            state.stat = stat;
            self.version.fetch_add(1, Ordering::AcqRel);
        }
        changed
    }
}

/// What the file system says of a file without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FileStat {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl FileStat {
    /// `None` when there is no file.
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

/// The files of this process that are watched.
#[derive(Debug)]
pub(crate) struct WatchRegistry {
    /// Held for moments: no file system is asked meanwhile.
    files: Mutex<HashMap<PathBuf, Arc<WatchedFile>>>,
    /// The kernel is asked to watch a directory meanwhile, after that directory has been looked at.
    inner: Mutex<WatcherState>,
    /// Shared with the thread that takes the kernel's events.
    events: Arc<Events>,
    generation: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct WatcherState {
    directories: BTreeSet<PathBuf>,
    kernel: KernelWatches,
    told: bool,
}

#[derive(Debug, Default)]
enum KernelWatches {
    #[default]
    NotAsked,
    Watches(RecommendedWatcher),
    /// It has no more watches to give; asked again at each poll.
    UsedUp,
    /// It never will.
    #[cfg(test)]
    Deaf,
}

#[derive(Debug, Default)]
struct Events {
    dirty: Mutex<BTreeSet<PathBuf>>,
    arrived: Notify,
}

/// The task that turns events into new versions; somebody has to run it.
#[derive(Debug)]
pub(crate) struct Watcher {
    registry: Option<Arc<WatchRegistry>>,
    poll: Duration,
}

impl Watcher {
    /// A watcher of nothing.
    #[must_use]
    pub(crate) fn none() -> Self {
        Self { registry: None, poll: POLL }
    }

    /// A watcher and the registry of what it watches.
    pub(crate) fn new() -> (Arc<WatchRegistry>, Self) {
        let registry = Arc::new(WatchRegistry {
            files: Mutex::default(),
            inner: Mutex::default(),
            events: Arc::default(),
            generation: watch::Sender::new(0),
        });
        (Arc::clone(&registry), Self { registry: Some(registry), poll: POLL })
    }

    /// The same, polling this often.
    #[cfg(test)]
    pub(crate) fn polling(mut self, poll: Duration) -> Self {
        self.poll = poll;
        self
    }

    /// The same on a kernel that gives no watches.
    #[cfg(test)]
    pub(crate) fn deaf(self) -> Self {
        if let Some(registry) = &self.registry {
            registry.lock().kernel = KernelWatches::Deaf;
        }
        self
    }

    /// Watches for ever.
    pub(crate) async fn run(self) {
        let Some(registry) = self.registry else { return std::future::pending().await };
        let (mut polled, mut poll) = (Instant::now(), self.poll);
        loop {
            let is_poll = tokio::select! {
                () = registry.events.arrived.notified() => {
                    tokio::time::sleep(SETTLE).await;
                    false
                }
                () = tokio::time::sleep_until(polled + poll) => {
                    polled = Instant::now();
                    true
                }
            };
            // Looking at paths may block, on a network file system for long.
            let looking = Arc::clone(&registry);
            let look = tokio::task::spawn_blocking(move || {
                if is_poll {
                    looking.poll();
                } else {
                    looking.settle();
                }
                looking.is_used_up()
            });
            if let Ok(Ok(used_up)) = tokio::time::timeout(PATIENCE, look).await {
                poll = if used_up { self.poll.min(POLL_INSTEAD) } else { self.poll };
            }
        }
    }
}

impl WatchRegistry {
    /// Begins to watch a file, before it is read. It may block.
    pub(crate) fn register(&self, path: &Path) -> Arc<WatchedFile> {
        let known = |files: &HashMap<PathBuf, Arc<WatchedFile>>| files.get(path).map(Arc::clone);
        if let Some(file) = known(&lock(&self.files)) {
            return file;
        }
        let state = WatchState { stat: FileStat::of(path), ..WatchState::default() };
        let file = {
            let mut files = lock(&self.files);
            if let Some(file) = known(&files) {
                return file;
            }
            let file = Arc::new(WatchedFile {
                path: path.to_owned(),
                version: AtomicU64::new(0),
                state: Mutex::new(state),
                looked_at: AtomicBool::new(false),
            });
            files.insert(path.to_owned(), Arc::clone(&file));
            file
        };
        self.arm(&file);
        // Others may have read it before it was watched.
        self.look_at(&file);
        file
    }

    /// Gives a file a new version if it looks other than before, and wakes all readers then. It may block.
    pub(crate) fn look_at(&self, file: &WatchedFile) {
        if file.look(false) {
            self.tell();
        }
    }

    /// Changes whenever the version of some file did.
    pub(crate) fn generation(&self) -> watch::Receiver<u64> {
        self.generation.subscribe()
    }

    /// Watches all directories in which a change could make another file of this path. What is made while the watches
    /// are set up is seen by the second look.
    fn arm(&self, file: &WatchedFile) {
        for _ in 0..LINKS {
            let wanted = directories(&file.path);
            let mut inner = self.lock();
            let mut state = lock(&file.state);
            let fresh: Vec<PathBuf> = wanted.difference(&inner.directories).cloned().collect();
            let settled = fresh.is_empty() && state.directories == wanted;
            state.directories = wanted;
            drop(state);
            if settled {
                return;
            }
            for directory in fresh {
                self.watch(&mut inner, directory);
            }
        }
    }

    fn watch(&self, inner: &mut WatcherState, directory: PathBuf) {
        if matches!(inner.kernel, KernelWatches::NotAsked) {
            inner.kernel = match self.ask_kernel() {
                Ok(watcher) => KernelWatches::Watches(watcher),
                Err(error) => self.used_up(&mut inner.told, &error),
            };
        }
        if let KernelWatches::Watches(watcher) = &mut inner.kernel {
            match watcher.watch(&directory, RecursiveMode::NonRecursive) {
                Ok(()) => {}
                Err(notify::Error { kind: notify::ErrorKind::PathNotFound, .. }) => return,
                Err(error) if is_used_up(&error) => inner.kernel = self.used_up(&mut inner.told, &error),
                Err(error) => {
                    tracing::debug!(directory = %directory.display(), %error, "cannot be watched; it is polled");
                }
            }
        }
        inner.directories.insert(directory);
    }

    fn ask_kernel(&self) -> notify::Result<RecommendedWatcher> {
        let events = Arc::clone(&self.events);
        notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // An error of the kernel's queue may hide any event: look at everything.
            let event = event.unwrap_or_else(|_| notify::Event::default().set_flag(notify::event::Flag::Rescan));
            if matches!(event.kind, EventKind::Access(_)) && !event.need_rescan() {
                return;
            }
            let mut dirty = lock(&events.dirty);
            if event.need_rescan() {
                // The root stands for everything: the kernel has lost count.
                dirty.insert(PathBuf::from("/"));
            }
            for path in event.paths {
                dirty.extend(path.parent().map(Path::to_owned));
                dirty.insert(path);
            }
            drop(dirty);
            events.arrived.notify_one();
        })
    }

    /// Looks at what the events were about.
    fn settle(&self) {
        let dirty = std::mem::take(&mut *lock(&self.events.dirty));
        let everything = dirty.contains(Path::new("/"));
        let mut inner = self.lock();
        // A directory that was moved or removed has lost its watch, whatever its name says: those of the files that
        // were touched are set up again.
        for directory in &dirty {
            let was_watched = inner.directories.remove(directory);
            if was_watched && (!directory.is_dir() || is_moved(&dirty, directory)) {
                unwatch(&mut inner, directory);
            }
        }
        drop(inner);
        self.look(|state| everything || state.directories.iter().any(|directory| dirty.contains(directory)));
    }

    /// Looks at everything, as the file system shows it.
    fn poll(&self) {
        let asks_again = self.is_used_up();
        if asks_again && let Ok(watcher) = self.ask_kernel() {
            // There may be watches again.
            let mut inner = self.lock();
            inner.kernel = KernelWatches::Watches(watcher);
            inner.directories.clear();
        }
        for file in self.files() {
            alone_with(&file, || self.arm(&file));
        }
        let mut inner = self.lock();
        if asks_again && matches!(inner.kernel, KernelWatches::Watches(_)) {
            inner.told = false;
            tracing::info!("the kernel gives file watches again; files are watched");
        }
        drop(inner);
        self.look(|_| false);
    }

    /// Gives a new version to each file that was touched, or that looks other than before; forgets those that nobody
    /// reads any more.
    fn look(&self, touched: impl Fn(&WatchState) -> bool) {
        lock(&self.files).retain(|_, file| Arc::strong_count(file) > 1);
        // Those first of which the kernel has spoken: their file systems answer.
        let (spoken_of, others): (Vec<_>, Vec<_>) =
            self.files().into_iter().partition(|file| touched(&lock(&file.state)));
        let mut changed = false;
        for file in &spoken_of {
            alone_with(file, || {
                self.arm(file);
                changed |= file.look(true);
            });
        }
        if std::mem::take(&mut changed) {
            self.tell();
        }
        for file in &others {
            alone_with(file, || changed |= file.look(false));
        }
        if changed {
            self.tell();
        }
        let mut inner = self.lock();
        let files = self.files();
        let needed: BTreeSet<PathBuf> = files.iter().flat_map(|file| lock(&file.state).directories.clone()).collect();
        let idle: Vec<PathBuf> = inner.directories.difference(&needed).cloned().collect();
        for directory in idle {
            inner.directories.remove(&directory);
            unwatch(&mut inner, &directory);
        }
    }

    /// Wakes those who read files.
    fn tell(&self) {
        self.generation.send_modify(|generation| *generation += 1);
    }

    fn files(&self) -> Vec<Arc<WatchedFile>> {
        lock(&self.files).values().map(Arc::clone).collect()
    }

    fn is_used_up(&self) -> bool {
        matches!(self.lock().kernel, KernelWatches::UsedUp)
    }

    fn used_up(&self, told: &mut bool, error: &notify::Error) -> KernelWatches {
        if !std::mem::replace(told, true) {
            tracing::warn!(
                %error, poll_s = POLL_INSTEAD.as_secs(),
                "the kernel gives no more file watches (fs.inotify.max_user_watches, max_user_instances); files are polled instead"
            );
            // Whoever runs the watcher learns that he has to poll.
            self.events.arrived.notify_one();
        }
        KernelWatches::UsedUp
    }

    fn lock(&self) -> MutexGuard<'_, WatcherState> {
        lock(&self.inner)
    }
}

/// Whether a directory itself was the subject of an event, not only something in it.
fn is_moved(dirty: &BTreeSet<PathBuf>, directory: &Path) -> bool {
    directory.parent().is_some_and(|parent| dirty.contains(parent))
}

/// Looks at a file unless somebody else does, who may stand before a file system that hangs.
fn alone_with(file: &WatchedFile, look: impl FnOnce()) {
    if !file.looked_at.swap(true, Ordering::AcqRel) {
        look();
        file.looked_at.store(false, Ordering::Release);
    }
}

fn unwatch(inner: &mut WatcherState, directory: &Path) {
    if let KernelWatches::Watches(watcher) = &mut inner.kernel {
        // It may have gone with its directory.
        let _ = watcher.unwatch(directory);
    }
}

fn is_used_up(error: &notify::Error) -> bool {
    match &error.kind {
        notify::ErrorKind::MaxFilesWatch => true,
        notify::ErrorKind::Io(error) => {
            matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
        }
        _ => false,
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Where every program that starts opens something, which wakes whoever watches (notify always asks to hear of it). A
/// folder that is missing there, such as `/etc/credenza`, is looked for by the poll alone.
const EVERYBODYS: [&str; 2] = ["/", "/etc"];

/// The directories in which a change could put another file at the path: those of each link on the way, and the one of
/// the file itself or, as long as that is missing, the nearest one that exists.
fn directories(path: &Path) -> BTreeSet<PathBuf> {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let mut directories = BTreeSet::new();
    let mut ahead: VecDeque<OsString> = names(&absolute);
    let (mut here, mut links) = (PathBuf::from("/"), 0);
    while let Some(name) = ahead.pop_front() {
        if name == ".." {
            here.pop();
            continue;
        }
        let there = here.join(&name);
        match there.symlink_metadata() {
            Ok(meta) if meta.is_symlink() => {
                directories.insert(here.clone());
                links += 1;
                let Ok(target) = there.read_link() else { break };
                if links > LINKS {
                    break;
                }
                if target.is_absolute() {
                    here = PathBuf::from("/");
                }
                for name in names(&target).into_iter().rev() {
                    ahead.push_front(name);
                }
            }
            Ok(meta) if meta.is_dir() && !ahead.is_empty() => here = there,
            _ => {
                if ahead.is_empty() || !EVERYBODYS.iter().any(|busy| here == Path::new(busy)) {
                    directories.insert(here.clone());
                }
                break;
            }
        }
    }
    directories
}

fn names(path: &Path) -> VecDeque<OsString> {
    path.components()
        .filter_map(|component| match component {
            Component::Normal(name) => Some(name.to_owned()),
            Component::ParentDir => Some("..".into()),
            Component::Prefix(_) | Component::RootDir | Component::CurDir => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn every_directory_in_which_a_change_counts() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        fs::create_dir_all(root.join("volume/v1")).unwrap();
        fs::write(root.join("volume/v1/key"), "").unwrap();
        symlink("v1", root.join("volume/..data")).unwrap();
        symlink("..data/key", root.join("volume/key")).unwrap();
        symlink(root.join("volume/key"), root.join("link")).unwrap();
        symlink("loop", root.join("loop")).unwrap();
        let table: &[(&str, &[&str])] = &[
            ("volume/v1/key", &["volume/v1"]),
            ("volume/key", &["volume", "volume/v1"]),
            ("link", &["", "volume", "volume/v1"]),
            ("absent/deep/file", &[""]),
            ("volume/../absent", &[""]),
            ("loop", &[""]),
        ];
        for (path, expected) in table {
            let expected: BTreeSet<PathBuf> =
                expected.iter().map(|name| root.join(name).components().collect()).collect();
            assert_eq!(directories(&root.join(path)), expected, "{path}");
        }
        for (path, expected) in [("/etc/absent/file", None), ("/absent/file", None), ("/etc/absent", Some("/etc"))] {
            assert_eq!(directories(Path::new(path)), expected.map(PathBuf::from).into_iter().collect(), "{path}");
        }
    }
}
