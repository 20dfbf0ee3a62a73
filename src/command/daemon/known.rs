//! The token of a daemon, for those who ask it.

use std::path::{Path, PathBuf};

use crate::command::Failed;
use crate::config::{ServerConfig, Token};
use crate::secret::Secret;
use crate::source::spec::Text;
use crate::token::{self, TokenFile};
use crate::world::World;

/// The token of a running daemon, as those know it who ask it.
#[derive(Debug)]
pub(super) struct Known {
    /// The token.
    pub(super) token: Secret,
    /// The file that holds it and its owner; `None` when it was given directly.
    pub(super) file: Option<(PathBuf, u32)>,
}

/// The token of a daemon that runs with this configuration, for those who ask it.
///
/// # Errors
/// When there is none where it should be.
pub(super) fn known_token(server: &ServerConfig, world: &World) -> Result<Known, Failed> {
    let read = |path: &Path| {
        let path = world.environment.expand(path);
        let (token, owner) = TokenFile { path: path.clone(), group: None }.read_owned().map_err(Failed::because)?;
        Ok(Known { token, file: Some((path, owner)) })
    };
    match &server.token {
        Token::Given(Text::Literal(given)) => Ok(Known { token: given.clone(), file: None }),
        Token::Given(Text::File(path)) | Token::Kept(Some(path)) => read(path),
        Token::Kept(None) => {
            let places = token::default_places(&world.environment, world.uid() == 0);
            // A daemon of the system runs as root or a user of its own.
            let places: Vec<_> = places.into_iter().chain(["/run/credenza/token".into()]).collect();
            let found = places.iter().find(|path| path.exists());
            match found {
                Some(path) => read(path),
                None => Err(Failed::because(format!(
                    "there is no token file at {}; is a daemon running? --token-file names another place",
                    places.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(" or ")
                ))),
            }
        }
    }
}
