//! Log-ins at IAM Identity Center (SSO): the token cache that is shared with the AWS CLI, and the tokens in it.

pub mod cache;
pub mod logins;
mod session;
mod write;

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

pub use logins::Logins;
pub use session::{Described, Session};

use crate::aws::oidc::{self, Issued, Registration};
use crate::aws::settings::Settings;
use crate::clock::timestamp;
use crate::credentials::Escaped;
use crate::failure::{Failure, Kind};
use crate::secret::Secret;
use crate::world::World;
use cache::{AccessToken, Entry};
use logins::Slot;

/// A token with less than this left is refreshed, as in botocore and the AWS CLI.
const WINDOW: Duration = Duration::from_secs(15 * 60);

/// Between two attempts to refresh a token that is still good, as in botocore.
const PAUSE: Duration = Duration::from_secs(60);

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
/// [`Kind::LoginRequired`] with the command to run when a person has to log in; another kind when the file is not ours,
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
    let slot = world.logins.slot(&path);
    let known = Known { world, settings, session, remedy: session.login_command(profile), path, slot: &slot };
    known.login().await
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
    write(&path, &entry).await?;
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
    write(&path, &Entry::of_registration(registration)).await
}

async fn write(path: &Path, entry: &Entry) -> Result<(), Failure> {
    let (path, bytes) = (path.to_owned(), entry.render());
    // It ends even when whoever asked for it goes away: a refresh token that was exchanged must not be lost.
    let written = tokio::task::spawn_blocking(move || write::replace(&path, &bytes)).await;
    match written {
        Ok(written) => written.map_err(|error| Failure::misconfigured(error.to_string())),
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_) => std::future::pending().await,
    }
}

/// All that is known before the cache is looked at.
struct Known<'a> {
    world: &'a World,
    settings: &'a Settings,
    session: &'a Session,
    remedy: String,
    path: PathBuf,
    slot: &'a Slot,
}

impl Known<'_> {
    async fn login(&self) -> Result<Login, Failure> {
        let (entry, token) = self.read().await?;
        if !self.is_due(&token) {
            return Ok(self.good(&entry, token));
        }
        let asked = Instant::now();
        let mut attempts = self.slot.attempts.lock().await;
        // The one before us, or the AWS CLI, may have refreshed it meanwhile.
        let (entry, token) = self.read().await?;
        if !self.is_due(&token) {
            return Ok(self.good(&entry, token));
        }
        let Some((refresh_token, registration)) = self.refreshable(&entry) else {
            return self.as_it_is(&entry, token, None);
        };
        if attempts.refused.as_ref() == Some(refresh_token) {
            return self.as_it_is(&entry, token, None);
        }
        if let Some((at, failure)) = &attempts.failed
            && (*at >= asked || (self.has_ended(&token).is_none() && at.elapsed() < PAUSE))
        {
            return self.as_it_is(&entry, token, Some(failure.clone()));
        }
        match oidc::refresh(self.world, self.settings, &registration, refresh_token).await {
            Ok(issued) => {
                attempts.failed = None;
                Ok(self.refreshed(entry, &token.token, issued).await)
            }
            Err(refused) if refused.ends_the_session() => {
                attempts.refused = Some(refresh_token.clone());
                self.refused(&token, &refused.failure).await
            }
            Err(refused) => {
                attempts.failed = Some((Instant::now(), refused.failure.clone()));
                if self.has_ended(&token).is_none() {
                    tracing::warn!(session = %self.session, error = %refused, ends = %timestamp(token.expires), "the token of an SSO session was not refreshed; it is still good");
                }
                self.as_it_is(&entry, token, Some(refused.failure))
            }
        }
    }

    /// The file, or what we could not write into it.
    async fn read(&self) -> Result<(Entry, AccessToken), Failure> {
        let (session, remedy, path) = (self.session, &self.remedy, Escaped(&self.path.to_string_lossy()).to_string());
        let file = self.world.files.read(&self.path).await.map_err(|error| {
            if error.is_missing() {
                return login_required(format!(
                    "nobody has logged in at {session} (there is no {path}); run: {remedy}"
                ));
            }
            Failure::new(Kind::Unsettled, format!("the cached token of {session} cannot be read: {error}"))
        })?;
        if let Err(distrust) = file.owner.trusted(self.world.uid(), &self.world.trusted_owners) {
            return Err(Failure::misconfigured(format!(
                "the cached token of {session} is not used, for somebody else may have written it: {path} {distrust}; \
                 remove it and run: {remedy}"
            )));
        }
        if file.owner.is_readable_by_others() && self.slot.warn_once() {
            tracing::warn!(file = %path, session = %session, "others may read this token; chmod 600 closes it");
        }
        let unusable = |why: cache::Unusable| {
            login_required(format!("the cached token of {session} cannot be used: {path}: {why}; run: {remedy}"))
        };
        let entry = Entry::parse(&file.bytes).map_err(unusable)?;
        let token = entry.access_token().map_err(unusable)?;
        Ok(self.slot.unwritten(&token.token).unwrap_or((entry, token)))
    }

    fn is_due(&self, token: &AccessToken) -> bool {
        token.expires < self.world.clock.now() + WINDOW
    }

    fn has_ended(&self, token: &AccessToken) -> Option<SystemTime> {
        (token.expires <= self.world.clock.now()).then_some(token.expires)
    }

    /// What a refresh takes; the legacy form is never refreshed, as in the SDKs.
    fn refreshable<'e>(&self, entry: &'e Entry) -> Option<(&'e Secret, Registration)> {
        self.session.name.as_ref()?;
        entry.refresh_token().filter(|(_, registration)| registration.expires > self.world.clock.now())
    }

    fn good(&self, entry: &Entry, token: AccessToken) -> Login {
        // The last moment to refresh it comes before the registration ends.
        let can_go_on = self
            .session
            .name
            .as_ref()
            .and_then(|_| entry.refresh_token())
            .is_some_and(|(_, registration)| registration.expires + WINDOW > token.expires);
        Login {
            ends: (!can_go_on).then_some(token.expires),
            lineage: self.slot.lineage(&self.world.logins, &token.token),
            token,
        }
    }

    /// Without a refresh: good until its end. `passing` is why there was none, where that may pass.
    fn as_it_is(&self, entry: &Entry, token: AccessToken, passing: Option<Failure>) -> Result<Login, Failure> {
        let session = self.session;
        match (self.has_ended(&token), passing) {
            (None, Some(_)) => Ok(self.good(entry, token)),
            (None, None) => Ok(Login { ends: Some(token.expires), ..self.good(entry, token) }),
            (Some(ended), Some(failure)) => Err(Failure {
                message: format!(
                    "the token of {session} has expired (ended {}) and cannot be refreshed now: {failure}",
                    timestamp(ended)
                )
                .into(),
                ..failure
            }),
            (Some(ended), None) => Err(login_required(format!(
                "the {session} has expired (ended {}); run: {}",
                timestamp(ended),
                self.remedy
            ))),
        }
    }

    async fn refreshed(&self, mut entry: Entry, before: &Secret, issued: Issued) -> Login {
        let expires = self.world.clock.now() + issued.expires_in;
        let token = AccessToken { token: issued.access_token, expires };
        entry.set_token(self.session, token.clone(), issued.refresh_token);
        self.slot.succeed(before, &token.token);
        tracing::info!(session = %self.session, expires_at = %timestamp(expires), "the token of an SSO session was refreshed");
        if let Err(failure) = write(&self.path, &entry).await {
            tracing::warn!(session = %self.session, error = %failure, "the refreshed token is kept in memory only, and the AWS CLI does not see it");
            self.slot.keep(before, entry.clone(), token.clone());
        }
        self.good(&entry, token)
    }

    /// SSO-OIDC wants a person: unless another process was first, and the refresh token has become a new one.
    async fn refused(&self, tried: &AccessToken, failure: &Failure) -> Result<Login, Failure> {
        let (entry, token) = self.read().await?;
        if token != *tried && self.has_ended(&token).is_none() {
            return Ok(self.good(&entry, token));
        }
        if self.has_ended(&token).is_none() {
            tracing::warn!(session = %self.session, error = %failure, ends = %timestamp(token.expires), "SSO refuses to refresh the token; log in again before it ends: {}", self.remedy);
        } else {
            tracing::warn!(session = %self.session, error = %failure, "SSO refuses to refresh the token");
        }
        self.as_it_is(&entry, token, None)
    }
}

fn login_required(message: String) -> Failure {
    Failure::new(Kind::LoginRequired, message)
}

#[cfg(test)]
mod tests;
