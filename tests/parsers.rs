//! Runs the parsers of outside input over the fuzzer's inputs in `fuzz/seeds`, unchanged and slightly changed.
//! `make fuzz` goes on from there.

#![allow(clippy::unwrap_used, missing_docs, unreachable_pub, reason = "tests")]
#![allow(clippy::panic, clippy::duplicate_mod, reason = "each target is a program of its own for the fuzzer")]
#![allow(unexpected_cfgs, reason = "cfg(fuzzing) is set by cargo fuzz")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{Config, TestRunner};

macro_rules! targets {
    ($($name:ident: $path:literal,)+) => {
        $(#[path = $path] mod $name;)+

        /// The targets in `fuzz/targets`, with the check function of each.
        const TARGETS: &[(&str, fn(&[u8]))] = &[$((stringify!($name), $name::check)),+];

        mod seeds {
            $(#[test] fn $name() { super::replay(stringify!($name), super::$name::check); })+
        }
    };
}

targets! {
    config: "../fuzz/targets/config.rs",
    document: "../fuzz/targets/document.rs",
    door: "../fuzz/targets/door.rs",
    identity: "../fuzz/targets/identity.rs",
    login_cache: "../fuzz/targets/login_cache.rs",
    metadata: "../fuzz/targets/metadata.rs",
    metadata_door: "../fuzz/targets/metadata_door.rs",
    plan: "../fuzz/targets/plan.rs",
    printed: "../fuzz/targets/printed.rs",
    request: "../fuzz/targets/request.rs",
    shared_files: "../fuzz/targets/shared_files.rs",
    sts: "../fuzz/targets/sts.rs",
    timestamp: "../fuzz/targets/timestamp.rs",
    token: "../fuzz/targets/token.rs",
    upstream: "../fuzz/targets/upstream.rs",
    url: "../fuzz/targets/url.rs",
}

/// The number of changed inputs for each target, beside the seeds.
const CHANGED: u32 = 400;

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz").join(name)
}

fn names_in(folder: &Path) -> BTreeSet<String> {
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// A change of an input: bytes inserted, removed, or taken from another seed.
#[derive(Clone, Debug)]
enum Change {
    Put(Index, Vec<u8>),
    Cut(Index, usize),
    Splice(Index, Index, Index),
}

fn change() -> impl Strategy<Value = Change> {
    let piece = prop_oneof![
        proptest::collection::vec(any::<u8>(), 1..4),
        "[ -~\n\r\t\u{0}\u{7f}é%=\"\\\\@:/\\[\\]]{1,6}".prop_map(String::into_bytes),
    ];
    prop_oneof![
        (any::<Index>(), piece).prop_map(|(at, piece)| Change::Put(at, piece)),
        (any::<Index>(), 1..12_usize).prop_map(|(at, length)| Change::Cut(at, length)),
        any::<(Index, Index, Index)>().prop_map(|(at, other, from)| Change::Splice(at, other, from)),
    ]
}

fn apply(mut bytes: Vec<u8>, changes: &[Change], seeds: &[Vec<u8>]) -> Vec<u8> {
    for change in changes {
        let place = |at: &Index, bytes: &[u8]| at.index(bytes.len() + 1);
        match change {
            Change::Put(at, piece) => {
                let at = place(at, &bytes);
                bytes.splice(at..at, piece.iter().copied());
            }
            Change::Cut(at, length) => {
                let at = place(at, &bytes);
                bytes.drain(at..bytes.len().min(at + length));
            }
            Change::Splice(at, other, from) => {
                let other = other.get(seeds);
                bytes.truncate(place(at, &bytes));
                bytes.extend_from_slice(&other[place(from, other)..]);
            }
        }
    }
    bytes
}

fn replay(target: &str, check: fn(&[u8])) {
    let folder = folder("seeds").join(target);
    let names = names_in(&folder);
    let seeds: Vec<Vec<u8>> = names.iter().map(|name| fs::read(folder.join(name)).unwrap()).collect();
    assert!(seeds.len() >= 5, "{target} has {} seeds", seeds.len());
    for (name, seed) in names.iter().zip(&seeds) {
        let checked = std::panic::catch_unwind(|| check(seed));
        assert!(checked.is_ok(), "fuzz/seeds/{target}/{name}: {:?}", String::from_utf8_lossy(seed));
    }
    let changed = (any::<Index>(), proptest::collection::vec(change(), 1..4));
    let config = Config { cases: CHANGED, failure_persistence: None, ..Config::default() };
    let checked = TestRunner::new(config).run(&changed, |(seed, changes)| {
        let bytes = apply(seed.get(&seeds).clone(), &changes, &seeds);
        std::panic::catch_unwind(|| check(&bytes))
            .map_err(|_| TestCaseError::fail(format!("{:?}", String::from_utf8_lossy(&bytes))))
    });
    checked.unwrap_or_else(|error| panic!("{target}: {error}"));
}

#[test]
fn each_target_has_its_file_seeds_and_program() {
    let known: BTreeSet<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    let files = names_in(&folder("targets")).into_iter().filter_map(|name| Some(name.strip_suffix(".rs")?.to_owned()));
    assert_eq!(files.collect::<BTreeSet<_>>(), known, "fuzz/targets");
    assert_eq!(names_in(&folder("seeds")), known, "fuzz/seeds");
    let manifest = fs::read_to_string(folder("Cargo.toml")).unwrap();
    let programs = manifest.split("[[bin]]\nname = \"").skip(1).filter_map(|text| Some(text.split_once('"')?.0));
    assert_eq!(programs.map(str::to_owned).collect::<BTreeSet<_>>(), known, "fuzz/Cargo.toml");
    for name in known {
        let text = fs::read_to_string(folder("targets").join(format!("{name}.rs"))).unwrap();
        assert!(text.contains("#[cfg(fuzzing)]\nlibfuzzer_sys::fuzz_target!("), "{name}");
    }
}
