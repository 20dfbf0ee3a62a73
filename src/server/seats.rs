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
pub(super) struct Seats {
    limit: usize,
    open: Mutex<Open>,
    freed: Notify,
}

#[derive(Debug, Default)]
struct Open {
    /// The number of the newest.
    newest: u64,
    /// Oldest first.
    places: BTreeMap<u64, Arc<Place>>,
    /// How many have been told to go and are still there.
    leaving: usize,
}

/// The place of one connection.
#[derive(Debug, Default)]
pub(super) struct Place {
    /// Whether a client has proven itself on it.
    pub(super) admitted: AtomicBool,
    /// Whether a request is being answered.
    pub(super) busy: AtomicBool,
    /// Set when a request begins.
    pub(super) begun: AtomicBool,
    /// Set when an answer is ready: the client has to send the next head.
    pub(super) answered: AtomicBool,
    /// Set before `evicted` is told.
    must_go: AtomicBool,
    pub(super) evicted: Notify,
}

/// Frees its place when the connection ends, however it does.
pub(super) struct Seat {
    number: u64,
    pub(super) place: Arc<Place>,
    seats: Arc<Seats>,
}

impl Seats {
    /// So many at once, and one at least.
    pub(super) fn new(limit: usize) -> Self {
        Self { limit: limit.max(1), open: Mutex::default(), freed: Notify::new() }
    }

    /// A seat for a new connection. When all are taken the oldest one that has not been admitted has to go; when all
    /// have been, the new one waits.
    pub(super) async fn seat(self: &Arc<Self>) -> Seat {
        loop {
            let freed = self.freed.notified();
            if let Some(seat) = self.try_seat() {
                return seat;
            }
            freed.await;
        }
    }

    fn try_seat(self: &Arc<Self>) -> Option<Seat> {
        let mut open = self.open();
        if open.places.len() + open.leaving >= self.limit {
            if open.leaving == 0 {
                open.evict();
            }
            return None;
        }
        open.newest += 1;
        let (number, place) = (open.newest, Arc::<Place>::default());
        open.places.insert(number, Arc::clone(&place));
        Some(Seat { number, place, seats: Arc::clone(self) })
    }

    /// Makes room for more than one.
    pub(super) fn relieve(&self) {
        let mut open = self.open();
        for _ in open.leaving..RELIEF {
            open.evict();
        }
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Open {
    /// Tells the oldest connection that has not been admitted to go, if there is one.
    fn evict(&mut self) {
        let mut places = self.places.iter();
        let oldest = places.find(|(_, place)| !place.admitted.load(Ordering::Relaxed)).map(|(number, _)| *number);
        if let Some(place) = oldest.and_then(|number| self.places.remove(&number)) {
            self.leaving += 1;
            place.must_go.store(true, Ordering::Release);
            place.evicted.notify_one();
        }
    }
}

impl Place {
    /// Whether the connection has been told to make room.
    pub(super) fn must_go(&self) -> bool {
        self.must_go.load(Ordering::Acquire)
    }
}

/// While it lives, a request is being answered.
pub(super) struct Busy(Arc<Place>);

impl Busy {
    pub(super) fn new(place: &Arc<Place>) -> Self {
        place.busy.store(true, Ordering::Relaxed);
        Self(Arc::clone(place))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.busy.store(false, Ordering::Relaxed);
        self.0.answered.store(true, Ordering::Relaxed);
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut open = self.seats.open();
        if open.places.remove(&self.number).is_none() {
            open.leaving -= 1;
        }
        drop(open);
        self.seats.freed.notify_waiters();
    }
}
