//! Writing a file of the cache so that nobody ever reads half of it.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::credentials::Escaped;

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
    // A link stays one: what it leads to is replaced.
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let folder = target.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed("make its folder"))?;
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
