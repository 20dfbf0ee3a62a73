//! The refresher: the background task that owns one source chain and renews its lease.
//!
//! It loads the chain ahead of the expiration, publishes the lease or the lease error, and waits for the next load.

#[cfg(test)]
mod tests;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::watch;
use tokio::time::Instant;
use tracing::Instrument;

use crate::audit::AuditLog;
use crate::audit::event::{AuditEvent, AuditKeys, AuditKind};
use crate::config::identity::Identity;
use crate::context::Context;
use crate::lease::handle::{LeaseHandle, RefresherWaker, WakeReason};
use crate::lease::key::LeaseKey;
use crate::lease::notify::{Notice, NoticeSender};
use crate::lease::state::{LeaseError, LeaseState, RefreshState};
use crate::lease::{LONG_LIVED_NOTICE, Lease, LeaseLimits};
use crate::model::credentials::{Credentials, LoginEnd};
use crate::model::error::{ErrorKind, SourceError};
use crate::model::outcome::{ChainLoad, Outcome};
use crate::model::schedule;
use crate::model::schedule::{LONGEST_PAUSE, SETTLE};
use crate::model::time::timestamp;
use crate::source::chain::Chain;

/// The longest wait for a region. A response without a region is complete, so clients do not wait longer for it.
const REGION_TIMEOUT: Duration = Duration::from_secs(3);

/// The times before the end of a login at which the log and a notification warn of it: an hour is enough to log in
/// again, and after ten minutes it is too late.
const LOGIN_NOTICES: [Duration; 2] = [Duration::from_secs(3600), Duration::from_secs(600)];

/// The settings of a refresher: how long it serves and how it loads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RefreshPolicy {
    /// The limits of the time for which a lease is served.
    pub(crate) limits: LeaseLimits,
    pub(crate) load_timeout: Duration,
    /// True if the first load starts at once; false if the first request starts it.
    pub(crate) eager: bool,
    /// True if the identity is a served profile. The refresher only publishes this.
    pub(crate) is_profile: bool,
}

impl From<&Identity> for RefreshPolicy {
    fn from(identity: &Identity) -> Self {
        Self {
            limits: LeaseLimits {
                long_lived: identity.long_lived_expiration,
                max_lifetime: identity.max_lifetime,
                until: identity.narrowing.as_ref().and_then(|narrowing| narrowing.until),
            },
            load_timeout: identity.load_timeout,
            eager: identity.eager,
            is_profile: identity.is_profile,
        }
    }
}

impl RefreshPolicy {
    /// Returns the refresh state of a load that begins now.
    fn start_load(&self) -> RefreshState {
        RefreshState::Loading { since: Instant::now(), limit: self.load_timeout }
    }
}

#[derive(Debug)]
pub(crate) struct Refresher {
    key: LeaseKey,
    chain: Chain,
    context: Context,
    policy: RefreshPolicy,
    state: watch::Sender<Arc<LeaseState>>,
    waker: Arc<RefresherWaker>,
    lease: Option<Arc<Lease>>,
    /// The time at which `lease` is renewed.
    due: SystemTime,
    /// The position of the source that supplied `lease`; `None` if there is none or the lease is inherited.
    supplier: Option<usize>,
    failures: Option<FailureStreak>,
    /// The time since which the supplier is no longer configured.
    vanished_since: Option<Instant>,
    logged_long_lived_notice: bool,
    /// The end of the login that the log has warned of, and the last of [`LOGIN_NOTICES`] for it.
    login_notice: Option<(SystemTime, Duration)>,
    notices: NoticeSender,
    audit: Option<AuditLog>,
}

/// The failed loads since the last success.
#[derive(Debug)]
struct FailureStreak {
    times: u32,
    since: SystemTime,
    /// The text of an unsettled error, and the time since which the text is unchanged.
    unsettled: Option<(Box<str>, Instant)>,
    /// True if a person has to log in.
    awaits_login: bool,
}

impl FailureStreak {
    fn since(since: SystemTime) -> Self {
        Self { times: 0, since, unsettled: None, awaits_login: false }
    }
}

impl Refresher {
    /// Makes a refresher and the handle on it. The new refresher serves `inherited`, the lease of the refresher that it
    /// replaces, until its first load has ended.
    pub(crate) fn new(
        key: LeaseKey,
        chain: Chain,
        context: Context,
        policy: RefreshPolicy,
        inherited: Option<Arc<Lease>>,
    ) -> (Self, LeaseHandle) {
        let refresh = if policy.eager { policy.start_load() } else { RefreshState::NotLoaded };
        let RefreshPolicy { eager, is_profile, .. } = policy;
        let first = LeaseState { lease: inherited, refresh, eager, is_profile, ..LeaseState::default() };
        let (state, waker, handle) = LeaseHandle::new(first);
        let refresher = Self {
            key,
            chain,
            context,
            policy,
            state,
            waker,
            lease: None,
            due: SystemTime::UNIX_EPOCH,
            supplier: None,
            failures: None,
            vanished_since: None,
            logged_long_lived_notice: false,
            login_notice: None,
            notices: NoticeSender::default(),
            audit: None,
        };
        (refresher, handle)
    }

    /// Returns the refresher with the receiver of its notices.
    #[must_use]
    pub(crate) fn with_notices(self, notices: NoticeSender) -> Self {
        Self { notices, ..self }
    }

    /// Returns the refresher with the audit log, which gets the logins that it has waited for.
    #[must_use]
    pub(crate) fn with_audit(self, audit: Option<AuditLog>) -> Self {
        Self { audit, ..self }
    }

    /// Renews the lease until the task is aborted. Each log line carries the identity.
    pub(crate) async fn run(self) -> Infallible {
        // Make the span at level error, so that every log line has the identity at any log level.
        let span = tracing::error_span!("refresher", identity = %self.key.identity(), client = self.key.client());
        self.load_repeatedly().instrument(span).await
    }

    async fn load_repeatedly(mut self) -> Infallible {
        let mut clock_steps = self.context.clock.steps();
        if !self.policy.eager {
            self.wait_for_first_request().await;
        }
        loop {
            let next = self.load().await;
            self.wait(next, &mut clock_steps).await;
        }
    }

    async fn wait_for_first_request(&self) {
        loop {
            let reasons = self.waker.wait().await;
            if reasons.contains(WakeReason::LeaseWanted) {
                return;
            }
            if reasons.contains(WakeReason::RegionWanted) {
                self.publish_region().await;
            }
        }
    }

    /// Loads the chain once, publishes the outcome and returns the time of the next load.
    async fn load(&mut self) -> SystemTime {
        let now = self.context.clock.now();
        if let Some(until) = self.policy.limits.until.filter(|until| now >= *until) {
            return self.end(until, now);
        }
        self.update(|state| state.refresh = self.policy.start_load());
        self.context.files.forget();
        let supplier = self.supplier.filter(|_| self.vanished_since.is_none_or(|since| since.elapsed() < SETTLE));
        let load = self.chain.load(&self.context, supplier, self.policy.load_timeout).await;
        self.publish_outcome(load)
    }

    /// Withdraws the lease, because its time is over. It is never loaded again.
    fn end(&mut self, until: SystemTime, now: SystemTime) -> SystemTime {
        let source = self.lease.take().map_or_else(|| self.chain.source_name(0), |lease| Arc::clone(&lease.source));
        let message = format!("the time of this session was over at {}", timestamp(until));
        let error = SourceError::new(ErrorKind::Denied, message).with_hint("start it again, with a longer time");
        let next = now + LONGEST_PAUSE;
        self.update(|state| {
            let error = Some(LeaseError::Failed { source, error, since: until, times: 1 });
            (state.lease, state.error, state.refresh) = (None, error, RefreshState::BackingOff { next });
        });
        next
    }

    /// Applies the outcome of a load to the lease and publishes the new state. It is not async, so a cancelled
    /// refresher never leaves half of a change.
    fn publish_outcome(&mut self, ChainLoad { steps, verdict }: ChainLoad) -> SystemTime {
        let now = self.context.clock.now();
        // The supplier is configured, even if it fails or its credentials have expired. If it vanishes later, the
        // settling time starts anew.
        if let Outcome::Found { winner: source, .. } | Outcome::Failed { source, .. } = verdict
            && self.supplier == Some(source)
        {
            self.vanished_since = None;
        }
        let (refresh, error) = match verdict {
            Outcome::Found { winner, credentials } => match self.accept(winner, &credentials, now) {
                Ok(next) => (RefreshState::Waiting { next }, None),
                Err(error) => self.record_failure(winner, error, now),
            },
            Outcome::Failed { source, error } => self.record_failure(source, error, now),
            Outcome::Vanished { source, reason } => {
                self.vanished_since.get_or_insert_with(Instant::now);
                let message = format!("this source supplied the lease and is no longer configured: {reason}");
                self.record_failure(source, SourceError::new(ErrorKind::Unsettled, message), now)
            }
            Outcome::NotConfigured => self.withdraw(now),
        };
        let lease = self.lease.clone();
        self.update(|state| {
            // The region may have changed with the source. The next request for the region loads it again.
            let (eager, is_profile) = (state.eager, state.is_profile);
            *state = LeaseState { lease, error, refresh, attempts: steps.into(), region: None, eager, is_profile };
        });
        match refresh {
            RefreshState::Waiting { next } | RefreshState::BackingOff { next } => next,
            RefreshState::NotLoaded | RefreshState::Loading { .. } => now,
        }
    }

    /// Makes a new lease from loaded credentials, or keeps the current lease if it is as new. Returns the time of the
    /// next load.
    ///
    /// # Errors
    /// If the credentials have expired.
    fn accept(&mut self, winner: usize, credentials: &Credentials, now: SystemTime) -> Result<SystemTime, SourceError> {
        let lease = Lease::new(credentials, self.chain.source_name(winner), now, self.policy.limits);
        if !lease.is_usable(now) {
            let expired = timestamp(lease.serve_until);
            return Err(SourceError::unavailable(format!("the source returned credentials that expired at {expired}"))
                .with_hint("renew the credentials in this source")
                .at(credentials.location.clone()));
        }
        self.vanished_since = None;
        if let Some(failures) = self.failures.take() {
            tracing::info!(source = %lease.source, failures = failures.times, "recovered");
            if let (true, Some(audit)) = (failures.awaits_login, &self.audit) {
                let identity = Some(self.key.identity().as_str().into());
                let keys = AuditKeys { source: Some(Arc::clone(&lease.source)), ..AuditKeys::default() };
                audit.record(AuditEvent { identity, keys: Some(keys), ..AuditEvent::new(AuditKind::Login) });
            }
        }
        if let Some(held) = self.lease.as_ref().filter(|held| held.is_usable(now) && lease.is_no_newer_than(held)) {
            let remaining = held.serve_until.duration_since(now).unwrap_or_default();
            tracing::debug!(source = %lease.source, "the source returned the credentials of the current lease again");
            // A new login may have a later end, although the credentials are unchanged.
            let renewed = (lease.login_ends != held.login_ends)
                .then(|| Lease { login_ends: lease.login_ends, ..Lease::clone(held) });
            // An early load does not change the due time. If the clock was set back, the due time is wrong: use the
            // present time.
            let due = if held.loaded <= now { self.due } else { now };
            if let Some(renewed) = renewed {
                self.lease = Some(Arc::new(renewed));
            }
            return Ok(due.max(now + schedule::after_the_same(remaining)));
        }
        // At the end of all leases there is nothing to renew.
        let next = match self.policy.limits.until {
            Some(until) if lease.serve_until + Duration::from_secs(1) > until => until,
            _ => schedule::refresh_at(now, lease.serve_until, self.context.rng.draw()),
        };
        self.log_renewal(&lease, next);
        self.supplier = Some(winner);
        self.lease = Some(Arc::new(lease));
        self.due = next;
        Ok(next)
    }

    fn log_renewal(&mut self, lease: &Lease, next: SystemTime) {
        let source = &lease.source;
        if let Some(before) = self.state.borrow().lease.as_ref().filter(|before| before.source != *source) {
            tracing::warn!(%source, before = %before.source, "another source supplies this identity now");
        }
        tracing::info!(
            %source, access_key_id = %lease.access_key_id, serve_until = %timestamp(lease.serve_until),
            refresh_at = %timestamp(next), "lease renewed"
        );
        if lease.is_long_lived && !self.logged_long_lived_notice {
            self.logged_long_lived_notice = true;
            tracing::info!(%source, "{LONG_LIVED_NOTICE}");
        }
    }

    /// Records a failed load and schedules the retry. The lease stays until it expires.
    fn record_failure(
        &mut self,
        source: usize,
        mut error: SourceError,
        now: SystemTime,
    ) -> (RefreshState, Option<LeaseError>) {
        let lease_held = self.lease.as_ref().is_some_and(|lease| lease.is_usable(now));
        let failures = self.failures.get_or_insert(FailureStreak::since(now));
        failures.times = failures.times.saturating_add(1);
        failures.awaits_login = error.kind == ErrorKind::LoginRequired;
        let shown: Box<str> = error.to_string().into();
        let mut settles_in = None;
        if error.kind == ErrorKind::Unsettled {
            let seen = match failures.unsettled.take() {
                Some((text, at)) if text == shown => (text, at),
                _ => (shown.clone(), Instant::now()),
            };
            settles_in = SETTLE.checked_sub(seen.1.elapsed()).filter(|left| !left.is_zero());
            if settles_in.is_none() {
                error.kind = ErrorKind::Misconfigured;
            }
            failures.unsettled = Some(seen);
        } else {
            failures.unsettled = None;
        }
        let pause = match settles_in {
            Some(left) => left,
            None if error.kind.is_transient() => {
                schedule::backoff(failures.times, self.context.rng.draw(), error.retry_after)
            }
            None => LONGEST_PAUSE,
        };
        let (times, since, source) = (failures.times, failures.since, self.chain.source_name(source));
        // The source has a field of its own.
        let text = error.below_source(&source);
        tracing::warn!(
            %source, times, kind = ?error.kind, error = %text, next_try_s = pause.as_secs_f32(), lease_held,
            "load failed"
        );
        if let Some(output) = &error.detail {
            tracing::debug!(%source, %output, "output of the program that failed");
        }
        (RefreshState::BackingOff { next: now + pause }, Some(LeaseError::Failed { source, error, since, times }))
    }

    /// Withdraws the lease, because no source is configured, and schedules the next load with the usual backoff.
    fn withdraw(&mut self, now: SystemTime) -> (RefreshState, Option<LeaseError>) {
        if self.lease.take().is_some() {
            tracing::warn!("the lease is withdrawn: no source of this identity is configured any longer");
        } else if self.failures.is_none() {
            tracing::warn!("no credentials: no source of this identity is configured; `credenza check` explains each");
        }
        (self.supplier, self.vanished_since) = (None, None);
        let failures = self.failures.get_or_insert(FailureStreak::since(now));
        failures.times = failures.times.saturating_add(1);
        failures.unsettled = None;
        let pause = schedule::backoff(failures.times, self.context.rng.draw(), None);
        (RefreshState::BackingOff { next: now + pause }, Some(LeaseError::NotConfigured))
    }

    /// Waits until the next load is due: by time, by a changed input, by a set clock, or by a waiting client.
    async fn wait(&mut self, next: SystemTime, clock_steps: &mut watch::Receiver<u64>) {
        let planned = next.duration_since(self.context.clock.now()).unwrap_or_default();
        loop {
            let left = next.duration_since(self.context.clock.now()).unwrap_or_default();
            // A longer wait than planned means that the clock was set back. Load at once then, because the age of the
            // lease is unknown.
            if left.is_zero() || left > planned + Duration::from_secs(1) {
                return;
            }
            let login_notice = self.warn_of_login_end();
            tokio::select! {
                // Poll in order, so that a test with injected time and random numbers is repeatable.
                biased;
                () = tokio::time::sleep(left.min(login_notice)) => {}
                () = self.context.files.changed() => return,
                _ = clock_steps.changed() => {}
                reasons = self.waker.wait() => {
                    if reasons.contains(WakeReason::Reload)
                        || (reasons.contains(WakeReason::LeaseWanted) && self.loads_on_request())
                    {
                        return;
                    }
                    if reasons.contains(WakeReason::RegionWanted) {
                        self.publish_region().await;
                    }
                }
            }
        }
    }

    /// Warns an hour and ten minutes ahead that a person has to log in again. Returns the time until the next warning is
    /// due.
    fn warn_of_login_end(&mut self) -> Duration {
        let Some(login) = self.lease.as_ref().and_then(|lease| lease.login_ends.clone()) else { return Duration::MAX };
        let left = login.at.duration_since(self.context.clock.now()).unwrap_or_default();
        let told = self.login_notice.filter(|(end, _)| *end == login.at).map_or(Duration::MAX, |(_, ahead)| ahead);
        let untold = || LOGIN_NOTICES.into_iter().filter(move |ahead| *ahead < told);
        // After a suspend both may be due: the later one says all.
        let Some(due) = untold().filter(|ahead| left <= *ahead).min() else {
            return untold().map(|ahead| left - ahead).min().unwrap_or(Duration::MAX);
        };
        self.login_notice = Some((login.at, due));
        let what = if login.is_mfa { "session with MFA" } else { "login" };
        tracing::warn!(ends = %timestamp(login.at), "the {what} of this identity ends soon; run: {}", login.remedy);
        if !left.is_zero() {
            let identity = self.key.identity().clone();
            self.notices.send(Notice { identity, login: LoginEnd::clone(&login), ahead: due });
        }
        let later = LOGIN_NOTICES.into_iter().filter(|ahead| *ahead < due);
        later.map(|ahead| left.saturating_sub(ahead)).min().unwrap_or(Duration::MAX)
    }

    /// Returns true if a waiting client makes the refresher load at once. During a backoff it does not.
    fn loads_on_request(&self) -> bool {
        let state = self.state.borrow();
        matches!(state.refresh, RefreshState::Waiting { .. }) && state.usable(self.context.clock.now()).is_none()
    }

    async fn publish_region(&self) {
        let region = self.chain.region(&self.context, self.supplier);
        let region = tokio::time::timeout(REGION_TIMEOUT, region).await.unwrap_or_default();
        self.update(|state| state.region = Some(region));
    }

    fn update(&self, change: impl FnOnce(&mut LeaseState)) {
        self.state.send_modify(|state| change(Arc::make_mut(state)));
    }
}
