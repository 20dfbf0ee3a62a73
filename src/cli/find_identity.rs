//! Finds the identity that a command names, and says where a name is that is not here.

use std::time::Duration;

use crate::cli::daemon_client::DaemonClient;
use crate::cli::error::CommandError;
use crate::config::Config;
use crate::config::identity::Identity;
use crate::context::Context;
use crate::model::identity_name::IdentityName;
use crate::model::nearest::did_you_mean;
use crate::model::text::{Escaped, Quoted};
use crate::shared_config::SharedConfig;
use crate::shared_config::locate::NamedPaths;
use crate::source::profile::files::ProfileFiles;

/// The maximum time to ask a daemon for its identities. The answer only completes an error message.
const DAEMON_TIMEOUT: Duration = Duration::from_millis(500);

/// The identity that a command names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum IdentityChoice {
    /// `--identity`, its variable, or the default.
    Identity(IdentityName),
    /// The first argument: an identity, or else a profile.
    IdentityOrProfile(IdentityName),
}

impl IdentityChoice {
    pub(crate) fn name(&self) -> &IdentityName {
        match self {
            Self::Identity(name) | Self::IdentityOrProfile(name) => name,
        }
    }
}

/// Returns the identity. A name that may be a profile is looked up in the shared files if no identity has it.
///
/// # Errors
/// If no identity has this name. The message says where there is one, or which names are similar.
pub(crate) async fn find_identity(
    context: &Context,
    config: &Config,
    shared_files: &NamedPaths,
    choice: &IdentityChoice,
) -> Result<Identity, CommandError> {
    let mut identity = find(context, config, shared_files, choice).await?;
    if let Some(region) = &config.region {
        identity.sources.iter_mut().for_each(|source| source.region = Some(region.clone()));
    }
    Ok(identity)
}

async fn find(
    context: &Context,
    config: &Config,
    shared_files: &NamedPaths,
    choice: &IdentityChoice,
) -> Result<Identity, CommandError> {
    let name = choice.name();
    if let Some(identity) = config.identity(name) {
        return Ok(identity);
    }
    let profiles = profile_names(context, shared_files).await;
    let is_profile = profiles.iter().any(|profile| profile == name.as_str());
    match choice {
        IdentityChoice::IdentityOrProfile(_) if is_profile => {
            let NamedPaths { credentials, config: config_file } = shared_files.clone();
            Ok(config.identity_of_profile(name, credentials, config_file))
        }
        _ => Err(unknown(context, config, name, &profiles, matches!(choice, IdentityChoice::Identity(_))).await),
    }
}

/// Returns the names of the profiles; none if the files cannot be read.
pub(crate) async fn profile_names(context: &Context, named: &NamedPaths) -> Vec<String> {
    names_in_files(context, named, |files| files.profiles().map(str::to_owned).collect()).await
}

/// Returns the names of the SSO sessions; none if the files cannot be read.
pub(crate) async fn sso_session_names(context: &Context, named: &NamedPaths) -> Vec<String> {
    names_in_files(context, named, |files| files.sso_sessions().map(|session| session.name().to_owned()).collect())
        .await
}

async fn names_in_files(
    context: &Context,
    named: &NamedPaths,
    names: impl Fn(&SharedConfig) -> Vec<String>,
) -> Vec<String> {
    let named = NamedPaths {
        credentials: named.credentials.as_ref().map(|path| context.environment.expand(path)),
        config: named.config.as_ref().map(|path| context.environment.expand(path)),
    };
    let Ok(profiles) = ProfileFiles::open(context, &named, |_| 0).await else { return Vec::new() };
    profiles.files().map_or_else(|_| Vec::new(), names)
}

async fn unknown(
    context: &Context,
    config: &Config,
    name: &IdentityName,
    profiles: &[String],
    is_identity: bool,
) -> CommandError {
    let file = config.file.as_ref().map(|file| Escaped(&file.to_string_lossy()).to_string());
    let file = file.as_deref().unwrap_or("credenza.toml");
    let mut message = match is_identity {
        true => format!("there is no identity {name} in {file}"),
        false => format!("there is no identity {name} in {file}, and no profile of that name in the shared files"),
    };
    let mut hints = Vec::new();
    if let Some(address) = serving_daemon(context, config, name).await {
        hints.push(format!("the daemon at {address} serves it (--from-daemon)"));
    }
    if profiles.iter().any(|profile| profile == name.as_str()) {
        hints.push(format!("a profile of that name exists (--profile {})", Quoted(name.as_str())));
    }
    let identities: Vec<&str> = config.identities.keys().map(IdentityName::as_str).collect();
    if hints.is_empty() {
        let known = identities.iter().copied().chain(profiles.iter().map(String::as_str).filter(|_| !is_identity));
        hints.extend(did_you_mean(name.as_str(), known));
    }
    let shown: Vec<String> = identities.iter().map(|identity| Escaped(identity).to_string()).collect();
    hints.push(format!("configured identities: {}", shown.join(", ")));
    message = format!("{message}; {}", hints.join("; "));
    CommandError::new(message)
}

/// Returns the address of a running daemon that serves an identity of this name.
async fn serving_daemon(context: &Context, config: &Config, name: &IdentityName) -> Option<String> {
    let daemon = DaemonClient::find(&config.server, context).ok()?;
    let status = tokio::time::timeout(DAEMON_TIMEOUT, daemon.identity_status(name)).await.ok()?.ok()?;
    status.is_object().then(|| daemon.address.to_string())
}
