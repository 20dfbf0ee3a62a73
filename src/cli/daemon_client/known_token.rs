//! The token of a daemon, for those who ask it.

use std::path::{Path, PathBuf};

use crate::cli::command::CommandError;
use crate::config::server::{AuthTokenConfig, ServerConfig};
use crate::context::Context;
use crate::model::secret::Secret;
use crate::server::auth_token;
use crate::server::auth_token::AuthTokenFile;
use crate::source::spec::TextSource;

/// The token of a running daemon, as those know it who ask it.
#[derive(Debug)]
pub(crate) struct KnownToken {
    /// The token.
    pub(crate) token: Secret,
    /// The file that holds it and its owner; `None` when it was given directly.
    pub(crate) file: Option<(PathBuf, u32)>,
}

/// The token of a daemon that runs with this configuration, for those who ask it.
///
/// # Errors
/// When there is none where it should be.
pub(crate) fn known_token(server: &ServerConfig, context: &Context) -> Result<KnownToken, CommandError> {
    let read = |path: &Path| {
        let path = context.environment.expand(path);
        let (token, owner) =
            AuthTokenFile { path: path.clone(), group: None }.read_owned().map_err(CommandError::because)?;
        Ok(KnownToken { token, file: Some((path, owner)) })
    };
    match &server.token {
        AuthTokenConfig::Given(TextSource::Literal(given)) => Ok(KnownToken { token: given.clone(), file: None }),
        AuthTokenConfig::Given(TextSource::File(path)) | AuthTokenConfig::Kept(Some(path)) => read(path),
        AuthTokenConfig::Kept(None) => {
            let places = auth_token::default_places(&context.environment, context.uid() == 0);
            // A daemon of the system runs as root or a user of its own.
            let places: Vec<_> = places.into_iter().chain(["/run/credenza/token".into()]).collect();
            let found = places.iter().find(|path| path.exists());
            match found {
                Some(path) => read(path),
                None => Err(CommandError::because(format!(
                    "there is no token file at {}; is a daemon running? --token-file names another place",
                    places.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(" or ")
                ))),
            }
        }
    }
}
