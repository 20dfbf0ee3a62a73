//! A whole broker: keepers behind a board, doors before it, listeners in front. `serve` runs one for everybody,
//! `exec` one for a single program.

#[cfg(test)]
mod soak;

use std::net::SocketAddr;
use std::sync::{Arc, Once};

use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::context::Context;
use crate::lease::registry::LeaseRegistry;
use crate::lease::supervisor::{Generation, RefresherEnded, Supervisor, SupervisorCommand};
use crate::model::identity_name::IdentityName;
use crate::model::secret::Secret;
use crate::os::files::watcher::Watcher;
use crate::server::access::{AllowedHosts, Client, Clients};
use crate::server::connections;
use crate::server::connections::{Listener, ListenerEnded};
use crate::server::imds::ImdsServer;
use crate::server::imds::session_tokens::ImdsSessionTokens;
use crate::server::lookup::LeaseLookup;
use crate::server::protocol::Protocol;
use crate::server::routes::{RouteState, Routes};

/// A part that nothing goes on without has ended by itself.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub(crate) enum ComponentEnded {
    /// Nobody keeps a lease fresh.
    Keeper(#[from] RefresherEnded),
    /// Nobody accepts connections.
    Listener(#[from] ListenerEnded),
}

/// What a broker is made of.
#[derive(Debug)]
pub(crate) struct DaemonParts<L = TcpListener> {
    /// What its sources reach.
    pub(crate) context: Context,
    /// Who tells them about changed files.
    pub(crate) watcher: Watcher,
    /// What it serves.
    pub(crate) generation: Generation,
    /// Where, already bound.
    pub(crate) listeners: Vec<L>,
    /// Under which further names.
    pub(crate) allowed_hosts: Vec<Box<str>>,
    /// To whom.
    pub(crate) clients: Vec<(Secret, Client)>,
    /// How many connections at once, for each protocol.
    pub(crate) max_connections: usize,
    /// The metadata service beside it.
    pub(crate) metadata: Option<ImdsParts<L>>,
}

/// What a metadata service is made of.
#[derive(Debug)]
pub(crate) struct ImdsParts<L = TcpListener> {
    /// Where, already bound.
    pub(crate) listeners: Vec<L>,
    /// Whose credentials it serves.
    pub(crate) identity: IdentityName,
    /// Whether requests without a token are answered.
    pub(crate) allow_v1: bool,
    /// The tokens of the protocol.
    pub(crate) sessions: ImdsSessionTokens,
}

/// Listeners and what is spoken behind them. Each has connections of its own: those of a protocol without clients take no
/// place of those who prove themselves.
type BoundListeners<L> = (Vec<L>, Protocol);

/// A broker that is ready to run.
#[derive(Debug)]
pub(crate) struct Daemon<L = TcpListener> {
    supervisor: Supervisor,
    watcher: Watcher,
    container: BoundListeners<L>,
    metadata: Option<BoundListeners<L>>,
    registry: LeaseRegistry,
    max_connections: usize,
    stop: CancellationToken,
}

impl<L: Listener> Daemon<L> {
    /// Puts the parts together; eager identities begin to load.
    #[must_use]
    pub(crate) fn new(parts: DaemonParts<L>, stop: CancellationToken) -> Self {
        let hosts = |listeners: &[L]| {
            let listening: Vec<_> = listeners.iter().filter_map(Listener::address).collect();
            AllowedHosts::new(listening, parts.allowed_hosts.iter().cloned())
        };
        let clock = parts.context.clock.clone();
        let (supervisor, registry) = Supervisor::new(parts.context, parts.generation);
        let leases = LeaseLookup { registry: registry.clone(), clock: clock.clone(), stopping: stop.clone() };
        let metadata = parts.metadata.map(|metadata| {
            let service = ImdsServer {
                leases: leases.clone(),
                identity: metadata.identity,
                hosts: hosts(&metadata.listeners),
                sessions: metadata.sessions,
                allow_v1: metadata.allow_v1,
                refusal: Once::new(),
            };
            (metadata.listeners, Protocol::Imds(Arc::new(service)))
        });
        let endpoint = RouteState {
            leases,
            clients: Clients::new(parts.clients),
            hosts: hosts(&parts.listeners),
            started: clock.now(),
        };
        Self {
            supervisor,
            watcher: parts.watcher,
            container: (parts.listeners, Protocol::Container(Routes::new(Arc::new(endpoint)))),
            metadata,
            registry,
            max_connections: parts.max_connections,
            stop,
        }
    }

    /// What it publishes.
    #[must_use]
    pub(crate) fn registry(&self) -> LeaseRegistry {
        self.registry.clone()
    }

    /// Serves until it is stopped: keepers end first, then requests in flight.
    ///
    /// # Errors
    /// When a keeper or a listener ended by itself.
    pub(crate) async fn run(self, orders: mpsc::Receiver<SupervisorCommand>) -> Result<(), ComponentEnded> {
        let Self { supervisor, watcher, container, metadata, max_connections, stop, .. } = self;
        let keeping = async {
            let ended = supervisor.run(orders, stop.clone()).await;
            stop.cancel();
            ended
        };
        let watching = stop.run_until_cancelled(watcher.run());
        let serve = async |door: Option<BoundListeners<L>>| {
            let Some((listeners, protocol)) = door else { return Ok(()) };
            let ended = connections::serve(listeners, protocol, max_connections, stop.clone()).await;
            stop.cancel();
            ended
        };
        let (kept, served, beside, _) = tokio::join!(keeping, serve(Some(container)), serve(metadata), watching);
        kept?;
        served?;
        Ok(beside?)
    }
}

/// The addresses of listeners, in their order.
#[must_use]
pub(crate) fn addresses(listeners: &[TcpListener]) -> Vec<SocketAddr> {
    listeners.iter().filter_map(|listener| listener.local_addr().ok()).collect()
}
