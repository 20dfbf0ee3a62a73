//! A soak test: simulated days of a daemon. Its upstream fails, hangs, throttles, sends nonsense and has a clock
//! that steps; the daemon's own clock steps too; a client sends a request every second. All parts from the listener to
//! the upstream request are those of the program. Only time, random numbers and both connections are injected, so that
//! a seed repeats a run.
//!
//! `SEED=…` repeats one seed, `SEEDS=…` runs that many random ones. `HOURS=…` is the length of a run; the default is a day,
//! and `make soak` takes three.

#![allow(clippy::print_stdout, reason = "a run of many seeds prints its progress")]
#![allow(clippy::disallowed_methods, reason = "the variables are parameters of the test itself")]

mod days;
mod dice;
mod journal;
mod ledger;
mod service;
mod weather;

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3600);

/// Is set in the process that runs only the soak: the memory of other tests does not count there.
const OWN_PROCESS: &str = "CREDENZA_SOAK_PROCESS";

#[test]
fn survives_days_of_faults() {
    if std::env::var(OWN_PROCESS).is_ok() {
        return run_seeds();
    }
    let test = format!("{}::survives_days_of_faults", module_path!().split_once("::").unwrap().1);
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &test, "--nocapture"])
        .env(OWN_PROCESS, "1")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let passed = lines.filter(|line| line.starts_with("SEED=")).inspect(|line| println!("{line}")).count();
    assert!(child.wait().unwrap().success(), "the messages of the soak are above");
    assert!(passed > 0, "the soak ran no seed");
}

fn run_seeds() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a whole number"));
    let seeds: Vec<u64> = match (number("SEED"), number("SEEDS")) {
        (Some(seed), _) => vec![seed],
        (None, many) => (0..many.unwrap_or(1)).map(|_| u64::from(getrandom::u32().unwrap())).collect(),
    };
    assert!(!seeds.is_empty());
    let hours = number("HOURS").unwrap_or(24);
    for seed in seeds {
        // Two threads, so that each run may have a core.
        let results = std::thread::scope(|scope| {
            let runs = [HOUR, HOUR * 6]
                .map(|lifetime| scope.spawn(move || days::Days::new(seed, lifetime).for_hours(hours).run()));
            runs.map(|run| run.join().unwrap())
        });
        for result in results {
            println!("SEED={seed}: {}", result.unwrap_or_else(|violation| panic!("{violation}")));
        }
    }
}

/// A failed run cannot be investigated unless its seed repeats it.
#[test]
fn a_seed_repeats_a_run() {
    let run = || days::Days::new(7, HOUR).for_hours(3).run().unwrap();
    assert_eq!(run(), run());
}
