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
    /// The end of the keys that were handed out. `None` if there are none, or they have no end.
    keys_live_until: Option<Box<str>>,
    /// True if the keys belong to a session, which a deny policy ends.
    is_session: bool,
    deny_policy: Option<Value>,
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
    let RevokeAnswer { name, identity, keys_live_until, is_session, deny_policy } = answer;
    let mut text =
        format!("grant {} of identity {} is revoked: its token opens nothing\n", Escaped(name), Escaped(identity));
    let _ = match (keys_live_until, is_session) {
        (Some(end), true) => {
            writeln!(text, "the session that it handed out is valid at AWS until {}", time_text(end, now))
        }
        (Some(end), false) => writeln!(text, "the keys that it handed out are valid until {}", time_text(end, now)),
        (None, true) => writeln!(text, "it has handed out no session that is still valid"),
        (None, false) => writeln!(
            text,
            "keys of this identity have no end: if its client got them, replace them where they were issued"
        ),
    };
    if let Some(policy) = deny_policy.as_ref().filter(|_| keys_live_until.is_some()) {
        let _ = writeln!(
            text,
            "to end it at once, add this inline policy to the role or user of the identity; it ends all its sessions until now:"
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
            (Some("1970-01-01T01:00:00Z"), false, "the keys that it handed out are valid until"),
            (None, true, "no session that is still valid"),
            (None, false, "have no end"),
        ] {
            let shown = of(serde_json::json!({
                "name": "a", "identity": "i", "keys_live_until": end, "is_session": is_session, "deny_policy": null,
            }));
            assert!(shown.contains(expected) && !shown.contains("inline policy"), "{shown}");
        }
    }
}
