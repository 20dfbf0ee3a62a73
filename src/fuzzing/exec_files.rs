//! The files that `exec` writes for its child: a byte of flags, `~/.aws/config`, and `~/.aws/credentials` after a NUL.

use std::collections::BTreeMap;
use std::path::Path;

use crate::shared_config::render::{BesideProfiles, render};
use crate::shared_config::section::Property;
use crate::shared_config::{FileContent, SharedConfig, SharedFile};

/// Settings that only a trusted file may give.
const TRUSTED_ONLY: [&str; 6] =
    ["ca_bundle", "cli_pager", "endpoint_url", "ignore_configured_endpoint_urls", "plugins", "services"];

pub fn check(data: &[u8]) {
    let Some((flags, data)) = data.split_first() else { return };
    let mut parts = data.splitn(2, |byte| *byte == 0);
    let content = |path, bytes| FileContent { path: Path::new(path), bytes };
    let config = parts.next().map(|bytes| content("/config", bytes));
    let credentials = parts.next().map(|bytes| content("/credentials", bytes));
    let Ok(files) = SharedConfig::parse(config, credentials) else { return };
    let is_trusted = |file| flags & if file == SharedFile::Config { 1 } else { 2 } != 0;
    let trusted = |property: &Property| if is_trusted(property.file()) { Ok(()) } else { Err("is foreign".into()) };
    let keeps_profiles = flags & 4 != 0;
    for name in files.profiles().take(8) {
        let written = render(&files, files.profile(name), keeps_profiles.then(BesideProfiles::default), &trusted);
        assert!(written.left_out.iter().all(|left_out| !left_out.to_string().contains("hunter2")));
        let config = sections(&written.config);
        let credentials = sections(&written.credentials);
        assert!(keeps_profiles || credentials.is_empty(), "{credentials:?}");
        assert!(!credentials.contains_key("default") && !credentials.contains_key("DEFAULT"), "{credentials:?}");
        for name in config["default"].keys() {
            assert!(!name.starts_with("aws_") && !name.starts_with("sso_"), "{name}");
            assert!(!["credential_process", "role_arn", "source_profile"].contains(name), "{name}");
            assert!(
                is_trusted(SharedFile::Config) || is_trusted(SharedFile::Credentials) || !TRUSTED_ONLY.contains(name)
            );
        }
        let is_untrusted = !is_trusted(SharedFile::Config) && !is_trusted(SharedFile::Credentials);
        let kept = config.iter().chain(&credentials).filter(|(name, _)| **name != "default");
        assert!(!is_untrusted || kept.map(|(_, properties)| properties.len()).sum::<usize>() == 0, "{config:?}");
    }
}

/// Reads a text by the rules that all parsers have in common, and panics where some of them read it differently.
fn sections(text: &str) -> BTreeMap<&str, BTreeMap<&str, &str>> {
    let mut sections: BTreeMap<&str, BTreeMap<&str, &str>> = BTreeMap::new();
    let mut current = None;
    assert!(!text.chars().any(|c| c != '\n' && (c.is_control() || matches!(c, '\u{2028}' | '\u{2029}'))), "{text:?}");
    for line in text.split('\n').filter(|line| !line.is_empty()) {
        if let Some(header) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            assert!(!header.contains([']', '"']) && !sections.contains_key(header), "{text:?}");
            current = Some(sections.entry(header).or_default());
            continue;
        }
        let (name, value) = line.split_once('=').unwrap_or_else(|| panic!("{text:?}"));
        assert!(value.trim() == value && !name.contains([':', '#', ';', '[']), "{text:?}");
        let section = current.as_mut().unwrap_or_else(|| panic!("{text:?}"));
        match name.strip_prefix("  ") {
            Some(below) => assert!(!below.is_empty() && !below.starts_with(' '), "{text:?}"),
            None => assert_eq!(section.insert(name, value), None, "{text:?}"),
        }
    }
    sections
}
