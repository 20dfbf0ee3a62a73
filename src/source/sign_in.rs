//! Credentials of an `aws login`: the user's permissions of the AWS console, for the command line.

pub(crate) mod cache_file;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::aws::dpop::DpopKey;
use crate::aws::settings::Settings;
use crate::aws::signin::{self, SigninError, SigninGrant};
use crate::cache::login_entry::{AccessToken, CacheEntry, CacheEntryError};
use crate::context::Context;
use crate::login::cache;
use crate::login::cache::{CachedLogin, CurrentLogin, RefreshRefused};
use crate::model::credentials::{Credentials, LoginEnd};
use crate::model::error::SourceError;
use crate::model::outcome::Lookup;
use crate::model::secret::Secret;
use crate::model::text::{Escaped, Quoted};
use crate::source::{BoxFuture, Source};

/// Credentials are refreshed this long before their end, as in botocore and the SDK for Rust.
const REFRESH_WINDOW: Duration = Duration::from_secs(5 * 60);

/// Uses the credentials in the cache of `aws login`, and refreshes them as the AWS CLI and the SDKs do.
///
/// The cache is `~/.aws/login/cache`, or the folder that `AWS_LOGIN_CACHE_DIRECTORY` names. If the user has to log in,
/// the source fails with [`crate::model::error::ErrorKind::LoginRequired`] and the command to run. A change of the
/// cache file wakes the refresher. The source is always configured.
///
/// ```no_run
/// use credenza::{Context, ErrorKind, Lookup, SignInCredentials, Source};
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// let source = SignInCredentials::new("arn:aws:iam::123456789012:user/me").of_profile("dev");
/// match source.load(&Context::from_environment()).await {
///     Lookup::Failed(error) if error.kind == ErrorKind::LoginRequired => println!("{error}"),
///     lookup => println!("{lookup:?}"),
/// }
/// # });
/// ```
#[derive(Clone, Debug)]
pub struct SignInCredentials {
    session: Box<str>,
    settings: Settings,
    profile: Option<Box<str>>,
}

impl SignInCredentials {
    /// Makes a source for the login with this name, which is the ARN in `login_session`.
    #[must_use]
    pub fn new(session: &str) -> Self {
        Self { session: session.into(), settings: Settings::default(), profile: None }
    }

    /// Returns this source with these settings for AWS Sign-In. The region of the login takes precedence over the
    /// region of the settings.
    pub(crate) fn with_settings(mut self, settings: Settings) -> Self {
        self.settings = settings;
        self
    }

    /// Returns this source with the name of its profile for the login command in errors.
    #[must_use]
    pub fn of_profile(mut self, profile: &str) -> Self {
        self.profile = Some(profile.into());
        self
    }

    async fn credentials(&self, context: &Context) -> Result<Credentials, SourceError> {
        let login = CachedSignIn { context, source: self };
        context.environment.check_text(&[cache_file::FOLDER_VARIABLE])?;
        let path = cache_file::path(&context.environment, &self.session).ok_or_else(|| {
            let session = login.session();
            let message = format!("{session}: the home directory, and so the cache of aws login, is unknown");
            SourceError::misconfigured(message).with_hint(format!("set HOME or {}", cache_file::FOLDER_VARIABLE))
        })?;
        let CurrentLogin { entry, token, is_last } = cache::current(context, &path, &login).await?;
        let credentials =
            cache_file::credentials(&entry).map_err(|error| SourceError::misconfigured(error.to_string()))?;
        // The end of the login is known only after AWS has refused a refresh: the file does not hold it.
        let login_ends =
            is_last.then(|| Arc::new(LoginEnd { at: token.expires, remedy: login.remedy().into(), is_mfa: false }));
        Ok(Credentials { login_ends, ..credentials })
    }
}

// No region: that of Sign-In says nothing about the region in which the credentials are used.
impl Source for SignInCredentials {
    fn name(&self) -> &'static str {
        "sign-in"
    }

    fn load<'a>(&'a self, context: &'a Context) -> BoxFuture<'a, Lookup> {
        Box::pin(async move { Lookup::from_result(self.credentials(context).await) })
    }
}

/// The sign-in session, as the login cache uses it.
struct CachedSignIn<'a> {
    context: &'a Context,
    source: &'a SignInCredentials,
}

impl CachedLogin for CachedSignIn<'_> {
    fn session(&self) -> String {
        format!("sign-in session {}", Escaped(&self.source.session))
    }

    fn remedy(&self) -> String {
        match &self.source.profile {
            Some(profile) => format!("aws login --profile {}", Quoted(profile)),
            None => "aws login".into(),
        }
    }

    fn token(&self, entry: &CacheEntry) -> Result<AccessToken, CacheEntryError> {
        cache_file::token(entry)
    }

    fn is_due(&self, token: &AccessToken, now: SystemTime) -> bool {
        token.expires <= now + REFRESH_WINDOW
    }

    fn refresh_token<'e>(&self, entry: &'e CacheEntry, _: SystemTime) -> Option<&'e Secret> {
        Some(cache_file::grant(entry).ok()?.refresh_token)
    }

    async fn refresh(&self, mut entry: CacheEntry) -> Result<CacheEntry, RefreshRefused> {
        // A wrong key in the file stays wrong: a retry cannot help.
        let permanent =
            |message: String| RefreshRefused { ends_the_session: true, error: SourceError::misconfigured(message) };
        let stored = cache_file::grant(&entry).map_err(|error| permanent(error.to_string()))?;
        let key =
            DpopKey::from_pem(stored.key).map_err(|error| permanent(format!("the {} {error}", cache_file::KEY)))?;
        let region = stored.region.map(|region| region.expose().into()).or_else(|| self.source.settings.region.clone());
        let settings = self.source.settings.clone().with_region(region);
        let grant = SigninGrant { client_id: stored.client_id, refresh_token: stored.refresh_token, key: &key };
        let issued = signin::refresh(self.context, &settings, &grant).await;
        let issued =
            issued.map_err(|SigninError { ends_the_session, error }| RefreshRefused { ends_the_session, error })?;
        let expires = self.context.clock.now() + issued.expires_in;
        cache_file::renew(&mut entry, &issued.credentials, expires, issued.refresh_token);
        Ok(entry)
    }
}
