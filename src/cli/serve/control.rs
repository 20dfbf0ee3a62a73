//! The control socket of the daemon: beside the auth token, unless a flag names it.

use std::path::PathBuf;

use crate::cli::error::CommandError;
use crate::cli::serve::clients::AuthToken;
use crate::config::listen::ListenAddress;
use crate::config::server::{AuthTokenConfig, ServerConfig};
use crate::context::Context;
use crate::model::text::Escaped;
use crate::server::auth_token;
use crate::server::listeners::BoundListener;
use crate::server::unix_listener::{SocketAccess, UnixSocketListener};

/// The name of the socket in the folder of the auth token.
pub(crate) const NAME: &str = "control.sock";

/// Listens on the control socket. Without a folder for it the daemon runs without one, and says so.
///
/// # Errors
/// If a flag or a variable names a path where the daemon cannot listen.
pub(crate) async fn listen(
    named: Option<&PathBuf>,
    server: &ServerConfig,
    auth_token: Option<&AuthToken>,
    context: &Context,
) -> Result<Option<BoundListener>, CommandError> {
    let environment = &context.environment;
    if let Some(named) = named {
        let path = environment.expand(named);
        let bound = UnixSocketListener::bind(&path, SocketAccess::Owner).await;
        let bound = bound.map_err(|error| CommandError::new(format!("{}: {error}", ListenAddress::Unix(path))))?;
        tracing::info!(control_socket = %Escaped(&named.to_string_lossy()), "control commands are accepted");
        return Ok(Some(BoundListener::Unix(bound)));
    }
    let own_file = auth_token.and_then(|token| token.file.as_ref()).map(|file| file.path.clone());
    let folders = match (&server.token, own_file) {
        // A given token may lie in a folder of another program, such as /run/secrets.
        (AuthTokenConfig::Kept(_), Some(file)) => vec![file],
        (AuthTokenConfig::Kept(Some(path)), None) => vec![environment.expand(path)],
        _ => auth_token::default_places(environment, &context.trust),
    };
    let mut reasons = Vec::new();
    for path in folders.iter().map(|token| token.with_file_name(NAME)) {
        match UnixSocketListener::bind(&path, SocketAccess::Owner).await {
            Ok(bound) => {
                tracing::info!(control_socket = %Escaped(&path.to_string_lossy()), "control commands are accepted");
                return Ok(Some(BoundListener::Unix(bound)));
            }
            Err(error) => reasons.push(format!("{}: {error}", Escaped(&path.to_string_lossy()))),
        }
    }
    let reasons = reasons.join("; ");
    tracing::warn!("there is no control socket, so that grants, use and reload are not available: {reasons}");
    Ok(None)
}
