//! `credenza exec`: runs one program against a broker of its own.

pub(crate) mod folder;

use std::ffi::OsString;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::sync::Arc;

use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::cli::child_environment::{ChildSettings, EnvironmentChanges, changes};
use crate::cli::command::CommandError;
use crate::cli::exec::folder::PrivateFolder;
use crate::cli::store_variables;
use crate::cli::store_variables::StoreVariables;
use crate::config::identity::Identity;
use crate::config::listen::Listen;
use crate::context::Context;
use crate::daemon::{Daemon, DaemonParts, addresses};
use crate::lease::Lease;
use crate::lease::registry::{LeaseError, LeaseHandle, LeaseKey, LeaseRegistry, RefreshState, WakeReason};
use crate::lease::supervisor::Generation;
use crate::os::files::watcher::Watcher;
use crate::os::signals;
use crate::os::signals::Signals;
use crate::server::access::Client;
use crate::server::auth_token::AuthTokenFile;
use crate::server::listeners;
use crate::source::profile::settings;

/// Connections of one program and its children at a time.
const MAX_CONNECTIONS: usize = 512;

/// The exit code when the program was found and could not be started (as in a shell).
const CANNOT_EXECUTE: u8 = 126;

/// The exit code when there is no such program (as in a shell).
const NOT_FOUND: u8 = 127;

/// Runs the command until it ends; the exit code is the command's.
///
/// # Errors
/// When there are no credentials, or the broker cannot be set up. The command has not been started then.
pub(crate) async fn exec(
    mut context: Context,
    watcher: Watcher,
    mut identity: Identity,
    command: &[OsString],
) -> Result<u8, CommandError> {
    identity.eager = true;
    let parent = context.environment;
    context.environment = store_variables::forgotten(&parent);
    let listen = Listen::Addresses(vec![([127, 0, 0, 1], 0).into()]);
    let listeners = listeners::bind(&listen, false).await.map_err(CommandError::because)?;
    let uri = addresses(&listeners).first().map(|address| format!("http://{address}/credentials")).unwrap_or_default();
    context.http_client.listening_on(&addresses(&listeners));
    let folder = PrivateFolder::make(&context)
        .map_err(|error| CommandError::because(format!("cannot make a folder for the token: {error}")))?;
    let token_file = AuthTokenFile { path: folder.path().join("token"), group: None };
    let token = token_file.keep_or_make().map_err(CommandError::because)?;
    let client = Client { name: "exec".into(), identities: Some(vec![identity.name.clone()]) };
    let settings = settings(&identity.sources, &context).await.map_err(CommandError::because)?;
    let key = LeaseKey::Identity(identity.name.clone());
    let parts = DaemonParts {
        context: context.clone(),
        watcher,
        generation: Generation { identities: [(identity.name.clone(), identity)].into(), profiles: None },
        listeners,
        allowed_hosts: Vec::new(),
        clients: vec![(token.clone(), client)],
        max_connections: MAX_CONNECTIONS,
        imds: None,
    };
    let stop = CancellationToken::new();
    let broker = Daemon::new(parts, stop.clone());
    let registry = broker.registry();
    let (_orders, receiver) = mpsc::channel(1);
    let serving = broker.run(receiver);
    // Before the child is there, so that no signal is lost between the two.
    let mut signals = Signals::listen(signals::WRAPPER)
        .map_err(|error| CommandError::because(format!("cannot listen to signals: {error}")))?;
    let running = async {
        let ended = async {
            let (lease, region) = match signals.unless_ended(first_lease(&registry, &key)).await {
                Ok(first) => first?,
                // Nothing has been started, and what sources started ends with the broker.
                Err(signal) => return Ok(signals::exit_code(signal)),
            };
            let config_file = folder.write("config", &settings).map_err(CommandError::because)?;
            let credentials_file = folder.write("credentials", "").map_err(CommandError::because)?;
            let place = StoreVariables { region: region.as_deref(), endpoint: lease.endpoint.as_deref() };
            let lent = ChildSettings {
                uri: &uri,
                token: &token,
                token_file: &token_file.path,
                config_file: &config_file,
                credentials_file: &credentials_file,
                place: place.of_those(&parent, &lease.source, &lease.access_key_id),
            };
            run(&context, changes(&parent, &lent), command, signals).await
        };
        let ended = ended.await;
        stop.cancel();
        ended
    };
    let (served, ended) = tokio::join!(serving, running);
    served.map_err(CommandError::because)?;
    ended
}

/// Waits for the first load to end; without a lease the command is not started.
async fn first_lease(registry: &LeaseRegistry, key: &LeaseKey) -> Result<(Arc<Lease>, Option<Box<str>>), CommandError> {
    let gone = || CommandError::because("the broker has ended");
    let mut handle = registry.lookup(key).ok_or_else(gone)?;
    let lease = loop {
        let published = handle.latest();
        match (&published.lease, &published.error, published.refresh) {
            (Some(lease), None, RefreshState::Waiting { .. }) => break Arc::clone(lease),
            (_, Some(LeaseError::NotConfigured), _) => {
                return Err(CommandError::nothing_configured(key.identity(), &published.attempts));
            }
            (_, Some(LeaseError::Failed { source, error: failure, .. }), _) => {
                return Err(CommandError::failing(key.identity(), source, failure));
            }
            _ => handle.changed().await.map_err(|_| gone())?,
        }
    };
    Ok((lease, region(handle).await))
}

async fn region(mut handle: LeaseHandle) -> Option<Box<str>> {
    handle.wake(WakeReason::RegionWanted);
    loop {
        if let Some(region) = &handle.latest().region {
            return region.clone();
        }
        handle.changed().await.ok()?;
    }
}

async fn run(
    context: &Context,
    changes: EnvironmentChanges,
    command: &[OsString],
    mut signals: Signals,
) -> Result<u8, CommandError> {
    let Some((program, arguments)) = command.split_first() else {
        return Err(CommandError::because("there is no command to run"));
    };
    let mut spawned = Command::new(program);
    spawned.args(arguments);
    for (name, value) in changes {
        match value {
            Some(value) => spawned.env(name, value),
            None => spawned.env_remove(name),
        };
    }
    // From here on it is the child's.
    context.terminal.hand_over();
    let mut child = match context.open_file_limit.start_limited(|| spawned.spawn()) {
        Ok(child) => child,
        Err(error) => {
            tracing::error!(program = %program.to_string_lossy().escape_debug(), %error, "cannot run this program");
            return Ok(if error.kind() == io::ErrorKind::NotFound { NOT_FOUND } else { CANNOT_EXECUTE });
        }
    };
    loop {
        tokio::select! {
            status = child.wait() => {
                let status = status.map_err(|error| CommandError::because(format!("cannot wait for the program: {error}")))?;
                return Ok(code(status));
            }
            arrived = signals.next() => if !arrived.by_terminal {
                pass_on(&child, arrived.signal);
            },
        }
    }
}

/// What the terminal sends it sends to the child as well; everything else came to us alone.
fn pass_on(child: &Child, signal: i32) {
    let process = child.id().and_then(|id| i32::try_from(id).ok()).and_then(rustix::process::Pid::from_raw);
    if let (Some(process), Some(signal)) = (process, rustix::process::Signal::from_named_raw(signal)) {
        let _ = rustix::process::kill_process(process, signal);
    }
}

/// As a shell reports it: the code, or 128 and the signal.
fn code(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(1);
    u8::try_from(code).unwrap_or(u8::MAX)
}
