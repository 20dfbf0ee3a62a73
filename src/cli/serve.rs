//! `credenza serve`: runs the daemon.

pub(crate) mod audit_log;
pub(crate) mod clients;
pub(crate) mod control;
pub(crate) mod reload;
pub(crate) mod service_status;

use std::io::{IsTerminal, Write};
use std::net::SocketAddr;
use std::path::PathBuf;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::cli::daemon_client::address::preferred_address;
use crate::cli::error::CommandError;
use crate::cli::exit_code;
use crate::cli::serve::clients::AuthToken;
use crate::cli::serve::reload::Reloader;
use crate::config::Config;
use crate::config::imds::ImdsConfig;
use crate::config::listen::{Listen, ListenAddress};
use crate::config::load::ConfigLoader;
use crate::config::server::ServerConfig;
use crate::context::Context;
use crate::daemon::{ControlParts, Daemon, DaemonParts, ImdsParts, addresses};
use crate::lease::supervisor::Generation;
use crate::model::text::{Escaped, Quoted};
use crate::os::environment::Environment;
use crate::os::files::watcher::Watcher;
use crate::os::rlimit::room;
use crate::os::signals;
use crate::os::signals::Signals;
use crate::os::systemd::{PassedSocket, ServiceManager};
use crate::server::answer_log::AnswerLog;
use crate::server::client_table::ClientTable;
use crate::server::imds::ALLOW_V1_NOTICE;
use crate::server::imds::session_tokens::ImdsSessionTokens;
use crate::server::listeners;
use crate::server::listeners::BoundListener;

#[derive(Debug)]
pub(crate) struct ServeInputs {
    pub(crate) context: Context,
    pub(crate) watcher: Watcher,
    pub(crate) loader: ConfigLoader,
    pub(crate) config: Config,
    pub(crate) manager: ServiceManager,
    /// The sockets of the service manager; empty without socket activation.
    pub(crate) sockets: Vec<PassedSocket>,
}

/// Serves until a signal ends the daemon.
///
/// # Errors
/// If the daemon cannot listen, has no safe path for its auth token, or a refresher ended unexpectedly.
pub(crate) async fn serve(inputs: ServeInputs) -> Result<(), CommandError> {
    let ServeInputs { context, watcher, loader, config, manager, sockets } = inputs;
    if let Some(warning) = &config.open_secrets {
        tracing::warn!("{warning}");
    }
    // Install the signal handlers first, so that a signal does not end the process in the middle of the start.
    let signals = Signals::listen(signals::DAEMON)
        .map_err(|error| CommandError::new(format!("cannot listen to signals: {error}")))?;
    let server = &config.server;
    let is_for_imds = |socket: &PassedSocket| {
        let PassedSocket::Tcp(socket) = socket else { return false };
        let address = socket.local_addr().ok();
        config.imds.as_ref().zip(address).is_some_and(|(imds, address)| imds.listen.contains(&address))
    };
    let (imds_sockets, sockets): (Vec<_>, Vec<_>) = sockets.into_iter().partition(is_for_imds);
    let (settings, auth_token) = clients::settings(&config, &context)?;
    let (imds_keys, session_tokens) = ImdsSessionTokens::following().map_err(CommandError::new)?;
    let (log, audit_thread) = audit_log::start(config.audit.as_ref(), &context)?.unzip();
    let log = AnswerLog::new(log);
    let (files, trust, clock) = (context.files.fresh(), context.trust.clone(), context.clock.clone());
    let opened = ClientTable::open(files, trust, clock, imds_keys, settings, log.clone()).await;
    let (table, clients) = opened.map_err(|error| CommandError::new(error).with_code(exit_code::BAD_CONFIGURATION))?;
    let listeners = listeners(sockets, server, &context.environment).await?;
    let named = config.server.control_socket.as_ref();
    let control = control::listen(named, server, auth_token.as_ref(), &context).await?;
    let imds_listeners = match &config.imds {
        Some(imds) => Some(imds_listeners(imds_sockets, imds).await?),
        None => None,
    };
    let bound = listen_addresses(&listeners);
    let imds_bound = imds_listeners.as_deref().map(addresses).unwrap_or_default();
    context.http_client.listening_on(&[addresses(&listeners), imds_bound.clone()].concat());
    let sockets: Vec<PathBuf> = bound.iter().filter_map(ListenAddress::unix).collect();
    let context = Context { own_sockets: sockets.as_slice().into(), ..context };
    let protocols = 1 + usize::from(imds_listeners.is_some());
    let imds = config.imds.as_ref().zip(imds_listeners).map(|(imds, listeners)| ImdsParts {
        listeners,
        identity: imds.identity.clone(),
        allow_v1: imds.allow_v1,
        session_tokens,
    });
    let (commands, receiver) = mpsc::channel(8);
    let (client_commands, client_receiver) = mpsc::channel(8);
    let (reloads, reload_receiver) = mpsc::channel(8);
    let control = control.map(|listener| ControlParts {
        listener,
        commands: client_commands.clone(),
        reloads,
        supervisor: commands.clone(),
        addresses: preferred_address(&addresses(&listeners)).into_iter().collect(),
        sockets,
    });
    let clock = context.clock.clone();
    let reload_context = context.clone();
    let stop = CancellationToken::new();
    let parts = DaemonParts {
        context,
        watcher,
        generation: Generation::of(&config),
        listeners,
        allowed_hosts: server.allowed_hosts.clone(),
        clients,
        max_connections: room::make_room(server.max_connections, protocols),
        imds,
        control,
        log: log.clone(),
    };
    let broker = Daemon::new(parts, stop.clone());
    for address in &bound {
        match address {
            ListenAddress::Tcp(_) => tracing::info!(%address, "listening on http://{address}"),
            ListenAddress::Unix(_) => tracing::info!(%address, "listening on {address}"),
        }
        if let Some(warning) = address.sdk_warning() {
            tracing::warn!("{warning}");
        }
    }
    if let Some(imds) = &config.imds {
        announce_imds(&imds_bound, imds);
    }
    announce(&bound, auth_token.as_ref());
    let reloader = Reloader {
        loader,
        context: reload_context,
        config,
        generation: 0,
        supervisor: commands.clone(),
        clients: client_commands,
        reloads: reload_receiver,
        manager,
        log,
    };
    let registry = broker.registry();
    let reporting = service_status::report(manager, broker.registry(), clock);
    let mut running = std::pin::pin!(broker.run(receiver));
    let served = tokio::select! {
        served = &mut running => served,
        () = reloader.run(signals, stop) => running.await,
        () = table.run(client_receiver, registry, commands) => running.await,
        () = reporting => running.await,
    };
    if let Some(thread) = audit_thread {
        thread.stop().await;
    }
    served.map_err(CommandError::new)?;
    tracing::info!("stopped");
    Ok(())
}

/// Returns the sockets of the service manager, else binds the configured addresses.
async fn listeners(
    sockets: Vec<PassedSocket>,
    server: &ServerConfig,
    environment: &Environment,
) -> Result<Vec<BoundListener>, CommandError> {
    let listen = server.listen.expanded(|path| environment.expand(path));
    if sockets.is_empty() {
        return listeners::bind(&listen, server.allow_remote).await.map_err(CommandError::new);
    }
    let adopted = listeners::adopt(sockets, server.allow_remote).map_err(CommandError::new)?;
    let handed_over = listen_addresses(&adopted);
    if let Listen::Addresses(configured) = &listen
        && *configured != handed_over
    {
        tracing::warn!(
            configured = texts(configured),
            handed_over = texts(&handed_over),
            "the service manager passes the sockets, so the daemon uses their addresses and not the configured ones"
        );
    }
    Ok(adopted)
}

fn listen_addresses(listeners: &[BoundListener]) -> Vec<ListenAddress> {
    listeners.iter().filter_map(BoundListener::listen_address).collect()
}

fn texts(addresses: &[ListenAddress]) -> String {
    addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// Returns the sockets of the service manager for the IMDS server, else binds the configured addresses.
async fn imds_listeners(sockets: Vec<PassedSocket>, imds: &ImdsConfig) -> Result<Vec<BoundListener>, CommandError> {
    let listeners = if sockets.is_empty() {
        let addresses = imds.listen.iter().copied().map(ListenAddress::Tcp).collect();
        listeners::bind(&Listen::Addresses(addresses), false).await
    } else {
        listeners::adopt(sockets, false)
    };
    listeners.map_err(CommandError::new)
}

/// Logs that the daemon is ready. A terminal also gets the variables for its shell, or a command for a Unix socket, unless
/// clients have tokens of their own.
fn announce(bound: &[ListenAddress], auth_token: Option<&AuthToken>) {
    let file = auth_token.and_then(|token| token.file.as_ref()).map(|file| file.path.as_path());
    tracing::info!(token_file = file.map(|path| Escaped(&path.to_string_lossy()).to_string()), "ready to answer");
    if auth_token.is_none() || !std::io::stdout().is_terminal() {
        return;
    }
    let addresses: Vec<_> = bound.iter().filter_map(ListenAddress::tcp).collect();
    let text = match (preferred_address(&addresses), bound.first()) {
        (Some(address), _) => {
            let token = match file {
                Some(path) => format!("TOKEN_FILE={}", Quoted(&path.to_string_lossy())),
                None => "TOKEN=…   # the given token".to_owned(),
            };
            format!(
                "export AWS_CONTAINER_CREDENTIALS_FULL_URI=http://{address}/credentials\n\
                 export AWS_CONTAINER_AUTHORIZATION_{token}"
            )
        }
        (None, Some(socket)) => format!(
            "credenza get --from-daemon --listen {}   # SDKs need an address with a port: --listen",
            Quoted(&socket.to_string())
        ),
        (None, None) => return,
    };
    // Ignore errors: `println!` would panic if the terminal is gone.
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// Logs the addresses of the IMDS server, and which programs it serves.
fn announce_imds(bound: &[SocketAddr], imds: &ImdsConfig) {
    for address in bound {
        tracing::info!(%address, "imds listening on http://{address}");
    }
    tracing::info!(identity = %imds.identity, "every program that reaches the IMDS server may get this identity");
    if imds.allow_v1 {
        tracing::warn!("{ALLOW_V1_NOTICE}");
    }
    if let Some(address) = bound.first().filter(|_| std::io::stdout().is_terminal()) {
        let _ = writeln!(
            std::io::stdout(),
            "export AWS_EC2_METADATA_SERVICE_ENDPOINT=http://{address}/   # for programs without support for the container endpoint"
        );
    }
}
