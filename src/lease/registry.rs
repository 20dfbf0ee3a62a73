//! The lease registry: the published leases. The server sees nothing else of the refreshers.
//!
//! A refresher publishes its state on a watch channel, which the server reads. The server can wake a refresher for a
//! reason, and sends no data to it.

use std::collections::{BTreeSet, HashMap};
use std::ops::Deref;
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
use crate::model::narrowing::Narrowing;
use crate::model::outcome::Attempt;
use crate::model::session_name::OWNER;

/// The key of a lease.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum LeaseKey {
    /// The lease that all clients of an identity share.
    Identity(IdentityName),
    /// The lease of one client, grant or command.
    Narrowed(Arc<NarrowedIdentity>),
}

/// An identity that is narrowed for one client, grant or command.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct NarrowedIdentity {
    pub(crate) identity: IdentityName,
    pub(crate) narrowing: Narrowing,
}

impl LeaseKey {
    /// Makes the key of an identity that is narrowed.
    pub(crate) fn narrowed(identity: IdentityName, narrowing: Narrowing) -> Self {
        Self::Narrowed(Arc::new(NarrowedIdentity { identity, narrowing }))
    }

    /// Returns the key of the same identity and the same names with the policies and the times of this narrowing.
    pub(crate) fn narrowed_further(&self, narrowing: &Narrowing) -> Self {
        let (client, user) = match self {
            Self::Identity(_) => (None, None),
            Self::Narrowed(narrowed) => (narrowed.narrowing.client.clone(), narrowed.narrowing.user.clone()),
        };
        Self::narrowed(self.identity().clone(), Narrowing { client, user, ..narrowing.clone() })
    }

    pub(crate) fn identity(&self) -> &IdentityName {
        match self {
            Self::Identity(name) => name,
            Self::Narrowed(narrowed) => &narrowed.identity,
        }
    }

    /// The client that the lease belongs to alone.
    pub(crate) fn client(&self) -> Option<&str> {
        match self {
            Self::Identity(_) => None,
            Self::Narrowed(narrowed) => narrowed.narrowing.client.as_deref(),
        }
    }
}

/// The names that the sessions of an identity contain. Clients with different names do not share a lease.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct PerClient {
    /// True if the sessions name their client.
    pub(crate) client: bool,
    /// True if the sessions name the user of their client.
    pub(crate) user: bool,
}

/// The state that a refresher publishes.
#[derive(Clone, Debug, Default)]
pub(crate) struct LeaseState {
    /// The last lease. It may have expired.
    pub(crate) lease: Option<Arc<Lease>>,
    /// The reason why the last load gave no fresh lease.
    pub(crate) error: Option<LeaseError>,
    pub(crate) refresh: RefreshState,
    /// The outcome of each source at the last load, in order of precedence.
    pub(crate) attempts: Arc<[Attempt]>,
    /// The region. The outer `None` means that no client has requested the region yet; the inner `None`, that no source
    /// knows it.
    pub(crate) region: Option<Option<Box<str>>>,
    /// True if the identity is loaded at the start and counts for readiness.
    pub(crate) eager: bool,
    /// True if the identity is a served profile, not an entry of credenza.toml.
    pub(crate) is_profile: bool,
}

/// The reason why an identity has no fresh lease.
#[derive(Clone, Debug)]
pub(crate) enum LeaseError {
    NotConfigured,
    Failed {
        source: Arc<str>,
        error: SourceError,
        /// The time of the first failure in this row.
        since: SystemTime,
        /// The number of failed loads in a row.
        times: u32,
    },
}

/// The current activity of a refresher.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum RefreshState {
    /// The refresher has not loaded yet. The first request starts the load.
    #[default]
    NotLoaded,
    Loading {
        /// The start of the load, on the monotonic clock.
        since: Instant,
        limit: Duration,
    },
    /// The refresher holds a lease and waits for the next refresh.
    Waiting { next: SystemTime },
    /// The refresher pauses after a failure. Requests do not shorten the pause.
    BackingOff { next: SystemTime },
}

impl LeaseState {
    /// Returns the lease if it may be served at `now`.
    pub(crate) fn usable(&self, now: SystemTime) -> Option<&Arc<Lease>> {
        self.lease.as_ref().filter(|lease| lease.is_usable(now))
    }

    /// Returns true if the first load of an eager identity has not ended.
    fn awaits_first_load(&self) -> bool {
        self.eager && self.attempts.is_empty() && self.error.is_none()
    }
}

/// The delay after which a refresher counts as stuck. Normal delays are shorter: a busy machine, the tick that notices
/// a suspend, and the 60 s of a program.
const STUCK_AFTER: Duration = Duration::from_secs(120);

impl LeaseState {
    /// Returns true if the next step of the refresher is overdue by [`STUCK_AFTER`].
    fn is_stuck(&self, now: SystemTime, instant: Instant) -> bool {
        match self.refresh {
            RefreshState::NotLoaded => false,
            RefreshState::Loading { since, limit } => instant.saturating_duration_since(since) > limit + STUCK_AFTER,
            RefreshState::Waiting { next } | RefreshState::BackingOff { next } => now > next + STUCK_AFTER,
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RegistryHealth {
    /// Identities that have been loaded or are being loaded.
    pub(crate) active: usize,
    pub(crate) usable: usize,
    /// Identities that wait for their first request.
    pub(crate) not_loaded: usize,
    /// The first eager identity, by name, without a usable lease.
    pub(crate) unready: Option<IdentityName>,
    /// The first identity, by name, with a stuck refresher.
    pub(crate) stuck: Option<IdentityName>,
    /// True if the last reload refused the configuration on disk.
    pub(crate) config_refused: bool,
}

/// The handle by which the server reads the lease of a refresher and wakes it.
#[derive(Clone, Debug)]
pub(crate) struct LeaseHandle {
    state: watch::Receiver<Arc<LeaseState>>,
    waker: Arc<RefresherWaker>,
    per_client: PerClient,
    /// True if the refresher is stopped after a time without requests, so that each request is recorded.
    stops_when_idle: bool,
}

/// A request to start the refresher of a served profile, or of a narrowed identity.
#[derive(Debug)]
pub(crate) struct LeaseDemand {
    pub(crate) key: LeaseKey,
    /// Receives the handle of the new refresher. The supervisor drops the sender if the identity no longer exists.
    pub(crate) reply: oneshot::Sender<LeaseHandle>,
}

/// Wakes a refresher on request. The timer and changed inputs wake a refresher without this.
#[derive(Debug, Default)]
pub(crate) struct RefresherWaker {
    notify: Notify,
    reasons: AtomicU8,
    /// The time of the last request for the lease, in seconds since 1970.
    last_used: AtomicU64,
}

/// The reason why a refresher is woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum WakeReason {
    LeaseWanted = 1,
    RegionWanted = 2,
    Reload = 4,
}

impl LeaseHandle {
    /// Makes a handle, and the sender and the waker that its refresher owns.
    pub(crate) fn new(first: LeaseState) -> (watch::Sender<Arc<LeaseState>>, Arc<RefresherWaker>, Self) {
        let (sender, state) = watch::channel(Arc::new(first));
        let waker = Arc::new(RefresherWaker::default());
        (sender, Arc::clone(&waker), Self { state, waker, per_client: PerClient::default(), stops_when_idle: true })
    }

    /// Returns the handle of an identity with these names in its sessions.
    pub(crate) fn with_names(self, per_client: PerClient) -> Self {
        Self { per_client, ..self }
    }

    /// Returns the handle of a refresher that runs as long as its identity is configured.
    pub(crate) fn without_idle_stop(self) -> Self {
        Self { stops_when_idle: false, ..self }
    }

    pub(crate) fn state(&self) -> Arc<LeaseState> {
        Arc::clone(&self.state.borrow())
    }

    /// Returns the published state and marks it as seen: [`LeaseHandle::changed`] then waits for the next one.
    pub(crate) fn latest(&mut self) -> Arc<LeaseState> {
        Arc::clone(&self.state.borrow_and_update())
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.state.has_changed().is_err()
    }

    /// Records a request for the lease at `now`. Every request calls this, so it is a single atomic store.
    pub(crate) fn record_use(&self, now: SystemTime) {
        let seconds = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        self.waker.last_used.store(seconds, Ordering::Relaxed);
    }

    /// Returns the time from the last request to `now`. Zero if the clock was set back meanwhile.
    pub(crate) fn idle_time(&self, now: SystemTime) -> Duration {
        let last_used = SystemTime::UNIX_EPOCH + Duration::from_secs(self.waker.last_used.load(Ordering::Relaxed));
        now.duration_since(last_used).unwrap_or_default()
    }

    /// Wakes the refresher. A reason that is given twice before the refresher takes it counts once.
    pub(crate) fn wake(&self, reason: WakeReason) {
        self.waker.reasons.fetch_or(reason as u8, Ordering::AcqRel);
        self.waker.notify.notify_one();
    }

    /// Waits until the refresher publishes a state that neither [`LeaseHandle::latest`] nor this method has marked as
    /// seen.
    ///
    /// # Errors
    /// If the refresher has ended.
    pub(crate) async fn changed(&mut self) -> Result<(), watch::error::RecvError> {
        self.state.changed().await
    }
}

impl RefresherWaker {
    /// Waits until there is a reason to wake and takes all reasons.
    pub(crate) async fn wait(&self) -> WakeReasons {
        loop {
            self.notify.notified().await;
            let reasons = self.reasons.swap(0, Ordering::AcqRel);
            if reasons != 0 {
                return WakeReasons(reasons);
            }
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct WakeReasons(u8);

impl WakeReasons {
    pub(crate) fn contains(self, reason: WakeReason) -> bool {
        self.0 & reason as u8 != 0
    }
}

/// The handles of all running refreshers. Every request looks a handle up, and FNV takes half the time of SipHash.
/// SipHash would protect from keys that an attacker chooses, but these keys come from the configuration and the owner's
/// profiles.
pub(crate) type HandlesByName = FnvHashMap<IdentityName, LeaseHandle>;

/// The handles of identities, to which this derefs, and apart from them those of narrowed identities. Lists and
/// readiness are about identities.
#[derive(Clone, Debug, Default)]
pub(crate) struct LeaseHandles {
    pub(crate) identities: HandlesByName,
    pub(crate) narrowed: HashMap<Arc<NarrowedIdentity>, LeaseHandle>,
    /// True if the sessions of an identity name the user of their client.
    pub(crate) needs_users: bool,
}

impl LeaseHandles {
    /// Returns the response body of an identity's lease if it may be served at `now`. `None` if its clients do not share the
    /// lease: see [`LeaseRegistry::key_for`]. Every request calls this.
    #[inline]
    pub(crate) fn body(&self, name: &str, now: SystemTime) -> Option<Bytes> {
        let handle = self.identities.get(name).filter(|handle| handle.per_client == PerClient::default())?;
        if handle.stops_when_idle {
            handle.record_use(now);
        }
        handle.state.borrow().usable(now).map(|lease| lease.body.clone())
    }

    fn of(&self, key: &LeaseKey) -> Option<&LeaseHandle> {
        match key {
            LeaseKey::Identity(name) => self.identities.get(name),
            LeaseKey::Narrowed(narrowed) => self.narrowed.get(narrowed),
        }
    }
}

impl Deref for LeaseHandles {
    type Target = HandlesByName;

    fn deref(&self) -> &HandlesByName {
        &self.identities
    }
}

impl FromIterator<(LeaseKey, LeaseHandle)> for LeaseHandles {
    fn from_iter<I: IntoIterator<Item = (LeaseKey, LeaseHandle)>>(handles: I) -> Self {
        let mut all = Self::default();
        for (key, handle) in handles {
            all.needs_users |= handle.per_client.user;
            match key {
                LeaseKey::Identity(name) => drop(all.identities.insert(name, handle)),
                LeaseKey::Narrowed(narrowed) => drop(all.narrowed.insert(narrowed, handle)),
            }
        }
        all
    }
}

/// The published leases of all identities.
#[derive(Clone, Debug)]
pub(crate) struct LeaseRegistry {
    pub(crate) handles: watch::Receiver<Arc<LeaseHandles>>,
    /// The reason why the last reload refused the configuration on disk.
    pub(crate) config_error: watch::Receiver<Option<Arc<str>>>,
    /// The profiles that are served on demand; `None` until the shared files have been read.
    pub(crate) known_profiles: watch::Receiver<Option<Arc<BTreeSet<IdentityName>>>>,
    /// Sends requests for served profiles and narrowed identities to the supervisor.
    pub(crate) profile_demand: mpsc::Sender<LeaseDemand>,
}

impl LeaseRegistry {
    /// Returns the handle of an identity with a running refresher.
    pub(crate) fn lookup(&self, key: &LeaseKey) -> Option<LeaseHandle> {
        self.handles.borrow().of(key).cloned()
    }

    /// Returns the key of the lease that this client gets of an identity: that of all clients, or its own if a session
    /// of the identity names its client or user.
    pub(crate) fn key_for(&self, identity: &IdentityName, client: &str, user: Option<&str>) -> LeaseKey {
        let key = LeaseKey::Identity(identity.clone());
        let per_client = self.handles.borrow().of(&key).map(|handle| handle.per_client).unwrap_or_default();
        // The shared lease is the one of the owner.
        if !per_client.user && (!per_client.client || client == OWNER) {
            return key;
        }
        let narrowing = Narrowing {
            client: per_client.client.then(|| client.into()),
            user: user.filter(|_| per_client.user).map(Into::into),
            ..Narrowing::default()
        };
        LeaseKey::narrowed(identity.clone(), narrowing)
    }

    /// Returns true if there is an identity or a served profile of this name. Until the shared files have been read every
    /// name may be that of a profile.
    pub(crate) fn knows(&self, name: &IdentityName) -> bool {
        let is_profile = || self.known_profiles.borrow().as_ref().is_none_or(|known| known.contains(name));
        self.handles.borrow().contains_key(name) || is_profile()
    }

    /// Returns the handle of a lease, and starts the refresher of a served profile or a narrowed identity first if
    /// necessary. It waits for the first read of the shared files and for the supervisor, not for a load.
    pub(crate) async fn find(&self, key: &LeaseKey) -> Option<LeaseHandle> {
        if let Some(handle) = self.lookup(key) {
            return Some(handle);
        }
        let is_running = match key {
            LeaseKey::Identity(_) => false,
            LeaseKey::Narrowed(narrowed) => self.handles.borrow().contains_key(&narrowed.identity),
        };
        if !is_running {
            let mut known_profiles = self.known_profiles.clone();
            let known_profiles = known_profiles.wait_for(Option::is_some).await.ok()?.clone()?;
            if !known_profiles.contains(key.identity()) {
                return None;
            }
        }
        let (reply, handle) = oneshot::channel();
        self.profile_demand.send(LeaseDemand { key: key.clone(), reply }).await.ok()?;
        handle.await.ok()
    }

    /// Waits until the shared files have been read and the first load of every current eager identity has ended.
    pub(crate) async fn wait_for_first_loads(&self) {
        let _ = self.known_profiles.clone().wait_for(Option::is_some).await;
        let handles = Arc::clone(&self.handles.borrow());
        for handle in handles.values() {
            let mut handle = handle.clone();
            // Ignore an error of `changed`: the refresher was replaced or has ended.
            while handle.latest().awaits_first_load() && handle.changed().await.is_ok() {}
        }
    }

    /// Summarizes all refreshers at `now`, which is `instant` on the monotonic clock.
    pub(crate) fn health(&self, now: SystemTime, instant: Instant) -> RegistryHealth {
        let mut health =
            RegistryHealth { config_refused: self.config_error.borrow().is_some(), ..RegistryHealth::default() };
        for (name, handle) in self.handles.borrow().iter() {
            let state = handle.state();
            let usable = state.usable(now).is_some();
            match state.refresh {
                RefreshState::NotLoaded => health.not_loaded += 1,
                _ => health.active += 1,
            }
            health.usable += usize::from(usable);
            let precedes = |first: &Option<IdentityName>| first.as_ref().is_none_or(|first| name < first);
            if state.eager && !usable && precedes(&health.unready) {
                health.unready = Some(name.clone());
            }
            if state.is_stuck(now, instant) && precedes(&health.stuck) {
                health.stuck = Some(name.clone());
            }
        }
        for (narrowed, handle) in &self.handles.borrow().narrowed {
            let name = &narrowed.identity;
            if handle.state().is_stuck(now, instant) && health.stuck.as_ref().is_none_or(|first| name < first) {
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
        let mut handles = LeaseHandles::default();
        for (name, state) in refreshers {
            let (sender, _, handle) = LeaseHandle::new(state.clone());
            senders.push(sender);
            handles.identities.insert((*name).into(), handle);
        }
        let handles = watch::Sender::new(Arc::new(handles)).subscribe();
        let known_profiles = watch::Sender::new(Some(Arc::default())).subscribe();
        let config_error = watch::Sender::new(None).subscribe();
        let (profile_demand, _) = mpsc::channel(1);
        (LeaseRegistry { handles, config_error, known_profiles, profile_demand }, senders)
    }

    fn eager(refresh: RefreshState) -> LeaseState {
        LeaseState { refresh, eager: true, ..LeaseState::default() }
    }

    #[tokio::test(start_paused = true)]
    async fn refresher_past_its_next_step_is_stuck() {
        let (now, instant) = (SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_449_600), Instant::now());
        let later = |seconds: u32| (now + SECOND * seconds, instant + SECOND * seconds);
        let loading = eager(RefreshState::Loading { since: instant, limit: SECOND * 10 });
        let (registry, _senders) = registry(&[
            ("a-not-loaded", LeaseState { eager: false, ..eager(RefreshState::NotLoaded) }),
            ("b-loading", loading),
            ("c-backing-off", eager(RefreshState::BackingOff { next: now + SECOND * 60 })),
        ]);
        let health = |seconds| {
            let (now, instant) = later(seconds);
            registry.health(now, instant)
        };
        let expected =
            RegistryHealth { active: 2, not_loaded: 1, unready: Some("b-loading".into()), ..RegistryHealth::default() };
        assert_eq!(health(0), expected);
        assert_eq!(health(130).stuck, None, "ten seconds for the load and two minutes of delay");
        assert_eq!(health(131).stuck, Some("b-loading".into()));
        assert_eq!(registry.health(later(181).0, instant).stuck, Some("c-backing-off".into()));
    }

    #[tokio::test(start_paused = true)]
    async fn first_loads_wait_for_eager_identities_only() {
        let loading = RefreshState::Loading { since: Instant::now(), limit: SECOND };
        let (registry, senders) =
            registry(&[("a", eager(loading)), ("b", eager(loading)), ("c", LeaseState::default())]);
        let first_loads = registry.wait_for_first_loads();
        let mut first_loads = std::pin::pin!(first_loads);
        let mut pending = async || tokio::time::timeout(SECOND, first_loads.as_mut()).await.is_err();
        assert!(pending().await);
        // `c` is not eager. Of the other two, one fails and one ends.
        for sender in &senders[..1] {
            sender.send_modify(|state| Arc::make_mut(state).error = Some(LeaseError::NotConfigured));
        }
        assert!(pending().await);
        drop(senders);
        assert!(!pending().await);
    }
}
