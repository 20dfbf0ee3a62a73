//! Log-ins at IAM Identity Center (SSO): the token cache that is shared with the AWS CLI, and the tokens in it.

pub(crate) mod cache_file;
pub(crate) mod session;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

pub(crate) use crate::login::sso::session::SsoSession;

use crate::aws::registration::Registration;
use crate::aws::settings::Settings;
use crate::aws::sso_oidc;
use crate::aws::sso_oidc::OidcTokens;
use crate::cache::login_entry::{AccessToken, CacheEntry, CacheEntryError};
use crate::context::Context;
use crate::login::cache;
use crate::login::cache::{CurrentLogin, RefreshRefused, write};
use crate::model::error::SourceError;
use crate::model::secret::Secret;

/// A token with less than this left is refreshed, as in botocore and the AWS CLI.
const WINDOW: Duration = Duration::from_secs(15 * 60);

/// A log-in that is good now.
#[derive(Clone, Debug)]
pub(crate) struct SsoLogin {
    /// For the portal.
    pub(crate) token: AccessToken,
    /// The moment from which a person has to log in again, where it is known.
    pub(crate) ends: Option<SystemTime>,
    /// Which log-in of this process's life it is: a token that we refreshed belongs to the same one, a token that
    /// somebody else put into the cache to another. What was had for one log-in is not for the other.
    pub(crate) lineage: u64,
}

/// The log-in of a session, its token refreshed when less than 15 minutes of it are left.
///
/// The cache is read through the [`Context`], so that whoever loads hears of a new log-in. Refreshes are made one at a
/// time for each file of the cache, and written back; a failed one is a warning as long as the token is good. `profile`
/// is one that has the legacy keys, for the message of what to do.
///
/// # Errors
/// [`crate::model::error::ErrorKind::LoginRequired`] with the command to run when a person has to log in; another kind when the file is
/// not ours,
/// or SSO-OIDC cannot be asked and the token has ended.
pub(crate) async fn login(
    context: &Context,
    settings: &Settings,
    session: &SsoSession,
    profile: Option<&str>,
) -> Result<SsoLogin, SourceError> {
    let path = cache_file::path(&context.environment, session).ok_or_else(|| {
        SourceError::misconfigured(format!(
            "{session}: the home directory, and so the token cache, is unknown; set HOME"
        ))
    })?;
    let CurrentLogin { entry, token, is_last } =
        cache::current(context, &path, &CachedSsoSession { context, settings, session, profile }).await?;
    let ends = (is_last || !can_go_on(session, &entry, &token)).then_some(token.expires);
    Ok(SsoLogin { ends, lineage: context.login_state.lineage(&path, &token.token), token })
}

/// Whether a refresh will come: the last moment for it comes before the registration ends.
fn can_go_on(session: &SsoSession, entry: &CacheEntry, token: &AccessToken) -> bool {
    session.name.is_some()
        && entry.refresh_token().is_some_and(|(_, registration)| registration.expires + WINDOW > token.expires)
}

/// Puts a log-in that has just been made into the cache, in the place of the one before.
///
/// # Errors
/// When the file cannot be written.
pub(crate) async fn store(
    context: &Context,
    session: &SsoSession,
    issued: OidcTokens,
    registration: &Registration,
) -> Result<PathBuf, SourceError> {
    let path = cache_file::path(&context.environment, session).ok_or_else(|| {
        SourceError::misconfigured("the home directory, and so the token cache, is unknown; set HOME")
    })?;
    let mut entry = CacheEntry::default();
    let expires = context.clock.now() + issued.expires_in;
    entry.set_token(session, AccessToken { token: issued.access_token, expires }, issued.refresh_token);
    entry.set_registration(registration);
    write(context, &path, &entry).await?;
    Ok(path)
}

/// The registration that an earlier log-in left, if it is good at `until`. What cannot be read is not there.
pub(crate) async fn registration(context: &Context, session: &SsoSession, until: SystemTime) -> Option<Registration> {
    let path = cache_file::registration_path(&context.environment, session)?;
    let file = context.files.read(&path).await.ok()?;
    file.owner.trusted(context.uid(), &context.trusted_owners).ok()?;
    CacheEntry::parse(&file.bytes).ok()?.registration_alone().filter(|registration| registration.expires > until)
}

/// Keeps a registration for the next log-in.
///
/// # Errors
/// When the file cannot be written.
pub(crate) async fn keep_registration(
    context: &Context,
    session: &SsoSession,
    registration: &Registration,
) -> Result<(), SourceError> {
    let Some(path) = cache_file::registration_path(&context.environment, session) else { return Ok(()) };
    write(context, &path, &CacheEntry::of_registration(registration)).await
}

/// A session as the cache knows it.
struct CachedSsoSession<'a> {
    context: &'a Context,
    settings: &'a Settings,
    session: &'a SsoSession,
    profile: Option<&'a str>,
}

impl cache::CachedLogin for CachedSsoSession<'_> {
    fn session(&self) -> String {
        self.session.to_string()
    }

    fn remedy(&self) -> String {
        self.session.login_command(self.profile)
    }

    fn token(&self, entry: &CacheEntry) -> Result<AccessToken, CacheEntryError> {
        entry.access_token()
    }

    fn is_due(&self, token: &AccessToken, now: SystemTime) -> bool {
        token.expires < now + WINDOW
    }

    /// The legacy form is never refreshed, as in the SDKs.
    fn refresh_token<'e>(&self, entry: &'e CacheEntry, now: SystemTime) -> Option<&'e Secret> {
        self.session.name.as_ref()?;
        let (refresh_token, registration) = entry.refresh_token()?;
        (registration.expires > now).then_some(refresh_token)
    }

    async fn refresh(&self, mut entry: CacheEntry) -> Result<CacheEntry, RefreshRefused> {
        let Some((refresh_token, registration)) = entry.refresh_token() else {
            return Err(SourceError::misconfigured("the token cache has no refresh token").into());
        };
        let issued =
            sso_oidc::refresh(self.context, self.settings, &registration, refresh_token).await.map_err(|refused| {
                RefreshRefused { ends_the_session: refused.ends_the_session(), failure: refused.failure }
            })?;
        let expires = self.context.clock.now() + issued.expires_in;
        entry.set_token(self.session, AccessToken { token: issued.access_token, expires }, issued.refresh_token);
        Ok(entry)
    }
}
