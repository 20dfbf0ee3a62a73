//! Amazon Resource Names: `arn:PARTITION:SERVICE:REGION:ACCOUNT:RESOURCE`.

use std::fmt;

use crate::model::text::Escaped;

/// The account of a role (`…:iam::123456789012:role/…`) or of an assumed role (`…:sts::…:assumed-role/…`). The
/// credentials of the role belong to this account.
pub(crate) fn account_of_role(arn: &str) -> Option<&str> {
    let mut parts = arn.splitn(6, ':');
    let mut next = || parts.next();
    let (arn, _partition, service, _region, account, rest) = (next()?, next()?, next()?, next()?, next()?, next()?);
    let is_role = match service {
        "iam" => rest.starts_with("role/"),
        "sts" => rest.starts_with("assumed-role/"),
        _ => false,
    };
    (arn == "arn" && is_role && is_account_id(account)).then_some(account)
}

/// The account of a federated user: `arn:aws:sts::123456789012:federated-user/NAME`.
pub(crate) fn account_of_federated_user(arn: &str) -> Option<&str> {
    match arn.splitn(6, ':').collect::<Vec<_>>()[..] {
        ["arn", _, "sts", _, account, user] if user.starts_with("federated-user/") && is_account_id(account) => {
            Some(account)
        }
        _ => None,
    }
}

/// Returns true if the text is the id of an AWS account: twelve digits.
#[must_use]
pub(crate) fn is_account_id(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Returns the reason why a text is no account id, without the text, for a message after the name of the setting.
#[must_use]
pub(crate) fn wrong_account_id(text: &str) -> String {
    match text.bytes().all(|byte| byte.is_ascii_digit()) {
        true => format!("has {} digits, and an account id has 12 digits", text.len()),
        false => "is not an account id, which has 12 digits".into(),
    }
}

/// The hint for a text that is no account id. Spreadsheets and YAML drop leading zeros.
pub(crate) const REWRITE_ACCOUNT_ID: &str = "write all 12, with the leading zeros";

/// The maximum length of an ARN in bytes, by the API reference of STS.
pub(crate) const LONGEST: usize = 2048;

/// Returns true if a request to STS can carry this role. The service decides if it is a role: stores other than AWS
/// accept `urn:…` or any word.
pub(crate) fn is_sendable_role(arn: &str) -> bool {
    !arn.is_empty() && arn.len() <= LONGEST && !arn.contains(|c: char| c.is_whitespace() || c.is_control())
}

/// Returns true if the text begins like a resource name: `arn:…`, or `urn:…` in stores other than AWS.
pub(crate) fn looks_like_arn(text: &str) -> bool {
    let start = text.get(..4).unwrap_or_default();
    start.eq_ignore_ascii_case("arn:") || start.eq_ignore_ascii_case("urn:")
}

/// Prints a role. A text that does not look like an ARN is not shown: after a typing error it may be a secret.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DisplayArn<'t>(pub &'t str);

impl fmt::Display for DisplayArn<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match looks_like_arn(self.0) {
            true => Escaped(self.0).fmt(f),
            false => f.write_str("(not shown: it is not an ARN)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hides_text_that_is_not_an_arn() {
        for name in ["arn:aws:iam::1:role/r", "urn:ecs:iam::ns:role/r", "ARN:x:\u{7}"] {
            assert_eq!(DisplayArn(name).to_string(), Escaped(name).to_string());
        }
        for word in ["", "arn", "hush/hush", "é:hush", "hush:arn:"] {
            assert_eq!(DisplayArn(word).to_string(), "(not shown: it is not an ARN)");
        }
    }
}
