//! `credenza.toml`.

use crate::config::{Config, ConfigError, Overrides};

pub fn check(data: &[u8]) {
    let parse = || Config::parse(data, &Overrides::default());
    match parse() {
        Ok(config) => {
            assert_valid(&config);
            assert_eq!(parse(), Ok(config));
        }
        Err(errors) => assert_located(data, &errors),
    }
}

fn assert_valid(config: &Config) {
    assert!(config.identities.contains_key("default"));
    assert!(config.server.max_connections > 0);
    for (name, identity) in &config.identities {
        assert_eq!(name, &identity.name);
        assert!(!name.as_str().is_empty() && !name.as_str().chars().any(char::is_control), "{name:?}");
        assert!(!identity.sources.is_empty(), "{name:?}");
        let regions = identity.sources.iter().filter_map(|source| source.region.as_deref());
        regions.for_each(|region| assert!(!region.is_empty() && !region.chars().any(char::is_control), "{region:?}"));
        assert!(!identity.load_timeout.is_zero() && !identity.long_lived_expiration.is_zero(), "{name:?}");
    }
    assert!(!format!("{config:?}").contains("hush"), "Debug shows a secret");
}

fn assert_located(data: &[u8], errors: &[ConfigError]) {
    assert!(!errors.is_empty());
    let lines = 1 + data.iter().filter(|byte| **byte == b'\n').count();
    for error in errors {
        let shown = error.to_string();
        assert!((1..=lines).contains(&error.line) && error.column >= 1, "{shown}");
        assert!(!error.message.is_empty() && !shown.chars().any(char::is_control), "{shown:?}");
        assert!(!shown.contains("hunter2") || !is_value_only(data), "{shown}");
    }
}

/// Returns true if each `hunter2` follows `= "` directly, where only values begin. A text with single quotes does not
/// count, because a quoted name may hold `= "`.
fn is_value_only(data: &[u8]) -> bool {
    let mut starts = data.windows(7).enumerate().filter(|(_, window)| window == b"hunter2").map(|(at, _)| at);
    starts.all(|at| data[..at].ends_with(b"= \"")) && !data.contains(&b'\'')
}
