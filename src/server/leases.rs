//! What every protocol asks of the board: a lease that may be served now, waited for while its load is young.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::responses::Error;
use crate::board::{Board, Handle, LeaseKey, Phase, Published, Wish};
use crate::clock::Clock;
use crate::credentials::Name;
use crate::lease::Lease;

/// A request without a lease is held while the load it waits for is younger than this. Clients give up on one attempt
/// after 1 to 5 s and come back, so that holding carries more of them through than an early refusal (measured).
const HOLD: Duration = Duration::from_millis(4500);

/// The published leases, and the clock to judge them by.
#[derive(Clone, Debug)]
pub struct Leases {
    /// The published leases.
    pub board: Board,
    /// The wall clock, to compare with an expiration.
    pub clock: Clock,
    /// Cancelled when the daemon stops: those who wait are answered at once.
    pub stopping: CancellationToken,
}

impl Leases {
    /// The time by which leases are judged.
    #[must_use]
    pub fn now(&self) -> SystemTime {
        self.clock.now()
    }

    /// The body of a lease that can be served this moment.
    #[must_use]
    pub fn at_hand(&self, name: Name) -> Option<Bytes> {
        self.board.body(&LeaseKey::Identity(name), self.clock.now())
    }

    /// A lease that can be served this moment, with all that is known of it.
    #[must_use]
    pub fn now_held(&self, name: &Name) -> Option<Arc<Lease>> {
        let handle = self.board.lookup(&LeaseKey::Identity(name.clone()))?;
        handle.now().usable(self.clock.now()).map(Arc::clone)
    }

    /// The lease of an identity, waiting for it while its load is young.
    ///
    /// # Errors
    /// Why there is none to be served, ready to be answered.
    pub async fn lease(&self, name: &Name) -> Result<Arc<Lease>, Error> {
        let find = async || match tokio::time::timeout(HOLD, self.board.find(name)).await {
            Ok(handle) => handle.ok_or_else(|| Error::identity_not_found(name)),
            Err(_) => Err(Error::no_lease(name, &Published::default(), self.clock.now())),
        };
        let (mut handle, asked) = (find().await?, Instant::now());
        loop {
            let published = handle.latest();
            let now = self.clock.now();
            handle.touch(now);
            if let Some(lease) = published.usable(now) {
                return Ok(Arc::clone(lease));
            }
            let until = match published.phase {
                Phase::Loading { since, .. } => since + HOLD,
                Phase::Asleep | Phase::Waiting { .. } => {
                    handle.wish(Wish::Lease);
                    asked + HOLD
                }
                Phase::BackingOff { .. } => return Err(Error::no_lease(name, &published, now)),
            };
            tokio::select! {
                biased;
                changed = handle.changed() => if changed.is_err() {
                    // The keeper has ended: another may have taken its place, or the daemon stops.
                    handle = find().await?;
                    if handle.is_orphaned() {
                        return Err(Error::stopping(name));
                    }
                },
                () = self.stopping.cancelled() => return Err(Error::stopping(name)),
                () = tokio::time::sleep_until(until) => return Err(Error::no_lease(name, &published, now)),
            }
        }
    }

    /// The region of these identities, which keepers find out when somebody asks; waits for the unknown until `deadline`.
    pub async fn regions(&self, handles: &mut [&mut Handle], deadline: Instant) {
        for handle in handles.iter() {
            if handle.now().region.is_none() {
                handle.wish(Wish::Region);
            }
        }
        for handle in handles {
            while handle.latest().region.is_none() {
                match tokio::time::timeout_at(deadline, handle.changed()).await {
                    Ok(Ok(())) => {}
                    Ok(Err(_)) | Err(_) => break,
                }
            }
        }
    }
}
