//! Opens a file by walking its path, and gathers the facts that file trust needs. Only the kind of the file is known
//! before it is opened for reading, so that no FIFO wakes its writer and no device acts.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use crate::model::text::Escaped;
use crate::os::accounts;
use crate::os::accounts::overflow_user;
use crate::os::files::acl;
use crate::os::files::trust::{MountKind, PathFacts, PathStep, StepKind, TrustPolicy};

/// The maximum number of symlinks on a path, as in Linux.
const MAX_LINKS: usize = 40;

/// The maximum number of folders and symlinks on a path. The kernel limits a path to 4096 bytes, but not what its symlinks
/// add; the steps of such a path would take gigabytes.
const MAX_STEPS: usize = 512;

/// The maximum length of a path in bytes, as in Linux.
const MAX_PATH_LEN: usize = 4096;

/// The magic numbers of statfs(2).
const PROCFS: u64 = 0x9fa0;
const SYSFS: u64 = 0x6265_6572;
const FUSE: u64 = 0x6573_5546;

/// A file that is found, but not open for reading.
pub(crate) struct WalkedFile {
    /// Opened with `O_PATH`.
    handle: OwnedFd,
    /// The folder and the name of the file. `None` for a file descriptor of this process.
    entry: Option<(OwnedFd, OsString)>,
    pub(crate) stat: Stat,
    pub(crate) facts: PathFacts,
}

/// The reason why the walk did not reach the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WalkError {
    /// A part of the path does not exist.
    Missing {
        /// True if the missing part is the target of a symlink.
        is_dangling: bool,
    },
    Io(Errno),
}

impl From<WalkError> for std::io::Error {
    fn from(error: WalkError) -> Self {
        match error {
            WalkError::Missing { .. } => Errno::NOENT.into(),
            WalkError::Io(error) => error.into(),
        }
    }
}

/// The part of a path that the walk has not reached yet, and the folder that it has reached.
struct Walk {
    folder: OwnedFd,
    path: PathBuf,
    ahead: VecDeque<OsString>,
    steps: Vec<PathStep>,
    device: Option<(u64, MountKind)>,
    links: usize,
}

/// Walks to the file and judges nothing.
///
/// # Errors
/// If the path leads to no file.
pub(crate) fn walk(path: &Path) -> Result<WalkedFile, WalkError> {
    let path = std::path::absolute(path).map_err(|_| WalkError::Io(Errno::NOENT))?;
    let folder = rustix::fs::open("/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
    let mut walk = Walk {
        folder: folder.map_err(WalkError::Io)?,
        path: "/".into(),
        ahead: names(&path).collect(),
        steps: Vec::new(),
        device: None,
        links: 0,
    };
    let failed = |walk: &Walk, error| match error {
        Errno::NOENT | Errno::NOTDIR => WalkError::Missing { is_dangling: walk.links > 0 },
        error => WalkError::Io(error),
    };
    let root = rustix::fs::fstat(&walk.folder).map_err(WalkError::Io)?;
    let handle = walk.folder.try_clone().map_err(|_| WalkError::Io(Errno::MFILE))?;
    walk.record(&handle, &root, StepKind::Folder);
    loop {
        match walk.step() {
            Ok(Some(found)) => return Ok(found),
            Ok(None) => {}
            Err(error) => return Err(failed(&walk, error)),
        }
    }
}

impl Walk {
    /// Goes to the next part of the path. Returns the file at its end.
    fn step(&mut self) -> Result<Option<WalkedFile>, Errno> {
        if self.steps.len() >= MAX_STEPS || self.path.as_os_str().len() > MAX_PATH_LEN {
            return Err(Errno::NAMETOOLONG);
        }
        let Some(name) = self.ahead.pop_front() else {
            // The path ends at a folder.
            let handle = self.folder.try_clone().map_err(|_| Errno::MFILE)?;
            let stat = rustix::fs::fstat(&handle)?;
            return Ok(Some(WalkedFile { handle, entry: None, stat, facts: PathFacts(self.steps.as_slice().into()) }));
        };
        let handle = self.open(&name)?;
        let stat = rustix::fs::fstat(&handle)?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        if name == ".." {
            self.path.pop();
            self.enter(handle, &stat);
            return Ok(None);
        }
        match kind {
            FileType::Directory => {
                self.path.push(&name);
                self.enter(handle, &stat);
                Ok(None)
            }
            FileType::Symlink if self.is_own_descriptor() && self.ahead.is_empty() => self.own_descriptor(&name),
            FileType::Symlink => {
                self.path.push(&name);
                self.record(&handle, &stat, StepKind::Symlink);
                self.path.pop();
                self.links += 1;
                if self.links > MAX_LINKS {
                    return Err(Errno::LOOP);
                }
                let target =
                    PathBuf::from(OsString::from_vec(rustix::fs::readlinkat(&handle, "", Vec::new())?.into_bytes()));
                if target.is_absolute() {
                    self.folder =
                        rustix::fs::open("/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
                    self.path = "/".into();
                }
                for name in names(&target).collect::<Vec<_>>().into_iter().rev() {
                    self.ahead.push_front(name);
                }
                Ok(None)
            }
            _ if !self.ahead.is_empty() => Err(Errno::NOTDIR),
            _ => {
                self.path.push(&name);
                self.record(&handle, &stat, StepKind::File);
                let folder = self.folder.try_clone().map_err(|_| Errno::MFILE)?;
                let facts = PathFacts(self.steps.as_slice().into());
                Ok(Some(WalkedFile { handle, entry: Some((folder, name)), stat, facts }))
            }
        }
    }

    /// Opens an entry of the folder without following it. `O_DIRECTORY` lets the kernel mount a file system there
    /// (autofs), so it is tried first where a folder must be.
    fn open(&self, name: &OsStr) -> Result<OwnedFd, Errno> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        if !self.ahead.is_empty() {
            match rustix::fs::openat(&self.folder, name, flags | OFlags::DIRECTORY, Mode::empty()) {
                Err(Errno::NOTDIR | Errno::LOOP) => {}
                opened => return opened,
            }
        }
        rustix::fs::openat(&self.folder, name, flags, Mode::empty())
    }

    fn enter(&mut self, folder: OwnedFd, stat: &Stat) {
        self.record(&folder, stat, StepKind::Folder);
        self.folder = folder;
    }

    fn record(&mut self, handle: &OwnedFd, stat: &Stat, kind: StepKind) {
        let mount = match self.device {
            Some((device, mount)) if device == stat.st_dev => mount,
            _ => mount_kind(handle, stat.st_dev),
        };
        self.device = Some((stat.st_dev, mount));
        self.steps.push(step(self.path.as_path().into(), handle, stat, kind, mount));
    }

    /// Returns true if the walk has reached the folder of the open files of this process.
    fn is_own_descriptor(&self) -> bool {
        matches!(self.device, Some((_, MountKind::Kernel)))
            && self.path == Path::new(&format!("/proc/{}/fd", std::process::id()))
    }

    /// Opens an open file of this process again: the user passed it, for example as `<(command)`. It came with the
    /// process, so only its own owner and mode count. A symlink on the way counts with all of its path: another user may
    /// have made it.
    fn own_descriptor(&mut self, name: &OsStr) -> Result<Option<WalkedFile>, Errno> {
        let handle = rustix::fs::openat(&self.folder, name, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
        let stat = rustix::fs::fstat(&handle)?;
        let mount = mount_kind(&handle, stat.st_dev);
        let is_counted =
            |step: &PathStep| step.mount != MountKind::Kernel && step.path.parent() != Some(Path::new("/dev"));
        let mut steps = std::mem::take(&mut self.steps);
        steps.retain(is_counted);
        if !steps.iter().any(|step| step.kind == StepKind::Symlink) {
            steps.clear();
        }
        steps.push(step(self.path.join(name).into(), &handle, &stat, StepKind::File, mount));
        Ok(Some(WalkedFile { handle, entry: None, stat, facts: PathFacts(steps.into()) }))
    }
}

impl WalkedFile {
    /// Checks that no symlink of another user led to a file that this user does not own. Call it before the file is
    /// opened.
    ///
    /// # Errors
    /// The reason, as a sentence about the symlink.
    pub(crate) fn check_symlinks(&self) -> Result<(), String> {
        let ours = rustix::process::geteuid().as_raw();
        self.facts.foreign_symlink(ours, overflow_user()).map_or(Ok(()), |link| {
            let path = Escaped(&link.path.to_string_lossy()).to_string();
            Err(format!("the symlink {path} of user {} leads to a file of user {}", link.uid, self.facts.owner()))
        })
    }

    pub(crate) fn kind(&self) -> FileType {
        FileType::from_raw_mode(self.stat.st_mode)
    }

    /// Returns true for a file that came with the process, such as `<(command)`.
    pub(crate) fn is_own_descriptor(&self) -> bool {
        self.entry.is_none()
    }

    pub(crate) fn is_fifo(&self) -> bool {
        self.kind() == FileType::Fifo
    }

    /// Returns the file as it was found, opened with `O_PATH`.
    pub(crate) fn into_handle(self) -> OwnedFd {
        self.handle
    }

    /// Opens the file for reading.
    ///
    /// # Errors
    /// If this user may not read it, or another file has taken its place meanwhile.
    pub(crate) fn open(&self, flags: OFlags) -> Result<OwnedFd, Errno> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOCTTY | flags;
        let path = format!("/proc/self/fd/{}", self.handle.as_raw_fd());
        match rustix::fs::openat(CWD, path, flags, Mode::empty()) {
            Err(Errno::NOENT) => {}
            opened => return opened,
        }
        // Without procfs, open the name again and compare.
        let Some((folder, name)) = &self.entry else { return Err(Errno::NOENT) };
        let file = rustix::fs::openat(folder, name, flags | OFlags::NOFOLLOW | OFlags::NONBLOCK, Mode::empty())?;
        let stat = rustix::fs::fstat(&file)?;
        if (stat.st_dev, stat.st_ino) == (self.stat.st_dev, self.stat.st_ino) { Ok(file) } else { Err(Errno::STALE) }
    }
}

/// Returns the real path of a folder in which no other user can exchange our entries.
///
/// # Errors
/// The reason, as a sentence about the folder.
pub(crate) fn trusted_folder(path: &Path, policy: &TrustPolicy) -> Result<PathBuf, String> {
    let found = walk(path).map_err(|error| io::Error::from(error).to_string())?;
    let Some(folder) = found.facts.file().filter(|last| last.kind == StepKind::Folder) else {
        return Err("it is not a folder".into());
    };
    found.facts.trusted(policy).map_err(|distrust| distrust.about(path))?;
    Ok(folder.path.to_path_buf())
}

/// Returns the real path of `XDG_RUNTIME_DIR` if it is this user's alone, else of `/run/user/UID` if that is.
///
/// After `su` or `sudo -E` the variable names the folder of the previous user. In cron and over ssh it is unset.
pub(crate) fn runtime_folder(named: Option<PathBuf>, policy: &TrustPolicy) -> Option<PathBuf> {
    let real = |folder: PathBuf| {
        let is_ours = |last: &PathStep| last.uid == policy.ours && last.mode & 0o022 == 0;
        let is_private = walk(&folder).is_ok_and(|found| found.facts.file().is_some_and(is_ours));
        trusted_folder(&folder, policy).ok().filter(|_| is_private)
    };
    named.and_then(real).or_else(|| real(PathBuf::from(format!("/run/user/{}", policy.ours))))
}

fn step(path: Box<Path>, handle: &OwnedFd, stat: &Stat, kind: StepKind, mount: MountKind) -> PathStep {
    let mode = stat.st_mode & 0o7777;
    let may_group_write = kind != StepKind::Symlink && mode & 0o020 != 0 && mode & 0o002 == 0;
    let has_acl = may_group_write && acl::may_be_present(handle);
    let members = (may_group_write && !has_acl).then(|| accounts::members(stat.st_gid)).flatten();
    PathStep { path, kind, uid: stat.st_uid, gid: stat.st_gid, mode, members, has_acl, mount }
}

fn names(path: &Path) -> impl Iterator<Item = OsString> {
    path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::Prefix(_) | Component::RootDir | Component::CurDir => None,
    })
}

fn mount_kind(handle: &OwnedFd, device: u64) -> MountKind {
    let Ok(statfs) = rustix::fs::fstatfs(handle) else { return MountKind::Fuse(None) };
    match u64::try_from(statfs.f_type).unwrap_or_default() & 0xffff_ffff {
        PROCFS | SYSFS => MountKind::Kernel,
        FUSE => {
            let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
            MountKind::Fuse(fuse_user(&mounts, rustix::fs::major(device), rustix::fs::minor(device)))
        }
        _ => MountKind::Ordinary,
    }
}

/// Returns the user that mounted a FUSE file system, from `/proc/self/mountinfo` (proc_pid_mountinfo(5)). Mounts
/// without `user_id=` are root's: virtiofs.
fn fuse_user(mounts: &str, major: u32, minor: u32) -> Option<u32> {
    let device = format!("{major}:{minor}");
    let line = mounts.lines().find(|line| line.split(' ').nth(2) == Some(&device))?;
    let options = line.split(" - ").nth(1)?.split(' ').nth(2)?;
    match options.split(',').find_map(|option| option.strip_prefix("user_id=")) {
        Some(user) => user.parse().ok(),
        None => Some(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_user_of_a_fuse_mount() {
        let mounts = "22 1 0:20 / /proc rw - proc proc rw\n\
            30 1 0:45 / /home/ann/mnt rw,nosuid - fuse.sshfs ann@h: rw,user_id=1000,group_id=1000\n\
            31 1 0:46 / /host rw - virtiofs share rw\n\
            32 1 0:47 / /odd rw - fuse x rw,user_id=many\n33 short\n";
        for (minor, user) in [(45, Some(1000)), (46, Some(0)), (47, None), (48, None)] {
            assert_eq!(fuse_user(mounts, 0, minor), user, "{minor}");
        }
    }
}
