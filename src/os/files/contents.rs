//! One file: opened so that a FIFO cannot block, read whole, and its owner.

use std::fmt;
use std::fs::{Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::OFlags;
use rustix::io::Errno;
use zeroize::Zeroizing;

use crate::model::text::Escaped;

/// The maximum size of a file, in bytes. A shared file with 10,000 profiles has a tenth of this size.
const LIMIT: u64 = 16 << 20;

/// The device number of `/dev/null` on Linux. Users set a path to `/dev/null` for "no file", so it is read as empty.
const DEV_NULL: (u32, u32) = (1, 3);

/// The content and owner of a file.
pub(crate) struct FileContents {
    /// The content, at most 16 MB. Its memory is overwritten when dropped.
    pub(crate) bytes: Zeroizing<Vec<u8>>,
    pub(crate) owner: FileOwner,
}

impl fmt::Debug for FileContents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileContents").field("bytes", &self.bytes.len()).field("owner", &self.owner).finish()
    }
}

/// The owner and permissions of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct FileOwner {
    uid: u32,
    mode: u32,
}

/// The reason why a file must not decide which programs run and where requests go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TrustError {
    /// Another user owns it.
    #[error(
        "belongs to user {uid}, not to this user ({ours}), root or one of trusted_owners (chown it, or add that user there)"
    )]
    Foreign {
        /// The user id of the owner.
        uid: u32,
        /// The user id of this process.
        ours: u32,
    },
    /// All users may write it.
    #[error("may be written by all users (mode {mode:04o}; run chmod o-w)")]
    Open { mode: u32 },
}

/// The reason why a file could not be read. Messages name the path, escaped, and never show the content.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {reason}")]
pub(crate) struct FileError {
    path: Box<str>,
    reason: FileErrorReason,
}

/// A [`FileError`] without the path, for messages that name it elsewhere.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FileErrorReason {
    /// There is no file, or a dangling symlink.
    #[error("{0}")]
    Missing(&'static str),
    /// The path is a directory, a FIFO, a socket or a device.
    #[error("it is {0}, not a regular file")]
    NotRegular(&'static str),
    #[error("it is larger than 16 MB")]
    TooLarge,
    /// An error of the operating system.
    #[error("cannot read it: {0}")]
    Io(Box<str>),
    /// The context has no files.
    #[error("this context has no files")]
    Unreachable,
}

impl FileError {
    pub(crate) fn new(path: &Path, reason: FileErrorReason) -> Self {
        Self { path: Escaped(&path.to_string_lossy()).to_string().into(), reason }
    }

    /// Returns true if there is no file.
    #[must_use]
    pub(crate) fn is_missing(&self) -> bool {
        matches!(self.reason, FileErrorReason::Missing(_))
    }

    /// Returns true if a retry may succeed without a change of the file, for example after a lack of file descriptors.
    pub(crate) fn may_pass(&self) -> bool {
        matches!(self.reason, FileErrorReason::Io(_))
    }

    /// Returns the reason without the path.
    #[must_use]
    pub(crate) fn reason(&self) -> &FileErrorReason {
        &self.reason
    }
}

impl FileOwner {
    pub(crate) fn of(meta: &Metadata) -> Self {
        Self { uid: meta.uid(), mode: meta.mode() & 0o7777 }
    }

    /// Accepts a file that may decide which programs run and where requests go. Its owner is the user of this process,
    /// root or one of `trusted_owners`, and other users may not write it.
    ///
    /// # Errors
    /// The reason, with the owner.
    pub(crate) fn trusted(&self, ours: u32, trusted_owners: &[u32]) -> Result<(), TrustError> {
        let Self { uid, mode } = *self;
        if uid != ours && uid != 0 && !trusted_owners.contains(&uid) {
            return Err(TrustError::Foreign { uid, ours });
        }
        if mode & 0o002 != 0 { Err(TrustError::Open { mode }) } else { Ok(()) }
    }

    /// Returns true if other users may read the file. A file with a secret should not be readable by them.
    #[must_use]
    pub(crate) fn is_readable_by_others(&self) -> bool {
        self.mode & 0o044 != 0
    }
}

/// Reads a whole file. Blocks on the file system, but not on a FIFO.
pub(crate) fn read(path: &Path) -> Result<FileContents, FileError> {
    open_and_read(path).map_err(|reason| FileError::new(path, reason))
}

fn open_and_read(path: &Path) -> Result<FileContents, FileErrorReason> {
    let failed = |error: io::Error| {
        let is = |errno: Errno| error.raw_os_error() == Some(errno.raw_os_error());
        match error.kind() {
            io::ErrorKind::NotFound if path.is_symlink() => FileErrorReason::Missing("a dangling symlink"),
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => FileErrorReason::Missing("there is no such file"),
            _ if is(Errno::LOOP) => FileErrorReason::Io("looping symlinks".into()),
            _ if is(Errno::NXIO) => FileErrorReason::NotRegular("a socket or a device"),
            _ => FileErrorReason::Io(error.to_string().into()),
        }
    };
    let flags = i32::try_from((OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY).bits()).unwrap_or_default();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(failed)?;
    let meta = file.metadata().map_err(failed)?;
    let owner = FileOwner::of(&meta);
    let kind = meta.file_type();
    if kind.is_char_device() && (rustix::fs::major(meta.rdev()), rustix::fs::minor(meta.rdev())) == DEV_NULL {
        return Ok(FileContents { bytes: Zeroizing::default(), owner: FileOwner { uid: 0, mode: 0 } });
    }
    if !kind.is_file() {
        let what = match () {
            () if kind.is_dir() => "a directory",
            () if kind.is_fifo() => "a FIFO",
            () => "a device",
        };
        return Err(FileErrorReason::NotRegular(what));
    }
    // Reserve the size of the file: a buffer that grows would leave copies in memory. One byte more shows if the file
    // has grown.
    let size = usize::try_from(meta.len().min(LIMIT)).unwrap_or_default();
    let mut bytes = Zeroizing::new(Vec::with_capacity(size + 1));
    if meta.len() <= LIMIT {
        file.take(LIMIT + 1).read_to_end(&mut bytes).map_err(failed)?;
    }
    if meta.len() > LIMIT || bytes.len() as u64 > LIMIT {
        return Err(FileErrorReason::TooLarge);
    }
    Ok(FileContents { bytes, owner })
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn reads_regular_files_only() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("good"), "text").unwrap();
        symlink("good", at("link")).unwrap();
        symlink("nowhere", at("dangling")).unwrap();
        symlink("loop", at("loop")).unwrap();
        rustix::fs::mkfifoat(rustix::fs::CWD, at("fifo"), 0o600.into()).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
        File::create(at("huge")).unwrap().set_len(100 << 20).unwrap();
        File::create(at("limit")).unwrap().set_len(LIMIT).unwrap();
        for (path, expected) in [
            (at("good"), "text"),
            (at("link"), "text"),
            ("/dev/null".into(), ""),
            (at("absent"), "there is no such file"),
            (at("good/below"), "there is no such file"),
            (at("dangling"), "a dangling symlink"),
            (at("loop"), "looping symlinks"),
            (at("fifo"), "a FIFO, not a regular file"),
            (at("socket"), "not a regular file"),
            (folder.path().into(), "a directory, not a regular file"),
            ("/dev/zero".into(), "a device, not a regular file"),
            (at("huge"), "larger than 16 MB"),
        ] {
            match read(&path) {
                Ok(contents) => assert_eq!(*contents.bytes, expected.as_bytes(), "{path:?}"),
                Err(error) => assert!(error.to_string().contains(expected), "{path:?}: {error}"),
            }
        }
        assert_eq!(read(&at("limit")).unwrap().bytes.len() as u64, LIMIT);
        assert!(read(&at("absent")).unwrap_err().is_missing() && !read(&at("fifo")).unwrap_err().is_missing());
    }

    #[test]
    fn trusts_own_root_and_listed_owners() {
        let owner = |uid, mode| FileOwner { uid, mode };
        assert_eq!(owner(7, 0o600).trusted(7, &[]), Ok(()));
        assert_eq!(owner(0, 0o664).trusted(7, &[]), Ok(()));
        assert_eq!(owner(8, 0o644).trusted(7, &[9, 8]), Ok(()));
        assert_eq!(owner(8, 0o600).trusted(7, &[]), Err(TrustError::Foreign { uid: 8, ours: 7 }));
        assert_eq!(owner(7, 0o602).trusted(7, &[]), Err(TrustError::Open { mode: 0o602 }));
        assert!(owner(8, 0o600).trusted(7, &[]).unwrap_err().to_string().contains("user 8"));
    }
}
