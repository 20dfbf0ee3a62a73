//! The role of a profile: what is asked of STS.

use std::time::Duration;

use crate::aws::arn::can_be_asked_for;
use crate::model::error::SourceError;
use crate::model::text::{Escaped, usable};
use crate::shared_config::property::{Property, Section};
use crate::source::profile::plan::link::CredentialSource;
use crate::source::profile::plan::{DURATION_SECONDS, REWRITE, ROLE_ARN, ROLE_SESSION_NAME, error_at, value};
use crate::source::spec::RoleSpec;

/// What is asked of STS for the role of a profile, and where it stands.
///
/// # Errors
/// When something of it is no value that STS could take.
pub(crate) fn role(section: &Section) -> Result<(RoleSpec, &Property), SourceError> {
    let part = |name: &str| -> Result<Option<Box<str>>, SourceError> {
        let Some((text, at)) = value(section, name) else { return Ok(None) };
        let text = usable("text", text).map_err(|why| error_at(at, section, format!("{name}: {why}; {REWRITE}")))?;
        Ok(Some(text.into()))
    };
    let empty =
        || SourceError::misconfigured(format!("profile {}: there is no role_arn; add it", Escaped(section.name())));
    let at = section.get(ROLE_ARN).ok_or_else(empty)?;
    let arn = part(ROLE_ARN)?
        .ok_or_else(|| error_at(at, section, "role_arn is empty; write the ARN of a role, or remove the line"))?;
    if !can_be_asked_for(&arn) {
        let message = "role_arn is no name of a role, or one with white space; write one such as arn:aws:iam::123456789012:role/NAME";
        return Err(error_at(at, section, message));
    }
    let duration = value(section, DURATION_SECONDS).map(|(text, at)| {
        text.parse().map(Duration::from_secs).map_err(|_| {
            let message = "duration_seconds is no number of seconds; write one such as 3600";
            error_at(at, section, message)
        })
    });
    let role = RoleSpec {
        arn,
        session_name: part(ROLE_SESSION_NAME)?,
        external_id: part("external_id")?,
        duration: duration.transpose()?,
        mfa_serial: part("mfa_serial")?,
        ..RoleSpec::default()
    };
    Ok((role, at))
}

/// The longest word that is shown where `credential_source` has another than those there are. A secret key is longer.
const LONGEST_SHOWN: usize = 24;

/// What to say about a word that is no `credential_source`.
pub(crate) fn no_credential_source(word: &str) -> String {
    let is_plain = word.len() <= LONGEST_SHOWN && word.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let has = if is_plain { format!("is {word}, which") } else { "has a value that".into() };
    format!(
        "credential_source {has} is none of the three that there are; write Environment, Ec2InstanceMetadata or \
         EcsContainer"
    )
}

/// The word for a source that needs no profile, in any case.
pub(crate) fn credential_source(word: &str) -> Option<CredentialSource> {
    [
        ("Environment", CredentialSource::Environment),
        ("Ec2InstanceMetadata", CredentialSource::Ec2InstanceMetadata),
        ("EcsContainer", CredentialSource::EcsContainer),
    ]
    .into_iter()
    .find(|(name, _)| name.eq_ignore_ascii_case(word))
    .map(|(_, source)| source)
}
