//! Replaces a file of the login cache atomically: other processes never read half of a file.

#[cfg(test)]
mod tests;

use std::fs::{self, DirBuilder, File, Metadata, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use zeroize::Zeroizing;

use crate::cache::login_entry::{CacheEntry, LARGEST};
use crate::model::error::SourceError;
use crate::model::text::Escaped;
use crate::os::files::contents::{FileOwner, TrustError};

/// The maximum number of symlinks that are followed to one file. More symlinks are a loop.
const MOST_LINKS: usize = 8;

/// The users that may own a token and a symlink to it. Root is always among them.
#[derive(Clone, Debug)]
pub(crate) struct LinkTrust {
    /// Our user id.
    pub(crate) ours: u32,
    /// Further user ids.
    pub(crate) owners: Arc<[u32]>,
}

impl LinkTrust {
    fn owner(&self, meta: &Metadata) -> Result<(), TrustError> {
        FileOwner::of(meta).trusted(self.ours, &self.owners)
    }

    /// Returns true if other users may make or move symlinks in this folder. In a sticky folder they cannot move our
    /// symlinks.
    fn is_open(&self, folder: &Path) -> bool {
        fs::metadata(folder).is_ok_and(|meta| {
            let is_writable = meta.mode() & 0o022 != 0 && meta.mode() & 0o1000 == 0;
            is_writable || matches!(self.owner(&meta), Err(TrustError::Foreign { .. }))
        })
    }
}

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
pub(crate) fn replace(path: &Path, bytes: &[u8], trusted: &LinkTrust) -> Result<(), WriteError> {
    let failed = |step: &'static str| {
        move |error: io::Error| WriteError {
            path: path.to_owned(),
            reason: format!("cannot {step}: {error}"),
            hint: None,
        }
    };
    let target = resolve(path, trusted)?;
    let folder = folder_of(&target);
    DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed("make its folder"))?;
    warn_of_open_folder(folder);
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
/// may lead to any file that we can write, so the symlink itself is replaced. In a folder where other users can move
/// symlinks, every symlink is an error, also our own.
fn resolve(path: &Path, trusted: &LinkTrust) -> Result<PathBuf, WriteError> {
    let refused = |why: String, hint: String| WriteError {
        path: path.to_owned(),
        reason: format!("cannot follow the link: {why}"),
        hint: Some(hint),
    };
    let mut target = path.to_owned();
    for followed in 0..MOST_LINKS {
        let Ok(meta) = fs::symlink_metadata(&target) else { return Ok(target) };
        let shown = Escaped(&target.to_string_lossy()).to_string();
        if !meta.is_symlink() {
            if followed > 0 {
                check_token(&target, &meta, trusted).map_err(|why| {
                    refused(format!("its target {shown} {why}"), "remove the link, or its target".into())
                })?;
            }
            return Ok(target);
        }
        // Check only the owner: the mode of a symlink has no meaning.
        if let Err(TrustError::Foreign { uid, .. }) = trusted.owner(&meta) {
            tracing::warn!(
                path = %shown,
                owner = uid,
                "a symlink of another user is in the place of a cached token; it is not followed, and a file replaces it"
            );
            return Ok(target);
        }
        let folder = folder_of(&target);
        if trusted.is_open(folder) {
            let folder = Escaped(&folder.to_string_lossy()).to_string();
            return Err(refused(
                format!("other users can write to {folder} and may have put {shown} there"),
                format!("make the folder yours, run: chmod go-w {folder}, and check the target of the link"),
            ));
        }
        let Ok(next) = fs::read_link(&target) else { return Ok(target) };
        target = folder.join(next);
    }
    Ok(path.to_owned())
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Checks that the target of a symlink is a login file. The error is the end of a sentence about the file.
fn check_token(path: &Path, meta: &Metadata, trusted: &LinkTrust) -> Result<(), String> {
    if !meta.is_file() {
        return Err("is not a file".into());
    }
    trusted.owner(meta).map_err(|distrust| distrust.to_string())?;
    let mut bytes = Zeroizing::new(Vec::with_capacity(LARGEST + 1));
    let most = u64::try_from(LARGEST).unwrap_or(u64::MAX).saturating_add(1);
    let read = File::open(path).and_then(|file| file.take(most).read_to_end(&mut bytes));
    read.map_err(|error| format!("cannot be read ({error})"))?;
    let entry = CacheEntry::parse(&bytes).map_err(|error| format!("is not a cached token: {error}"))?;
    // A login has the field `accessToken`, a registration has `clientId`.
    if entry.has("accessToken") || entry.has("clientId") {
        return Ok(());
    }
    Err("is not a cached token: it has neither accessToken nor clientId".into())
}

/// Warns if other users can write to the folder: they can remove the token. They cannot replace it, because a token of
/// another user is not read.
fn warn_of_open_folder(folder: &Path) {
    if fs::metadata(folder).is_ok_and(|meta| meta.mode() & 0o022 != 0) {
        let folder = Escaped(&folder.to_string_lossy()).to_string();
        tracing::warn!(folder, "other users can write to the folder of tokens; close it: chmod go-w {folder}");
    }
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}
