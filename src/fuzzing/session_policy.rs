//! A session policy, which is sent to STS without its white space.

use crate::model::policy::SessionPolicy;

pub fn check(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let parsed = SessionPolicy::parse(text);
    assert_eq!(parsed, SessionPolicy::parse(text));
    match parsed {
        Ok(policy) => {
            let value = |text: &str| serde_json::from_str::<serde_json::Value>(text);
            match (value(text), value(policy.as_str())) {
                (Ok(written), Ok(minified)) => {
                    assert_eq!(written, minified);
                    assert!(minified.get("Statement").is_some());
                }
                // JSON has numbers that serde does not read.
                (Err(written), Err(minified)) => {
                    let both = [written, minified].map(|error| error.to_string());
                    assert!(both.iter().all(|error| error.starts_with("number out of range")), "{text:?}: {both:?}");
                }
                other => panic!("{text:?}: {other:?}"),
            }
            assert_eq!(SessionPolicy::parse(policy.as_str()).as_ref(), Ok(&policy), "it is minified already");
            assert!(policy.characters() <= 2048 && policy.as_str().len() <= text.len());
            assert!(policy.as_str().chars().all(|c| matches!(c, '\u{20}'..='\u{ff}')), "{policy:?}");
        }
        Err(error) => {
            let lines = text.split('\n').count();
            assert!(error.line >= 1 && error.line <= lines && error.column >= 1, "{error}");
            let line = text.split('\n').nth(error.line - 1).unwrap_or_default();
            assert!(error.column <= line.chars().count() + 1, "{error}");
            assert!(error.to_string().len() < 300 && !error.to_string().contains('\n'), "{error}");
        }
    }
}
