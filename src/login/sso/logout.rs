//! Ends a login at IAM Identity Center: at the access portal, and in the token cache.

use std::path::PathBuf;

use crate::aws::settings::Settings;
use crate::aws::sso_portal;
use crate::cache::login_entry::CacheEntry;
use crate::context::Context;
use crate::login::sso::cache_file;
use crate::login::sso::session::SsoSession;
use crate::model::error::SourceError;
use crate::model::text::Escaped;

/// A login that was ended.
#[derive(Debug)]
pub(crate) struct EndedLogin {
    /// The file that was removed.
    pub(crate) path: PathBuf,
    /// The reason why the portal was not told. Its token is then valid until its end.
    pub(crate) portal_error: Option<SourceError>,
}

/// Ends the login of a session. `None` if there is no login.
///
/// The portal is told first, as by `aws sso logout`, and the file is removed in any case.
///
/// # Errors
/// If the file cannot be removed.
pub(crate) async fn logout(
    context: &Context,
    settings: &Settings,
    session: &SsoSession,
) -> Result<Option<EndedLogin>, SourceError> {
    let Some(path) = cache_file::path(&context.environment, session) else { return Ok(None) };
    let file = match context.files.read(&path).await {
        Ok(file) => file,
        Err(error) if error.is_missing() => return Ok(None),
        Err(error) => return Err(SourceError::misconfigured(error.to_string())),
    };
    // A file of another user tells no token of ours, and its token is sent nowhere.
    let is_trusted = file.facts.trusted(&context.trust).is_ok();
    let token = CacheEntry::parse(&file.bytes).ok().filter(|_| is_trusted).and_then(|entry| entry.access_token().ok());
    let portal_error = match token.filter(|token| token.expires > context.clock.now()) {
        Some(token) => sso_portal::logout(context, settings, &token.token).await.err(),
        None => None,
    };
    let removed = std::fs::remove_file(&path);
    removed.map_err(|error| {
        SourceError::misconfigured(format!("cannot remove {}: {error}", Escaped(&path.to_string_lossy())))
    })?;
    Ok(Some(EndedLogin { path, portal_error }))
}
