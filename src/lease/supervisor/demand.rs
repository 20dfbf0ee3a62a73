//! Refreshers that start at a first request and stop when they are idle: served profiles and narrowed identities.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::config::identity::Identity;
use crate::config::profiles::DEFAULT_IDLE;
use crate::lease::key::{LeaseKey, NarrowedIdentity};
use crate::lease::registry::{LeaseDemand, NoRefresher};
use crate::lease::supervisor::{RunningRefresher, Supervisor};
use crate::model::identity_name::IdentityName;
use crate::model::narrowing::Narrowing;

/// The maximum number of sessions for single users that one client holds. The configuration limits all other leases, but
/// one program in a user namespace can be 65,536 users. A refresher takes some 10 kB, so that these take a few MB.
pub(super) const MAX_USER_SESSIONS: usize = 256;

/// The time without a request after which a session makes room for another of its client. SDKs keep credentials for longer,
/// and the next request loads the session again. It also limits how often a client can make STS issue sessions.
pub(super) const MAKES_ROOM_AFTER: Duration = Duration::from_secs(300);

impl Supervisor {
    /// Starts the refresher of a served profile or a narrowed identity at its first request, and replies with its
    /// handle.
    pub(super) fn start_demanded(&mut self, LeaseDemand { key, client, reply }: LeaseDemand) {
        let running = match &key {
            LeaseKey::Identity(name) => self.running.get(name),
            LeaseKey::Narrowed(narrowed) => self.narrowed.get(narrowed),
        };
        if reply.is_closed() {
            return;
        }
        if let Some(running) = running {
            let _ = reply.send(Ok(running.handle.clone()));
            return;
        }
        let Some(identity) = self.identity(key.identity()) else { return };
        let running = match &key {
            LeaseKey::Identity(_) => self.spawn(key.clone(), identity, None),
            LeaseKey::Narrowed(narrowed) => {
                let client = narrowed.narrowing.user.is_some().then_some(client);
                if client.as_deref().is_some_and(|client| !self.make_room(client)) {
                    let _ = reply.send(Err(NoRefresher::TooManySessions));
                    return;
                }
                let narrowing = Some(narrowed.narrowing.clone());
                let running = self.spawn(key.clone(), Identity { narrowing, eager: false, ..identity }, None);
                RunningRefresher { client, ..running }
            }
        };
        running.handle.record_use(self.context.clock.now());
        let _ = reply.send(Ok(running.handle.clone()));
        match key {
            LeaseKey::Identity(name) => drop(self.running.insert(name, running)),
            LeaseKey::Narrowed(narrowed) => drop(self.narrowed.insert(narrowed, running)),
        }
        self.publish();
    }

    /// Returns true if this client may hold one more session for a single user. Its session without a request for the longest
    /// time makes room, but no session of another client. The caller publishes.
    fn make_room(&mut self, client: &str) -> bool {
        let now = self.context.clock.now();
        let held = || self.narrowed.iter().filter(|(_, running)| running.client.as_deref() == Some(client));
        let count = held().count();
        if count + 1 == MAX_USER_SESSIONS {
            tracing::warn!(
                client,
                "this client holds {MAX_USER_SESSIONS} sessions for single users now; more are refused until one is unused"
            );
        }
        if count < MAX_USER_SESSIONS {
            return true;
        }
        let longest_idle = held().max_by_key(|(_, running)| running.handle.idle_time(now));
        let longest_idle = longest_idle.filter(|(_, running)| running.handle.idle_time(now) >= MAKES_ROOM_AFTER);
        let Some(key) = longest_idle.map(|(key, _)| key.clone()) else {
            return false;
        };
        self.stop_narrowed(|narrowed, _| *narrowed == *key)
    }

    /// Returns the configured identity of this name, or that of a served profile.
    pub(super) fn identity(&self, name: &IdentityName) -> Option<Identity> {
        if let Some(running) = self.running.get(name) {
            return Some(running.identity.clone());
        }
        let is_known = self.known_profiles.borrow().as_ref().is_some_and(|known| known.contains(name));
        self.profiles.as_ref().filter(|_| is_known).map(|served| served.identity(name))
    }

    /// Stops the refreshers of profiles and narrowed identities without a request for the idle time, and those of
    /// narrowings that are over.
    pub(super) fn stop_idle(&mut self) {
        let now = self.context.clock.now();
        let idle = self.profiles.as_ref().map_or(DEFAULT_IDLE, |served| served.idle);
        self.stop_matching(
            |_, running| running.identity.is_profile && running.handle.idle_time(now) >= idle,
            "this profile was not requested for a long time; the next request loads it again",
        );
        let is_over = |narrowing: &Narrowing| narrowing.until.is_some_and(|until| until <= now);
        let stopped = self
            .stop_narrowed(|narrowed, running| is_over(&narrowed.narrowing) || running.handle.idle_time(now) >= idle);
        if stopped {
            self.publish();
        }
    }

    /// Stops the refreshers of narrowed identities that are configured otherwise now, or no longer. Returns true if
    /// there were any; the caller publishes.
    pub(super) fn stop_changed_narrowings(&mut self) -> bool {
        let names: BTreeSet<IdentityName> = self.narrowed.keys().map(|narrowed| narrowed.identity.clone()).collect();
        let current: BTreeMap<IdentityName, Option<Identity>> =
            names.into_iter().map(|name| (name.clone(), self.identity(&name))).collect();
        self.stop_narrowed(|narrowed, running| {
            let identity = current.get(&narrowed.identity).cloned().flatten();
            identity.is_none_or(|identity| {
                let (narrowing, eager) = (running.identity.narrowing.clone(), running.identity.eager);
                running.identity != Identity { narrowing, eager, ..identity }
            })
        })
    }

    /// Stops these refreshers of narrowed identities. Returns true if there were any; the caller publishes.
    pub(super) fn stop_narrowed(&mut self, matches: impl Fn(&NarrowedIdentity, &RunningRefresher) -> bool) -> bool {
        let stopped: Vec<_> = self.narrowed.extract_if(.., |narrowed, running| matches(narrowed, running)).collect();
        for (narrowed, running) in &stopped {
            let client = narrowed.narrowing.client.as_deref();
            tracing::debug!(identity = %narrowed.identity, client, "the session of this client is dropped");
            running.task.abort();
        }
        !stopped.is_empty()
    }
}
