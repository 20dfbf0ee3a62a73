//! The wall clock and its steps.

use std::fmt;
use std::sync::Arc;
#[cfg(any(test, feature = "fuzzing"))]
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime};

use tokio::sync::watch;
use tokio::time::Instant;

/// The interval at which the wall clock is compared with the monotonic clock. After a suspend the daemon notices the
/// sleep within this time.
const TICK: Duration = Duration::from_secs(5);

/// The minimum difference that counts as a step of the clock. NTP makes smaller corrections all the time.
const STEP: Duration = Duration::from_secs(2);

/// The only access to the wall clock. Clones share its steps.
#[derive(Clone, Debug)]
pub(crate) struct Clock {
    wall: WallTime,
    steps: Arc<watch::Sender<u64>>,
}

#[derive(Clone)]
enum WallTime {
    System,
    /// A clock that starts at `base` and runs with tokio's clock, which tests can pause. The shift is in milliseconds.
    #[cfg(any(test, feature = "fuzzing"))]
    Injected {
        base: SystemTime,
        start: Instant,
        shift: Arc<AtomicI64>,
    },
    Unset,
}

impl Clock {
    pub(crate) fn system() -> Self {
        Self::of(WallTime::System)
    }

    /// Returns a clock that shows `base` now and runs with tokio's clock, so that paused time moves both.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) fn injected(base: SystemTime) -> Self {
        Self::of(WallTime::Injected { base, start: Instant::now(), shift: Arc::default() })
    }

    fn of(wall: WallTime) -> Self {
        Self { wall, steps: Arc::new(watch::Sender::new(0)) }
    }

    /// Returns the wall-clock time.
    ///
    /// # Panics
    /// If the context has no clock: a test forgot to set one.
    #[allow(clippy::disallowed_methods, reason = "all other code reads the time here")]
    pub(crate) fn now(&self) -> SystemTime {
        match &self.wall {
            WallTime::System => SystemTime::now(),
            #[cfg(any(test, feature = "fuzzing"))]
            WallTime::Injected { base, start, shift } => {
                let now = *base + start.elapsed();
                let shift = shift.load(Ordering::Relaxed);
                let by = Duration::from_millis(shift.unsigned_abs());
                if shift < 0 { now - by } else { now + by }
            }
            WallTime::Unset => panic!("this context has no clock: set one"),
        }
    }

    /// Moves an injected clock by this many milliseconds, as `date --set` would. It has no effect on the system clock.
    #[cfg(test)]
    pub(crate) fn step(&self, milliseconds: i64) {
        if let WallTime::Injected { shift, .. } = &self.wall {
            shift.fetch_add(milliseconds, Ordering::Relaxed);
        }
    }

    /// Returns a receiver that changes when the wall clock was set or the machine slept.
    pub(crate) fn steps(&self) -> watch::Receiver<u64> {
        self.steps.subscribe()
    }

    /// Compares both clocks forever, and notifies the receivers of [`Clock::steps`] of a step. One task in the process
    /// runs this.
    pub(crate) async fn watch_for_steps(&self) {
        let (mut wall, mut monotonic) = (self.now(), Instant::now());
        loop {
            tokio::time::sleep(TICK).await;
            let expected = wall + monotonic.elapsed();
            (wall, monotonic) = (self.now(), Instant::now());
            let off = wall.duration_since(expected).unwrap_or_else(|behind| behind.duration());
            if off >= STEP {
                tracing::info!(
                    seconds = off.as_secs(),
                    forward = wall > expected,
                    "the clock stepped or the machine slept"
                );
                self.steps.send_modify(|count| *count += 1);
            }
        }
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::of(WallTime::Unset)
    }
}

impl fmt::Debug for WallTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::System => "System",
            #[cfg(any(test, feature = "fuzzing"))]
            Self::Injected { .. } => "Injected",
            Self::Unset => "Unset",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[tokio::test(start_paused = true)]
    async fn injected_clock_runs_with_tokio_and_can_step() {
        let clock = Clock::injected(at(1000));
        tokio::time::sleep(Duration::from_secs(7)).await;
        assert_eq!(clock.now(), at(1007));
        clock.step(-2000);
        assert_eq!(clock.clone().now(), at(1005));
    }

    #[tokio::test(start_paused = true)]
    async fn notifies_of_steps_and_not_of_slewing() {
        let clock = Clock::injected(at(1000));
        let mut steps = clock.steps();
        let mut ticker = std::pin::pin!(clock.watch_for_steps());
        for (milliseconds, is_step) in [(0, false), (1500, false), (60_000, true), (-60_000, true), (0, false)] {
            // One tick passes before the clock is moved, so that two readings of the ticker enclose the move.
            clock.step(milliseconds);
            tokio::select! { () = &mut ticker => {}, () = tokio::time::sleep(TICK) => {} }
            tokio::select! { () = &mut ticker => {}, () = tokio::time::sleep(Duration::from_millis(1)) => {} }
            assert_eq!(steps.has_changed().unwrap(), is_step, "{milliseconds}");
            steps.mark_unchanged();
        }
    }
}
