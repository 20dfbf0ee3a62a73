//! Finds the sessions to log in to, and their settings, in the shared files.

use std::sync::LazyLock;

use crate::aws::settings::Settings;
use crate::cli::error::CommandError;
use crate::cli::login::LoginRequest;
use crate::context::Context;
use crate::login::sso::session::SsoSession;
use crate::model::error::SourceError;
use crate::model::nearest::did_you_mean;
use crate::model::text::Escaped;
use crate::shared_config::SharedConfig;
use crate::shared_config::locate::NamedPaths;
use crate::shared_config::section::{Property, Section};
use crate::source::profile::files::ProfileFiles;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum LoginTarget {
    /// The session of the profile in `AWS_PROFILE` or `AWS_DEFAULT_PROFILE`, else of `default`.
    #[default]
    Default,
    Profile(Box<str>),
    /// The session of this `[sso-session …]` section.
    Session(Box<str>),
    /// Every session in the shared files, each once.
    All,
}

const DEFAULT: &str = "default";

/// A session with its settings and its location in the shared files.
#[derive(Debug)]
pub(crate) struct LoginSite {
    pub(crate) session: SsoSession,
    pub(crate) settings: Settings,
    /// The file and line that define the session.
    location: String,
    login_command: String,
}

impl LoginSite {
    pub(crate) fn failed(&self, error: SourceError) -> CommandError {
        let Self { session, location, .. } = self;
        CommandError::new(format!("{session} ({location})"))
            .with_source_error(error)
            .with_hint("if this lasts, compare sso_start_url and sso_region with the access portal")
    }

    pub(crate) fn code_expired(&self) -> CommandError {
        let Self { session, login_command, .. } = self;
        CommandError::new(format!("{session}: the code expired before you agreed; run again: {login_command}"))
    }
}

/// Finds the requested sessions. The second list has the error of each session that cannot be used.
pub(crate) async fn find(
    context: &Context,
    request: &LoginRequest,
) -> Result<(Vec<LoginSite>, Vec<String>), CommandError> {
    let shared = SharedFilePair::read(context, request).await?;
    let current = context.environment.profile().map_err(CommandError::new)?.unwrap_or(DEFAULT);
    let site = |session, profile: Option<&str>| shared.site(context, session, profile, current);
    let only =
        |session, profile| site(session, profile).map(|site| (vec![site], Vec::new())).map_err(CommandError::new);
    match &request.target {
        LoginTarget::Default => only(shared.session_of(current)?, Some(current)),
        LoginTarget::Profile(name) => only(shared.session_of(name)?, Some(name)),
        LoginTarget::Session(name) => {
            let section = shared.files().sso_session(name).ok_or_else(|| {
                let similar = did_you_mean(name, shared.files().sso_sessions().map(Section::name));
                CommandError::new(format!(
                    "there is no [sso-session {}] in {}; {}{}",
                    Escaped(name),
                    shared.paths(),
                    before(similar),
                    shared.suggestion()
                ))
            })?;
            only(SsoSession::of_section(section).map_err(CommandError::new)?, None)
        }
        LoginTarget::All => {
            let (sessions, errors) = SsoSession::all(shared.files());
            if sessions.is_empty() && errors.is_empty() {
                return Err(CommandError::new(format!(
                    "no profile of {} uses SSO; {}",
                    shared.paths(),
                    shared.suggestion()
                )));
            }
            let mut errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
            let sites = sessions.into_iter().map(|(session, profile)| site(session, profile.as_deref()));
            let sites = sites.filter_map(|site| site.map_err(|error| errors.push(error)).ok()).collect();
            Ok((sites, errors))
        }
    }
}

/// Returns the profile of the request if it needs an MFA code and no login at SSO.
pub(crate) async fn mfa_profile(context: &Context, request: &LoginRequest) -> Option<Box<str>> {
    let current = context.environment.profile().ok()?.unwrap_or(DEFAULT);
    let name = match &request.target {
        LoginTarget::Default => current,
        LoginTarget::Profile(name) => name,
        LoginTarget::Session(_) | LoginTarget::All => return None,
    };
    let shared = SharedFilePair::read(context, request).await.ok()?;
    let profile = shared.files().profile(name)?;
    let uses_sso = SsoSession::of_profile(shared.files(), profile).is_ok_and(|session| session.is_some());
    (!uses_sso && profile.get("mfa_serial").is_some()).then(|| name.into())
}

/// The two shared files, which were read without errors.
struct SharedFilePair {
    profiles: ProfileFiles,
}

impl SharedFilePair {
    async fn read(context: &Context, request: &LoginRequest) -> Result<Self, CommandError> {
        let named = NamedPaths { credentials: request.credentials_file.clone(), config: request.config_file.clone() };
        let profiles = ProfileFiles::open(context, &named, |_| 0).await.map_err(CommandError::new)?;
        profiles.files().map_err(CommandError::new)?;
        Ok(Self { profiles })
    }

    fn files(&self) -> &SharedConfig {
        // `read` has checked that the files have no errors.
        static NONE: LazyLock<SharedConfig> = LazyLock::new(SharedConfig::default);
        self.profiles.files().unwrap_or(&NONE)
    }

    fn session_of(&self, name: &str) -> Result<SsoSession, CommandError> {
        let (name_text, suggestion) = (Escaped(name), self.suggestion());
        let Some(profile) = self.files().profile(name) else {
            return Err(CommandError::new(format!(
                "there is no profile {name_text} in {}; {}{suggestion}",
                self.paths(),
                before(did_you_mean(name, self.files().profiles()))
            )));
        };
        let session = SsoSession::of_profile(self.files(), profile).map_err(CommandError::new)?;
        session.ok_or_else(|| {
            let location = profile.properties().next().map_or_else(|| self.paths(), |(_, property)| location(property));
            CommandError::new(format!("profile {name_text} ({location}) does not use SSO; {suggestion}"))
        })
    }

    /// Adds the settings of a profile that uses the session: the given one, else the current one, else the first.
    ///
    /// # Errors
    /// The file of the session is not trusted.
    fn site(
        &self,
        context: &Context,
        session: SsoSession,
        profile: Option<&str>,
        current: &str,
    ) -> Result<LoginSite, String> {
        let user = match profile {
            Some(profile) => Some(profile),
            None => std::iter::once(current)
                .chain(self.files().profiles())
                .find(|name| self.files().profile(name).is_some_and(|profile| uses(profile, &session)))
                .or(Some(current)),
        };
        let section = user.and_then(|name| self.files().profile(name));
        let definition = match &session.name {
            Some(name) => self.files().sso_session(name),
            None => section,
        };
        // An untrusted file must not send the user to its own page: the login would be of its author.
        for name in ["sso_start_url", "sso_region"] {
            let Some(at) = definition.and_then(|section| section.get(name)) else { continue };
            self.profiles
                .trusted(context, at)
                .map_err(|distrust| format!("{}: {name} is not used: the file {distrust}", location(at)))?;
        }
        let start_url = definition.and_then(|section| section.get("sso_start_url"));
        Ok(LoginSite {
            settings: self.profiles.settings(context, section).with_region(Some(session.region.clone())),
            location: start_url.map_or_else(|| self.paths(), location),
            login_command: session.login_command(profile),
            session,
        })
    }

    fn paths(&self) -> String {
        self.profiles.paths()
    }

    /// Returns the commands of existing sessions, else the way to add one.
    fn suggestion(&self) -> String {
        let (sessions, _) = SsoSession::all(self.files());
        let commands: Vec<_> =
            sessions.iter().take(5).map(|(session, profile)| session.login_command(profile.as_deref())).collect();
        if commands.is_empty() {
            return "add one with `aws configure sso`, or add [sso-session NAME] with sso_start_url and sso_region"
                .into();
        }
        format!("run one of: {}", commands.join(", "))
    }
}

/// Returns the hint as text before another one.
fn before(hint: Option<String>) -> String {
    hint.map(|hint| format!("{hint} ")).unwrap_or_default()
}

fn uses(profile: &Section, session: &SsoSession) -> bool {
    let named = profile.get("sso_session").map(|property| property.value().trim());
    named.is_some() && named == session.name.as_deref()
}

fn location(property: &Property) -> String {
    format!("{}, line {}", Escaped(&property.path().to_string_lossy()), property.line())
}
