//! One piece of work for all concurrent callers of a key.
//!
//! It is in `os`, because the files of this module and the caches above it use it.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::OwnedMutexGuard;
use tokio::time::timeout;

/// The state of one key. The caller that holds the lock does the work for all waiting callers, and leaves the result in
/// the state. If that caller is dropped, the next caller gets the lock.
pub(crate) type Flight<S> = Arc<tokio::sync::Mutex<S>>;

/// The flights of a process, one for each key. It runs no task.
pub(crate) struct SingleFlight<K, S>(Mutex<HashMap<K, Flight<S>>>);

impl<K: Eq + Hash, S> SingleFlight<K, S> {
    /// Returns the flight of a key, and begins one with the state `new` if the key has no flight. A new flight removes
    /// the flights that no caller holds, unless `keep` returns true for their state.
    pub(crate) fn flight<Q>(&self, key: &Q, new: impl FnOnce() -> S, keep: impl Fn(&S) -> bool) -> Flight<S>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ToOwned<Owned = K> + ?Sized,
    {
        let mut flights = self.flights();
        if let Some(flight) = flights.get(key) {
            return Arc::clone(flight);
        }
        flights.retain(|_, flight| Arc::strong_count(flight) > 1 || flight.try_lock().is_ok_and(|state| keep(&state)));
        let flight = Flight::new(tokio::sync::Mutex::new(new()));
        flights.insert(key.to_owned(), Arc::clone(&flight));
        flight
    }

    /// Locks the flight of a key. After a wait of `longest` the holder counts as stuck, and the key gets a new flight
    /// with an empty state. One of the callers that have waited so long does the work for the others.
    pub(crate) async fn lock<Q>(&self, key: &Q, longest: Duration, keep: impl Fn(&S) -> bool) -> OwnedMutexGuard<S>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ToOwned<Owned = K> + ?Sized,
        S: Default,
    {
        let flight = self.flight(key, S::default, keep);
        match timeout(longest, Arc::clone(&flight).lock_owned()).await {
            Ok(state) => state,
            Err(_) => self.pass_by(key, &flight).lock_owned().await,
        }
    }

    /// Returns the flight that replaces the `stuck` one. All callers that have waited too long share it.
    fn pass_by<Q>(&self, key: &Q, stuck: &Flight<S>) -> Flight<S>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ToOwned<Owned = K> + ?Sized,
        S: Default,
    {
        let mut flights = self.flights();
        match flights.get(key) {
            Some(other) if !Arc::ptr_eq(other, stuck) => Arc::clone(other),
            _ => {
                let flight = Flight::<S>::default();
                flights.insert(key.to_owned(), Arc::clone(&flight));
                flight
            }
        }
    }

    /// Visits the state of each flight that no caller has locked.
    pub(crate) fn visit_idle(&self, mut visit: impl FnMut(&mut S)) {
        for flight in self.flights().values() {
            if let Ok(mut state) = flight.try_lock() {
                visit(&mut state);
            }
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.flights().len()
    }

    fn flights(&self) -> MutexGuard<'_, HashMap<K, Flight<S>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K, S> Default for SingleFlight<K, S> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Eq + Hash, S> fmt::Debug for SingleFlight<K, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SingleFlight").field("keys", &self.len()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::time::{Instant, sleep};

    use super::*;

    const LONG: Duration = Duration::MAX;
    const SECOND: Duration = Duration::from_secs(1);

    type Flights = SingleFlight<String, usize>;

    /// Works for `time` unless a caller before has left a result.
    async fn work(flights: &Flights, calls: &AtomicUsize, longest: Duration, time: Duration) -> usize {
        let mut state = flights.lock("key", longest, |_| false).await;
        if *state == 0 {
            let call = 1 + calls.fetch_add(1, Ordering::SeqCst);
            sleep(time).await;
            *state = call;
        }
        *state
    }

    #[tokio::test(start_paused = true)]
    async fn concurrent_callers_share_one_result() {
        let (flights, calls) = (Flights::default(), AtomicUsize::new(0));
        let work = || work(&flights, &calls, LONG, SECOND);
        assert_eq!(tokio::join!(work(), work(), work()), (1, 1, 1));
        assert_eq!(calls.load(Ordering::SeqCst), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn next_caller_works_when_the_first_is_dropped() {
        let (flights, calls) = (Flights::default(), AtomicUsize::new(0));
        let dropped = timeout(SECOND, work(&flights, &calls, LONG, 2 * SECOND)).await;
        assert!(dropped.is_err());
        assert_eq!(work(&flights, &calls, LONG, SECOND).await, 2);
    }

    #[tokio::test(start_paused = true)]
    async fn callers_that_waited_too_long_share_a_new_flight() {
        let (flights, calls) = (Flights::default(), AtomicUsize::new(0));
        let work = async |longest, time| (work(&flights, &calls, longest, time).await, Instant::now());
        let began = Instant::now();
        let outcomes =
            tokio::join!(work(LONG, 8 * SECOND), work(SECOND, SECOND), work(SECOND, SECOND), work(LONG, SECOND),);
        let after = |seconds| began + seconds * SECOND;
        assert_eq!(outcomes, ((1, after(8)), (2, after(2)), (2, after(2)), (1, after(8))));
    }

    #[test]
    fn new_flight_removes_idle_ones_unless_kept() {
        let flights = Flights::default();
        let held = flights.flight("held", || 1, |_| false);
        for (key, state) in [("kept", 2), ("removed", 3)] {
            drop(flights.flight(key, || state, |state| *state == 2));
        }
        drop(flights.flight("new", || 4, |state| *state == 2));
        assert_eq!(flights.len(), 3);
        assert!(Arc::ptr_eq(&held, &flights.flight("held", || 0, |_| false)));
        assert_eq!(*flights.flight("kept", || 0, |_| true).try_lock().unwrap(), 2);
        assert_eq!(*flights.flight("removed", || 0, |_| true).try_lock().unwrap(), 0);
    }

    #[test]
    fn visits_only_flights_that_are_not_locked() {
        let flights = Flights::default();
        let locked = flights.flight("locked", || 1, |_| true);
        drop(flights.flight("idle", || 1, |_| true));
        let locked = locked.try_lock().unwrap();
        flights.visit_idle(|state| *state += 1);
        assert_eq!((*locked, *flights.flight("idle", || 0, |_| true).try_lock().unwrap()), (1, 2));
    }
}
