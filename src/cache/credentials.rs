//! Temporary credentials that an upstream gave, shared by all who would obtain the same: a hundred profiles over one
//! base cost one call for it, whether STS, SSO, a program, the container endpoint or the metadata service gives it.
//!
//! It is a cache that is asked, not a task that pushes: nothing to own, nothing to stop, and what nobody asks for is
//! not kept fresh.

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::MutexGuard;
use tokio::time::Instant;

pub(crate) use crate::cache::key::{CacheKey, CacheKeyBuilder};
use crate::model::credentials::Credentials;
use crate::model::error::SourceError;
use crate::model::outcome::Lookup;
use crate::model::schedule;
use crate::model::schedule::{LONGEST_PAUSE, SETTLE, SHORTEST_PAUSE};
use crate::os::clock::Clock;

/// What was obtained in this process. Clones share it.
#[derive(Clone, Default)]
pub(crate) struct CredentialCache {
    slots: Arc<Mutex<HashMap<CacheKey, Arc<CacheSlot>>>>,
    /// How often everything was forgotten.
    era: Arc<AtomicU64>,
}

/// What somebody agrees to who shares.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CachePolicy {
    /// They take what came at most this long ago.
    pub(crate) longest: Duration,
    /// They wait at most this long for what another one asks; then one of them asks as well, and the others wait for that.
    pub(crate) wait: Duration,
    /// Whether somebody who was refused may throw it away: not what a person was asked for.
    pub(crate) can_invalidate: bool,
}

impl CachePolicy {
    /// For what is issued to whoever asks, and is good until its end.
    pub(crate) const ISSUED: Self = Self { longest: Duration::MAX, wait: Duration::MAX, can_invalidate: true };

    /// The same for what a person was asked for.
    pub(crate) const ASKED: Self = Self { can_invalidate: false, ..Self::ISSUED };

    /// For a service beside us: it answers at once, and whose keys it gives may change without a word. One connection that
    /// hangs holds up nobody else.
    pub(crate) const NEARBY: Self = Self { longest: LONGEST_PAUSE, wait: Duration::from_secs(1), can_invalidate: true };
}

#[derive(Default)]
struct CacheSlot {
    /// Held while upstream is asked, so that one asks for all.
    held: tokio::sync::Mutex<SlotState>,
}

#[derive(Default)]
struct SlotState {
    answered: Option<CachedLookup>,
    given: Option<IssuedCredentials>,
    /// What was given before that.
    before: Option<CacheKey>,
}

struct CachedLookup {
    answer: Lookup,
    ended: Instant,
    era: u64,
    can_invalidate: bool,
}

/// Which credentials were given last, and when for the first time: neither a failure between, nor old ones, nor a change of
/// the configuration makes the same ones fresher.
#[derive(Clone, Copy)]
struct IssuedCredentials {
    which: CacheKey,
    at: SystemTime,
    end: Option<SystemTime>,
}

impl CredentialCache {
    /// The answer of this fingerprint: the credentials that are held, while they are fresh enough that nobody would renew
    /// them, else what `ask` says. However many ask at once, `ask` runs once, and all of them have what it said, that
    /// nothing is configured and a failure too; dropping the one that asks lets the next one do it.
    ///
    /// Credentials without an end are for those who were waiting, and nobody else: the next one asks again. So does who
    /// comes after upstream gave the same ones again, which are no fresher for it, and who does not agree to the `terms`.
    pub(crate) async fn share<F>(
        &self,
        clock: &Clock,
        of: CacheKey,
        terms: CachePolicy,
        ask: impl FnOnce() -> F,
    ) -> Lookup
    where
        F: Future<Output = Lookup>,
    {
        let (came, slot) = (Instant::now(), self.slot(of, clock.now()));
        if let Ok(held) = tokio::time::timeout(terms.wait, slot.held.lock()).await {
            return self.serve(held, clock, came, terms, ask).await;
        }
        let slot = self.pass_by(of, &slot);
        let held = slot.held.lock().await;
        self.serve(held, clock, came, terms, ask).await
    }

    async fn serve<F>(
        &self,
        mut held: MutexGuard<'_, SlotState>,
        clock: &Clock,
        came: Instant,
        terms: CachePolicy,
        ask: impl FnOnce() -> F,
    ) -> Lookup
    where
        F: Future<Output = Lookup>,
    {
        let era = self.era.load(Ordering::Relaxed);
        if let Some(answer) = held.serving(came, clock.now(), era, terms.longest) {
            return answer.clone();
        }
        let answer = ask().await;
        if let Lookup::Found(credentials) = &answer {
            held.take(credentials, clock.now());
        }
        let can_invalidate = terms.can_invalidate;
        held.answered = Some(CachedLookup { answer: answer.clone(), ended: Instant::now(), era, can_invalidate });
        answer
    }

    /// The slot in the place of one whose holder is waited for in vain: the same for all who do.
    fn pass_by(&self, of: CacheKey, vain: &Arc<CacheSlot>) -> Arc<CacheSlot> {
        let mut slots = self.slots();
        match slots.get(&of) {
            Some(other) if !Arc::ptr_eq(other, vain) => Arc::clone(other),
            _ => {
                let slot = Arc::<CacheSlot>::default();
                slots.insert(of, Arc::clone(&slot));
                slot
            }
        }
    }

    /// The same as [`CredentialCache::share`], for those who have been set up, as long as what they get is fresh: there are
    /// credentials or a failure.
    ///
    /// # Errors
    /// What `ask` said.
    pub(crate) async fn obtain<F>(
        &self,
        clock: &Clock,
        of: CacheKey,
        terms: CachePolicy,
        ask: impl FnOnce() -> F,
    ) -> Result<Credentials, SourceError>
    where
        F: Future<Output = Result<Credentials, SourceError>>,
    {
        match self.share(clock, of, terms, || async { Lookup::from_result(ask().await) }).await {
            Lookup::Found(credentials) => Ok(credentials),
            Lookup::Failed(failure) => Err(failure),
            Lookup::NotConfigured(why) => Err(SourceError::misconfigured(why)),
        }
    }

    /// Somebody who used these was refused. Whoever comes next asks for others, unless they have only just come, have no
    /// end, or were asked of a person: a hundred who are refused for reasons of their own cost one call in five seconds.
    /// Whether there are others to be had.
    pub(crate) fn invalidate(&self, credentials: &Credentials) -> bool {
        let doubted = which(credentials);
        let mut are_others = false;
        for slot in self.slots().values() {
            let Ok(mut held) = slot.held.try_lock() else { continue };
            // Another one who was refused was here first.
            are_others |= held.before == Some(doubted);
            if !held.given.is_some_and(|given| given.which == doubted && given.end.is_some()) {
                continue;
            }
            match &held.answered {
                Some(answered) if answered.can_invalidate && answered.ended.elapsed() >= SETTLE => {
                    held.answered = None;
                    are_others = true;
                }
                _ => {}
            }
        }
        are_others
    }

    /// Forgets everything: the next load asks upstream.
    pub(crate) fn forget(&self) {
        self.era.fetch_add(1, Ordering::Relaxed);
        for slot in self.slots().values() {
            // Who holds it is asking, and what comes of that is of another era.
            if let Ok(mut held) = slot.held.try_lock() {
                held.answered = None;
            }
        }
    }

    fn slot(&self, of: CacheKey, now: SystemTime) -> Arc<CacheSlot> {
        let mut slots = self.slots();
        if let Some(slot) = slots.get(&of) {
            return Arc::clone(slot);
        }
        // What serves nobody any more goes when something new comes.
        slots.retain(|_, slot| {
            Arc::strong_count(slot) > 1
                || slot.held.try_lock().is_ok_and(|held| held.given.is_some_and(|given| given.lives(now)))
        });
        Arc::clone(slots.entry(of).or_default())
    }

    fn slots(&self) -> std::sync::MutexGuard<'_, HashMap<CacheKey, Arc<CacheSlot>>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SlotState {
    /// What serves somebody who came at this moment.
    fn serving(&self, came: Instant, now: SystemTime, era: u64, longest: Duration) -> Option<&Lookup> {
        let CachedLookup { answer, ended, .. } = self.answered.as_ref().filter(|answered| answered.era == era)?;
        let serves = match answer {
            // It was being asked for when that one came.
            _ if *ended >= came => true,
            Lookup::Found(credentials) => {
                let is_fresh = self.given.is_some_and(|given| given.is(credentials) && given.is_fresh(now));
                is_fresh && ended.elapsed() < longest
            }
            // A hundred keepers that try again each by itself are still one who asks.
            Lookup::Failed(failure) => failure.kind.passes() && ended.elapsed() < SHORTEST_PAUSE,
            Lookup::NotConfigured(_) => false,
        };
        serves.then_some(answer)
    }

    /// Takes what a keeper would take: neither what has ended, nor an older answer of the same credentials.
    fn take(&mut self, credentials: &Credentials, now: SystemTime) {
        let is_news = match self.given {
            Some(given) if given.which == which(credentials) => now < given.at || given.end < credentials.expiration,
            _ => true,
        };
        if is_news && credentials.expiration.is_none_or(|end| now < end) {
            let which = which(credentials);
            self.before = self.given.map(|given| given.which).filter(|before| *before != which).or(self.before);
            self.given = Some(IssuedCredentials { which, at: now, end: credentials.expiration });
        }
    }
}

fn which(credentials: &Credentials) -> CacheKey {
    CacheKeyBuilder::new("given").with_caller(credentials).cache_key()
}

impl IssuedCredentials {
    fn is(self, credentials: &Credentials) -> bool {
        self.end == credentials.expiration && self.which == which(credentials)
    }

    /// Until the earliest moment at which a keeper would renew them, so that who comes to renew gets new ones.
    fn is_fresh(self, now: SystemTime) -> bool {
        now >= self.at && self.end.is_some_and(|end| now < schedule::refresh_at(self.at, end, 1.0))
    }

    /// Whether upstream may still give the same again.
    fn lives(self, now: SystemTime) -> bool {
        self.end.is_some_and(|end| now < end)
    }
}

impl fmt::Debug for CredentialCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sessions").field("held", &self.slots().len()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::error::ErrorKind;
    use std::sync::atomic::AtomicUsize;

    const HOUR: Duration = Duration::from_secs(3600);

    fn clock() -> Clock {
        Clock::injected(SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_449_600))
    }

    fn of(name: &str) -> CacheKey {
        CacheKeyBuilder::new("test").with(name).cache_key()
    }

    struct Upstream(AtomicUsize);

    impl Upstream {
        async fn ask(&self, outcome: Result<Option<SystemTime>, ErrorKind>) -> Result<Credentials, SourceError> {
            let calls = 1 + self.0.fetch_add(1, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(100)).await;
            match outcome {
                Ok(end) => Ok(Credentials::new(&format!("ASIA{calls}"), "hush").unwrap().with_expiration(end)),
                Err(kind) => Err(SourceError::new(kind, "no")),
            }
        }

        fn calls(&self) -> usize {
            self.0.load(Ordering::SeqCst)
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_hundred_who_ask_cost_one_call_a_failure_too() {
        for outcome in [Ok(Some(clock().now() + HOUR)), Ok(None), Err(ErrorKind::Denied), Err(ErrorKind::Unavailable)] {
            let (sessions, clock, upstream) = (CredentialCache::default(), clock(), Upstream(AtomicUsize::new(0)));
            let asking =
                (0..100).map(|_| sessions.obtain(&clock, of("a"), CachePolicy::ISSUED, || upstream.ask(outcome)));
            let mut asking: Vec<_> = asking.map(Box::pin).collect();
            let mut outcomes = Vec::new();
            for asked in &mut asking {
                // All of them have come before the first is answered.
                assert!(futures_poll(asked.as_mut()).await.is_none());
            }
            for asked in asking {
                outcomes.push(asked.await);
            }
            assert_eq!(upstream.calls(), 1, "{outcome:?}");
            assert!(outcomes.iter().all(|one| *one == outcomes[0]));
        }
    }

    /// Polls once.
    async fn futures_poll<F: Future>(mut future: std::pin::Pin<&mut F>) -> Option<F::Output> {
        std::future::poll_fn(|context| match future.as_mut().poll(context) {
            std::task::Poll::Ready(output) => std::task::Poll::Ready(Some(output)),
            std::task::Poll::Pending => std::task::Poll::Ready(None),
        })
        .await
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_fresh_is_handed_on_until_the_first_keeper_would_renew_it() {
        let (sessions, clock, upstream) = (CredentialCache::default(), clock(), Upstream(AtomicUsize::new(0)));
        let end = clock.now() + HOUR;
        let key = async || {
            let held = sessions.obtain(&clock, of("a"), CachePolicy::ISSUED, || upstream.ask(Ok(Some(end)))).await;
            held.unwrap().access_key_id.to_string()
        };
        assert_eq!(key().await, "ASIA1");
        tokio::time::sleep(Duration::from_secs(37 * 60)).await;
        assert_eq!(key().await, "ASIA1");
        tokio::time::sleep(Duration::from_secs(2 * 60)).await;
        assert_eq!(key().await, "ASIA2", "after 38 minutes somebody may come to renew");
        sessions.forget();
        assert_eq!(key().await, "ASIA3");
    }

    #[tokio::test(start_paused = true)]
    async fn credentials_without_an_end_and_failures_are_not_kept() {
        for (outcome, within_a_second) in [(Ok(None), 2), (Err(ErrorKind::Denied), 2), (Err(ErrorKind::Unavailable), 1)]
        {
            let (sessions, clock, upstream) = (CredentialCache::default(), clock(), Upstream(AtomicUsize::new(0)));
            let ask =
                async || drop(sessions.obtain(&clock, of("a"), CachePolicy::ISSUED, || upstream.ask(outcome)).await);
            ask().await;
            tokio::time::sleep(Duration::from_millis(500)).await;
            ask().await;
            assert_eq!(upstream.calls(), within_a_second, "{outcome:?}");
            tokio::time::sleep(Duration::from_millis(1100)).await;
            ask().await;
            assert_eq!(upstream.calls(), within_a_second + 1, "{outcome:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_same_ones_again_are_no_fresher() {
        let (sessions, clock, calls) = (CredentialCache::default(), clock(), AtomicUsize::new(0));
        let (began, end) = (clock.now(), clock.now() + HOUR);
        let key = async |name: &str| {
            let ask = async || {
                calls.fetch_add(1, Ordering::SeqCst);
                match name {
                    "" => return Err(SourceError::unavailable("no")),
                    "OLD" => return Ok(Credentials::new(name, "hush").unwrap().with_expiration(Some(began))),
                    _ => {}
                }
                Ok(Credentials::new(name, "hush").unwrap().with_expiration(Some(end)))
            };
            sessions
                .obtain(&clock, of("a"), CachePolicy::ISSUED, ask)
                .await
                .map_or_else(|_| "".into(), |held| held.access_key_id.to_string())
        };
        key("ASIA1").await;
        tokio::time::sleep(Duration::from_secs(39 * 60)).await;
        // Instances get their new credentials at a moment of the service's own: who comes to renew asks until they do,
        // also after something else was asked for, a failure, what had already ended, or a reload.
        for call in 2..5 {
            let other = sessions
                .obtain(&clock, of("b"), CachePolicy::ISSUED, async || Ok(Credentials::new("B", "hush").unwrap()))
                .await;
            assert_eq!((key("ASIA1").await.as_str(), calls.load(Ordering::SeqCst)), ("ASIA1", call), "{other:?}");
            tokio::time::sleep(Duration::from_secs(60)).await;
        }
        assert_eq!((key("").await.as_str(), key("").await.as_str()), ("", ""));
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(key("OLD").await, "OLD");
        tokio::time::sleep(Duration::from_millis(100)).await;
        for call in [7, 8] {
            assert_eq!((key("ASIA1").await.as_str(), calls.load(Ordering::SeqCst)), ("ASIA1", call));
            tokio::time::sleep(Duration::from_secs(60)).await;
        }
        sessions.forget();
        for call in [9, 10] {
            assert_eq!((key("ASIA1").await.as_str(), calls.load(Ordering::SeqCst)), ("ASIA1", call));
            tokio::time::sleep(Duration::from_secs(60)).await;
        }
        assert_eq!((key("ASIA2").await.as_str(), key("ASIA3").await.as_str()), ("ASIA2", "ASIA2"));

        // A clock that was ahead when they came says nothing of their age.
        clock.step(-1_800_000);
        for call in [12, 12] {
            tokio::time::sleep(Duration::from_secs(1)).await;
            assert_eq!((key("ASIA2").await.as_str(), calls.load(Ordering::SeqCst)), ("ASIA2", call));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn that_nothing_is_configured_is_for_those_who_wait() {
        let (sessions, clock, calls) = (CredentialCache::default(), clock(), AtomicUsize::new(0));
        let ask = async || {
            calls.fetch_add(1, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(100)).await;
            Lookup::not_configured("nobody is here")
        };
        let share = || sessions.share(&clock, of("a"), CachePolicy::ISSUED, ask);
        let (one, two) = tokio::join!(share(), share());
        assert_eq!((one, calls.load(Ordering::SeqCst)), (two, 1));
        tokio::time::sleep(Duration::from_millis(1)).await;
        share().await;
        assert_eq!(calls.load(Ordering::SeqCst), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_gets_what_came_longer_ago_than_they_want() {
        let (sessions, clock, upstream) = (CredentialCache::default(), clock(), Upstream(AtomicUsize::new(0)));
        let end = clock.now() + 6 * HOUR;
        let share = async || {
            let ask = async || Lookup::from_result(upstream.ask(Ok(Some(end))).await);
            drop(sessions.share(&clock, of("a"), CachePolicy::NEARBY, ask).await);
            upstream.calls()
        };
        assert_eq!(share().await, 1);
        tokio::time::sleep(Duration::from_secs(59)).await;
        assert_eq!(share().await, 1);
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(share().await, 2);
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_waits_for_another_one_in_vain_asks_by_itself() {
        let (sessions, clock, calls) = (CredentialCache::default(), clock(), AtomicUsize::new(0));
        let share = async |terms| {
            let ask = async || {
                let is_first = calls.fetch_add(1, Ordering::SeqCst) == 0;
                tokio::time::sleep(Duration::from_secs(if is_first { 8 } else { 0 })).await;
                Lookup::not_configured(if is_first { "slow" } else { "quick" })
            };
            let began = Instant::now();
            (sessions.share(&clock, of("a"), terms, ask).await, began.elapsed().as_secs())
        };
        let told = tokio::join!(share(CachePolicy::ISSUED), share(CachePolicy::NEARBY), share(CachePolicy::ISSUED));
        let (slow, quick) = (Lookup::not_configured("slow"), Lookup::not_configured("quick"));
        assert_eq!(told, ((slow.clone(), 8), (quick, 1), (slow, 8)));
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_person_was_asked_for_and_what_has_no_end_is_not_doubted() {
        let (sessions, clock, upstream) = (CredentialCache::default(), clock(), Upstream(AtomicUsize::new(0)));
        for (name, terms, end) in
            [("a", CachePolicy::ASKED, Some(clock.now() + 6 * HOUR)), ("b", CachePolicy::ISSUED, None)]
        {
            let held = sessions.obtain(&clock, of(name), terms, || upstream.ask(Ok(end))).await.unwrap();
            tokio::time::sleep(SETTLE).await;
            assert!(!sessions.invalidate(&held), "{name}");
            let again = sessions.obtain(&clock, of(name), terms, || upstream.ask(Ok(end))).await.unwrap();
            assert_eq!(again == held, end.is_some(), "{name}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn of_all_who_wait_in_vain_one_asks() {
        for seconds in [1, 2, 9] {
            let (sessions, clock, calls) = (CredentialCache::default(), clock(), AtomicUsize::new(0));
            let ask = async || {
                calls.fetch_add(1, Ordering::SeqCst);
                tokio::time::sleep(Duration::from_millis(seconds * 1000 - 500)).await;
                Lookup::not_configured("slow")
            };
            let share = async || sessions.share(&clock, of("a"), CachePolicy::NEARBY, ask).await;
            let many: [_; 8] = [(); 8].map(|()| share());
            let [a, b, c, d, e, f, g, h] = many;
            tokio::join!(a, b, c, d, e, f, g, h);
            assert_eq!(calls.load(Ordering::SeqCst), if seconds == 1 { 1 } else { 2 }, "{seconds}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_was_refused_gets_others_once_in_five_seconds() {
        let (sessions, clock, upstream) = (CredentialCache::default(), clock(), Upstream(AtomicUsize::new(0)));
        let end = clock.now() + 6 * HOUR;
        let obtain = async |name| {
            sessions.obtain(&clock, of(name), CachePolicy::ISSUED, || upstream.ask(Ok(Some(end)))).await.unwrap()
        };
        let (first, other) = (obtain("a").await, obtain("b").await);
        sessions.invalidate(&first);
        assert_eq!(obtain("a").await, first, "they have only just come");
        tokio::time::sleep(SETTLE).await;
        sessions.invalidate(&first);
        let second = obtain("a").await;
        assert_ne!(second, first);
        assert!(sessions.invalidate(&first), "there are others by now");
        assert!(!sessions.invalidate(&second), "they have only just come");
        tokio::time::sleep(SETTLE).await;
        sessions.invalidate(&first);
        assert_eq!((obtain("a").await, obtain("b").await), (second, other), "neither of them is doubted");
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_is_dropped_leaves_it_to_the_next() {
        let (sessions, clock, upstream) = (CredentialCache::default(), clock(), Upstream(AtomicUsize::new(0)));
        let ask =
            || sessions.obtain(&clock, of("a"), CachePolicy::ISSUED, || upstream.ask(Ok(Some(clock.now() + HOUR))));
        let gone = tokio::time::timeout(Duration::from_millis(10), ask()).await;
        assert!(gone.is_err());
        assert_eq!(&*ask().await.unwrap().access_key_id, "ASIA2");
    }

    #[tokio::test(start_paused = true)]
    async fn what_has_ended_is_forgotten_when_something_new_comes() {
        let (sessions, clock, upstream) = (CredentialCache::default(), clock(), Upstream(AtomicUsize::new(0)));
        for number in 0..1000 {
            let outcome = Ok(Some(clock.now() + Duration::from_secs(60)));
            let _ =
                sessions.obtain(&clock, of(&number.to_string()), CachePolicy::ISSUED, || upstream.ask(outcome)).await;
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        assert!(sessions.slots().len() < 70, "{sessions:?}");
    }

    #[test]
    fn parts_never_run_together() {
        let caller = Credentials::new("A", "s").unwrap();
        let fingerprints = [
            CacheKeyBuilder::new("way").with("ab").with("c"),
            CacheKeyBuilder::new("way").with("a").with("bc"),
            CacheKeyBuilder::new("way").with("abc"),
            CacheKeyBuilder::new("wayab").with("c"),
            CacheKeyBuilder::new("way").with("ab").with_optional(None::<&str>).with("c"),
            CacheKeyBuilder::new("way").with("ab").with_optional(Some("")).with("c"),
            CacheKeyBuilder::new("way").with_value(&("ab", "c")),
            CacheKeyBuilder::new("way").with_value(&("a", "bc")),
            CacheKeyBuilder::new("way").with_value(&"ab").with_value(&"c"),
            CacheKeyBuilder::new("way").with_caller(&caller),
            CacheKeyBuilder::new("way").with_caller(&caller.clone().with_session_token(Some("t")).unwrap()),
            CacheKeyBuilder::new("way").with_caller(&Credentials::new("A", "other").unwrap()),
        ]
        .map(CacheKeyBuilder::cache_key);
        let distinct: std::collections::HashSet<_> = fingerprints.into_iter().collect();
        assert_eq!(distinct.len(), fingerprints.len());
    }
}
