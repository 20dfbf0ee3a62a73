//! The POSIX ACLs of the token file and its folder (acl(5)). A new file inherits the default ACL of its folder.

use std::io;
use std::os::fd::AsFd;

use rustix::fs::{fgetxattr, fremovexattr};
use rustix::io::Errno;

/// The ACL of a file or a folder.
pub(super) const ACCESS: &str = "system.posix_acl_access";
/// The ACL that new files in a folder inherit.
pub(super) const DEFAULT: &str = "system.posix_acl_default";

/// Returns true if the file has this ACL beyond its mode.
pub(super) fn is_present(file: impl AsFd, name: &str) -> io::Result<bool> {
    match fgetxattr(file, name, &mut [0u8; 0]) {
        Ok(_) => Ok(true),
        // A folder that this user may not read is open with `O_PATH` alone (BADF). Its owner is root.
        Err(Errno::NODATA | Errno::OPNOTSUPP | Errno::NOSYS | Errno::BADF) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Removes this ACL. Its mask stays as the bits of the group in the mode.
pub(super) fn remove(file: impl AsFd, name: &str) -> io::Result<()> {
    match fremovexattr(file, name) {
        Ok(()) | Err(Errno::NODATA | Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
