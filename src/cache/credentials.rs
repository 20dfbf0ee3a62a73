//! Temporary credentials, shared by all callers with an equal request. A hundred profiles with one base send one
//! request for the base credentials.
//!
//! The cache owns no task: it renews credentials only when a caller asks for them.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

pub(crate) use crate::cache::key::{CacheKey, CacheKeyBuilder};
use crate::model::credentials::Credentials;
use crate::model::error::SourceError;
use crate::model::outcome::Lookup;
use crate::model::schedule;
use crate::model::schedule::{LONGEST_PAUSE, SETTLE, SHORTEST_PAUSE};
use crate::os::clock::Clock;
use crate::os::single_flight::SingleFlight;

/// The temporary credentials of this process. Clones share them.
#[derive(Clone, Default)]
pub(crate) struct CredentialCache {
    flights: Arc<SingleFlight<CacheKey, CacheSlot>>,
    /// Counts the calls of [`CredentialCache::forget`]. A lookup that began before the last call is not served.
    era: Arc<AtomicU64>,
}

/// The conditions under which a caller shares credentials.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CachePolicy {
    /// The maximum age of a cached lookup.
    pub(crate) longest: Duration,
    /// The maximum wait for the request of another caller. After this time one of the waiting callers sends a second
    /// request.
    pub(crate) wait: Duration,
    /// True if a caller may invalidate the credentials. False if the user had to type a code for them.
    pub(crate) can_invalidate: bool,
}

impl CachePolicy {
    /// The policy for a service that issues new credentials at each request. They are shared until they expire.
    pub(crate) const ISSUED: Self = Self { longest: Duration::MAX, wait: Duration::MAX, can_invalidate: true };

    /// The policy for credentials that the user had to type a code for.
    pub(crate) const ASKED: Self = Self { can_invalidate: false, ..Self::ISSUED };

    /// The policy for a service on this machine or its link, such as IMDS. It responds at once, so other callers wait
    /// for a hanging request for one second at most. It may change its keys without notice, so a lookup is shared for a
    /// short time only.
    pub(crate) const NEARBY: Self = Self { longest: LONGEST_PAUSE, wait: Duration::from_secs(1), can_invalidate: true };
}

#[derive(Default)]
struct CacheSlot {
    cached: Option<CachedLookup>,
    issued: Option<IssuedCredentials>,
    /// The key of the credentials that were issued before `issued`.
    previous: Option<CacheKey>,
}

struct CachedLookup {
    lookup: Lookup,
    received: Instant,
    era: u64,
    can_invalidate: bool,
}

/// The credentials that were issued last, and the time at which they were first received. That time stays if the
/// service issues them again, even after a failure or a change of the configuration.
#[derive(Clone, Copy)]
struct IssuedCredentials {
    key: CacheKey,
    received: SystemTime,
    expires: Option<SystemTime>,
}

impl CredentialCache {
    /// Returns the cached credentials if they are not due for renewal, else the result of `request`.
    ///
    /// All concurrent callers share one `request` and its result, also an error. If the requesting caller is dropped,
    /// the next caller requests.
    ///
    /// A later caller requests again in three cases: the credentials have no expiry, the service has issued the cached
    /// credentials twice, or the lookup is older than the `policy` of the caller allows.
    pub(crate) async fn share<F>(
        &self,
        clock: &Clock,
        key: CacheKey,
        policy: CachePolicy,
        request: impl FnOnce() -> F,
    ) -> Lookup
    where
        F: Future<Output = Lookup>,
    {
        let (asked, now) = (Instant::now(), clock.now());
        let keep = |slot: &CacheSlot| slot.issued.is_some_and(|issued| issued.is_valid(now));
        let mut slot = self.flights.lock(&key, policy.wait, keep).await;
        let era = self.era.load(Ordering::Relaxed);
        if let Some(lookup) = slot.usable(asked, clock.now(), era, policy.longest) {
            return lookup.clone();
        }
        let lookup = request().await;
        if let Lookup::Found(credentials) = &lookup {
            slot.record(credentials, clock.now());
        }
        let can_invalidate = policy.can_invalidate;
        slot.cached = Some(CachedLookup { lookup: lookup.clone(), received: Instant::now(), era, can_invalidate });
        lookup
    }

    /// Like [`CredentialCache::share`], for a source that is certainly configured: the result is credentials or an
    /// error.
    ///
    /// # Errors
    /// The error of `request`.
    pub(crate) async fn obtain<F>(
        &self,
        clock: &Clock,
        key: CacheKey,
        policy: CachePolicy,
        request: impl FnOnce() -> F,
    ) -> Result<Credentials, SourceError>
    where
        F: Future<Output = Result<Credentials, SourceError>>,
    {
        match self.share(clock, key, policy, || async { Lookup::from_result(request().await) }).await {
            Lookup::Found(credentials) => Ok(credentials),
            Lookup::Failed(error) => Err(error),
            Lookup::NotConfigured(why) => Err(SourceError::misconfigured(why)),
        }
    }

    /// Drops credentials that AWS rejected, so that the next caller requests new ones. Returns true if a new attempt
    /// may get other credentials.
    ///
    /// Credentials stay if they are younger than five seconds, have no expiry, or if the user had to type a code for
    /// them. So a hundred clients with denied requests cause one request in five seconds.
    pub(crate) fn invalidate(&self, credentials: &Credentials) -> bool {
        let rejected = identify(credentials);
        let mut has_others = false;
        self.flights.visit_idle(|slot| {
            // Another client may have invalidated these credentials already.
            has_others |= slot.previous == Some(rejected);
            if !slot.issued.is_some_and(|issued| issued.key == rejected && issued.expires.is_some()) {
                return;
            }
            match &slot.cached {
                Some(cached) if cached.can_invalidate && cached.received.elapsed() >= SETTLE => {
                    slot.cached = None;
                    has_others = true;
                }
                _ => {}
            }
        });
        has_others
    }

    /// Drops all lookups, so that the next caller of each key requests.
    pub(crate) fn forget(&self) {
        self.era.fetch_add(1, Ordering::Relaxed);
        // A locked slot is skipped: its request is running, and its lookup gets the old `era` and is not served.
        self.flights.visit_idle(|slot| slot.cached = None);
    }
}

impl CacheSlot {
    /// Returns the cached lookup if it is usable for a caller that asked at the time `asked`.
    fn usable(&self, asked: Instant, now: SystemTime, era: u64, longest: Duration) -> Option<&Lookup> {
        let CachedLookup { lookup, received, .. } = self.cached.as_ref().filter(|cached| cached.era == era)?;
        let is_usable = match lookup {
            // The request was running when this caller asked, so the caller shares every result.
            _ if *received >= asked => true,
            Lookup::Found(credentials) => {
                let is_fresh = self.issued.is_some_and(|issued| issued.is(credentials) && issued.is_fresh(now));
                is_fresh && received.elapsed() < longest
            }
            // Share a transient error for a moment: a hundred refreshers that retry then send one request.
            Lookup::Failed(error) => error.kind.is_transient() && received.elapsed() < SHORTEST_PAUSE,
            Lookup::NotConfigured(_) => false,
        };
        is_usable.then_some(lookup)
    }

    /// Records issued credentials, unless they have expired or are an older copy of the recorded ones.
    fn record(&mut self, credentials: &Credentials, now: SystemTime) {
        let (key, expires) = (identify(credentials), credentials.planned_expiration());
        let is_newer = match self.issued {
            Some(issued) if issued.key == key => now < issued.received || issued.expires < expires,
            _ => true,
        };
        if is_newer && expires.is_none_or(|expires| now < expires) {
            self.previous = self.issued.map(|issued| issued.key).filter(|previous| *previous != key).or(self.previous);
            self.issued = Some(IssuedCredentials { key, received: now, expires });
        }
    }
}

/// Returns a hash that is equal only for equal credentials.
fn identify(credentials: &Credentials) -> CacheKey {
    CacheKeyBuilder::new("given").with_caller(credentials).cache_key()
}

impl IssuedCredentials {
    fn is(self, credentials: &Credentials) -> bool {
        self.expires == credentials.planned_expiration() && self.key == identify(credentials)
    }

    /// Returns true until the earliest moment at which a refresher renews the credentials. So a refresher never gets
    /// its old credentials from the cache.
    fn is_fresh(self, now: SystemTime) -> bool {
        now >= self.received && self.expires.is_some_and(|end| now < schedule::refresh_at(self.received, end, 1.0))
    }

    /// Returns true while the service may issue these credentials again.
    fn is_valid(self, now: SystemTime) -> bool {
        self.expires.is_some_and(|expires| now < expires)
    }
}

impl fmt::Debug for CredentialCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CredentialCache").field("keys", &self.flights.len()).finish()
    }
}

#[cfg(test)]
mod tests;
