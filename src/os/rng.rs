//! Random numbers that spread loads over time. The context injects them, so that a test can repeat a run.

use std::sync::{Arc, Mutex, PoisonError};

/// A generator of random numbers, not for secrets. The default is seeded by the operating system. Clones share one
/// sequence.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rng(Option<Arc<Mutex<fastrand::Rng>>>);

impl Rng {
    /// Returns a generator with a sequence that depends only on the seed.
    #[cfg(test)]
    pub(crate) fn seeded(seed: u64) -> Self {
        Self(Some(Arc::new(Mutex::new(fastrand::Rng::with_seed(seed)))))
    }

    /// Draws a number from 0 to 1.
    pub(crate) fn draw(&self) -> f64 {
        match &self.0 {
            None => fastrand::f64(),
            Some(seeded) => seeded.lock().unwrap_or_else(PoisonError::into_inner).f64(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seed_repeats_and_numbers_are_from_0_to_1() {
        let draw_many = |rng: Rng| (0..1000).map(|_| rng.draw()).collect::<Vec<_>>();
        assert_eq!(draw_many(Rng::seeded(7)), draw_many(Rng::seeded(7)));
        for numbers in [draw_many(Rng::seeded(7)), draw_many(Rng::seeded(8)), draw_many(Rng::default())] {
            assert!(numbers.iter().all(|number| (0.0..=1.0).contains(number)));
            let mean = numbers.iter().sum::<f64>() / 1000.0;
            assert!((0.4..0.6).contains(&mean), "{mean}");
        }
        assert_ne!(draw_many(Rng::seeded(7)), draw_many(Rng::seeded(8)));
    }
}
