//! A profile's settings, written out again as a config file of their own.

use crate::shared_config::SharedConfig;
use crate::shared_config::property::{Property, Section};

/// Properties that say where credentials come from, as the SDK reference guide, botocore, the CLI (`login_session`)
/// and tools beside them (`mfa_process`, `source_identity` and the tags of aws-vault, `x_…` of saml2aws) name them.
const ABOUT_CREDENTIALS: [&str; 16] = [
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

/// How names of whole families begin: keys, tokens, account and expiration (no setting of another kind begins with
/// `aws_`), single sign-on, and what saml2aws notes about a token.
const FAMILIES: [&str; 3] = ["aws_", "sso_", "x_security_token_"];

/// The text of a config file whose `[default]` has the settings of this profile, and in which the `[services]` section
/// that they name stands as well.
///
/// Every setting is there with its sub-properties, except those about credentials and roles: a program that is given
/// this file and the address of a broker finds its credentials there and nowhere else.
#[must_use]
pub(crate) fn render(files: &SharedConfig, profile: &Section) -> String {
    let mut text = String::from("[default]\n");
    for (name, property) in profile.properties().filter(|(name, _)| is_setting(name)) {
        write(name, property, &mut text);
    }
    if let Some(services) = profile.get("services").and_then(|name| files.services(name.value())) {
        text.extend(["[services ", services.name(), "]\n"]);
        // The names of services are no names of settings: `sso_oidc` is one of them.
        let is_service = |property: &Property| property.sub_properties().next().is_some();
        for (name, property) in services.properties().filter(|(name, it)| is_service(it) || is_setting(name)) {
            write(name, property, &mut text);
        }
    }
    text
}

/// Nothing stands around the `=`, lest a value that begins with `#` become a comment.
fn write(name: &str, property: &Property, text: &mut String) {
    text.extend([name, "=", &property.value().replace('\n', "\n  "), "\n"]);
    for (name, sub_property) in property.sub_properties().filter(|(name, _)| is_setting(name)) {
        text.extend(["  ", name, "=", sub_property.value(), "\n"]);
    }
}

fn is_setting(name: &str) -> bool {
    !ABOUT_CREDENTIALS.contains(&name) && !FAMILIES.iter().any(|family| name.starts_with(family))
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
    fn settings_are_written_and_credentials_are_not() {
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
    fn services_that_are_not_there_are_named_only() {
        assert_eq!(
            rendered("[profile p]\nservices = gone\n[services other]\ns3 =\n a = b\n"),
            "[default]\nservices=gone\n"
        );
        assert_eq!(rendered("[profile p]\n[services other]\ns3 =\n a = b\n"), "[default]\n");
    }
}
