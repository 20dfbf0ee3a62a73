//! Looks up leases for all protocols, and waits a while for a lease that is being loaded.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::lease::Lease;
use crate::lease::handle::{LeaseHandle, WakeReason};
use crate::lease::key::LeaseKey;
use crate::lease::registry::{LeaseRegistry, NoRefresher};
use crate::lease::state::{LeaseState, RefreshState};
use crate::model::identity_name::IdentityName;
use crate::model::session_name::OWNER;
use crate::os::clock::Clock;
use crate::server::error::ErrorResponse;

/// The longest time that a request waits for a load. Clients give up one attempt after 1 to 5 s and retry. More clients
/// succeed if requests wait than if they are refused early (measured).
const MAX_WAIT: Duration = Duration::from_millis(4500);

/// The lease registry with the clock that decides if a lease is usable.
#[derive(Clone, Debug)]
pub(crate) struct LeaseLookup {
    pub(crate) registry: LeaseRegistry,
    pub(crate) clock: Clock,
    /// Cancelled when the daemon stops. Waiting requests are then answered at once.
    pub(crate) stopping: CancellationToken,
}

impl LeaseLookup {
    pub(crate) fn now(&self) -> SystemTime {
        self.clock.now()
    }

    /// Returns a lease that is usable now, without waiting.
    pub(crate) fn held_lease(&self, key: &LeaseKey) -> Option<Arc<Lease>> {
        let handle = self.registry.lookup(key)?;
        handle.state().usable(self.clock.now()).map(Arc::clone)
    }

    /// Returns the lease of an identity, and waits a while if it is being loaded.
    ///
    /// # Errors
    /// The response that explains why there is no usable lease.
    pub(crate) async fn lease(&self, name: &IdentityName) -> Result<Arc<Lease>, ErrorResponse> {
        self.lease_of(&LeaseKey::Identity(name.clone()), OWNER).await
    }

    /// Like [`LeaseLookup::lease`], for any key. A session that is opened for it counts for `client`.
    ///
    /// # Errors
    /// The response that explains why there is no usable lease.
    pub(crate) async fn lease_of(&self, key: &LeaseKey, client: &str) -> Result<Arc<Lease>, ErrorResponse> {
        let name = key.identity();
        let find = async || match tokio::time::timeout(MAX_WAIT, self.registry.find_for(key, client)).await {
            Ok(Ok(handle)) => Ok(handle),
            Ok(Err(NoRefresher::UnknownIdentity)) => Err(ErrorResponse::identity_not_found(name)),
            Ok(Err(NoRefresher::TooManySessions)) => Err(ErrorResponse::too_many_sessions(name)),
            Err(_) => Err(ErrorResponse::no_lease(name, &LeaseState::default(), self.clock.now())),
        };
        let (mut handle, began) = (find().await?, Instant::now());
        loop {
            let state = handle.latest();
            let now = self.clock.now();
            handle.record_use(now);
            if let Some(lease) = state.usable(now) {
                return Ok(Arc::clone(lease));
            }
            let until = match state.refresh {
                RefreshState::Loading { since, .. } => since + MAX_WAIT,
                RefreshState::NotLoaded | RefreshState::Waiting { .. } => {
                    handle.wake(WakeReason::LeaseWanted);
                    began + MAX_WAIT
                }
                RefreshState::BackingOff { .. } => return Err(ErrorResponse::no_lease(name, &state, now)),
            };
            tokio::select! {
                biased;
                changed = handle.changed() => if changed.is_err() {
                    // The refresher has ended: another refresher has replaced it, or the daemon stops.
                    handle = find().await?;
                    if handle.has_ended() {
                        return Err(ErrorResponse::stopping(name));
                    }
                },
                () = self.stopping.cancelled() => return Err(ErrorResponse::stopping(name)),
                () = tokio::time::sleep_until(until) => return Err(ErrorResponse::no_lease(name, &state, now)),
            }
        }
    }

    /// Makes the session of a client that is gone count as unused, so that it is dropped soon. It may have been opened after the
    /// other sessions of the client were dropped.
    pub(crate) fn give_up(&self, key: &LeaseKey) {
        if let (LeaseKey::Narrowed(_), Some(handle)) = (key, self.registry.lookup(key)) {
            handle.record_use(SystemTime::UNIX_EPOCH);
        }
    }

    /// Makes the refreshers of these identities load missing regions, and waits for them until `deadline`.
    pub(crate) async fn load_regions(&self, handles: &mut [&mut LeaseHandle], deadline: Instant) {
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
