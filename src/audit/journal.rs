//! The audit log in the journal of systemd, by its native protocol ("Native Journal Protocol", systemd.io).

use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

use crate::audit::event::AuditKind;
use crate::audit::line;
use crate::audit::writer::LineSink;

/// The socket of journald.
pub(crate) const SOCKET: &str = "/run/systemd/journal/socket";

/// The identifier of the lines: `journalctl -t credenza-audit`.
pub(crate) const IDENTIFIER: &str = "credenza-audit";

#[derive(Debug)]
pub(crate) struct AuditJournal {
    path: PathBuf,
    socket: Option<UnixDatagram>,
}

impl AuditJournal {
    pub(crate) fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), socket: None }
    }

    fn connect(&self) -> io::Result<UnixDatagram> {
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        socket.connect(&self.path)?;
        Ok(socket)
    }
}

impl LineSink for AuditJournal {
    fn write(&mut self, kind: AuditKind, line: &[u8]) -> io::Result<()> {
        let socket = match self.socket.take() {
            Some(socket) => socket,
            None => self.connect()?,
        };
        // The line is printable and ends with a line break, so that the field needs no length.
        let kind = String::from_utf8(line::to_line(&kind)).unwrap_or_default();
        let fields = format!(
            "SYSLOG_IDENTIFIER={IDENTIFIER}\nPRIORITY=6\nCREDENZA_EVENT={}\nMESSAGE=",
            kind.trim().trim_matches('"')
        );
        socket.send(&[fields.as_bytes(), line].concat()).inspect(|_| self.socket = Some(socket)).map(|_| ())
    }

    fn reopen(&mut self) {
        self.socket = None;
    }

    fn name(&self) -> String {
        "the journal".into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sends_fields_and_comes_back_after_a_restart_of_the_journal() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let mut journal = AuditJournal::new(&path);
        let mut write = |line: &str| journal.write(AuditKind::GrantEnded, line.as_bytes());
        assert!(write("{}\n").is_err(), "there is no journal");
        for _ in 0..2 {
            let journald = UnixDatagram::bind(&path).unwrap();
            let _ = write("{}\n");
            write("{\"a\":1}\n").unwrap();
            journald.set_nonblocking(true).unwrap();
            let mut seen = [0; 512];
            let mut last = String::new();
            while let Ok(length) = journald.recv(&mut seen) {
                last = String::from_utf8_lossy(&seen[..length]).into_owned();
            }
            assert_eq!(
                last,
                "SYSLOG_IDENTIFIER=credenza-audit\nPRIORITY=6\nCREDENZA_EVENT=grant_ended\nMESSAGE={\"a\":1}\n"
            );
            std::fs::remove_file(&path).unwrap();
        }
    }
}
