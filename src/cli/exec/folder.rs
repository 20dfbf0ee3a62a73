//! A new folder for the auth token and the files of one `exec`. It is removed with its contents when `exec` ends.
//!
//! A killed process cannot remove its folder. Each `exec` therefore locks its folder, and removes folders without a
//! lock: the kernel releases the lock of a killed process. A process id in the name would not suffice: containers with
//! other process ids may share the parent folder.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, Mode, OFlags};

use crate::context::Context;
use crate::model::text::Escaped;
use crate::os::files::trust::TrustPolicy;
use crate::os::files::walk::{runtime_folder, trusted_folder};

/// The start of each folder's name. Random digits follow.
const PREFIX: &str = "credenza-exec-";

/// Folders to try after TMPDIR. In a container TMPDIR is often a volume that every user may write.
const FALLBACK_FOLDERS: [&str; 3] = ["/tmp", "/var/tmp", "/dev/shm"];

/// The maximum number of folders to create. Another `exec` may remove a new folder before this one locks it, which is
/// rare enough for ten tries.
const MAX_TRIES: usize = 10;

#[derive(Debug)]
pub(crate) struct PrivateFolder {
    path: PathBuf,
    /// The locked folder. Closing it releases the lock.
    _lock: File,
}

impl PrivateFolder {
    /// Creates a folder in the user's runtime directory, else in one for temporary files. Removes the folders of killed
    /// processes there.
    pub(crate) fn create(context: &Context) -> io::Result<Self> {
        let environment = &context.environment;
        let parent = match runtime_folder(environment.get("XDG_RUNTIME_DIR").map(PathBuf::from), &context.trust) {
            Some(runtime) => runtime,
            None => {
                // The home directory comes last: it may be on a network.
                let own = environment.home().map(|home| home.join(".cache"));
                let first = [std::env::temp_dir()].into_iter().chain(FALLBACK_FOLDERS.map(PathBuf::from));
                temporary_folder(first.chain(own), &context.trust)?
            }
        };
        remove_abandoned(&parent, context.uid());
        Self::create_in(&parent)
    }

    fn create_in(parent: &Path) -> io::Result<Self> {
        for _ in 0..MAX_TRIES {
            let random = getrandom::u64().map_err(|error| io::Error::other(error.to_string()))?;
            let path = parent.join(format!("{PREFIX}{random:016x}"));
            DirBuilder::new().mode(0o700).create(&path)?;
            if let Some(lock) = lock(&path).filter(|lock| is_at(lock, &path)) {
                return Ok(Self { path, _lock: lock });
            }
        }
        Err(io::Error::other(format!(
            "another process removes new folders in {} at once; set TMPDIR to a folder of your own",
            Escaped(&parent.to_string_lossy())
        )))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a new file in the folder.
    pub(crate) fn write(&self, name: &str, text: &str) -> Result<PathBuf, String> {
        let path = self.path.join(name);
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        match file.and_then(|mut file| file.write_all(text.as_bytes())) {
            Ok(()) => Ok(path),
            Err(error) => Err(format!("cannot write {}: {error}", Escaped(&path.to_string_lossy()))),
        }
    }
}

impl Drop for PrivateFolder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// Returns the real path of the first folder in which no other user can replace our files.
fn temporary_folder(folders: impl Iterator<Item = PathBuf>, policy: &TrustPolicy) -> io::Result<PathBuf> {
    let mut refused = Vec::new();
    for folder in folders {
        match trusted_folder(&folder, policy) {
            Ok(real) => {
                if let Some(first) = refused.first() {
                    tracing::warn!(instead = %Escaped(&real.to_string_lossy()), "TMPDIR is not used: {first}");
                }
                return Ok(real);
            }
            Err(reason) => refused.push(format!("{}: {reason}", Escaped(&folder.to_string_lossy()))),
        }
    }
    Err(io::Error::other(format!("{}; set TMPDIR to a folder of your own", refused.join("; "))))
}

/// Removes our folders without a lock. Another user may have moved any folder of ours here, so it must have the name and
/// the mode of a folder of `exec`. Errors are ignored: the next `exec` tries again.
fn remove_abandoned(parent: &Path, uid: u32) {
    let Ok(entries) = fs::read_dir(parent) else { return };
    for entry in entries.flatten() {
        // Check the name first. The metadata of another entry may block, if it is a mount of a dead file system.
        if !entry.file_name().to_str().is_some_and(is_folder_name)
            || !entry.metadata().is_ok_and(|meta| meta.is_dir() && meta.uid() == uid && meta.mode() & 0o777 == 0o700)
        {
            continue;
        }
        let path = entry.path();
        if let Some(lock) = lock(&path).filter(|lock| is_at(lock, &path)) {
            tracing::debug!(folder = %Escaped(&path.to_string_lossy()), "removed the folder of a killed process");
            let _ = fs::remove_dir_all(&path);
            drop(lock);
        }
    }
}

/// Returns true if `exec` gives a folder such a name.
fn is_folder_name(name: &str) -> bool {
    name.strip_prefix(PREFIX).is_some_and(|random| {
        random.len() == 16 && random.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    })
}

/// Locks the folder. Returns `None` if another process holds the lock.
fn lock(path: &Path) -> Option<File> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let folder = rustix::fs::open(path, flags, Mode::empty()).ok()?;
    rustix::fs::flock(&folder, FlockOperation::NonBlockingLockExclusive).ok()?;
    Some(folder.into())
}

/// Returns true if the path still leads to the locked folder.
fn is_at(lock: &File, path: &Path) -> bool {
    let (Ok(locked), Ok(current)) = (lock.metadata(), path.symlink_metadata()) else { return false };
    (locked.dev(), locked.ino()) == (current.dev(), current.ino())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn skips_and_reports_folders_with_replaceable_files() {
        let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let [first, second] = folders.each_ref().map(tempfile::TempDir::path);
        let mode = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        let policy = TrustPolicy::default();
        let found = |paths: [&Path; 2]| temporary_folder(paths.map(Path::to_owned).into_iter(), &policy);
        for (bits, is_used) in [(0o700, true), (0o755, true), (0o1777, true), (0o777, false), (0o702, false)] {
            mode(first, bits);
            assert_eq!(found([first, second]).unwrap(), if is_used { first } else { second }, "{bits:o}");
        }
        // A folder below one that others may exchange, and a link: the real path is used.
        fs::create_dir(first.join("below")).unwrap();
        std::os::unix::fs::symlink(second, first.join("link")).unwrap();
        mode(first, 0o777);
        assert_eq!(found([&first.join("below"), second]).unwrap(), second);
        mode(first, 0o755);
        assert_eq!(found([&first.join("link"), first]).unwrap(), second);
        mode(first, 0o777);
        mode(second, 0o777);
        let error = found([first, second]).unwrap_err().to_string();
        let of = |path: &Path| {
            format!(
                "{}: it may be written by all users (mode 0777; run chmod o-w, or name its folder in trusted_folders)",
                Escaped(&path.to_string_lossy())
            )
        };
        assert_eq!(error, format!("{}; {}; set TMPDIR to a folder of your own", of(first), of(second)));
        mode(first, 0o755);
        if policy.ours == 0 {
            std::os::unix::fs::lchown(first.join("link"), Some(65533), None).unwrap();
            std::os::unix::fs::chown(first.join("below"), Some(65533), None).unwrap();
            for path in [first.join("link"), first.join("below")] {
                assert!(found([&path, second]).unwrap_err().to_string().contains("belongs to user 65533"));
            }
        }
    }

    #[test]
    fn runtime_folder_is_of_the_user_alone() {
        let parent = tempfile::tempdir().unwrap();
        let policy = TrustPolicy::default();
        let found = |policy: &TrustPolicy| runtime_folder(Some(parent.path().to_owned()), policy);
        for (bits, is_private) in [(0o700, true), (0o755, true), (0o770, false), (0o707, false), (0o1777, false)] {
            fs::set_permissions(parent.path(), fs::Permissions::from_mode(bits)).unwrap();
            assert_eq!(found(&policy).is_some_and(|found| found == parent.path()), is_private, "{bits:o}");
        }
        fs::set_permissions(parent.path(), fs::Permissions::from_mode(0o700)).unwrap();
        assert_ne!(found(&TrustPolicy { ours: 64001, ..policy }), Some(parent.path().to_owned()), "another user's");
    }

    #[test]
    fn removes_only_abandoned_folders() {
        let parent = tempfile::tempdir().unwrap();
        let uid = rustix::process::geteuid().as_raw();
        let held = PrivateFolder::create_in(parent.path()).unwrap();
        held.write("config", "x").unwrap();
        let folder = |name: &str, mode: u32| {
            let path = parent.path().join(format!("{PREFIX}{name}"));
            fs::create_dir(&path).unwrap();
            fs::write(path.join("token"), "x").unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            path
        };
        let left = folder("0123456789abcdef", 0o700);
        let moved = [
            folder("1123456789abcdef", 0o755),
            folder("2123456789abcdef", 0o500),
            folder("0123456789abcdefa", 0o700),
            folder("0123456789abcde", 0o700),
            folder("0123456789abcdeg", 0o700),
        ];
        let file = parent.path().join(format!("{PREFIX}3123456789abcdef"));
        fs::write(&file, "x").unwrap();
        let link = parent.path().join(format!("{PREFIX}4123456789abcdef"));
        let target = parent.path().join("target");
        fs::create_dir(&target).unwrap();
        std::os::unix::fs::symlink(&target, &link).unwrap();
        remove_abandoned(parent.path(), uid.wrapping_add(1));
        assert!(left.exists(), "the folder of another user");
        remove_abandoned(parent.path(), uid);
        assert!(!left.exists());
        assert!(moved.iter().all(|folder| folder.join("token").exists()), "folders of another program");
        assert!(held.path().join("config").exists() && file.exists() && link.exists() && target.exists());
        let path = held.path().to_owned();
        drop(held);
        assert!(!path.exists());
    }
}
