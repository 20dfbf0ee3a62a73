//! Text from the daemon for a terminal: JSON, times and names.

use std::fmt::Write as _;
use std::time::SystemTime;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;
use zeroize::Zeroizing;

use crate::cli::control::CommandOutput;
use crate::cli::output::relative_time;
use crate::model::text::Escaped;
use crate::model::time::parse_timestamp;

/// The characters that are percent-encoded in a path segment and in a query (RFC 3986, section 2.3).
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Returns a name as a part of a request target.
pub(crate) fn encoded(name: &str) -> String {
    utf8_percent_encode(name, ENCODED).to_string()
}

/// Returns a document as JSON in which no character controls a terminal.
pub(crate) fn json(document: &impl Serialize) -> CommandOutput {
    let mut text = Zeroizing::new(Vec::with_capacity(16 << 10));
    let _ = serde_json::to_writer_pretty(&mut *text, document);
    let text = Zeroizing::new(String::from_utf8_lossy(&text).into_owned());
    let mut output = Zeroizing::new(String::with_capacity(2 * text.len() + 64));
    for c in text.chars() {
        // Outside of strings JSON is ASCII with line breaks.
        match c {
            '\n' => output.push(c),
            c if Escaped(c.encode_utf8(&mut [0; 4])).to_string().starts_with('\\') && c != '\\' => {
                let _ = write!(output, "\\u{:04x}", u32::from(c));
            }
            c => output.push(c),
        }
    }
    output.push('\n');
    CommandOutput { text: output, notes: Vec::new() }
}

/// Returns a time of the daemon, also relative to now: `2026-11-30T18:30:00Z (in 30 min)`.
pub(crate) fn time_text(time: &str, now: SystemTime) -> String {
    match parse_timestamp(time) {
        Ok(at) => format!("{} ({})", Escaped(time), relative_time(at, now)),
        Err(_) => Escaped(time).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn json_stays_valid_and_controls_no_terminal() {
        let document = serde_json::json!({ "a": "\u{1b}[2J\u{9b}\u{7f}\u{202e}é\\n\n\"", "b": [1, null] });
        let text = json(&document).text;
        assert!(text.chars().all(|c| c == '\n' || !c.is_control()) && !text.contains('\u{202e}'), "{text:?}");
        assert!(text.contains('é'));
        assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap(), document);
    }

    #[test]
    fn shows_times_of_the_daemon() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_449_600);
        assert_eq!(time_text("2026-11-23T16:30:00Z", now), "2026-11-23T16:30:00Z (in 30 min)");
        assert_eq!(time_text("\u{1b}soon", now), "\\u{1b}soon");
    }

    #[test]
    fn encodes_names() {
        assert_eq!(encoded("a.b-c_d"), "a.b-c_d");
        assert_eq!(encoded("a/b c?é&"), "a%2Fb%20c%3F%C3%A9%26");
    }
}
