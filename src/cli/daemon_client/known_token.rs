//! Finds the auth tokens that a running daemon may accept.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::cli::error::CommandError;
use crate::config::server::{AuthTokenConfig, ServerConfig};
use crate::context::Context;
use crate::model::secret::Secret;
use crate::model::text::Escaped;
use crate::os::files::trust::{PathFacts, TrustPolicy};
use crate::os::files::walk::walk;
use crate::server::auth_token;
use crate::server::auth_token::{AuthTokenError, AuthTokenFile};
use crate::source::spec::TextSource;

/// The token file of the daemon of the system, which runs as root or as its own user.
const SYSTEM_TOKEN: &str = "/run/credenza/token";

/// An auth token of a running daemon.
#[derive(Debug)]
pub(crate) struct KnownToken {
    pub(crate) token: Secret,
    /// The token file; `None` if the token was given directly.
    pub(crate) file: Option<PathBuf>,
    /// The user id of the owner of the file. Without a file it is the id of the user.
    pub(crate) owner: u32,
}

/// Returns the auth tokens of a daemon that runs with this configuration, the most likely first. There is at least one.
///
/// The user vouches for a token file that a flag, a variable or credenza.toml names. A file at a default location must
/// be trusted: another user may have left it there.
///
/// # Errors
/// If there is no token file, or it cannot be read or is not trusted.
pub(crate) fn known_tokens(server: &ServerConfig, context: &Context) -> Result<Vec<KnownToken>, CommandError> {
    let read = |path: PathBuf| {
        let (token, facts) = AuthTokenFile { path: path.clone(), group: None }.read()?;
        let owner = facts.owner();
        Ok::<_, AuthTokenError>((KnownToken { token, file: Some(path), owner }, facts))
    };
    match &server.token {
        AuthTokenConfig::Given(TextSource::Literal(given)) => {
            Ok(vec![KnownToken { token: given.clone(), file: None, owner: context.uid() }])
        }
        AuthTokenConfig::Given(TextSource::File(path)) | AuthTokenConfig::Kept(Some(path)) => {
            let is_given = matches!(server.token, AuthTokenConfig::Given(_));
            let read = read(context.environment.expand(path));
            let read = if is_given { read.map_err(AuthTokenError::of_given_file) } else { read };
            Ok(vec![read.map_err(CommandError::new)?.0])
        }
        AuthTokenConfig::Kept(None) => {
            let mut paths = auth_token::default_places(&context.environment, &context.trust);
            if !paths.iter().any(|path| path == Path::new(SYSTEM_TOKEN)) {
                paths.push(SYSTEM_TOKEN.into());
            }
            let (mut tokens, mut refused) = (Vec::new(), Vec::new());
            for path in paths.iter().filter(|path| path.exists()) {
                let shown = Escaped(&path.to_string_lossy()).to_string();
                match read(path.clone()) {
                    Ok((token, facts)) => match trusted(path, &facts, &context.trust) {
                        Ok(()) => tokens.push(token),
                        Err(distrust) => refused.push(format!("the token file {shown} is not used: it {distrust}")),
                    },
                    Err(error) => refused.push(error.to_string()),
                }
            }
            if !tokens.is_empty() {
                return Ok(tokens);
            }
            let tried: Vec<String> = paths.iter().map(|path| Escaped(&path.to_string_lossy()).to_string()).collect();
            Err(CommandError::new(match refused.is_empty() {
                false => format!("{}; set another path with --token-file", refused.join("; ")),
                true => format!(
                    "there is no token file at {}; start a daemon with `credenza serve`, or set another path with --token-file",
                    tried.join(" or ")
                ),
            }))
        }
    }
}

/// Checks the trust of a token file at a default location. Root has made the folder of the system's daemon and has given
/// it to the user of that daemon, so that user is trusted there.
fn trusted(path: &Path, facts: &PathFacts, policy: &TrustPolicy) -> Result<(), String> {
    let folder = path.parent().filter(|_| path == Path::new(SYSTEM_TOKEN)).and_then(|folder| walk(folder).ok());
    let of_system = folder.map(|folder| folder.facts.owner());
    let owners: Arc<[u32]> = policy.owners.iter().copied().chain(of_system).collect();
    facts.trusted(&TrustPolicy { owners, ..policy.clone() }).map_err(|distrust| distrust.to_string())
}
