//! Temporary credentials, shared by all callers with an equal request. A hundred profiles over one base cost one
//! request to STS, SSO, a program, the container endpoint or IMDS.
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
    /// Counts the calls of [`CredentialCache::forget`]. A lookup of an earlier era is not served.
    era: Arc<AtomicU64>,
}

/// The conditions under which a caller shares credentials.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CachePolicy {
    /// The maximum age of a cached lookup.
    pub(crate) longest: Duration,
    /// The maximum wait for the request of another caller. Then one of the callers that wait requests, too.
    pub(crate) wait: Duration,
    /// True if a caller may invalidate the credentials. False for those that took a code from the user.
    pub(crate) can_invalidate: bool,
}

impl CachePolicy {
    /// For credentials that the service issues at each request and that are valid until they expire.
    pub(crate) const ISSUED: Self = Self { longest: Duration::MAX, wait: Duration::MAX, can_invalidate: true };

    /// For issued credentials that took a code from the user.
    pub(crate) const ASKED: Self = Self { can_invalidate: false, ..Self::ISSUED };

    /// For a service on this machine or its link. It responds at once, and may change to other keys without notice. One
    /// connection that hangs delays no other caller by more than a second.
    pub(crate) const NEARBY: Self = Self { longest: LONGEST_PAUSE, wait: Duration::from_secs(1), can_invalidate: true };
}

/// The state of one cache key.
#[derive(Default)]
struct CacheSlot {
    cached: Option<CachedLookup>,
    issued: Option<IssuedCredentials>,
    /// The credentials that were issued before those.
    previous: Option<CacheKey>,
}

struct CachedLookup {
    lookup: Lookup,
    received: Instant,
    era: u64,
    can_invalidate: bool,
}

/// The credentials that were issued last, and the time at which they came first. A failure in between, expired credentials
/// and a changed configuration do not make equal credentials fresher.
#[derive(Clone, Copy)]
struct IssuedCredentials {
    key: CacheKey,
    received: SystemTime,
    expires: Option<SystemTime>,
}

impl CredentialCache {
    /// Returns the cached credentials while no refresher would renew them, else the lookup that `request` makes.
    ///
    /// All concurrent callers share one `request`, and its `NotConfigured` or failure, too. If the caller that requests is
    /// dropped, the next one requests.
    ///
    /// Credentials without an expiry are for concurrent callers only: the next caller requests again. So does a caller after
    /// the service has issued these credentials again, and a caller with a stricter `policy`.
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

    /// Shares like [`CredentialCache::share`], for sources that are configured: they have credentials or fail.
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

    /// Drops credentials that AWS rejected, so that the next caller requests others. Returns true if others can be had.
    ///
    /// Credentials that are younger than five seconds, have no expiry or took a code from the user stay. So a hundred clients
    /// with denied requests cause one request in five seconds.
    pub(crate) fn invalidate(&self, credentials: &Credentials) -> bool {
        let rejected = identify(credentials);
        let mut has_others = false;
        self.flights.visit_idle(|slot| {
            // Another client may have invalidated them before.
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

    /// Drops all lookups: the next caller of each key requests.
    pub(crate) fn forget(&self) {
        self.era.fetch_add(1, Ordering::Relaxed);
        // A locked slot has a request under way, and that lookup belongs to the era before.
        self.flights.visit_idle(|slot| slot.cached = None);
    }
}

impl CacheSlot {
    /// Returns the cached lookup if it serves a caller that asked at this moment.
    fn usable(&self, asked: Instant, now: SystemTime, era: u64, longest: Duration) -> Option<&Lookup> {
        let CachedLookup { lookup, received, .. } = self.cached.as_ref().filter(|cached| cached.era == era)?;
        let is_usable = match lookup {
            // The request was under way when this caller came.
            _ if *received >= asked => true,
            Lookup::Found(credentials) => {
                let is_fresh = self.issued.is_some_and(|issued| issued.is(credentials) && issued.is_fresh(now));
                is_fresh && received.elapsed() < longest
            }
            // A hundred refreshers that retry each for itself still make one request.
            Lookup::Failed(error) => error.kind.is_transient() && received.elapsed() < SHORTEST_PAUSE,
            Lookup::NotConfigured(_) => false,
        };
        is_usable.then_some(lookup)
    }

    /// Records credentials that a refresher would accept: not expired ones, and not an older copy of these.
    fn record(&mut self, credentials: &Credentials, now: SystemTime) {
        let key = identify(credentials);
        let is_newer = match self.issued {
            Some(issued) if issued.key == key => now < issued.received || issued.expires < credentials.expiration,
            _ => true,
        };
        if is_newer && credentials.expiration.is_none_or(|expires| now < expires) {
            self.previous = self.issued.map(|issued| issued.key).filter(|previous| *previous != key).or(self.previous);
            self.issued = Some(IssuedCredentials { key, received: now, expires: credentials.expiration });
        }
    }
}

/// Returns a key that two sets of credentials share only if they are equal.
fn identify(credentials: &Credentials) -> CacheKey {
    CacheKeyBuilder::new("given").with_caller(credentials).cache_key()
}

impl IssuedCredentials {
    fn is(self, credentials: &Credentials) -> bool {
        self.expires == credentials.expiration && self.key == identify(credentials)
    }

    /// Returns true until the earliest moment at which a refresher would renew them, so that a renewal gets new ones.
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
