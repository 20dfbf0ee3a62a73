//! Names of resources: `arn:PARTITION:SERVICE:REGION:ACCOUNT:RESOURCE`.

use std::fmt;

use crate::model::text::Escaped;

/// The account of a role (`…:iam::123456789012:role/…`) or of one that was assumed (`…:sts::…:assumed-role/…`): there it
/// is certain that credentials of that role belong to it.
#[must_use]
pub(crate) fn account_of_role(arn: &str) -> Option<&str> {
    let mut parts = arn.splitn(6, ':');
    let mut next = || parts.next();
    let (arn, _partition, service, _region, account, rest) = (next()?, next()?, next()?, next()?, next()?, next()?);
    let is_role = match service {
        "iam" => rest.starts_with("role/"),
        "sts" => rest.starts_with("assumed-role/"),
        _ => false,
    };
    (arn == "arn" && is_role).then_some(account)
}

/// The longest ARN that STS takes, in bytes.
pub(crate) const LONGEST: usize = 2048;

/// Whether STS can be asked for this role. What is a role the service knows best: other stores than AWS begin theirs with
/// `urn:`, or take any word.
#[must_use]
pub(crate) fn can_be_asked_for(arn: &str) -> bool {
    !arn.is_empty() && arn.len() <= LONGEST && !arn.contains(|c: char| c.is_whitespace() || c.is_control())
}

/// Whether a text looks like the name of a resource: `arn:…`, or `urn:…` in stores of others.
#[must_use]
pub(crate) fn looks_like_one(text: &str) -> bool {
    let start = text.get(..4).unwrap_or_default();
    start.eq_ignore_ascii_case("arn:") || start.eq_ignore_ascii_case("urn:")
}

/// A role for people to read. What does not look like one is not shown: a line that was mistyped can make a secret of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DisplayArn<'t>(pub &'t str);

impl fmt::Display for DisplayArn<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match looks_like_one(self.0) {
            true => Escaped(self.0).fmt(f),
            false => f.write_str("(not shown, for it is no ARN)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_a_secret_is_not_shown() {
        for name in ["arn:aws:iam::1:role/r", "urn:ecs:iam::ns:role/r", "ARN:x:\u{7}"] {
            assert_eq!(DisplayArn(name).to_string(), Escaped(name).to_string());
        }
        for word in ["", "arn", "hush/hush", "é:hush", "hush:arn:"] {
            assert_eq!(DisplayArn(word).to_string(), "(not shown, for it is no ARN)");
        }
    }
}
