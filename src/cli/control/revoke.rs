//! `credenza revoke`: ends a grant, and says what its client still holds.

use std::fmt::Write as _;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::cli::control::answer::{encoded, json, time_text};
use crate::cli::control::client::{ControlRequest, ask};
use crate::cli::control::{CommandOutput, ControlInputs};
use crate::cli::error::CommandError;
use crate::model::client_name::ClientName;
use crate::model::text::Escaped;

#[derive(Deserialize, Serialize)]
struct RevokeAnswer {
    name: Box<str>,
    identity: Box<str>,
    /// False if nothing that the grant may have handed out is still valid.
    #[serde(default = "yes")]
    handed_out: bool,
    /// The end of the keys that were handed out. `None` if there are none, or they have no end.
    keys_live_until: Option<Box<str>>,
    /// True if the keys belong to a session, which a deny policy ends.
    is_session: bool,
    deny_policy: Option<Value>,
}

/// The answer of an older daemon does not tell.
fn yes() -> bool {
    true
}

/// Revokes a grant.
///
/// # Errors
/// If no daemon answers, or it refuses.
pub(crate) async fn revoke(
    inputs: &ControlInputs,
    name: &ClientName,
    is_json: bool,
) -> Result<CommandOutput, CommandError> {
    let request = ControlRequest::delete(format!("/grants/{}", encoded(name.as_str())));
    let answer: RevokeAnswer = ask(inputs, &format!("cannot revoke the grant {name}"), request).await?;
    Ok(if is_json { json(&answer) } else { text(&answer, inputs.context.clock.now()).into() })
}

fn text(answer: &RevokeAnswer, now: SystemTime) -> String {
    let RevokeAnswer { name, identity, handed_out, keys_live_until, is_session, deny_policy } = answer;
    let mut text = format!(
        "grant {} of identity {} is revoked: its token is refused from now on\n",
        Escaped(name),
        Escaped(identity)
    );
    let _ = match (keys_live_until, is_session) {
        _ if !handed_out => writeln!(text, "it has handed out nothing that is still valid"),
        (Some(end), true) => {
            writeln!(text, "a session that its client may have got is valid at AWS until {}", time_text(end, now))
        }
        (Some(end), false) => {
            writeln!(text, "keys that its client may have got are valid until {}", time_text(end, now))
        }
        (None, true) => writeln!(text, "it has handed out no session that is still valid"),
        (None, false) => writeln!(
            text,
            "the keys of this identity do not expire: if the client has them, rotate them at their issuer"
        ),
    };
    if let Some(policy) = deny_policy.as_ref().filter(|_| keys_live_until.is_some()) {
        let _ = writeln!(
            text,
            "to end it at once, add this inline policy to the role or user of the identity; it also ends sessions of other clients, which `credenza reload` renews:"
        );
        text.push_str(&json(policy).text);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_the_client_still_holds() {
        let of = |document: Value| text(&serde_json::from_value(document).unwrap(), SystemTime::UNIX_EPOCH);
        let deny =
            serde_json::json!({ "Condition": { "DateLessThan": { "aws:TokenIssueTime": "1970-01-01T00:00:00Z" } } });
        let session = serde_json::json!({
            "name": "a\u{1b}", "identity": "i", "keys_live_until": "1970-01-01T01:00:00Z", "is_session": true, "deny_policy": deny,
        });
        let shown = of(session);
        assert!(shown.starts_with("grant a\\u{1b} of identity i is revoked"), "{shown}");
        assert!(
            shown.contains("until 1970-01-01T01:00:00Z (in 1 h)\n") && shown.contains("aws:TokenIssueTime"),
            "{shown}"
        );
        for (end, is_session, expected) in [
            (Some("1970-01-01T01:00:00Z"), false, "keys that its client may have got are valid until"),
            (None, true, "no session that is still valid"),
            (None, false, "do not expire"),
        ] {
            let shown = of(serde_json::json!({
                "name": "a", "identity": "i", "keys_live_until": end, "is_session": is_session, "deny_policy": null,
            }));
            assert!(shown.contains(expected) && !shown.contains("inline policy"), "{shown}");
        }
    }
}
