//! The handle of a refresher: the server reads its lease, and wakes it for a reason.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use tokio::sync::{Notify, watch};

use crate::lease::state::LeaseState;

/// The handle by which the server reads the lease of a refresher and wakes it.
#[derive(Clone, Debug)]
pub(crate) struct LeaseHandle {
    pub(super) state: watch::Receiver<Arc<LeaseState>>,
    waker: Arc<RefresherWaker>,
    pub(super) per_client: PerClient,
    /// True if the refresher is stopped after a time without requests, so that each request is recorded.
    pub(super) stops_when_idle: bool,
}

/// The names that the sessions of an identity contain. Clients with different names do not share a lease.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct PerClient {
    /// True if a session name, tag or source identity contains `{client}`.
    pub(crate) client: bool,
    /// True if a session name, tag or source identity contains `{user}`.
    pub(crate) user: bool,
}

/// Wakes a refresher on request. The timer and changed inputs wake a refresher without this.
#[derive(Debug, Default)]
pub(crate) struct RefresherWaker {
    notify: Notify,
    reasons: AtomicU8,
    /// The time of the last request for the lease, in seconds since 1970.
    last_used: AtomicU64,
}

/// The reason why a refresher is woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum WakeReason {
    LeaseWanted = 1,
    RegionWanted = 2,
    Reload = 4,
}

impl LeaseHandle {
    /// Makes a handle, and the sender and the waker that its refresher owns.
    pub(crate) fn new(first: LeaseState) -> (watch::Sender<Arc<LeaseState>>, Arc<RefresherWaker>, Self) {
        let (sender, state) = watch::channel(Arc::new(first));
        let waker = Arc::new(RefresherWaker::default());
        (sender, Arc::clone(&waker), Self { state, waker, per_client: PerClient::default(), stops_when_idle: true })
    }

    /// Returns the handle of an identity with these names in its sessions.
    pub(crate) fn with_names(self, per_client: PerClient) -> Self {
        Self { per_client, ..self }
    }

    /// Returns the handle of a refresher that runs as long as its identity is configured.
    pub(crate) fn without_idle_stop(self) -> Self {
        Self { stops_when_idle: false, ..self }
    }

    pub(crate) fn state(&self) -> Arc<LeaseState> {
        Arc::clone(&self.state.borrow())
    }

    /// Returns the published state and marks it as seen: [`LeaseHandle::changed`] then waits for the next one.
    pub(crate) fn latest(&mut self) -> Arc<LeaseState> {
        Arc::clone(&self.state.borrow_and_update())
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.state.has_changed().is_err()
    }

    /// Records a request for the lease at `now`. Every request calls this, so it is a single atomic store.
    pub(crate) fn record_use(&self, now: SystemTime) {
        let seconds = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        self.waker.last_used.store(seconds, Ordering::Relaxed);
    }

    /// Returns the time from the last request to `now`. Zero if the clock was set back meanwhile.
    pub(crate) fn idle_time(&self, now: SystemTime) -> Duration {
        let last_used = SystemTime::UNIX_EPOCH + Duration::from_secs(self.waker.last_used.load(Ordering::Relaxed));
        now.duration_since(last_used).unwrap_or_default()
    }

    /// Wakes the refresher. A reason that is given twice before the refresher takes it counts once.
    pub(crate) fn wake(&self, reason: WakeReason) {
        self.waker.reasons.fetch_or(reason as u8, Ordering::AcqRel);
        self.waker.notify.notify_one();
    }

    /// Waits until the refresher publishes a state that neither [`LeaseHandle::latest`] nor this method has marked as
    /// seen.
    ///
    /// # Errors
    /// If the refresher has ended.
    pub(crate) async fn changed(&mut self) -> Result<(), watch::error::RecvError> {
        self.state.changed().await
    }
}

impl RefresherWaker {
    /// Waits until there is a reason to wake and takes all reasons.
    pub(crate) async fn wait(&self) -> WakeReasons {
        loop {
            self.notify.notified().await;
            let reasons = self.reasons.swap(0, Ordering::AcqRel);
            if reasons != 0 {
                return WakeReasons(reasons);
            }
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct WakeReasons(u8);

impl WakeReasons {
    pub(crate) fn contains(self, reason: WakeReason) -> bool {
        self.0 & reason as u8 != 0
    }
}
