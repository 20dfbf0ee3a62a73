//! Finds the way from a source back to the profile that would start this program.

use crate::cli::args::complete::words_of_line;
use crate::config::Config;
use crate::model::identity_name::IdentityName;
use crate::model::text::Escaped;
use crate::shared_config::SharedConfig;
use crate::source::profile::dependencies::dependencies;
use crate::source::spec::{SourceKind, SourceSpec};

/// The maximum number of programs of ours that start each other on a way. Real ways have one or two.
const MAX_DEPTH: usize = 8;

/// Returns the way from these sources to a profile, for a message. `None` if there is none.
pub(super) fn way_back(files: &SharedConfig, config: &Config, sources: &[SourceSpec], profile: &str) -> Option<String> {
    LoopGuard { files, config, profile }.of_sources(sources, 0)
}

struct LoopGuard<'a> {
    files: &'a SharedConfig,
    config: &'a Config,
    /// The profile that is written.
    profile: &'a str,
}

impl LoopGuard<'_> {
    fn of_sources(&self, sources: &[SourceSpec], depth: usize) -> Option<String> {
        sources.iter().find_map(|source| self.of_source(&source.kind, depth))
    }

    fn of_source(&self, source: &SourceKind, depth: usize) -> Option<String> {
        match source {
            SourceKind::Profile { name: Some(name), .. } => self.of_profile(name, depth),
            SourceKind::Profile { name: None, .. } if self.profile == "default" => {
                Some("a source is the profile of AWS_PROFILE, else default".into())
            }
            SourceKind::Profile { name: None, .. } => {
                let name = Escaped(self.profile);
                Some(format!("a source is the profile of AWS_PROFILE, which programs set to {name}"))
            }
            SourceKind::AssumeRole { base, .. } => self.of_source(&base.kind, depth),
            _ => None,
        }
    }

    fn of_profile(&self, name: &str, depth: usize) -> Option<String> {
        if name == self.profile {
            return Some(format!("a source is profile {}", Escaped(name)));
        }
        for section in dependencies(self.files, name) {
            let is_profile = self.files.profile(section.name()).is_some_and(|found| std::ptr::eq(found, section));
            if !is_profile {
                continue;
            }
            if section.name() == self.profile {
                return Some(format!("profile {} has it as its source_profile", Escaped(name)));
            }
            let program = section.get("credential_process").filter(|_| depth < MAX_DEPTH);
            if let Some(way) = program.and_then(|program| self.of_program(program.value(), depth + 1)) {
                return Some(format!("profile {} starts credenza, and there {way}", Escaped(section.name())));
            }
        }
        None
    }

    /// Follows a program that is this one.
    fn of_program(&self, line: &str, depth: usize) -> Option<String> {
        let program = line.split_whitespace().next()?.trim_matches(['"', '\'']);
        if !program.ends_with("credenza") {
            return None;
        }
        let words: Vec<String> = words_of_line(line).iter().map(|word| word.to_string_lossy().into_owned()).collect();
        let value = |flag: &str| {
            let next = words.iter().position(|word| word == flag).and_then(|at| words.get(at + 1));
            next.cloned()
                .or_else(|| words.iter().find_map(|word| word.strip_prefix(flag)?.strip_prefix('=').map(str::to_owned)))
        };
        if let Some(profile) = value("--profile") {
            return self.of_profile(&profile, depth);
        }
        let identity = value("--identity").map(IdentityName::new).unwrap_or_default();
        self.of_sources(&self.config.identity(&identity)?.sources, depth)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::Overrides;
    use crate::shared_config::FileContent;

    #[test]
    fn finds_ways_back() {
        let text = "[default]\nregion = r\n[profile a]\nsource_profile = b\nrole_arn = r\n[profile b]\naws_access_key_id = k\n\
                    [profile own]\ncredential_process = /usr/bin/credenza get --profile a\n\
                    [profile ring]\ncredential_process = 'credenza' get --profile=ring\n\
                    [profile implicit]\ncredential_process = credenza get\n\
                    [profile other]\ncredential_process = /bin/other get --profile b\n";
        let content = FileContent { path: Path::new("/c"), bytes: text.as_bytes() };
        let files = SharedConfig::parse(Some(content), None).unwrap();
        let config = Config::parse(b"", &Overrides::default()).unwrap();
        let source = |name: Option<&str>| {
            let name = name.map(Into::into);
            SourceSpec::from(SourceKind::Profile { name, credentials_file: None, config_file: None })
        };
        for (source_profile, written, expected) in [
            (Some("a"), "new", None),
            (Some("a"), "a", Some("a source is profile a")),
            (Some("a"), "b", Some("source_profile")),
            (Some("own"), "b", Some("profile own starts credenza")),
            (Some("other"), "b", None),
            (Some("ring"), "new", None),
            (Some("implicit"), "new", Some("AWS_PROFILE")),
            (None, "default", Some("else default")),
            (None, "new", Some("AWS_PROFILE")),
        ] {
            let found = way_back(&files, &config, &[source(source_profile)], written);
            match (expected, &found) {
                (None, None) => {}
                (Some(part), Some(way)) if way.contains(part) => {}
                _ => panic!("{source_profile:?} {written}: {found:?}"),
            }
        }
    }
}
