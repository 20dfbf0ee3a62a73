//! The XML in which STS gives credentials.
#![cfg_attr(fuzzing, no_main)]

use credenza::aws::sts::credentials;
use credenza::secret::Secret;

pub fn check(data: &[u8]) {
    let read = credentials(data);
    assert_eq!(read, credentials(data));
    match read {
        Ok(found) => {
            assert!(found.expiration.is_some() && found.session_token.is_some(), "{found:?}");
            let token = found.session_token.as_ref().map(Secret::expose);
            for part in
                [Some(&*found.access_key_id), Some(found.secret_access_key.expose()), token].into_iter().flatten()
            {
                assert!(!part.is_empty() && !part.chars().any(char::is_control), "{part:?}");
                // An answer is no longer than what is in it: nothing is expanded.
                assert!(part.len() <= data.len(), "{} of {}", part.len(), data.len());
            }
        }
        Err(why) => assert!(!why.contains("hush") && !why.chars().any(char::is_control) && why.len() < 400, "{why:?}"),
    }
}

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| check(data));
