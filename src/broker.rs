//! A whole broker: keepers behind a board, doors before it, listeners in front. `serve` runs one for everybody,
//! `exec` one for a single program.

use std::net::SocketAddr;
use std::sync::{Arc, Once};

use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::board::Board;
use crate::credentials::Name;
use crate::secret::Secret;
use crate::server::connections::{self, Listener, ListenerEnded};
use crate::server::guard::{Client, Clients, Hosts};
use crate::server::leases::Leases;
use crate::server::metadata::Metadata;
use crate::server::metadata::sessions::Sessions;
use crate::server::protocol::Protocol;
use crate::server::routes::{Endpoint, Paths};
use crate::supervisor::{Generation, KeeperEnded, Order, Supervisor};
use crate::watch::Watcher;
use crate::world::World;

/// A part that nothing goes on without has ended by itself.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub enum Ended {
    /// Nobody keeps a lease fresh.
    Keeper(#[from] KeeperEnded),
    /// Nobody accepts connections.
    Listener(#[from] ListenerEnded),
}

/// What a broker is made of.
#[derive(Debug)]
pub struct Parts<L = TcpListener> {
    /// What its sources reach.
    pub world: World,
    /// Who tells them about changed files.
    pub watcher: Watcher,
    /// What it serves.
    pub generation: Generation,
    /// Where, already bound.
    pub listeners: Vec<L>,
    /// Under which further names.
    pub allowed_hosts: Vec<Box<str>>,
    /// To whom.
    pub clients: Vec<(Secret, Client)>,
    /// How many connections at once, for each protocol.
    pub max_connections: usize,
    /// The metadata service beside it.
    pub metadata: Option<MetadataParts<L>>,
}

/// What a metadata service is made of.
#[derive(Debug)]
pub struct MetadataParts<L = TcpListener> {
    /// Where, already bound.
    pub listeners: Vec<L>,
    /// Whose credentials it serves.
    pub identity: Name,
    /// Whether requests without a token are answered.
    pub allow_v1: bool,
    /// The tokens of the protocol.
    pub sessions: Sessions,
}

/// Listeners and what is spoken behind them. Each has connections of its own: those of a protocol without clients take no
/// place of those who prove themselves.
type Door<L> = (Vec<L>, Protocol);

/// A broker that is ready to run.
#[derive(Debug)]
pub struct Broker<L = TcpListener> {
    supervisor: Supervisor,
    watcher: Watcher,
    container: Door<L>,
    metadata: Option<Door<L>>,
    board: Board,
    max_connections: usize,
    stop: CancellationToken,
}

impl<L: Listener> Broker<L> {
    /// Puts the parts together; eager identities begin to load.
    #[must_use]
    pub fn new(parts: Parts<L>, stop: CancellationToken) -> Self {
        let hosts = |listeners: &[L]| {
            let listening: Vec<_> = listeners.iter().filter_map(Listener::address).collect();
            Hosts::new(listening, parts.allowed_hosts.iter().cloned())
        };
        let clock = parts.world.clock.clone();
        let (supervisor, board) = Supervisor::new(parts.world, parts.generation);
        let leases = Leases { board: board.clone(), clock: clock.clone(), stopping: stop.clone() };
        let metadata = parts.metadata.map(|metadata| {
            let service = Metadata {
                leases: leases.clone(),
                identity: metadata.identity,
                hosts: hosts(&metadata.listeners),
                sessions: metadata.sessions,
                allow_v1: metadata.allow_v1,
                refusal: Once::new(),
            };
            (metadata.listeners, Protocol::Metadata(Arc::new(service)))
        });
        let endpoint = Endpoint {
            leases,
            clients: Clients::new(parts.clients),
            hosts: hosts(&parts.listeners),
            started: clock.now(),
        };
        Self {
            supervisor,
            watcher: parts.watcher,
            container: (parts.listeners, Protocol::Container(Paths::new(Arc::new(endpoint)))),
            metadata,
            board,
            max_connections: parts.max_connections,
            stop,
        }
    }

    /// What it publishes.
    #[must_use]
    pub fn board(&self) -> Board {
        self.board.clone()
    }

    /// Serves until it is stopped: keepers end first, then requests in flight.
    ///
    /// # Errors
    /// When a keeper or a listener ended by itself.
    pub async fn run(self, orders: mpsc::Receiver<Order>) -> Result<(), Ended> {
        let Self { supervisor, watcher, container, metadata, max_connections, stop, .. } = self;
        let keeping = async {
            let ended = supervisor.run(orders, stop.clone()).await;
            stop.cancel();
            ended
        };
        let watching = stop.run_until_cancelled(watcher.run());
        let serve = async |door: Option<Door<L>>| {
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
pub fn addresses(listeners: &[TcpListener]) -> Vec<SocketAddr> {
    listeners.iter().filter_map(|listener| listener.local_addr().ok()).collect()
}
