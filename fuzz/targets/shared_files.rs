//! `~/.aws/config` and `~/.aws/credentials`, separated by a form feed.
#![cfg_attr(fuzzing, no_main)]

use std::collections::BTreeMap;
use std::path::Path;

use credenza::shared_files::{Content, ParseError, Property, Section, SharedFiles, render};

type Said = BTreeMap<String, (String, BTreeMap<String, String>)>;

pub fn check(data: &[u8]) {
    let mut parts = data.splitn(2, |byte| *byte == 0x0c);
    let config = parts.next().unwrap_or_default();
    let credentials = parts.next();
    let files = match parse(config, credentials) {
        Ok(files) => files,
        Err(error) => return wrong(&error, data),
    };
    let again = parse(config, credentials).expect("what was read once is read again");
    assert!(files.profiles().eq(again.profiles()) && files.warnings() == again.warnings());
    for warning in files.warnings() {
        let shown = warning.to_string();
        assert!(!shown.chars().any(char::is_control) && shown.len() < 4_000, "{shown:?}");
    }
    assert!(files.profiles().is_sorted_by(|a, b| a < b), "sorted, each once");
    for name in files.profiles() {
        let profile = files.profile(name).expect("every name has its profile");
        assert_eq!(said(profile), said(again.profile(name).expect("the same names")));
        values(profile);
        rendered(&files, profile);
    }
}

fn parse(config: &[u8], credentials: Option<&[u8]>) -> Result<SharedFiles, ParseError> {
    let content = |path, bytes| Content { path: Path::new(path), bytes };
    SharedFiles::parse(Some(content("/config", config)), credentials.map(|bytes| content("/credentials", bytes)))
}

fn said(section: &Section) -> Said {
    let said = section.properties().map(|(name, property)| {
        let below = property.sub_properties().map(|(name, it)| (name.to_owned(), it.value().to_owned()));
        (name.to_owned(), (property.value().to_owned(), below.collect()))
    });
    said.collect()
}

fn values(section: &Section) {
    assert!(!format!("{section:?}").contains("hunter2"), "a property is shown");
    for (name, property) in section.properties() {
        assert!(!name.is_empty() && !name.bytes().any(|byte| byte.is_ascii_uppercase() || byte <= b' '), "{name:?}");
        assert!(property.line() > 0 && !property.value().contains('\n') | property.sub_properties().next().is_none());
        assert!(!format!("{property:?}").contains("hunter2"), "a value is shown");
    }
}

/// What is rendered is read as the same settings, and has nothing about credentials.
fn rendered(files: &SharedFiles, profile: &Section) {
    let text = render(files, profile);
    let again = parse(text.as_bytes(), None).unwrap_or_else(|error| panic!("{error}: {text:?}"));
    assert_eq!(again.warnings(), [], "{text:?}");
    assert!(again.profiles().eq(["default"]), "{text:?}");
    let default = again.profile("default").expect("the only one");
    let mut expected = said(profile);
    expected.retain(|name, _| default.get(name).is_some() || !is_secret(name));
    for (name, (value, below)) in said(default) {
        assert!(!is_secret(&name) && !below.keys().any(|name| is_secret(name)), "{text:?}");
        assert_eq!(profile.get(&name).map(Property::value), Some(&*value), "{text:?}");
    }
    let kept = ["region", "output", "s3", "endpoint_url", "services"];
    for name in kept {
        assert_eq!(default.get(name).is_some(), expected.contains_key(name), "{name}: {text:?}");
    }
    assert_eq!(render(&again, default), text, "rendering twice changes nothing");
}

fn is_secret(name: &str) -> bool {
    name.starts_with("aws_") || name.starts_with("sso_") || ["role_arn", "credential_process"].contains(&name)
}

fn wrong(error: &ParseError, data: &[u8]) {
    let shown = error.to_string();
    assert!(!shown.chars().any(char::is_control) && shown.len() < 300, "{shown:?}");
    assert!(error.line > 0 && error.line as usize <= 1 + data.len(), "{shown}");
    assert!(!shown.contains("hunter2"), "{shown}");
}

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| check(data));
