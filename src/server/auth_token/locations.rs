//! The default locations of the auth token file.

use std::io;
use std::path::{Path, PathBuf};

use crate::model::secret::Secret;
use crate::model::text::Escaped;
use crate::os::environment::Environment;
use crate::os::files::trust::TrustPolicy;
use crate::os::files::walk::runtime_folder;
use crate::server::auth_token::AuthTokenFile;
use crate::server::auth_token::error::AuthTokenError;

/// Returns the default locations of the token file, in the order in which they are tried.
///
/// `XDG_RUNTIME_DIR` counts only if the folder is this user's: after `su` or `sudo -E` it is the folder of the previous
/// user. `/run/user/UID` takes its place, as it does where the variable is unset: in cron and over ssh.
#[must_use]
pub(crate) fn default_places(environment: &Environment, policy: &TrustPolicy) -> Vec<PathBuf> {
    let folder = |variable: &str| {
        // systemd separates several runtime directories with colons. The first belongs to this service.
        let folder = environment.get(variable)?.split(':').next()?;
        Path::new(folder).is_absolute().then(|| PathBuf::from(folder))
    };
    let below = |variable: &str, rest: &str| folder(variable).map(|folder| folder.join(rest));
    let state = || environment.home().map(|home| home.join(".local/state/credenza/token"));
    [
        below("RUNTIME_DIRECTORY", "token"),
        runtime_folder(folder("XDG_RUNTIME_DIR"), policy).map(|folder| folder.join("credenza/token")),
        (policy.ours == 0).then(|| PathBuf::from("/run/credenza/token")),
        below("XDG_STATE_HOME", "credenza/token").or_else(state),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Reads or makes a token at the first location with a writable folder.
///
/// # Errors
/// If the file or folder at a location is unsafe, or no folder can be written.
pub(crate) fn at_first_of(places: &[PathBuf], group: Option<u32>) -> Result<(Secret, AuthTokenFile), AuthTokenError> {
    let mut tried = Vec::new();
    for path in places {
        let file = AuthTokenFile { path: path.clone(), group };
        match file.keep_or_make() {
            Ok(token) => return Ok((token, file)),
            Err(AuthTokenError::Io { error, .. }) if no_place(&error) => {
                tried.push(format!("{} ({error})", Escaped(&path.to_string_lossy())));
            }
            Err(error) => return Err(error),
        }
    }
    let tried = if tried.is_empty() { "there is no home and no runtime directory".into() } else { tried.join(", ") };
    Err(AuthTokenError::Nowhere(tried))
}

fn no_place(error: &io::Error) -> bool {
    // `AlreadyExists` means that a file is at the path of the folder.
    use io::ErrorKind::{AlreadyExists, NotADirectory, NotFound, PermissionDenied, ReadOnlyFilesystem};
    matches!(error.kind(), PermissionDenied | ReadOnlyFilesystem | NotFound | NotADirectory | AlreadyExists)
}
