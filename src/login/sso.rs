//! Logins at IAM Identity Center (SSO), in the token cache that the AWS CLI uses too.

pub(crate) mod cache_file;
pub(crate) mod logout;
pub(crate) mod session;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use crate::aws::registration::Registration;
use crate::aws::settings::Settings;
use crate::aws::sso_oidc;
use crate::aws::sso_oidc::OidcTokens;
use crate::cache::login_entry::{AccessToken, CacheEntry, CacheEntryError};
use crate::context::Context;
use crate::login::cache;
use crate::login::cache::{CurrentLogin, RefreshRefused, write};
use crate::login::sso::session::SsoSession;
use crate::model::error::SourceError;
use crate::model::secret::Secret;

/// The remaining lifetime below which a token is refreshed, as in botocore and the AWS CLI.
const WINDOW: Duration = Duration::from_secs(15 * 60);

/// A login with a valid token.
#[derive(Clone, Debug)]
pub(crate) struct SsoLogin {
    pub(crate) token: AccessToken,
    /// The moment from which a person has to log in again, if it is known.
    pub(crate) ends: Option<SystemTime>,
    /// The number of the login in this process. A refresh by this process keeps the number; a token that another
    /// program wrote into the cache gets a new number. So cached credentials of one login are not served for another
    /// login.
    pub(crate) lineage: u64,
}

/// Returns the login of a session. The token is refreshed first if it expires within 15 minutes.
///
/// The cache is read through the [`Context`], so that a new login wakes the refresher. Each cache file has one refresh
/// at a time, and the new token is written back. A failed refresh is logged as a warning as long as the token is valid.
/// `profile` is a profile with the legacy keys; the hint names it in the login command.
///
/// # Errors
/// [`ErrorKind::LoginRequired`](crate::model::error::ErrorKind::LoginRequired) with the command to run if a person has
/// to log in. Another kind if the file is not trusted, or if the token has expired and SSO-OIDC is not available.
pub(crate) async fn login(
    context: &Context,
    settings: &Settings,
    session: &SsoSession,
    profile: Option<&str>,
) -> Result<SsoLogin, SourceError> {
    let path = cache_file::path(&context.environment, session).ok_or_else(|| without_home().while_trying(session))?;
    let CurrentLogin { entry, token, is_last } =
        cache::current(context, &path, &CachedSsoSession { context, settings, session, profile }).await?;
    let ends = (is_last || !can_go_on(session, &entry, &token)).then_some(token.expires);
    Ok(SsoLogin { ends, lineage: context.login_state.lineage(&path, &token.token), token })
}

/// Returns true if the token can be refreshed at its end, because the registration is still valid then.
fn can_go_on(session: &SsoSession, entry: &CacheEntry, token: &AccessToken) -> bool {
    session.name.is_some()
        && entry.refresh_token().is_some_and(|(_, registration)| registration.expires + WINDOW > token.expires)
}

fn without_home() -> SourceError {
    SourceError::misconfigured("the home directory, and so the token cache, is unknown").with_hint("set HOME")
}

/// Writes a new login into the cache and replaces the login before.
///
/// # Errors
/// If the file cannot be written.
pub(crate) async fn store(
    context: &Context,
    session: &SsoSession,
    issued: OidcTokens,
    registration: &Registration,
) -> Result<PathBuf, SourceError> {
    let path = cache_file::path(&context.environment, session).ok_or_else(without_home)?;
    let mut entry = CacheEntry::default();
    let expires = context.clock.now() + issued.expires_in;
    entry.set_token(session, AccessToken { token: issued.access_token, expires }, issued.refresh_token);
    entry.set_registration(registration);
    write(context, &path, &entry).await?;
    Ok(path)
}

/// Returns the registration of an earlier login if it is valid until `until`. An unreadable file counts as missing.
pub(crate) async fn registration(context: &Context, session: &SsoSession, until: SystemTime) -> Option<Registration> {
    let path = cache_file::registration_path(&context.environment, session)?;
    let file = context.files.read(&path).await.ok()?;
    file.facts.trusted(&context.trust).ok()?;
    CacheEntry::parse(&file.bytes).ok()?.registration_alone().filter(|registration| registration.expires > until)
}

/// Keeps a registration for the next login.
///
/// # Errors
/// If the file cannot be written.
pub(crate) async fn keep_registration(
    context: &Context,
    session: &SsoSession,
    registration: &Registration,
) -> Result<(), SourceError> {
    let Some(path) = cache_file::registration_path(&context.environment, session) else { return Ok(()) };
    write(context, &path, &CacheEntry::of_registration(registration)).await
}

/// A session with its settings, for the login cache.
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

    /// The token of the legacy keys is never refreshed, as in the SDKs.
    fn refresh_token<'e>(&self, entry: &'e CacheEntry, now: SystemTime) -> Option<&'e Secret> {
        self.session.name.as_ref()?;
        let (refresh_token, registration) = entry.refresh_token()?;
        (registration.expires > now).then_some(refresh_token)
    }

    async fn refresh(&self, mut entry: CacheEntry) -> Result<CacheEntry, RefreshRefused> {
        let Some((refresh_token, registration)) = entry.refresh_token() else {
            return Err(SourceError::misconfigured("the token cache has no refresh token").into());
        };
        let issued = sso_oidc::refresh(self.context, self.settings, &registration, refresh_token)
            .await
            .map_err(|refused| RefreshRefused { ends_the_session: refused.ends_the_session(), error: refused.error })?;
        let expires = self.context.clock.now() + issued.expires_in;
        entry.set_token(self.session, AccessToken { token: issued.access_token, expires }, issued.refresh_token);
        Ok(entry)
    }
}
