//! Directories that hold files which were read: their events, settled, become new versions of those files. What is in
//! a file decides elsewhere; here an event is only a reason to look.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::ffi::OsString;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

/// Events of one change come in bursts; this long after the first of them everybody looks.
const SETTLE: Duration = Duration::from_millis(150);

/// How often files are looked at where the kernel tells nothing: network file systems, or no watches left.
const POLL: Duration = Duration::from_secs(30);

/// Links on the way to a file, as many as Linux follows.
const LINKS: usize = 40;

/// A file that somebody reads.
#[derive(Debug)]
pub(crate) struct Watched {
    path: PathBuf,
    version: AtomicU64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    directories: BTreeSet<PathBuf>,
    signature: Option<Signature>,
}

impl Watched {
    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// A number that grows whenever there is a reason to look at the file.
    pub(crate) fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }
}

/// What the file system says of a file without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Signature {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Signature {
    /// `None` when there is no file.
    pub(crate) fn of(path: &Path) -> Option<Self> {
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
pub(crate) struct Registry {
    inner: Mutex<Inner>,
    /// Shared with the thread that takes the kernel's events.
    events: Arc<Events>,
    generation: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Inner {
    files: HashMap<PathBuf, Arc<Watched>>,
    directories: BTreeSet<PathBuf>,
    kernel: Kernel,
    told: bool,
}

#[derive(Debug, Default)]
enum Kernel {
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
pub struct Watcher {
    registry: Option<Arc<Registry>>,
    poll: Duration,
}

impl Watcher {
    /// A watcher of nothing.
    #[must_use]
    pub fn none() -> Self {
        Self { registry: None, poll: POLL }
    }

    /// A watcher and the registry of what it watches.
    pub(crate) fn new() -> (Arc<Registry>, Self) {
        let registry =
            Arc::new(Registry { inner: Mutex::default(), events: Arc::default(), generation: watch::Sender::new(0) });
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
            registry.lock().kernel = Kernel::Deaf;
        }
        self
    }

    /// Watches for ever.
    pub async fn run(self) {
        let Some(registry) = self.registry else { return std::future::pending().await };
        let mut next_poll = Instant::now() + self.poll;
        loop {
            let polled = tokio::select! {
                () = registry.events.arrived.notified() => {
                    tokio::time::sleep(SETTLE).await;
                    false
                }
                () = tokio::time::sleep_until(next_poll) => {
                    next_poll = Instant::now() + self.poll;
                    true
                }
            };
            // Looking at paths may block, on a network file system for long.
            let looking = Arc::clone(&registry);
            let _ = tokio::task::spawn_blocking(move || if polled { looking.poll() } else { looking.settle() }).await;
        }
    }
}

impl Registry {
    /// Begins to watch a file, before it is read. It may block.
    pub(crate) fn register(&self, path: &Path) -> Arc<Watched> {
        let mut inner = self.lock();
        if let Some(file) = inner.files.get(path) {
            return Arc::clone(file);
        }
        let file = Arc::new(Watched { path: path.to_owned(), version: AtomicU64::new(0), state: Mutex::default() });
        inner.files.insert(path.to_owned(), Arc::clone(&file));
        self.arm(&mut inner, &file);
        lock(&file.state).signature = Signature::of(path);
        file
    }

    /// Changes whenever the version of some file did.
    pub(crate) fn generation(&self) -> watch::Receiver<u64> {
        self.generation.subscribe()
    }

    /// Watches all directories in which a change could make another file of this path. What is made while the watches
    /// are set up is seen by the second look.
    fn arm(&self, inner: &mut Inner, file: &Watched) {
        for _ in 0..LINKS {
            let wanted = directories(&file.path);
            let mut state = lock(&file.state);
            let fresh: Vec<PathBuf> =
                wanted.iter().filter(|directory| !inner.directories.contains(*directory)).cloned().collect();
            let settled = fresh.is_empty() && state.directories == wanted;
            state.directories = wanted;
            drop(state);
            if settled {
                return;
            }
            for directory in fresh {
                self.watch(inner, directory);
            }
        }
    }

    fn watch(&self, inner: &mut Inner, directory: PathBuf) {
        if matches!(inner.kernel, Kernel::NotAsked) {
            inner.kernel = match self.ask_kernel() {
                Ok(watcher) => Kernel::Watches(watcher),
                Err(error) => used_up(&mut inner.told, &error),
            };
        }
        if let Kernel::Watches(watcher) = &mut inner.kernel {
            match watcher.watch(&directory, RecursiveMode::NonRecursive) {
                Ok(()) => {}
                Err(notify::Error { kind: notify::ErrorKind::PathNotFound, .. }) => return,
                Err(error) if is_used_up(&error) => inner.kernel = used_up(&mut inner.told, &error),
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
        self.look(inner, |state| everything || state.directories.iter().any(|directory| dirty.contains(directory)));
    }

    /// Looks at everything, as the file system shows it.
    fn poll(&self) {
        let mut inner = self.lock();
        if matches!(inner.kernel, Kernel::UsedUp) {
            // There may be watches again.
            if let Ok(watcher) = self.ask_kernel() {
                inner.kernel = Kernel::Watches(watcher);
                inner.directories.clear();
            }
        }
        let files: Vec<Arc<Watched>> = inner.files.values().map(Arc::clone).collect();
        for file in files {
            self.arm(&mut inner, &file);
        }
        self.look(inner, |_| false);
    }

    /// Gives a new version to each file that was touched, or that looks other than before; forgets those that nobody
    /// reads any more.
    fn look(&self, mut inner: MutexGuard<'_, Inner>, touched: impl Fn(&State) -> bool) {
        inner.files.retain(|_, file| Arc::strong_count(file) > 1);
        let files: Vec<Arc<Watched>> = inner.files.values().map(Arc::clone).collect();
        let mut changed = false;
        for file in &files {
            let before = touched(&lock(&file.state));
            if before {
                self.arm(&mut inner, file);
            }
            let signature = Signature::of(&file.path);
            let mut state = lock(&file.state);
            if before || state.signature != signature {
                state.signature = signature;
                file.version.fetch_add(1, Ordering::AcqRel);
                changed = true;
            }
        }
        let needed: BTreeSet<PathBuf> = files.iter().flat_map(|file| lock(&file.state).directories.clone()).collect();
        let idle: Vec<PathBuf> = inner.directories.difference(&needed).cloned().collect();
        for directory in idle {
            inner.directories.remove(&directory);
            unwatch(&mut inner, &directory);
        }
        drop(inner);
        if changed {
            self.generation.send_modify(|generation| *generation += 1);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        lock(&self.inner)
    }
}

/// Whether a directory itself was the subject of an event, not only something in it.
fn is_moved(dirty: &BTreeSet<PathBuf>, directory: &Path) -> bool {
    directory.parent().is_some_and(|parent| dirty.contains(parent))
}

fn unwatch(inner: &mut Inner, directory: &Path) {
    if let Kernel::Watches(watcher) = &mut inner.kernel {
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

fn used_up(told: &mut bool, error: &notify::Error) -> Kernel {
    if !std::mem::replace(told, true) {
        tracing::warn!(
            %error, poll_s = POLL.as_secs(),
            "the kernel gives no more file watches (fs.inotify.max_user_watches, max_user_instances); files are polled instead"
        );
    }
    Kernel::UsedUp
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

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
                directories.insert(here.clone());
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
    }
}
