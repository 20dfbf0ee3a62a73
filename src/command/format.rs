//! The forms in which `get` prints credentials.

use std::time::{Duration, SystemTime};

use zeroize::Zeroizing;

use crate::clock::timestamp;
use crate::credentials::Credentials;

/// What `get` prints.
#[derive(Debug)]
pub struct Printed<'a> {
    /// The credentials.
    pub credentials: &'a Credentials,
    /// The region, where one is known.
    pub region: Option<&'a str>,
}

impl Printed<'_> {
    /// The document that a `credential_process` prints (version 1, as the AWS CLI documents it).
    #[must_use]
    pub fn process(&self) -> Zeroizing<String> {
        #[derive(serde::Serialize)]
        #[serde(rename_all = "PascalCase")]
        struct Document<'a> {
            version: u8,
            access_key_id: &'a str,
            secret_access_key: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            session_token: Option<&'a str>,
            #[serde(skip_serializing_if = "Option::is_none")]
            expiration: Option<String>,
            #[serde(skip_serializing_if = "Option::is_none")]
            account_id: Option<&'a str>,
        }
        let credentials = self.credentials;
        let document = Document {
            version: 1,
            access_key_id: &credentials.access_key_id,
            secret_access_key: credentials.secret_access_key.expose(),
            session_token: credentials.session_token.as_ref().map(crate::secret::Secret::expose),
            expiration: credentials.expiration.map(timestamp),
            account_id: credentials.account_id.as_deref(),
        };
        let mut text = Zeroizing::new(Vec::with_capacity(16 * 1024));
        let _ = serde_json::to_writer_pretty(&mut *text, &document);
        text.push(b'\n');
        Zeroizing::new(String::from_utf8_lossy(&text).into_owned())
    }

    /// Lines for `eval` in a POSIX shell. What these credentials lack is unset, so that nothing of others stays behind.
    #[must_use]
    pub fn env(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(String::with_capacity(16 * 1024));
        for (name, value) in self.variables() {
            match value {
                Some(value) => {
                    text.push_str("export ");
                    text.push_str(name);
                    text.push('=');
                    quote(&mut text, &value);
                }
                None => {
                    text.push_str("unset ");
                    text.push_str(name);
                }
            }
            text.push('\n');
        }
        text
    }

    /// The variables of these credentials; `None` for those that have to be unset. The region and the endpoint of
    /// before stay where these credentials say nothing of them.
    fn variables(&self) -> Vec<(&'static str, Option<Zeroizing<String>>)> {
        let credentials = self.credentials;
        let text = |text: &str| Some(Zeroizing::new(text.to_owned()));
        let mut variables = vec![
            ("AWS_ACCESS_KEY_ID", text(&credentials.access_key_id)),
            ("AWS_SECRET_ACCESS_KEY", text(credentials.secret_access_key.expose())),
            ("AWS_SESSION_TOKEN", credentials.session_token.as_ref().and_then(|token| text(token.expose()))),
            ("AWS_CREDENTIAL_EXPIRATION", credentials.expiration.and_then(|end| text(&timestamp(end)))),
            ("AWS_ACCOUNT_ID", credentials.account_id.as_deref().and_then(text)),
        ];
        if let Some(region) = self.region {
            variables.extend([("AWS_REGION", text(region)), ("AWS_DEFAULT_REGION", text(region))]);
        }
        if let Some(endpoint) = credentials.endpoint.as_deref() {
            variables.push(("AWS_ENDPOINT_URL_S3", text(endpoint)));
        }
        variables
    }
}

/// A duration in its two largest units: `2 h 5 min`, `45 s`.
#[must_use]
pub fn human(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let parts = [(seconds / 86_400, "d"), (seconds / 3600 % 24, "h"), (seconds / 60 % 60, "min"), (seconds % 60, "s")];
    let first = parts.iter().position(|(count, _)| *count > 0).unwrap_or(parts.len() - 1);
    let shown = parts.iter().skip(first).take(2).filter(|(count, unit)| *count > 0 || *unit == "s" && first == 3);
    shown.map(|(count, unit)| format!("{count} {unit}")).collect::<Vec<_>>().join(" ")
}

/// A moment as seen from another: `in 5 min`, `now`, `2 h ago`.
#[must_use]
pub fn instant(at: SystemTime, now: SystemTime) -> String {
    match at.duration_since(now) {
        Ok(left) if left.as_secs() == 0 => "now".into(),
        Ok(left) => format!("in {}", human(left)),
        Err(since) => format!("{} ago", human(since.duration())),
    }
}

/// Quotes for a POSIX shell: everything between single quotes stands for itself, but for the single quote.
fn quote(text: &mut String, value: &str) {
    text.push('\'');
    for part in value.split_inclusive('\'') {
        match part.strip_suffix('\'') {
            Some(before) => {
                text.push_str(before);
                text.push_str("'\\''");
            }
            None => text.push_str(part),
        }
    }
    text.push('\'');
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use proptest::prelude::*;

    use super::*;

    fn temporary() -> Credentials {
        let end = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_449_600);
        let keys = Credentials::new("AKIA1", "se'cr\"et").unwrap().with_session_token(Some("tok")).unwrap();
        keys.with_expiration(Some(end)).with_account_id(Some("123456789012"))
    }

    #[test]
    fn durations_for_people() {
        let table = [
            (0, "0 s"),
            (59, "59 s"),
            (60, "1 min"),
            (61, "1 min 1 s"),
            (3600, "1 h"),
            (7500, "2 h 5 min"),
            (90_061, "1 d 1 h"),
        ];
        for (seconds, text) in table {
            assert_eq!(human(Duration::from_secs(seconds)), text);
        }
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(100);
        assert_eq!(
            (instant(now - Duration::from_secs(60), now), instant(now, now)),
            ("1 min ago".into(), "now".into())
        );
    }

    #[test]
    fn process_prints_version_1_and_only_what_there_is() {
        let json = |credentials: &Credentials| -> serde_json::Value {
            serde_json::from_str(&Printed { credentials, region: None }.process()).unwrap()
        };
        let expected = serde_json::json!({
            "Version": 1, "AccessKeyId": "AKIA1", "SecretAccessKey": "se'cr\"et", "SessionToken": "tok",
            "Expiration": "2026-11-23T16:00:00Z", "AccountId": "123456789012",
        });
        assert_eq!(json(&temporary()), expected);
        let expected = serde_json::json!({ "Version": 1, "AccessKeyId": "A", "SecretAccessKey": "s" });
        assert_eq!(json(&Credentials::new("A", "s").unwrap()), expected);
    }

    #[test]
    fn env_unsets_what_is_not_there() {
        let keys = Credentials { endpoint: Some("http://h:9000".into()), ..Credentials::new("A", "s").unwrap() };
        let text = Printed { credentials: &keys, region: Some("eu-west-1") }.env();
        let expected = "export AWS_ACCESS_KEY_ID='A'\nexport AWS_SECRET_ACCESS_KEY='s'\nunset AWS_SESSION_TOKEN\n\
                        unset AWS_CREDENTIAL_EXPIRATION\nunset AWS_ACCOUNT_ID\nexport AWS_REGION='eu-west-1'\n\
                        export AWS_DEFAULT_REGION='eu-west-1'\nexport AWS_ENDPOINT_URL_S3='http://h:9000'\n";
        assert_eq!(*text, expected);
        assert!(Printed { credentials: &temporary(), region: None }.env().contains("export AWS_SESSION_TOKEN='tok'\n"));
    }

    /// What a shell makes of the printed lines.
    fn evaluated(text: &str) -> String {
        let script = format!("{text}printf %s \"$AWS_SECRET_ACCESS_KEY\"");
        let output = Command::new("sh").arg("-c").arg(script).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    }

    #[test]
    fn a_shell_reads_every_printable_byte_as_it_was() {
        let secret: String = (0x21..0x7f_u8).map(char::from).collect();
        let keys = Credentials::new("A", &secret).unwrap();
        assert_eq!(evaluated(&Printed { credentials: &keys, region: None }.env()), secret);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn a_shell_reads_any_secret_as_it_was(secret in "[^\\p{C}\\s]{1,40}") {
            let keys = Credentials::new("A", &secret).unwrap();
            prop_assert_eq!(evaluated(&Printed { credentials: &keys, region: None }.env()), secret);
        }
    }
}
