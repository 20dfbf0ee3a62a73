//! A soak: 72 simulated hours of a broker whose upstream fails, hangs, throttles, answers nonsense and steps its clock by
//! chance, while our own clock is set, too, and a client asks every second. The parts are the real ones, from the
//! listener to the request that goes upstream; only time, chance and the two wires are injected, so that a seed repeats.
//!
//! `SEED=…` repeats one seed, `SEEDS=…` takes so many at random.

#![allow(clippy::unwrap_used, clippy::missing_panics_doc, missing_docs, unreachable_pub, reason = "tests")]
#![allow(clippy::print_stdout, reason = "whoever runs many seeds wants to see how far they are")]

mod days;
mod dice;
mod journal;
mod ledger;
mod service;
mod weather;

use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3600);

#[test]
fn three_days_of_bad_weather() {
    #[allow(clippy::disallowed_methods, reason = "parameters of the test itself")]
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a whole number"));
    let seeds: Vec<u64> = match (number("SEED"), number("SEEDS")) {
        (Some(seed), _) => vec![seed],
        (None, many) => (0..many.unwrap_or(1)).map(|_| u64::from(getrandom::u32().unwrap())).collect(),
    };
    assert!(!seeds.is_empty());
    for seed in seeds {
        // Each on a core of its own.
        let told = std::thread::scope(|scope| {
            let runs = [HOUR, HOUR * 6].map(|lifetime| scope.spawn(move || days::run(seed, lifetime)));
            runs.map(|run| run.join().unwrap())
        });
        for told in told {
            println!("SEED={seed}: {}", told.unwrap_or_else(|failure| panic!("{failure}")));
        }
    }
}

/// Without this nobody could find out what a failed run was about.
#[test]
fn a_seed_repeats() {
    let run = || days::Days::new(7, HOUR).for_hours(3).run().unwrap();
    assert_eq!(run(), run());
}
