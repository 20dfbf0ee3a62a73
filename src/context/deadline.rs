//! How long a load may take when a program or a person is waited for.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Time that a source asks for beyond the deadline of a load, because it waits for a program or a person.
#[derive(Clone, Debug, Default)]
pub(crate) struct Deadline(Arc<AtomicU64>);

impl Deadline {
    /// The load under way may take this long from its beginning, if that is longer than its deadline.
    pub(crate) fn extend(&self, time: Duration) {
        self.0.fetch_max(u64::try_from(time.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// What was granted since [`Deadline::begin`].
    #[must_use]
    pub(crate) fn extension(&self) -> Duration {
        Duration::from_millis(self.0.load(Ordering::Relaxed))
    }

    /// A new load begins, to which nobody has granted anything.
    pub(crate) fn reset(&self) {
        self.0.store(0, Ordering::Relaxed);
    }
}
