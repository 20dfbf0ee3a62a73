//! The output of a `credential_process`.

use crate::model::secret::Secret;
use crate::source::document::printed;

pub fn check(data: &[u8]) {
    let parsed = printed(data);
    assert_eq!(parsed, printed(data));
    match parsed {
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
