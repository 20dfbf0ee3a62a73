//! Log-ins in files that this process shares with the AWS CLI and the SDKs: read at each load, refreshed one at a time,
//! written back.

pub(crate) mod write;

use std::fmt::Write as _;
use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ring::digest::{Algorithm, digest};
use tokio::time::Instant;

pub(crate) use crate::cache::login_entry::{AccessToken, CacheEntry, CacheEntryError};

use crate::cache::logins::LoginSlot;
use crate::context::Context;
use crate::model::error::{ErrorKind, SourceError};
use crate::model::secret::Secret;
use crate::model::text::Escaped;
use crate::model::time::timestamp;
use crate::os::files::contents::FileErrorReason;

/// Between two attempts to refresh a token that is still good, as in botocore.
const PAUSE: Duration = Duration::from_secs(60);

/// A log-in whose token stands in a file of the cache.
pub(crate) trait CachedLogin: Sync {
    /// How messages call it: `SSO session work`.
    fn session(&self) -> String;

    /// The command by which a person logs in.
    fn remedy(&self) -> String;

    /// The token that the file holds.
    ///
    /// # Errors
    /// When it holds none that can be used.
    fn token(&self, entry: &CacheEntry) -> Result<AccessToken, CacheEntryError>;

    /// Whether this token should be refreshed by now.
    fn is_due(&self, token: &AccessToken, now: SystemTime) -> bool;

    /// What a new token can be had for; `None` when none can.
    fn refresh_token<'e>(&self, entry: &'e CacheEntry, now: SystemTime) -> Option<&'e Secret>;

    /// Has a new token given out: what the file should hold from now on.
    fn refresh(&self, entry: CacheEntry) -> impl Future<Output = Result<CacheEntry, RefreshRefused>> + Send;
}

/// A refresh brought nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RefreshRefused {
    /// Whether no further one with the same refresh token can succeed.
    pub(crate) ends_the_session: bool,
    /// Why.
    pub(crate) failure: SourceError,
}

impl From<SourceError> for RefreshRefused {
    fn from(failure: SourceError) -> Self {
        Self { ends_the_session: false, failure }
    }
}

/// A log-in that is good now.
#[derive(Clone, Debug)]
pub(crate) struct CurrentLogin {
    /// What the file holds, or would if we could write it.
    pub(crate) entry: CacheEntry,
    /// The token in it.
    pub(crate) token: AccessToken,
    /// Whether it is known that no refresh will follow.
    pub(crate) is_last: bool,
}

/// The token of a log-in, refreshed when it is due.
///
/// The file is read through the [`Context`], so that whoever loads hears of a new log-in. Refreshes are made one at a time
/// for each file, and written back; a failed one is a warning as long as the token is good.
///
/// # Errors
/// [`ErrorKind::LoginRequired`] with the command to run when a person has to log in; another kind when the file is not ours,
/// or nobody can be asked and the token has ended.
pub(crate) async fn current(
    context: &Context,
    path: &Path,
    login: &impl CachedLogin,
) -> Result<CurrentLogin, SourceError> {
    let (session, remedy, slot) = (login.session(), login.remedy(), context.login_state.slot(path));
    KnownLogin { context, path, login, session, remedy, slot }.current().await
}

/// Puts an entry into its file, in the place of the one before. A link is followed only where nobody but us, root and
/// `trusted_owners` can have laid it, and to a token only.
///
/// # Errors
/// When the file cannot be written, or must not be.
pub(crate) async fn write(context: &Context, path: &Path, entry: &CacheEntry) -> Result<(), SourceError> {
    let (path, bytes) = (path.to_owned(), entry.render());
    let trusted = write::LinkTrust { ours: context.uid(), owners: Arc::clone(&context.trusted_owners) };
    // It ends even when whoever asked for it goes away: a refresh token that was exchanged must not be lost.
    let written = tokio::task::spawn_blocking(move || write::replace(&path, &bytes, &trusted)).await;
    match written {
        Ok(written) => written.map_err(|error| SourceError::misconfigured(error.to_string())),
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_) => std::future::pending().await,
    }
}

/// The name of a file of the cache: a digest of what the log-in is called, in lower-case hexadecimal.
#[must_use]
pub(crate) fn file_name(algorithm: &'static Algorithm, key: &str) -> String {
    let mut name = String::new();
    for byte in digest(algorithm, key.as_bytes()).as_ref() {
        let _ = write!(name, "{byte:02x}");
    }
    name + ".json"
}

/// All that is known before the file is looked at.
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
        // The one before us, or the AWS CLI, may have refreshed it meanwhile.
        let now = self.read().await?;
        if !self.is_due(&now.token) {
            return Ok(now);
        }
        let refresh_token = self.login.refresh_token(&now.entry, self.context.clock.now()).cloned();
        let Some(refresh_token) = refresh_token.filter(|token| attempts.refused.as_ref() != Some(token)) else {
            return self.as_it_is(now, None);
        };
        let is_good = self.has_ended(&now.token).is_none();
        if let Some((at, failure)) = &attempts.failed
            && (*at >= asked || (is_good && at.elapsed() < PAUSE))
        {
            return self.as_it_is(now, Some(failure.clone()));
        }
        match self.login.refresh(now.entry.clone()).await {
            Ok(entry) => {
                attempts.failed = None;
                self.refreshed(entry, &now.token.token).await
            }
            Err(RefreshRefused { ends_the_session: true, failure }) => {
                attempts.refused = Some(refresh_token);
                self.refused(&now.token, &failure).await
            }
            Err(RefreshRefused { failure, .. }) => {
                attempts.failed = Some((Instant::now(), failure.clone()));
                if is_good {
                    tracing::warn!(session = %self.session, error = %failure, ends = %timestamp(now.token.expires), "the token of a log-in was not refreshed; it is still good");
                }
                self.as_it_is(now, Some(failure))
            }
        }
    }

    /// The file, or what we could not write into it.
    async fn read(&self) -> Result<CurrentLogin, SourceError> {
        let Self { session, remedy, .. } = self;
        let path = Escaped(&self.path.to_string_lossy()).to_string();
        let file = self.context.files.read(self.path).await.map_err(|error| {
            if error.is_missing() {
                return login_required(format!(
                    "nobody has logged in at {session} (there is no {path}); run: {remedy}"
                ));
            }
            let first = match error.reason() {
                FileErrorReason::Io(_) => "see that we may read it, or remove it and",
                _ => "remove it and",
            };
            let message = format!("the cached token of {session} cannot be read: {error}; {first} run: {remedy}");
            SourceError::new(ErrorKind::Unsettled, message)
        })?;
        if let Err(distrust) = file.owner.trusted(self.context.uid(), &self.context.trusted_owners) {
            return Err(SourceError::misconfigured(format!(
                "the cached token of {session} is not used, for somebody else may have written it: {path} {distrust}; \
                 remove it and run: {remedy}"
            )));
        }
        if file.owner.is_readable_by_others() && self.slot.warn_once() {
            tracing::warn!(file = %path, session = %session, "others may read this token; chmod 600 closes it");
        }
        let unusable = |why: CacheEntryError| {
            login_required(format!("the cached token of {session} cannot be used: {path}: {why}; run: {remedy}"))
        };
        let entry = CacheEntry::parse(&file.bytes).map_err(unusable)?;
        let token = self.login.token(&entry).map_err(unusable)?;
        let (entry, token) = self.slot.unwritten(&token.token).unwrap_or((entry, token));
        Ok(CurrentLogin { entry, token, is_last: false })
    }

    fn is_due(&self, token: &AccessToken) -> bool {
        self.login.is_due(token, self.context.clock.now())
    }

    fn has_ended(&self, token: &AccessToken) -> Option<SystemTime> {
        (token.expires <= self.context.clock.now()).then_some(token.expires)
    }

    /// Without a refresh: good until its end. `passing` is why there was none, where that may pass.
    fn as_it_is(&self, now: CurrentLogin, passing: Option<SourceError>) -> Result<CurrentLogin, SourceError> {
        let Self { session, remedy, .. } = self;
        match (self.has_ended(&now.token).map(timestamp), passing) {
            (None, passing) => Ok(CurrentLogin { is_last: passing.is_none(), ..now }),
            (Some(ended), Some(failure)) => {
                let message = format!(
                    "the token of {session} has expired (ended {ended}) and cannot be refreshed now: {failure}; if this lasts, run: {remedy}"
                );
                Err(SourceError { message: message.into(), ..failure })
            }
            (Some(ended), None) => {
                Err(login_required(format!("the {session} has expired (ended {ended}); run: {remedy}")))
            }
        }
    }

    async fn refreshed(&self, entry: CacheEntry, before: &Secret) -> Result<CurrentLogin, SourceError> {
        let token = self.login.token(&entry).map_err(|why| {
            SourceError::unavailable(format!("the refreshed token of {} cannot be used: {why}", self.session))
        })?;
        self.slot.succeed(before, &token.token);
        tracing::info!(session = %self.session, expires_at = %timestamp(token.expires), "the token of a log-in was refreshed");
        if let Err(failure) = write(self.context, self.path, &entry).await {
            tracing::warn!(session = %self.session, error = %failure, "the refreshed token is kept in memory only, and the AWS CLI does not see it");
            self.slot.keep(before, entry.clone(), token.clone());
        }
        Ok(CurrentLogin { entry, token, is_last: false })
    }

    /// A person is wanted: unless another process was first, and the refresh token has become a new one.
    async fn refused(&self, tried: &AccessToken, failure: &SourceError) -> Result<CurrentLogin, SourceError> {
        let now = self.read().await?;
        let is_good = self.has_ended(&now.token).is_none();
        if now.token != *tried && is_good {
            return Ok(now);
        }
        if is_good {
            tracing::warn!(session = %self.session, error = %failure, ends = %timestamp(now.token.expires), "AWS refuses to refresh the token of a log-in; log in again before it ends: {}", self.remedy);
        } else {
            tracing::warn!(session = %self.session, error = %failure, "AWS refuses to refresh the token of a log-in");
        }
        self.as_it_is(now, None)
    }
}

fn login_required(message: String) -> SourceError {
    SourceError::new(ErrorKind::LoginRequired, message)
}
