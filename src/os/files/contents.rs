//! One file: judged before it is opened, so that a FIFO cannot block and no device acts, then read whole.

use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FileType, OFlags};
use rustix::io::Errno;
use zeroize::Zeroizing;

use crate::model::text::Escaped;
use crate::os::files::trust::PathFacts;
use crate::os::files::walk::{WalkError, WalkedFile, walk};

/// The maximum size of a shared file, in bytes. 10,000 profiles with keys fit.
pub(crate) const SHARED: u64 = 2 << 20;

/// The maximum size of credenza.toml and of a CA bundle, in bytes. 1,000 identities, or all authorities of a system, fit.
pub(crate) const LARGE: u64 = 1 << 20;

/// The maximum size of other files in bytes: secrets, tokens, logins. The largest are a few kilobytes long.
pub(crate) const SMALL: u64 = 64 << 10;

/// The time for the first byte of a FIFO, in seconds: the deadline of a load.
const FIFO_SECONDS: i64 = 10;

/// The device number of `/dev/null` on Linux. Users set a path to `/dev/null` for "no file", so it is read as empty.
const DEV_NULL: (u32, u32) = (1, 3);

/// The content of a file, and the facts of its path.
#[derive(Clone)]
pub(crate) struct FileContents {
    /// The content. Its memory is overwritten when dropped.
    pub(crate) bytes: Zeroizing<Vec<u8>>,
    pub(crate) facts: PathFacts,
}

impl fmt::Debug for FileContents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileContents").field("bytes", &self.bytes.len()).field("facts", &self.facts).finish()
    }
}

/// Reads files. The default refuses FIFOs.
#[derive(Debug, Default)]
pub(crate) struct FileReader {
    /// The content of each FIFO that was read. A FIFO has its content only once, so later reads take it from here.
    /// `None` if FIFOs are refused.
    fifos: Option<Mutex<HashMap<PathBuf, FileContents>>>,
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
    /// Another user's symlink leads to a file that this user does not own.
    #[error("{0}, so it is not followed (remove the symlink)")]
    ForeignSymlink(Box<str>),
    #[error("it is larger than {}", size_text(*.0))]
    TooLarge(u64),
    /// An error of the operating system.
    #[error("cannot read it: {0}")]
    Io(Box<str>),
    /// The context has no files.
    #[error("this context has no files")]
    Unreachable,
}

fn size_text(bytes: u64) -> String {
    if bytes < 1 << 20 { format!("{} kB", bytes >> 10) } else { format!("{} MB", bytes >> 20) }
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

impl FileReader {
    /// Returns a reader that reads a FIFO of this user or of root, and waits for its writer.
    #[must_use]
    pub(crate) fn with_fifos() -> Self {
        Self { fifos: Some(Mutex::default()) }
    }

    /// Reads a whole file of at most `limit` bytes. Blocks on the file system.
    pub(crate) fn read(&self, path: &Path, limit: u64) -> Result<FileContents, FileError> {
        self.read_at(path, limit).map_err(|reason| FileError::new(path, reason))
    }

    fn read_at(&self, path: &Path, limit: u64) -> Result<FileContents, FileErrorReason> {
        let Some(found) = find(path)? else {
            return Ok(FileContents { bytes: Zeroizing::default(), facts: PathFacts::default() });
        };
        let Some(fifos) = self.fifos.as_ref().filter(|_| found.is_fifo()) else {
            return read_whole(&found, limit, false);
        };
        let mut fifos = fifos.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(contents) = fifos.get(path) {
            return Ok(contents.clone());
        }
        let contents = read_whole(&found, limit, true)?;
        fifos.insert(path.to_owned(), contents.clone());
        Ok(contents)
    }
}

/// Finds a file that may be read. `None` is `/dev/null`, which is read as empty.
fn find(path: &Path) -> Result<Option<WalkedFile>, FileErrorReason> {
    let found = walk(path).map_err(|error| match error {
        WalkError::Missing { is_dangling: true } => FileErrorReason::Missing("a dangling symlink"),
        WalkError::Missing { .. } => FileErrorReason::Missing("there is no such file"),
        WalkError::Io(error) => failed(error),
    })?;
    found.check_symlinks().map_err(|reason| FileErrorReason::ForeignSymlink(reason.into()))?;
    let device = (rustix::fs::major(found.stat.st_rdev), rustix::fs::minor(found.stat.st_rdev));
    Ok((found.kind() != FileType::CharacterDevice || device != DEV_NULL).then_some(found))
}

fn failed(error: Errno) -> FileErrorReason {
    match error {
        Errno::LOOP => FileErrorReason::Io("looping symlinks".into()),
        Errno::TIMEDOUT => FileErrorReason::NotRegular("a FIFO to which nothing is written"),
        error => FileErrorReason::Io(io::Error::from(error).to_string().into()),
    }
}

/// Waits until something is written to a FIFO, and lets reads wait for more. A FIFO with a name has a limited time: there
/// may be no writer at all.
fn wait_for_writer(file: &File, has_writer: bool) -> Result<(), Errno> {
    let timeout = Timespec { tv_sec: FIFO_SECONDS, tv_nsec: 0 };
    let mut polled = [PollFd::new(file, PollFlags::IN)];
    if poll(&mut polled, Some(&timeout).filter(|_| !has_writer))? == 0 {
        return Err(Errno::TIMEDOUT);
    }
    rustix::fs::fcntl_setfl(file, OFlags::empty())
}

/// Reads a file. Its kind is known, so that opening it neither blocks nor acts; a FIFO is read only if this user or
/// root made it.
fn read_whole(found: &WalkedFile, limit: u64, may_be_fifo: bool) -> Result<FileContents, FileErrorReason> {
    let is_ours = || found.stat.st_uid == rustix::process::geteuid().as_raw() || found.stat.st_uid == 0;
    let flags = match found.kind() {
        FileType::RegularFile => OFlags::NONBLOCK,
        // Without `NONBLOCK`, the call would wait for a writer for ever.
        FileType::Fifo if may_be_fifo && is_ours() => OFlags::NONBLOCK,
        FileType::Directory => return Err(FileErrorReason::NotRegular("a directory")),
        FileType::Fifo => return Err(FileErrorReason::NotRegular("a FIFO")),
        FileType::Socket => return Err(FileErrorReason::NotRegular("a socket")),
        _ => return Err(FileErrorReason::NotRegular("a device")),
    };
    let file = File::from(found.open(flags).map_err(failed)?);
    if found.is_fifo() {
        wait_for_writer(&file, found.is_own_descriptor()).map_err(failed)?;
    }
    let failed = |error: io::Error| FileErrorReason::Io(error.to_string().into());
    let len = file.metadata().map_err(failed)?.len();
    // Reserve the size of the file: a buffer that grows would leave copies in memory. A FIFO has no size. One byte more
    // shows if the file has grown.
    let size = usize::try_from(if may_be_fifo { limit } else { len.min(limit) }).unwrap_or_default();
    let mut bytes = Zeroizing::new(Vec::with_capacity(size + 1));
    if len <= limit {
        file.take(limit + 1).read_to_end(&mut bytes).map_err(failed)?;
    }
    if len > limit || bytes.len() as u64 > limit {
        return Err(FileErrorReason::TooLarge(limit));
    }
    Ok(FileContents { bytes, facts: found.facts.clone() })
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::os::fd::AsRawFd;
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::os::files::trust::TrustPolicy;

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
        File::create(at("limit")).unwrap().set_len(SMALL).unwrap();
        for (path, expected) in [
            (at("good"), "text"),
            (at("link"), "text"),
            ("/dev/null".into(), ""),
            (at("absent"), "there is no such file"),
            (at("good/below"), "there is no such file"),
            (at("dangling"), "a dangling symlink"),
            (at("loop"), "looping symlinks"),
            (at("fifo"), "a FIFO, not a regular file"),
            (at("socket"), "a socket, not a regular file"),
            (folder.path().into(), "a directory, not a regular file"),
            ("/dev/zero".into(), "a device, not a regular file"),
            (at("huge"), "larger than 64 kB"),
        ] {
            match FileReader::default().read(&path, SMALL) {
                Ok(contents) => assert_eq!(*contents.bytes, expected.as_bytes(), "{path:?}"),
                Err(error) => assert!(error.to_string().contains(expected), "{path:?}: {error}"),
            }
        }
        let read = |name| FileReader::default().read(&at(name), SMALL);
        assert_eq!(read("limit").unwrap().bytes.len() as u64, SMALL);
        assert!(read("absent").unwrap_err().is_missing() && !read("fifo").unwrap_err().is_missing());
    }

    #[test]
    fn reads_a_fifo_once_and_keeps_its_content() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fifo");
        rustix::fs::mkfifoat(rustix::fs::CWD, &path, 0o600.into()).unwrap();
        let writer = std::thread::spawn({
            let path = path.clone();
            move || fs::write(path, "text").unwrap()
        });
        let reader = FileReader::with_fifos();
        for _ in 0..2 {
            assert_eq!(*reader.read(&path, SMALL).unwrap().bytes, b"text");
        }
        writer.join().unwrap();
        let (read, write) = io::pipe().unwrap();
        io::Write::write_all(&mut { write }, b"piped").unwrap();
        let path = PathBuf::from(format!("/dev/fd/{}", read.as_raw_fd()));
        let contents = reader.read(&path, SMALL).unwrap();
        assert_eq!((&**contents.bytes, contents.facts.trusted(&TrustPolicy::default())), (&b"piped"[..], Ok(())));
    }
}
