//! What the profiles of a config file come to: roles, sessions, cycles.
#![cfg_attr(fuzzing, no_main)]

use std::path::Path;

use credenza::shared_files::{Content, Property, SharedFiles};
use credenza::source::profile::describe;

pub fn check(data: &[u8]) {
    let Ok(files) = SharedFiles::parse(Some(Content { path: Path::new("/c"), bytes: data }), None) else { return };
    let list = |trusted: &dyn Fn(&Property) -> Result<(), String>| -> Vec<String> {
        describe(&files, trusted).map(|(_, told)| told).take(50).collect()
    };
    let told = list(&|_| Ok(()));
    assert_eq!(told, list(&|_| Ok(())));
    for (told, distrusted) in told.iter().zip(list(&|_| Err("belongs to somebody".into()))) {
        assert!(!told.chars().any(char::is_control), "{told:?}");
        assert!(*told == distrusted || distrusted.starts_with("wrong: "), "{told} {distrusted}");
    }
}

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| check(data));
