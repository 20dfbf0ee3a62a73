//! The XML response of STS with credentials.

use crate::aws::sts::answer::{caller_identity, credentials};
use crate::fuzzing::document::parts;

pub fn check(data: &[u8]) {
    assert_eq!(caller_identity(data), caller_identity(data));
    let parsed = credentials(data);
    assert_eq!(parsed, credentials(data));
    match parsed {
        Ok(found) => {
            assert!(found.expiration.is_some() && found.session_token.is_some(), "{found:?}");
            for part in parts(&found) {
                assert!(!part.is_empty() && !part.chars().any(char::is_control), "{part:?}");
                // A part longer than the response would be an expanded entity.
                assert!(part.len() <= data.len(), "{} of {}", part.len(), data.len());
            }
        }
        Err(why) => assert!(!why.contains("hush") && !why.chars().any(char::is_control) && why.len() < 400, "{why:?}"),
    }
}
