//! The seats of one protocol: how many connections there may be at once, and who goes when all are taken.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// So many connections that proved nothing are closed, the oldest first, when the kernel refuses another: files have to
/// be read, too.
const RELIEF: usize = 16;

/// All connections.
#[derive(Debug)]
pub(crate) struct ConnectionLimit {
    limit: usize,
    open: Mutex<OpenConnections>,
    freed: Notify,
}

#[derive(Debug, Default)]
struct OpenConnections {
    /// The number of the newest.
    newest: u64,
    /// Oldest first.
    places: BTreeMap<u64, Arc<OpenConnection>>,
    /// How many have been told to go and are still there.
    leaving: usize,
}

/// The place of one connection.
#[derive(Debug, Default)]
pub(crate) struct OpenConnection {
    /// Whether a client has proven itself on it.
    pub(crate) authorized: AtomicBool,
    /// Whether a request is being answered.
    pub(crate) busy: AtomicBool,
    /// Set when a request begins.
    pub(crate) begun: AtomicBool,
    /// Set when an answer is ready: the client has to send the next head.
    pub(crate) answered: AtomicBool,
    /// Set before `evicted` is told.
    must_go: AtomicBool,
    pub(crate) evicted: Notify,
}

/// Frees its place when the connection ends, however it does.
pub(crate) struct ConnectionSlot {
    number: u64,
    pub(crate) place: Arc<OpenConnection>,
    connection_limit: Arc<ConnectionLimit>,
}

impl ConnectionLimit {
    /// So many at once, and one at least.
    pub(crate) fn new(limit: usize) -> Self {
        Self { limit: limit.max(1), open: Mutex::default(), freed: Notify::new() }
    }

    /// A seat for a new connection. When all are taken the oldest one that has not been admitted has to go; when all
    /// have been, the new one waits.
    pub(crate) async fn connection_slot(self: &Arc<Self>) -> ConnectionSlot {
        loop {
            let freed = self.freed.notified();
            if let Some(connection_slot) = self.try_slot() {
                return connection_slot;
            }
            freed.await;
        }
    }

    fn try_slot(self: &Arc<Self>) -> Option<ConnectionSlot> {
        let mut open = self.open();
        if open.places.len() + open.leaving >= self.limit {
            if open.leaving == 0 {
                open.evict();
            }
            return None;
        }
        open.newest += 1;
        let (number, place) = (open.newest, Arc::<OpenConnection>::default());
        open.places.insert(number, Arc::clone(&place));
        Some(ConnectionSlot { number, place, connection_limit: Arc::clone(self) })
    }

    /// Makes room for more than one.
    pub(crate) fn relieve(&self) {
        let mut open = self.open();
        for _ in open.leaving..RELIEF {
            open.evict();
        }
    }

    fn open(&self) -> MutexGuard<'_, OpenConnections> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl OpenConnections {
    /// Tells the oldest connection that has not been admitted to go, if there is one.
    fn evict(&mut self) {
        let mut places = self.places.iter();
        let oldest = places.find(|(_, place)| !place.authorized.load(Ordering::Relaxed)).map(|(number, _)| *number);
        if let Some(place) = oldest.and_then(|number| self.places.remove(&number)) {
            self.leaving += 1;
            place.must_go.store(true, Ordering::Release);
            place.evicted.notify_one();
        }
    }
}

impl OpenConnection {
    /// Whether the connection has been told to make room.
    pub(crate) fn must_go(&self) -> bool {
        self.must_go.load(Ordering::Acquire)
    }
}

/// While it lives, a request is being answered.
pub(crate) struct BusyGuard(Arc<OpenConnection>);

impl BusyGuard {
    pub(crate) fn new(place: &Arc<OpenConnection>) -> Self {
        place.busy.store(true, Ordering::Relaxed);
        Self(Arc::clone(place))
    }
}

impl Drop for BusyGuard {
    fn drop(&mut self) {
        self.0.busy.store(false, Ordering::Relaxed);
        self.0.answered.store(true, Ordering::Relaxed);
    }
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        let mut open = self.connection_limit.open();
        if open.places.remove(&self.number).is_none() {
            open.leaving -= 1;
        }
        drop(open);
        self.connection_limit.freed.notify_waiters();
    }
}
