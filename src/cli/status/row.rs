//! One identity of a status document, as a row of the table.

use std::time::{Duration, SystemTime};

use serde_json::Value;

use crate::cli::identity_table::{Problem, Rank, Row, short_time};
use crate::model::credentials::LACKS_SESSION_TOKEN;
use crate::model::text::Escaped;
use crate::model::time::parse_timestamp;

/// A login that ends within this time is shown: the daemon warns in its log at the same time.
const LOGIN_NOTICE: Duration = Duration::from_secs(3600);

/// Returns the row of an identity.
pub(super) fn row(name: &str, identity: &Value, now: SystemTime) -> Row {
    let text = |key: &str| identity[key].as_str().map(|text| Escaped(text).to_string());
    let at = |key: &str| parse_timestamp(identity[key].as_str()?).ok();
    let state = text("state").unwrap_or_else(|| "?".into());
    let expiration = at("expiration");
    // The end of what is served. Long-lived keys have no expiration.
    let is_served = at("serve_until").or(expiration).is_some_and(|end| end > now);
    let lifetime = |loaded: SystemTime, end: SystemTime| end.duration_since(loaded).ok().filter(|all| !all.is_zero());
    let left = at("loaded").zip(expiration).and_then(|(loaded, end)| {
        let left = end.duration_since(now).unwrap_or_default();
        lifetime(loaded, end).map(|all| (left.as_secs_f64() / all.as_secs_f64()).min(1.0))
    });
    let problem = problem(&state, identity, now);
    let rank = match &*state {
        "available" if problem.is_none() => Rank::Available,
        "not loaded yet" | "loading" => Rank::Unused,
        "not configured" if identity["eager"] != true => Rank::Unused,
        "available" => Rank::Attention,
        _ if is_served => Rank::Attention,
        _ => Rank::Failing,
    };
    Row {
        name: Escaped(name).to_string(),
        rank,
        expires: expiration.map_or_else(String::new, |end| match end.duration_since(now) {
            Ok(left) if !left.is_zero() => short_time(left),
            _ => "ended".into(),
        }),
        left,
        key: text("access_key_id").unwrap_or_default(),
        refresh: at("next_refresh")
            .map_or_else(String::new, |next| short_time(next.duration_since(now).unwrap_or_default())),
        source: text("source").unwrap_or_default(),
        state,
        problem,
    }
}

/// Returns the problem of an identity: the command to run, or the error without its location.
fn problem(state: &str, identity: &Value, now: SystemTime) -> Option<Problem> {
    let run = || {
        let command = identity["login_command"].as_str().unwrap_or("credenza login");
        format!("run: {}", Escaped(command))
    };
    if state.contains("login required") {
        return Some(Problem { text: run(), is_command: true });
    }
    let failure = &identity["failure"];
    // A daemon of another version may have the message alone.
    if let Some(reason) = failure["reason"].as_str().or_else(|| failure["message"].as_str()) {
        return Some(Problem { text: Escaped(reason).to_string(), is_command: false });
    }
    if identity["notice"] == LACKS_SESSION_TOKEN {
        return Some(Problem { text: LACKS_SESSION_TOKEN.to_owned(), is_command: false });
    }
    if state == "not configured" && identity["eager"] == true {
        return Some(Problem { text: "run: credenza check".into(), is_command: true });
    }
    let ends = parse_timestamp(identity["login_ends"].as_str()?).ok()?;
    if ends > now + LOGIN_NOTICE {
        return None;
    }
    let when = match ends.duration_since(now) {
        Ok(left) => format!("the login ends in {}", short_time(left)),
        Err(_) => "the login has ended".to_owned(),
    };
    Some(Problem { text: format!("{when}; {}", run()), is_command: true })
}
