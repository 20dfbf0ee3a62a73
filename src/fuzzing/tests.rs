//! Replays the inputs of `fuzz/seeds`, each unchanged and with random changes. `make fuzz` continues from them.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{Config, TestRunner};

macro_rules! targets {
    ($($name:ident)+) => {
        /// The name and the check of each target.
        const TARGETS: &[(&str, fn(&[u8]))] = &[$((stringify!($name), crate::fuzzing::$name::check)),+];

        mod seeds {
            $(#[test] fn $name() { super::replay(stringify!($name), crate::fuzzing::$name::check); })+
        }
    };
}

targets! {
    access audit_log auth_token config control document exec_files http_url identity_path imds_response imds_server login_cache
    process_output profile_plan request session_policy shared_config sts timestamp url_source
}

/// The number of changed inputs for each target: they take about a second together.
const CHANGED: u32 = 400;

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz").join(name)
}

fn names_in(folder: &Path) -> BTreeSet<String> {
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// A change to a seed: bytes inserted, bytes removed, or its end replaced by the end of another seed.
#[derive(Clone, Debug)]
enum Change {
    Insert(Index, Vec<u8>),
    Remove(Index, usize),
    Splice(Index, Index, Index),
}

fn change() -> impl Strategy<Value = Change> {
    let piece = prop_oneof![
        proptest::collection::vec(any::<u8>(), 1..4),
        "[ -~\n\r\t\u{0}\u{7f}é%=\"\\\\@:/\\[\\]]{1,6}".prop_map(String::into_bytes),
    ];
    prop_oneof![
        (any::<Index>(), piece).prop_map(|(at, piece)| Change::Insert(at, piece)),
        (any::<Index>(), 1..12_usize).prop_map(|(at, length)| Change::Remove(at, length)),
        any::<(Index, Index, Index)>().prop_map(|(at, other, from)| Change::Splice(at, other, from)),
    ]
}

fn apply(mut bytes: Vec<u8>, changes: &[Change], seeds: &[Vec<u8>]) -> Vec<u8> {
    for change in changes {
        let position = |at: &Index, bytes: &[u8]| at.index(bytes.len() + 1);
        match change {
            Change::Insert(at, piece) => {
                let at = position(at, &bytes);
                bytes.splice(at..at, piece.iter().copied());
            }
            Change::Remove(at, length) => {
                let at = position(at, &bytes);
                bytes.drain(at..bytes.len().min(at + length));
            }
            Change::Splice(at, other, from) => {
                let other = other.get(seeds);
                bytes.truncate(position(at, &bytes));
                bytes.extend_from_slice(&other[position(from, other)..]);
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
fn each_target_has_seeds_and_a_program() {
    let known: BTreeSet<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    let files = names_in(&folder("targets")).into_iter().filter_map(|name| Some(name.strip_suffix(".rs")?.to_owned()));
    assert_eq!(files.collect::<BTreeSet<_>>(), known, "fuzz/targets");
    assert_eq!(names_in(&folder("seeds")), known, "fuzz/seeds");
    let manifest = fs::read_to_string(folder("Cargo.toml")).unwrap();
    let programs = manifest.split("[[bin]]\nname = \"").skip(1).filter_map(|text| Some(text.split_once('"')?.0));
    assert_eq!(programs.map(str::to_owned).collect::<BTreeSet<_>>(), known, "fuzz/Cargo.toml");
    for name in known {
        let text = fs::read_to_string(folder("targets").join(format!("{name}.rs"))).unwrap();
        assert!(text.contains(&format!("credenza::fuzzing::{name}::check(data)")), "{name}: {text}");
    }
}
