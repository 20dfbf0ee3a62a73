//! `~/.aws/config` and `~/.aws/credentials`, with a form feed between them.

use std::collections::BTreeMap;
use std::path::Path;

use crate::shared_config::error::ParseError;
use crate::shared_config::render::render;
use crate::shared_config::section::{Property, Section};
use crate::shared_config::{FileContent, SharedConfig};

/// The properties of a section by name: value and sub-properties.
pub(crate) type Properties = BTreeMap<String, (String, BTreeMap<String, String>)>;

pub fn check(data: &[u8]) {
    let mut parts = data.splitn(2, |byte| *byte == 0x0c);
    let config = parts.next().unwrap_or_default();
    let credentials = parts.next();
    let files = match parse(config, credentials) {
        Ok(files) => files,
        Err(error) => return check_error(&error, data),
    };
    let again = parse(config, credentials).expect("the same bytes parse again");
    assert!(files.profiles().eq(again.profiles()) && files.warnings() == again.warnings());
    for warning in files.warnings() {
        let shown = warning.to_string();
        assert!(!shown.chars().any(char::is_control) && shown.len() < 4_000, "{shown:?}");
    }
    assert!(files.profiles().is_sorted_by(|a, b| a < b), "names are sorted and unique");
    for name in files.profiles() {
        let profile = files.profile(name).expect("each name has a profile");
        assert_eq!(properties(profile), properties(again.profile(name).expect("the same names")));
        check_values(profile);
        check_rendering(&files, profile);
    }
}

fn parse(config: &[u8], credentials: Option<&[u8]>) -> Result<SharedConfig, ParseError> {
    let content = |path, bytes| FileContent { path: Path::new(path), bytes };
    SharedConfig::parse(Some(content("/config", config)), credentials.map(|bytes| content("/credentials", bytes)))
}

pub(crate) fn properties(section: &Section) -> Properties {
    let properties = section.properties().map(|(name, property)| {
        let below = property.sub_properties().map(|(name, it)| (name.to_owned(), it.value().to_owned()));
        (name.to_owned(), (property.value().to_owned(), below.collect()))
    });
    properties.collect()
}

fn check_values(section: &Section) {
    assert!(!format!("{section:?}").contains("hunter2"), "Debug shows a property");
    for (name, property) in section.properties() {
        assert!(!name.is_empty() && !name.bytes().any(|byte| byte.is_ascii_uppercase() || byte <= b' '), "{name:?}");
        assert!(property.line() > 0 && !property.value().contains('\n') | property.sub_properties().next().is_none());
        assert!(!format!("{property:?}").contains("hunter2"), "Debug shows a value");
    }
}

/// Panics unless the rendered text parses as the same settings without credentials.
fn check_rendering(files: &SharedConfig, profile: &Section) {
    let render = |files, profile| render(files, Some(profile), None, &|_| Ok(())).config.to_string();
    let text = render(files, profile);
    let again = parse(text.as_bytes(), None).unwrap_or_else(|error| panic!("{error}: {text:?}"));
    assert_eq!(again.warnings(), [], "{text:?}");
    assert!(again.profiles().eq(["default"]), "{text:?}");
    let default = again.profile("default").expect("it is the only profile");
    let mut expected = properties(profile);
    expected.retain(|name, _| default.get(name).is_some() || !is_secret(name));
    for (name, (value, below)) in properties(default) {
        assert!(!is_secret(&name) && !below.keys().any(|name| is_secret(name)), "{text:?}");
        assert_eq!(profile.get(&name).map(Property::value), Some(&*value), "{text:?}");
    }
    let kept = ["region", "output", "s3", "endpoint_url", "services"];
    for name in kept {
        let is_plain = expected.get(name).is_some_and(|(value, below)| {
            below.values().chain([value]).all(|value| value.bytes().all(|byte| byte.is_ascii_graphic()))
                && !below.keys().any(|name| name.contains(':'))
        });
        assert!(default.get(name).is_some() || !is_plain, "{name}: {text:?}");
    }
    assert_eq!(render(&again, default), text, "rendering twice changes nothing");
}

fn is_secret(name: &str) -> bool {
    name.starts_with("aws_") || name.starts_with("sso_") || ["role_arn", "credential_process"].contains(&name)
}

fn check_error(error: &ParseError, data: &[u8]) {
    let shown = error.to_string();
    assert!(!shown.chars().any(char::is_control) && shown.len() < 300, "{shown:?}");
    assert!(error.line > 0 && error.line as usize <= 1 + data.len(), "{shown}");
    assert!(!shown.contains("hunter2"), "{shown}");
}
