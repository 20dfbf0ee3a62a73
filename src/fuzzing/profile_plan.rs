//! The plans of the profiles of a config file: roles, SSO sessions, cycles.

use std::path::Path;

use crate::shared_config::{FileContent, SharedConfig};
use crate::source::profile::description::describe;
use crate::source::profile::plan::trust::{PropertyTrust, UntrustedFile};

pub fn check(data: &[u8]) {
    let Ok(files) = SharedConfig::parse(Some(FileContent { path: Path::new("/c"), bytes: data }), None) else { return };
    let describe_all = |trusted: PropertyTrust<'_>| -> Vec<String> {
        describe(&files, trusted, &|_, _| None).map(|(_, text)| text.to_string()).take(50).collect()
    };
    let trusted = describe_all(&|_| Ok(()));
    assert_eq!(trusted, describe_all(&|_| Ok(())));
    for (trusted, distrusted) in
        trusted.iter().zip(describe_all(&|_| Err(UntrustedFile { owner: Some(7), reason: "belongs to user 7".into() })))
    {
        assert!(!trusted.chars().any(char::is_control), "{trusted:?}");
        assert!(*trusted == distrusted || distrusted.starts_with("wrong: "), "{trusted} {distrusted}");
    }
}
