//! The lease registry: the published leases. The server sees nothing else of the refreshers.
//!
//! A refresher publishes its state on a watch channel, which the server reads. The server can wake a refresher for a
//! reason, and sends no data to it.

use std::collections::{BTreeSet, HashMap};
use std::ops::Deref;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use fnv::FnvHashMap;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use crate::lease::Lease;
use crate::lease::handle::{LeaseHandle, PerClient};
use crate::lease::key::{LeaseKey, NarrowedIdentity};
use crate::lease::state::RefreshState;
use crate::model::identity_name::IdentityName;
use crate::model::narrowing::Narrowing;
use crate::model::session_name::OWNER;

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

/// A request to start the refresher of a served profile, or of a narrowed identity.
#[derive(Debug)]
pub(crate) struct LeaseDemand {
    pub(crate) key: LeaseKey,
    /// The client that the session counts for.
    pub(crate) client: Box<str>,
    /// Receives the handle of the new refresher. The supervisor drops the sender if the identity no longer exists.
    pub(crate) reply: oneshot::Sender<Result<LeaseHandle, NoRefresher>>,
}

/// The reason why a lease has no refresher.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoRefresher {
    /// There is no identity of this name.
    UnknownIdentity,
    /// The client holds as many sessions for single users as a client may.
    TooManySessions,
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
    /// The number of the configuration that these identities come from. It grows with each reload.
    pub(crate) generation: u64,
}

impl LeaseHandles {
    /// Returns the response body of an identity's lease if it may be served at `now`. `None` if its clients do not share the
    /// lease: see [`LeaseRegistry::key_for`]. Every request calls this.
    #[inline]
    pub(crate) fn body(&self, name: &str, now: SystemTime) -> Option<Bytes> {
        let handle = self.shared_handle(name, now)?;
        handle.state.borrow().usable(now).map(|lease| lease.body.clone())
    }

    /// Returns the lease of [`LeaseHandles::body`].
    pub(crate) fn lease(&self, name: &str, now: SystemTime) -> Option<Arc<Lease>> {
        let handle = self.shared_handle(name, now)?;
        handle.state.borrow().usable(now).map(Arc::clone)
    }

    /// Returns the handle of an identity whose clients share its lease.
    #[inline]
    fn shared_handle(&self, name: &str, now: SystemTime) -> Option<&LeaseHandle> {
        let handle = self.identities.get(name).filter(|handle| handle.per_client == PerClient::default())?;
        if handle.stops_when_idle {
            handle.record_use(now);
        }
        Some(handle)
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

    /// Returns the handles of the leases of an identity that a client may have got: its own, and if it has no policies also
    /// those that it shares.
    pub(crate) fn handles_of(&self, identity: &IdentityName, client: &str, has_policies: bool) -> Vec<LeaseHandle> {
        let handles = self.handles.borrow();
        let is_its_own = |narrowing: &Narrowing| match narrowing.client.as_deref() {
            Some(name) => name == client && narrowing.has_policy() == has_policies,
            None => !has_policies && !narrowing.has_policy(),
        };
        let narrowed = handles.narrowed.iter();
        let narrowed = narrowed.filter(|(key, _)| key.identity == *identity && is_its_own(&key.narrowing));
        let shared = handles.identities.get(identity);
        let shared = shared.filter(|handle| !has_policies && handle.per_client == PerClient::default());
        narrowed.map(|(_, handle)| handle).chain(shared).cloned().collect()
    }

    /// Returns true if there is an identity or a served profile of this name. Until the shared files have been read every
    /// name may be that of a profile.
    pub(crate) fn knows(&self, name: &IdentityName) -> bool {
        let is_profile = || self.known_profiles.borrow().as_ref().is_none_or(|known| known.contains(name));
        self.handles.borrow().contains_key(name) || is_profile()
    }

    /// Returns the handle of a lease that counts for no client but the owner. `None` for an unknown identity.
    pub(crate) async fn find(&self, key: &LeaseKey) -> Option<LeaseHandle> {
        self.find_for(key, OWNER).await.ok()
    }

    /// Returns the handle of a lease, and starts the refresher of a served profile or a narrowed identity first if
    /// necessary. A new session counts for `client`. It waits for the first read of the shared files and for the supervisor,
    /// not for a load.
    ///
    /// # Errors
    /// If there is no such identity, or the client holds too many sessions.
    pub(crate) async fn find_for(&self, key: &LeaseKey, client: &str) -> Result<LeaseHandle, NoRefresher> {
        const UNKNOWN: NoRefresher = NoRefresher::UnknownIdentity;
        if let Some(handle) = self.lookup(key) {
            return Ok(handle);
        }
        let is_running = match key {
            LeaseKey::Identity(_) => false,
            LeaseKey::Narrowed(narrowed) => self.handles.borrow().contains_key(&narrowed.identity),
        };
        if !is_running {
            let mut known_profiles = self.known_profiles.clone();
            let known_profiles = known_profiles.wait_for(Option::is_some).await.map_err(|_| UNKNOWN)?.clone();
            if !known_profiles.is_some_and(|known| known.contains(key.identity())) {
                return Err(UNKNOWN);
            }
        }
        let (reply, handle) = oneshot::channel();
        let demand = LeaseDemand { key: key.clone(), client: client.into(), reply };
        self.profile_demand.send(demand).await.map_err(|_| UNKNOWN)?;
        handle.await.unwrap_or(Err(UNKNOWN))
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
    use std::time::Duration;

    use super::*;
    use crate::lease::state::{LeaseError, LeaseState};

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
