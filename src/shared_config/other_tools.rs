//! Properties of the shared files that nothing reads here: those of tools beside AWS's own, and misspelled ones.

use crate::model::location::Location;
use crate::model::nearest::nearest;
use crate::model::text::Escaped;
use crate::shared_config::section::{Property, Section};

/// The properties of aws-vault.
const AWS_VAULT: [&str; 5] =
    ["include_profile", "mfa_process", "session_tags", "transitive_session_tags", "source_identity"];

/// The properties about credentials that people write by hand.
const WRITTEN: [&str; 19] = [
    "aws_access_key_id",
    "aws_secret_access_key",
    "aws_session_token",
    "credential_process",
    "credential_source",
    "duration_seconds",
    "endpoint_url",
    "external_id",
    "login_session",
    "mfa_serial",
    "region",
    "role_arn",
    "role_session_name",
    "source_profile",
    "sso_account_id",
    "sso_region",
    "sso_role_name",
    "sso_session",
    "sso_start_url",
];

/// The maximum number of letters by which a misspelled property differs. More would hit properties of other tools.
const MOST_WRONG_LETTERS: usize = 2;

/// Returns a hint for each property of a profile that only another tool reads, or that is misspelled, with file and line.
pub(crate) fn hints(profile: &Section) -> impl Iterator<Item = String> {
    profile.properties().filter_map(|(name, property)| {
        hint(profile.name(), name, property).or_else(|| misspelled(profile, name, property))
    })
}

/// The hint shows no name of the file: a line of a secret may look like one.
fn misspelled(profile: &Section, name: &str, property: &Property) -> Option<String> {
    if WRITTEN.contains(&name) {
        return None;
    }
    let meant = nearest(name, WRITTEN.into_iter())?;
    let is_near = strsim::damerau_levenshtein(name, meant) <= MOST_WRONG_LETTERS;
    (is_near && profile.get(meant).is_none()).then(|| {
        let location = property.location().in_profile(profile.name());
        format!("{location}: this property is not used; did you mean {meant}?")
    })
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

    #[test]
    fn hints_at_misspelled_properties() {
        let config = "[profile a]\nrol_arn = r\nsource_profil = b\nregion = r\nsso_sesion = s\noutput = json\nreg1on = x\n\
                      cli_pager = less\naws_account_id = 1\nretry_mode = adaptive\nmfa_seriall = m\n";
        let content = FileContent { path: Path::new("/c"), bytes: config.as_bytes() };
        let files = SharedConfig::parse(Some(content), None).unwrap();
        let found: Vec<_> = hints(files.profile("a").unwrap()).collect();
        let hint =
            |line, meant| format!("/c, line {line}: profile a: this property is not used; did you mean {meant}?");
        let mut expected =
            [hint(2, "role_arn"), hint(3, "source_profile"), hint(5, "sso_session"), hint(11, "mfa_serial")].to_vec();
        let mut found = found;
        found.sort();
        expected.sort();
        assert_eq!(found, expected);
    }
}
