//! File trust: decides if a file may name programs, endpoints and token files, and what our keys and logins are used
//! for.
//!
//! [`walk`](super::walk) gathers the facts of a path, and [`PathFacts::trusted`] judges them. Judging does no I/O.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::model::text::Escaped;
use crate::os::accounts::overflow_user;

/// The users and folders with trusted files. Root is always among the users.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TrustPolicy {
    /// The user of this process.
    pub(crate) ours: u32,
    /// Further users, from `[files] trusted_owners`.
    pub(crate) owners: Arc<[u32]>,
    /// The folders of `[files] trusted_folders`. Their content is trusted whatever its owner and mode.
    pub(crate) folders: Arc<[PathBuf]>,
    /// In a user namespace, the id that stands for every user without a mapping. It is no trusted owner.
    pub(crate) overflow: Option<u32>,
}

/// A folder, symlink or file on a path, as the kernel shows it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct PathStep {
    pub(crate) path: Box<Path>,
    pub(crate) kind: StepKind,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// The permission bits, with the sticky bit.
    pub(crate) mode: u32,
    /// The members of the group if the group may write. `None` if they are unknown.
    pub(crate) members: Option<Box<[u32]>>,
    /// True if the group may write, and an ACL names further users and groups, or may do so.
    pub(crate) has_acl: bool,
    pub(crate) mount: MountKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum StepKind {
    Folder,
    Symlink,
    File,
}

/// The file system of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum MountKind {
    Ordinary,
    /// procfs or sysfs: other processes decide about the content of a file, for example by their arguments.
    Kernel,
    /// FUSE: the user that mounted it decides which owners and modes it shows. `None` if that user is unknown.
    Fuse(Option<u32>),
}

/// The steps of a path, from `/` to the file. Without steps it is trusted: the file came with the process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct PathFacts(pub(crate) Arc<[PathStep]>);

/// The reason why a file is not trusted: the end of a sentence that starts with the path of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TrustError {
    /// The folder or symlink at fault; `None` for the file itself.
    place: Option<(StepKind, Box<Path>)>,
    pub(crate) reason: TrustReason,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TrustReason {
    /// Another user owns it.
    Foreign { uid: u32, ours: u32, is_overflow: bool },
    /// All users may write it.
    Open { mode: u32 },
    /// Members of its group other than trusted owners may write it.
    OpenToGroup { mode: u32, gid: u32, is_known: bool, has_acl: bool },
    /// It is on procfs or sysfs.
    Kernel,
    /// It is on a FUSE file system that another user mounted.
    Fuse(Option<u32>),
}

impl TrustPolicy {
    /// Returns the policy of this process, with these further owners and folders.
    #[must_use]
    pub(crate) fn of_process(owners: Arc<[u32]>, folders: Arc<[PathBuf]>) -> Self {
        let ours = rustix::process::geteuid().as_raw();
        Self { ours, owners, folders, overflow: overflow_user() }
    }

    /// Returns true if files of this user are trusted.
    #[must_use]
    pub(crate) fn is_owner(&self, uid: u32) -> bool {
        Some(uid) != self.overflow && (uid == 0 || uid == self.ours || self.owners.contains(&uid))
    }
}

impl Default for TrustPolicy {
    fn default() -> Self {
        Self::of_process(Arc::default(), Arc::default())
    }
}

impl PathFacts {
    /// Returns the facts of the file itself.
    pub(crate) fn file(&self) -> Option<&PathStep> {
        self.0.last()
    }

    /// Returns the owner of the file. A file that came with the process counts as root's.
    #[must_use]
    pub(crate) fn owner(&self) -> u32 {
        self.file().map_or(0, |file| file.uid)
    }

    /// Returns true if other users may read the file. A file with a secret should not be readable by them.
    #[must_use]
    pub(crate) fn is_readable_by_others(&self) -> bool {
        self.file().is_some_and(|file| file.mode & 0o044 != 0)
    }

    /// Returns the mode of the file if every user of this host may read it: the folders above it are open, too.
    pub(crate) fn mode_open_to_all(&self) -> Option<u32> {
        let is_open = |step: &PathStep| match step.kind {
            StepKind::Folder => step.mode & 0o001 != 0,
            StepKind::Symlink => true,
            StepKind::File => step.mode & 0o004 != 0,
        };
        self.file().filter(|_| self.0.iter().all(is_open)).map(|file| file.mode & 0o7777)
    }

    /// Returns the first symlink of another user that leads to a file that this user does not own. With such a symlink
    /// another user makes us read what only we may read.
    ///
    /// A symlink of root or of this user may lead anywhere.
    pub(crate) fn foreign_symlink(&self, ours: u32, overflow: Option<u32>) -> Option<&PathStep> {
        let owner = self.owner();
        let is_foreign = |step: &&PathStep| {
            let is_free = Some(step.uid) != overflow && (step.uid == 0 || step.uid == ours);
            step.kind == StepKind::Symlink && !is_free && step.uid != owner
        };
        self.0.iter().find(is_foreign)
    }

    /// Returns the facts of the symlinks and of the end of the path alone, for a folder that other users may exchange.
    #[must_use]
    pub(crate) fn without_folders_above(&self) -> Self {
        let last = self.0.len().saturating_sub(1);
        let is_kept = |(number, step): &(usize, &PathStep)| *number == last || step.kind == StepKind::Symlink;
        Self(self.0.iter().enumerate().filter(is_kept).map(|(_, step)| step.clone()).collect())
    }

    /// Returns the owner of an untrusted file that no other user can write or exchange, but root, this user and trusted
    /// owners.
    pub(crate) fn sole_owner(&self, policy: &TrustPolicy) -> Option<u32> {
        let owner = self.owner();
        let owners = policy.owners.iter().copied().chain([owner]).collect();
        self.trusted(&TrustPolicy { owners, ..policy.clone() }).is_ok().then_some(owner)
    }

    /// Accepts a file that only root, the user of this process and trusted owners can have written or put at its path.
    ///
    /// # Errors
    /// The first folder, symlink or file on the path that other users can change.
    pub(crate) fn trusted(&self, policy: &TrustPolicy) -> Result<(), TrustError> {
        let mut is_below_ours = false;
        for step in &*self.0 {
            step.check(policy, is_below_ours).map_err(|reason| {
                let place = (step.kind != StepKind::File).then(|| (step.kind, step.path.clone()));
                TrustError { place, reason }
            })?;
            is_below_ours |= step.kind == StepKind::Folder && policy.is_owner(step.uid) && step.uid == policy.ours;
        }
        Ok(())
    }
}

impl PathStep {
    fn check(&self, policy: &TrustPolicy, is_below_ours: bool) -> Result<(), TrustReason> {
        match self.mount {
            MountKind::Kernel => return Err(TrustReason::Kernel),
            MountKind::Fuse(user) if !user.is_some_and(|user| policy.is_owner(user)) => {
                return Err(TrustReason::Fuse(user));
            }
            MountKind::Fuse(_) | MountKind::Ordinary => {}
        }
        if policy.folders.iter().any(|folder| self.path.starts_with(folder)) {
            return Ok(());
        }
        let (uid, mode, ours) = (self.uid, self.mode, policy.ours);
        if !policy.is_owner(uid) {
            // The host's `/` and `/home` look like this in a rootless container.
            let is_overflow = Some(uid) == policy.overflow;
            let is_of_host = is_overflow && self.kind == StepKind::Folder && !is_below_ours && mode & 0o022 == 0;
            return if is_of_host { Ok(()) } else { Err(TrustReason::Foreign { uid, ours, is_overflow }) };
        }
        // The mode of a symlink has no meaning. In a sticky folder only the owner of an entry can exchange it, and the
        // next step is that entry.
        if self.kind == StepKind::Symlink || self.kind == StepKind::Folder && mode & 0o1000 != 0 {
            return Ok(());
        }
        if mode & 0o002 != 0 {
            return Err(TrustReason::Open { mode });
        }
        let is_private = |members: &[u32]| members.iter().all(|&member| member == uid || policy.is_owner(member));
        if mode & 0o020 != 0 && !self.members.as_deref().is_some_and(is_private) {
            return Err(TrustReason::OpenToGroup {
                mode,
                gid: self.gid,
                is_known: self.members.is_some(),
                has_acl: self.has_acl,
            });
        }
        Ok(())
    }
}

impl TrustError {
    /// Returns the reason as a sentence about the path that was judged.
    #[must_use]
    pub(crate) fn about(&self, path: &Path) -> String {
        match &self.place {
            Some((StepKind::Folder, place)) if std::path::absolute(path).is_ok_and(|path| *path == **place) => {
                format!("it {}", self.reason)
            }
            _ => format!("it {self}"),
        }
    }
}

impl fmt::Display for TrustError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((kind, path)) = &self.place {
            let place = if *kind == StepKind::Symlink { "is reached by the symlink" } else { "is in the folder" };
            write!(f, "{place} {}, which ", Escaped(&path.to_string_lossy()))?;
        }
        self.reason.fmt(f)
    }
}

impl fmt::Display for TrustReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Foreign { uid, is_overflow: true, .. } => {
                write!(
                    f,
                    "belongs to user {uid}, which stands for every user without an id in this user namespace (map its owner)"
                )
            }
            Self::Foreign { uid, ours, .. } => write!(
                f,
                "belongs to user {uid}, not to this user ({ours}), root or a trusted owner (chown it, or add that user to trusted_owners in [files])"
            ),
            Self::Open { mode } => write!(
                f,
                "may be written by all users (mode {mode:04o}; run chmod o-w, or name its folder in trusted_folders)"
            ),
            Self::OpenToGroup { mode, has_acl: true, .. } => {
                write!(f, "may be written by users that its ACL names (mode {mode:04o}; run chmod g-w, or setfacl -b)")
            }
            Self::OpenToGroup { mode, gid, is_known, .. } => {
                let others = if *is_known { "has other members" } else { "has unknown members" };
                write!(f, "may be written by group {gid}, which {others} (mode {mode:04o}; run chmod g-w)")
            }
            Self::Kernel => {
                f.write_str("is on procfs or sysfs, where other processes decide about the content (copy it)")
            }
            Self::Fuse(Some(user)) => write!(f, "is on a FUSE file system that user {user} has mounted (copy it)"),
            Self::Fuse(None) => f.write_str("is on a FUSE file system that an unknown user has mounted (copy it)"),
        }
    }
}

impl std::error::Error for TrustError {}

#[cfg(test)]
mod tests;
