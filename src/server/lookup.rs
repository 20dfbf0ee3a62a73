//! What every protocol asks of the board: a lease that may be served now, waited for while its load is young.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::lease::Lease;
use crate::lease::registry::{LeaseHandle, LeaseKey, LeaseRegistry, LeaseState, RefreshState, WakeReason};
use crate::model::identity_name::IdentityName;
use crate::os::clock::Clock;
use crate::server::error::ErrorResponse;

/// A request without a lease is held while the load it waits for is younger than this. Clients give up on one attempt
/// after 1 to 5 s and come back, so that holding carries more of them through than an early refusal (measured).
const HOLD: Duration = Duration::from_millis(4500);

/// The published leases, and the clock to judge them by.
#[derive(Clone, Debug)]
pub(crate) struct LeaseLookup {
    /// The published leases.
    pub(crate) registry: LeaseRegistry,
    /// The wall clock, to compare with an expiration.
    pub(crate) clock: Clock,
    /// Cancelled when the daemon stops: those who wait are answered at once.
    pub(crate) stopping: CancellationToken,
}

impl LeaseLookup {
    /// The time by which leases are judged.
    #[must_use]
    pub(crate) fn now(&self) -> SystemTime {
        self.clock.now()
    }

    /// The body of a lease that can be served this moment.
    #[must_use]
    pub(crate) fn at_hand(&self, name: IdentityName) -> Option<Bytes> {
        self.registry.body(&LeaseKey::Identity(name), self.clock.now())
    }

    /// A lease that can be served this moment, with all that is known of it.
    #[must_use]
    pub(crate) fn held_lease(&self, name: &IdentityName) -> Option<Arc<Lease>> {
        let handle = self.registry.lookup(&LeaseKey::Identity(name.clone()))?;
        handle.state().usable(self.clock.now()).map(Arc::clone)
    }

    /// The lease of an identity, waiting for it while its load is young.
    ///
    /// # Errors
    /// Why there is none to be served, ready to be answered.
    pub(crate) async fn lease(&self, name: &IdentityName) -> Result<Arc<Lease>, ErrorResponse> {
        let find = async || match tokio::time::timeout(HOLD, self.registry.find(name)).await {
            Ok(handle) => handle.ok_or_else(|| ErrorResponse::identity_not_found(name)),
            Err(_) => Err(ErrorResponse::no_lease(name, &LeaseState::default(), self.clock.now())),
        };
        let (mut handle, asked) = (find().await?, Instant::now());
        loop {
            let published = handle.latest();
            let now = self.clock.now();
            handle.record_use(now);
            if let Some(lease) = published.usable(now) {
                return Ok(Arc::clone(lease));
            }
            let until = match published.refresh {
                RefreshState::Loading { since, .. } => since + HOLD,
                RefreshState::NotLoaded | RefreshState::Waiting { .. } => {
                    handle.wake(WakeReason::LeaseWanted);
                    asked + HOLD
                }
                RefreshState::BackingOff { .. } => return Err(ErrorResponse::no_lease(name, &published, now)),
            };
            tokio::select! {
                biased;
                changed = handle.changed() => if changed.is_err() {
                    // The keeper has ended: another may have taken its place, or the daemon stops.
                    handle = find().await?;
                    if handle.has_ended() {
                        return Err(ErrorResponse::stopping(name));
                    }
                },
                () = self.stopping.cancelled() => return Err(ErrorResponse::stopping(name)),
                () = tokio::time::sleep_until(until) => return Err(ErrorResponse::no_lease(name, &published, now)),
            }
        }
    }

    /// The region of these identities, which keepers find out when somebody asks; waits for the unknown until `deadline`.
    pub(crate) async fn regions(&self, handles: &mut [&mut LeaseHandle], deadline: Instant) {
        for handle in handles.iter() {
            if handle.state().region.is_none() {
                handle.wake(WakeReason::RegionWanted);
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
