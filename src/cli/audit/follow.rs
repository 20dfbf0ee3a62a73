//! Follows an audit log over its rotations.

use std::fs::File;
use std::io::{self, BufReader, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use crate::audit::history;
use crate::audit::history::AuditRecord;

/// The pause between two looks at the file. A line takes a second to come anyway.
const PAUSE: Duration = Duration::from_millis(300);

/// A position in a file: its inode, and the number of bytes that are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FilePosition {
    inode: u64,
    read: u64,
}

/// Returns the end of the last whole line. `None` without a file.
pub(super) fn position(path: &Path) -> Option<FilePosition> {
    let file = File::open(path).ok()?;
    let stat = file.metadata().ok()?;
    Some(FilePosition { inode: stat.ino(), read: whole_lines(&file, 0, stat.len()).unwrap_or(0) })
}

/// Shows events after a position, for ever, or until `show` fails.
pub(super) async fn follow(
    path: &Path,
    mut position: Option<FilePosition>,
    mut show: impl FnMut(AuditRecord) -> io::Result<()>,
) {
    loop {
        match step(path, position, &mut show) {
            Ok(now) => position = now,
            Err(_) => return,
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Shows the whole lines after a position. Returns the new one.
///
/// # Errors
/// If `show` fails. A file that cannot be read now may come back.
fn step(
    path: &Path,
    position: Option<FilePosition>,
    show: &mut impl FnMut(AuditRecord) -> io::Result<()>,
) -> io::Result<Option<FilePosition>> {
    let opened = File::open(path).and_then(|file| file.metadata().map(|stat| (file, stat)));
    let Ok((mut file, stat)) = opened else { return Ok(position) };
    let start = match position {
        Some(position) if position.inode == stat.ino() && position.read <= stat.len() => position.read,
        _ => 0,
    };
    let Ok(end) = whole_lines(&file, start, stat.len()) else { return Ok(position) };
    let mut failed = Ok(());
    if end > start && file.seek(SeekFrom::Start(start)).is_ok() {
        let lines = BufReader::new(io::Read::take(file, end - start));
        let _ = history::read(lines, |record| {
            if failed.is_ok() {
                failed = show(record);
            }
        });
    }
    failed.map(|()| Some(FilePosition { inode: stat.ino(), read: end }))
}

/// Returns the position after the last line break.
fn whole_lines(file: &File, start: u64, end: u64) -> io::Result<u64> {
    use std::os::unix::fs::FileExt;
    let mut buffer = [0; 4096];
    let mut upper = end;
    while upper > start {
        let lower = upper.saturating_sub(buffer.len() as u64).max(start);
        let Some(part) = usize::try_from(upper - lower).ok().and_then(|length| buffer.get_mut(..length)) else { break };
        file.read_exact_at(part, lower)?;
        if let Some(at) = part.iter().rposition(|byte| *byte == b'\n') {
            return Ok(lower + at as u64 + 1);
        }
        upper = lower;
    }
    Ok(start)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn follows_whole_lines_over_a_rotation() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.log");
        let line = |second: u32| format!("{{\"time\":\"2026-11-23T16:00:{second:02}Z\",\"event\":\"served\"}}\n");
        let append = |text: &str| {
            File::options().append(true).create(true).open(&path).unwrap().write_all(text.as_bytes()).unwrap();
        };
        let mut at = position(&path);
        let seen = |at: &mut Option<FilePosition>| {
            let mut seconds = Vec::new();
            *at = step(&path, *at, &mut |record| {
                seconds.push(record.text("time")[17..19].to_owned());
                Ok(())
            })
            .unwrap();
            seconds.join(" ")
        };
        assert_eq!(seen(&mut at), "");
        append(&line(1));
        append(&line(2)[..20]);
        assert_eq!(seen(&mut at), "01");
        append(&line(2)[20..]);
        append(&line(3));
        assert_eq!(seen(&mut at), "02 03");
        std::fs::rename(&path, folder.path().join("audit.log.1")).unwrap();
        assert_eq!(seen(&mut at), "");
        append(&line(4));
        assert_eq!(seen(&mut at), "04");
        assert_eq!(position(&path), at);
    }
}
