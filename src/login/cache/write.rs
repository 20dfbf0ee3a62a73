//! Replaces a file of the login cache atomically: other processes never read half of a file.

#[cfg(test)]
mod tests;

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::cache::login_entry::{CacheEntry, LARGEST};
use crate::model::error::SourceError;
use crate::model::text::Escaped;
use crate::os::files::contents::FileReader;
use crate::os::files::trust::TrustPolicy;
use crate::os::files::walk::walk;

/// The maximum number of symlinks that are followed to one file. More symlinks are a loop.
const MOST_LINKS: usize = 8;

/// A cache file that could not be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write {}: {reason}", Escaped(&path.to_string_lossy()))]
pub(crate) struct WriteError {
    path: PathBuf,
    reason: String,
    hint: Option<String>,
}

impl From<WriteError> for SourceError {
    fn from(error: WriteError) -> Self {
        let hint = error.hint.as_deref().map(Into::into);
        Self { hint, ..Self::misconfigured(error.to_string()).caused_by(error) }
    }
}

/// Replaces the file: writes a temporary file with mode 0600, makes it durable and renames it. Missing folders get mode
/// 0700. The call blocks.
///
/// # Errors
/// The step that failed. The file is then unchanged, and the temporary file is removed.
pub(crate) fn replace(path: &Path, bytes: &[u8], policy: &TrustPolicy) -> Result<(), WriteError> {
    let failed = |step: &'static str| {
        move |error: io::Error| WriteError {
            path: path.to_owned(),
            reason: format!("cannot {step}: {error}"),
            hint: None,
        }
    };
    let target = resolve(path, policy)?;
    let folder = folder_of(&target);
    DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed("make its folder"))?;
    check_folder(path, folder, policy)?;
    let random =
        getrandom::u64().map_err(|error| failed("generate a random name")(io::Error::other(error.to_string())))?;
    // Other programs take every `.json` file in the cache for a token.
    let temporary = folder.join(format!(".credenza-{random:016x}.tmp"));
    let written = write(&temporary, bytes).map_err(failed("write a temporary file next to it"));
    let written = written.and_then(|()| fs::rename(&temporary, &target).map_err(failed("rename the temporary file")));
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
        return written;
    }
    // Makes the rename durable. Ignore errors: some file systems cannot sync a folder, and the file is replaced anyway.
    let _ = File::open(folder).and_then(|folder| folder.sync_all());
    Ok(())
}

/// Returns the path to replace: the target of a trusted symlink, else the path itself.
///
/// A symlink is followed if only trusted users can have made it, and if it leads to a token. A symlink of another user
/// may lead to any file that we can write, so the symlink itself is replaced.
fn resolve(path: &Path, policy: &TrustPolicy) -> Result<PathBuf, WriteError> {
    let mut target = path.to_owned();
    for followed in 0..MOST_LINKS {
        check_folder(path, folder_of(&target), policy)?;
        let Ok(meta) = fs::symlink_metadata(&target) else { return Ok(target) };
        let shown = Escaped(&target.to_string_lossy()).to_string();
        if !meta.is_symlink() {
            if followed > 0 {
                check_token(&target, policy).map_err(|why| WriteError {
                    path: path.to_owned(),
                    reason: format!("cannot follow the link: its target {shown} {why}"),
                    hint: Some("remove the link, or its target".into()),
                })?;
            }
            return Ok(target);
        }
        // Check only the owner: the mode of a symlink has no meaning.
        if !policy.is_owner(meta.uid()) {
            tracing::warn!(
                path = %shown,
                owner = meta.uid(),
                "a symlink of another user is in the place of a cached token; it is not followed, and a file replaces it"
            );
            return Ok(target);
        }
        let Ok(next) = fs::read_link(&target) else { return Ok(target) };
        target = folder_of(&target).join(next);
    }
    Ok(path.to_owned())
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Refuses a folder in which another user could exchange the token. If it does not exist, its nearest existing ancestor
/// counts, in which it will be made.
fn check_folder(path: &Path, folder: &Path, policy: &TrustPolicy) -> Result<(), WriteError> {
    let found = folder.ancestors().find_map(|ancestor| walk(ancestor).ok());
    let distrust = found.and_then(|found| found.facts.trusted(policy).err());
    distrust.map_or(Ok(()), |distrust| {
        Err(WriteError { path: path.to_owned(), reason: format!("it {distrust}"), hint: None })
    })
}

/// Checks that the target of a symlink is a login file. The error is the end of a sentence about the file.
fn check_token(path: &Path, policy: &TrustPolicy) -> Result<(), String> {
    let read = FileReader::default().read(path, LARGEST as u64);
    let contents = read.map_err(|error| format!("cannot be read: {}", error.reason()))?;
    contents.facts.trusted(policy).map_err(|distrust| distrust.to_string())?;
    let entry = CacheEntry::parse(&contents.bytes).map_err(|error| format!("is not a cached token: {error}"))?;
    // A login has the field `accessToken`, a registration has `clientId`.
    if entry.has("accessToken") || entry.has("clientId") {
        return Ok(());
    }
    Err("is not a cached token: it has neither accessToken nor clientId".into())
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}
