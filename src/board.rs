//! The published leases: all that the HTTP side can see. What goes up from there is a wake, never data.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::SystemTime;

use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use crate::chain::Step;
use crate::credentials::Name;
use crate::lease::Lease;
use crate::source::Failure;

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
}

/// What the HTTP side holds of a keeper.
#[derive(Clone, Debug)]
pub struct Handle {
    published: watch::Receiver<Arc<Published>>,
    wake: Arc<Wake>,
}

/// What wakes a keeper beside its timer and its inputs.
#[derive(Debug, Default)]
pub(crate) struct Wake {
    notify: Notify,
    wishes: AtomicU8,
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

/// All that the HTTP side can see.
#[derive(Clone, Debug)]
pub struct Board {
    /// The live keepers.
    pub live: watch::Receiver<Arc<HashMap<LeaseKey, Handle>>>,
    /// What is wrong with the configuration on disk, when the last reload was refused.
    pub refused: watch::Receiver<Option<Arc<str>>>,
}

impl Board {
    /// The handle of an identity, if it exists.
    #[must_use]
    pub fn lookup(&self, key: &LeaseKey) -> Option<Handle> {
        self.live.borrow().get(key).cloned()
    }
}
