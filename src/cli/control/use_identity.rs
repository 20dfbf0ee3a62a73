//! `credenza use`: chooses the identity that `default` means.

use std::fmt::Write as _;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::cli::control::answer::{json, time_text};
use crate::cli::control::client::{ControlRequest, ask};
use crate::cli::control::{CommandOutput, ControlInputs};
use crate::cli::error::CommandError;
use crate::model::identity_name::IdentityName;
use crate::model::text::Escaped;

#[derive(Deserialize, Serialize)]
struct UseAnswer {
    identity: Box<str>,
    /// The end of the choice.
    until: Option<Box<str>>,
    /// The time until which clients may hold credentials that they got before.
    held_until: Option<Box<str>>,
    /// True if clients were told short lifetimes before.
    #[serde(default)]
    switchable: bool,
}

/// Chooses an identity. `default` ends the choice.
///
/// # Errors
/// If no daemon answers, or it refuses.
pub(crate) async fn use_identity(
    inputs: &ControlInputs,
    identity: &IdentityName,
    period: Option<Duration>,
    is_json: bool,
) -> Result<CommandOutput, CommandError> {
    let body = serde_json::json!({ "identity": identity.as_str(), "seconds": period.map(|period| period.as_secs()) });
    let what = format!("cannot use identity {identity}");
    let answer: UseAnswer = ask(inputs, &what, ControlRequest::post("/use", &body)).await?;
    if is_json {
        return Ok(json(&answer));
    }
    let now = inputs.context.clock.now();
    let mut text = match (&*answer.identity, &answer.until) {
        (IdentityName::DEFAULT, _) => "default is its own identity again\n".to_owned(),
        (identity, Some(until)) => {
            format!("default is identity {} until {}\n", Escaped(identity), time_text(until, now))
        }
        (identity, None) => {
            format!("default is identity {} until `credenza use default` or the end of the daemon\n", Escaped(identity))
        }
    };
    if let Some(held) = &answer.held_until {
        let _ = writeln!(
            text,
            "clients may hold what they got before until {}{}",
            time_text(held, now),
            if answer.switchable { "" } else { "; with switchable = true in [server] they ask more often" }
        );
    }
    Ok(text.into())
}
