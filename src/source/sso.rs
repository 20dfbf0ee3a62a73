//! Credentials of a role in IAM Identity Center (SSO).

use std::sync::Arc;

use crate::aws::settings::Settings;
use crate::aws::sso_portal::role_credentials;
use crate::cache::credentials::CachePolicy;
use crate::cache::key::CacheKeyBuilder;
use crate::context::Context;
use crate::login::sso;
use crate::login::sso::SsoLogin;
use crate::login::sso::session::{SsoSession, missing_section_hint};
use crate::model::credentials::{Credentials, LoginEnd};
use crate::model::error::{ErrorKind, SourceError};
use crate::model::outcome::Lookup;
use crate::model::text::Escaped;
use crate::shared_config::SharedConfig;
use crate::shared_config::locate::NamedPaths;
use crate::source::profile::files::{ProfileFiles, digest};
use crate::source::{BoxFuture, Source};

/// Exchanges the token of a login for credentials of a role at the SSO portal.
///
/// The token comes from the cache that the AWS CLI and `credenza login` write, `~/.aws/sso/cache`, and is refreshed if
/// the session has a refresh token. If the user has to log in, the source fails with [`ErrorKind::LoginRequired`] and
/// the command to run. A change of the cache file wakes the refresher. The source is always configured.
///
/// ```no_run
/// use credenza::{Context, ErrorKind, Lookup, Source, SsoCredentials, SsoSession};
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// let session = SsoSession::new("work", "https://example.awsapps.com/start", "eu-west-1");
/// let source = SsoCredentials::new(session, "123456789012", "Developer");
/// match source.load(&Context::from_environment()).await {
///     Lookup::Failed(error) if error.kind == ErrorKind::LoginRequired => println!("{error}"),
///     lookup => println!("{lookup:?}"),
/// }
/// # });
/// ```
#[derive(Clone, Debug)]
pub struct SsoCredentials {
    name: Box<str>,
    session: SsoSession,
    account_id: Box<str>,
    role_name: Box<str>,
    settings: Settings,
    profile: Option<Box<str>>,
}

impl SsoCredentials {
    /// Makes a source for this role in this account. `session` names the portal to log in to.
    #[must_use]
    pub fn new(session: SsoSession, account_id: &str, role_name: &str) -> Self {
        let name = match &session.name {
            Some(name) => format!("sso {}", Escaped(name)).into(),
            None => "sso".into(),
        };
        let (account_id, role_name) = (account_id.into(), role_name.into());
        Self { name, account_id, role_name, settings: Settings::default(), session, profile: None }
            .with_settings(Settings::default())
    }

    /// Returns this source with these settings for the portal and SSO-OIDC, but with the region of the session.
    pub(crate) fn with_settings(mut self, settings: Settings) -> Self {
        self.settings = settings.with_region(Some(self.session.region.clone()));
        self.settings.region_location = self.session.region_location.clone();
        self
    }

    /// Returns this source with the name of its profile for the login command in errors.
    #[must_use]
    pub fn of_profile(mut self, profile: &str) -> Self {
        self.profile = Some(profile.into());
        self
    }

    async fn credentials(&self, context: &Context) -> Result<Credentials, SourceError> {
        let login = sso::login(context, &self.settings, &self.session, self.profile.as_deref()).await?;
        let credentials = self.role(context, &login).await.map_err(|error| self.with_remedy(error))?;
        let remedy = || self.session.login_command(self.profile.as_deref()).into();
        let login_ends = login.ends.map(|at| Arc::new(LoginEnd { at, remedy: remedy(), is_mfa: false }));
        Ok(Credentials { login_ends, ..credentials })
    }

    /// Returns the credentials of the portal for this login. The cache key is made from region and endpoint of the
    /// session, account, role and [`SsoLogin::lineage`].
    async fn role(&self, context: &Context, login: &SsoLogin) -> Result<Credentials, SourceError> {
        let Self { session, account_id, role_name, settings, .. } = self;
        let key = CacheKeyBuilder::new("sso")
            .with(session.start_url.as_bytes())
            .with(session.region.as_bytes())
            .with(account_id.as_bytes())
            .with(role_name.as_bytes())
            .with(login.lineage.to_be_bytes())
            .with_value(&settings.cache_parts())
            .cache_key();
        let request = || role_credentials(context, settings, &login.token.token, account_id, role_name);
        context.credential_cache.obtain(&context.clock, key, CachePolicy::ISSUED, request).await
    }

    fn with_remedy(&self, error: SourceError) -> SourceError {
        let Self { session, .. } = self;
        match error.kind {
            ErrorKind::LoginRequired => {
                let hint = format!("run: {}", session.login_command(self.profile.as_deref()));
                let message = format!("the {session} is no longer accepted ({error})").into();
                SourceError { message, hint: Some(hint.into()), ..error }
            }
            ErrorKind::Denied => {
                let hint = format!(
                    "ask an administrator of {} for the role {} in account {}",
                    Escaped(&session.start_url),
                    Escaped(&self.role_name),
                    Escaped(&self.account_id)
                );
                SourceError { hint: Some(hint.into()), ..error }
            }
            _ => error,
        }
    }
}

// No region: that of the portal says nothing about the region in which the credentials are used.
impl Source for SsoCredentials {
    fn name(&self) -> &str {
        &self.name
    }

    fn load<'a>(&'a self, context: &'a Context) -> BoxFuture<'a, Lookup> {
        Box::pin(async move {
            let credentials = self.credentials(context).await;
            Lookup::from_result(credentials.map_err(|error| self.settings.locate(error, None)))
        })
    }
}

/// A source for a role, with a session of the shared config file: `{ sso_session = …, account_id = …, role_name = … }`.
#[derive(Clone, Debug)]
pub(crate) struct SsoRole {
    name: Box<str>,
    session: Box<str>,
    account_id: Box<str>,
    role_name: Box<str>,
}

impl SsoRole {
    /// Makes a source for this role and the section `[sso-session NAME]` of the config file.
    pub(crate) fn new(session: &str, account_id: &str, role_name: &str) -> Self {
        let name = format!("sso {}", Escaped(session)).into();
        Self { name, session: session.into(), account_id: account_id.into(), role_name: role_name.into() }
    }

    async fn source(&self, context: &Context) -> Result<SsoCredentials, SourceError> {
        let name = self.session.clone();
        let digest = move |files: &SharedConfig| digest(files.sso_session(&name), SESSION_PROPERTIES);
        let profiles = ProfileFiles::open(context, &NamedPaths::default(), digest).await?;
        let files = profiles.files()?;
        let section = files.sso_session(&self.session).ok_or_else(|| {
            let message = format!("there is no [sso-session {}] in {}", Escaped(&self.session), profiles.paths());
            SourceError::new(ErrorKind::Unsettled, message).with_hint(missing_section_hint(files, &self.session))
        })?;
        let sso = SsoCredentials::new(SsoSession::of_section(section)?, &self.account_id, &self.role_name);
        Ok(sso.with_settings(self.settings(context).await))
    }
}

/// The used properties of an `sso-session` section.
const SESSION_PROPERTIES: &[&str] = &["sso_start_url", "sso_region", "sso_registration_scopes"];

impl Source for SsoRole {
    fn name(&self) -> &str {
        &self.name
    }

    fn load<'a>(&'a self, context: &'a Context) -> BoxFuture<'a, Lookup> {
        Box::pin(async move {
            match self.source(context).await {
                Ok(source) => source.load(context).await,
                Err(error) => error.into(),
            }
        })
    }
}

#[cfg(test)]
mod tests;
