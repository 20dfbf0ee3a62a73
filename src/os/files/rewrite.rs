//! Changes a file of the user that other programs write, too: under a lock, and by renaming, so that readers never see half
//! of it. Owner, mode and symlinks stay.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::model::text::Escaped;
use crate::os::files::contents::{FileReader, SHARED};
use crate::os::files::trust::TrustPolicy;
use crate::os::files::walk::{WalkError, walk};

/// The number of attempts to lock the folder, and the pause between them: five seconds. Another writer takes milliseconds.
const LOCK_ATTEMPTS: usize = 50;
const LOCK_PAUSE: Duration = Duration::from_millis(100);

/// A file that was not changed.
#[derive(Debug, thiserror::Error)]
#[error("cannot write {}: {reason}", Escaped(&path.to_string_lossy()))]
pub(crate) struct RewriteError {
    path: PathBuf,
    reason: String,
}

/// Changes the text of a file. `change` gets the bytes that are there; a missing file is empty, and is made with mode
/// 0600, in a folder of mode 0700. The call blocks.
///
/// # Errors
/// If the file is not trusted, cannot be written, or another program changes it at the same time; or the error of
/// `change`. The file is then as before.
pub(crate) fn rewrite(
    path: &Path,
    policy: &TrustPolicy,
    change: impl FnOnce(&[u8]) -> Result<String, String>,
) -> Result<(), RewriteError> {
    let failed = |reason: String| RewriteError { path: path.to_owned(), reason };
    let step = |step: &'static str| move |error: io::Error| failed(format!("cannot {step}: {error}"));
    let target = match fs::canonicalize(path) {
        Ok(target) => target,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            if fs::symlink_metadata(path).is_ok() {
                return Err(failed(
                    "it is a symlink to a file that does not exist; make that file, or remove the symlink".into(),
                ));
            }
            std::path::absolute(path).map_err(step("find its folder"))?
        }
        Err(error) => return Err(step("find it")(error)),
    };
    let folder = target.parent().unwrap_or(Path::new("/"));
    // Nothing is made below a folder that another user can exchange.
    for above in folder.ancestors() {
        match walk(above) {
            Ok(walked) => {
                walked.facts.trusted(policy).map_err(|distrust| failed(format!("its folder {distrust}")))?;
                break;
            }
            Err(WalkError::Missing { .. }) => {}
            Err(error) => return Err(step("find its folder")(error.into())),
        }
    }
    DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(step("make its folder"))?;
    // Both ways to the file: another user who can exchange a part of either could make us write elsewhere.
    for part in [path, &target, folder] {
        match walk(part) {
            Ok(walked) => walked.facts.trusted(policy).map_err(|distrust| failed(format!("it {distrust}")))?,
            Err(WalkError::Missing { .. }) => {}
            Err(error) => return Err(step("find it")(error.into())),
        }
    }
    let lock = File::open(folder).map_err(step("open its folder"))?;
    self::lock(&lock).map_err(|error| match error {
        Errno::WOULDBLOCK => failed("another program is writing in its folder; try again".into()),
        error => step("lock its folder")(error.into()),
    })?;
    let before = fs::metadata(&target).ok();
    let bytes = match &before {
        Some(_) => {
            let read = FileReader::default().read(&target, SHARED);
            read.map_err(|error| failed(error.reason().to_string()))?.bytes
        }
        None => Default::default(),
    };
    let text = change(&bytes).map_err(failed)?;
    let random = getrandom::u64().map_err(|error| failed(format!("no random name: {error}")))?;
    let temporary = folder.join(format!(".credenza-{random:016x}.tmp"));
    let written = write(&temporary, &text, before.as_ref()).map_err(step("write a temporary file next to it"));
    let written = written.and_then(|()| {
        let is_same = |now: Option<fs::Metadata>| match (&before, now) {
            (None, None) => true,
            (Some(before), Some(now)) => {
                let facts = |meta: &fs::Metadata| (meta.ino(), meta.size(), meta.mtime(), meta.mtime_nsec());
                facts(before) == facts(&now)
            }
            _ => false,
        };
        if !is_same(fs::metadata(&target).ok()) {
            return Err(failed("another program has changed it meanwhile; try again".into()));
        }
        fs::rename(&temporary, &target).map_err(step("rename the temporary file"))
    });
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
        return written;
    }
    // Makes the rename durable. Ignore errors: some file systems cannot sync a folder, and the file is replaced anyway.
    let _ = lock.sync_all();
    Ok(())
}

fn lock(folder: &File) -> Result<(), Errno> {
    for _ in 1..LOCK_ATTEMPTS {
        match flock(folder, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) => std::thread::sleep(LOCK_PAUSE),
            // Some network file systems have no locks; the check before the rename is left.
            Err(Errno::NOLCK | Errno::NOTSUP) => return Ok(()),
            result => return result,
        }
    }
    flock(folder, FlockOperation::NonBlockingLockExclusive)
}

/// Writes the new file with owner and mode of the one before.
fn write(path: &Path, text: &str, before: Option<&fs::Metadata>) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    if let Some(before) = before {
        let ours = file.metadata()?;
        if (ours.uid(), ours.gid()) != (before.uid(), before.gid()) {
            std::os::unix::fs::fchown(&file, Some(before.uid()), Some(before.gid()))?;
        }
        file.set_permissions(fs::Permissions::from_mode(before.mode() & 0o7777))?;
    }
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn policy() -> TrustPolicy {
        TrustPolicy::of_process(Default::default(), Default::default())
    }

    fn names(folder: &Path) -> Vec<String> {
        let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<_> = names.collect();
        names.sort();
        names
    }

    #[test]
    fn makes_a_missing_file_for_its_owner_only() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/config");
        rewrite(&path, &policy(), |bytes| Ok(format!("{}a", bytes.len()))).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "0a");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
        assert_eq!(fs::metadata(path.parent().unwrap()).unwrap().mode() & 0o7777, 0o700);
        assert_eq!(names(path.parent().unwrap()), ["config"]);
    }

    #[test]
    fn keeps_mode_and_symlink() {
        let folder = tempfile::tempdir().unwrap();
        let (real, link) = (folder.path().join("dotfiles/config"), folder.path().join("config"));
        fs::create_dir(real.parent().unwrap()).unwrap();
        fs::write(&real, "a").unwrap();
        fs::set_permissions(&real, fs::Permissions::from_mode(0o640)).unwrap();
        symlink("dotfiles/config", &link).unwrap();
        rewrite(&link, &policy(), |bytes| Ok(format!("{}b", String::from_utf8_lossy(bytes)))).unwrap();
        assert_eq!(fs::read_to_string(&real).unwrap(), "ab");
        assert_eq!(fs::metadata(&real).unwrap().mode() & 0o7777, 0o640);
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!((names(folder.path()).len(), names(real.parent().unwrap())), (2, vec!["config".to_owned()]));
    }

    #[test]
    fn leaves_the_file_as_it_is_after_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config");
        fs::write(&path, "a").unwrap();
        let refused = rewrite(&path, &policy(), |_| Err("no".into())).unwrap_err().to_string();
        assert!(refused.ends_with("config: no"), "{refused}");
        let raced = rewrite(&path, &policy(), |_| {
            fs::write(&path, "other").unwrap();
            Ok("ours".into())
        });
        assert!(raced.unwrap_err().to_string().contains("has changed it meanwhile"));
        assert_eq!(fs::read_to_string(&path).unwrap(), "other");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
        let open = rewrite(&path, &policy(), |_| Ok("ours".into())).unwrap_err().to_string();
        assert!(open.contains("cannot write"), "{open}");
        symlink("nowhere", folder.path().join("dangling")).unwrap();
        let dangling = rewrite(&folder.path().join("dangling"), &policy(), |_| Ok("ours".into()));
        assert!(dangling.unwrap_err().to_string().contains("does not exist"));
        assert_eq!(names(folder.path()), ["config", "dangling"]);
        assert_eq!(fs::read_to_string(&path).unwrap(), "other");
    }

    #[test]
    fn writers_wait_for_each_other() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config");
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    rewrite(&path, &policy(), |bytes| {
                        let before = String::from_utf8_lossy(bytes).into_owned();
                        std::thread::sleep(Duration::from_millis(5));
                        Ok(before + "x")
                    })
                    .unwrap();
                });
            }
        });
        assert_eq!(fs::read_to_string(&path).unwrap(), "x".repeat(8));
    }
}
