//! The POSIX ACLs of files and folders (acl(5)). With an ACL, the group bits of a mode are its mask, and do not tell which
//! users may write. A new file inherits the default ACL of its folder.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::fs::{fgetxattr, fremovexattr, getxattr};
use rustix::io::Errno;

/// The ACL of a file or a folder.
pub(crate) const ACCESS: &str = "system.posix_acl_access";
/// The ACL that new files in a folder inherit.
pub(crate) const DEFAULT: &str = "system.posix_acl_default";

/// Returns true if the file has this ACL beyond its mode.
pub(crate) fn is_present(file: impl AsFd, name: &str) -> io::Result<bool> {
    match fgetxattr(file, name, &mut [0u8; 0]) {
        Ok(_) => Ok(true),
        // A folder that this user may not read is open with `O_PATH` alone (BADF). Its owner is root.
        Err(Errno::NODATA | Errno::OPNOTSUPP | Errno::NOSYS | Errno::BADF) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Returns true if a file that is open with `O_PATH` has an ACL, or if that cannot be found out.
pub(crate) fn may_be_present(handle: &OwnedFd) -> bool {
    let path = format!("/proc/self/fd/{}", handle.as_raw_fd());
    !matches!(getxattr(path, ACCESS, &mut [0u8; 0][..]), Err(Errno::NODATA | Errno::OPNOTSUPP))
}

/// Removes this ACL. Its mask stays as the bits of the group in the mode.
pub(crate) fn remove(file: impl AsFd, name: &str) -> io::Result<()> {
    match fremovexattr(file, name) {
        Ok(()) | Err(Errno::NODATA | Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
