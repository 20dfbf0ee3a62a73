//! The loop around one chain: loads, judges, publishes, waits.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::watch;
use tokio::time::Instant;

use crate::config::identity::Identity;
use crate::context::Context;
use crate::lease::registry::{LeaseError, LeaseHandle, LeaseKey, LeaseState, RefreshState, RefresherWaker, WakeReason};
use crate::lease::{LONG_LIVED_NOTICE, Lease};
use crate::model::credentials::{Credentials, LoginEnd};
use crate::model::error::{ErrorKind, SourceError};
use crate::model::outcome::{ChainLoad, Outcome};
use crate::model::schedule;
use crate::model::schedule::{LONGEST_PAUSE, SETTLE};
use crate::model::time::timestamp;
use crate::source::chain::Chain;

/// A region is a courtesy; nobody waits longer for it.
const REGION_LIMIT: Duration = Duration::from_secs(3);

/// The end of a log-in is told so long ahead.
const LOGIN_NOTICE: Duration = Duration::from_secs(3600);

/// How a keeper treats its lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RefreshPolicy {
    /// How long credentials without an end are served before they are read again.
    pub(crate) long_lived: Duration,
    /// The deadline of a load.
    pub(crate) load_timeout: Duration,
    /// Whether the first load happens at the start, not when somebody asks.
    pub(crate) eager: bool,
    /// Whether the identity is a profile that is served, for whoever tells about it.
    pub(crate) is_profile: bool,
}

impl From<&Identity> for RefreshPolicy {
    fn from(identity: &Identity) -> Self {
        Self {
            long_lived: identity.long_lived_expiration,
            load_timeout: identity.load_timeout,
            eager: identity.eager,
            is_profile: identity.is_profile,
        }
    }
}

impl RefreshPolicy {
    /// A load that begins now.
    fn loading(&self) -> RefreshState {
        RefreshState::Loading { since: Instant::now(), limit: self.load_timeout }
    }
}

/// The owner of one chain.
#[derive(Debug)]
pub(crate) struct Refresher {
    key: LeaseKey,
    chain: Chain,
    context: Context,
    policy: RefreshPolicy,
    publish: watch::Sender<Arc<LeaseState>>,
    wake: Arc<RefresherWaker>,
    held: Option<Arc<Lease>>,
    /// When `held` is to be renewed.
    due: SystemTime,
    /// The position of the source that supplied `held`; `None` for a lease that an earlier generation left.
    supplier: Option<usize>,
    failing: Option<FailureStreak>,
    vanished: Option<Instant>,
    told_long_lived: bool,
    /// The end of a log-in that was told ahead.
    told_login: Option<SystemTime>,
}

/// A row of failures.
#[derive(Debug)]
struct FailureStreak {
    times: u32,
    since: SystemTime,
    /// The message of an unsettled failure and the moment it was first seen so.
    unsettled: Option<(Box<str>, Instant)>,
}

impl Refresher {
    /// A keeper and the handle on it. `inherited` is the lease of the keeper whose place it takes; it is served until
    /// the first load has ended.
    #[must_use]
    pub(crate) fn new(
        key: LeaseKey,
        chain: Chain,
        context: Context,
        policy: RefreshPolicy,
        inherited: Option<Arc<Lease>>,
    ) -> (Self, LeaseHandle) {
        let phase = if policy.eager { policy.loading() } else { RefreshState::NotLoaded };
        let RefreshPolicy { eager, is_profile, .. } = policy;
        let first = LeaseState { lease: inherited, phase, eager, is_profile, ..LeaseState::default() };
        let (publish, wake, handle) = LeaseHandle::new(first);
        let refresher = Self {
            key,
            chain,
            context,
            policy,
            publish,
            wake,
            held: None,
            due: SystemTime::UNIX_EPOCH,
            supplier: None,
            failing: None,
            vanished: None,
            told_long_lived: false,
            told_login: None,
        };
        (refresher, handle)
    }

    /// Keeps the lease fresh for ever; it ends by being dropped.
    pub(crate) async fn keep(mut self) -> std::convert::Infallible {
        let mut steps = self.context.clock.steps();
        if !self.policy.eager {
            self.sleep_until_wanted().await;
        }
        loop {
            let next = self.load().await;
            self.wait(next, &mut steps).await;
        }
    }

    async fn sleep_until_wanted(&self) {
        loop {
            let wake_reasons = self.wake.wake_reasons().await;
            if wake_reasons.holds(WakeReason::LeaseWanted) {
                return;
            }
            if wake_reasons.holds(WakeReason::RegionWanted) {
                self.publish_region().await;
            }
        }
    }

    /// One load, from asking to publishing; says when the next is due.
    async fn load(&mut self) -> SystemTime {
        self.update(|published| published.phase = self.policy.loading());
        self.context.files.forget();
        let protected = self.supplier.filter(|_| self.vanished.is_none_or(|since| since.elapsed() < SETTLE));
        let outcome = self.chain.load(&self.context, protected, self.policy.load_timeout).await;
        self.judge(outcome)
    }

    /// What an outcome means for the lease. Nothing here waits.
    fn judge(&mut self, ChainLoad { steps, verdict }: ChainLoad) -> SystemTime {
        let now = self.context.clock.now();
        // The supplier is there again, if only to fail or to give what has expired: should it vanish once more, that is
        // a new matter.
        if let Outcome::Found { winner: spoke, .. } | Outcome::Failed { source: spoke, .. } = verdict
            && self.supplier == Some(spoke)
        {
            self.vanished = None;
        }
        let (phase, trouble) = match verdict {
            Outcome::Found { winner, credentials } => match self.take(winner, &credentials, now) {
                Ok(next) => (RefreshState::Waiting { next }, None),
                Err(failure) => self.failed(winner, failure, now),
            },
            Outcome::Failed { source, failure } => self.failed(source, failure, now),
            Outcome::Vanished { source, reason } => {
                self.vanished.get_or_insert_with(Instant::now);
                let message = format!("it supplied the lease and is not configured any more: {reason}");
                self.failed(source, SourceError::new(ErrorKind::Unsettled, message), now)
            }
            Outcome::NotConfigured => self.nothing_left(now),
        };
        let lease = self.held.clone();
        self.update(|published| {
            // The region may have changed with the source: it is asked again when somebody wants it.
            let (eager, is_profile) = (published.eager, published.is_profile);
            *published = LeaseState { lease, trouble, phase, steps: steps.into(), region: None, eager, is_profile };
        });
        match phase {
            RefreshState::Waiting { next } | RefreshState::BackingOff { next } => next,
            RefreshState::NotLoaded | RefreshState::Loading { .. } => now,
        }
    }

    /// Credentials came: takes them unless they are worse than what is held.
    fn take(&mut self, winner: usize, credentials: &Credentials, now: SystemTime) -> Result<SystemTime, SourceError> {
        let lease = Lease::new(credentials, self.chain.source_name(winner), now, self.policy.long_lived);
        if !lease.is_usable(now) {
            let expired = timestamp(lease.serve_until);
            return Err(SourceError::unavailable(format!("it gave credentials that had already expired at {expired}"))
                .with_hint("renew them there")
                .at(credentials.location.clone()));
        }
        self.vanished = None;
        if let Some(failing) = self.failing.take() {
            tracing::info!(identity = %self.key.identity(), source = %lease.source, after = failing.times, "recovered");
        }
        if let Some(held) = self.held.as_ref().filter(|held| held.is_usable(now) && lease.is_no_newer_than(held)) {
            let remaining = held.serve_until.duration_since(now).unwrap_or_default();
            tracing::debug!(identity = %self.key.identity(), source = %lease.source, "the same credentials came again");
            // Somebody has logged in again, perhaps.
            let renewed = (lease.login_ends != held.login_ends)
                .then(|| Lease { login_ends: lease.login_ends, ..Lease::clone(held) });
            // Before they were due, something else than time made us look; after the clock was set back nobody knows.
            let due = if held.loaded <= now { self.due } else { now };
            if let Some(renewed) = renewed {
                self.held = Some(Arc::new(renewed));
            }
            return Ok(due.max(now + schedule::after_the_same(remaining)));
        }
        let next = schedule::refresh_at(now, lease.serve_until, self.context.rng.draw());
        self.announce(&lease, next);
        self.supplier = Some(winner);
        self.held = Some(Arc::new(lease));
        self.due = next;
        Ok(next)
    }

    fn announce(&mut self, lease: &Lease, next: SystemTime) {
        let (identity, source) = (self.key.identity(), &lease.source);
        if let Some(before) = self.publish.borrow().lease.as_ref().filter(|before| before.source != *source) {
            tracing::warn!(%identity, %source, before = %before.source, "another source supplies this identity now");
        }
        tracing::info!(
            %identity, %source, access_key_id = %lease.access_key_id, serve_until = %timestamp(lease.serve_until),
            refresh_at = %timestamp(next), "lease renewed"
        );
        if lease.without_token && !self.told_long_lived {
            self.told_long_lived = true;
            tracing::info!(%identity, %source, "{LONG_LIVED_NOTICE}");
        }
    }

    /// A failure: the lease stays until it expires, the keeper tries again.
    fn failed(
        &mut self,
        source: usize,
        mut failure: SourceError,
        now: SystemTime,
    ) -> (RefreshState, Option<LeaseError>) {
        let held = self.held.as_ref().is_some_and(|lease| lease.is_usable(now));
        let failing = self.failing.get_or_insert(FailureStreak { times: 0, since: now, unsettled: None });
        failing.times = failing.times.saturating_add(1);
        let mut settles_in = None;
        if failure.kind == ErrorKind::Unsettled {
            let seen = match failing.unsettled.take() {
                Some((message, at)) if message == failure.message => (message, at),
                _ => (failure.message.clone(), Instant::now()),
            };
            settles_in = SETTLE.checked_sub(seen.1.elapsed()).filter(|left| !left.is_zero());
            if settles_in.is_none() {
                failure.kind = ErrorKind::Misconfigured;
            }
            failing.unsettled = Some(seen);
        } else {
            failing.unsettled = None;
        }
        let pause = match settles_in {
            Some(left) => left,
            None if failure.kind.is_transient() => {
                schedule::backoff(failing.times, self.context.rng.draw(), failure.retry_after)
            }
            None => LONGEST_PAUSE,
        };
        let (times, since, name) = (failing.times, failing.since, self.chain.source_name(source));
        tracing::warn!(
            identity = %self.key.identity(), source = %name, times, kind = ?failure.kind, error = %failure.message,
            next_try_s = pause.as_secs_f32(), lease_held = held, "load failed"
        );
        if let Some(said) = &failure.detail {
            tracing::debug!(identity = %self.key.identity(), source = %name, %said, "the program that failed said");
        }
        (
            RefreshState::BackingOff { next: now + pause },
            Some(LeaseError::Failed { source: name, failure, since, times }),
        )
    }

    /// No source is configured: what was held goes, and the chain is looked at again with the usual backoff.
    fn nothing_left(&mut self, now: SystemTime) -> (RefreshState, Option<LeaseError>) {
        if self.held.take().is_some() {
            tracing::warn!(identity = %self.key.identity(), "no source is configured any more: the lease is withdrawn");
        } else if self.failing.is_none() {
            tracing::warn!(identity = %self.key.identity(), "no source of this identity is configured");
        }
        (self.supplier, self.vanished) = (None, None);
        let failing = self.failing.get_or_insert(FailureStreak { times: 0, since: now, unsettled: None });
        failing.times = failing.times.saturating_add(1);
        failing.unsettled = None;
        let pause = schedule::backoff(failing.times, self.context.rng.draw(), None);
        (RefreshState::BackingOff { next: now + pause }, Some(LeaseError::NotConfigured))
    }

    /// Waits until the next load is due: by time, by a changed input, by a clock that was set, by a client that waits.
    async fn wait(&mut self, next: SystemTime, steps: &mut watch::Receiver<u64>) {
        let planned = next.duration_since(self.context.clock.now()).unwrap_or_default();
        loop {
            let left = next.duration_since(self.context.clock.now()).unwrap_or_default();
            // After the clock was set back nobody knows how old the lease is: a look costs little.
            if left.is_zero() || left > planned + Duration::from_secs(1) {
                return;
            }
            let tell = self.tell_login();
            tokio::select! {
                // In order, so that a run with injected time and chance repeats.
                biased;
                () = tokio::time::sleep(left.min(tell)) => {}
                () = self.context.files.changed() => return,
                _ = steps.changed() => {}
                wake_reasons = self.wake.wake_reasons() => {
                    if wake_reasons.holds(WakeReason::Reload) || (wake_reasons.holds(WakeReason::LeaseWanted) && self.heeds_demand()) {
                        return;
                    }
                    if wake_reasons.holds(WakeReason::RegionWanted) {
                        self.publish_region().await;
                    }
                }
            }
        }
    }

    /// Says once that a person will have to log in, an hour ahead; how long it is until there is something to say.
    fn tell_login(&mut self) -> Duration {
        let Some(end) = self.held.as_ref().and_then(|lease| lease.login_ends.clone()) else { return Duration::MAX };
        let LoginEnd { at: ends, ref remedy } = *end;
        let left = ends.duration_since(self.context.clock.now()).unwrap_or_default();
        match left.checked_sub(LOGIN_NOTICE) {
            Some(left) if !left.is_zero() => left,
            _ if self.told_login == Some(ends) => Duration::MAX,
            _ => {
                self.told_login = Some(ends);
                let (identity, ends) = (self.key.identity(), timestamp(ends));
                tracing::warn!(%identity, %ends, "the log-in behind this identity ends soon; run: {remedy}");
                Duration::MAX
            }
        }
    }

    /// A client that waits hastens a load, except while the keeper backs off.
    fn heeds_demand(&self) -> bool {
        let published = self.publish.borrow();
        matches!(published.phase, RefreshState::Waiting { .. }) && published.usable(self.context.clock.now()).is_none()
    }

    async fn publish_region(&self) {
        let region = self.chain.region(&self.context, self.supplier);
        let region = tokio::time::timeout(REGION_LIMIT, region).await.unwrap_or_default();
        self.update(|published| published.region = Some(region));
    }

    fn update(&self, change: impl FnOnce(&mut LeaseState)) {
        self.publish.send_modify(|published| change(Arc::make_mut(published)));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::model::outcome::Lookup;
    use crate::os::clock::Clock;
    use crate::source::chain::merge_credentials;
    use crate::source::{BoxFuture, Source};

    const HOUR: Duration = Duration::from_secs(3600);
    const SECOND: Duration = Duration::from_secs(1);

    /// Answers from a script, the last line for ever; each after a delay.
    #[derive(Debug)]
    struct Scripted {
        name: &'static str,
        script: Arc<Mutex<VecDeque<(Duration, Reply)>>>,
        loads: Arc<AtomicUsize>,
    }

    #[derive(Clone, Debug)]
    enum Reply {
        /// A temporary key that ends after this time from the moment of the load.
        Temporary(&'static str, Duration),
        /// A temporary key that ends at this moment.
        Fixed(&'static str, SystemTime),
        LongLived(&'static str),
        Absent,
        Fails(ErrorKind),
        Panics,
    }

    impl Source for Scripted {
        fn name(&self) -> &str {
            self.name
        }

        fn load<'a>(&'a self, context: &'a Context) -> BoxFuture<'a, Lookup> {
            self.loads.fetch_add(1, Ordering::SeqCst);
            let mut script = self.script.lock().unwrap();
            let (delay, reply) = if script.len() > 1 { script.pop_front().unwrap() } else { script[0].clone() };
            drop(script);
            Box::pin(async move {
                tokio::time::sleep(delay).await;
                let token = |key: &str, end| {
                    let keys = Credentials::new(key, "secret").unwrap().with_session_token(Some("token")).unwrap();
                    Lookup::Found(keys.with_expiration(Some(end)))
                };
                match reply {
                    Reply::Temporary(key, lifetime) => token(key, context.clock.now() + lifetime),
                    Reply::Fixed(key, end) => token(key, end),
                    Reply::LongLived(key) => Lookup::Found(Credentials::new(key, "secret").unwrap()),
                    Reply::Absent => Lookup::not_configured("the script says so"),
                    Reply::Fails(kind) => SourceError::new(kind, "the script fails").into(),
                    Reply::Panics => panic!("the script panics"),
                }
            })
        }

        fn region<'a>(&'a self, _: &'a Context) -> BoxFuture<'a, Option<Box<str>>> {
            Box::pin(std::future::ready(Some("eu-north-1".into())))
        }
    }

    struct Stage {
        handle: LeaseHandle,
        clock: Clock,
        loads: Arc<AtomicUsize>,
        script: Arc<Mutex<VecDeque<(Duration, Reply)>>>,
        task: tokio::task::JoinHandle<std::convert::Infallible>,
    }

    impl Drop for Stage {
        fn drop(&mut self) {
            self.task.abort();
        }
    }

    fn start() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_449_600)
    }

    fn policy() -> RefreshPolicy {
        RefreshPolicy { long_lived: HOUR, load_timeout: SECOND * 10, eager: true, is_profile: false }
    }

    #[allow(clippy::disallowed_methods, reason = "the stage aborts its task when it is dropped")]
    fn stage_of(
        policy: RefreshPolicy,
        inherited: Option<Arc<Lease>>,
        script: Vec<(Duration, Reply)>,
        second: Reply,
    ) -> Stage {
        let (script, loads) = (Arc::new(Mutex::new(VecDeque::from(script))), Arc::default());
        let first = Scripted { name: "first", script: Arc::clone(&script), loads: Arc::clone(&loads) };
        let second = Scripted {
            name: "second",
            script: Arc::new(Mutex::new(VecDeque::from([(Duration::ZERO, second)]))),
            loads: Arc::default(),
        };
        let clock = Clock::injected(start());
        let context = Context { clock: clock.clone(), ..Context::default() };
        let chain = merge_credentials([Box::new(first) as _, Box::new(second) as _]);
        let (refresher, handle) = Refresher::new(LeaseKey::Identity("i".into()), chain, context, policy, inherited);
        Stage { handle, clock, loads, script, task: tokio::spawn(refresher.keep()) }
    }

    fn stage(script: impl IntoIterator<Item = Reply>) -> Stage {
        stage_of(policy(), None, script.into_iter().map(|reply| (Duration::ZERO, reply)).collect(), Reply::Absent)
    }

    impl Stage {
        /// The access key that would be served now.
        fn serves(&self) -> Option<String> {
            self.handle.now().usable(self.clock.now()).map(|lease| lease.access_key_id.to_string())
        }

        fn loads(&self) -> usize {
            self.loads.load(Ordering::SeqCst)
        }

        fn kind(&self) -> Option<ErrorKind> {
            match self.handle.now().trouble.as_ref()? {
                LeaseError::Failed { failure, .. } => Some(failure.kind),
                LeaseError::NotConfigured => None,
            }
        }

        fn rewrite(&self, reply: Reply) {
            *self.script.lock().unwrap() = VecDeque::from([(Duration::ZERO, reply)]);
        }
    }

    async fn pass(time: Duration) {
        tokio::time::sleep(time).await;
        // Whatever fell due at this very moment has its turn first.
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_is_renewed_a_lead_before_its_end() {
        let stage = stage([Reply::Temporary("A1", HOUR), Reply::Temporary("A2", HOUR)]);
        pass(SECOND).await;
        assert_eq!((stage.serves().as_deref(), stage.loads()), (Some("A1"), 1));
        pass(SECOND * 37 * 60).await;
        assert_eq!(stage.loads(), 1, "not before 38 minutes");
        pass(SECOND * 3 * 60).await;
        assert_eq!((stage.serves().as_deref(), stage.loads()), (Some("A2"), 2));
    }

    #[tokio::test(start_paused = true)]
    async fn the_last_lease_is_served_to_its_very_second_and_failures_never_overwrite_it() {
        let stage = stage([Reply::Temporary("A1", HOUR), Reply::Fails(ErrorKind::Unavailable)]);
        pass(HOUR - SECOND).await;
        assert_eq!(stage.serves().as_deref(), Some("A1"));
        assert_eq!(stage.kind(), Some(ErrorKind::Unavailable));
        pass(SECOND).await;
        assert_eq!(stage.serves(), None);
        let before = stage.loads();
        pass(HOUR).await;
        let tries = stage.loads() - before;
        assert!((60..=3600).contains(&tries), "it goes on for ever, at most once a second: {tries}");
        stage.rewrite(Reply::Temporary("A3", HOUR));
        pass(SECOND * 61).await;
        assert_eq!((stage.serves().as_deref(), stage.kind()), (Some("A3"), None), "success heals");
    }

    #[tokio::test(start_paused = true)]
    async fn expired_and_older_answers_overwrite_nothing_but_another_key_replaces_at_once() {
        let stage = stage([Reply::Fixed("A1", start() + HOUR), Reply::Fixed("A1", start() + HOUR / 2)]);
        pass(SECOND * 45 * 60).await;
        assert_eq!(stage.serves().as_deref(), Some("A1"), "the older answer would have expired");
        assert!(stage.loads() >= 3, "it asks again within a minute");
        stage.rewrite(Reply::Fixed("A1", start()));
        pass(SECOND * 60).await;
        assert_eq!((stage.serves().as_deref(), stage.kind()), (Some("A1"), Some(ErrorKind::Unavailable)));
        stage.rewrite(Reply::Fixed("B1", start() + SECOND * 50 * 60));
        pass(SECOND * 61).await;
        assert_eq!(stage.serves().as_deref(), Some("B1"), "though it ends earlier");
    }

    #[tokio::test(start_paused = true)]
    async fn a_look_before_the_time_keeps_the_schedule() {
        let stage = stage([Reply::Fixed("A1", start() + HOUR), Reply::Fixed("A1", start() + HOUR)]);
        pass(SECOND).await;
        stage.handle.wish(WakeReason::Reload);
        pass(SECOND * 30 * 60).await;
        assert_eq!(stage.loads(), 2, "the one at the start, the one that was asked for");
        pass(SECOND * 10 * 60).await;
        assert!(stage.loads() > 2, "and again when it is due");
    }

    #[tokio::test(start_paused = true)]
    async fn long_lived_keys_roll_on() {
        let stage = stage([Reply::LongLived("A1"), Reply::LongLived("A2")]);
        pass(SECOND * 37 * 60).await;
        assert_eq!(stage.serves().as_deref(), Some("A1"));
        pass(SECOND * 4 * 60).await;
        assert_eq!(stage.serves().as_deref(), Some("A2"));
        pass(HOUR * 24).await;
        let served_for =
            stage.handle.now().lease.as_ref().unwrap().serve_until.duration_since(stage.clock.now()).unwrap();
        assert!(served_for > SECOND * 19 * 60, "{served_for:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_hanging_source_fails_at_the_deadline_and_the_next_is_not_asked() {
        let script = vec![(HOUR, Reply::LongLived("A1"))];
        let stage = stage_of(policy(), None, script, Reply::LongLived("B1"));
        pass(SECOND * 9).await;
        assert!(matches!(stage.handle.now().phase, RefreshState::Loading { .. }));
        pass(SECOND * 2).await;
        assert_eq!((stage.serves(), stage.kind()), (None, Some(ErrorKind::Unavailable)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_supplier_that_vanishes_has_five_seconds() {
        let script = vec![(Duration::ZERO, Reply::LongLived("A1"))];
        let stage = stage_of(policy(), None, script, Reply::LongLived("B1"));
        pass(SECOND).await;
        stage.rewrite(Reply::Absent);
        stage.handle.wish(WakeReason::Reload);
        pass(SECOND * 2).await;
        assert_eq!((stage.serves().as_deref(), stage.kind()), (Some("A1"), Some(ErrorKind::Unsettled)));
        stage.handle.wish(WakeReason::Reload);
        pass(SECOND * 2).await;
        assert_eq!(stage.serves().as_deref(), Some("A1"), "looking again does not begin a new grace");
        pass(SECOND * 2).await;
        assert_eq!(stage.serves().as_deref(), Some("B1"), "then the chain goes on");
    }

    #[tokio::test(start_paused = true)]
    async fn a_supplier_that_comes_back_in_time_changes_nothing_and_the_last_one_gone_drops_the_lease() {
        let stage = stage([Reply::LongLived("A1")]);
        pass(SECOND).await;
        stage.rewrite(Reply::Absent);
        stage.handle.wish(WakeReason::Reload);
        pass(SECOND * 3).await;
        stage.rewrite(Reply::LongLived("A1"));
        stage.handle.wish(WakeReason::Reload);
        pass(SECOND).await;
        assert_eq!((stage.serves().as_deref(), stage.kind()), (Some("A1"), None));
        stage.rewrite(Reply::Absent);
        stage.handle.wish(WakeReason::Reload);
        pass(SECOND * 6).await;
        assert_eq!(stage.serves(), None);
        assert!(matches!(stage.handle.now().trouble, Some(LeaseError::NotConfigured)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_supplier_that_gave_expired_credentials_meanwhile_has_five_seconds_again() {
        let stage = stage([Reply::Temporary("A1", HOUR)]);
        pass(SECOND).await;
        for reply in [Reply::Absent, Reply::Fixed("A1", start()), Reply::Absent] {
            stage.rewrite(reply);
            stage.handle.wish(WakeReason::Reload);
            pass(SECOND * 3).await;
            assert_eq!(stage.serves().as_deref(), Some("A1"), "{:?}", stage.kind());
        }
        pass(SECOND * 3).await;
        assert_eq!(stage.serves(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn an_unsettled_failure_becomes_lasting_after_five_seconds_unchanged() {
        let stage = stage([Reply::Fails(ErrorKind::Unsettled)]);
        pass(SECOND * 4).await;
        assert_eq!(stage.kind(), Some(ErrorKind::Unsettled));
        pass(SECOND * 2).await;
        assert_eq!(stage.kind(), Some(ErrorKind::Misconfigured));
        let before = stage.loads();
        pass(SECOND * 600).await;
        assert_eq!(stage.loads() - before, 10, "a lasting failure is looked at every 60 s");
    }

    #[tokio::test(start_paused = true)]
    async fn who_asks_hastens_a_sleeping_keeper_but_not_one_that_backs_off() {
        let stage = stage_of(
            RefreshPolicy { eager: false, ..policy() },
            None,
            vec![(Duration::ZERO, Reply::Fails(ErrorKind::Denied)), (Duration::ZERO, Reply::LongLived("A1"))],
            Reply::Absent,
        );
        pass(HOUR).await;
        assert_eq!((stage.loads(), stage.handle.now().phase), (0, RefreshState::NotLoaded));
        for _ in 0..50 {
            stage.handle.wish(WakeReason::LeaseWanted);
            pass(Duration::from_millis(10)).await;
        }
        assert_eq!((stage.loads(), stage.kind()), (1, Some(ErrorKind::Denied)));
        pass(SECOND * 60).await;
        assert_eq!(stage.serves().as_deref(), Some("A1"));
    }

    #[tokio::test(start_paused = true)]
    async fn the_region_is_asked_only_when_wanted() {
        let stage = stage([Reply::LongLived("A1")]);
        pass(SECOND).await;
        assert_eq!(stage.handle.now().region, None);
        stage.handle.wish(WakeReason::RegionWanted);
        pass(SECOND).await;
        assert_eq!(stage.handle.now().region, Some(Some("eu-north-1".into())));
        assert_eq!(stage.loads(), 1);
    }

    #[tokio::test(start_paused = true)]
    #[allow(clippy::disallowed_methods, reason = "aborted below")]
    async fn a_clock_that_jumps_forward_or_back_causes_a_look() {
        let stage = stage([Reply::Temporary("A1", HOUR), Reply::Temporary("A2", HOUR), Reply::Temporary("A3", HOUR)]);
        let clock = stage.clock.clone();
        let ticker = tokio::spawn(async move { clock.watch_for_steps().await });
        pass(SECOND).await;
        stage.clock.step(2 * 3600 * 1000);
        assert_eq!(stage.serves(), None, "nothing expired is served, not even before the keeper knows");
        pass(SECOND * 6).await;
        assert_eq!(stage.serves().as_deref(), Some("A2"));
        stage.clock.step(-4 * 3600 * 1000);
        pass(SECOND * 6).await;
        assert_eq!(stage.serves().as_deref(), Some("A3"));
        ticker.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn an_inherited_lease_is_served_until_the_first_load_has_ended() {
        let credentials = Credentials::new("OLD", "secret").unwrap();
        let inherited = Arc::new(Lease::new(&credentials, "before".into(), start(), HOUR));
        let script = vec![(SECOND * 3, Reply::Fails(ErrorKind::Denied))];
        let stage = stage_of(policy(), Some(inherited), script, Reply::Absent);
        pass(SECOND * 2).await;
        assert_eq!(stage.serves().as_deref(), Some("OLD"));
        pass(SECOND * 2).await;
        assert_eq!((stage.serves(), stage.kind()), (None, Some(ErrorKind::Denied)), "then only the new chain counts");
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_of_a_log_in_is_told_once_an_hour_ahead() {
        let clock = Clock::injected(start());
        let context = Context { clock: clock.clone(), ..Context::default() };
        let (mut refresher, _handle) =
            Refresher::new(LeaseKey::Identity("i".into()), merge_credentials([]), context, policy(), None);
        assert_eq!(refresher.tell_login(), Duration::MAX, "there is nothing to tell");
        let mut hold = |ends| {
            let ends = LoginEnd { at: ends, remedy: "credenza login --sso-session work".into() };
            let credentials = Credentials { login_ends: Some(Arc::new(ends)), ..Credentials::new("A", "s").unwrap() };
            refresher.held = Some(Arc::new(Lease::new(&credentials, "sso".into(), start(), HOUR)));
            (refresher.tell_login(), refresher.told_login, refresher.tell_login())
        };
        let ends = start() + HOUR * 3;
        assert_eq!(hold(ends), (HOUR * 2, None, HOUR * 2), "until then it can wait");
        clock.step(2 * 3600 * 1000);
        assert_eq!(hold(ends), (Duration::MAX, Some(ends), Duration::MAX), "told, and not again");
        assert_eq!(hold(ends + HOUR).1, Some(ends), "a new log-in lasts longer");
        clock.step(9 * 3600 * 1000);
        assert_eq!(hold(ends + HOUR).1, Some(ends + HOUR), "one that has ended is told as well");
    }

    #[tokio::test(start_paused = true)]
    async fn the_same_credentials_after_a_new_log_in_have_its_end() {
        let context = Context { clock: Clock::injected(start()), ..Context::default() };
        let chain = merge_credentials([Box::new(crate::source::static_keys::StaticCredentials::new("A", "s")) as _]);
        let (mut refresher, _handle) = Refresher::new(LeaseKey::Identity("i".into()), chain, context, policy(), None);
        let mut take = |login: u32| {
            let ends = LoginEnd { at: start() + HOUR * login, remedy: "credenza login".into() };
            let keys = Credentials::new("A", "s").unwrap().with_expiration(Some(start() + HOUR * 4));
            refresher.take(0, &Credentials { login_ends: Some(Arc::new(ends)), ..keys }, start()).unwrap();
            let held = refresher.held.clone().unwrap();
            (held.login_ends.as_ref().unwrap().at, held.body.as_ptr())
        };
        let (first, second, third) = (take(1), take(8), take(2));
        assert_eq!([first.0, second.0, third.0], [1, 8, 2].map(|hours| start() + HOUR * hours));
        assert!(first.1 == second.1 && first.1 == third.1, "the lease is as it was");
    }

    #[tokio::test(start_paused = true)]
    async fn a_panic_ends_the_task() {
        let mut stage = stage([Reply::Panics]);
        assert!((&mut stage.task).await.unwrap_err().is_panic());
    }
}
