//! The state of a lease, as its refresher publishes it.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use crate::lease::Lease;
use crate::model::error::SourceError;
use crate::model::outcome::Attempt;

/// The state that a refresher publishes.
#[derive(Clone, Debug, Default)]
pub(crate) struct LeaseState {
    /// The last lease. It may have expired.
    pub(crate) lease: Option<Arc<Lease>>,
    /// The reason why the last load gave no fresh lease.
    pub(crate) error: Option<LeaseError>,
    pub(crate) refresh: RefreshState,
    /// The outcome of each source at the last load, in order of precedence.
    pub(crate) attempts: Arc<[Attempt]>,
    /// The region. The outer `None` means that no client has requested the region yet; the inner `None`, that no source
    /// knows it.
    pub(crate) region: Option<Option<Box<str>>>,
    /// True if the identity is loaded at the start and counts for readiness.
    pub(crate) eager: bool,
    /// True if the identity is a served profile, not an entry of credenza.toml.
    pub(crate) is_profile: bool,
}

/// The reason why an identity has no fresh lease.
#[derive(Clone, Debug)]
pub(crate) enum LeaseError {
    NotConfigured,
    Failed {
        source: Arc<str>,
        error: SourceError,
        /// The time of the first failure in this row.
        since: SystemTime,
        /// The number of failed loads in a row.
        times: u32,
    },
}

/// The current activity of a refresher.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum RefreshState {
    /// The refresher has not loaded yet. The first request starts the load.
    #[default]
    NotLoaded,
    Loading {
        /// The start of the load, on the monotonic clock.
        since: Instant,
        limit: Duration,
    },
    /// The refresher holds a lease and waits for the next refresh.
    Waiting { next: SystemTime },
    /// The refresher pauses after a failure. Requests do not shorten the pause.
    BackingOff { next: SystemTime },
}

impl LeaseState {
    /// Returns the lease if it may be served at `now`.
    pub(crate) fn usable(&self, now: SystemTime) -> Option<&Arc<Lease>> {
        self.lease.as_ref().filter(|lease| lease.is_usable(now))
    }

    /// Returns true if the first load of an eager identity has not ended.
    pub(super) fn awaits_first_load(&self) -> bool {
        self.eager && self.attempts.is_empty() && self.error.is_none()
    }
}

/// The delay after which a refresher counts as stuck. Normal delays are shorter: a busy machine, the tick that notices
/// a suspend, and the 60 s of a program.
const STUCK_AFTER: Duration = Duration::from_secs(120);

impl LeaseState {
    /// Returns true if the next step of the refresher is overdue by [`STUCK_AFTER`].
    pub(super) fn is_stuck(&self, now: SystemTime, instant: Instant) -> bool {
        match self.refresh {
            RefreshState::NotLoaded => false,
            RefreshState::Loading { since, limit } => instant.saturating_duration_since(since) > limit + STUCK_AFTER,
            RefreshState::Waiting { next } | RefreshState::BackingOff { next } => now > next + STUCK_AFTER,
        }
    }
}
