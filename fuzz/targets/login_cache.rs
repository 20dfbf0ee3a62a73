//! A file of the SSO token cache.
#![cfg_attr(fuzzing, no_main)]

use credenza::token_cache::Entry;

pub fn check(data: &[u8]) {
    let entry = match Entry::parse(data) {
        Ok(entry) => entry,
        Err(why) => {
            let why = why.to_string();
            assert!(!why.contains("hush") && !why.chars().any(char::is_control) && why.len() < 400, "{why:?}");
            return;
        }
    };
    // What is written back is what was read, for the AWS CLI as well.
    let rendered = entry.render();
    let again = Entry::parse(&rendered).expect("what is written can be read");
    // Numbers are those of JavaScript, as botocore's are: one of a hundred digits keeps sixteen of them.
    let is_long = data.split(|byte| !byte.is_ascii_digit()).any(|digits| digits.len() > 15);
    assert!(is_long || *again.render() == *rendered);
    assert_eq!(again.access_token(), entry.access_token());
    assert_eq!(again.registration_alone(), entry.registration_alone());
    if let Ok(token) = entry.access_token() {
        assert!(!token.token.expose().chars().any(char::is_control));
    }
    assert!(!format!("{entry:?}").contains("hush"));
}

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| check(data));
