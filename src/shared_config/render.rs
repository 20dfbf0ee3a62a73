//! Writes the settings of a profile as a separate config file. rust-ini writes the text, in the grammar that our parser
//! reads.

use ini::{EscapePolicy, Ini, LineSeparator, Properties, WriteOption};

use crate::shared_config::SharedConfig;
use crate::shared_config::section::{Property, Section};

/// The properties that say where credentials come from. The names are from the SDK reference guide, botocore and the
/// AWS CLI (`login_session`). Others are from aws-vault (`mfa_process`, `source_identity`, the tags) and saml2aws
/// (`x_…`).
const CREDENTIAL_PROPERTIES: [&str; 16] = [
    "credential_process",
    "credential_source",
    "duration_seconds",
    "external_id",
    "login_session",
    "mfa_process",
    "mfa_serial",
    "role_arn",
    "role_session_name",
    "session_tags",
    "source_identity",
    "source_profile",
    "transitive_session_tags",
    "user_identity",
    "web_identity_token_file",
    "x_principal_arn",
];

/// The prefixes of further credential properties: keys, tokens, account and expiration (no setting of another kind
/// begins with `aws_`), single sign-on, and the notes of saml2aws about a token.
const CREDENTIAL_PREFIXES: [&str; 3] = ["aws_", "sso_", "x_security_token_"];

/// Returns the text of a config file with the settings of this profile as `[default]`, and with the `[services]`
/// section that they name.
///
/// The text has every setting with its sub-properties, except settings about credentials and roles. So a program with
/// this file and the address of a broker gets credentials only from the broker.
pub(crate) fn render(files: &SharedConfig, profile: &Section) -> String {
    let mut ini = Ini::new();
    let settings = properties(profile, |name, _| is_setting(name));
    ini.entry(Some("default".into())).or_insert(settings);
    if let Some(services) = profile.get("services").and_then(|name| files.services(name.value())) {
        // Keep every name with sub-properties: in a `services` section `sso_oidc` is a service, not a credential
        // property.
        let is_service = |property: &Property| property.sub_properties().next().is_some();
        let services_settings = properties(services, |name, property| is_service(property) || is_setting(name));
        ini.entry(Some(format!("services {}", services.name()))).or_insert(services_settings);
    }
    let options = WriteOption {
        // Write values without escapes: the grammar has no escapes.
        escape_policy: EscapePolicy::Nothing,
        line_separator: LineSeparator::CR,
        // Write no white space around `=`: before a value that begins with `#` it would begin a comment.
        kv_separator: "=",
    };
    let mut text = Vec::new();
    ini.write_to_opt(&mut text, options).expect("a vector takes all bytes");
    String::from_utf8(text).expect("an Ini holds text")
}

fn properties(section: &Section, is_kept: impl Fn(&str, &Property) -> bool) -> Properties {
    let mut kept = Properties::new();
    for (name, property) in section.properties().filter(|(name, property)| is_kept(name, property)) {
        kept.insert(name, value_lines(property));
    }
    kept
}

/// Returns the value with indented continuation lines and sub-properties, as a file has them after the name.
fn value_lines(property: &Property) -> String {
    let mut lines = property.value().replace('\n', "\n  ");
    for (name, sub_property) in property.sub_properties().filter(|(name, _)| is_setting(name)) {
        lines.extend(["\n  ", name, "=", sub_property.value()]);
    }
    lines
}

fn is_setting(name: &str) -> bool {
    !CREDENTIAL_PROPERTIES.contains(&name) && !CREDENTIAL_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::shared_config::FileContent;

    fn files(config: &str) -> SharedConfig {
        let content = FileContent { path: Path::new("/config"), bytes: config.as_bytes() };
        SharedConfig::parse(Some(content), None).unwrap()
    }

    fn rendered(config: &str) -> String {
        let files = files(config);
        render(&files, files.profile("p").unwrap())
    }

    #[test]
    fn writes_settings_without_credentials() {
        let config = "
[default]
output = text
[profile p]
aws_access_key_id = AKIA
aws_secret_access_key = hunter2
aws_session_token = hunter2
aws_security_token = hunter2
aws_session_token:hunter2= =
aws_account_id = 1
role_arn = r
source_profile = s
credential_source = c
credential_process = p
external_id = e
role_session_name = n
duration_seconds = 900
mfa_serial = m
web_identity_token_file = f
login_session = l
sso_session = x
sso_start_url = u
sso_account_id = 1
region = eu-west-1
endpoint_url=#x
s3 =
  addressing_style = path # kept
  aws_secret_access_key = hunter2
user_agent_appid = a
  # b
services = mine
[services mine]
sso_oidc =
  endpoint_url = http://o
aws_secret_access_key = hunter2
s3 =
  endpoint_url = http://s
[services other]
s3 =
  endpoint_url = http://o
[sso-session x]
sso_start_url = u
";
        let expected = "[default]
endpoint_url=#x
region=eu-west-1
s3=
  addressing_style=path # kept
services=mine
user_agent_appid=a
  # b

[services mine]
s3=
  endpoint_url=http://s
sso_oidc=
  endpoint_url=http://o
";
        assert_eq!(rendered(config), expected);
    }

    #[test]
    fn keeps_the_name_of_missing_services() {
        assert_eq!(
            rendered("[profile p]\nservices = gone\n[services other]\ns3 =\n a = b\n"),
            "[default]\nservices=gone\n"
        );
        assert_eq!(rendered("[profile p]\n[services other]\ns3 =\n a = b\n"), "[default]\n");
    }
}
