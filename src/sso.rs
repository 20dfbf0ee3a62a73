//! Log-ins at IAM Identity Center (SSO): the token cache that is shared with the AWS CLI, and the tokens in it.

pub mod cache;
mod session;

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

pub use session::{Described, Session};

use crate::aws::oidc::{self, Issued, Registration};
use crate::aws::settings::Settings;
use crate::failure::Failure;
use crate::secret::Secret;
use crate::token_cache::{self, AccessToken, Current, Entry, Refused, Unusable, write};
use crate::world::World;

/// A token with less than this left is refreshed, as in botocore and the AWS CLI.
const WINDOW: Duration = Duration::from_secs(15 * 60);

/// A log-in that is good now.
#[derive(Clone, Debug)]
pub struct Login {
    /// For the portal.
    pub token: AccessToken,
    /// The moment from which a person has to log in again, where it is known.
    pub ends: Option<SystemTime>,
    /// Which log-in of this process's life it is: a token that we refreshed belongs to the same one, a token that
    /// somebody else put into the cache to another. What was had for one log-in is not for the other.
    pub lineage: u64,
}

/// The log-in of a session, its token refreshed when less than 15 minutes of it are left.
///
/// The cache is read through the [`World`], so that whoever loads hears of a new log-in. Refreshes are made one at a
/// time for each file of the cache, and written back; a failed one is a warning as long as the token is good. `profile`
/// is one that has the legacy keys, for the message of what to do.
///
/// # Errors
/// [`crate::failure::Kind::LoginRequired`] with the command to run when a person has to log in; another kind when the file is
/// not ours,
/// or SSO-OIDC cannot be asked and the token has ended.
pub async fn login(
    world: &World,
    settings: &Settings,
    session: &Session,
    profile: Option<&str>,
) -> Result<Login, Failure> {
    let path = cache::path(&world.environment, session).ok_or_else(|| {
        Failure::misconfigured(format!("{session}: the home directory, and so the token cache, is unknown; set HOME"))
    })?;
    let Current { entry, token, is_last } =
        token_cache::current(world, &path, &Cached { world, settings, session, profile }).await?;
    let ends = (is_last || !can_go_on(session, &entry, &token)).then_some(token.expires);
    Ok(Login { ends, lineage: world.logins.lineage(&path, &token.token), token })
}

/// Whether a refresh will come: the last moment for it comes before the registration ends.
fn can_go_on(session: &Session, entry: &Entry, token: &AccessToken) -> bool {
    session.name.is_some()
        && entry.refresh_token().is_some_and(|(_, registration)| registration.expires + WINDOW > token.expires)
}

/// Puts a log-in that has just been made into the cache, in the place of the one before.
///
/// # Errors
/// When the file cannot be written.
pub async fn store(
    world: &World,
    session: &Session,
    issued: Issued,
    registration: &Registration,
) -> Result<PathBuf, Failure> {
    let path = cache::path(&world.environment, session)
        .ok_or_else(|| Failure::misconfigured("the home directory, and so the token cache, is unknown; set HOME"))?;
    let mut entry = Entry::default();
    let expires = world.clock.now() + issued.expires_in;
    entry.set_token(session, AccessToken { token: issued.access_token, expires }, issued.refresh_token);
    entry.set_registration(registration);
    write(world, &path, &entry).await?;
    Ok(path)
}

/// The registration that an earlier log-in left, if it is good at `until`. What cannot be read is not there.
pub async fn registration(world: &World, session: &Session, until: SystemTime) -> Option<Registration> {
    let path = cache::registration_path(&world.environment, session)?;
    let file = world.files.read(&path).await.ok()?;
    file.owner.trusted(world.uid(), &world.trusted_owners).ok()?;
    Entry::parse(&file.bytes).ok()?.registration_alone().filter(|registration| registration.expires > until)
}

/// Keeps a registration for the next log-in.
///
/// # Errors
/// When the file cannot be written.
pub async fn keep_registration(world: &World, session: &Session, registration: &Registration) -> Result<(), Failure> {
    let Some(path) = cache::registration_path(&world.environment, session) else { return Ok(()) };
    write(world, &path, &Entry::of_registration(registration)).await
}

/// A session as the cache knows it.
struct Cached<'a> {
    world: &'a World,
    settings: &'a Settings,
    session: &'a Session,
    profile: Option<&'a str>,
}

impl token_cache::Login for Cached<'_> {
    fn session(&self) -> String {
        self.session.to_string()
    }

    fn remedy(&self) -> String {
        self.session.login_command(self.profile)
    }

    fn token(&self, entry: &Entry) -> Result<AccessToken, Unusable> {
        entry.access_token()
    }

    fn is_due(&self, token: &AccessToken, now: SystemTime) -> bool {
        token.expires < now + WINDOW
    }

    /// The legacy form is never refreshed, as in the SDKs.
    fn refresh_token<'e>(&self, entry: &'e Entry, now: SystemTime) -> Option<&'e Secret> {
        self.session.name.as_ref()?;
        let (refresh_token, registration) = entry.refresh_token()?;
        (registration.expires > now).then_some(refresh_token)
    }

    async fn refresh(&self, mut entry: Entry) -> Result<Entry, Refused> {
        let Some((refresh_token, registration)) = entry.refresh_token() else {
            return Err(Failure::misconfigured("the token cache has no refresh token").into());
        };
        let issued = oidc::refresh(self.world, self.settings, &registration, refresh_token)
            .await
            .map_err(|refused| Refused { ends_the_session: refused.ends_the_session(), failure: refused.failure })?;
        let expires = self.world.clock.now() + issued.expires_in;
        entry.set_token(self.session, AccessToken { token: issued.access_token, expires }, issued.refresh_token);
        Ok(entry)
    }
}

#[cfg(test)]
mod tests;
