//! The daemon: supervisor, listeners and server in one value.
//!
//! `serve` runs one for all clients of the host; `exec` runs one for its child.

#[cfg(test)]
mod soak;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Once};

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::context::Context;
use crate::lease::registry::LeaseRegistry;
use crate::lease::supervisor::{Generation, RefresherEnded, Supervisor, SupervisorCommand};
use crate::model::identity_name::IdentityName;
use crate::os::files::watcher::Watcher;
use crate::server::access::AllowedHosts;
use crate::server::answer_log::AnswerLog;
use crate::server::client_table::commands::ClientCommand;
use crate::server::clients::ClientsWatch;
use crate::server::connections;
use crate::server::connections::{Listener, ListenerEnded};
use crate::server::control::{ControlServer, ReloadRequest};
use crate::server::imds::ImdsServer;
use crate::server::imds::session_tokens::ImdsSessionTokens;
use crate::server::listeners::BoundListener;
use crate::server::lookup::LeaseLookup;
use crate::server::protocol::Protocol;
use crate::server::routes::{RouteState, Routes};

/// A part ended by itself, and the daemon cannot run without it.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub(crate) enum ComponentEnded {
    Refresher(#[from] RefresherEnded),
    Listener(#[from] ListenerEnded),
}

#[derive(Debug)]
pub(crate) struct DaemonParts<L = BoundListener> {
    pub(crate) context: Context,
    pub(crate) watcher: Watcher,
    pub(crate) generation: Generation,
    /// The listeners of the container credentials protocol, already bound.
    pub(crate) listeners: Vec<L>,
    /// Further host names that requests may use, in addition to those of the listeners.
    pub(crate) allowed_hosts: Vec<Box<str>>,
    pub(crate) clients: ClientsWatch,
    /// The connection limit of each protocol.
    pub(crate) max_connections: usize,
    pub(crate) imds: Option<ImdsParts<L>>,
    pub(crate) control: Option<ControlParts<L>>,
    pub(crate) log: AnswerLog,
}

/// The parts of the control socket.
#[derive(Debug)]
pub(crate) struct ControlParts<L = BoundListener> {
    pub(crate) listener: L,
    pub(crate) commands: mpsc::Sender<ClientCommand>,
    pub(crate) reloads: mpsc::Sender<ReloadRequest>,
    pub(crate) supervisor: mpsc::Sender<SupervisorCommand>,
    /// The addresses for grants. Most SDKs accept the first.
    pub(crate) addresses: Vec<SocketAddr>,
    pub(crate) sockets: Vec<PathBuf>,
}

/// The maximum number of connections at the control socket. Only one user reaches it.
const MAX_CONTROL_CONNECTIONS: usize = 32;

#[derive(Debug)]
pub(crate) struct ImdsParts<L = BoundListener> {
    pub(crate) listeners: Vec<L>,
    /// The identity that every program gets.
    pub(crate) identity: IdentityName,
    /// True if requests without a session token (IMDSv1) are answered.
    pub(crate) allow_v1: bool,
    pub(crate) session_tokens: ImdsSessionTokens,
}

/// Listeners and their protocol, with a separate connection limit for each protocol. Programs without a token at the
/// IMDS server must not take the slots of clients with a token.
type BoundListeners<L> = (Vec<L>, Protocol);

#[derive(Debug)]
pub(crate) struct Daemon<L = BoundListener> {
    supervisor: Supervisor,
    watcher: Watcher,
    container: BoundListeners<L>,
    imds: Option<BoundListeners<L>>,
    control: Option<BoundListeners<L>>,
    registry: LeaseRegistry,
    max_connections: usize,
    stop: CancellationToken,
}

impl<L: Listener> Daemon<L> {
    /// Assembles the parts. Eager identities begin to load.
    pub(crate) fn new(parts: DaemonParts<L>, stop: CancellationToken) -> Self {
        let hosts = |listeners: &[L]| {
            let listening: Vec<_> = listeners.iter().filter_map(Listener::listening_on).collect();
            AllowedHosts::new(listening, parts.allowed_hosts.iter().cloned())
        };
        let clock = parts.context.clock.clone();
        let mfa_sessions = parts.context.mfa_sessions.clone();
        let (supervisor, registry) = Supervisor::new(parts.context, parts.generation, parts.log.audit_log());
        let leases = LeaseLookup { registry: registry.clone(), clock: clock.clone(), stopping: stop.clone() };
        let imds = parts.imds.map(|imds| {
            let server = ImdsServer {
                leases: leases.clone(),
                identity: imds.identity,
                hosts: hosts(&imds.listeners),
                session_tokens: imds.session_tokens,
                allow_v1: imds.allow_v1,
                long_lived_warning: Once::new(),
                log: parts.log.clone(),
            };
            (imds.listeners, Protocol::Imds(Arc::new(server)))
        });
        let control = parts.control.map(|control| {
            let server = ControlServer {
                leases: leases.clone(),
                started: clock.now(),
                clients: parts.clients.clone(),
                commands: control.commands,
                reloads: control.reloads,
                supervisor: control.supervisor,
                mfa_sessions,
                addresses: control.addresses,
                sockets: control.sockets,
                owner: rustix::process::geteuid().as_raw(),
                log: parts.log.clone(),
            };
            (vec![control.listener], Protocol::Control(Arc::new(server)))
        });
        let (hosts, started) = (hosts(&parts.listeners), clock.now());
        let state = RouteState { leases, clients: parts.clients, hosts, started, log: parts.log };
        Self {
            supervisor,
            watcher: parts.watcher,
            container: (parts.listeners, Protocol::Container(Routes::new(Arc::new(state)))),
            imds,
            control,
            registry,
            max_connections: parts.max_connections,
            stop,
        }
    }

    pub(crate) fn registry(&self) -> LeaseRegistry {
        self.registry.clone()
    }

    /// Serves until the daemon is stopped. Refreshers end first, then the requests in flight.
    ///
    /// # Errors
    /// If a refresher or a listener ended by itself.
    pub(crate) async fn run(self, commands: mpsc::Receiver<SupervisorCommand>) -> Result<(), ComponentEnded> {
        let Self { supervisor, watcher, container, imds, control, max_connections, stop, .. } = self;
        let supervise = async {
            let ended = supervisor.run(commands, stop.clone()).await;
            stop.cancel();
            ended
        };
        let watch = stop.run_until_cancelled(watcher.run());
        let serve = async |bound: Option<BoundListeners<L>>, max_connections| {
            let Some((listeners, protocol)) = bound else { return Ok(()) };
            let ended = connections::serve(listeners, protocol, max_connections, stop.clone()).await;
            stop.cancel();
            ended
        };
        let (supervised, container, imds, control, _) = tokio::join!(
            supervise,
            serve(Some(container), max_connections),
            serve(imds, max_connections),
            serve(control, MAX_CONTROL_CONNECTIONS),
            watch
        );
        supervised?;
        container?;
        imds?;
        Ok(control?)
    }
}

/// Returns the addresses of TCP listeners, in their order.
pub(crate) fn addresses(listeners: &[BoundListener]) -> Vec<SocketAddr> {
    listeners.iter().filter_map(Listener::listening_on).collect()
}
