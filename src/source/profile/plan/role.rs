//! The role of a profile, as a request to STS.

use std::time::Duration;

use crate::aws::arn::is_sendable_role;
use crate::model::error::SourceError;
use crate::model::text::{Escaped, usable};
use crate::shared_config::section::{Property, Section};
use crate::source::profile::plan::link::CredentialSource;
use crate::source::profile::plan::{DURATION_SECONDS, REWRITE, ROLE_ARN, ROLE_SESSION_NAME, error_at, value};
use crate::source::spec::RoleSpec;

/// Returns the request to STS for the role of a profile, and the property `role_arn`.
///
/// # Errors
/// A value that STS would not accept.
pub(crate) fn role(section: &Section) -> Result<(RoleSpec, &Property), SourceError> {
    let part = |name: &str| -> Result<Option<Box<str>>, SourceError> {
        let Some((text, at)) = value(section, name) else { return Ok(None) };
        let text = usable("text", text)
            .map_err(|error| error_at(at, section, format!("{name}: {error}")).with_hint(REWRITE))?;
        Ok(Some(text.into()))
    };
    let missing = || {
        let message = format!("profile {}: there is no role_arn", Escaped(section.name()));
        SourceError::misconfigured(message).with_hint("add it")
    };
    let at = section.get(ROLE_ARN).ok_or_else(missing)?;
    let arn = part(ROLE_ARN)?.ok_or_else(|| {
        error_at(at, section, "role_arn is empty").with_hint("write the ARN of a role, or remove the line")
    })?;
    if !is_sendable_role(&arn) {
        return Err(error_at(at, section, "role_arn is not the ARN of a role, or has white space in it")
            .with_hint("write one such as arn:aws:iam::123456789012:role/NAME"));
    }
    let duration = value(section, DURATION_SECONDS).map(|(text, at)| {
        text.parse().map(Duration::from_secs).map_err(|_| {
            error_at(at, section, "duration_seconds is not a number of seconds").with_hint("write one such as 3600")
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

/// The maximum length of an unknown `credential_source` in a message. Secret keys are longer.
const MAX_SHOWN_WORD: usize = 24;

/// Makes an error of an unknown `credential_source`.
pub(crate) fn unknown_credential_source(word: &str, at: &Property, section: &Section) -> SourceError {
    let is_plain = word.len() <= MAX_SHOWN_WORD && word.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let shown = if is_plain { format!("the unknown value {word}") } else { "an unknown value".into() };
    error_at(at, section, format!("credential_source has {shown}"))
        .with_hint("write Environment, Ec2InstanceMetadata or EcsContainer")
}

/// Parses `credential_source`, in upper or lower case.
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
