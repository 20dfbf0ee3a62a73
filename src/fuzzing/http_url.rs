//! The URL of an endpoint, from variables and files.

use crate::http::url::Url;

pub fn check(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let url = match Url::parse(text) {
        Ok(url) => url,
        Err(error) => return assert!(error.to_string().len() < 100),
    };
    assert_eq!(Url::parse(text).as_ref(), Ok(&url));
    let shown = url.to_string();
    // An `@` in the path is not user info.
    let authority = shown.split('/').nth(2).expect("scheme, nothing, authority");
    assert!(!authority.contains('@') && !shown.contains(['?', '#']), "{shown}");
    assert!(!shown.chars().any(char::is_control), "{shown:?}");
    assert!(!text.trim().chars().any(char::is_control), "{text:?}");
    // Display cuts a long URL and escapes characters that could forge a line.
    if text.is_ascii() && shown.is_ascii() {
        let again = Url::parse(&shown).unwrap_or_else(|error| panic!("{shown} {error}"));
        assert_eq!((again.to_string(), again.is_https()), (shown.clone(), url.is_https()));
    }
    // A joined path does not change the host.
    let joined = url.join("/latest/").unwrap_or_else(|error| panic!("{shown} {error}")).to_string();
    let origin = |text: &str| text.split('/').take(3).collect::<Vec<_>>().join("/");
    assert_eq!(origin(&joined), origin(&shown));
}
