//! What a program prints for `credential_process`.
#![cfg_attr(fuzzing, no_main)]

use credenza::secret::Secret;
use credenza::source::document::printed;

pub fn check(data: &[u8]) {
    let read = printed(data);
    assert_eq!(read, printed(data));
    match read {
        Ok(found) => {
            let token = found.session_token.as_ref().map(Secret::expose);
            for part in
                [Some(&*found.access_key_id), Some(found.secret_access_key.expose()), token].into_iter().flatten()
            {
                assert!(!part.is_empty() && !part.chars().any(char::is_control), "{part:?}");
            }
        }
        Err(why) => assert!(!why.contains("hush") && !why.chars().any(char::is_control) && why.len() < 400, "{why:?}"),
    }
}

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| check(data));
