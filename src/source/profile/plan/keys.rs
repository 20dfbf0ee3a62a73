//! The keys of a profile.

use crate::model::credentials::Credentials;
use crate::model::error::SourceError;
use crate::model::text::InvalidText;
use crate::shared_config::SharedFile;
use crate::shared_config::property::{Property, Section};
use crate::source::profile::plan::link::{Method, ProfileLink};
use crate::source::profile::plan::{
    ACCESS_KEY_ID, ACCOUNT_ID, LEGACY_TOKEN, REWRITE, SECRET_ACCESS_KEY, SESSION_TOKEN, error_at, location, value,
};

/// What to do about half a pair.
const COMPLETE: &str = "add it, or remove this half";

/// The keys of a profile, as one unit of one file: those of the credentials file where it has any. Where each file has
/// a half and nothing of the other, as some people keep them, the two halves are the pair.
pub(crate) fn keys(section: &Section) -> Result<Option<ProfileLink>, SourceError> {
    let wrong = |at: &Property, message: String| error_at(at, section, message);
    let (id, secret) = match (value(section, ACCESS_KEY_ID), value(section, SECRET_ACCESS_KEY)) {
        (Some(id), Some(secret)) => (id, secret),
        (None, None) => return Ok(None),
        (Some((_, at)), None) => {
            return Err(wrong(at, format!("{ACCESS_KEY_ID} stands there without {SECRET_ACCESS_KEY}; {COMPLETE}")));
        }
        (None, Some((_, at))) => {
            return Err(wrong(at, format!("{SECRET_ACCESS_KEY} stands there without {ACCESS_KEY_ID}; {COMPLETE}")));
        }
    };
    let hidden = |name| section.get(name).is_some_and(Property::hides_another_file);
    if id.1.file() != secret.1.file() && (hidden(ACCESS_KEY_ID) || hidden(SECRET_ACCESS_KEY)) {
        let message = format!(
            "{ACCESS_KEY_ID} and {SECRET_ACCESS_KEY} come from different files, one of which has another key pair; keep \
             both halves in one file"
        );
        return Err(wrong(id.1, message));
    }
    // A token of the other file belongs to other keys.
    let token = [SESSION_TOKEN, LEGACY_TOKEN]
        .into_iter()
        .filter_map(|name| value(section, name))
        .find(|(_, token)| token.file() == id.1.file() || token.file() == secret.1.file())
        .map(|(token, _)| token);
    let credentials = Credentials::new(id.0, secret.0).and_then(|keys| keys.with_session_token(token));
    let credentials = credentials.map_err(|why: InvalidText| wrong(id.1, format!("{why}; {REWRITE}")))?;
    let credentials = credentials.with_account_id(value(section, ACCOUNT_ID).map(|(id, _)| id));
    Ok(Some(ProfileLink {
        profile: section.name().into(),
        location: location(id.1, section),
        way: Method::Keys(credentials),
    }))
}

/// The file of a property that says something.
pub(crate) fn file_of(section: &Section, name: &str) -> Option<SharedFile> {
    value(section, name).map(|(_, property)| property.file())
}
