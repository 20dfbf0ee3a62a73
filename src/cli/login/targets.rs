//! Which log-ins are meant: what the shared files say of them.

use std::sync::LazyLock;

use crate::aws::settings::Settings;
use crate::cli::command::CommandError;
use crate::cli::login::LoginRequest;
use crate::context::Context;
use crate::login::sso::session::SsoSession;
use crate::model::error::SourceError;
use crate::model::text::Escaped;
use crate::shared_config::SharedConfig;
use crate::shared_config::locate::NamedPaths;
use crate::shared_config::property::{Property, Section};
use crate::source::profile::files::ProfileFiles;

/// Where to log in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum LoginTarget {
    /// Where the profile says that `AWS_PROFILE` or `AWS_DEFAULT_PROFILE` names, else `default`.
    #[default]
    Default,
    /// Where this profile says.
    Profile(Box<str>),
    /// At this `[sso-session …]`.
    Session(Box<str>),
    /// Everywhere, once each.
    All,
}

const DEFAULT: &str = "default";

/// One place to log in at.
#[derive(Debug)]
pub(crate) struct LoginSite {
    pub(crate) session: SsoSession,
    pub(crate) settings: Settings,
    /// File and line that describe it.
    origin: String,
    remedy: String,
}

impl LoginSite {
    /// A log-in that did not come about.
    pub(crate) fn failed(&self, failure: &SourceError) -> CommandError {
        let Self { session, origin, .. } = self;
        CommandError::because(format!(
            "{session} ({origin}): {failure}; if this lasts, compare sso_start_url and sso_region with the access portal"
        ))
    }

    pub(crate) fn too_late(&self) -> CommandError {
        let Self { session, remedy, .. } = self;
        CommandError::because(format!("{session}: nobody agreed before the code expired; run again: {remedy}"))
    }
}

/// The places that are wanted, and what is wrong with others that are wanted, too.
pub(crate) async fn find(
    context: &Context,
    wish: &LoginRequest,
) -> Result<(Vec<LoginSite>, Vec<String>), CommandError> {
    let read = SharedFilePair::of(context, wish).await?;
    let current = context.environment.profile().unwrap_or(DEFAULT);
    let place = |session, profile: Option<&str>| read.place(context, session, profile, current);
    match &wish.of {
        LoginTarget::Default => {
            read.of_profile(current).map(|session| (vec![place(session, Some(current))], Vec::new()))
        }
        LoginTarget::Profile(name) => {
            read.of_profile(name).map(|session| (vec![place(session, Some(name))], Vec::new()))
        }
        LoginTarget::Session(name) => {
            let section = read.files().sso_session(name).ok_or_else(|| {
                CommandError::because(format!(
                    "there is no [sso-session {}] in {}; {}",
                    Escaped(name),
                    read.shown(),
                    read.offer()
                ))
            })?;
            let session = SsoSession::of_section(section).map_err(CommandError::because)?;
            Ok((vec![place(session, None)], Vec::new()))
        }
        LoginTarget::All => {
            let (sessions, failures) = SsoSession::all(read.files());
            if sessions.is_empty() && failures.is_empty() {
                return Err(CommandError::because(format!(
                    "no profile of {} uses SSO; {}",
                    read.shown(),
                    read.offer()
                )));
            }
            let places = sessions.into_iter().map(|(session, profile)| place(session, profile.as_deref())).collect();
            Ok((places, failures.iter().map(ToString::to_string).collect()))
        }
    }
}

/// Both shared files.
struct SharedFilePair {
    profiles: ProfileFiles,
}

impl SharedFilePair {
    async fn of(context: &Context, wish: &LoginRequest) -> Result<Self, CommandError> {
        let named = NamedPaths { credentials: wish.credentials_file.clone(), config: wish.config_file.clone() };
        let profiles = ProfileFiles::open(context, &named, |_| 0).await.map_err(CommandError::because)?;
        profiles.files().map_err(CommandError::because)?;
        Ok(Self { profiles })
    }

    /// They could be read when this was made.
    fn files(&self) -> &SharedConfig {
        static NONE: LazyLock<SharedConfig> = LazyLock::new(SharedConfig::default);
        self.profiles.files().unwrap_or(&NONE)
    }

    fn of_profile(&self, name: &str) -> Result<SsoSession, CommandError> {
        let (shown, offer) = (Escaped(name), self.offer());
        let Some(profile) = self.files().profile(name) else {
            return Err(CommandError::because(format!("there is no profile {shown} in {}; {offer}", self.shown())));
        };
        let session = SsoSession::of_profile(self.files(), profile).map_err(CommandError::because)?;
        session.ok_or_else(|| {
            let at = profile.properties().next().map_or_else(|| self.shown(), |(_, property)| at(property));
            CommandError::because(format!("profile {shown} ({at}) does not use SSO; {offer}"))
        })
    }

    /// A session with the settings of the profile that uses it: this one, else the current one, else the first.
    fn place(&self, context: &Context, session: SsoSession, profile: Option<&str>, current: &str) -> LoginSite {
        let user = match profile {
            Some(profile) => Some(profile),
            None => std::iter::once(current)
                .chain(self.files().profiles())
                .find(|name| self.files().profile(name).is_some_and(|profile| uses(profile, &session)))
                .or(Some(current)),
        };
        let section = user.and_then(|name| self.files().profile(name));
        let described = match &session.name {
            Some(name) => self.files().sso_session(name),
            None => section,
        };
        let origin = described.and_then(|section| section.get("sso_start_url")).map(at);
        LoginSite {
            settings: self.profiles.settings(context, section).with_region(Some(session.region.clone())),
            origin: origin.unwrap_or_else(|| self.shown()),
            remedy: session.login_command(profile),
            session,
        }
    }

    fn shown(&self) -> String {
        self.profiles.paths()
    }

    /// What could be meant instead.
    fn offer(&self) -> String {
        let (sessions, _) = SsoSession::all(self.files());
        let commands: Vec<_> =
            sessions.iter().take(5).map(|(session, profile)| session.login_command(profile.as_deref())).collect();
        if commands.is_empty() {
            return "add one with: aws configure sso, or an [sso-session NAME] with sso_start_url and sso_region"
                .into();
        }
        format!("there is: {}", commands.join(", "))
    }
}

fn uses(profile: &Section, session: &SsoSession) -> bool {
    let named = profile.get("sso_session").map(|property| property.value().trim());
    named.is_some() && named == session.name.as_deref()
}

/// File and line.
fn at(property: &Property) -> String {
    format!("{}, line {}", Escaped(&property.path().to_string_lossy()), property.line())
}
