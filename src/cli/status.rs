//! `credenza status`: shows the status of a running daemon.

pub(crate) mod fail_within;
pub(crate) mod watch;

use std::fmt::Write as _;
use std::time::SystemTime;

use http::StatusCode;
use serde_json::Value;

use crate::cli::control;
use crate::cli::control::ControlInputs;
use crate::cli::control::client::ControlRequest;
use crate::cli::daemon_client::DaemonClient;
use crate::cli::daemon_client::exchange::{get_without_token, not_a_daemon};
use crate::cli::error::CommandError;
use crate::cli::output::relative_time;
use crate::config::listen::ListenAddress;
use crate::model::text::Escaped;
use crate::model::time::parse_timestamp;

/// Returns true if every eager identity has credentials. Sends no token.
///
/// # Errors
/// If no daemon answers.
pub(crate) async fn ready(address: &ListenAddress) -> Result<bool, CommandError> {
    Ok(get_without_token(address, "/readyz").await?.0 == StatusCode::OK)
}

/// Gets the status document of the daemon.
///
/// With `[clients]` the owner has no token, so that the control socket is asked. It is also asked if the user names it.
///
/// # Errors
/// If no daemon answers, the listener is not the daemon's, or the daemon refuses the token.
pub(crate) async fn document(inputs: &ControlInputs) -> Result<Value, CommandError> {
    if inputs.named.is_some() || inputs.config.clients.is_some() {
        return control::client::ask(inputs, "cannot show the status", ControlRequest::status()).await;
    }
    let daemon = DaemonClient::find(&inputs.config.server, &inputs.context)?;
    let body = daemon.get("/status").await?;
    serde_json::from_slice(&body).map_err(|error| not_a_daemon(&daemon.address, error))
}

pub(crate) fn text(document: &Value) -> String {
    let now = timestamp(&document["now"]).unwrap_or(SystemTime::UNIX_EPOCH);
    let mut text = String::new();
    let version = document["version"].as_str().unwrap_or("?");
    let _ = writeln!(text, "credenza {version}, started {}", relative(&document["started"], now));
    if let Some(error) = document["configuration_refused"].as_str() {
        let _ = writeln!(
            text,
            "the configuration file has an error, and the earlier configuration stays in use:\n  {}",
            error.replace('\n', "\n  ")
        );
    }
    let profiles = &document["profiles"];
    if let (Some(known @ 1..), Some(live)) = (profiles["known"].as_u64(), profiles["live"].as_u64()) {
        let _ = writeln!(text, "{known} profiles are served on demand, {live} of them are active");
    }
    if let Some(identity) = document["switch"]["identity"].as_str() {
        let _ = match document["switch"]["until"].as_str() {
            Some(_) => {
                let until = relative(&document["switch"]["until"], now);
                writeln!(text, "default is identity {}; that ends {until}", Escaped(identity))
            }
            None => writeln!(text, "default is identity {}, by `credenza use`", Escaped(identity)),
        };
    }
    for grant in document["grants"].as_array().into_iter().flatten() {
        let word = |key: &str| Escaped(grant[key].as_str().unwrap_or("?"));
        let ends = relative(&grant["expires"], now);
        let _ = writeln!(text, "grant {} of identity {} ends {ends}", word("name"), word("identity"));
    }
    for (name, identity) in document["identities"].as_object().into_iter().flatten() {
        write_identity(&mut text, name, identity, now);
    }
    // Errors quote foreign text, which must not control the terminal.
    text.lines().map(|line| format!("{}\n", Escaped(line))).collect()
}

/// Formats a document, or the error without one, as text.
pub(crate) fn text_or_error(result: Result<&Value, &CommandError>) -> String {
    result.map_or_else(|error| format!("{error}\n"), text)
}

/// Formats a document as one line of JSON. Without a document the line has only the field `error`.
pub(crate) fn json_line(result: Result<&Value, &CommandError>) -> String {
    match result {
        Ok(document) => format!("{document}\n"),
        Err(error) => format!("{}\n", serde_json::json!({ "error": error.to_string() })),
    }
}

fn write_identity(text: &mut String, name: &str, identity: &Value, now: SystemTime) {
    let word = |key: &str| identity[key].as_str();
    let _ = writeln!(text, "\n{}: {}", Escaped(name), word("state").unwrap_or("?"));
    if let Some(source) = word("source") {
        let _ = write!(text, "  {} from {source}", word("access_key_id").unwrap_or("?"));
        for key in ["region", "account_id", "endpoint"] {
            if let Some(value) = word(key) {
                let _ = write!(text, ", {} {value}", key.trim_end_matches("_id"));
            }
        }
        let _ = writeln!(text);
        let _ = write!(text, "  loaded {}", relative(&identity["loaded"], now));
        if word("expiration").is_some() {
            let _ = write!(text, ", expires {}", relative(&identity["expiration"], now));
        }
        let _ = writeln!(text);
    }
    if word("next_refresh").is_some() {
        let _ = writeln!(text, "  next load {}", relative(&identity["next_refresh"], now));
    }
    if word("login_ends").is_some() {
        let ends = relative(&identity["login_ends"], now);
        // A daemon of another version may not have this field.
        let command = word("login_command").unwrap_or("credenza login");
        let has_ended = timestamp(&identity["login_ends"]).is_some_and(|end| end <= now);
        let verb = if has_ended { "ended" } else { "ends" };
        let _ = writeln!(text, "  the login {verb} {ends}; to log in again, run: {}", Escaped(command));
    }
    let failure = &identity["failure"];
    if let (Some(source), Some(message)) = (failure["source"].as_str(), failure["message"].as_str()) {
        let (times, since) = (failure["times"].as_u64().unwrap_or(1), relative(&failure["since"], now));
        let _ = writeln!(
            text,
            "  {source} fails ({}): {message}",
            if times == 1 { format!("once, {since}") } else { format!("{times} times, first {since}") }
        );
    }
    for (position, source) in identity["sources"].as_array().into_iter().flatten().enumerate() {
        let word = |key: &str| source[key].as_str().unwrap_or_default();
        let reason = source["reason"].as_str().map(|reason| format!(": {reason}")).unwrap_or_default();
        let _ = writeln!(text, "  {}. {:<12} {}{reason}", position + 1, word("source"), word("said"));
    }
    if let Some(notice) = word("notice") {
        let _ = writeln!(text, "  {notice}");
    }
}

fn timestamp(value: &Value) -> Option<SystemTime> {
    parse_timestamp(value.as_str()?).ok()
}

fn relative(value: &Value, now: SystemTime) -> String {
    timestamp(value).map_or_else(|| "at an unknown time".into(), |at| relative_time(at, now))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_ages_and_remaining_times() {
        let document = serde_json::json!({
            "version": "1", "now": "2026-11-23T16:00:00Z", "started": "2026-11-23T14:00:00Z", "configuration_refused": null,
            "identities": { "a": {
                "state": "ok, refresh failing", "source": "imds", "access_key_id": "ASIA1", "region": "eu-west-1",
                "loaded": "2026-11-23T15:55:00Z", "expiration": "2026-11-23T17:30:05Z", "next_refresh": "2026-11-23T16:00:20Z",
                "failure": { "source": "imds", "message": "down", "times": 3, "since": "2026-11-23T15:59:00Z" },
                "sources": [{ "source": "imds", "said": "failing", "reason": "down" }],
            } },
        });
        let expected = "credenza 1, started 2 h ago\n\na: ok, refresh failing\n  ASIA1 from imds, region eu-west-1\n  \
                        loaded 5 min ago, expires in 1 h 30 min\n  next load in 20 s\n  imds fails (3 times, first 1 min ago): down\n  \
                        1. imds         failing: down\n";
        assert_eq!(text(&document), expected);
    }

    #[test]
    fn shows_switch_and_grants() {
        let document = serde_json::json!({
            "version": "1", "now": "2026-11-23T16:00:00Z", "started": "2026-11-23T14:00:00Z",
            "switch": { "identity": "prod", "until": "2026-11-23T17:00:00Z" },
            "grants": [{ "name": "build", "identity": "dev", "expires": "2026-11-23T16:30:00Z", "policy_sha256": null }],
        });
        let expected = "credenza 1, started 2 h ago\ndefault is identity prod; that ends in 1 h\n\
                        grant build of identity dev ends in 30 min\n";
        assert_eq!(text(&document), expected);
        let without_end = serde_json::json!({ "switch": { "identity": "\u{1b}p", "until": null }, "grants": null });
        assert!(text(&without_end).ends_with("default is identity \\u{1b}p, by `credenza use`\n"));
    }

    #[test]
    fn shows_login_end_with_the_command() {
        let of = |ends: &str, command: Value| {
            let identity = serde_json::json!({ "state": "ok", "login_ends": ends, "login_command": command });
            let document = serde_json::json!({ "now": "2026-11-23T16:00:00Z", "identities": { "a": identity } });
            text(&document).lines().last().unwrap().to_owned()
        };
        for (ends, command, expected) in [
            (
                "2026-11-23T16:30:00Z",
                "credenza login --sso-session work".into(),
                "  the login ends in 30 min; to log in again, run: credenza login --sso-session work",
            ),
            (
                "2026-11-23T15:30:00Z",
                "aws login --profile dev".into(),
                "  the login ended 30 min ago; to log in again, run: aws login --profile dev",
            ),
            ("2026-11-23T16:30:00Z", Value::Null, "  the login ends in 30 min; to log in again, run: credenza login"),
        ] {
            assert_eq!(of(ends, command), expected);
        }
    }

    #[test]
    fn formats_any_json() {
        let document = serde_json::json!({ "identities": { "a": { "notice": "\u{1b}[2Jx", "source": "\u{202e}" } } });
        assert!(text(&document).contains("\\u{1b}[2Jx") && text(&document).contains("\\u{202e}"));
        for odd in
            [serde_json::json!(null), serde_json::json!([1]), serde_json::json!({ "identities": { "a": 1 }, "now": 7 })]
        {
            assert!(text(&odd).starts_with("credenza"));
        }
    }
}
