//! `credenza.toml`.
#![cfg_attr(fuzzing, no_main)]

use credenza::config::{Config, ConfigError, Overrides};

pub fn check(data: &[u8]) {
    let parse = || Config::parse(data, &Overrides::default());
    match parse() {
        Ok(config) => {
            valid(&config);
            assert_eq!(parse(), Ok(config));
        }
        Err(errors) => wrong(data, &errors),
    }
}

fn valid(config: &Config) {
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
    assert!(!format!("{config:?}").contains("hush"), "a value of a secret is shown");
}

fn wrong(data: &[u8], errors: &[ConfigError]) {
    assert!(!errors.is_empty());
    let lines = 1 + data.iter().filter(|byte| **byte == b'\n').count();
    for error in errors {
        let shown = error.to_string();
        assert!((1..=lines).contains(&error.line) && error.column >= 1, "{shown}");
        assert!(!error.message.is_empty() && !shown.chars().any(char::is_control), "{shown:?}");
        assert!(!shown.contains("hunter2") || !is_value_only(data), "{shown}");
    }
}

/// Whether `hunter2` stands nowhere but directly behind `= "`, where only values begin, unless it is all a name in single
/// quotes.
fn is_value_only(data: &[u8]) -> bool {
    let mut starts = data.windows(7).enumerate().filter(|(_, window)| window == b"hunter2").map(|(at, _)| at);
    starts.all(|at| data[..at].ends_with(b"= \"")) && !data.contains(&b'\'')
}

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| check(data));
