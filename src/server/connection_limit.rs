//! The connection limit of one protocol: its slots, and the eviction of unauthorized connections when all are taken. The
//! number and its bounds are `max_connections` of `config/server.rs`.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// The number of unauthorized connections that are evicted when the kernel refuses a connection. More than one is
/// evicted, because sources need file descriptors too.
const EVICTED_AT_ONCE: usize = 16;

#[derive(Debug)]
pub(crate) struct ConnectionLimit {
    limit: usize,
    connections: Mutex<OpenConnections>,
    slot_freed: Notify,
}

#[derive(Debug, Default)]
struct OpenConnections {
    /// The number of the newest connection.
    newest: u64,
    /// The connections that are not evicted, oldest first.
    by_number: BTreeMap<u64, Arc<OpenConnection>>,
    /// The number of connections that were evicted and are still open.
    leaving: usize,
}

/// The state that a connection shares with the connection limit.
#[derive(Debug, Default)]
pub(crate) struct OpenConnection {
    /// True once a client has sent a valid token on the connection.
    pub(crate) authorized: AtomicBool,
    /// True while a request is being answered.
    pub(crate) busy: AtomicBool,
    /// Set when the first request begins, and never cleared.
    pub(crate) begun: AtomicBool,
    /// Set when a response is ready. The header timeout then starts for the next request head.
    pub(crate) answered: AtomicBool,
    /// True if the connection is evicted. It is set before `evicted` is notified.
    is_evicted: AtomicBool,
    pub(crate) evicted: Notify,
}

/// The slot of one connection. Dropping it frees the slot.
pub(crate) struct ConnectionSlot {
    number: u64,
    pub(crate) open: Arc<OpenConnection>,
    limit: Arc<ConnectionLimit>,
}

impl ConnectionLimit {
    /// Allows `limit` connections, and at least one.
    pub(crate) fn new(limit: usize) -> Self {
        Self { limit: limit.max(1), connections: Mutex::default(), slot_freed: Notify::new() }
    }

    /// Takes a slot for a new connection. If all slots are taken, the oldest unauthorized connection is evicted; if all
    /// connections are authorized, the new one waits.
    pub(crate) async fn take_slot(self: &Arc<Self>) -> ConnectionSlot {
        loop {
            let slot_freed = self.slot_freed.notified();
            if let Some(slot) = self.try_take_slot() {
                return slot;
            }
            slot_freed.await;
        }
    }

    fn try_take_slot(self: &Arc<Self>) -> Option<ConnectionSlot> {
        let mut connections = self.connections();
        if connections.by_number.len() + connections.leaving >= self.limit {
            if connections.leaving == 0 {
                connections.evict();
            }
            return None;
        }
        connections.newest += 1;
        let (number, open) = (connections.newest, Arc::<OpenConnection>::default());
        connections.by_number.insert(number, Arc::clone(&open));
        Some(ConnectionSlot { number, open, limit: Arc::clone(self) })
    }

    /// Evicts unauthorized connections until [`EVICTED_AT_ONCE`] of them are leaving.
    pub(crate) fn evict_several(&self) {
        let mut connections = self.connections();
        for _ in connections.leaving..EVICTED_AT_ONCE {
            connections.evict();
        }
    }

    fn connections(&self) -> MutexGuard<'_, OpenConnections> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl OpenConnections {
    /// Evicts the oldest unauthorized connection, if there is one.
    fn evict(&mut self) {
        let mut oldest_first = self.by_number.iter();
        let oldest = oldest_first.find(|(_, open)| !open.authorized.load(Ordering::Relaxed)).map(|(number, _)| *number);
        if let Some(open) = oldest.and_then(|number| self.by_number.remove(&number)) {
            self.leaving += 1;
            open.is_evicted.store(true, Ordering::Release);
            open.evicted.notify_one();
        }
    }
}

impl OpenConnection {
    /// Returns true if the connection has to close to free its slot.
    pub(crate) fn is_evicted(&self) -> bool {
        self.is_evicted.load(Ordering::Acquire)
    }
}

/// Marks a connection as busy. Dropping it ends the mark.
pub(crate) struct BusyGuard(Arc<OpenConnection>);

impl BusyGuard {
    pub(crate) fn new(open: &Arc<OpenConnection>) -> Self {
        open.busy.store(true, Ordering::Relaxed);
        Self(Arc::clone(open))
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
        let mut connections = self.limit.connections();
        if connections.by_number.remove(&self.number).is_none() {
            connections.leaving -= 1;
        }
        drop(connections);
        self.limit.slot_freed.notify_waiters();
    }
}
