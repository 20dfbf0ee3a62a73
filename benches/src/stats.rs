//! Medians, quartiles, and pairs of turns.

use std::io;
use std::time::Duration;

/// Several measurements of one thing.
#[derive(Clone, Debug, Default)]
pub struct Sample(Vec<f64>);

impl Sample {
    pub fn new(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        Self(values)
    }

    pub fn median(&self) -> f64 {
        self.quantile(0.5)
    }

    /// By linear interpolation between the two nearest values.
    pub fn quantile(&self, at: f64) -> f64 {
        let place = at * (self.0.len().max(1) - 1) as f64;
        let (below, above) = (place.floor() as usize, place.ceil() as usize);
        match (self.0.get(below), self.0.get(above)) {
            (Some(low), Some(high)) => low + (high - low) * place.fract(),
            _ => f64::NAN,
        }
    }

    pub fn count(&self) -> usize {
        self.0.len()
    }
}

/// Turns of two servers, taken one after the other.
#[derive(Clone, Debug)]
pub struct Pairs {
    pub first: Sample,
    pub second: Sample,
    /// Of each pair; on a machine that is shared only these can be trusted.
    pub ratios: Sample,
}

/// Measures in pairs; every other pair the other way round.
pub fn in_turn<T>(
    rounds: usize,
    mut first: impl FnMut() -> io::Result<T>,
    mut second: impl FnMut() -> io::Result<T>,
) -> io::Result<Vec<(T, T)>> {
    (0..rounds)
        .map(|round| {
            if round % 2 == 0 {
                let first = first()?;
                Ok((first, second()?))
            } else {
                let second = second()?;
                Ok((first()?, second))
            }
        })
        .collect()
}

impl Pairs {
    pub fn of<T>(turns: &[(T, T)], value: impl Fn(&T) -> f64) -> Self {
        let values: Vec<_> = turns.iter().map(|(first, second)| (value(first), value(second))).collect();
        Self {
            first: Sample::new(values.iter().map(|(first, _)| *first).collect()),
            second: Sample::new(values.iter().map(|(_, second)| *second).collect()),
            ratios: Sample::new(values.iter().map(|(first, second)| first / second).collect()),
        }
    }
}

/// The latency, in seconds, that this share of the requests did not exceed.
pub fn percentile(latencies: &[Duration], at: f64) -> f64 {
    Sample::new(latencies.iter().map(Duration::as_secs_f64).collect()).quantile(at)
}
