//! Finds the auth token of a running daemon.

use std::path::{Path, PathBuf};

use crate::cli::error::CommandError;
use crate::config::server::{AuthTokenConfig, ServerConfig};
use crate::context::Context;
use crate::model::secret::Secret;
use crate::server::auth_token;
use crate::server::auth_token::AuthTokenFile;
use crate::source::spec::TextSource;

/// The auth token of a running daemon.
#[derive(Debug)]
pub(crate) struct KnownToken {
    pub(crate) token: Secret,
    /// The token file and the user id of its owner; `None` if the token was given directly.
    pub(crate) file: Option<(PathBuf, u32)>,
}

/// Returns the auth token of a daemon that runs with this configuration.
///
/// # Errors
/// If there is no token file, or it cannot be read.
pub(crate) fn known_token(server: &ServerConfig, context: &Context) -> Result<KnownToken, CommandError> {
    let read = |path: &Path| {
        let path = context.environment.expand(path);
        let (token, owner) =
            AuthTokenFile { path: path.clone(), group: None }.read_owned().map_err(CommandError::new)?;
        Ok(KnownToken { token, file: Some((path, owner)) })
    };
    match &server.token {
        AuthTokenConfig::Given(TextSource::Literal(given)) => Ok(KnownToken { token: given.clone(), file: None }),
        AuthTokenConfig::Given(TextSource::File(path)) | AuthTokenConfig::Kept(Some(path)) => read(path),
        AuthTokenConfig::Kept(None) => {
            let paths = auth_token::default_places(&context.environment, context.uid() == 0);
            // The daemon of the system has its token at this path; it runs as root or as its own user.
            let paths: Vec<_> = paths.into_iter().chain(["/run/credenza/token".into()]).collect();
            let existing = paths.iter().find(|path| path.exists());
            match existing {
                Some(path) => read(path),
                None => Err(CommandError::new(format!(
                    "there is no token file at {}; start a daemon with `credenza serve`, or set another path with --token-file",
                    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(" or ")
                ))),
            }
        }
    }
}
