//! The audit log in a file, and on standard output.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::audit::event::AuditKind;
use crate::audit::writer::LineSink;
use crate::model::text::Escaped;
use crate::os::files::acl;
use crate::os::files::trust::{PathFacts, PathStep, TrustPolicy};
use crate::os::files::walk::walk;

/// The pause between two tries to open the file.
const RETRY: Duration = Duration::from_millis(500);

/// A file that lines are appended to: a regular file, or a FIFO of this user or root.
#[derive(Debug)]
pub(crate) struct AuditFile {
    path: PathBuf,
    trust: TrustPolicy,
    file: Option<File>,
    /// True if the last line in the file has no end.
    is_cut: bool,
    /// The time and the reason of the last try that failed.
    failed: Option<(Instant, io::ErrorKind, String)>,
}

impl AuditFile {
    /// The file is opened at the first line.
    pub(crate) fn new(path: PathBuf, trust: TrustPolicy) -> Self {
        Self { path, trust, file: None, is_cut: false, failed: None }
    }

    /// Opens the file. A new one has the mode 0600, and an existing regular file gets it.
    ///
    /// # Errors
    /// If another user could read, exchange or redirect the file, or it cannot be opened.
    fn open(&self) -> io::Result<(File, bool)> {
        let refuse = |reason: String| Err(io::Error::new(io::ErrorKind::PermissionDenied, reason));
        let (Some(folder), Some(name)) = (self.path.parent(), self.path.file_name()) else {
            return refuse("it is not the path of a file".into());
        };
        let found = walk(folder)?;
        if let Err(distrust) = found.facts.trusted(&self.trust).and_then(|()| closed(&found.facts, &self.trust)) {
            return refuse(format!(
                "its folder {}; use a folder that only this user can write",
                distrust.about(folder)
            ));
        }
        let folder = found.into_handle();
        let is_regular = match rustix::fs::statat(&folder, name, rustix::fs::AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => true,
            Err(error) => return Err(error.into()),
            Ok(stat) => FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile,
        };
        // Only a file that can be read shows if its last line has an end. Without O_NONBLOCK a FIFO without a reader would
        // wait for one.
        let (access, new) = if is_regular { (OFlags::RDWR, OFlags::CREATE) } else { (OFlags::WRONLY, OFlags::empty()) };
        let flags =
            access | new | OFlags::APPEND | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = match rustix::fs::openat(&folder, name, flags, Mode::RUSR | Mode::WUSR) {
            Ok(file) => File::from(file),
            Err(Errno::LOOP) => return refuse("it is a symlink; name the file itself".into()),
            Err(Errno::NXIO) => return Err(io::Error::new(io::ErrorKind::NotConnected, "no program reads this FIFO")),
            Err(error) => return Err(error.into()),
        };
        let stat = rustix::fs::fstat(&file)?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile | FileType::Fifo => {}
            _ => return refuse("it is neither a regular file nor a FIFO".into()),
        }
        if !self.trust.is_owner(stat.st_uid) {
            return refuse(format!("user {} owns it; remove it, or name another file", stat.st_uid));
        }
        if !is_regular {
            return Ok((file, false));
        }
        if stat.st_mode & 0o7777 != 0o600 {
            rustix::fs::fchmod(&file, Mode::RUSR | Mode::WUSR)?;
        }
        // The mask of an inherited ACL follows the mode, but a later chmod would open it.
        let _ = acl::remove(&file, acl::ACCESS);
        let length = u64::try_from(stat.st_size).unwrap_or(0);
        let mut last = [b'\n'];
        if length > 0 {
            file.read_exact_at(&mut last, length - 1)?;
        }
        Ok((file, last != [b'\n']))
    }

    fn opened(&mut self) -> io::Result<()> {
        if self.file.is_some() {
            return Ok(());
        }
        if let Some((at, kind, reason)) = &self.failed
            && at.elapsed() < RETRY
        {
            return Err(io::Error::new(*kind, reason.clone()));
        }
        match self.open() {
            Ok((file, is_cut)) => {
                (self.file, self.is_cut, self.failed) = (Some(file), is_cut, None);
                Ok(())
            }
            Err(error) => {
                self.failed = Some((Instant::now(), error.kind(), error.to_string()));
                Err(error)
            }
        }
    }
}

/// Judges the folder itself as if it were not sticky: in a sticky folder another user may make the file first.
fn closed(facts: &PathFacts, trust: &TrustPolicy) -> Result<(), crate::os::files::trust::TrustError> {
    let last = facts.file().map(|last| PathStep { mode: last.mode & !0o1000, ..last.clone() });
    PathFacts(last.into_iter().collect()).trusted(trust)
}

impl LineSink for AuditFile {
    fn write(&mut self, _: AuditKind, line: &[u8]) -> io::Result<()> {
        self.opened()?;
        let Some(file) = &mut self.file else { return Err(io::ErrorKind::NotFound.into()) };
        let written = if std::mem::take(&mut self.is_cut) {
            // One write, so that the kernel takes both or nothing.
            write_whole(file, &[b"\n", line].concat())
        } else {
            write_whole(file, line)
        };
        match written {
            Ok(()) => Ok(()),
            Err((error, length)) => {
                self.is_cut = length > 0;
                // The reader of a FIFO may come back; a full disk needs no new file.
                if error.kind() == io::ErrorKind::BrokenPipe {
                    self.file = None;
                }
                Err(error)
            }
        }
    }

    fn reopen(&mut self) {
        (self.file, self.failed) = (None, None);
    }

    fn name(&self) -> String {
        Escaped(&self.path.to_string_lossy()).to_string()
    }
}

/// Writes all bytes. An error comes with the number of bytes that are written nevertheless.
fn write_whole(file: &mut impl Write, bytes: &[u8]) -> Result<(), (io::Error, usize)> {
    let mut done = 0;
    while done < bytes.len() {
        match file.write(&bytes[done..]) {
            Ok(0) => return Err((io::ErrorKind::WriteZero.into(), done)),
            Ok(written) => done += written,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err((error, done)),
        }
    }
    Ok(())
}

/// Standard output. A reader that does not read holds up the thread of the log, and nothing else.
#[derive(Debug, Default)]
pub(crate) struct AuditStdout {
    is_cut: bool,
}

impl LineSink for AuditStdout {
    fn write(&mut self, _: AuditKind, line: &[u8]) -> io::Result<()> {
        let line = if std::mem::take(&mut self.is_cut) { [b"\n", line].concat() } else { line.to_vec() };
        let mut stdout = io::stdout().lock();
        write_whole(&mut stdout, &line).map_err(|(error, length)| {
            self.is_cut = length > 0;
            error
        })?;
        stdout.flush()
    }

    fn reopen(&mut self) {}

    fn name(&self) -> String {
        "standard output".into()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::path::Path;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    fn write(file: &mut AuditFile, line: &str) -> io::Result<()> {
        file.write(AuditKind::Served, line.as_bytes())
    }

    #[test]
    fn appends_to_a_closed_file_and_ends_a_line_that_was_cut() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.log");
        let of = || AuditFile::new(path.clone(), TrustPolicy::default());
        write(&mut of(), "one\n").unwrap();
        assert_eq!(mode(&path), 0o600);
        fs::write(&path, "one\ncut").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        write(&mut of(), "two\n").unwrap();
        assert_eq!((fs::read_to_string(&path).unwrap().as_str(), mode(&path)), ("one\ncut\ntwo\n", 0o600));
    }

    #[test]
    fn follows_a_rotation_at_a_reopen() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let mut file = AuditFile::new(at("a"), TrustPolicy::default());
        write(&mut file, "one\n").unwrap();
        fs::rename(at("a"), at("a.1")).unwrap();
        write(&mut file, "two\n").unwrap();
        file.reopen();
        write(&mut file, "three\n").unwrap();
        let read = |name| fs::read_to_string(at(name)).unwrap();
        assert_eq!((read("a.1"), read("a")), ("one\ntwo\n".into(), "three\n".into()));
    }

    #[test]
    fn refuses_symlinks_and_open_folders_and_recovers() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        symlink(at("target"), at("link")).unwrap();
        let error = write(&mut AuditFile::new(at("link"), TrustPolicy::default()), "x\n").unwrap_err().to_string();
        assert!(error.contains("neither") || error.contains("symlink"), "{error}");
        let open = at("open");
        fs::create_dir(&open).unwrap();
        fs::set_permissions(&open, fs::Permissions::from_mode(0o1777)).unwrap();
        let mut file = AuditFile::new(open.join("a"), TrustPolicy::default());
        let error = write(&mut file, "x\n").unwrap_err().to_string();
        assert!(error.contains("use a folder that only this user can write"), "{error}");
        fs::set_permissions(&open, fs::Permissions::from_mode(0o700)).unwrap();
        assert!(write(&mut file, "x\n").is_err(), "a refused file is not judged at each line");
        file.reopen();
        write(&mut file, "x\n").unwrap();
    }

    #[test]
    fn fifo_without_a_reader_blocks_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fifo");
        rustix::fs::mknodat(rustix::fs::CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        let mut file = AuditFile::new(path.clone(), TrustPolicy::default());
        assert_eq!(write(&mut file, "lost\n").unwrap_err().kind(), io::ErrorKind::NotConnected);
        let reader = rustix::fs::open(&path, OFlags::RDONLY | OFlags::NONBLOCK, Mode::empty()).unwrap();
        file.reopen();
        let line = "x".repeat(3000) + "\n";
        let full = (0..100).find_map(|_| write(&mut file, &line).err()).unwrap();
        assert_eq!(full.kind(), io::ErrorKind::WouldBlock);
        drop(reader);
        assert_eq!(write(&mut file, "lost\n").unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }

    #[test]
    fn full_disk_is_an_error_of_its_line_only() {
        // /dev/full is a device, which is refused; its error is that of a full disk.
        let mut full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let (error, length) = write_whole(&mut full, b"line\n").unwrap_err();
        assert_eq!((error.kind(), length), (io::ErrorKind::StorageFull, 0));
    }
}
