//! The wall clock, its steps, and timestamps on the wire.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime};

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::sync::watch;
use tokio::time::Instant;

/// How often the wall clock is held against the monotonic one. A suspended laptop learns of its sleep this late.
const TICK: Duration = Duration::from_secs(5);

/// A smaller difference is a clock being slewed, not a step.
const STEP: Duration = Duration::from_secs(2);

/// The one way to read the wall clock. Clones share steps.
#[derive(Clone, Debug)]
pub struct Clock {
    wall: Wall,
    steps: Arc<watch::Sender<u64>>,
}

#[derive(Clone)]
enum Wall {
    System,
    /// Runs with tokio's clock (which tests pause) from `base`, shifted by a number of milliseconds.
    Injected {
        base: SystemTime,
        start: Instant,
        shift: Arc<AtomicI64>,
    },
    Unset,
}

impl Clock {
    /// The clock of this machine.
    #[must_use]
    pub fn system() -> Self {
        Self::of(Wall::System)
    }

    /// A clock that shows `base` now and then runs with tokio's, so that paused time moves both.
    #[must_use]
    pub fn injected(base: SystemTime) -> Self {
        Self::of(Wall::Injected { base, start: Instant::now(), shift: Arc::default() })
    }

    fn of(wall: Wall) -> Self {
        Self { wall, steps: Arc::new(watch::Sender::new(0)) }
    }

    /// The wall-clock time.
    ///
    /// # Panics
    /// When nobody set a clock: a test forgot to.
    #[must_use]
    #[allow(clippy::disallowed_methods, reason = "this is the one place")]
    pub fn now(&self) -> SystemTime {
        match &self.wall {
            Wall::System => SystemTime::now(),
            Wall::Injected { base, start, shift } => {
                let now = *base + start.elapsed();
                let shift = shift.load(Ordering::Relaxed);
                let by = Duration::from_millis(shift.unsigned_abs());
                if shift < 0 { now - by } else { now + by }
            }
            Wall::Unset => panic!("no clock was set in this World"),
        }
    }

    /// Moves an injected clock by this many milliseconds, as somebody setting the time would. The system's stays.
    pub fn step(&self, milliseconds: i64) {
        if let Wall::Injected { shift, .. } = &self.wall {
            shift.fetch_add(milliseconds, Ordering::Relaxed);
        }
    }

    /// Changes whenever the wall clock was set or the machine slept.
    #[must_use]
    pub fn steps(&self) -> watch::Receiver<u64> {
        self.steps.subscribe()
    }

    /// The one ticker of the process: compares both clocks for ever and tells all receivers of [`Clock::steps`].
    pub async fn watch_for_steps(&self) {
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
        Self::of(Wall::Unset)
    }
}

impl fmt::Debug for Wall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::System => "System",
            Self::Injected { .. } => "Injected",
            Self::Unset => "Unset",
        })
    }
}

/// An RFC 3339 timestamp in whole seconds of UTC with `Z`, the one form that every SDK reads: `2026-11-23T16:00:00Z`.
/// Fractions are cut, so that a served expiration is never later than the real one; what lies beyond the year 9999,
/// which has no such form, becomes the end of 9998.
#[must_use]
pub fn timestamp(at: SystemTime) -> String {
    let seconds = match at.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
        Err(before) => -i64::try_from(before.duration().as_millis().div_ceil(1000)).unwrap_or(i64::MAX),
    };
    let written = OffsetDateTime::from_unix_timestamp(seconds).ok().and_then(|at| at.format(&Rfc3339).ok());
    written.unwrap_or_else(|| "9998-12-31T00:00:00Z".into())
}

/// Reads an RFC 3339 timestamp of any offset.
///
/// # Errors
/// Names what is missing: a time zone above all, since guessing one would serve expired keys for hours.
pub fn parse_timestamp(text: &str) -> Result<SystemTime, &'static str> {
    const FORM: &str = "is not a timestamp of the form 2026-11-23T16:00:00Z";
    let text = text.trim();
    if let Ok(at) = OffsetDateTime::parse(text, &Rfc3339) {
        return if at.unix_timestamp() < 0 { Err("lies before 1970") } else { Ok(at.into()) };
    }
    match OffsetDateTime::parse(&format!("{text}Z"), &Rfc3339) {
        Ok(_) => Err("has no time zone"),
        Err(_) => Err(FORM),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn timestamps() {
        assert_eq!(timestamp(at(1_795_449_600) + Duration::from_millis(999)), "2026-11-23T16:00:00Z");
        assert_eq!(timestamp(at(0) - Duration::from_millis(1)), "1969-12-31T23:59:59Z");
        assert_eq!(timestamp(at(1 << 40)), "9998-12-31T00:00:00Z");
        for (text, seconds) in [
            ("2026-11-23T16:00:00Z", 1_795_449_600),
            (" 2026-11-23T17:00:00+01:00 ", 1_795_449_600),
            ("2026-11-23T16:00:00z", 1_795_449_600),
            ("1970-01-01T00:00:00Z", 0),
        ] {
            assert_eq!(parse_timestamp(text), Ok(at(seconds)), "{text}");
        }
        assert_eq!(parse_timestamp("2026-11-23T16:00:00"), Err("has no time zone"));
        assert_eq!(parse_timestamp("1969-11-23T16:00:00Z"), Err("lies before 1970"));
        for bad in ["", "1795449600", "tomorrow", "2026-13-23T16:00:00Z", "99999-01-01T00:00:00Z"] {
            assert!(parse_timestamp(bad).unwrap_err().starts_with("is not"), "{bad}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_injected_clock_runs_with_tokio_and_can_step() {
        let clock = Clock::injected(at(1000));
        tokio::time::sleep(Duration::from_secs(7)).await;
        assert_eq!(clock.now(), at(1007));
        clock.step(-2000);
        assert_eq!(clock.clone().now(), at(1005));
    }

    #[tokio::test(start_paused = true)]
    async fn steps_are_told_and_slewing_is_not() {
        let clock = Clock::injected(at(1000));
        let mut steps = clock.steps();
        let mut ticker = std::pin::pin!(clock.watch_for_steps());
        for (milliseconds, told) in [(0, false), (1500, false), (60_000, true), (-60_000, true), (0, false)] {
            // A tick has passed before the clock is moved, so that both readings of the ticker enclose the move.
            clock.step(milliseconds);
            tokio::select! { () = &mut ticker => {}, () = tokio::time::sleep(TICK) => {} }
            tokio::select! { () = &mut ticker => {}, () = tokio::time::sleep(Duration::from_millis(1)) => {} }
            assert_eq!(steps.has_changed().unwrap(), told, "{milliseconds}");
            steps.mark_unchanged();
        }
    }
}
