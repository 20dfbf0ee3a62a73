//! Credentials of a role that a person has through IAM Identity Center (SSO).

use std::sync::Arc;

use crate::aws::settings::Settings;
use crate::aws::sso_portal::role_credentials;
use crate::cache::credentials::CachePolicy;
use crate::cache::key::CacheKeyBuilder;
use crate::context::Context;
use crate::login::sso;
use crate::login::sso::SsoLogin;
use crate::login::sso::session::SsoSession;
use crate::model::credentials::{Credentials, LoginEnd};
use crate::model::error::{ErrorKind, SourceError};
use crate::model::outcome::Lookup;
use crate::model::text::Escaped;
use crate::shared_config::SharedConfig;
use crate::shared_config::locate::NamedPaths;
use crate::source::profile::files::{ProfileFiles, digest};
use crate::source::{BoxFuture, Source};

/// Shows the token of a log-in to the SSO portal, which gives credentials of a role for it.
///
/// The token comes from the cache that the AWS CLI and `credenza login` write, `~/.aws/sso/cache`, and is refreshed
/// where the session has a refresh token. When a person has to log in, it fails with [`ErrorKind::LoginRequired`] and the
/// command to run, and loads again as soon as the cache says something else. It is always configured.
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
    /// The credentials of this role in this account. Where to log in is said by the session.
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

    /// The same with other settings for calling the portal and SSO-OIDC; the region is the session's all the same.
    #[must_use]
    pub(crate) fn with_settings(mut self, settings: Settings) -> Self {
        self.settings = settings.with_region(Some(self.session.region.clone()));
        self.settings.region_location = self.session.region_location.clone();
        self
    }

    /// The same, described by this profile: for the message that says where to log in.
    #[must_use]
    pub fn of_profile(mut self, profile: &str) -> Self {
        self.profile = Some(profile.into());
        self
    }

    async fn look(&self, context: &Context) -> Result<Credentials, SourceError> {
        let login = sso::login(context, &self.settings, &self.session, self.profile.as_deref()).await?;
        let credentials = self.role(context, &login).await.map_err(|failure| self.explained(failure))?;
        let remedy = || self.session.login_command(self.profile.as_deref()).into();
        let login_ends = login.ends.map(|at| Arc::new(LoginEnd { at, remedy: remedy() }));
        Ok(Credentials { login_ends, ..credentials })
    }

    /// The credentials that the portal gives for this log-in. They are those of the session's region and endpoint, this
    /// account, this role, and [`SsoLogin::lineage`].
    async fn role(&self, context: &Context, login: &SsoLogin) -> Result<Credentials, SourceError> {
        let Self { session, account_id, role_name, settings, .. } = self;
        let of = CacheKeyBuilder::new("sso")
            .with(session.start_url.as_bytes())
            .with(session.region.as_bytes())
            .with(account_id.as_bytes())
            .with(role_name.as_bytes())
            .with(login.lineage.to_be_bytes())
            .with_value(&settings.cache_parts())
            .cache_key();
        let ask = || role_credentials(context, settings, &login.token.token, account_id, role_name);
        context.credential_cache.obtain(&context.clock, of, CachePolicy::ISSUED, ask).await
    }

    fn explained(&self, failure: SourceError) -> SourceError {
        let Self { session, .. } = self;
        let message = match failure.kind {
            ErrorKind::LoginRequired => {
                let remedy = session.login_command(self.profile.as_deref());
                format!("the {session} is not accepted any more ({failure}); run: {remedy}")
            }
            ErrorKind::Denied => format!(
                "{failure}; ask who administers {} whether you have the role {} in account {}",
                Escaped(&session.start_url),
                Escaped(&self.role_name),
                Escaped(&self.account_id)
            ),
            _ => return failure,
        };
        SourceError { message: message.into(), ..failure }
    }
}

impl Source for SsoCredentials {
    fn name(&self) -> &str {
        &self.name
    }

    fn load<'a>(&'a self, context: &'a Context) -> BoxFuture<'a, Lookup> {
        Box::pin(async move {
            let looked = self.look(context).await;
            Lookup::from_result(looked.map_err(|failure| self.settings.locate(failure, None)))
        })
    }

    /// Where the portal lives is no region for the credentials.
    fn region<'a>(&'a self, _: &'a Context) -> BoxFuture<'a, Option<Box<str>>> {
        Box::pin(std::future::ready(None))
    }
}

/// A role of a session that the shared config file describes: `{ sso_session = …, account_id = …, role_name = … }`.
#[derive(Clone, Debug)]
pub(crate) struct SsoRole {
    name: Box<str>,
    session: Box<str>,
    account_id: Box<str>,
    role_name: Box<str>,
}

impl SsoRole {
    /// This role, by the section `[sso-session NAME]` of the config file.
    #[must_use]
    pub(crate) fn new(session: &str, account_id: &str, role_name: &str) -> Self {
        let name = format!("sso {}", Escaped(session)).into();
        Self { name, session: session.into(), account_id: account_id.into(), role_name: role_name.into() }
    }

    async fn source(&self, context: &Context) -> Result<SsoCredentials, SourceError> {
        let name = self.session.clone();
        let of = move |files: &SharedConfig| digest(files.sso_session(&name), SESSION_PROPERTIES);
        let profiles = ProfileFiles::open(context, &NamedPaths::default(), of).await?;
        let section = profiles.files()?.sso_session(&self.session).ok_or_else(|| {
            let message = format!(
                "there is no [sso-session {}] in {}; add it (aws configure sso-session), or correct the name",
                Escaped(&self.session),
                profiles.places()
            );
            SourceError::new(ErrorKind::Unsettled, message)
        })?;
        let sso = SsoCredentials::new(SsoSession::of_section(section)?, &self.account_id, &self.role_name);
        Ok(sso.with_settings(self.settings(context).await))
    }
}

/// What of a session's section is used.
const SESSION_PROPERTIES: &[&str] = &["sso_start_url", "sso_region", "sso_registration_scopes"];

impl Source for SsoRole {
    fn name(&self) -> &str {
        &self.name
    }

    fn load<'a>(&'a self, context: &'a Context) -> BoxFuture<'a, Lookup> {
        Box::pin(async move {
            match self.source(context).await {
                Ok(source) => source.load(context).await,
                Err(failure) => failure.into(),
            }
        })
    }

    fn region<'a>(&'a self, _: &'a Context) -> BoxFuture<'a, Option<Box<str>>> {
        Box::pin(std::future::ready(None))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::client::HttpClient;
    use crate::model::time::parse_timestamp;
    use crate::os::clock::Clock;
    use crate::os::environment::Environment;
    use crate::os::files::Files;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use testkit::server::Reply;
    use testkit::sso::{Portal, refusal};

    const NOW: &str = "2026-11-25T12:00:00Z";
    const LATER: &str = "2026-11-25T20:00:00Z";
    const ACCOUNT: &str = "123456789012";

    struct Stage {
        portal: Portal,
        context: Context,
        source: SsoCredentials,
        _home: tempfile::TempDir,
    }

    impl Stage {
        /// Logged in with a token that the portal knows.
        fn new() -> Self {
            // 2026-11-25T13:00:00.999Z
            let portal = Portal::start(1_795_611_600_999);
            portal.allow("hush-access", ACCOUNT, "Read Only");
            let home = tempfile::tempdir().unwrap();
            let endpoint = portal.endpoint();
            let environment =
                Environment::new([("HOME", home.path().to_str().unwrap()), ("AWS_ENDPOINT_URL_SSO", &endpoint)]);
            let session = SsoSession {
                name: Some("work".into()),
                start_url: "https://d.awsapps.com/start".into(),
                region: "eu-west-1".into(),
                region_location: None,
                scopes: Vec::new(),
            };
            let path = crate::login::sso::cache_file::path(&environment, &session).unwrap();
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, format!(r#"{{"accessToken":"hush-access","expiresAt":"{LATER}"}}"#)).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            let source = SsoCredentials::new(session, ACCOUNT, "Read Only")
                .with_settings(Settings::of_environment(&environment))
                .of_profile("dev");
            let context = Context {
                clock: Clock::injected(parse_timestamp(NOW).unwrap()),
                environment,
                files: Files::unwatched(),
                http_client: HttpClient::system(Arc::default()),
                ..Context::default()
            };
            Self { portal, context, source, _home: home }
        }

        async fn failure(&self) -> SourceError {
            let Lookup::Failed(failure) = self.source.load(&self.context).await else { panic!() };
            assert!(!failure.to_string().contains("hush"), "{failure}");
            failure
        }
    }

    #[tokio::test]
    async fn the_role_is_asked_for_with_the_token_of_the_log_in() {
        let stage = Stage::new();
        let Lookup::Found(found) = stage.source.load(&stage.context).await else { panic!() };
        assert_eq!(&*found.access_key_id, "ASIA123456789012Read Only1");
        assert_eq!(found.secret_access_key.expose(), "hush-secret-1");
        assert_eq!(found.session_token.unwrap().expose(), "hush-session-1");
        assert_eq!(crate::model::time::timestamp(found.expiration.unwrap()), "2026-11-25T13:00:00Z");
        assert_eq!(
            (found.account_id.as_deref(), found.login_ends),
            (
                Some(ACCOUNT),
                Some(Arc::new(LoginEnd {
                    at: parse_timestamp(LATER).unwrap(),
                    remedy: "credenza login --sso-session work".into()
                }))
            )
        );
        let [seen] = &stage.portal.server().seen()[..] else { panic!() };
        assert_eq!(seen.line(), "GET /federation/credentials?role_name=Read%20Only&account_id=123456789012");
        assert_eq!(seen.header("x-amz-sso_bearer_token"), Some("hush-access"));
        assert_eq!(stage.source.name(), "sso work");
        assert_eq!(stage.source.region(&stage.context).await, None);
    }

    #[tokio::test]
    async fn refusals_say_what_to_do() {
        let stage = Stage::new();
        stage.portal.set(|state| state.tokens.clear());
        let failure = stage.failure().await;
        assert_eq!(failure.kind, ErrorKind::LoginRequired);
        assert!(
            failure.to_string().starts_with("the SSO session work is not accepted any more (GetRoleCredentials"),
            "{failure}"
        );
        assert!(failure.to_string().ends_with("; run: credenza login --sso-session work"), "{failure}");
        stage.portal.allow("hush-access", ACCOUNT, "Other");
        let failure = stage.failure().await;
        assert_eq!(failure.kind, ErrorKind::Denied);
        let says = "ForbiddenException: No access; the role has to be assigned to who has logged in; ask who administers https://d.awsapps.com/start whether you have the role Read Only in account 123456789012";
        assert!(failure.to_string().ends_with(says), "{failure}");
        assert_eq!(stage.portal.server().lines().len(), 2, "a refusal is tried once");
    }

    #[tokio::test]
    async fn what_the_portal_answers_is_understood() {
        for (reply, kind, says) in [
            (
                refusal(429, "TooManyRequestsException", "slow"),
                ErrorKind::Unavailable,
                "TooManyRequestsException: slow",
            ),
            (Reply::of(503, "<html>hush"), ErrorKind::Unavailable, "status 503"),
            (Reply::of(401, ""), ErrorKind::LoginRequired, "status 401"),
            (Reply::of(403, "<html>hush"), ErrorKind::Denied, "status 403"),
            (refusal(404, "ResourceNotFoundException", "none"), ErrorKind::Denied, "ResourceNotFoundException: none"),
            (refusal(400, "InvalidRequestException", "hush-access?"), ErrorKind::Misconfigured, "[redacted]?"),
            (refusal(401, "x#UnauthorizedException:http://y", ""), ErrorKind::LoginRequired, ": UnauthorizedException"),
            (
                Reply::ok(r#"{"roleCredentials":{"accessKeyId":"hush"#),
                ErrorKind::Unavailable,
                "has no role credentials (line 1",
            ),
            (Reply::ok("{}"), ErrorKind::Unavailable, "has no role credentials"),
            (Reply::ok("<html>hush"), ErrorKind::Unavailable, "has no role credentials"),
            (Reply::ok(role(r#""sessionToken":"""#)), ErrorKind::Unavailable, "without a session token"),
            (Reply::ok(role(r#""sessionToken":"hush\na""#)), ErrorKind::Unavailable, "control character"),
        ] {
            let stage = Stage::new();
            for _ in 0..3 {
                stage.portal.script(reply.clone());
            }
            let failure = stage.failure().await;
            assert!(failure.kind == kind && failure.to_string().contains(says), "{says}: {failure:?}");
        }
    }

    fn role(token: &str) -> String {
        format!(r#"{{"roleCredentials":{{"accessKeyId":"ASIA","secretAccessKey":"hush",{token},"expiration":1}}}}"#)
    }

    #[tokio::test]
    async fn throttling_passes() {
        let stage = Stage::new();
        stage.portal.script(refusal(429, "TooManyRequestsException", "slow"));
        assert!(matches!(stage.source.load(&stage.context).await, Lookup::Found(_)));
        assert_eq!(stage.portal.server().lines().len(), 2);
    }
}
