//! The deadline of a load.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// The time of a request outside a load, such as one for a region: the default of `load_timeout`.
const WITHOUT_LOAD: Duration = Duration::from_secs(10);

/// The time that the current load of a context may take. A source that waits for a program or a user extends it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Deadline(Arc<Mutex<LoadTime>>);

#[derive(Debug, Default)]
struct LoadTime {
    /// The start of the current load. `None` between loads.
    began: Option<Instant>,
    limit: Duration,
    extension: Duration,
}

/// A load that runs until this value is dropped.
pub(crate) struct RunningLoad<'d>(&'d Deadline);

impl Deadline {
    /// Begins a load that may take this time.
    #[must_use]
    pub(crate) fn begin(&self, limit: Duration) -> RunningLoad<'_> {
        *self.time() = LoadTime { began: Some(Instant::now()), limit, extension: Duration::ZERO };
        RunningLoad(self)
    }

    /// Extends the deadline of the current load to this time after its start. A shorter time has no effect.
    pub(crate) fn extend(&self, time: Duration) {
        let mut load = self.time();
        load.extension = load.extension.max(time);
    }

    /// Returns the longest extension of the current load.
    pub(crate) fn extension(&self) -> Duration {
        self.time().extension
    }

    /// Returns the time until the deadline of the current load.
    #[must_use]
    pub(crate) fn left(&self) -> Duration {
        let load = self.time();
        let Some(began) = load.began else { return WITHOUT_LOAD };
        load.limit.max(load.extension).saturating_sub(began.elapsed())
    }

    fn time(&self) -> MutexGuard<'_, LoadTime> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for RunningLoad<'_> {
    fn drop(&mut self) {
        *self.0.time() = LoadTime::default();
    }
}
