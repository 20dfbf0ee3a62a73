//! A file of the SSO login cache.

use crate::cache::login_entry::CacheEntry;

pub fn check(data: &[u8]) {
    let entry = match CacheEntry::parse(data) {
        Ok(entry) => entry,
        Err(error) => {
            let error = error.to_string();
            assert!(!error.contains("hush") && !error.chars().any(char::is_control) && error.len() < 400, "{error:?}");
            return;
        }
    };
    // The AWS CLI reads the entry that is written back.
    let rendered = entry.render();
    let again = CacheEntry::parse(&rendered).expect("a rendered entry can be read");
    // Numbers are floating point, as in JavaScript: one with a hundred digits keeps sixteen of them.
    let is_long = data.split(|byte| !byte.is_ascii_digit()).any(|digits| digits.len() > 15);
    assert!(is_long || *again.render() == *rendered);
    assert_eq!(again.access_token(), entry.access_token());
    assert_eq!(again.registration_alone(), entry.registration_alone());
    if let Ok(token) = entry.access_token() {
        assert!(!token.token.expose().chars().any(char::is_control));
    }
    assert!(!format!("{entry:?}").contains("hush"));
}
