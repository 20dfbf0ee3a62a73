//! Refreshers that start at a first request and stop when they are idle: served profiles and narrowed identities.

use std::collections::{BTreeMap, BTreeSet};

use crate::config::identity::Identity;
use crate::config::profiles::DEFAULT_IDLE;
use crate::lease::key::{LeaseKey, NarrowedIdentity};
use crate::lease::registry::LeaseDemand;
use crate::lease::supervisor::{RunningRefresher, Supervisor};
use crate::model::identity_name::IdentityName;
use crate::model::narrowing::Narrowing;

impl Supervisor {
    /// Starts the refresher of a served profile or a narrowed identity at its first request, and replies with its
    /// handle.
    pub(super) fn start_demanded(&mut self, LeaseDemand { key, reply }: LeaseDemand) {
        let running = match &key {
            LeaseKey::Identity(name) => self.running.get(name),
            LeaseKey::Narrowed(narrowed) => self.narrowed.get(narrowed),
        };
        if let Some(running) = running {
            let _ = reply.send(running.handle.clone());
            return;
        }
        let Some(identity) = self.identity(key.identity()) else { return };
        let running = match &key {
            LeaseKey::Identity(_) => self.spawn(key.clone(), identity, None),
            LeaseKey::Narrowed(narrowed) => {
                let narrowing = Some(narrowed.narrowing.clone());
                self.spawn(key.clone(), Identity { narrowing, eager: false, ..identity }, None)
            }
        };
        running.handle.record_use(self.context.clock.now());
        let _ = reply.send(running.handle.clone());
        match key {
            LeaseKey::Identity(name) => drop(self.running.insert(name, running)),
            LeaseKey::Narrowed(narrowed) => drop(self.narrowed.insert(narrowed, running)),
        }
        self.publish();
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
    fn stop_narrowed(&mut self, matches: impl Fn(&NarrowedIdentity, &RunningRefresher) -> bool) -> bool {
        let stopped: Vec<_> = self.narrowed.extract_if(.., |narrowed, running| matches(narrowed, running)).collect();
        for (narrowed, running) in &stopped {
            let client = narrowed.narrowing.client.as_deref();
            tracing::debug!(identity = %narrowed.identity, client, "the session of this client is dropped");
            running.task.abort();
        }
        !stopped.is_empty()
    }
}
