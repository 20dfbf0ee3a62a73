//! `credenza status --fail-within`: the identities that fail, or will fail soon without a person.

use std::time::{Duration, SystemTime};

use serde_json::Value;

use crate::cli::output::relative_time;
use crate::model::text::Escaped;
use crate::model::time::parse_timestamp;

/// Returns a line for each identity that has no credentials, or will have none within this time without a login by the
/// user. A lease that the daemon renews in time is not among them, nor is an identity that no client has requested.
pub(crate) fn warnings(document: &Value, within: Duration) -> Vec<String> {
    let at = |value: &Value| parse_timestamp(value.as_str()?).ok();
    let now = at(&document["now"]).unwrap_or(SystemTime::UNIX_EPOCH);
    let ends_soon = |value: &Value| at(value).filter(|end| *end <= now + within);
    let mut warnings = Vec::new();
    for (name, identity) in document["identities"].as_object().into_iter().flatten() {
        let mut warn = |what: String| warnings.push(format!("identity {}: {what}", Escaped(name)));
        let state = identity["state"].as_str().unwrap_or("?");
        let failure = &identity["failure"];
        let is_served = at(&identity["serve_until"]).is_some_and(|end| end > now);
        match state {
            "not loaded yet" => continue,
            "available" => {}
            "refresh failing" | "login required" if is_served => {}
            "not configured" | "loading" if identity["eager"] != true => continue,
            _ => {
                let reason = failure["message"].as_str().map(|reason| format!(": {reason}")).unwrap_or_default();
                warn(format!("{state}{reason}"));
                continue;
            }
        }
        if let Some(end) = ends_soon(&identity["login_ends"]) {
            let command = identity["login_command"].as_str().unwrap_or("credenza login");
            warn(format!("the login ends {}; run: {command}", relative_time(end, now)));
        } else if let (Some(reason), Some(end)) = (failure["message"].as_str(), ends_soon(&identity["serve_until"])) {
            warn(format!("its credentials end {}, and the refresh fails: {reason}", relative_time(end, now)));
        }
    }
    if let Some(error) = document["configuration_refused"].as_str() {
        warnings.push(format!("the configuration on disk is refused: {error}; `credenza check` explains it"));
    }
    // Errors quote foreign text, which must not control the terminal.
    warnings.iter().map(|warning| Escaped(warning).to_string()).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn warns_of_what_a_person_must_do() {
        let soon = "2026-11-30T12:20:00Z";
        let (ok, failing) = (json!("available"), json!({"message": "STS\u{1b}[2J is down"}));
        for (identity, expected) in [
            (json!({"state": ok, "serve_until": soon}), ""),
            (json!({"state": "not loaded yet"}), ""),
            (json!({"state": "not configured", "eager": false}), ""),
            (json!({"state": "not configured", "eager": true}), "identity a: not configured"),
            (
                json!({"state": "failing", "eager": false, "failure": failing}),
                "identity a: failing: STS\\u{1b}[2J is down",
            ),
            (json!({"state": "login required"}), "identity a: login required"),
            (
                json!({"state": ok, "login_ends": soon, "login_command": "credenza mfa a"}),
                "identity a: the login ends in 20 min; run: credenza mfa a",
            ),
            (json!({"state": ok, "login_ends": "2026-11-30T12:31:00Z"}), ""),
            (
                json!({"state": "refresh failing", "serve_until": soon, "failure": failing}),
                "identity a: its credentials end in 20 min, and the refresh fails: STS\\u{1b}[2J is down",
            ),
            (json!({"state": "refresh failing", "serve_until": "2026-11-30T13:00:00Z", "failure": failing}), ""),
        ] {
            let document = json!({"now": "2026-11-30T12:00:00Z", "identities": {"a": identity}});
            assert_eq!(warnings(&document, Duration::from_secs(1800)).join("\n"), expected, "{document}");
        }
        let refused = json!({"now": "2026-11-30T12:00:00Z", "configuration_refused": "line 1"});
        assert_eq!(
            warnings(&refused, Duration::ZERO),
            ["the configuration on disk is refused: line 1; `credenza check` explains it"]
        );
    }
}
