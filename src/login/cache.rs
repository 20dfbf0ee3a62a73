//! The login cache: files that this process shares with the AWS CLI and the SDKs.
//!
//! A file is read at each load. One task at a time refreshes its token, and the new token is written back.

pub(crate) mod write;

use std::future::Future;
use std::path::Path;
use std::time::{Duration, SystemTime};

use ring::digest::{Algorithm, digest};
use tokio::time::Instant;

pub(crate) use crate::cache::login_entry::{AccessToken, CacheEntry, CacheEntryError};

use crate::cache::logins::LoginSlot;
use crate::context::Context;
use crate::model::error::{ErrorKind, SourceError};
use crate::model::secret::Secret;
use crate::model::text::{Escaped, hex};
use crate::model::time::timestamp;
use crate::os::files::contents::FileErrorReason;

/// The pause between two attempts to refresh a token that is still valid, as in botocore.
const PAUSE: Duration = Duration::from_secs(60);

/// A login with its token in a file of the cache.
pub(crate) trait CachedLogin: Sync {
    /// The name of the session in messages: `SSO session work`.
    fn session(&self) -> String;

    /// The command that a person logs in with.
    fn remedy(&self) -> String;

    /// The token in the file.
    ///
    /// # Errors
    /// If the file has no usable token.
    fn token(&self, entry: &CacheEntry) -> Result<AccessToken, CacheEntryError>;

    /// Returns true if the token should be refreshed now.
    fn is_due(&self, token: &AccessToken, now: SystemTime) -> bool;

    /// The refresh token in the file. `None` if no refresh is possible.
    fn refresh_token<'e>(&self, entry: &'e CacheEntry, now: SystemTime) -> Option<&'e Secret>;

    /// Requests a new token. The result is the new content of the file.
    fn refresh(&self, entry: CacheEntry) -> impl Future<Output = Result<CacheEntry, RefreshRefused>> + Send;
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RefreshRefused {
    /// True if no further refresh with this refresh token can succeed.
    pub(crate) ends_the_session: bool,
    pub(crate) error: SourceError,
}

impl From<SourceError> for RefreshRefused {
    fn from(error: SourceError) -> Self {
        Self { ends_the_session: false, error }
    }
}

/// A login with a valid token.
#[derive(Clone, Debug)]
pub(crate) struct CurrentLogin {
    /// The content of the file, or newer content that could not be written to it.
    pub(crate) entry: CacheEntry,
    pub(crate) token: AccessToken,
    /// True if this token cannot be refreshed at its end.
    pub(crate) is_last: bool,
}

/// Returns the token of a login, and refreshes it first if a refresh is due.
///
/// The file is read through the [`Context`], so that a new login wakes the refresher. Each file has one refresh at a
/// time, and the new token is written back. A failed refresh is logged as a warning as long as the token is valid.
///
/// # Errors
/// [`ErrorKind::LoginRequired`] with the command to run if a person has to log in. Another kind if the file is not
/// trusted, or if the token has expired and the service is not available.
pub(crate) async fn current(
    context: &Context,
    path: &Path,
    login: &impl CachedLogin,
) -> Result<CurrentLogin, SourceError> {
    let (session, remedy, slot) = (login.session(), login.remedy(), context.login_state.slot(path));
    KnownLogin { context, path, login, session, remedy, slot }.current().await
}

/// Replaces the content of a cache file. A symlink is followed only if it leads to a token, and only we, root or
/// `trusted_owners` can have made it.
///
/// # Errors
/// If the file cannot or must not be written.
pub(crate) async fn write(context: &Context, path: &Path, entry: &CacheEntry) -> Result<(), SourceError> {
    let (path, bytes) = (path.to_owned(), entry.render());
    let trust = context.trust.clone();
    // The write completes even if the caller is cancelled: a new refresh token must not be lost.
    let written = tokio::task::spawn_blocking(move || write::replace(&path, &bytes, &trust)).await;
    match written {
        Ok(written) => written.map_err(SourceError::from),
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_) => std::future::pending().await,
    }
}

/// Returns the name of a cache file: a digest of the name of the login, in lower-case hexadecimal.
pub(crate) fn file_name(algorithm: &'static Algorithm, key: &str) -> String {
    hex(digest(algorithm, key.as_bytes()).as_ref()) + ".json"
}

/// A login and its cache file, before the file is read.
struct KnownLogin<'a, L> {
    context: &'a Context,
    path: &'a Path,
    login: &'a L,
    session: String,
    remedy: String,
    slot: LoginSlot,
}

impl<L: CachedLogin> KnownLogin<'_, L> {
    async fn current(&self) -> Result<CurrentLogin, SourceError> {
        let now = self.read().await?;
        if !self.is_due(&now.token) {
            return Ok(now);
        }
        let asked = Instant::now();
        let mut attempts = self.slot.attempts.lock().await;
        // Another task or the AWS CLI may have refreshed the token while this task waited.
        let now = self.read().await?;
        if !self.is_due(&now.token) {
            return Ok(now);
        }
        let refresh_token = self.login.refresh_token(&now.entry, self.context.clock.now()).cloned();
        let Some(refresh_token) = refresh_token.filter(|token| attempts.refused.as_ref() != Some(token)) else {
            return self.without_refresh(now, None);
        };
        let is_valid = self.expired_at(&now.token).is_none();
        if let Some((at, error)) = &attempts.failed
            && (*at >= asked || (is_valid && at.elapsed() < PAUSE))
        {
            return self.without_refresh(now, Some(error.clone()));
        }
        match self.login.refresh(now.entry.clone()).await {
            Ok(entry) => {
                attempts.failed = None;
                self.refreshed(entry, &now.token.token).await
            }
            Err(RefreshRefused { ends_the_session: true, error }) => {
                attempts.refused = Some(refresh_token);
                self.refused(&now.token, &error).await
            }
            Err(RefreshRefused { error, .. }) => {
                attempts.failed = Some((Instant::now(), error.clone()));
                if is_valid {
                    tracing::warn!(session = %self.session, error = %error, ends = %timestamp(now.token.expires), "the token of a login was not refreshed; it is still valid");
                }
                self.without_refresh(now, Some(error))
            }
        }
    }

    /// The content of the file, or newer content that could not be written to it.
    async fn read(&self) -> Result<CurrentLogin, SourceError> {
        let Self { session, remedy, .. } = self;
        let path = Escaped(&self.path.to_string_lossy()).to_string();
        let file = self.context.files.read(self.path).await.map_err(|error| {
            if error.is_missing() {
                return self.login_required(format!("not logged in at {session} (there is no {path})"));
            }
            let hint = match error.reason() {
                FileErrorReason::Io(_) => format!("check that this user may read it, or remove it and run: {remedy}"),
                _ => format!("remove it and run: {remedy}"),
            };
            let message = format!("the cached token of {session} cannot be read: {error}");
            SourceError::new(ErrorKind::Unsettled, message).with_hint(hint).caused_by(error)
        })?;
        if let Err(distrust) = file.facts.trusted(&self.context.trust) {
            let message = format!(
                "the cached token of {session} is not used, because another user may have written it: {path} {distrust}"
            );
            let hint = format!("remove it and run: {remedy}");
            return Err(SourceError::misconfigured(message).with_hint(hint).caused_by(distrust));
        }
        if file.facts.is_readable_by_others() && self.slot.warn_once() {
            tracing::warn!(file = %path, session = %session, "other users may read this token; close it: chmod 600 {path}");
        }
        let unusable = |error: CacheEntryError| {
            self.login_required(format!("the cached token of {session} cannot be used: {path}: {error}"))
                .caused_by(error)
        };
        let entry = CacheEntry::parse(&file.bytes).map_err(unusable)?;
        let token = self.login.token(&entry).map_err(unusable)?;
        let (entry, token) = self.slot.unwritten(&token.token).unwrap_or((entry, token));
        Ok(CurrentLogin { entry, token, is_last: false })
    }

    fn is_due(&self, token: &AccessToken) -> bool {
        self.login.is_due(token, self.context.clock.now())
    }

    fn expired_at(&self, token: &AccessToken) -> Option<SystemTime> {
        (token.expires <= self.context.clock.now()).then_some(token.expires)
    }

    /// Returns the old token if it is still valid. `transient` is the error of the refresh if a later refresh may
    /// succeed.
    fn without_refresh(&self, now: CurrentLogin, transient: Option<SourceError>) -> Result<CurrentLogin, SourceError> {
        let Self { session, remedy, .. } = self;
        match (self.expired_at(&now.token).map(timestamp), transient) {
            (None, transient) => Ok(CurrentLogin { is_last: transient.is_none(), ..now }),
            (Some(ended), Some(error)) => {
                let first = error.hint.as_ref().map(|hint| format!("{hint}; ")).unwrap_or_default();
                let hint = format!("{first}if this lasts, run: {remedy}");
                let error = error.while_trying(format_args!(
                    "the token of {session} has expired (ended {ended}) and cannot be refreshed now"
                ));
                Err(SourceError { hint: Some(hint.into()), ..error })
            }
            (Some(ended), None) => Err(self.login_required(format!("the {session} has expired (ended {ended})"))),
        }
    }

    async fn refreshed(&self, entry: CacheEntry, before: &Secret) -> Result<CurrentLogin, SourceError> {
        let token = self.login.token(&entry).map_err(|error| {
            SourceError::unavailable(format!("the refreshed token of {} cannot be used: {error}", self.session))
                .caused_by(error)
        })?;
        self.slot.succeed(before, &token.token);
        tracing::info!(session = %self.session, expires_at = %timestamp(token.expires), "the token of a login was refreshed");
        if let Err(error) = write(self.context, self.path, &entry).await {
            tracing::warn!(session = %self.session, %error, "the refreshed token is kept in memory only, and the AWS CLI does not see it");
            self.slot.keep(before, entry.clone(), token.clone());
        }
        Ok(CurrentLogin { entry, token, is_last: false })
    }

    /// Handles a refused refresh token. Returns the login if another process has refreshed it meanwhile; otherwise the user
    /// has to log in.
    async fn refused(&self, tried: &AccessToken, error: &SourceError) -> Result<CurrentLogin, SourceError> {
        let now = self.read().await?;
        let is_valid = self.expired_at(&now.token).is_none();
        if now.token != *tried && is_valid {
            return Ok(now);
        }
        if is_valid {
            tracing::warn!(session = %self.session, %error, ends = %timestamp(now.token.expires), "AWS refuses to refresh the token of a login; log in again before it ends: {}", self.remedy);
        } else {
            tracing::warn!(session = %self.session, %error, "AWS refuses to refresh the token of a login");
        }
        self.without_refresh(now, None)
    }

    fn login_required(&self, message: String) -> SourceError {
        SourceError::new(ErrorKind::LoginRequired, message).with_hint(format!("run: {}", self.remedy))
    }
}
