//! `credenza serve`: runs the daemon.

pub(crate) mod service_status;

use std::io::{IsTerminal, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use signal_hook::consts::SIGHUP;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::cli::daemon_client::address::preferred_address;
use crate::cli::error::CommandError;
use crate::cli::exit_code;
use crate::config::Config;
use crate::config::imds::ImdsConfig;
use crate::config::listen::{Listen, ListenAddress};
use crate::config::load;
use crate::config::load::{ConfigLoader, LoadError};
use crate::config::server::{AuthTokenConfig, ServerConfig};
use crate::config::value;
use crate::context::Context;
use crate::daemon::{Daemon, DaemonParts, ImdsParts, addresses};
use crate::lease::supervisor::{Generation, SupervisorCommand};
use crate::model::secret::Secret;
use crate::model::text::{Escaped, Quoted};
use crate::os::environment::Environment;
use crate::os::files::watcher::Watcher;
use crate::os::rlimit::room;
use crate::os::signals;
use crate::os::signals::Signals;
use crate::os::systemd::{PassedSocket, ServiceManager};
use crate::server::access::Client;
use crate::server::auth_token;
use crate::server::auth_token::AuthTokenFile;
use crate::server::auth_token::error::AuthTokenError;
use crate::server::imds::ALLOW_V1_NOTICE;
use crate::server::imds::session_tokens::ImdsSessionTokens;
use crate::server::listeners;
use crate::server::listeners::BoundListener;
use crate::source::spec::TextSource;

/// The pause before an unreadable configuration is read again. No event reports, for example, a free file descriptor.
const RETRY_INTERVAL: Duration = Duration::from_secs(10);

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
    let listeners = listeners(sockets, server, &context.environment).await?;
    let imds_listeners = match &config.imds {
        Some(imds) => Some(imds_listeners(imds_sockets, imds).await?),
        None => None,
    };
    let bound = listen_addresses(&listeners);
    let imds_bound = imds_listeners.as_deref().map(addresses).unwrap_or_default();
    context.http_client.listening_on(&[addresses(&listeners), imds_bound.clone()].concat());
    let protocols = 1 + usize::from(imds_listeners.is_some());
    let (token, file) = token(&config, &context)?;
    let imds = config.imds.as_ref().zip(imds_listeners).map(|(imds, listeners)| ImdsParts {
        listeners,
        identity: imds.identity.clone(),
        allow_v1: imds.allow_v1,
        session_tokens: ImdsSessionTokens::signed_with(&token),
    });
    let clock = context.clock.clone();
    let stop = CancellationToken::new();
    let parts = DaemonParts {
        context,
        watcher,
        generation: Generation::of(&config),
        listeners,
        allowed_hosts: server.allowed_hosts.clone(),
        clients: vec![(token, Client { name: "everybody".into(), identities: None })],
        max_connections: room::make_room(server.max_connections, protocols),
        imds,
    };
    let broker = Daemon::new(parts, stop.clone());
    for address in &bound {
        match address {
            ListenAddress::Tcp(_) => tracing::info!(%address, "listening on http://{address}"),
            ListenAddress::Unix(_) => tracing::info!(%address, "listening on {address}"),
        }
    }
    if let Some(imds) = &config.imds {
        announce_imds(&imds_bound, imds);
    }
    announce(&bound, file.as_ref().map(|file| file.path.as_path()));
    let (commands, receiver) = mpsc::channel(8);
    let reporting = service_status::report(manager, broker.registry(), clock);
    let mut running = std::pin::pin!(broker.run(receiver));
    let served = tokio::select! {
        served = &mut running => served,
        () = reload_on_change(signals, loader, config, commands, stop, manager) => running.await,
        () = reporting => running.await,
    };
    served.map_err(CommandError::new)?;
    tracing::info!("stopped");
    Ok(())
}

/// Turns signals and changes of the configuration into commands for the supervisor.
async fn reload_on_change(
    mut signals: Signals,
    loader: ConfigLoader,
    mut config: Config,
    commands: mpsc::Sender<SupervisorCommand>,
    stop: CancellationToken,
    manager: ServiceManager,
) {
    let mut unreadable: Option<String> = None;
    loop {
        let is_sighup = tokio::select! {
            arrived = signals.next() => {
                if arrived.signal != SIGHUP {
                    tracing::info!(signal = arrived.signal, "stopping; a second signal ends the daemon at once");
                    manager.stopping();
                    stop.cancel();
                    signals.next().await;
                    std::process::exit(exit_code::SECOND_SIGNAL);
                }
                true
            }
            () = loader.changed() => false,
            () = tokio::time::sleep(RETRY_INTERVAL), if unreadable.is_some() => false,
        };
        manager.reloading();
        let command = match loader.load_for_daemon().await {
            Ok(new) => {
                unreadable = None;
                if new.server != config.server || new.imds != config.imds || new.trusted_files != config.trusted_files {
                    tracing::warn!("[server], [imds] or [files] has changed: restart the daemon to apply it");
                }
                tracing::info!(identities = new.identities.len(), "configuration loaded");
                let command = SupervisorCommand::Replace(Generation::of(&new));
                config =
                    Config { server: config.server, imds: config.imds, trusted_files: config.trusted_files, ..new };
                command
            }
            Err(error) => {
                let message = error.to_string();
                if unreadable.as_ref() != Some(&message) || is_sighup {
                    tracing::error!("the new configuration has an error, and the earlier one stays in use: {message}");
                }
                unreadable = matches!(error, LoadError::File(_)).then(|| message.clone());
                SupervisorCommand::Refused(message.into())
            }
        };
        let reload = is_sighup.then_some(SupervisorCommand::Reload);
        for command in std::iter::once(command).chain(reload) {
            if commands.send(command).await.is_err() {
                return;
            }
        }
        manager.ready();
    }
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

/// Returns the auth token, and its file if there is one.
fn token(config: &Config, context: &Context) -> Result<(Secret, Option<AuthTokenFile>), CommandError> {
    let group = load::resolve_accounts(config).map_err(CommandError::new)?.token_group;
    match &config.server.token {
        AuthTokenConfig::Given(TextSource::Literal(given)) => {
            Ok((value::auth_token(given.expose()).map_err(CommandError::new)?, None))
        }
        AuthTokenConfig::Given(TextSource::File(path)) => {
            let file = AuthTokenFile { path: context.environment.expand(path), group: None };
            Ok((file.read_given().map_err(CommandError::new)?, Some(file)))
        }
        AuthTokenConfig::Kept(Some(path)) => {
            let file = AuthTokenFile { path: context.environment.expand(path), group };
            let with_hint = |error: AuthTokenError| match error {
                AuthTokenError::OpenFolder { .. } => CommandError::new(error),
                _ => CommandError::new(format!("{error}; set another path with --token-file")),
            };
            Ok((file.keep_or_make().map_err(with_hint)?, Some(file)))
        }
        AuthTokenConfig::Kept(None) => {
            let paths = auth_token::default_places(&context.environment, &context.trust);
            let (token, file) = auth_token::at_first_of(&paths, group).map_err(CommandError::new)?;
            Ok((token, Some(file)))
        }
    }
}

/// Logs that the daemon is ready. A terminal also gets the variables for its shell, or a command for a Unix socket.
fn announce(bound: &[ListenAddress], token_file: Option<&Path>) {
    tracing::info!(token_file = token_file.map(|path| Escaped(&path.to_string_lossy()).to_string()), "ready to answer");
    if !std::io::stdout().is_terminal() {
        return;
    }
    let addresses: Vec<_> = bound.iter().filter_map(ListenAddress::tcp).collect();
    let text = match (preferred_address(&addresses), bound.first()) {
        (Some(address), _) => {
            let token = match token_file {
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
