//! Writing a file of the cache so that nobody ever reads half of it.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::credentials::Escaped;

/// More links than that, one to the next, are a circle.
const MOST_LINKS: usize = 8;

const ROOT: u32 = 0;

/// The file could not be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write {}: cannot {what}: {error}", Escaped(&path.to_string_lossy()))]
pub(super) struct WriteError {
    path: PathBuf,
    what: &'static str,
    error: io::Error,
}

/// Puts these bytes in the place of the file: written aside with mode 0600, made durable, renamed. Folders that are
/// missing are made with mode 0700. It blocks.
///
/// # Errors
/// What could not be done; the file is as before then, and nothing lies beside it.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> Result<(), WriteError> {
    let failed = |what| move |error| WriteError { path: path.to_owned(), what, error };
    let target = led_to(path, rustix::process::geteuid().as_raw());
    let folder = target.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed("make its folder"))?;
    warn_of_an_open_folder(folder);
    let random = getrandom::u64().map_err(|error| failed("draw a random name")(io::Error::other(error.to_string())))?;
    // Not `.json`: whoever lists the cache takes that for a token.
    let aside = folder.join(format!(".credenza-{random:016x}.tmp"));
    let written = write(&aside, bytes).map_err(failed("write beside it"));
    let written = written.and_then(|()| fs::rename(&aside, &target).map_err(failed("rename into place")));
    if written.is_err() {
        let _ = fs::remove_file(&aside);
        return written;
    }
    // The rename itself: some file systems cannot do it for folders, and it is done all the same.
    let _ = File::open(folder).and_then(|folder| folder.sync_all());
    Ok(())
}

/// Where a file is really written. A link of ours or root's stays one, and what it leads to is replaced; a link of anybody
/// else may have been laid to lead to any file that we can write, so that it is replaced itself.
fn led_to(path: &Path, ours: u32) -> PathBuf {
    let mut target = path.to_owned();
    for _ in 0..MOST_LINKS {
        let Ok(meta) = fs::symlink_metadata(&target) else { return target };
        if !meta.is_symlink() {
            return target;
        }
        if ![ours, ROOT].contains(&meta.uid()) {
            tracing::warn!(
                path = %Escaped(&target.to_string_lossy()),
                owner = meta.uid(),
                "a link of another user stands where a token is kept; it is not followed, and a file takes its place"
            );
            return target;
        }
        let Ok(next) = fs::read_link(&target) else { return target };
        target = target.parent().unwrap_or(Path::new(".")).join(next);
    }
    path.to_owned()
}

/// Whoever can write there can lay another token, which reading refuses, or take this one away.
fn warn_of_an_open_folder(folder: &Path) {
    if fs::metadata(folder).is_ok_and(|meta| meta.mode() & 0o022 != 0) {
        let folder = Escaped(&folder.to_string_lossy()).to_string();
        tracing::warn!(folder, "others can write to the folder of tokens; close it: chmod go-w {folder}");
    }
}

fn write(aside: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(aside)?;
    file.write_all(bytes)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn files_are_closed_to_others_and_so_are_new_folders() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("a/b/t.json");
        replace(&path, b"1").unwrap();
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
        replace(&path, b"2").unwrap();
        assert_eq!((mode(&path), fs::read(&path).unwrap()), (0o600, b"2".to_vec()));
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "nothing lies beside it");
    }

    #[test]
    fn a_link_stays_one() {
        let home = tempfile::tempdir().unwrap();
        let (real, link) = (home.path().join("real"), home.path().join("link"));
        fs::write(&real, "1").unwrap();
        symlink("real", &link).unwrap();
        replace(&link, b"2").unwrap();
        assert!(link.is_symlink() && fs::read(&real).unwrap() == b"2");
    }

    #[test]
    fn a_link_of_somebody_else_is_not_followed() {
        let home = tempfile::tempdir().unwrap();
        let (real, link) = (home.path().join("real"), home.path().join("link"));
        fs::write(&real, "1").unwrap();
        symlink("real", &link).unwrap();
        symlink("link", home.path().join("mine")).unwrap();
        let owner = fs::symlink_metadata(&link).unwrap().uid();
        // Root's links are everybody's: as root the owner has to be another.
        if rustix::process::geteuid().is_root() {
            std::os::unix::fs::lchown(&link, Some(4242), None).unwrap();
            assert_eq!(led_to(&home.path().join("mine"), owner), link, "nor behind one of ours");
            replace(&link, b"2").unwrap();
            assert!(!link.is_symlink() && fs::read(&link).unwrap() == b"2" && fs::read(&real).unwrap() == b"1");
        } else {
            assert_eq!(led_to(&link, owner + 1), link);
        }
        assert_eq!(led_to(&real, owner), real);
        let circle = home.path().join("circle");
        symlink("circle", &circle).unwrap();
        assert_eq!(led_to(&circle, owner), circle);
    }

    #[test]
    fn what_cannot_be_written_leaves_nothing() {
        let home = tempfile::tempdir().unwrap();
        let taken = home.path().join("taken");
        fs::create_dir_all(taken.join("full")).unwrap();
        let error = replace(&taken, b"hush").unwrap_err().to_string();
        assert!(error.contains("taken") && error.contains("rename") && !error.contains("hush"), "{error}");
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 1);
        let error =
            replace(&home.path().join("taken/full/../../file/x"), b"").map(|()| fs::write(home.path().join("f"), ""));
        assert!(error.is_ok());
        let error = replace(&home.path().join("f/x"), b"").unwrap_err().to_string();
        assert!(error.contains("make its folder"), "{error}");
    }
}
