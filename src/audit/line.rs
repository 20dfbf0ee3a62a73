//! Renders an event as one line of JSON in ASCII.

use std::io;
use std::time::SystemTime;

use serde::Serialize;
use serde_json::ser::{CompactFormatter, Formatter};

use crate::audit::event::AuditEvent;
use crate::model::time::timestamp_in_milliseconds;

#[derive(Serialize)]
struct AuditLine<'e> {
    time: String,
    #[serde(flatten)]
    event: &'e AuditEvent,
    #[serde(skip_serializing_if = "Option::is_none")]
    count: Option<u64>,
}

/// Writes JSON in printable ASCII. A name from outside can then control no terminal and no program that reads lines.
struct AsciiFormatter(CompactFormatter);

impl Formatter for AsciiFormatter {
    fn write_string_fragment<W: io::Write + ?Sized>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        let mut rest = fragment;
        while let Some(at) = rest.find(|c: char| !(' '..='~').contains(&c)) {
            let (plain, other) = rest.split_at(at);
            writer.write_all(plain.as_bytes())?;
            let mut characters = other.chars();
            if let Some(c) = characters.next() {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    write!(writer, "\\u{unit:04x}")?;
                }
            }
            rest = characters.as_str();
        }
        writer.write_all(rest.as_bytes())
    }

    // The other parts are those of the compact form.
    fn begin_object_value<W: io::Write + ?Sized>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.begin_object_value(writer)
    }
}

/// Renders the line of an event, with its line break. `count` is the number of equal answers.
pub(crate) fn render(time: SystemTime, event: &AuditEvent, count: Option<u64>) -> Vec<u8> {
    let line = AuditLine { time: timestamp_in_milliseconds(time), event, count };
    to_line(&line)
}

/// Renders a value as a line of JSON in ASCII, with its line break.
pub(crate) fn to_line(value: &impl Serialize) -> Vec<u8> {
    let mut text = Vec::with_capacity(512);
    let mut serializer = serde_json::Serializer::with_formatter(&mut text, AsciiFormatter(CompactFormatter));
    // Memory can always be written, and every field has a form in JSON.
    let _ = value.serialize(&mut serializer);
    text.push(b'\n');
    text
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::audit::event::{AuditKeys, AuditKind, AuditPeer, shortened};

    fn now() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_millis(1_795_449_600_250)
    }

    #[test]
    fn line_has_the_stable_names_and_nothing_unknown() {
        let event = AuditEvent {
            client: Some("web".into()),
            peer: Some(AuditPeer { uid: Some(33), pid: None, address: Some([127, 0, 0, 1].into()) }),
            listener: Some("127.0.0.1:9733".into()),
            identity: Some("team/ä".into()),
            keys: Some(AuditKeys {
                source: Some("profile prod".into()),
                access_key_id: Some("ASIA1".into()),
                expiration: Some(now() + Duration::from_secs(60)),
                ..AuditKeys::default()
            }),
            status: Some(200),
            ..AuditEvent::new(AuditKind::Served)
        };
        assert_eq!(
            String::from_utf8(render(now(), &event, Some(3))).unwrap(),
            "{\"time\":\"2026-11-23T16:00:00.250Z\",\"event\":\"served\",\"client\":\"web\",\
             \"peer\":{\"uid\":33,\"address\":\"127.0.0.1\"},\"listener\":\"127.0.0.1:9733\",\"identity\":\"team/\\u00e4\",\
             \"source\":\"profile prod\",\"access_key_id\":\"ASIA1\",\"expiration\":\"2026-11-23T16:01:00Z\",\"status\":200,\
             \"count\":3}\n"
        );
        let bare = String::from_utf8(render(now(), &AuditEvent::new(AuditKind::GrantEnded), None)).unwrap();
        assert_eq!(bare, "{\"time\":\"2026-11-23T16:00:00.250Z\",\"event\":\"grant_ended\"}\n");
    }

    proptest! {
        #[test]
        fn foreign_text_stays_within_one_printable_line(text in any::<String>()) {
            let name = shortened(&text);
            let event = AuditEvent { identity: Some(name.clone()), ..AuditEvent::new(AuditKind::Refused) };
            let line = render(now(), &event, Some(1));
            let (end, bytes) = line.split_last().unwrap();
            prop_assert!(*end == b'\n' && bytes.iter().all(|byte| (b' '..=b'~').contains(byte)));
            prop_assert!(bytes.len() < 4000);
            let read: serde_json::Value = serde_json::from_slice(bytes).unwrap();
            prop_assert_eq!(read["identity"].as_str().unwrap(), &*name);
        }
    }
}
