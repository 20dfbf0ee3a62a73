//! The output of a `credential_process`.

use crate::fuzzing::document::parts;
use crate::source::document::printed;

pub fn check(data: &[u8]) {
    let parsed = printed(data);
    assert_eq!(parsed, printed(data));
    match parsed {
        Ok(found) => {
            for part in parts(&found) {
                assert!(!part.is_empty() && !part.chars().any(char::is_control), "{part:?}");
            }
        }
        Err(why) => assert!(!why.contains("hush") && !why.chars().any(char::is_control) && why.len() < 400, "{why:?}"),
    }
}
