//! The audit log: what is read from a file and shown, and names from outside that are written.

use std::time::{Duration, SystemTime};

use crate::audit::event::{AuditEvent, AuditKind, shortened};
use crate::audit::{history, line};
use crate::cli::audit::summary::AuditSummary;

const NOW: SystemTime = SystemTime::UNIX_EPOCH;

pub fn check(data: &[u8]) {
    check_reading(data);
    check_writing(&String::from_utf8_lossy(data));
}

/// Whatever is in a log, no line of the terminal is forged, and each line of the log counts once.
fn check_reading(data: &[u8]) {
    let mut seen = AuditSummary::default();
    let mut events = 0;
    let unreadable = history::read(data, |record| {
        events += 1;
        seen.add(record);
    });
    let unreadable = unreadable.unwrap_or_else(|error| panic!("memory can be read: {error}"));
    let lines = data.split(|byte| *byte == b'\n').count();
    assert!(usize::try_from(unreadable).is_ok_and(|unreadable| unreadable + events <= lines));
    let text = seen.text(NOW + Duration::from_secs(1_795_449_600), false);
    assert!(text.chars().all(|c| c == '\n' || !c.is_control()), "{text:?}");
}

/// A name from outside stays within one printable line, and is read back as it was cut.
fn check_writing(name: &str) {
    let name = shortened(name);
    let event = AuditEvent { identity: Some(name.clone()), ..AuditEvent::new(AuditKind::Refused) };
    let written = line::render(NOW, &event, Some(1));
    assert!(written.len() < 4096, "a pipe takes a line of this length whole or not at all");
    let (end, bytes) = written.split_last().unwrap_or_else(|| panic!("a line is never empty"));
    assert!(*end == b'\n' && bytes.iter().all(|byte| (b' '..=b'~').contains(byte)));
    let mut read = Vec::new();
    let unreadable = history::read(&written[..], |record| read.push(record.text("identity").to_owned()));
    assert!(matches!(unreadable, Ok(0)) && read == [&*name], "{read:?}");
}
