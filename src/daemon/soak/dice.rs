//! The random numbers of a run, from one seed.

use std::time::Duration;

/// SplitMix64.
#[derive(Clone, Debug)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Returns a number from 0 to below `end`.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.roll() % end
    }

    pub(crate) fn one_in(&mut self, many: u64) -> bool {
        self.below(many) == 0
    }

    pub(crate) fn pick<T: Clone>(&mut self, among: &[T]) -> T {
        among[usize::try_from(self.below(among.len() as u64)).unwrap()].clone()
    }

    /// Returns a duration in this range, on a logarithmic scale: short ones are as frequent as long ones.
    pub(crate) fn span(&mut self, shortest: Duration, longest: Duration) -> Duration {
        #[allow(clippy::cast_precision_loss, reason = "a random number needs no last digit")]
        let part = (self.roll() >> 11) as f64 / (1u64 << 53) as f64;
        let millis = shortest.as_secs_f64() * (longest.as_secs_f64() / shortest.as_secs_f64()).powf(part) * 1000.0;
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "it is positive, and whole milliseconds suffice"
        )]
        Duration::from_millis(millis as u64)
    }
}
