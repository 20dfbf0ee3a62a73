//! Assumes a role with a token from a file, which Kubernetes or an OIDC provider renews.

use std::path::PathBuf;

use crate::aws::arn::DisplayArn;
use crate::aws::settings::Settings;
use crate::aws::sts;
use crate::cache::credentials::CachePolicy;
use crate::context::Context;
use crate::model::credentials::Credentials;
use crate::model::error::{ErrorKind, SourceError};
use crate::model::outcome::Lookup;
use crate::model::policy::SessionPolicy;
use crate::model::secret::Secret;
use crate::model::text::{Escaped, InvalidText, usable};
use crate::os::environment::Environment;
use crate::source::policy_file::policy_of;
use crate::source::role_narrowing::RoleNarrowing;
use crate::source::role_session::{cache_key, session_name};
use crate::source::spec::{RoleSpec, TextSource};
use crate::source::static_keys::read;
use crate::source::{BoxFuture, Source};

const ROLE_ARN: &str = "AWS_ROLE_ARN";
const TOKEN_FILE: &str = "AWS_WEB_IDENTITY_TOKEN_FILE";
/// The hint for a missing token.
pub(crate) const TOKEN_FILE_HINT: &str = "check that the token is written to this path, and that this user may read it";

const SESSION_NAME: &str = "AWS_ROLE_SESSION_NAME";

/// Assumes a role with the token of a file. Each load reads the file again, because tokens rotate, and a change of the
/// file wakes the refresher. A new token makes a new session.
#[derive(Clone, Debug)]
pub struct WebIdentityCredentials {
    name: Box<str>,
    role: RoleSpec,
    token_file: PathBuf,
    settings: Option<Settings>,
    region: Option<Box<str>>,
}

impl WebIdentityCredentials {
    /// Makes a source for this role with the token in this file.
    #[must_use]
    pub fn new(role: RoleSpec, token_file: impl Into<PathBuf>) -> Self {
        let name = format!("web identity {}", DisplayArn(&role.arn)).into();
        Self { name, role, token_file: token_file.into(), settings: None, region: None }
    }

    /// Makes the source that `AWS_WEB_IDENTITY_TOKEN_FILE`, `AWS_ROLE_ARN` and `AWS_ROLE_SESSION_NAME` describe. `None`
    /// if the token file is not set.
    ///
    /// # Errors
    /// `AWS_WEB_IDENTITY_TOKEN_FILE` is set without `AWS_ROLE_ARN`, or a value is not UTF-8.
    pub(crate) fn of_environment(environment: &Environment) -> Result<Option<Self>, SourceError> {
        let Some(token_file) = environment.text(TOKEN_FILE)? else { return Ok(None) };
        let arn = environment.text(ROLE_ARN)?.ok_or_else(|| {
            SourceError::misconfigured(format!("{TOKEN_FILE} is set and {ROLE_ARN} is not"))
                .with_hint("set both, or unset both")
        })?;
        let session_name = environment.text(SESSION_NAME)?.map(Into::into);
        Ok(Some(Self::new(RoleSpec { arn: arn.into(), session_name, ..RoleSpec::default() }, token_file)))
    }

    pub(crate) fn with_settings(self, settings: Settings) -> Self {
        Self { settings: Some(settings), ..self }
    }

    /// Returns this source with this region for STS. `None` keeps the region of the settings.
    #[must_use]
    pub fn with_region(self, region: Option<Box<str>>) -> Self {
        Self { region, ..self }
    }

    /// Returns this source with its role narrowed.
    ///
    /// # Errors
    /// If the role has a session policy of its own.
    pub(crate) fn narrowed(mut self, narrowing: &RoleNarrowing) -> Result<Self, SourceError> {
        narrowing.apply(&mut self.role)?;
        Ok(self)
    }

    pub(crate) async fn assume(&self, context: &Context) -> Result<Credentials, SourceError> {
        let token = read(context, &TextSource::File(self.token_file.clone())).await;
        let token = token.map_err(|error| error.while_trying("web_identity_token_file").with_hint(TOKEN_FILE_HINT))?;
        let unusable = |kind, why: &str| {
            let path = context.environment.expand(&self.token_file);
            SourceError::new(kind, format!("the token file {} {why}", Escaped(&path.to_string_lossy())))
        };
        usable("token", &token).map_err(|error| match error {
            InvalidText::Empty(_) => unusable(ErrorKind::Unsettled, "is empty").with_hint(TOKEN_FILE_HINT),
            InvalidText::ControlCharacter(_) => unusable(
                ErrorKind::Misconfigured,
                "contains a control character within the token (a line break, perhaps)",
            )
            .with_hint("check that it holds the token alone, in one line"),
        })?;
        let policy = policy_of(context, &self.role).await?;
        let sent = policy.as_ref().map(SessionPolicy::as_str);
        let (token, settings) = (Secret::new(token.as_str()), self.settings(context).await);
        let key = cache_key("web identity", &self.role, sent, &settings, |parts| parts.with(token.expose()));
        let request = || async {
            let request = sts::WebIdentityRequest {
                role_arn: self.role.arn.clone(),
                session_name: session_name(&self.role, context.clock.now()),
                duration: self.role.duration,
                policy: policy.clone(),
                policy_arns: self.role.policy_arns.clone(),
            };
            sts::assume_role_with_web_identity(context, &settings, &request, &token).await
        };
        context.credential_cache.obtain(&context.clock, key, CachePolicy::ISSUED, request).await
    }
}

impl Source for WebIdentityCredentials {
    fn name(&self) -> &str {
        &self.name
    }

    fn load<'a>(&'a self, context: &'a Context) -> BoxFuture<'a, Lookup> {
        Box::pin(async move { Lookup::from_result(self.assume(context).await) })
    }

    fn region<'a>(&'a self, context: &'a Context) -> BoxFuture<'a, Option<Box<str>>> {
        Box::pin(async move { self.settings(context).await.region })
    }

    fn settings<'a>(&'a self, context: &'a Context) -> BoxFuture<'a, Settings> {
        let settings = self.settings.clone().unwrap_or_else(|| Settings::of_environment(&context.environment));
        Box::pin(std::future::ready(settings.with_region(self.region.clone())))
    }
}
