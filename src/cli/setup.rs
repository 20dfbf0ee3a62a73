//! `credenza setup profile`: writes a profile whose `credential_process` is this program, for programs that are not started
//! from a shell.

pub(crate) mod config_file;
mod loop_guard;

use std::io;
use std::path::{Path, PathBuf};

use crate::cli::confirm::confirm;
use crate::cli::daemon_client::DaemonClient;
use crate::cli::error::CommandError;
use crate::cli::find_identity::{IdentityChoice, find_identity};
use crate::cli::setup::config_file::ConfigFile;
use crate::config::Config;
use crate::context::Context;
use crate::model::identity_name::IdentityName;
use crate::model::text::{Escaped, Quoted};
use crate::os::files::walk::walk;
use crate::shared_config::edit::NewProfile;
use crate::shared_config::locate::NamedPaths;
use crate::source::spec::{SourceKind, SourceSpec};

/// The request of `setup profile`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SetupRequest {
    /// The name of the new profile.
    pub(crate) name: Box<str>,
    /// The identity. `None` means the profile of `--profile`.
    pub(crate) identity: Option<IdentityName>,
    pub(crate) profile: Option<Box<str>>,
    pub(crate) from_daemon: bool,
    pub(crate) region: Option<Box<str>>,
    /// The token file that a flag or a variable names.
    pub(crate) token_file: Option<PathBuf>,
    pub(crate) replace: bool,
    /// Does not ask.
    pub(crate) yes: bool,
}

/// Shows the profile, asks, and writes it. Returns the last line for the terminal.
///
/// # Errors
/// If the profile stands there already, leads back to itself, or cannot be written; or if the user does not agree.
pub(crate) async fn setup_profile(
    context: &Context,
    config: &Config,
    shared_files: &NamedPaths,
    request: &SetupRequest,
) -> Result<String, CommandError> {
    let file = ConfigFile::open(context, shared_files).await?;
    check_sources(context, config, shared_files, request, &file).await?;
    let line = command_line(context, config, shared_files, request)?;
    let mut properties = vec![("credential_process", line)];
    properties.extend(request.region.as_ref().map(|region| ("region", region.to_string())));
    let profile = NewProfile::new(&request.name, properties).map_err(|error| file.failed(&error))?;
    let profiles = [profile];
    file.check(&profiles, request.replace)?;
    file.show(&profiles);
    if !request.yes && !confirm("Write this?")? {
        return Err(CommandError::new("nothing is written"));
    }
    file.write(context, &profiles, request.replace).await?;
    let name = Quoted(&request.name);
    Ok(format!(
        "written to {}; try it: credenza get --profile {name}, or aws sts get-caller-identity --profile {name}",
        file.shown()
    ))
}

/// Checks that the sources exist, and do not lead back to the new profile.
async fn check_sources(
    context: &Context,
    config: &Config,
    shared_files: &NamedPaths,
    request: &SetupRequest,
    file: &ConfigFile,
) -> Result<(), CommandError> {
    let sources = match &request.profile {
        Some(profile) if file.files().profile(profile).is_none() => {
            let message = format!("there is no profile {} in {}", Escaped(profile), file.shown());
            return Err(CommandError::new(format!("{message}; {}", file.missing_hint(profile))));
        }
        Some(profile) => {
            let kind = SourceKind::Profile { name: Some(profile.clone()), credentials_file: None, config_file: None };
            vec![kind.into()]
        }
        None => sources_of_identity(context, config, shared_files, request).await?,
    };
    match loop_guard::way_back(file.files(), config, &sources, &request.name) {
        Some(way) => Err(CommandError::new(format!(
            "profile {} would lead back to itself: {way}. Name another profile (--profile) or identity",
            Escaped(&request.name)
        ))),
        None => Ok(()),
    }
}

/// Returns the sources of the identity. Those of an identity that only the daemon knows are unknown.
async fn sources_of_identity(
    context: &Context,
    config: &Config,
    shared_files: &NamedPaths,
    request: &SetupRequest,
) -> Result<Vec<SourceSpec>, CommandError> {
    let name = request.identity.clone().unwrap_or_default();
    let choice = IdentityChoice::Identity(name.clone());
    let unknown = match find_identity(context, config, shared_files, &choice).await {
        Ok(identity) => return Ok(identity.sources),
        Err(unknown) => unknown,
    };
    // The configuration of the daemon may be another one.
    let daemon = DaemonClient::find(&config.server, context).ok().filter(|_| request.from_daemon);
    let Some(daemon) = daemon else { return Err(unknown) };
    match daemon.identity_status(&name).await {
        Ok(status) if status.is_object() => Ok(Vec::new()),
        _ => Err(unknown),
    }
}

/// Returns the command line, which depends on no variable: a program that starts it may have a bare environment.
fn command_line(
    context: &Context,
    config: &Config,
    shared_files: &NamedPaths,
    request: &SetupRequest,
) -> Result<String, CommandError> {
    let mut words = vec![text(&program(context)?)?, "get".to_owned()];
    if request.from_daemon {
        words.push("--from-daemon".into());
    }
    match (&request.profile, &request.identity) {
        (Some(profile), _) => words.extend(["--profile".into(), profile.to_string()]),
        (None, identity) => {
            let identity = identity.clone().unwrap_or_default();
            words.extend(["--identity".into(), identity.as_str().to_owned()]);
        }
    }
    let token_file = request.token_file.as_ref().filter(|_| request.from_daemon);
    let file = config.file.as_deref().map(Path::to_owned);
    for (flag, path) in [
        ("--config", file.as_ref()),
        ("--credentials-file", shared_files.credentials.as_ref()),
        ("--config-file", shared_files.config.as_ref()),
        ("--token-file", token_file),
    ] {
        let Some(path) = path else { continue };
        words.extend([flag.to_owned(), text(&context.environment.expand(path))?]);
    }
    let quoted: Vec<String> = words.iter().map(|word| Quoted(word).to_string()).collect();
    Ok(quoted.join(" "))
}

/// Returns the path of this program: that in `PATH`, which stays after an update, else that of the process.
///
/// # Errors
/// If another user could exchange the program, which would then get to run in every program that uses the profile.
fn program(context: &Context) -> Result<PathBuf, CommandError> {
    let unknown = |error: io::Error| CommandError::new(format!("the path of this program is unknown: {error}"));
    let running = std::env::current_exe().and_then(std::fs::canonicalize).map_err(unknown)?;
    let distrust = |path: &Path| match walk(path) {
        Ok(walked) => walked.facts.trusted(&context.trust).err().map(|distrust| distrust.to_string()),
        Err(error) => Some(format!("cannot be checked: {}", io::Error::from(error))),
    };
    let folders = std::env::split_paths(context.environment.get("PATH").unwrap_or_default());
    let in_path = folders.filter(|folder| folder.is_absolute()).map(|folder| folder.join("credenza"));
    let mut same = in_path.filter(|path| std::fs::canonicalize(path).is_ok_and(|found| found == running));
    if let Some(path) = same.find(|path| distrust(path).is_none()) {
        return Ok(path);
    }
    match distrust(&running) {
        None => Ok(running),
        Some(why) => Err(CommandError::new(format!(
            "the program {} is written into no profile: it {why}. Install it in a folder that only you or root can write",
            Escaped(&running.to_string_lossy())
        ))),
    }
}

fn text(path: &Path) -> Result<String, CommandError> {
    let absolute = std::path::absolute(path).map_err(CommandError::new)?;
    let text = absolute.to_str().map(str::to_owned);
    text.ok_or_else(|| CommandError::new(format!("the path {} is not UTF-8", Escaped(&absolute.to_string_lossy()))))
}
