//! All that a status document says about one identity.

use std::fmt::Write as _;
use std::time::SystemTime;

use serde_json::Value;

use crate::cli::output::relative_time;
use crate::cli::terminal::text::write_indented;
use crate::cli::terminal::{Screen, Tone};
use crate::model::text::Escaped;
use crate::model::time::parse_timestamp;

/// Appends the details of an identity, below its name.
pub(super) fn write_identity(out: &mut String, name: &str, identity: &Value, now: SystemTime, screen: Screen) {
    let word = |key: &str| identity[key].as_str();
    let title = format!("{}: {}", Escaped(name), Escaped(word("state").unwrap_or("?")));
    let mut heading = String::new();
    write_indented(&mut heading, &title, 0, screen.width);
    for line in heading.lines() {
        let _ = writeln!(out, "{}", screen.paint(tone(word("state").unwrap_or("?")), line));
    }
    for line in lines(identity, now) {
        // Errors quote foreign text, which must not control the terminal.
        write_indented(out, &Escaped(&line).to_string(), 2, screen.width);
    }
}

fn tone(state: &str) -> Tone {
    match state {
        "available" => Tone::Good,
        "refresh failing" => Tone::Warning,
        "not loaded yet" | "loading" => Tone::Faint,
        _ => Tone::Bad,
    }
}

fn lines(identity: &Value, now: SystemTime) -> Vec<String> {
    let word = |key: &str| identity[key].as_str();
    let mut lines = Vec::new();
    if let Some(source) = word("source") {
        let mut line = format!("{} from {source}", word("access_key_id").unwrap_or("?"));
        for key in ["region", "account_id", "endpoint"] {
            if let Some(value) = word(key) {
                let _ = write!(line, ", {} {value}", key.trim_end_matches("_id"));
            }
        }
        lines.push(line);
        let mut line = format!("loaded {}", relative(&identity["loaded"], now));
        if word("expiration").is_some() {
            let _ = write!(line, ", expires {}", relative(&identity["expiration"], now));
        }
        lines.push(line);
    }
    if word("next_refresh").is_some() {
        lines.push(format!("next load {}", relative(&identity["next_refresh"], now)));
    }
    if word("login_ends").is_some() {
        let ends = relative(&identity["login_ends"], now);
        // A daemon of another version may not have this field.
        let command = word("login_command").unwrap_or("credenza login");
        let has_ended = timestamp(&identity["login_ends"]).is_some_and(|end| end <= now);
        let verb = if has_ended { "ended" } else { "ends" };
        lines.push(format!("the login {verb} {ends}; to log in again, run: {command}"));
    }
    let failure = &identity["failure"];
    if let (Some(source), Some(message)) = (failure["source"].as_str(), failure["message"].as_str()) {
        let (times, since) = (failure["times"].as_u64().unwrap_or(1), relative(&failure["since"], now));
        let count = if times == 1 { format!("once, {since}") } else { format!("{times} times, first {since}") };
        lines.push(format!("{source} fails ({count}): {message}"));
    }
    for (position, source) in identity["sources"].as_array().into_iter().flatten().enumerate() {
        let word = |key: &str| source[key].as_str().unwrap_or_default();
        let reason = source["reason"].as_str().map(|reason| format!(": {reason}")).unwrap_or_default();
        lines.push(format!("{}. {:<12} {}{reason}", position + 1, word("source"), word("said")));
    }
    lines.extend(word("notice").map(ToOwned::to_owned));
    lines
}

pub(super) fn timestamp(value: &Value) -> Option<SystemTime> {
    parse_timestamp(value.as_str()?).ok()
}

pub(super) fn relative(value: &Value, now: SystemTime) -> String {
    timestamp(value).map_or_else(|| "at an unknown time".into(), |at| relative_time(at, now))
}
