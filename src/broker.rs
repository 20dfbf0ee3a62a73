//! A whole broker: keepers behind a board, a door before it, listeners in front. `serve` runs one for everybody,
//! `exec` one for a single program.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::board::Board;
use crate::secret::Secret;
use crate::server::connections::{self, Listener, ListenerEnded};
use crate::server::guard::{Client, Clients, Hosts};
use crate::server::leases::Leases;
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
    /// How many connections at once.
    pub max_connections: usize,
}

/// A broker that is ready to run.
#[derive(Debug)]
pub struct Broker<L = TcpListener> {
    supervisor: Supervisor,
    watcher: Watcher,
    listeners: Vec<L>,
    paths: Paths,
    board: Board,
    max_connections: usize,
    stop: CancellationToken,
}

impl<L: Listener> Broker<L> {
    /// Puts the parts together; eager identities begin to load.
    #[must_use]
    pub fn new(parts: Parts<L>, stop: CancellationToken) -> Self {
        let listening: Vec<_> = parts.listeners.iter().filter_map(Listener::address).collect();
        let clients = Clients::new(parts.clients);
        let clock = parts.world.clock.clone();
        let (supervisor, board) = Supervisor::new(parts.world, parts.generation);
        let endpoint = Endpoint {
            started: clock.now(),
            leases: Leases { board: board.clone(), clock, stopping: stop.clone() },
            clients,
            hosts: Hosts::new(listening, parts.allowed_hosts),
        };
        Self {
            supervisor,
            watcher: parts.watcher,
            listeners: parts.listeners,
            paths: Paths::new(Arc::new(endpoint)),
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
        let Self { supervisor, watcher, listeners, paths, max_connections, stop, .. } = self;
        let keeping = async {
            let ended = supervisor.run(orders, stop.clone()).await;
            stop.cancel();
            ended
        };
        let watching = stop.run_until_cancelled(watcher.run());
        let serving = async {
            let ended = connections::serve(listeners, paths, max_connections, stop.clone()).await;
            stop.cancel();
            ended
        };
        let (kept, served, _) = tokio::join!(keeping, serving, watching);
        Ok(kept.map(|()| served)??)
    }
}

/// The addresses of listeners, in their order.
#[must_use]
pub fn addresses(listeners: &[TcpListener]) -> Vec<SocketAddr> {
    listeners.iter().filter_map(|listener| listener.local_addr().ok()).collect()
}
