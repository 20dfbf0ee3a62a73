//! A new folder for one program's token and files, removed with everything in it when the program ends.
//!
//! Who is killed cannot remove his own. So everybody holds a lock on his folder, which the kernel gives up for him, and
//! removes those that nobody holds any more. A number of a process would not do: another container may share the folder
//! above and have numbers of its own.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, Mode, OFlags};

use crate::context::Context;
use crate::model::text::Escaped;

/// How all of them are called; the rest is chance.
const PREFIX: &str = "credenza-exec-";

/// Where temporary files may be as well: a volume of a container is often open to everybody.
const FURTHER: [&str; 3] = ["/tmp", "/var/tmp", "/dev/shm"];

/// So often somebody who tidies up may take a folder away in the moment between its making and its locking.
const TRIES: usize = 10;

#[derive(Debug)]
pub(crate) struct PrivateFolder {
    path: PathBuf,
    /// Its lock, held until it is closed.
    _lock: File,
}

impl PrivateFolder {
    /// Makes one below the runtime directory of the user, else that for temporary files, and removes what others who
    /// were killed have left there.
    pub(crate) fn make(context: &Context) -> io::Result<Self> {
        let uid = context.uid();
        let runtime = context.environment.get("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|path| is_closed(path, uid));
        let above = match runtime {
            Some(runtime) => runtime,
            None => {
                let first = std::env::temp_dir();
                temporary([first.as_path()].into_iter().chain(FURTHER.map(Path::new)), uid)?
            }
        };
        tidy(&above, uid);
        Self::make_below(&above)
    }

    fn make_below(above: &Path) -> io::Result<Self> {
        for _ in 0..TRIES {
            let chance = getrandom::u64().map_err(|error| io::Error::other(error.to_string()))?;
            let path = above.join(format!("{PREFIX}{chance:016x}"));
            DirBuilder::new().mode(0o700).create(&path)?;
            if let Some(lock) = lock(&path).filter(|lock| is_at(lock, &path)) {
                return Ok(Self { path, _lock: lock });
            }
        }
        Err(io::Error::other(format!("what is made in {} is taken away at once", above.display())))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a new file in it.
    pub(crate) fn write(&self, name: &str, text: &str) -> Result<PathBuf, String> {
        let path = self.path.join(name);
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        match file.and_then(|mut file| file.write_all(text.as_bytes())) {
            Ok(()) => Ok(path),
            Err(error) => Err(format!("cannot write {}: {error}", path.display())),
        }
    }
}

impl Drop for PrivateFolder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// The first folder for temporary files in which nobody can put something in the place of ours.
fn temporary<'p>(folders: impl Iterator<Item = &'p Path>, uid: u32) -> io::Result<PathBuf> {
    let mut refused = Vec::new();
    for folder in folders {
        match replaceable(folder, uid) {
            None => {
                if let Some(first) = refused.first() {
                    tracing::warn!(instead = %folder.display(), "TMPDIR is not used: {first}");
                }
                return Ok(folder.to_owned());
            }
            Some(why) => refused.push(why),
        }
    }
    Err(io::Error::other(format!("{}; or name a folder of your own in TMPDIR", refused.join("; "))))
}

/// Why others could rename what we make there, and put files of their own in its place.
fn replaceable(folder: &Path, uid: u32) -> Option<String> {
    let shown = Escaped(&folder.to_string_lossy()).to_string();
    let meta = match fs::metadata(folder) {
        Ok(meta) if meta.is_dir() => meta,
        Ok(_) => return Some(format!("{shown} is no folder")),
        Err(error) => return Some(format!("{shown}: {error}")),
    };
    if meta.mode() & 0o1002 == 0o002 {
        return Some(format!("everybody may rename what stands in {shown} (chmod +t mends it)"));
    }
    let is_trusted = [uid, 0].contains(&meta.uid()) || Some(meta.uid()) == nobody();
    (!is_trusted).then(|| format!("{shown} belongs to user {}", meta.uid()))
}

/// Who stands for all that a user namespace does not know, such as root in most of them.
fn nobody() -> Option<u32> {
    fs::read_to_string("/proc/sys/kernel/overflowuid").ok()?.trim().parse().ok()
}

/// Whether nobody else may rename what we make there. After `su` or `sudo -E` the variable names the folder of the user
/// before, who could put files of his own in the place of ours.
fn is_closed(above: &Path, uid: u32) -> bool {
    fs::metadata(above).is_ok_and(|meta| meta.is_dir() && meta.uid() == uid && meta.mode() & 0o022 == 0)
}

/// Removes folders of ours that nobody holds. Whatever fails is left for the next.
fn tidy(above: &Path, uid: u32) {
    let Ok(entries) = fs::read_dir(above) else { return };
    for entry in entries.flatten() {
        // The name first: what else stands there is not looked at, for it may be the door to a file system that hangs.
        if !entry.file_name().to_str().is_some_and(|name| name.starts_with(PREFIX))
            || !entry.metadata().is_ok_and(|meta| meta.is_dir() && meta.uid() == uid)
        {
            continue;
        }
        let path = entry.path();
        if let Some(lock) = lock(&path).filter(|lock| is_at(lock, &path)) {
            tracing::debug!(folder = %path.display(), "removed what a killed process has left");
            let _ = fs::remove_dir_all(&path);
            drop(lock);
        }
    }
}

/// The lock on this folder, if nobody has it.
fn lock(path: &Path) -> Option<File> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let folder = rustix::fs::open(path, flags, Mode::empty()).ok()?;
    rustix::fs::flock(&folder, FlockOperation::NonBlockingLockExclusive).ok()?;
    Some(folder.into())
}

/// Whether what is locked is still what stands there.
fn is_at(lock: &File, path: &Path) -> bool {
    let (Ok(locked), Ok(there)) = (lock.metadata(), path.symlink_metadata()) else { return false };
    (locked.dev(), locked.ino()) == (there.dev(), there.ino())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn only_a_folder_that_is_ours_alone_is_closed() {
        let above = tempfile::tempdir().unwrap();
        let uid = rustix::process::geteuid().as_raw();
        let mode = |mode| fs::set_permissions(above.path(), fs::Permissions::from_mode(mode)).unwrap();
        for (bits, closed) in [(0o700, true), (0o755, true), (0o770, false), (0o707, false), (0o1777, false)] {
            mode(bits);
            assert_eq!(is_closed(above.path(), uid), closed, "{bits:o}");
        }
        mode(0o700);
        assert!(!is_closed(above.path(), uid.wrapping_add(1)), "another's");
        assert!(!is_closed(&above.path().join("none"), uid));
    }

    #[test]
    fn a_folder_in_which_others_can_replace_ours_is_passed_over_and_told() {
        let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let uid = rustix::process::geteuid().as_raw();
        let [first, second] = folders.each_ref().map(tempfile::TempDir::path);
        let mode = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        let found = |uid| temporary([first, second].into_iter(), uid);
        for (bits, is_used) in [(0o700, true), (0o775, true), (0o1777, true), (0o777, false), (0o702, false)] {
            mode(first, bits);
            assert_eq!(found(uid).unwrap(), if is_used { first } else { second }, "{bits:o}");
        }
        mode(second, 0o777);
        let told = found(uid).unwrap_err().to_string();
        let of = |path: &Path| format!("everybody may rename what stands in {} (chmod +t mends it)", path.display());
        assert_eq!(told, format!("{}; {}; or name a folder of your own in TMPDIR", of(first), of(second)));
        mode(second, 0o1777);
        if uid == 0 {
            std::os::unix::fs::chown(second, Some(65533), None).unwrap();
            assert!(found(uid).unwrap_err().to_string().contains("belongs to user 65533"));
        }
    }

    #[test]
    fn what_nobody_holds_is_removed_and_nothing_else() {
        let above = tempfile::tempdir().unwrap();
        let uid = rustix::process::geteuid().as_raw();
        let held = PrivateFolder::make_below(above.path()).unwrap();
        held.write("config", "x").unwrap();
        let left = above.path().join(format!("{PREFIX}left"));
        fs::create_dir(&left).unwrap();
        fs::write(left.join("token"), "x").unwrap();
        let file = above.path().join(format!("{PREFIX}file"));
        fs::write(&file, "x").unwrap();
        let link = above.path().join(format!("{PREFIX}link"));
        let target = above.path().join("target");
        fs::create_dir(&target).unwrap();
        std::os::unix::fs::symlink(&target, &link).unwrap();
        tidy(above.path(), uid.wrapping_add(1));
        assert!(left.exists(), "that of another user");
        tidy(above.path(), uid);
        assert!(!left.exists());
        assert!(held.path().join("config").exists() && file.exists() && link.exists() && target.exists());
        let path = held.path().to_owned();
        drop(held);
        assert!(!path.exists());
    }
}
