//! Which log-ins are meant: what the shared files say of them.

use std::sync::LazyLock;

use super::{Of, Wish};
use crate::aws::settings::Settings;
use crate::command::Failed;
use crate::credentials::Escaped;
use crate::profiles::Profiles;
use crate::shared_files::{Named, Property, Section, SharedFiles};
use crate::source::Failure;
use crate::sso::Session;
use crate::world::World;

const DEFAULT: &str = "default";

/// One place to log in at.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) session: Session,
    pub(super) settings: Settings,
    /// File and line that describe it.
    origin: String,
    remedy: String,
}

impl Place {
    /// A log-in that did not come about.
    pub(super) fn failed(&self, failure: &Failure) -> Failed {
        let Self { session, origin, .. } = self;
        Failed::because(format!(
            "{session} ({origin}): {failure}; if this lasts, compare sso_start_url and sso_region with the access portal"
        ))
    }

    pub(super) fn too_late(&self) -> Failed {
        let Self { session, remedy, .. } = self;
        Failed::because(format!("{session}: nobody agreed before the code expired; run again: {remedy}"))
    }
}

/// The places that are wanted, and what is wrong with others that are wanted, too.
pub(super) async fn find(world: &World, wish: &Wish) -> Result<(Vec<Place>, Vec<String>), Failed> {
    let read = Read::of(world, wish).await?;
    let current = world.environment.profile().unwrap_or(DEFAULT);
    let place = |session, profile: Option<&str>| read.place(world, session, profile, current);
    match &wish.of {
        Of::Default => read.of_profile(current).map(|session| (vec![place(session, Some(current))], Vec::new())),
        Of::Profile(name) => read.of_profile(name).map(|session| (vec![place(session, Some(name))], Vec::new())),
        Of::Session(name) => {
            let section = read.files().sso_session(name).ok_or_else(|| {
                Failed::because(format!(
                    "there is no [sso-session {}] in {}; {}",
                    Escaped(name),
                    read.shown(),
                    read.offer()
                ))
            })?;
            let session = Session::of_section(section).map_err(Failed::because)?;
            Ok((vec![place(session, None)], Vec::new()))
        }
        Of::All => {
            let (sessions, failures) = Session::all(read.files());
            if sessions.is_empty() && failures.is_empty() {
                return Err(Failed::because(format!("no profile of {} uses SSO; {}", read.shown(), read.offer())));
            }
            let places = sessions.into_iter().map(|(session, profile)| place(session, profile.as_deref())).collect();
            Ok((places, failures.iter().map(ToString::to_string).collect()))
        }
    }
}

/// Both shared files.
struct Read {
    profiles: Profiles,
}

impl Read {
    async fn of(world: &World, wish: &Wish) -> Result<Self, Failed> {
        let named = Named { credentials: wish.credentials_file.clone(), config: wish.config_file.clone() };
        let profiles = Profiles::open(world, &named, |_| 0).await.map_err(Failed::because)?;
        profiles.files().map_err(Failed::because)?;
        Ok(Self { profiles })
    }

    /// They could be read when this was made.
    fn files(&self) -> &SharedFiles {
        static NONE: LazyLock<SharedFiles> = LazyLock::new(SharedFiles::default);
        self.profiles.files().unwrap_or(&NONE)
    }

    fn of_profile(&self, name: &str) -> Result<Session, Failed> {
        let (shown, offer) = (Escaped(name), self.offer());
        let Some(profile) = self.files().profile(name) else {
            return Err(Failed::because(format!("there is no profile {shown} in {}; {offer}", self.shown())));
        };
        let session = Session::of_profile(self.files(), profile).map_err(Failed::because)?;
        session.ok_or_else(|| {
            let at = profile.properties().next().map_or_else(|| self.shown(), |(_, property)| at(property));
            Failed::because(format!("profile {shown} ({at}) does not use SSO; {offer}"))
        })
    }

    /// A session with the settings of the profile that uses it: this one, else the current one, else the first.
    fn place(&self, world: &World, session: Session, profile: Option<&str>, current: &str) -> Place {
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
        Place {
            settings: self.profiles.settings(world, section).with_region(Some(session.region.clone())),
            origin: origin.unwrap_or_else(|| self.shown()),
            remedy: session.login_command(profile),
            session,
        }
    }

    fn shown(&self) -> String {
        self.profiles.places()
    }

    /// What could be meant instead.
    fn offer(&self) -> String {
        let (sessions, _) = Session::all(self.files());
        let commands: Vec<_> =
            sessions.iter().take(5).map(|(session, profile)| session.login_command(profile.as_deref())).collect();
        if commands.is_empty() {
            return "add one with: aws configure sso, or an [sso-session NAME] with sso_start_url and sso_region"
                .into();
        }
        format!("there is: {}", commands.join(", "))
    }
}

fn uses(profile: &Section, session: &Session) -> bool {
    let named = profile.get("sso_session").map(|property| property.value().trim());
    named.is_some() && named == session.name.as_deref()
}

/// File and line.
fn at(property: &Property) -> String {
    format!("{}, line {}", Escaped(&property.path().to_string_lossy()), property.line())
}
