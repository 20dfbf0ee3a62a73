//! What the profiles of a config file come to: roles, sessions, cycles.
#![cfg_attr(fuzzing, no_main)]

use std::path::Path;

use credenza::shared_files::{Content, SharedFiles};
use credenza::source::profile::describe;

pub fn check(data: &[u8]) {
    let Ok(files) = SharedFiles::parse(Some(Content { path: Path::new("/c"), bytes: data }), None) else { return };
    for section in files.profiles().filter_map(|name| files.profile(name)).take(50) {
        let told = describe(&files, section, &|_| Ok(()));
        assert!(!told.chars().any(char::is_control), "{told:?}");
        assert_eq!(told, describe(&files, section, &|_| Ok(())));
        let distrusted = describe(&files, section, &|_| Err("belongs to somebody".into()));
        assert!(told == distrusted || distrusted.starts_with("wrong: "), "{told} {distrusted}");
    }
}

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| check(data));
