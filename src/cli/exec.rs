//! `credenza exec`: runs one program with its own broker.

pub(crate) mod child;
pub(crate) mod files;
pub(crate) mod folder;
pub(crate) mod from_daemon;

use std::ffi::OsString;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::cli::child_environment::{ActiveIdentity, ChildSettings, ChildToken, changes};
use crate::cli::error::CommandError;
use crate::cli::exec::child::run;
use crate::cli::exec::files::WrittenFiles;
use crate::cli::exec::folder::PrivateFolder;
use crate::cli::region_endpoint;
use crate::cli::region_endpoint::RegionEndpoint;
use crate::config::identity::Identity;
use crate::config::listen::Listen;
use crate::context::Context;
use crate::daemon::{Daemon, DaemonParts, addresses};
use crate::lease::Lease;
use crate::lease::handle::{LeaseHandle, WakeReason};
use crate::lease::key::LeaseKey;
use crate::lease::registry::LeaseRegistry;
use crate::lease::state::{LeaseError, RefreshState};
use crate::lease::supervisor::Generation;
use crate::model::credentials::SessionDetails;
use crate::model::identity_name::IdentityName;
use crate::os::files::Files;
use crate::os::files::watcher::Watcher;
use crate::os::signals;
use crate::os::signals::Signals;
use crate::server::answer_log::AnswerLog;
use crate::server::auth_token::AuthTokenFile;
use crate::server::clients::{AllowedIdentities, Client, Clients};
use crate::server::listeners;
use crate::source::spec::{SourceKind, SourceSpec};

/// The connection limit for one program and its children: the default of the daemon.
const MAX_CONNECTIONS: usize = 512;

/// The limits of a session that GetFederationToken has given.
const FEDERATED_NOTICE: &str = "the keys of an IAM user are narrowed by GetFederationToken: the command may call neither IAM nor STS, except \
     GetCallerIdentity, so that tools that assume roles fail. Use a role if the command needs them";

/// Runs the command until it ends and returns its exit code.
///
/// # Errors
/// If the identity has no credentials, or the broker cannot start. The command does not start then.
pub(crate) async fn exec(
    mut context: Context,
    watcher: Watcher,
    mut identity: Identity,
    keeps_profiles: bool,
    command: &[OsString],
) -> Result<u8, CommandError> {
    identity.eager = true;
    let parent = context.environment;
    context.environment = region_endpoint::without_own_variables(&parent);
    let listen = Listen::Addresses(vec![SocketAddr::from(([127, 0, 0, 1], 0)).into()]);
    let listeners = listeners::bind(&listen, false).await.map_err(CommandError::new)?;
    let uri = addresses(&listeners).first().map(|address| format!("http://{address}/credentials")).unwrap_or_default();
    context.http_client.listening_on(&addresses(&listeners));
    let folder = PrivateFolder::create(&context)
        .map_err(|error| CommandError::new(format!("cannot create a folder for the auth token: {error}")))?;
    let token_file = AuthTokenFile { path: folder.path().join("token"), group: None };
    let token = token_file.keep_or_make().map_err(CommandError::new)?;
    let client = Client::new("exec".into(), AllowedIdentities::Only(identity.name.clone()));
    let sources = identity.sources.clone();
    let until = identity.narrowing.as_ref().and_then(|narrowing| narrowing.until);
    let key = LeaseKey::Identity(identity.name.clone());
    let parts = DaemonParts {
        context: context.clone(),
        watcher,
        generation: Generation {
            number: 0,
            identities: [(identity.name.clone(), identity)].into(),
            profiles: None,
            has_clients: false,
            notify: None,
        },
        listeners,
        allowed_hosts: Vec::new(),
        clients: Clients::fixed([(token.clone(), client)]),
        max_connections: MAX_CONNECTIONS,
        imds: None,
        control: None,
        log: AnswerLog::default(),
    };
    let stop = CancellationToken::new();
    let broker = Daemon::new(parts, stop.clone());
    let registry = broker.registry();
    let (_orders, receiver) = mpsc::channel(1);
    let serving = broker.run(receiver);
    // Listen before the child starts, so that no signal is lost.
    let mut signals = Signals::listen(signals::WRAPPER)
        .map_err(|error| CommandError::new(format!("cannot listen to signals: {error}")))?;
    let running = async {
        let result = async {
            let (lease, region) = match signals.unless_ended(first_lease(&registry, &key)).await {
                Ok(first) => first?,
                // A signal arrived before the command started. The programs of sources end with the broker.
                Err(signal) => return Ok(signals::exit_code(signal)),
            };
            if let Some(warning) = context.mfa.unused_code() {
                tracing::warn!("{warning}");
            }
            let is_federated = |session: &SessionDetails| !session.is_of_role && session.session_name.is_some();
            if lease.session.as_deref().is_some_and(is_federated) {
                tracing::warn!("{FEDERATED_NOTICE}");
            }
            let region_endpoint =
                RegionEndpoint { region: region.as_deref(), endpoint: lease.endpoint.as_deref(), disables_imds: true };
            let files = WrittenFiles::write(&folder, &sources, region_endpoint, keeps_profiles, &context).await?;
            let region_endpoint = region_endpoint.or_environment(&parent, &lease.source, &lease.access_key_id);
            let name = shown_name(key.identity(), &sources);
            let active = ActiveIdentity { name: &name, expiration: lease.expiration.into_iter().chain(until).min() };
            let child_settings = ChildSettings {
                uri: &uri,
                token: Some(ChildToken { text: &token, file: &token_file.path }),
                files: &files,
                region_endpoint: files.for_variables(region_endpoint),
                active: &active.to_string(),
            };
            run(&context, changes(&parent, &child_settings), command, signals).await
        };
        let result = result.await;
        stop.cancel();
        result
    };
    let (served, result) = tokio::join!(serving, running);
    served.map_err(CommandError::new)?;
    result
}

/// Returns a context and a watcher for another try, after the first has ended without a lease. A broker watches files and
/// knows its listeners once.
pub(crate) fn again(context: &Context) -> (Context, Watcher) {
    let (files, watcher) = Files::watched();
    let fresh = Context::new(context.environment.clone(), files.with_fifos());
    let Context { mfa, mfa_sessions, terminal, trust, .. } = context.clone();
    (Context { mfa, mfa_sessions, terminal, trust, ..fresh }, watcher)
}

/// Waits until the first load ends.
///
/// # Errors
/// If the load gives no lease.
async fn first_lease(registry: &LeaseRegistry, key: &LeaseKey) -> Result<(Arc<Lease>, Option<Box<str>>), CommandError> {
    let broker_ended = || CommandError::new("the broker of this command has ended; run the command again");
    let mut handle = registry.lookup(key).ok_or_else(broker_ended)?;
    let lease = loop {
        let published = handle.latest();
        match (&published.lease, &published.error, published.refresh) {
            (Some(lease), None, RefreshState::Waiting { .. }) => break Arc::clone(lease),
            (_, Some(LeaseError::NotConfigured), _) => {
                return Err(CommandError::not_configured(key.identity(), &published.attempts));
            }
            (_, Some(LeaseError::Failed { source, error, .. }), _) => {
                return Err(CommandError::source_failed(key.identity(), source, error.clone()));
            }
            _ => handle.changed().await.map_err(|_| broker_ended())?,
        }
    };
    Ok((lease, wait_for_region(handle).await))
}

async fn wait_for_region(mut handle: LeaseHandle) -> Option<Box<str>> {
    handle.wake(WakeReason::RegionWanted);
    loop {
        if let Some(region) = &handle.latest().region {
            return region.clone();
        }
        handle.changed().await.ok()?;
    }
}

/// Returns the name of an identity for prompts. `--profile` replaces the sources of the identity `default`, and its user knows
/// the name of the profile.
fn shown_name(identity: &IdentityName, sources: &[SourceSpec]) -> IdentityName {
    match sources {
        [SourceSpec { kind: SourceKind::Profile { name: Some(profile), .. }, .. }, ..]
            if identity.as_str() == IdentityName::DEFAULT =>
        {
            IdentityName::new(&**profile)
        }
        _ => identity.clone(),
    }
}
