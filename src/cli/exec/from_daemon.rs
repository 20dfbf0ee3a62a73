//! `credenza exec --from-daemon`: runs one program that uses a running daemon.

use std::ffi::OsString;

use crate::cli::child_environment::{ActiveIdentity, ChildSettings, ChildToken, changes};
use crate::cli::daemon_client::DaemonClient;
use crate::cli::daemon_client::address::credentials_path;
use crate::cli::error::CommandError;
use crate::cli::exec::child::run;
use crate::cli::exec::files::WrittenFiles;
use crate::cli::exec::folder::PrivateFolder;
use crate::cli::region_endpoint::RegionEndpoint;
use crate::config::server::ServerConfig;
use crate::context::Context;
use crate::model::identity_name::IdentityName;
use crate::model::text::Escaped;
use crate::model::time::parse_timestamp;
use crate::os::signals;
use crate::os::signals::Signals;

/// Runs the command until it ends and returns its exit code.
///
/// # Errors
/// If no daemon runs, or it has no credentials of this identity. The command does not start then.
pub(crate) async fn exec(
    server: &ServerConfig,
    context: &Context,
    identity: &IdentityName,
    keeps_profiles: bool,
    command: &[OsString],
) -> Result<u8, CommandError> {
    let daemon = DaemonClient::find(server, context)?;
    let uri = daemon.credentials_uri(identity)?;
    let mut signals = Signals::listen(signals::WRAPPER)
        .map_err(|error| CommandError::new(format!("cannot listen to signals: {error}")))?;
    let asked = async {
        daemon.get(&credentials_path(identity)).await?;
        daemon.identity_status(identity).await
    };
    let status = match signals.unless_ended(asked).await {
        Ok(status) => status?,
        Err(signal) => return Ok(signals::exit_code(signal)),
    };
    let folder = PrivateFolder::create(context)
        .map_err(|error| CommandError::new(format!("cannot create a folder for the command: {error}")))?;
    let region_endpoint = RegionEndpoint {
        region: status["region"].as_str(),
        endpoint: status["endpoint"].as_str(),
        disables_imds: true,
    };
    let files = WrittenFiles::write(&folder, &[], region_endpoint, keeps_profiles, context).await?;
    let token = daemon.token();
    let token_file = match (token, daemon.token_file()) {
        (_, Some(file)) => Some(std::path::absolute(file).map_err(|error| {
            let file = file.to_string_lossy();
            CommandError::new(format!(
                "token file {}: {error}. Name an absolute path with --token-file",
                Escaped(&file)
            ))
        })?),
        (Some(token), None) => Some(folder.write("token", token.expose()).map_err(CommandError::new)?),
        // The daemon knows this user, and so the command.
        (None, None) => None,
    };
    let expiration = status["expiration"].as_str().and_then(|text| parse_timestamp(text).ok());
    let settings = ChildSettings {
        uri: &uri,
        token: token.zip(token_file.as_deref()).map(|(text, file)| ChildToken { text, file }),
        files: &files,
        region_endpoint: files.for_variables(region_endpoint),
        active: &ActiveIdentity { name: identity, expiration }.to_string(),
    };
    run(context, changes(&context.environment, &settings), command, signals).await
}
