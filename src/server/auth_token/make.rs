//! Makes the token file and its folder.
//!
//! Another user may write the folder above, and exchange ours for a symlink at any moment: a shared volume of a Pod is
//! open like that. Each folder is therefore opened once, and everything is made relative to its handle.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, OFlags, RenameFlags, Stat, Uid};
use rustix::io::Errno;
use zeroize::Zeroizing;

use crate::model::secret::Secret;
use crate::model::text::{Escaped, hex};
use crate::os::files::acl;
use crate::os::files::trust::TrustPolicy;
use crate::os::files::walk::{WalkError, WalkedFile, walk};
use crate::server::auth_token::AuthTokenFile;
use crate::server::auth_token::error::AuthTokenError;

/// A folder on the path of the token, open.
struct OpenFolder {
    handle: OwnedFd,
    /// True if this process has made it.
    is_new: bool,
}

impl AuthTokenFile {
    /// Opens the folder of the token. Makes it if it is missing, and gives the new folder to the group.
    ///
    /// # Errors
    /// If another user could replace the token in it, or has exchanged it meanwhile.
    pub(super) fn open_folder(&self, folder: &Path) -> Result<OwnedFd, AuthTokenError> {
        let OpenFolder { handle, is_new } = self.find_or_make(folder, 0o700).map_err(|error| match error {
            AuthTokenError::Io { error, .. } if error.kind() == io::ErrorKind::NotADirectory && folder.exists() => {
                open(folder, "it is not a folder")
            }
            error => error,
        })?;
        let found = walk(folder).map_err(|error| self.io("open its folder", error.into()))?;
        let stat = self.stat(&handle)?;
        if !is_same(&found.stat, &stat) {
            return Err(open(folder, "another user has exchanged it"));
        }
        self.check_folder(folder, &found, &stat)?;
        if is_new {
            self.give_folder(&handle, &stat)?;
        } else {
            self.check_folder_acl(folder, &handle, &stat)?;
        }
        self.warn_of_closed_folder(&self.stat(&handle)?);
        Ok(handle)
    }

    fn find_or_make(&self, folder: &Path, mode: u32) -> Result<OpenFolder, AuthTokenError> {
        let io = |error: Errno| self.io("make its folder", error.into());
        match walk(folder) {
            Ok(found) => return self.open_found(folder, &found),
            Err(WalkError::Missing { .. }) => {}
            Err(error) => return Err(self.io("open its folder", error.into())),
        }
        let (Some(above), Some(name)) = (folder.parent(), folder.file_name()) else { return Err(io(Errno::NOENT)) };
        let above = if above.as_os_str().is_empty() { Path::new(".") } else { above };
        let above = self.find_or_make(above, 0o755)?.handle;
        match rustix::fs::mkdirat(&above, name, mode.into()) {
            Ok(()) => Ok(OpenFolder { handle: self.open_made(folder, &above, name)?, is_new: true }),
            // Another start has made it.
            Err(Errno::EXIST) => {
                let found = walk(folder).map_err(|error| self.io("open its folder", error.into()))?;
                self.open_found(folder, &found)
            }
            Err(error) => Err(io(error)),
        }
    }

    /// Opens a folder that exists. The symlinks on its path are judged before anything is made behind them.
    fn open_found(&self, folder: &Path, found: &WalkedFile) -> Result<OpenFolder, AuthTokenError> {
        found.check_symlinks().map_err(|reason| open(folder, reason))?;
        let handle = match found.open(OFlags::DIRECTORY) {
            // This user may enter the folder but not read it, or there is no procfs.
            Err(Errno::ACCESS | Errno::NOENT) => reopen(found),
            opened => opened,
        };
        let handle = handle.map_err(|error| self.io("open its folder", error.into()))?;
        Ok(OpenFolder { handle, is_new: false })
    }

    /// Opens the folder that this process has just made. Another user may have put something else in its place.
    fn open_made(&self, folder: &Path, above: &OwnedFd, name: &OsStr) -> Result<OwnedFd, AuthTokenError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let handle = match rustix::fs::openat(above, name, flags, Mode::empty()) {
            Err(Errno::NOTDIR | Errno::LOOP | Errno::NOENT) => {
                return Err(open(folder, "another user has exchanged it for a symlink or a file"));
            }
            opened => opened.map_err(|error| self.io("open its folder", error.into()))?,
        };
        let Stat { st_uid, st_mode, .. } = self.stat(&handle)?;
        if st_uid != rustix::process::geteuid().as_raw() || st_mode & 0o022 != 0 {
            let mode = st_mode & 0o7777;
            return Err(open(folder, format!("a new folder belongs to user {st_uid} and has mode {mode:04o}")));
        }
        Ok(handle)
    }

    /// Lets the group enter the folder that this process has made, and no user of an inherited ACL.
    fn give_folder(&self, folder: &OwnedFd, stat: &Stat) -> Result<(), AuthTokenError> {
        // The default ACL would be inherited by the token file.
        let removed = [acl::ACCESS, acl::DEFAULT].into_iter().try_for_each(|name| acl::remove(folder, name));
        // Without a group the mode 0700 closes the ACL.
        let Some(group) = self.group else { return Ok(()) };
        removed.map_err(|error| self.io("remove the ACL of its folder", error))?;
        if stat.st_gid != group {
            std::os::unix::fs::fchown(folder, None, Some(group))
                .map_err(|error| self.not_given("its folder", group, error))?;
        }
        rustix::fs::fchmod(folder, 0o750.into())
            .map_err(|error| self.io("give the group access to its folder", error.into()))
    }

    /// Warns if an existing folder is closed to the group that may read the file.
    fn warn_of_closed_folder(&self, stat: &Stat) {
        let closed_to = |group: &u32| stat.st_mode & 0o001 == 0 && (stat.st_gid != *group || stat.st_mode & 0o010 == 0);
        if let Some(group) = self.group.filter(closed_to) {
            tracing::warn!(
                token_file = %Escaped(&self.path.to_string_lossy()), group,
                "the group cannot enter the folder of the token file; give the folder this group (chgrp) and \
                 mode 0750 (chmod)"
            );
        }
    }

    /// Refuses a folder in which another user could replace the token. Folders above it may be open: a shared volume of
    /// a Pod is. Another user could then exchange the folder, but not for a folder that passes this check.
    fn check_folder(&self, folder: &Path, found: &WalkedFile, stat: &Stat) -> Result<(), AuthTokenError> {
        if let Err(distrust) = found.facts.without_folders_above().trusted(&TrustPolicy::default()) {
            return Err(open(folder, distrust.about(folder)));
        }
        // The group of the clients has members, now or later.
        if self.group == Some(stat.st_gid) && stat.st_mode & 0o020 != 0 {
            let mode = stat.st_mode & 0o7777;
            return Err(open(folder, format!("its mode {mode:04o} lets the group of the clients write to it")));
        }
        Ok(())
    }

    /// Refuses an existing folder with an ACL if a group may read the token, or if the ACL may let other users write.
    fn check_folder_acl(&self, folder: &Path, handle: &OwnedFd, stat: &Stat) -> Result<(), AuthTokenError> {
        let has = |name| acl::is_present(handle, name).map_err(|error| self.io("read the ACL of its folder", error));
        // The bits of the group are the mask of the ACL.
        let is_open = self.group.is_some() || stat.st_mode & 0o020 != 0;
        if is_open && has(acl::ACCESS)? || self.group.is_some() && has(acl::DEFAULT)? {
            return Err(open(folder, "it has an ACL, which may give other users access to it (run setfacl -b)"));
        }
        Ok(())
    }

    /// Makes a token of 256 random bits. The file appears with its whole content. If another daemon has written a token
    /// first, that token is returned.
    pub(super) fn make(&self, folder: &OwnedFd) -> Result<Secret, AuthTokenError> {
        let token = random_hex().map_err(|error| self.io("generate a random token", error))?;
        let made = match self.make_nameless(folder, &token) {
            Some(made) => made,
            None => self.make_aside(folder, &token),
        };
        match made {
            Err(AuthTokenError::Io { error, .. }) if error.kind() == io::ErrorKind::AlreadyExists => self.keep(),
            Err(error) => Err(error),
            Ok(()) => Ok(Secret::new(token.as_str())),
        }
    }

    /// Writes a file without a name and links it into place, so that a killed process leaves no file behind. Returns
    /// `None` if the file system or the kernel does not support that.
    pub(super) fn make_nameless(&self, folder: &OwnedFd, token: &str) -> Option<Result<(), AuthTokenError>> {
        let (flags, mode) = (OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC, Mode::RUSR | Mode::WUSR);
        let file = File::from(rustix::fs::openat(folder, ".", flags, mode).ok()?);
        if let Err(error) = self.fill(&file, token) {
            return Some(Err(error));
        }
        let itself = format!("/proc/self/fd/{}", file.as_raw_fd());
        match rustix::fs::linkat(CWD, itself, folder, self.name(), AtFlags::SYMLINK_FOLLOW) {
            Ok(()) => Some(Ok(())),
            Err(error @ Errno::EXIST) => Some(Err(self.io("put it into place", error.into()))),
            Err(_) => None,
        }
    }

    /// Writes a temporary file and renames it into place.
    pub(super) fn make_aside(&self, folder: &OwnedFd, token: &str) -> Result<(), AuthTokenError> {
        let aside = random_hex().map_err(|error| self.io("generate a random name", error))?;
        let aside = format!(".token.{}", &aside[..16]);
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(folder, &aside, flags, Mode::RUSR | Mode::WUSR);
        let file = File::from(file.map_err(|error| self.io("write it", error.into()))?);
        let written = self.fill(&file, token).and_then(|()| {
            match rustix::fs::renameat_with(folder, &aside, folder, self.name(), RenameFlags::NOREPLACE) {
                // This file system has no rename that refuses to replace a file. The exclusive creation of `aside` must
                // suffice.
                Err(Errno::INVAL | Errno::NOSYS) => rustix::fs::renameat(folder, &aside, folder, self.name()),
                renamed => renamed,
            }
            .map_err(|error| self.io("rename the temporary file", error.into()))
        });
        if written.is_err() {
            let _ = rustix::fs::unlinkat(folder, &aside, AtFlags::empty());
        }
        written
    }

    /// Replaces the token in an existing file, at one moment and with its mode and group.
    ///
    /// # Errors
    /// If the file is missing or a symlink, another user could exchange it, or it cannot be written.
    pub(crate) fn replace(&self, token: &Secret) -> Result<(), AuthTokenError> {
        let folder = match self.path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        let folder = self.open_folder(folder)?;
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let old = rustix::fs::openat(&folder, self.name(), flags, Mode::empty()).map_err(|error| match error {
            Errno::LOOP => self.unfit("it is a symlink: another program keeps the token"),
            error => self.io("open it", error.into()),
        })?;
        let stat = self.stat(&old)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(self.unfit("it is not a regular file"));
        }
        let aside = random_hex().map_err(|error| self.io("generate a random name", error))?;
        let aside = format!(".token.{}", &aside[..16]);
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&folder, &aside, flags, Mode::RUSR | Mode::WUSR);
        let mut file = File::from(file.map_err(|error| self.io("write it", error.into()))?);
        let io = |error: Errno| self.io("write it", error.into());
        let mut write = || {
            drop(acl::remove(&file, acl::ACCESS));
            file.write_all(token.expose().as_bytes()).map_err(|error| self.io("write it", error))?;
            // The owner first: a change of the owner takes the mode back.
            let made = rustix::fs::fstat(&file).map_err(io)?;
            if (made.st_uid, made.st_gid) != (stat.st_uid, stat.st_gid) {
                let (owner, group) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
                rustix::fs::fchown(&file, Some(owner), Some(group)).map_err(io)?;
            }
            rustix::fs::fchmod(&file, Mode::from_raw_mode(stat.st_mode & 0o777)).map_err(io)?;
            file.sync_all().map_err(|error| self.io("write it", error))?;
            rustix::fs::renameat(&folder, &aside, &folder, self.name()).map_err(io)
        };
        let written = write();
        if written.is_err() {
            let _ = rustix::fs::unlinkat(&folder, &aside, AtFlags::empty());
        }
        written
    }

    pub(crate) fn not_random(&self, error: io::Error) -> AuthTokenError {
        self.io("generate a random token", error)
    }

    fn fill(&self, mut file: &File, token: &str) -> Result<(), AuthTokenError> {
        file.write_all(token.as_bytes()).map_err(|error| self.io("write it", error))?;
        match self.group {
            Some(group) => self.open_to(file, group)?,
            // The mode 0600 closes an inherited ACL. It is removed for a group that is configured later.
            None => drop(acl::remove(file, acl::ACCESS)),
        }
        file.sync_all().map_err(|error| self.io("write it", error))
    }

    fn name(&self) -> &OsStr {
        self.path.file_name().unwrap_or_default()
    }

    fn stat(&self, folder: &OwnedFd) -> Result<Stat, AuthTokenError> {
        rustix::fs::fstat(folder).map_err(|error| self.io("read the metadata of its folder", error.into()))
    }
}

fn open(folder: &Path, reason: impl Into<String>) -> AuthTokenError {
    AuthTokenError::OpenFolder { path: folder.to_owned(), reason: reason.into() }
}

/// Opens the folder again by its real path, for reading if this user may read it.
fn reopen(found: &WalkedFile) -> Result<OwnedFd, Errno> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    if found.kind() != FileType::Directory {
        return Err(Errno::NOTDIR);
    }
    let path = &found.facts.file().ok_or(Errno::NOENT)?.path;
    let handle = rustix::fs::open(&**path, flags | OFlags::PATH, Mode::empty())?;
    if !is_same(&rustix::fs::fstat(&handle)?, &found.stat) {
        return Err(Errno::STALE);
    }
    Ok(rustix::fs::openat(&handle, ".", flags, Mode::empty()).unwrap_or(handle))
}

fn is_same(one: &Stat, other: &Stat) -> bool {
    (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino)
}

/// Returns a new token: 256 random bits in hexadecimal.
///
/// # Errors
/// If the kernel has no random numbers.
pub(crate) fn random() -> io::Result<Secret> {
    Ok(Secret::new(random_hex()?.as_str()))
}

/// Returns 256 random bits in hexadecimal.
fn random_hex() -> io::Result<Zeroizing<String>> {
    let mut bytes = Zeroizing::new([0u8; 32]);
    getrandom::fill(&mut *bytes).map_err(|error| io::Error::other(error.to_string()))?;
    Ok(Zeroizing::new(hex(&*bytes)))
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{MetadataExt, PermissionsExt, lchown, symlink};

    use rustix::fs::XattrFlags;

    use super::*;

    const STRANGER: u32 = 64_001;
    const TOKEN: &str = "0123456789abcdef0123456789abcdef";

    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), Permissions::from_mode(0o700)).unwrap();
        folder
    }

    /// Returns an ACL with all rights for a user other than the owner, as the kernel stores it (version 2).
    fn acl_for_stranger() -> Vec<u8> {
        const NONE: u32 = u32::MAX;
        let mut acl = 2u32.to_le_bytes().to_vec();
        for (tag, rights, id) in [(1u16, 7u16, NONE), (2, 7, STRANGER), (4, 0, NONE), (0x10, 7, NONE), (0x20, 0, NONE)]
        {
            acl.extend_from_slice(&tag.to_le_bytes());
            acl.extend_from_slice(&rights.to_le_bytes());
            acl.extend_from_slice(&id.to_le_bytes());
        }
        acl
    }

    fn set_acl(path: &Path, name: &str) -> bool {
        let set = rustix::fs::setxattr(path, name, &acl_for_stranger(), XattrFlags::empty());
        set.is_ok() || !testkit::harness::skip("the file system of the temporary folder has no ACLs")
    }

    fn has_acl(path: &Path) -> bool {
        let file = File::open(path).unwrap();
        [acl::ACCESS, acl::DEFAULT].into_iter().any(|name| acl::is_present(&file, name).unwrap())
    }

    #[test]
    fn inherited_acl_gives_no_access_to_token() {
        let folder = folder();
        if !set_acl(folder.path(), acl::DEFAULT) {
            return;
        }
        let group = Some(rustix::process::getegid().as_raw());
        for (name, group, modes) in [("group", group, (0o750, 0o640)), ("alone", None, (0o700, 0o600))] {
            let file = AuthTokenFile { path: folder.path().join(name).join("token"), group };
            let token = file.keep_or_make().unwrap();
            let made = file.path.parent().unwrap();
            assert!(!has_acl(made) && !has_acl(&file.path), "{name}");
            let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o777;
            assert_eq!((mode(made), mode(&file.path)), modes, "{name}");
            assert_eq!(file.keep_or_make().unwrap(), token, "{name}");
        }
    }

    #[test]
    fn both_methods_remove_inherited_acl_for_group() {
        let folder = folder();
        let group = Some(rustix::process::getegid().as_raw());
        let file = AuthTokenFile { path: folder.path().join("token"), group };
        let handle = file.open_folder(folder.path()).unwrap();
        if !set_acl(folder.path(), acl::DEFAULT) {
            return;
        }
        file.make_nameless(&handle, TOKEN).expect("the file systems of tests know it").unwrap();
        assert!(!has_acl(&file.path));
        fs::remove_file(&file.path).unwrap();
        file.make_aside(&handle, TOKEN).unwrap();
        assert!(!has_acl(&file.path));
    }

    #[test]
    fn refuses_existing_folder_and_file_with_acl() {
        let folder = folder();
        let group = Some(rustix::process::getegid().as_raw());
        let file = AuthTokenFile { path: folder.path().join("token"), group };
        file.keep_or_make().unwrap();
        if !set_acl(&file.path, acl::ACCESS) {
            return;
        }
        fs::set_permissions(&file.path, Permissions::from_mode(0o640)).unwrap();
        let error = file.keep_or_make().unwrap_err();
        assert!(matches!(&error, AuthTokenError::Unfit { .. }), "{error}");
        assert!(error.to_string().contains("setfacl -b"), "{error}");
        fs::remove_file(&file.path).unwrap();

        let alone = AuthTokenFile { group: None, ..file.clone() };
        for (name, mode, is_refused_alone) in
            [(acl::DEFAULT, 0o750, false), (acl::ACCESS, 0o750, false), (acl::ACCESS, 0o770, true)]
        {
            assert!(set_acl(folder.path(), name));
            fs::set_permissions(folder.path(), Permissions::from_mode(mode)).unwrap();
            let error = file.keep_or_make().unwrap_err();
            assert!(matches!(&error, AuthTokenError::OpenFolder { .. }), "{error}");
            assert!(mode == 0o770 || error.to_string().contains("setfacl -b"), "{error}");
            assert!(!file.path.exists(), "no token is made");
            assert_eq!(alone.keep_or_make().is_err(), is_refused_alone, "{name} {mode:o}");
            let _ = fs::remove_file(&file.path);
            rustix::fs::removexattr(folder.path(), name).unwrap();
        }
    }

    /// Returns the mode, the owner, the group and the number of entries of the folder.
    fn state(folder: &Path) -> (u32, u32, u32, usize) {
        let meta = fs::metadata(folder).unwrap();
        (meta.mode(), meta.uid(), meta.gid(), fs::read_dir(folder).unwrap().count())
    }

    #[test]
    fn refuses_exchanged_new_folder_and_changes_none() {
        let folder = folder();
        let foreign = folder.path().join("foreign");
        fs::create_dir(&foreign).unwrap();
        fs::set_permissions(&foreign, Permissions::from_mode(0o700)).unwrap();
        let before = state(&foreign);
        let group = Some(rustix::process::getegid().as_raw());
        let new = folder.path().join("new");
        let file = AuthTokenFile { path: new.join("token"), group };
        let above = OwnedFd::from(File::open(folder.path()).unwrap());

        // Between mkdir and open.
        symlink(&foreign, &new).unwrap();
        let error = file.open_made(&new, &above, OsStr::new("new")).unwrap_err();
        assert!(error.to_string().contains("another user has exchanged it"), "{error}");
        fs::remove_file(&new).unwrap();
        fs::create_dir(&new).unwrap();
        fs::set_permissions(&new, Permissions::from_mode(0o777)).unwrap();
        let error = file.open_made(&new, &above, OsStr::new("new")).unwrap_err();
        assert!(error.to_string().contains("0777"), "{error}");
        fs::remove_dir(&new).unwrap();

        // After the check.
        let handle = file.open_folder(&new).unwrap();
        let ours = folder.path().join("ours");
        fs::rename(&new, &ours).unwrap();
        symlink(&foreign, &new).unwrap();
        let stat = rustix::fs::fstat(&handle).unwrap();
        file.give_folder(&handle, &stat).unwrap();
        file.make_nameless(&handle, TOKEN).expect("the file systems of tests know it").unwrap();
        fs::rename(ours.join("token"), ours.join("first")).unwrap();
        file.make_aside(&handle, TOKEN).unwrap();
        assert_eq!(state(&foreign), before);
        assert_eq!(fs::read_dir(&ours).unwrap().count(), 2);
    }

    #[test]
    fn makes_nothing_behind_a_foreign_symlink() {
        if !rustix::process::geteuid().is_root() {
            assert!(testkit::harness::skip("only root can make symlinks of other users"));
            return;
        }
        let folder = folder();
        fs::set_permissions(folder.path(), Permissions::from_mode(0o777)).unwrap();
        let root = tempfile::tempdir().unwrap();
        let before = state(root.path());
        let link = folder.path().join("link");
        symlink(root.path(), &link).unwrap();
        lchown(&link, Some(STRANGER), Some(STRANGER)).unwrap();
        for path in ["link/token", "link/new/token", "link/new/er/token"] {
            let error = AuthTokenFile { path: folder.path().join(path), group: Some(STRANGER) }.keep_or_make();
            assert!(matches!(error, Err(AuthTokenError::OpenFolder { .. })), "{path}");
        }
        assert_eq!(state(root.path()), before);

        // A symlink of root is followed.
        lchown(&link, Some(0), Some(0)).unwrap();
        AuthTokenFile { path: link.join("new/token"), group: None }.keep_or_make().unwrap();
        assert!(root.path().join("new/token").exists());
    }
}
