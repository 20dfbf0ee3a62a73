//! The limits of STS for a session, checked before STS is asked.
//!
//! The numbers are those of the API reference of STS (AssumeRole, AssumeRoleWithWebIdentity, GetFederationToken).

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::model::policy::{MAX_POLICY_CHARACTERS, SessionPolicy};

/// The durations that AssumeRole accepts. The role may have a lower maximum.
pub(crate) const ROLE_DURATION: RangeInclusive<Duration> = Duration::from_secs(900)..=Duration::from_secs(12 * 3600);

/// The maximum duration of a role that is assumed with the session of another role (IAM User Guide, "Role chaining").
pub(crate) const MAX_CHAINED_DURATION: Duration = Duration::from_secs(3600);

/// The durations that GetFederationToken accepts.
pub(crate) const FEDERATION_DURATION: RangeInclusive<Duration> =
    Duration::from_secs(900)..=Duration::from_secs(129_600);

/// The lengths of a session name and of a source identity.
pub(crate) const NAME_LENGTH: RangeInclusive<usize> = 2..=64;

/// The lengths of the name of a federated user.
pub(crate) const FEDERATED_NAME_LENGTH: RangeInclusive<usize> = 2..=32;

const MAX_POLICY_ARNS: usize = 10;
const MAX_POLICY_ARN_LENGTH: RangeInclusive<usize> = 20..=2048;
const MAX_TAGS: usize = 50;
const TAG_KEY_LENGTH: RangeInclusive<usize> = 1..=128;

/// The maximum number of characters of the value of a tag.
pub(crate) const MAX_TAG_VALUE: usize = 256;

/// The prefix that AWS keeps for itself, in any case.
const RESERVED: &str = "aws:";

/// Returns true if STS accepts the character in a session name, a source identity and the name of a federated user:
/// `[\w+=,.@-]`.
pub(crate) fn is_of_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '+' | '=' | ',' | '.' | '@' | '-')
}

/// Returns true if STS accepts the character in a tag: `[\p{L}\p{Z}\p{N}_.:/=+\-@]`.
pub(crate) fn is_of_tag(c: char) -> bool {
    c.is_alphanumeric()
        || (c.is_whitespace() && !c.is_control())
        || matches!(c, '_' | '.' | ':' | '/' | '=' | '+' | '-' | '@')
}

/// Checks a name: a session name, a source identity, or that of a federated user.
pub(crate) fn check_name(what: &str, name: &str, length: &RangeInclusive<usize>) -> Result<(), String> {
    if !length.contains(&name.chars().count()) {
        return Err(format!("{what}: STS accepts {} to {} characters", length.start(), length.end()));
    }
    match name.chars().all(is_of_name) {
        true => Ok(()),
        false => Err(format!("{what}: STS accepts letters, digits and the characters _ + = , . @ -")),
    }
}

/// Checks a source identity.
pub(crate) fn check_source_identity(name: &str) -> Result<(), String> {
    check_name("source_identity", name, &NAME_LENGTH)?;
    check_unreserved("source_identity", name)
}

fn check_unreserved(what: &str, text: &str) -> Result<(), String> {
    match text.get(..RESERVED.len()).is_some_and(|prefix| prefix.eq_ignore_ascii_case(RESERVED)) {
        true => Err(format!("{what}: names that begin with aws: belong to AWS; choose another")),
        false => Ok(()),
    }
}

/// Checks an inline policy and managed policies together.
pub(crate) fn check_policies(policy: Option<&SessionPolicy>, arns: &[Box<str>]) -> Result<(), String> {
    if arns.len() > MAX_POLICY_ARNS {
        return Err(format!(
            "policy_arns: STS accepts {MAX_POLICY_ARNS} managed policies, and there are {}",
            arns.len()
        ));
    }
    arns.iter().try_for_each(|arn| check_policy_arn(arn))?;
    let inline = policy.map_or(0, SessionPolicy::characters);
    let managed: usize = arns.iter().map(|arn| arn.chars().count()).sum();
    if inline + managed > MAX_POLICY_CHARACTERS {
        return Err(format!(
            "the session policy has {inline} characters and the ARNs of managed policies {managed}; STS accepts \
             {MAX_POLICY_CHARACTERS} together: shorten the policy, or name fewer policies"
        ));
    }
    Ok(())
}

/// Checks the ARN of a managed policy.
pub(crate) fn check_policy_arn(arn: &str) -> Result<(), String> {
    // Stores other than AWS write `urn:`.
    let is_policy = match arn.splitn(6, ':').collect::<Vec<_>>()[..] {
        ["arn" | "urn", partition, "iam", "", account, resource] => {
            !partition.is_empty() && !account.is_empty() && resource.starts_with("policy/")
        }
        _ => false,
    };
    if is_policy && MAX_POLICY_ARN_LENGTH.contains(&arn.chars().count()) && !arn.contains(char::is_whitespace) {
        return Ok(());
    }
    Err("not the ARN of a managed policy; write it like arn:aws:iam::aws:policy/ReadOnlyAccess".into())
}

/// Checks the tags of a session.
pub(crate) fn check_tags(tags: &[(Box<str>, Box<str>)]) -> Result<(), String> {
    if tags.len() > MAX_TAGS {
        return Err(format!("tags: STS accepts {MAX_TAGS}, and there are {}", tags.len()));
    }
    for (number, (key, value)) in tags.iter().enumerate() {
        check_tag(key, value)?;
        if tags[..number].iter().any(|(other, _)| other.to_lowercase() == key.to_lowercase()) {
            return Err("tags: two keys differ only in upper and lower case, which STS refuses; rename one".into());
        }
    }
    Ok(())
}

/// Checks one tag of a session.
pub(crate) fn check_tag(key: &str, value: &str) -> Result<(), String> {
    if !TAG_KEY_LENGTH.contains(&key.chars().count()) || value.chars().count() > MAX_TAG_VALUE {
        return Err(format!(
            "tags: STS accepts keys of 1 to {} characters and values of at most {MAX_TAG_VALUE}",
            TAG_KEY_LENGTH.end()
        ));
    }
    if !key.chars().chain(value.chars()).all(is_of_tag) {
        return Err("tags: STS accepts letters, digits, spaces and the characters _ . : / = + - @".into());
    }
    check_unreserved("tags", key)
}

/// Checks the duration of a role's session. `is_chained` is true if the base is itself the session of a role.
pub(crate) fn check_role_duration(duration: Duration, is_chained: bool) -> Result<(), String> {
    if is_chained && duration > MAX_CHAINED_DURATION {
        return Err(
            "duration: a role that is assumed with the session of another role lasts 1h at most; shorten it".into()
        );
    }
    check_duration(duration, &ROLE_DURATION)
}

/// Checks the duration of a federated user's session.
pub(crate) fn check_federation_duration(duration: Duration) -> Result<(), String> {
    check_duration(duration, &FEDERATION_DURATION)
}

fn check_duration(duration: Duration, allowed: &RangeInclusive<Duration>) -> Result<(), String> {
    match allowed.contains(&duration) {
        true => Ok(()),
        false => {
            Err(format!("duration: STS accepts {} to {} seconds", allowed.start().as_secs(), allowed.end().as_secs()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tags(count: usize) -> Vec<(Box<str>, Box<str>)> {
        (0..count).map(|number| (format!("k{number}").into(), "v".into())).collect()
    }

    #[test]
    fn names_have_the_length_and_characters_of_sts() {
        for (name, is_valid) in [
            ("ab", true),
            ("a", false),
            ("", false),
            ("a_+=,.@-9", true),
            ("a b", false),
            ("aé", false),
            ("a/b", false),
            (&"a".repeat(64), true),
            (&"a".repeat(65), false),
        ] {
            assert_eq!(check_name("session_name", name, &NAME_LENGTH).is_ok(), is_valid, "{name}");
        }
        assert!(check_name("name", &"a".repeat(33), &FEDERATED_NAME_LENGTH).is_err());
        // The colon is in no name.
        assert!(check_source_identity("aws:x").is_err());
    }

    #[test]
    fn tags_have_the_limits_of_sts() {
        assert!(check_tags(&tags(50)).is_ok());
        assert!(check_tags(&tags(51)).unwrap_err().contains("accepts 50, and there are 51"));
        for (key, value, is_valid) in [
            ("Team name", "Größe 1/2 @x:y=+-_.", true),
            ("k", "", true),
            ("", "v", false),
            ("aws:k", "v", false),
            ("AWS:k", "v", false),
            ("k", "a\nb", false),
            ("k", "{client}", false),
            (&"k".repeat(128), &"v".repeat(256), true),
            (&"k".repeat(129), "v", false),
            ("k", &"v".repeat(257), false),
        ] {
            assert_eq!(check_tag(key, value).is_ok(), is_valid, "{key} {value}");
        }
        assert!(check_tags(&[("Team".into(), "a".into()), ("team".into(), "b".into())]).is_err());
    }

    #[test]
    fn policies_are_limited_together() {
        let policy = SessionPolicy::parse(r#"{"Statement":{"Effect":"Allow","Action":"*","Resource":"*"}}"#).unwrap();
        let arn = |length: usize| Box::from(format!("arn:aws:iam::aws:policy/{}", "a".repeat(length - 24)).as_str());
        assert!(check_policies(Some(&policy), &[]).is_ok());
        assert!(check_policies(Some(&policy), &[arn(2048 - policy.characters())]).is_ok());
        let error = check_policies(Some(&policy), &[arn(2049 - policy.characters())]).unwrap_err();
        assert!(
            error.starts_with("the session policy has 60 characters and the ARNs of managed policies 1989"),
            "{error}"
        );
        assert!(check_policies(None, &vec![arn(30); 10]).is_ok());
        assert!(check_policies(None, &vec![arn(30); 11]).unwrap_err().contains("accepts 10"));
        for wrong in [
            "",
            "ReadOnlyAccess",
            "arn:aws:iam::123456789012:role/r",
            "arn:aws:s3:::bucket/policy/aaaa",
            "arn:aws:iam::aws:policy/a b cccccc",
        ] {
            assert!(check_policy_arn(wrong).is_err(), "{wrong}");
        }
        assert!(check_policy_arn("arn:aws-cn:iam::123456789012:policy/path/p").is_ok());
    }

    #[test]
    fn durations_depend_on_the_base() {
        let seconds = Duration::from_secs;
        for (duration, is_chained, is_valid) in [
            (900, false, true),
            (899, false, false),
            (43_200, false, true),
            (43_201, false, false),
            (3600, true, true),
            (3601, true, false),
            (899, true, false),
        ] {
            assert_eq!(check_role_duration(seconds(duration), is_chained).is_ok(), is_valid, "{duration}");
        }
        for (duration, is_valid) in [(900, true), (899, false), (129_600, true), (129_601, false)] {
            assert_eq!(check_federation_duration(seconds(duration)).is_ok(), is_valid, "{duration}");
        }
    }
}
