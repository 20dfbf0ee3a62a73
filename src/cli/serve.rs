//! `credenza serve`: the daemon.

pub(crate) mod service_status;

use std::io::IsTerminal;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use signal_hook::consts::SIGHUP;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::cli::command::CommandError;
use crate::cli::daemon_client::preferred;
use crate::config::Config;
use crate::config::imds::ImdsConfig;
use crate::config::listen::Listen;
use crate::config::load;
use crate::config::load::{ConfigLoader, LoadError};
use crate::config::server::{AuthTokenConfig, ServerConfig};
use crate::config::value;
use crate::context::Context;
use crate::daemon::{Daemon, DaemonParts, ImdsParts, addresses};
use crate::lease::supervisor::{Generation, SupervisorCommand};
use crate::model::secret::Secret;
use crate::os::files::watcher::Watcher;
use crate::os::rlimit::room;
use crate::os::signals;
use crate::os::signals::Signals;
use crate::os::systemd::ServiceManager;
use crate::server::access::Client;
use crate::server::auth_token;
use crate::server::auth_token::AuthTokenFile;
use crate::server::auth_token::error::AuthTokenError;
use crate::server::imds::ALLOW_V1_NOTICE;
use crate::server::imds::session_tokens::ImdsSessionTokens;
use crate::server::listeners;
use crate::source::spec::TextSource;

/// The exit code when a second signal asks for the end.
const SECOND_SIGNAL: i32 = 1;

/// A configuration that could not be read is tried again so often: no event tells when a descriptor is free again.
const UNREADABLE: Duration = Duration::from_secs(10);

/// What a daemon starts with.
#[derive(Debug)]
pub(crate) struct ServeInputs {
    /// What its sources reach.
    pub(crate) context: Context,
    /// Who tells them about changed files.
    pub(crate) watcher: Watcher,
    /// Where the configuration comes from.
    pub(crate) loader: ConfigLoader,
    /// What it said at the start.
    pub(crate) config: Config,
    /// Who started it.
    pub(crate) manager: ServiceManager,
    /// Where it listens, when that one holds the sockets.
    pub(crate) sockets: Vec<std::net::TcpListener>,
}

/// Serves until a signal ends it.
///
/// # Errors
/// When it cannot listen, has no safe place for its token, or a keeper ended by itself.
pub(crate) async fn serve(start: ServeInputs) -> Result<(), CommandError> {
    let ServeInputs { context, watcher, loader, config, manager, sockets } = start;
    // Before anything can be interrupted half-way.
    let signals = Signals::listen(signals::DAEMON)
        .map_err(|error| CommandError::because(format!("cannot listen to signals: {error}")))?;
    let server = &config.server;
    let is_metadata = |socket: &std::net::TcpListener| {
        let address = socket.local_addr().ok();
        config.imds.as_ref().zip(address).is_some_and(|(imds, address)| imds.listen.contains(&address))
    };
    let (for_metadata, sockets): (Vec<_>, Vec<_>) = sockets.into_iter().partition(is_metadata);
    let listeners = listeners(sockets, server).await?;
    let metadata = match &config.imds {
        Some(imds) => Some(metadata(for_metadata, imds).await?),
        None => None,
    };
    let bound = addresses(&listeners);
    let metadata_bound = metadata.as_ref().map(|metadata| addresses(&metadata.listeners)).unwrap_or_default();
    context.http_client.listening_on(&[&bound[..], &metadata_bound].concat());
    let protocols = 1 + usize::from(metadata.is_some());
    let (token, file) = token(&config, &context)?;
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
        imds: metadata,
    };
    let broker = Daemon::new(parts, stop.clone());
    for address in &bound {
        tracing::info!(%address, "listening on http://{address}");
    }
    if let Some(imds) = &config.imds {
        announce_metadata(&metadata_bound, imds);
    }
    announce(&bound, file.as_ref().map(|file| file.path.as_path()));
    let (orders, receiver) = mpsc::channel(8);
    let reporting = service_status::report(manager, broker.registry(), clock);
    let mut running = std::pin::pin!(broker.run(receiver));
    let served = tokio::select! {
        served = &mut running => served,
        () = steer(signals, loader, config, orders, stop, manager) => running.await,
        () = reporting => running.await,
    };
    served.map_err(CommandError::because)?;
    tracing::info!("stopped");
    Ok(())
}

/// Turns signals and a changed configuration into orders.
async fn steer(
    mut signals: Signals,
    loader: ConfigLoader,
    mut config: Config,
    orders: mpsc::Sender<SupervisorCommand>,
    stop: CancellationToken,
    manager: ServiceManager,
) {
    let mut unreadable: Option<String> = None;
    loop {
        let hang_up = tokio::select! {
            arrived = signals.next() => {
                if arrived.signal != SIGHUP {
                    tracing::info!(signal = arrived.signal, "stopping; a second signal ends it at once");
                    manager.stopping();
                    stop.cancel();
                    signals.next().await;
                    std::process::exit(SECOND_SIGNAL);
                }
                true
            }
            () = loader.changed() => false,
            () = tokio::time::sleep(UNREADABLE), if unreadable.is_some() => false,
        };
        manager.reloading();
        let order = match loader.load_for_daemon().await {
            Ok(new) => {
                unreadable = None;
                if new.server != config.server || new.imds != config.imds || new.trusted_owners != config.trusted_owners
                {
                    tracing::warn!("[server], [imds] or [files] has changed: that takes effect at the next start");
                }
                tracing::info!(identities = new.identities.len(), "configuration loaded");
                let order = SupervisorCommand::Replace(Generation::of(&new));
                config =
                    Config { server: config.server, imds: config.imds, trusted_owners: config.trusted_owners, ..new };
                order
            }
            Err(error) => {
                let message = error.to_string();
                if unreadable.as_ref() != Some(&message) || hang_up {
                    tracing::error!("the configuration is refused, the one before stays in force: {message}");
                }
                unreadable = matches!(error, LoadError::File(_)).then(|| message.clone());
                SupervisorCommand::Refused(message.into())
            }
        };
        let reload = hang_up.then_some(SupervisorCommand::Reload);
        for order in std::iter::once(order).chain(reload) {
            if orders.send(order).await.is_err() {
                return;
            }
        }
        manager.ready();
    }
}

/// The sockets that were handed over, or else those that the configuration asks for.
async fn listeners(
    sockets: Vec<std::net::TcpListener>,
    server: &ServerConfig,
) -> Result<Vec<TcpListener>, CommandError> {
    if sockets.is_empty() {
        return listeners::bind(&server.listen, server.allow_remote).await.map_err(CommandError::because);
    }
    let adopted = listeners::adopt(sockets, server.allow_remote).map_err(CommandError::because)?;
    if let Listen::Addresses(configured) = &server.listen
        && *configured != addresses(&adopted)
    {
        tracing::warn!(
            configured = ?configured, handed_over = ?addresses(&adopted),
            "the service manager holds the sockets: its addresses count, not those that are configured"
        );
    }
    Ok(adopted)
}

/// The metadata service: at the sockets that were handed over for it, or where the configuration says.
async fn metadata(sockets: Vec<std::net::TcpListener>, imds: &ImdsConfig) -> Result<ImdsParts, CommandError> {
    let listeners = if sockets.is_empty() {
        listeners::bind(&Listen::Addresses(imds.listen.clone()), false).await
    } else {
        listeners::adopt(sockets, false)
    };
    let sessions =
        ImdsSessionTokens::new().map_err(|_| CommandError::because("this machine has no randomness for a key"))?;
    Ok(ImdsParts {
        listeners: listeners.map_err(CommandError::because)?,
        identity: imds.identity.clone(),
        allow_v1: imds.allow_v1,
        session_tokens: sessions,
    })
}

/// The token, and the file that holds it where one does.
fn token(config: &Config, context: &Context) -> Result<(Secret, Option<AuthTokenFile>), CommandError> {
    let group = load::resolve(config).map_err(CommandError::because)?.token_group;
    match &config.server.token {
        AuthTokenConfig::Given(TextSource::Literal(given)) => {
            Ok((value::auth_token(given.expose()).map_err(CommandError::because)?, None))
        }
        AuthTokenConfig::Given(TextSource::File(path)) => {
            let file = AuthTokenFile { path: context.environment.expand(path), group: None };
            Ok((file.read().map_err(CommandError::because)?, Some(file)))
        }
        AuthTokenConfig::Kept(Some(path)) => {
            let file = AuthTokenFile { path: context.environment.expand(path), group };
            let elsewhere = |error: AuthTokenError| match error {
                AuthTokenError::OpenFolder { .. } => CommandError::because(error),
                _ => CommandError::because(format!("{error}; --token-file names another place")),
            };
            Ok((file.keep_or_make().map_err(elsewhere)?, Some(file)))
        }
        AuthTokenConfig::Kept(None) => {
            let places = auth_token::default_places(&context.environment, context.uid() == 0);
            let (token, file) = auth_token::at_first_of(&places, group).map_err(CommandError::because)?;
            Ok((token, Some(file)))
        }
    }
}

/// Says that it is ready; to a person also what to set.
#[allow(clippy::print_stdout, reason = "for eval and for people")]
fn announce(bound: &[SocketAddr], token_file: Option<&Path>) {
    let Some(address) = preferred(bound) else { return };
    tracing::info!(token_file = token_file.map(|path| path.display().to_string()), "ready to answer");
    if std::io::stdout().is_terminal() {
        println!("export AWS_CONTAINER_CREDENTIALS_FULL_URI=http://{address}/credentials");
        match token_file {
            Some(path) => println!("export AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE={}", path.display()),
            None => println!("export AWS_CONTAINER_AUTHORIZATION_TOKEN=…   # the token you gave"),
        }
    }
}

/// Says where the metadata service listens, and what that means.
#[allow(clippy::print_stdout, reason = "for eval and for people")]
fn announce_metadata(bound: &[SocketAddr], imds: &ImdsConfig) {
    for address in bound {
        tracing::info!(%address, "imds listening on http://{address}");
    }
    tracing::info!(identity = %imds.identity, "every program that reaches the metadata service may have this identity");
    if imds.allow_v1 {
        tracing::warn!("{ALLOW_V1_NOTICE}");
    }
    if let Some(address) = bound.first().filter(|_| std::io::stdout().is_terminal()) {
        println!(
            "export AWS_EC2_METADATA_SERVICE_ENDPOINT=http://{address}/   # for programs that know no container endpoint"
        );
    }
}
