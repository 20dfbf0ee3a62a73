//! A soak test: 72 simulated hours of a broker with random faults of its service: failures, hangs, throttling, nonsense,
//! clock steps. Our own clock is set as well, and a client sends a request every second. The parts are real, from the
//! listener to the outgoing request. Only time, random numbers and connections are injected, so that a seed repeats.
//!
//! `SEED=…` repeats one seed, `SEEDS=…` takes so many at random.

#![allow(clippy::unwrap_used, clippy::missing_panics_doc, missing_docs, unreachable_pub, reason = "tests")]
#![allow(clippy::print_stdout, reason = "a run of many seeds shows its progress")]

mod days;
mod dice;
mod journal;
mod ledger;
mod service;
mod weather;

use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3600);

#[test]
fn serves_correctly_through_three_days_of_faults() {
    #[allow(clippy::disallowed_methods, reason = "parameters of the test itself")]
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a whole number"));
    let seeds: Vec<u64> = match (number("SEED"), number("SEEDS")) {
        (Some(seed), _) => vec![seed],
        (None, many) => (0..many.unwrap_or(1)).map(|_| u64::from(getrandom::u32().unwrap())).collect(),
    };
    assert!(!seeds.is_empty());
    for seed in seeds {
        // One core for each.
        let told = std::thread::scope(|scope| {
            let runs = [HOUR, HOUR * 6].map(|lifetime| scope.spawn(move || days::run(seed, lifetime)));
            runs.map(|run| run.join().unwrap())
        });
        for told in told {
            println!("SEED={seed}: {}", told.unwrap_or_else(|failure| panic!("{failure}")));
        }
    }
}

/// A failed run can be investigated only if its seed repeats it.
#[test]
fn seed_repeats_a_run() {
    let run = || days::Days::new(7, HOUR).for_hours(3).run().unwrap();
    assert_eq!(run(), run());
}
