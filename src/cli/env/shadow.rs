//! `credenza env --shadow`: shared files without credentials of the default profile, for a shell.
//!
//! SDKs prefer credentials of the default profile to a daemon. The files are not removed at exit, because the shell goes on
//! using them. They are in a folder of this user, and equal files are written once.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use ring::digest;
use zeroize::Zeroizing;

use crate::cli::error::CommandError;
use crate::cli::output::Variable;
use crate::cli::preferred_credentials::BOTO_CONFIG;
use crate::cli::region_endpoint::RegionEndpoint;
use crate::context::Context;
use crate::model::text::{Escaped, hex};
use crate::os::files::walk::{runtime_folder, trusted_folder};
use crate::shared_config::render::BesideProfiles;
use crate::source::profile::child_files::child_files;

/// The variables that name files.
pub(crate) const FILE_VARIABLES: [&str; 4] =
    ["AWS_CONFIG_FILE", "AWS_SHARED_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE", BOTO_CONFIG];

/// The folder of the files, in the runtime directory or the state folder of the user.
const FOLDER: &str = "credenza/shadow";

/// Writes the files. Returns the variables that name them.
///
/// # Errors
/// If the user's files cannot be read, a setting in them is not trusted, or a file cannot be written.
pub(crate) async fn variables(
    context: &Context,
    region_endpoint: RegionEndpoint<'_>,
) -> Result<Vec<Variable>, CommandError> {
    let RegionEndpoint { region, endpoint, .. } = region_endpoint;
    // Programs of the shell can still use the other profiles by their names.
    let files =
        child_files(&[], Some(BesideProfiles { region, endpoint }), context).await.map_err(CommandError::new)?;
    let folder = folder(context).map_err(|reason| {
        CommandError::new(format!("env --shadow: there is no folder for its files: {reason}. Use `credenza exec`"))
    })?;
    let write = |kind: &str, text: &str| -> Result<String, CommandError> {
        let name = format!("{kind}-{}", &hex(digest::digest(&digest::SHA256, text.as_bytes()).as_ref())[..16]);
        let path = folder.join(name);
        let failed = |error: io::Error| {
            let path = path.to_string_lossy();
            CommandError::new(format!(
                "env --shadow: cannot write {}: {error}. Make room there, or use `credenza exec`",
                Escaped(&path)
            ))
        };
        write_new(&path, text).map_err(failed)?;
        utf8(path.clone())
    };
    let (config, credentials, boto) =
        (write("config", &files.config)?, write("credentials", &files.credentials)?, write("boto", "")?);
    let paths = [&config, &config, &credentials, &boto];
    Ok(FILE_VARIABLES.into_iter().zip(paths).map(|(name, path)| (name, Some(Zeroizing::new(path.clone())))).collect())
}

/// Returns the folder, which only this user can change.
fn folder(context: &Context) -> Result<PathBuf, String> {
    let environment = &context.environment;
    let is_ours = |home: &&Path| trusted_folder(home, &context.trust).is_ok();
    let state = || environment.home().filter(is_ours).map(|home| home.join(".local/state"));
    let parent = runtime_folder(environment.get("XDG_RUNTIME_DIR").map(PathBuf::from), &context.trust).or_else(state);
    let parent = parent.ok_or("there is neither a runtime directory nor a home directory of this user")?;
    let folder = parent.join(FOLDER);
    let made = DirBuilder::new().recursive(true).mode(0o700).create(&folder);
    made.map_err(|error| format!("{}: {error}", Escaped(&folder.to_string_lossy())))?;
    trusted_folder(&folder, &context.trust)
}

/// Writes a file in one step, unless it is there. Its name tells its content.
fn write_new(path: &Path, text: &str) -> io::Result<()> {
    if fs::symlink_metadata(path).is_ok_and(|meta| meta.is_file() && meta.len() == text.len() as u64) {
        return Ok(());
    }
    let random = getrandom::u64().map_err(|error| io::Error::other(error.to_string()))?;
    let temporary = path.with_extension(format!("{random:016x}.tmp"));
    let written = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary);
    let written = written.and_then(|mut file| file.write_all(text.as_bytes()));
    let written = written.and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    written
}

fn utf8(path: PathBuf) -> Result<String, CommandError> {
    path.into_os_string().into_string().map_err(|path| {
        let path = path.to_string_lossy();
        CommandError::new(format!("env --shadow: the path {} is not UTF-8. Use `credenza exec`", Escaped(&path)))
    })
}
