//! The current faults of the service, and the errors of its clock and of ours.

use std::time::Duration;

use tokio::time::Instant;

use crate::dice::Dice;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sky {
    /// No fault.
    Clear,
    /// No fault, but slow.
    Slow,
    /// Connections are refused.
    Refused,
    /// Connections are never established.
    Unreachable,
    /// Requests are never answered.
    Mute,
    /// A byte now and then.
    Dripping,
    Throttling,
    /// 5xx.
    Broken,
    Nonsense,
    /// Session tokens are forgotten.
    Forgetful,
    /// 401 and 403 for every request.
    Denying,
    /// The previous credentials again.
    Stale,
    /// A random fault for each request.
    Flaky,
}

/// The answers that replace a good one.
pub const FAULTS: [Sky; 11] = [
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
pub struct Weather {
    pub sky: Sky,
    sky_until: Instant,
    /// The error of the service's clock in milliseconds; positive is ahead.
    pub upstream: i64,
    /// The error of our clock.
    pub ours: i64,
    clocks_until: Instant,
}

/// The changes of one turn.
#[derive(Debug, Default)]
pub struct Change {
    pub sky: bool,
    pub clocks: bool,
    /// The step of our clock in milliseconds.
    pub step: i64,
}

impl Weather {
    /// Starts without a fault, and with both clocks right.
    pub fn new(dice: &mut Dice) -> Self {
        let now = Instant::now();
        Self {
            sky: Sky::Clear,
            sky_until: now + dice.span(SECOND, HOUR),
            upstream: 0,
            ours: 0,
            clocks_until: now + dice.span(MINUTE * 10, HOUR * 5),
        }
    }

    /// Runs once a second; while `clocks_rest`, no clock is moved.
    pub fn turn(&mut self, dice: &mut Dice, clocks_rest: bool) -> Change {
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
            // A wrong clock is corrected after some time.
            let (shortest, longest) = if skew == 0 { (MINUTE * 10, HOUR * 8) } else { (SECOND * 10, HOUR * 2) };
            self.clocks_until = now + dice.span(shortest, longest);
        }
        change
    }

    /// Returns true if both clocks show the real time.
    pub fn clocks_are_right(&self) -> bool {
        self.upstream == 0 && self.ours == 0
    }
}
