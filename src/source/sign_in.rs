//! Credentials of an `aws login`: what a person may do in the console, at the command line.

pub(crate) mod cache_file;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::aws::dpop::DpopKey;
use crate::aws::settings::Settings;
use crate::aws::signin;
use crate::aws::signin::SigninGrant;
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

/// Credentials with no more than this left are refreshed, as in botocore and the SDK for Rust.
const WINDOW: Duration = Duration::from_secs(5 * 60);

/// Uses the credentials that `aws login` left in its cache, and has them refreshed as the AWS CLI and the SDKs do.
///
/// The cache is `~/.aws/login/cache`, or the folder that `AWS_LOGIN_CACHE_DIRECTORY` names. When a person has to log in,
/// it fails with [`crate::model::error::ErrorKind::LoginRequired`] and the command to run, and loads again as soon as the cache says
/// something else. It is always configured.
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
    /// The log-in of this name: the ARN that stands behind `login_session`.
    #[must_use]
    pub fn new(session: &str) -> Self {
        Self { session: session.into(), settings: Settings::default(), profile: None }
    }

    /// The same with these settings for calling AWS Sign-In; the region of the log-in goes before theirs.
    #[must_use]
    pub(crate) fn with_settings(mut self, settings: Settings) -> Self {
        self.settings = settings;
        self
    }

    /// The same, described by this profile: for the message that says where to log in.
    #[must_use]
    pub fn of_profile(mut self, profile: &str) -> Self {
        self.profile = Some(profile.into());
        self
    }

    async fn look(&self, context: &Context) -> Result<Credentials, SourceError> {
        let login = CachedSignIn { context, source: self };
        let path = cache_file::path(&context.environment, &self.session).ok_or_else(|| {
            let session = login.session();
            SourceError::misconfigured(format!(
                "{session}: the home directory, and so the cache of aws login, is unknown; set HOME or {}",
                cache_file::FOLDER_VARIABLE
            ))
        })?;
        let CurrentLogin { entry, token, is_last } = cache::current(context, &path, &login).await?;
        let credentials = cache_file::credentials(&entry).map_err(|why| SourceError::misconfigured(why.to_string()))?;
        // How long AWS goes on refreshing them stands nowhere: it is known only once it has said no.
        let login_ends = is_last.then(|| Arc::new(LoginEnd { at: token.expires, remedy: login.remedy().into() }));
        Ok(Credentials { login_ends, ..credentials })
    }
}

impl Source for SignInCredentials {
    fn name(&self) -> &'static str {
        "sign-in"
    }

    fn load<'a>(&'a self, context: &'a Context) -> BoxFuture<'a, Lookup> {
        Box::pin(async move { Lookup::from_result(self.look(context).await) })
    }

    /// Where Sign-In lives is no region for the credentials.
    fn region<'a>(&'a self, _: &'a Context) -> BoxFuture<'a, Option<Box<str>>> {
        Box::pin(std::future::ready(None))
    }
}

/// A sign-in session as the cache knows it.
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
        token.expires <= now + WINDOW
    }

    fn refresh_token<'e>(&self, entry: &'e CacheEntry, _: SystemTime) -> Option<&'e Secret> {
        Some(cache_file::grant(entry).ok()?.refresh_token)
    }

    async fn refresh(&self, mut entry: CacheEntry) -> Result<CacheEntry, RefreshRefused> {
        // Another key does not come of trying again.
        let lasting = |why: String| RefreshRefused { ends_the_session: true, failure: SourceError::misconfigured(why) };
        let found = cache_file::grant(&entry).map_err(|why| lasting(why.to_string()))?;
        let key = DpopKey::from_pem(found.key).map_err(|why| lasting(format!("the {} {why}", cache_file::KEY)))?;
        let region = found.region.map(|region| region.expose().into()).or_else(|| self.source.settings.region.clone());
        let settings = self.source.settings.clone().with_region(region);
        let grant = SigninGrant { client_id: found.client_id, refresh_token: found.refresh_token, key: &key };
        let issued = signin::refresh(self.context, &settings, &grant).await;
        let issued = issued.map_err(|signin::SigninError { ends_the_session, failure }| RefreshRefused {
            ends_the_session,
            failure,
        })?;
        let expires = self.context.clock.now() + issued.expires_in;
        cache_file::renew(&mut entry, &issued.credentials, expires, issued.refresh_token);
        Ok(entry)
    }
}
