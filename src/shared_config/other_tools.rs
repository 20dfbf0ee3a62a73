//! Properties that tools beside AWS's own write into the shared files, and that nothing else reads.

use crate::model::location::Location;
use crate::model::text::Escaped;
use crate::shared_config::section::{Property, Section};

/// The properties of aws-vault.
const AWS_VAULT: [&str; 5] =
    ["include_profile", "mfa_process", "session_tags", "transitive_session_tags", "source_identity"];

/// Returns a hint for each property of a profile that only another tool reads, with file and line.
pub(crate) fn hints(profile: &Section) -> impl Iterator<Item = String> {
    profile.properties().filter_map(|(name, property)| hint(profile.name(), name, property))
}

fn hint(profile: &str, name: &str, property: &Property) -> Option<String> {
    if AWS_VAULT.contains(&name) {
        let location = property.location().in_profile(profile);
        return Some(format!(
            "{location}: {name} is not used: only aws-vault reads it; write its meaning into this profile or into credenza.toml"
        ));
    }
    // AWS has such properties in `[services NAME]` sections only.
    let endpoint = property.sub_property("endpoint_url")?;
    let location = Location::line(property.path(), endpoint.line() as usize).in_profile(profile);
    Some(format!(
        "{location}: endpoint_url below {} is not used: only the AWS CLI with awscli-plugin-endpoint reads it; write \
         endpoint_url into the profile itself, or into a [services NAME] section",
        Escaped(name)
    ))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::shared_config::{FileContent, SharedConfig};

    #[test]
    fn hints_at_properties_of_other_tools() {
        let config = "[profile a]\ninclude_profile = b\nregion = r\nMFA_Process = p\ns3 =\n  addressing_style = path\n  \
                      endpoint_url = http://h\n[profile b]\nendpoint_url = http://h\ns3 =\n  max_queue_size = 1\n";
        let content = FileContent { path: Path::new("/c"), bytes: config.as_bytes() };
        let files = SharedConfig::parse(Some(content), None).unwrap();
        let hints_of = |name| hints(files.profile(name).unwrap()).collect::<Vec<_>>();
        let starts = [
            "/c, line 2: profile a: include_profile is not used: only aws-vault",
            "/c, line 4: profile a: mfa_process is not used: only aws-vault",
            "/c, line 7: profile a: endpoint_url below s3 is not used: only the AWS CLI with awscli-plugin-endpoint",
        ];
        let found = hints_of("a");
        assert_eq!(found.len(), starts.len(), "{found:?}");
        for (hint, start) in found.iter().zip(starts) {
            assert!(hint.starts_with(start), "{hint}");
        }
        assert_eq!(hints_of("b"), [""; 0]);
    }
}
