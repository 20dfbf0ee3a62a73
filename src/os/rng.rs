//! Chance, handed in like time, so that a run can be repeated.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Where random numbers that spread loads over time come from; nothing secret is ever drawn here. The default is the
/// operating system. Clones draw from the same row of numbers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rng(Option<Arc<AtomicU64>>);

impl Rng {
    /// The same row of numbers for the same seed (SplitMix64).
    #[must_use]
    pub(crate) fn seeded(seed: u64) -> Self {
        Self(Some(Arc::new(AtomicU64::new(seed))))
    }

    /// A number from 0 to 1.
    #[must_use]
    pub(crate) fn draw(&self) -> f64 {
        let bits = match &self.0 {
            None => getrandom::u32().unwrap_or(u32::MAX / 2),
            Some(state) => mix(state.fetch_add(STEP, Ordering::Relaxed).wrapping_add(STEP)),
        };
        f64::from(bits) / f64::from(u32::MAX)
    }
}

const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// The upper half of SplitMix64's output.
fn mix(state: u64) -> u32 {
    let state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let state = (state ^ (state >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    u32::try_from((state ^ (state >> 31)) >> 32).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_repeats_and_all_numbers_lie_between_0_and_1() {
        let row = |chance: Rng| (0..1000).map(|_| chance.draw()).collect::<Vec<_>>();
        assert_eq!(row(Rng::seeded(7)), row(Rng::seeded(7)));
        for row in [row(Rng::seeded(7)), row(Rng::seeded(8)), row(Rng::default())] {
            assert!(row.iter().all(|number| (0.0..=1.0).contains(number)));
            let mean = row.iter().sum::<f64>() / 1000.0;
            assert!((0.4..0.6).contains(&mean), "{mean}");
        }
        assert_ne!(row(Rng::seeded(7)), row(Rng::seeded(8)));
    }
}
