//! The deadline of a load that waits for a program or a user.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The time that a source needs beyond the usual deadline of a load, because it waits for a program or a user.
#[derive(Clone, Debug, Default)]
pub(crate) struct Deadline(Arc<AtomicU64>);

impl Deadline {
    /// Extends the deadline of the current load to this time after its start. A shorter time has no effect.
    pub(crate) fn extend(&self, time: Duration) {
        self.0.fetch_max(u64::try_from(time.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Returns the longest extension since [`Deadline::reset`].
    pub(crate) fn extension(&self) -> Duration {
        Duration::from_millis(self.0.load(Ordering::Relaxed))
    }

    /// Removes the extension when a new load begins.
    pub(crate) fn reset(&self) {
        self.0.store(0, Ordering::Relaxed);
    }
}
