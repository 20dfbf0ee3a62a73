//! Watches the directories of the files that were read. The events of a directory make new versions of its files.
//!
//! A new version means that readers should read the file again and compare the content.

mod directories;
pub(crate) mod file;

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use crate::os::files::watcher::directories::{MAX_LINKS, directories};
use crate::os::files::watcher::file::{WatchState, WatchedFile};

/// The wait after the first event of a change, since its events come in bursts.
const BURST: Duration = Duration::from_millis(150);

/// The interval of polling, in addition to events. The kernel sends no event for a change by another machine on a
/// network file system.
const POLL: Duration = Duration::from_secs(30);

/// The interval of polling while the kernel has no watches left and sends no events.
const POLL_WITHOUT_WATCHES: Duration = Duration::from_secs(5);

/// The maximum time of one check. A check that takes longer hangs in a file system, and the next check skips that file.
const CHECK_TIMEOUT: Duration = Duration::from_secs(5);

/// The files of this process that are watched.
#[derive(Debug)]
pub(crate) struct WatchRegistry {
    /// This lock is held for moments only, never during an access to a file system.
    files: Mutex<HashMap<PathBuf, Arc<WatchedFile>>>,
    /// This lock is held while the kernel begins to watch a directory. A check has accessed the directory before, so it
    /// should not hang.
    inner: Mutex<WatcherState>,
    /// Shared with the thread that receives the events of the kernel.
    events: Arc<Events>,
    generation: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct WatcherState {
    directories: BTreeSet<PathBuf>,
    kernel: KernelWatches,
    /// True if the warning about missing watches has been logged.
    has_warned: bool,
}

#[derive(Debug, Default)]
enum KernelWatches {
    #[default]
    NotAsked,
    Watches(RecommendedWatcher),
    /// The kernel has no watches left. Each poll tries again.
    UsedUp,
    /// A test: the kernel never gives watches.
    #[cfg(test)]
    Deaf,
}

#[derive(Debug, Default)]
struct Events {
    dirty: Mutex<BTreeSet<PathBuf>>,
    arrived: Notify,
}

/// The task that makes new versions from events. Readers see no changes unless it runs.
#[derive(Debug)]
pub(crate) struct Watcher {
    registry: Option<Arc<WatchRegistry>>,
    poll: Duration,
}

impl Watcher {
    /// Returns a watcher without files.
    #[must_use]
    pub(crate) fn none() -> Self {
        Self { registry: None, poll: POLL }
    }

    /// Returns a watcher and the registry of its files.
    pub(crate) fn new() -> (Arc<WatchRegistry>, Self) {
        let registry = Arc::new(WatchRegistry {
            files: Mutex::default(),
            inner: Mutex::default(),
            events: Arc::default(),
            generation: watch::Sender::new(0),
        });
        (Arc::clone(&registry), Self { registry: Some(registry), poll: POLL })
    }

    /// Sets the interval of polling.
    #[cfg(test)]
    pub(crate) fn polling(mut self, poll: Duration) -> Self {
        self.poll = poll;
        self
    }

    /// Simulates a kernel that gives no watches.
    #[cfg(test)]
    pub(crate) fn deaf(self) -> Self {
        if let Some(registry) = &self.registry {
            registry.lock().kernel = KernelWatches::Deaf;
        }
        self
    }

    /// Watches forever.
    pub(crate) async fn run(self) {
        let Some(registry) = self.registry else { return std::future::pending().await };
        let (mut polled, mut poll) = (Instant::now(), self.poll);
        loop {
            let is_poll = tokio::select! {
                () = registry.events.arrived.notified() => {
                    tokio::time::sleep(BURST).await;
                    false
                }
                () = tokio::time::sleep_until(polled + poll) => {
                    polled = Instant::now();
                    true
                }
            };
            // Run the check on another thread: a network file system may block it for long.
            let checked = Arc::clone(&registry);
            let check = tokio::task::spawn_blocking(move || {
                if is_poll {
                    checked.poll();
                } else {
                    checked.handle_events();
                }
                checked.is_used_up()
            });
            if let Ok(Ok(used_up)) = tokio::time::timeout(CHECK_TIMEOUT, check).await {
                poll = if used_up { self.poll.min(POLL_WITHOUT_WATCHES) } else { self.poll };
            }
        }
    }
}

impl WatchRegistry {
    /// Begins to watch a file, before it is read. Blocks on the file system.
    pub(crate) fn register(&self, path: &Path) -> Arc<WatchedFile> {
        let known = |files: &HashMap<PathBuf, Arc<WatchedFile>>| files.get(path).map(Arc::clone);
        if let Some(file) = known(&lock(&self.files)) {
            return file;
        }
        let file = Arc::new(WatchedFile::new(path));
        {
            let mut files = lock(&self.files);
            if let Some(file) = known(&files) {
                return file;
            }
            files.insert(path.to_owned(), Arc::clone(&file));
        }
        self.arm(&file);
        // Check at once: another reader may have read the file before this watch.
        self.check_now(&file);
        file
    }

    /// Checks one file, and wakes all readers if it has a new version. Blocks on the file system.
    pub(crate) fn check_now(&self, file: &WatchedFile) {
        if file.check(false) {
            self.wake();
        }
    }

    /// Returns a receiver that changes whenever a file has a new version.
    pub(crate) fn generation(&self) -> watch::Receiver<u64> {
        self.generation.subscribe()
    }

    /// Watches all directories in which a change could put another file at this path. The second round finds
    /// directories that were created during the first.
    fn arm(&self, file: &WatchedFile) {
        for _ in 0..MAX_LINKS {
            let wanted = directories(file.path());
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
                Err(error) => self.used_up(&mut inner.has_warned, &error),
            };
        }
        if let KernelWatches::Watches(watcher) = &mut inner.kernel {
            match watcher.watch(&directory, RecursiveMode::NonRecursive) {
                Ok(()) => {}
                Err(notify::Error { kind: notify::ErrorKind::PathNotFound, .. }) => return,
                Err(error) if is_used_up(&error) => inner.kernel = self.used_up(&mut inner.has_warned, &error),
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
            // An error of the kernel's queue may hide any event: check all files.
            let event = event.unwrap_or_else(|_| notify::Event::default().set_flag(notify::event::Flag::Rescan));
            if matches!(event.kind, EventKind::Access(_)) && !event.need_rescan() {
                return;
            }
            let mut dirty = lock(&events.dirty);
            if event.need_rescan() {
                // The kernel has lost events: mark the root directory, which means all files.
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

    /// Checks the files that the events were about.
    fn handle_events(&self) {
        let dirty = std::mem::take(&mut *lock(&self.events.dirty));
        let everything = dirty.contains(Path::new("/"));
        let mut inner = self.lock();
        // Drop the watch of a directory that was moved or removed: another directory may have its name now. The check
        // below watches it anew.
        for directory in &dirty {
            let was_watched = inner.directories.remove(directory);
            if was_watched && (!directory.is_dir() || is_moved(&dirty, directory)) {
                unwatch(&mut inner, directory);
            }
        }
        drop(inner);
        self.check(|state| everything || state.directories.iter().any(|directory| dirty.contains(directory)));
    }

    /// Checks all files.
    fn poll(&self) {
        let asks_again = self.is_used_up();
        if asks_again && let Ok(watcher) = self.ask_kernel() {
            // The kernel gives watches again: forget the old ones, so that the check below watches all directories
            // anew.
            let mut inner = self.lock();
            inner.kernel = KernelWatches::Watches(watcher);
            inner.directories.clear();
        }
        for file in self.files() {
            file.check_alone(|| self.arm(&file));
        }
        let mut inner = self.lock();
        if asks_again && matches!(inner.kernel, KernelWatches::Watches(_)) {
            inner.has_warned = false;
            tracing::info!("the kernel gives file watches again; files are watched");
        }
        drop(inner);
        self.check(|_| false);
    }

    /// Checks all files. A file gets a new version if an event was about it, or if its metadata has changed. Files
    /// without readers are dropped.
    fn check(&self, touched: impl Fn(&WatchState) -> bool) {
        lock(&self.files).retain(|_, file| Arc::strong_count(file) > 1);
        // Check files with events first: their file systems are known to respond.
        let (with_events, others): (Vec<_>, Vec<_>) =
            self.files().into_iter().partition(|file| touched(&lock(&file.state)));
        let mut changed = false;
        for file in &with_events {
            file.check_alone(|| {
                self.arm(file);
                changed |= file.check(true);
            });
        }
        if std::mem::take(&mut changed) {
            self.wake();
        }
        for file in &others {
            file.check_alone(|| changed |= file.check(false));
        }
        if changed {
            self.wake();
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

    /// Wakes all readers.
    fn wake(&self) {
        self.generation.send_modify(|generation| *generation += 1);
    }

    fn files(&self) -> Vec<Arc<WatchedFile>> {
        lock(&self.files).values().map(Arc::clone).collect()
    }

    fn is_used_up(&self) -> bool {
        matches!(self.lock().kernel, KernelWatches::UsedUp)
    }

    fn used_up(&self, has_warned: &mut bool, error: &notify::Error) -> KernelWatches {
        if !std::mem::replace(has_warned, true) {
            tracing::warn!(
                %error, poll_s = POLL_WITHOUT_WATCHES.as_secs(),
                "the kernel gives no more file watches (fs.inotify.max_user_watches, max_user_instances); files are polled instead"
            );
            // Wake the watcher, which then polls at the shorter interval.
            self.events.arrived.notify_one();
        }
        KernelWatches::UsedUp
    }

    fn lock(&self) -> MutexGuard<'_, WatcherState> {
        lock(&self.inner)
    }
}

/// Returns true if an event was about the directory itself, not only about its entries.
fn is_moved(dirty: &BTreeSet<PathBuf>, directory: &Path) -> bool {
    directory.parent().is_some_and(|parent| dirty.contains(parent))
}

fn unwatch(inner: &mut WatcherState, directory: &Path) {
    if let KernelWatches::Watches(watcher) = &mut inner.kernel {
        // Ignore errors: the watch may have ended with its directory.
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
