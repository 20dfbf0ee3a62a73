//! The published leases: all that the HTTP side can see. What goes up from there is a wake, never data.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use fnv::FnvHashMap;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::time::Instant;

use crate::lease::Lease;
use crate::model::error::SourceError;
use crate::model::identity_name::IdentityName;
use crate::model::outcome::Attempt;

/// What a keeper keeps: an identity. An identity narrowed for one client, or a base that several identities stand on,
/// would be further kinds of key.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum LeaseKey {
    /// An identity of the configuration.
    Identity(IdentityName),
}

impl LeaseKey {
    /// The identity that this key is about.
    #[must_use]
    pub(crate) fn identity(&self) -> &IdentityName {
        let Self::Identity(name) = self;
        name
    }
}

/// What a keeper publishes.
#[derive(Clone, Debug, Default)]
pub(crate) struct LeaseState {
    /// The last good lease; whoever serves it compares the time.
    pub(crate) lease: Option<Arc<Lease>>,
    /// What stands in the way since the last load, if anything.
    pub(crate) trouble: Option<LeaseError>,
    /// What the keeper does.
    pub(crate) phase: RefreshState,
    /// What each source said at the last load, in order.
    pub(crate) steps: Arc<[Attempt]>,
    /// The region; unknown until somebody asked.
    pub(crate) region: Option<Option<Box<str>>>,
    /// Whether the identity is loaded at the start and counts for readiness.
    pub(crate) eager: bool,
    /// Whether the identity is a profile that is served, and nothing of it stands in the configuration.
    pub(crate) is_profile: bool,
}

/// Why there is no fresh lease.
#[derive(Clone, Debug)]
pub(crate) enum LeaseError {
    /// No source of the chain is configured.
    NotConfigured,
    /// A source fails.
    Failed {
        /// Its name.
        source: Arc<str>,
        /// Why.
        failure: SourceError,
        /// Since when it has.
        since: SystemTime,
        /// How many times in a row.
        times: u32,
    },
}

/// What a keeper does at the moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum RefreshState {
    /// Nothing, until somebody asks.
    #[default]
    NotLoaded,
    /// It asks its chain.
    Loading {
        /// Since when, on the monotonic clock.
        since: Instant,
        /// How long at most.
        limit: Duration,
    },
    /// It holds a lease and waits to refresh it.
    Waiting {
        /// When it will.
        next: SystemTime,
    },
    /// It pauses after a failure; asking does not hasten it.
    BackingOff {
        /// When it tries again.
        next: SystemTime,
    },
}

impl LeaseState {
    /// The lease, if it may be served at `now`.
    #[must_use]
    pub(crate) fn usable(&self, now: SystemTime) -> Option<&Arc<Lease>> {
        self.lease.as_ref().filter(|lease| lease.is_usable(now))
    }

    /// Whether an eager identity still waits for the end of its first load.
    fn is_untried(&self) -> bool {
        self.eager && self.steps.is_empty() && self.trouble.is_none()
    }
}

/// A keeper that is later than this does nothing any more. A busy machine, or the tick that notices that the clock was
/// set or the machine slept, takes far less; a program that a source waits for (60 s) no more than half of it.
const STUCK: Duration = Duration::from_secs(120);

impl LeaseState {
    /// Whether the keeper is long past the moment at which it said it would go on.
    fn is_stuck(&self, now: SystemTime, instant: Instant) -> bool {
        match self.phase {
            RefreshState::NotLoaded => false,
            RefreshState::Loading { since, limit } => instant.saturating_duration_since(since) > limit + STUCK,
            RefreshState::Waiting { next } | RefreshState::BackingOff { next } => now > next + STUCK,
        }
    }
}

/// How all keepers are, in numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RegistryHealth {
    /// Identities whose keeper works.
    pub(crate) awake: usize,
    /// Those of them with a usable lease.
    pub(crate) usable: usize,
    /// Identities that nobody has asked for yet.
    pub(crate) asleep: usize,
    /// The first eager identity, by name, that has no usable lease.
    pub(crate) wanting: Option<IdentityName>,
    /// A keeper that does nothing any more.
    pub(crate) stuck: Option<IdentityName>,
    /// Whether the configuration on disk is refused.
    pub(crate) refused: bool,
}

/// What the HTTP side holds of a keeper.
#[derive(Clone, Debug)]
pub(crate) struct LeaseHandle {
    published: watch::Receiver<Arc<LeaseState>>,
    wake: Arc<RefresherWaker>,
}

/// Somebody wants the lease of a profile that is known and that nobody keeps yet.
#[derive(Debug)]
pub(crate) struct ProfileDemand {
    /// Its name.
    pub(crate) name: IdentityName,
    /// Who keeps it from now on; dropped when there is no such profile any more.
    pub(crate) reply: oneshot::Sender<LeaseHandle>,
}

/// What wakes a keeper beside its timer and its inputs.
#[derive(Debug, Default)]
pub(crate) struct RefresherWaker {
    notify: Notify,
    wake_reasons: AtomicU8,
    /// Seconds since 1970 at which the lease was last asked for.
    used: AtomicU64,
}

/// Why a keeper was woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum WakeReason {
    /// A client is waiting for a lease.
    LeaseWanted = 1,
    /// Somebody wants to know the region.
    RegionWanted = 2,
    /// Load now, whatever the schedule says.
    Reload = 4,
}

impl LeaseHandle {
    /// A handle and the keeper's ends of it.
    pub(crate) fn new(first: LeaseState) -> (watch::Sender<Arc<LeaseState>>, Arc<RefresherWaker>, Self) {
        let (sender, published) = watch::channel(Arc::new(first));
        let wake = Arc::new(RefresherWaker::default());
        (sender, Arc::clone(&wake), Self { published, wake })
    }

    /// What the keeper published last.
    #[must_use]
    pub(crate) fn now(&self) -> Arc<LeaseState> {
        Arc::clone(&self.published.borrow())
    }

    /// The same, and [`LeaseHandle::changed`] waits for what comes after it.
    #[must_use]
    pub(crate) fn latest(&mut self) -> Arc<LeaseState> {
        Arc::clone(&self.published.borrow_and_update())
    }

    /// Whether the keeper has ended.
    #[must_use]
    pub(crate) fn is_orphaned(&self) -> bool {
        self.published.has_changed().is_err()
    }

    /// Notes that somebody asks for the lease at `now`: one store, since it is done at every request.
    pub(crate) fn touch(&self, now: SystemTime) {
        let seconds = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        self.wake.used.store(seconds, Ordering::Relaxed);
    }

    /// For how long nobody has asked at `now`; a clock that was set back counts as asked just now.
    #[must_use]
    pub(crate) fn idle(&self, now: SystemTime) -> Duration {
        let used = SystemTime::UNIX_EPOCH + Duration::from_secs(self.wake.used.load(Ordering::Relaxed));
        now.duration_since(used).unwrap_or_default()
    }

    /// Asks the keeper for something; many wishes at once are one.
    pub(crate) fn wish(&self, wish: WakeReason) {
        self.wake.wake_reasons.fetch_or(wish as u8, Ordering::AcqRel);
        self.wake.notify.notify_one();
    }

    /// Waits until the keeper has published something new since [`LeaseHandle::latest`] was asked or this last returned.
    ///
    /// # Errors
    /// When the keeper has ended: nothing more will come.
    pub(crate) async fn changed(&mut self) -> Result<(), watch::error::RecvError> {
        self.published.changed().await
    }
}

impl RefresherWaker {
    /// Waits for a wish and takes all that were made.
    pub(crate) async fn wake_reasons(&self) -> WakeReasons {
        loop {
            self.notify.notified().await;
            let wake_reasons = self.wake_reasons.swap(0, Ordering::AcqRel);
            if wake_reasons != 0 {
                return WakeReasons(wake_reasons);
            }
        }
    }
}

/// A set of wishes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WakeReasons(u8);

impl WakeReasons {
    pub(crate) fn holds(self, wish: WakeReason) -> bool {
        self.0 & wish as u8 != 0
    }
}

/// The handles of the live refreshers. Every request looks one up, in half the time with FNV instead of SipHash. SipHash
/// protects from keys that an attacker chooses; these come from the configuration and the owner's profiles.
pub(crate) type LiveLeases = FnvHashMap<LeaseKey, LeaseHandle>;

/// All that the HTTP side can see.
#[derive(Clone, Debug)]
pub(crate) struct LeaseRegistry {
    /// The live keepers.
    pub(crate) live: watch::Receiver<Arc<LiveLeases>>,
    /// What is wrong with the configuration on disk, when the last reload was refused.
    pub(crate) refused: watch::Receiver<Option<Arc<str>>>,
    /// The profiles that are served once somebody asks; `None` until the shared files have been looked at.
    pub(crate) known: watch::Receiver<Option<Arc<BTreeSet<IdentityName>>>>,
    /// Where it is said that somebody asks.
    pub(crate) demand: mpsc::Sender<ProfileDemand>,
}

impl LeaseRegistry {
    /// The handle of an identity, if it exists.
    #[must_use]
    pub(crate) fn lookup(&self, key: &LeaseKey) -> Option<LeaseHandle> {
        self.live.borrow().get(key).cloned()
    }

    /// The body of an identity's lease, if it may be served at `now`.
    #[must_use]
    pub(crate) fn body(&self, key: &LeaseKey, now: SystemTime) -> Option<Bytes> {
        let live = self.live.borrow();
        let handle = live.get(key)?;
        handle.touch(now);
        handle.published.borrow().usable(now).map(|lease| lease.body.clone())
    }

    /// The handle of an identity, or of a profile that is served and gets a keeper now. It waits for nothing but the first
    /// look at the shared files, and for the supervisor.
    pub(crate) async fn find(&self, name: &IdentityName) -> Option<LeaseHandle> {
        let key = LeaseKey::Identity(name.clone());
        if let Some(handle) = self.lookup(&key) {
            return Some(handle);
        }
        let mut known = self.known.clone();
        let known = known.wait_for(Option::is_some).await.ok()?.clone()?;
        if !known.contains(name) {
            return None;
        }
        let (reply, handle) = oneshot::channel();
        self.demand.send(ProfileDemand { name: name.clone(), reply }).await.ok()?;
        handle.await.ok()
    }

    /// Waits until the shared files have been looked at and every eager identity of this moment has been tried once.
    pub(crate) async fn first_loads(&self) {
        let _ = self.known.clone().wait_for(Option::is_some).await;
        let live = Arc::clone(&self.live.borrow());
        for handle in live.values() {
            let mut handle = handle.clone();
            // A keeper that was replaced or ended is nobody to wait for.
            while handle.latest().is_untried() && handle.changed().await.is_ok() {}
        }
    }

    /// How all keepers are at `now`, which is `instant` on the monotonic clock.
    #[must_use]
    pub(crate) fn health(&self, now: SystemTime, instant: Instant) -> RegistryHealth {
        let mut health = RegistryHealth { refused: self.refused.borrow().is_some(), ..RegistryHealth::default() };
        for (key, handle) in self.live.borrow().iter() {
            let (name, published) = (key.identity(), handle.now());
            let usable = published.usable(now).is_some();
            match published.phase {
                RefreshState::NotLoaded => health.asleep += 1,
                _ => health.awake += 1,
            }
            health.usable += usize::from(usable);
            let first = |held: &Option<IdentityName>| held.as_ref().is_none_or(|held| name < held);
            if published.eager && !usable && first(&health.wanting) {
                health.wanting = Some(name.clone());
            }
            if published.is_stuck(now, instant) && first(&health.stuck) {
                health.stuck = Some(name.clone());
            }
        }
        health
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn registry(refreshers: &[(&str, LeaseState)]) -> (LeaseRegistry, Vec<watch::Sender<Arc<LeaseState>>>) {
        let mut senders = Vec::new();
        let mut live = LiveLeases::default();
        for (name, published) in refreshers {
            let (sender, _, handle) = LeaseHandle::new(published.clone());
            senders.push(sender);
            live.insert(LeaseKey::Identity((*name).into()), handle);
        }
        let live = watch::Sender::new(Arc::new(live)).subscribe();
        let known = watch::Sender::new(Some(Arc::default())).subscribe();
        let (demand, _) = mpsc::channel(1);
        (LeaseRegistry { live, refused: watch::Sender::new(None).subscribe(), known, demand }, senders)
    }

    fn published(phase: RefreshState) -> LeaseState {
        LeaseState { phase, eager: true, ..LeaseState::default() }
    }

    #[tokio::test(start_paused = true)]
    async fn a_keeper_that_does_not_go_on_is_stuck() {
        let (now, instant) = (SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_449_600), Instant::now());
        let later = |seconds: u32| (now + SECOND * seconds, instant + SECOND * seconds);
        let loading = published(RefreshState::Loading { since: instant, limit: SECOND * 10 });
        let (registry, _senders) = registry(&[
            ("asleep", LeaseState { eager: false, ..published(RefreshState::NotLoaded) }),
            ("b-loading", loading),
            ("c-backing-off", published(RefreshState::BackingOff { next: now + SECOND * 60 })),
        ]);
        let health = |seconds| {
            let (now, instant) = later(seconds);
            registry.health(now, instant)
        };
        let expected =
            RegistryHealth { awake: 2, asleep: 1, wanting: Some("b-loading".into()), ..RegistryHealth::default() };
        assert_eq!(health(0), expected);
        assert_eq!(health(130).stuck, None, "ten seconds, and two minutes of patience");
        assert_eq!(health(131).stuck, Some("b-loading".into()));
        assert_eq!(registry.health(later(181).0, instant).stuck, Some("c-backing-off".into()));
    }

    #[tokio::test(start_paused = true)]
    async fn first_loads_are_those_of_eager_identities() {
        let loading = RefreshState::Loading { since: Instant::now(), limit: SECOND };
        let (registry, senders) =
            registry(&[("a", published(loading)), ("b", published(loading)), ("c", LeaseState::default())]);
        let first_loads = registry.first_loads();
        let mut first_loads = std::pin::pin!(first_loads);
        let mut pending = async || tokio::time::timeout(SECOND, first_loads.as_mut()).await.is_err();
        assert!(pending().await);
        // `c` is asleep and counts for nothing; of the others one fails and one goes away.
        for sender in &senders[..1] {
            sender.send_modify(|published| Arc::make_mut(published).trouble = Some(LeaseError::NotConfigured));
        }
        assert!(pending().await);
        drop(senders);
        assert!(!pending().await);
    }
}
