//! The published leases: all that the HTTP side can see. What goes up from there is a wake, never data.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use fnv::FnvHashMap;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::time::Instant;

use crate::chain::Step;
use crate::credentials::Name;
use crate::failure::Failure;
use crate::lease::Lease;

/// What a keeper keeps: an identity. An identity narrowed for one client, or a base that several identities stand on,
/// would be further kinds of key.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum LeaseKey {
    /// An identity of the configuration.
    Identity(Name),
}

impl LeaseKey {
    /// The identity that this key is about.
    #[must_use]
    pub fn identity(&self) -> &Name {
        let Self::Identity(name) = self;
        name
    }
}

/// What a keeper publishes.
#[derive(Clone, Debug, Default)]
pub struct Published {
    /// The last good lease; whoever serves it compares the time.
    pub lease: Option<Arc<Lease>>,
    /// What stands in the way since the last load, if anything.
    pub trouble: Option<Trouble>,
    /// What the keeper does.
    pub phase: Phase,
    /// What each source said at the last load, in order.
    pub steps: Arc<[Step]>,
    /// The region; unknown until somebody asked.
    pub region: Option<Option<Box<str>>>,
    /// Whether the identity is loaded at the start and counts for readiness.
    pub eager: bool,
    /// Whether the identity is a profile that is served, and nothing of it stands in the configuration.
    pub is_profile: bool,
}

/// Why there is no fresh lease.
#[derive(Clone, Debug)]
pub enum Trouble {
    /// No source of the chain is configured.
    NotConfigured,
    /// A source fails.
    Failing {
        /// Its name.
        source: Arc<str>,
        /// Why.
        failure: Failure,
        /// Since when it has.
        since: SystemTime,
        /// How many times in a row.
        times: u32,
    },
}

/// What a keeper does at the moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    /// Nothing, until somebody asks.
    #[default]
    Asleep,
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

impl Published {
    /// The lease, if it may be served at `now`.
    #[must_use]
    pub fn usable(&self, now: SystemTime) -> Option<&Arc<Lease>> {
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

impl Published {
    /// Whether the keeper is long past the moment at which it said it would go on.
    fn is_stuck(&self, now: SystemTime, instant: Instant) -> bool {
        match self.phase {
            Phase::Asleep => false,
            Phase::Loading { since, limit } => instant.saturating_duration_since(since) > limit + STUCK,
            Phase::Waiting { next } | Phase::BackingOff { next } => now > next + STUCK,
        }
    }
}

/// How all keepers are, in numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// Identities whose keeper works.
    pub awake: usize,
    /// Those of them with a usable lease.
    pub usable: usize,
    /// Identities that nobody has asked for yet.
    pub asleep: usize,
    /// The first eager identity, by name, that has no usable lease.
    pub wanting: Option<Name>,
    /// A keeper that does nothing any more.
    pub stuck: Option<Name>,
    /// Whether the configuration on disk is refused.
    pub refused: bool,
}

/// What the HTTP side holds of a keeper.
#[derive(Clone, Debug)]
pub struct Handle {
    published: watch::Receiver<Arc<Published>>,
    wake: Arc<Wake>,
}

/// Somebody wants the lease of a profile that is known and that nobody keeps yet.
#[derive(Debug)]
pub struct Demand {
    /// Its name.
    pub name: Name,
    /// Who keeps it from now on; dropped when there is no such profile any more.
    pub reply: oneshot::Sender<Handle>,
}

/// What wakes a keeper beside its timer and its inputs.
#[derive(Debug, Default)]
pub(crate) struct Wake {
    notify: Notify,
    wishes: AtomicU8,
    /// Seconds since 1970 at which the lease was last asked for.
    used: AtomicU64,
}

/// Why a keeper was woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Wish {
    /// A client is waiting for a lease.
    Lease = 1,
    /// Somebody wants to know the region.
    Region = 2,
    /// Load now, whatever the schedule says.
    Reload = 4,
}

impl Handle {
    /// A handle and the keeper's ends of it.
    pub(crate) fn new(first: Published) -> (watch::Sender<Arc<Published>>, Arc<Wake>, Self) {
        let (sender, published) = watch::channel(Arc::new(first));
        let wake = Arc::new(Wake::default());
        (sender, Arc::clone(&wake), Self { published, wake })
    }

    /// What the keeper published last.
    #[must_use]
    pub fn now(&self) -> Arc<Published> {
        Arc::clone(&self.published.borrow())
    }

    /// The same, and [`Handle::changed`] waits for what comes after it.
    #[must_use]
    pub fn latest(&mut self) -> Arc<Published> {
        Arc::clone(&self.published.borrow_and_update())
    }

    /// Whether the keeper has ended.
    #[must_use]
    pub fn is_orphaned(&self) -> bool {
        self.published.has_changed().is_err()
    }

    /// Notes that somebody asks for the lease at `now`: one store, since it is done at every request.
    pub fn touch(&self, now: SystemTime) {
        let seconds = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        self.wake.used.store(seconds, Ordering::Relaxed);
    }

    /// For how long nobody has asked at `now`; a clock that was set back counts as asked just now.
    #[must_use]
    pub fn idle(&self, now: SystemTime) -> Duration {
        let used = SystemTime::UNIX_EPOCH + Duration::from_secs(self.wake.used.load(Ordering::Relaxed));
        now.duration_since(used).unwrap_or_default()
    }

    /// Asks the keeper for something; many wishes at once are one.
    pub fn wish(&self, wish: Wish) {
        self.wake.wishes.fetch_or(wish as u8, Ordering::AcqRel);
        self.wake.notify.notify_one();
    }

    /// Waits until the keeper has published something new since [`Handle::latest`] was asked or this last returned.
    ///
    /// # Errors
    /// When the keeper has ended: nothing more will come.
    pub async fn changed(&mut self) -> Result<(), watch::error::RecvError> {
        self.published.changed().await
    }
}

impl Wake {
    /// Waits for a wish and takes all that were made.
    pub(crate) async fn wishes(&self) -> Wishes {
        loop {
            self.notify.notified().await;
            let wishes = self.wishes.swap(0, Ordering::AcqRel);
            if wishes != 0 {
                return Wishes(wishes);
            }
        }
    }
}

/// A set of wishes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wishes(u8);

impl Wishes {
    pub(crate) fn holds(self, wish: Wish) -> bool {
        self.0 & wish as u8 != 0
    }
}

/// The handles of the live keepers. Every request looks one up; FNV does that in half the time of SipHash, which protects
/// from keys that an attacker chooses. These come from the configuration and the owner's profiles.
pub type Live = FnvHashMap<LeaseKey, Handle>;

/// All that the HTTP side can see.
#[derive(Clone, Debug)]
pub struct Board {
    /// The live keepers.
    pub live: watch::Receiver<Arc<Live>>,
    /// What is wrong with the configuration on disk, when the last reload was refused.
    pub refused: watch::Receiver<Option<Arc<str>>>,
    /// The profiles that are served once somebody asks; `None` until the shared files have been looked at.
    pub known: watch::Receiver<Option<Arc<BTreeSet<Name>>>>,
    /// Where it is said that somebody asks.
    pub demand: mpsc::Sender<Demand>,
}

impl Board {
    /// The handle of an identity, if it exists.
    #[must_use]
    pub fn lookup(&self, key: &LeaseKey) -> Option<Handle> {
        self.live.borrow().get(key).cloned()
    }

    /// The body of an identity's lease, if it may be served at `now`.
    #[must_use]
    pub fn body(&self, key: &LeaseKey, now: SystemTime) -> Option<Bytes> {
        let live = self.live.borrow();
        let handle = live.get(key)?;
        handle.touch(now);
        handle.published.borrow().usable(now).map(|lease| lease.body.clone())
    }

    /// The handle of an identity, or of a profile that is served and gets a keeper now. It waits for nothing but the first
    /// look at the shared files, and for the supervisor.
    pub async fn find(&self, name: &Name) -> Option<Handle> {
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
        self.demand.send(Demand { name: name.clone(), reply }).await.ok()?;
        handle.await.ok()
    }

    /// Waits until the shared files have been looked at and every eager identity of this moment has been tried once.
    pub async fn first_loads(&self) {
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
    pub fn health(&self, now: SystemTime, instant: Instant) -> Health {
        let mut health = Health { refused: self.refused.borrow().is_some(), ..Health::default() };
        for (key, handle) in self.live.borrow().iter() {
            let (name, published) = (key.identity(), handle.now());
            let usable = published.usable(now).is_some();
            match published.phase {
                Phase::Asleep => health.asleep += 1,
                _ => health.awake += 1,
            }
            health.usable += usize::from(usable);
            let first = |held: &Option<Name>| held.as_ref().is_none_or(|held| name < held);
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

    fn board(keepers: &[(&str, Published)]) -> (Board, Vec<watch::Sender<Arc<Published>>>) {
        let mut senders = Vec::new();
        let mut live = Live::default();
        for (name, published) in keepers {
            let (sender, _, handle) = Handle::new(published.clone());
            senders.push(sender);
            live.insert(LeaseKey::Identity((*name).into()), handle);
        }
        let live = watch::Sender::new(Arc::new(live)).subscribe();
        let known = watch::Sender::new(Some(Arc::default())).subscribe();
        let (demand, _) = mpsc::channel(1);
        (Board { live, refused: watch::Sender::new(None).subscribe(), known, demand }, senders)
    }

    fn published(phase: Phase) -> Published {
        Published { phase, eager: true, ..Published::default() }
    }

    #[tokio::test(start_paused = true)]
    async fn a_keeper_that_does_not_go_on_is_stuck() {
        let (now, instant) = (SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_449_600), Instant::now());
        let later = |seconds: u32| (now + SECOND * seconds, instant + SECOND * seconds);
        let loading = published(Phase::Loading { since: instant, limit: SECOND * 10 });
        let (board, _senders) = board(&[
            ("asleep", Published { eager: false, ..published(Phase::Asleep) }),
            ("b-loading", loading),
            ("c-backing-off", published(Phase::BackingOff { next: now + SECOND * 60 })),
        ]);
        let health = |seconds| {
            let (now, instant) = later(seconds);
            board.health(now, instant)
        };
        let expected = Health { awake: 2, asleep: 1, wanting: Some("b-loading".into()), ..Health::default() };
        assert_eq!(health(0), expected);
        assert_eq!(health(130).stuck, None, "ten seconds, and two minutes of patience");
        assert_eq!(health(131).stuck, Some("b-loading".into()));
        assert_eq!(board.health(later(181).0, instant).stuck, Some("c-backing-off".into()));
    }

    #[tokio::test(start_paused = true)]
    async fn first_loads_are_those_of_eager_identities() {
        let loading = Phase::Loading { since: Instant::now(), limit: SECOND };
        let (board, senders) =
            board(&[("a", published(loading)), ("b", published(loading)), ("c", Published::default())]);
        let first_loads = board.first_loads();
        let mut first_loads = std::pin::pin!(first_loads);
        let mut pending = async || tokio::time::timeout(SECOND, first_loads.as_mut()).await.is_err();
        assert!(pending().await);
        // `c` is asleep and counts for nothing; of the others one fails and one goes away.
        for sender in &senders[..1] {
            sender.send_modify(|published| Arc::make_mut(published).trouble = Some(Trouble::NotConfigured));
        }
        assert!(pending().await);
        drop(senders);
        assert!(!pending().await);
    }
}
