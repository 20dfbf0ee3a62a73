//! The audit log for people: who holds keys now, who was refused, and a timeline.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::time::SystemTime;

use serde_json::Value;

use crate::audit::history::AuditRecord;
use crate::cli::output::relative_time;
use crate::model::text::Escaped;
use crate::model::time::timestamp;

/// The events of the timeline. The JSON form has all.
const TIMELINE: usize = 50;

/// The rows of a table. A flood of unknown names must not fill the terminal.
const ROWS: usize = 50;

/// Equal answers of the whole time.
#[derive(Debug, Default)]
struct AnswerTotal {
    count: u64,
    last: Option<SystemTime>,
    until: Option<SystemTime>,
}

impl AnswerTotal {
    fn add(&mut self, record: &AuditRecord) {
        self.count = self.count.saturating_add(record.count());
        self.last = self.last.max(Some(record.time));
        self.until = self.until.max(record.expiration());
    }
}

/// The events of a log, grouped.
#[derive(Debug, Default)]
pub(crate) struct AuditSummary {
    /// By client, identity and access key id.
    served: BTreeMap<[String; 3], AnswerTotal>,
    /// By client, identity, status and code.
    refused: BTreeMap<[String; 4], AnswerTotal>,
    timeline: VecDeque<AuditRecord>,
    events: usize,
}

impl AuditSummary {
    pub(crate) fn add(&mut self, record: AuditRecord) {
        let field = |name: &str| shown(record.text(name));
        match record.event() {
            "served" => {
                let key = [field("client"), field("identity"), field("access_key_id")];
                self.served.entry(key).or_default().add(&record);
            }
            "refused" => {
                let key = [field("client"), field("identity"), shown(&record.status()), field("code")];
                self.refused.entry(key).or_default().add(&record);
            }
            _ => {}
        }
        self.events += 1;
        if self.timeline.len() == TIMELINE {
            self.timeline.pop_front();
        }
        self.timeline.push_back(record);
    }

    /// Returns the tables and the timeline at `now`. Someone who follows the log gets the timeline last, without a note.
    pub(crate) fn text(&self, now: SystemTime, follows: bool) -> String {
        if self.events == 0 {
            return if follows {
                String::new()
            } else {
                "no events in this time; --since 7d looks further back\n".into()
            };
        }
        let ago = |total: &AnswerTotal| total.last.map_or_else(String::new, |last| relative_time(last, now));
        let mut text = String::new();
        let holds = self.served.iter().filter(|(_, total)| total.until.is_some_and(|until| now < until));
        let holds = holds.map(|([client, identity, key], total)| {
            let until = total.until.map_or_else(String::new, |until| relative_time(until, now));
            vec![client.clone(), identity.clone(), key.clone(), until, total.count.to_string(), ago(total)]
        });
        write_table(&mut text, &["HOLDS KEYS", "IDENTITY", "ACCESS KEY", "EXPIRES", "ANSWERS", "LAST"], holds);
        let refused = self.refused.iter().map(|([client, identity, status, code], total)| {
            vec![client.clone(), identity.clone(), status.clone(), code.clone(), total.count.to_string(), ago(total)]
        });
        write_table(&mut text, &["REFUSED", "IDENTITY", "STATUS", "CODE", "ANSWERS", "LAST"], refused);
        let hidden = self.events - self.timeline.len();
        if hidden > 0 {
            let _ = writeln!(text, "the last {TIMELINE} of {} events; --json prints all:", self.events);
        }
        for record in &self.timeline {
            let _ = writeln!(text, "{}", event_line(record));
        }
        text
    }
}

/// Returns one line about an event: its time, what happened, and by whom.
pub(super) fn event_line(record: &AuditRecord) -> String {
    let mut line = format!("{}  {:<11}", timestamp(record.time), shown(record.event()));
    for name in ["client", "identity", "requested", "access_key_id", "source", "session_name", "code", "result"] {
        let text = record.text(name);
        if !text.is_empty() {
            let _ = write!(line, "  {name}={}", shown(text));
        }
    }
    for (name, value) in [("status", record.status()), ("until", shown(record.text("expiration")))] {
        if !value.is_empty() && value != "-" {
            let _ = write!(line, "  {name}={value}");
        }
    }
    let peer = record.fields.get("peer").and_then(Value::as_object);
    for name in ["uid", "pid", "address"] {
        match peer.and_then(|peer| peer.get(name)) {
            Some(Value::String(text)) => drop(write!(line, "  {name}={}", shown(text))),
            Some(Value::Number(number)) => drop(write!(line, "  {name}={number}")),
            _ => {}
        }
    }
    if record.count() > 1 {
        let _ = write!(line, "  {} times", record.count());
    }
    line
}

/// Returns a text of the log for the terminal: escaped, in one word, and `-` if it is empty.
fn shown(text: &str) -> String {
    match text {
        "" => "-".into(),
        text => Escaped(text).to_string().replace(' ', "_"),
    }
}

fn write_table(text: &mut String, heading: &[&str], rows: impl Iterator<Item = Vec<String>>) {
    let mut rows: Vec<Vec<String>> = rows.collect();
    if rows.is_empty() {
        return;
    }
    let hidden = rows.len().saturating_sub(ROWS);
    rows.truncate(ROWS);
    rows.insert(0, heading.iter().map(|&word| word.to_owned()).collect());
    let widths: Vec<usize> = (0..heading.len())
        .map(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default())
        .collect();
    for row in &rows {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        let _ = writeln!(text, "{}", cells.collect::<Vec<_>>().join("  ").trim_end());
    }
    if hidden > 0 {
        let _ = writeln!(text, "… and {hidden} more; --client and --identity choose");
    }
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::time::parse_timestamp;

    fn record(json: &str) -> AuditRecord {
        AuditRecord::parse(json.as_bytes()).unwrap()
    }

    fn summary(records: &[&str]) -> String {
        let mut summary = AuditSummary::default();
        records.iter().for_each(|json| summary.add(record(json)));
        summary.text(parse_timestamp("2026-11-23T17:00:00Z").unwrap(), false)
    }

    #[test]
    fn tells_who_holds_keys_who_was_refused_and_what_happened() {
        let text = summary(&[
            r#"{"time":"2026-11-23T16:00:00Z","event":"grant","client":"build","identity":"prod","peer":{"uid":0,"pid":7}}"#,
            r#"{"time":"2026-11-23T16:10:00Z","event":"served","client":"web","identity":"prod","access_key_id":"ASIA1","expiration":"2026-11-23T18:00:00Z","count":3}"#,
            r#"{"time":"2026-11-23T16:20:00Z","event":"served","client":"web","identity":"prod","access_key_id":"ASIA1","expiration":"2026-11-23T18:30:00Z","count":2}"#,
            r#"{"time":"2026-11-23T16:20:00Z","event":"served","client":"old","identity":"prod","access_key_id":"ASIA0","expiration":"2026-11-23T16:59:59Z","count":1}"#,
            r#"{"time":"2026-11-23T16:30:00Z","event":"refused","client":"none","status":401,"code":"InvalidAuthorizationToken","count":9}"#,
        ]);
        let lines: Vec<_> = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        assert_eq!(lines[1], "web prod ASIA1 in 1 h 30 min 5 40 min ago", "{text}");
        assert_eq!(lines[2], "", "keys that have expired are held by nobody: {text}");
        assert_eq!(lines[4], "none - 401 InvalidAuthorizationToken 9 30 min ago", "{text}");
        assert_eq!(lines[6], "2026-11-23T16:00:00Z grant client=build identity=prod uid=0 pid=7", "{text}");
        assert!(lines[10].ends_with("status=401 9 times"), "{text}");
    }

    #[test]
    fn foreign_text_forges_no_line_and_no_cell() {
        let text = summary(&[
            "{\"time\":\"2026-11-23T16:00:00Z\",\"event\":\"refused\",\"client\":\"none\",\"identity\":\"a\\n\\u001b[2J b\",\"status\":403,\"code\":\"X\"}",
        ]);
        assert!(text.contains("a\\n\\u{1b}[2J_b") && !text.contains('\u{1b}'), "{text}");
    }

    #[test]
    fn long_logs_are_cut_and_say_so() {
        let json = |number: u32| {
            format!(
                r#"{{"time":"2026-11-23T16:00:00Z","event":"refused","client":"c{number}","status":404,"code":"X"}}"#
            )
        };
        let all: Vec<String> = (0..200).map(json).collect();
        let text = summary(&all.iter().map(String::as_str).collect::<Vec<_>>());
        assert!(
            text.contains("… and 150 more") && text.contains("the last 50 of 200 events; --json prints all:"),
            "{text}"
        );
        assert!(text.lines().count() < 110);
    }
}
