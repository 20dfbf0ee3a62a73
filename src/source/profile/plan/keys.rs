//! The static keys of a profile.

use std::time::SystemTime;

use crate::model::credentials::Credentials;
use crate::model::error::SourceError;
use crate::model::location::Location;
use crate::model::text::InvalidText;
use crate::model::time::parse_session_end;
use crate::shared_config::SharedFile;
use crate::shared_config::section::{Property, Section};
use crate::source::profile::plan::link::{Method, ProfileLink};
use crate::source::profile::plan::trust::{PropertyTrust, check_pair};
use crate::source::profile::plan::{
    ACCESS_KEY_ID, ACCOUNT_ID, LEGACY_TOKEN, REWRITE, SECRET_ACCESS_KEY, SESSION_ENDS, SESSION_TOKEN, error_at, link,
    location, value,
};

/// Returns the keys of a profile. Both halves come from one file; the credentials file takes precedence. But if each
/// file has only one half, as some users keep them, the two halves are the pair.
pub(crate) fn keys(section: &Section, trusted: PropertyTrust<'_>) -> Result<Option<ProfileLink>, SourceError> {
    let half = |at, set: &str, unset: &str| {
        Err(error_at(at, section, format!("{set} is set without {unset}")).with_hint("add it, or remove this half"))
    };
    let (id, secret) = match (value(section, ACCESS_KEY_ID), value(section, SECRET_ACCESS_KEY)) {
        (Some(id), Some(secret)) => (id, secret),
        (None, None) => return Ok(None),
        (Some((_, at)), None) => return half(at, ACCESS_KEY_ID, SECRET_ACCESS_KEY),
        (None, Some((_, at))) => return half(at, SECRET_ACCESS_KEY, ACCESS_KEY_ID),
    };
    let hidden = |name| section.get(name).is_some_and(Property::hides_another_file);
    if id.1.file() != secret.1.file() && (hidden(ACCESS_KEY_ID) || hidden(SECRET_ACCESS_KEY)) {
        let message = format!(
            "{ACCESS_KEY_ID} and {SECRET_ACCESS_KEY} come from different files, one of which has another key pair"
        );
        return Err(error_at(id.1, section, message).with_hint("keep both halves in one file"));
    }
    check_pair(section, trusted, [(ACCESS_KEY_ID, id.1), (SECRET_ACCESS_KEY, secret.1)])?;
    // Ignore a session token or the end of a session from another file: they belong to other keys.
    let is_of_keys = |at: &Property| at.file() == id.1.file() || at.file() == secret.1.file();
    let token = [SESSION_TOKEN, LEGACY_TOKEN]
        .into_iter()
        .filter_map(|name| value(section, name))
        .find(|(_, token)| is_of_keys(token))
        .map(|(token, _)| token);
    let account = value(section, ACCOUNT_ID).filter(|(_, at)| is_of_keys(at) || trusted(at).is_ok());
    let (ends, ends_at) = session_end(section, is_of_keys)?.unzip();
    let credentials = Credentials::new(id.0, secret.0).and_then(|keys| keys.with_session_token(token));
    let credentials = credentials.map_err(|error: InvalidText| error_at(id.1, section, error).with_hint(REWRITE))?;
    let credentials = credentials.with_account_id(account.map(|(id, _)| id));
    let credentials = Credentials { expiration: ends, location: ends_at, ..credentials };
    Ok(Some(link(id.1, section, Method::Keys(credentials))))
}

/// The properties by which awsume marks its profiles.
const OF_AWSUME: [&str; 3] = ["manager", "autoawsume", "awsumepy_command"];

/// Returns the earliest end of the session that login tools have written beside the keys, with its location.
///
/// # Errors
/// An end that cannot be read. Without it, keys that have ended would be served as fresh.
fn session_end(
    section: &Section,
    is_of_keys: impl Fn(&Property) -> bool,
) -> Result<Option<(SystemTime, Location)>, SourceError> {
    let mut first: Option<(SystemTime, Location)> = None;
    for name in SESSION_ENDS {
        let Some((text, at)) = value(section, name).filter(|(_, at)| is_of_keys(at)) else { continue };
        // awsume writes `expiration` in local time, of a zone that the file does not name.
        let is_of_awsume = || OF_AWSUME.iter().any(|name| section.get(name).is_some());
        if name == "expiration" && parse_session_end(text, false) == Err("has no time zone") && is_of_awsume() {
            continue;
        }
        // aws-mfa writes `expiration` in UTC without a time zone.
        let end = parse_session_end(text, name == "expiration").map_err(|why| {
            error_at(at, section, format!("{name} {why}, so that the end of the session is unknown"))
                .with_hint("write it like 2026-11-23T16:00:00Z, or remove the line")
        })?;
        if first.as_ref().is_none_or(|(earliest, _)| end < *earliest) {
            first = Some((end, location(at, section)));
        }
    }
    Ok(first)
}

/// Returns the file of a property that is not blank.
pub(crate) fn file_of(section: &Section, name: &str) -> Option<SharedFile> {
    value(section, name).map(|(_, property)| property.file())
}
