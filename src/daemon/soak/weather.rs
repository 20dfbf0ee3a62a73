//! The faults of the upstream at a time, and the error of its clock and of the daemon's.

use std::time::Duration;

use tokio::time::Instant;

use crate::daemon::soak::dice::Dice;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sky {
    /// The upstream works.
    Clear,
    /// The upstream works slowly.
    Slow,
    /// The upstream refuses connections.
    Refused,
    /// Connections are never established.
    Unreachable,
    /// Requests get no response.
    Mute,
    /// A few bytes at a time, without an end.
    Dripping,
    Throttling,
    /// 5xx.
    Broken,
    Nonsense,
    /// The upstream forgets its session tokens.
    Forgetful,
    /// Every request gets 401 or 403.
    Denying,
    /// The upstream gives the previous set of credentials again.
    Stale,
    /// Another one of these for each request.
    Flaky,
}

/// The faults that replace a good response.
pub(crate) const FAULTS: [Sky; 11] = [
    Sky::Slow,
    Sky::Refused,
    Sky::Unreachable,
    Sky::Mute,
    Sky::Dripping,
    Sky::Throttling,
    Sky::Broken,
    Sky::Nonsense,
    Sky::Forgetful,
    Sky::Denying,
    Sky::Stale,
];

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

#[derive(Debug)]
pub(crate) struct Weather {
    pub(crate) sky: Sky,
    sky_until: Instant,
    /// The error of the upstream's clock in milliseconds; positive is ahead.
    pub(crate) upstream: i64,
    /// The error of the daemon's clock in milliseconds; positive is ahead.
    pub(crate) ours: i64,
    clocks_until: Instant,
}

/// The changes of one second.
#[derive(Debug, Default)]
pub(crate) struct Change {
    pub(crate) sky: bool,
    pub(crate) clocks: bool,
    /// The step of the daemon's clock, in milliseconds.
    pub(crate) step: i64,
}

impl Weather {
    /// A working upstream, and both clocks right.
    pub(crate) fn new(dice: &mut Dice) -> Self {
        let now = Instant::now();
        Self {
            sky: Sky::Clear,
            sky_until: now + dice.span(SECOND, HOUR),
            upstream: 0,
            ours: 0,
            clocks_until: now + dice.span(MINUTE * 10, HOUR * 5),
        }
    }

    /// Advances by a second. With `clocks_rest` no clock steps.
    pub(crate) fn tick(&mut self, dice: &mut Dice, clocks_rest: bool) -> Change {
        let (now, mut change) = (Instant::now(), Change::default());
        if now >= self.sky_until {
            change.sky = true;
            let clears = self.sky != Sky::Clear && !dice.one_in(3);
            let faulty = if dice.one_in(3) { Sky::Flaky } else { dice.pick(&FAULTS) };
            self.sky = if clears { Sky::Clear } else { faulty };
            let longest = if clears { HOUR * 3 } else { HOUR * 2 };
            self.sky_until = now + dice.span(SECOND * 5, longest);
        }
        if now >= self.clocks_until && !clocks_rest {
            change.clocks = true;
            let skew = i64::try_from(dice.span(SECOND / 2, HOUR * 10).as_millis()).unwrap();
            let skew = if dice.one_in(2) { 0 } else { [skew, -skew][usize::from(dice.one_in(2))] };
            if dice.one_in(2) {
                self.upstream = skew;
            } else {
                change.step = skew - self.ours;
                self.ours = skew;
            }
            // A wrong clock is corrected after two hours at most.
            let (shortest, longest) = if skew == 0 { (MINUTE * 10, HOUR * 8) } else { (SECOND * 10, HOUR * 2) };
            self.clocks_until = now + dice.span(shortest, longest);
        }
        change
    }

    /// Returns true if both clocks show the real time.
    pub(crate) fn clocks_are_right(&self) -> bool {
        self.upstream == 0 && self.ours == 0
    }
}
