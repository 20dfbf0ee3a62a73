//! `credenza whoami`: shows the account and the principal of an identity.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use crate::cli::control::answer::{encoded, json, time_text};
use crate::cli::control::client::{ControlRequest, ask};
use crate::cli::control::{CommandOutput, ControlInputs};
use crate::cli::error::CommandError;
use crate::model::identity_name::IdentityName;
use crate::model::text::Escaped;

#[derive(Deserialize, Serialize)]
struct WhoamiAnswer {
    identity: Option<Box<str>>,
    account: Option<Box<str>>,
    arn: Option<Box<str>>,
    source: Option<Box<str>>,
    expiration: Option<Box<str>>,
}

/// Shows an identity as the daemon knows it, or as STS answers if `verify`.
///
/// # Errors
/// If no daemon answers, it refuses, or STS does.
pub(crate) async fn whoami(
    inputs: &ControlInputs,
    identity: &IdentityName,
    verify: bool,
    is_json: bool,
) -> Result<CommandOutput, CommandError> {
    let mut target = format!("/whoami?identity={}", encoded(identity.as_str()));
    if verify {
        target.push_str("&verify=true");
    }
    let what = format!("cannot tell who identity {identity} is");
    let answer: WhoamiAnswer = ask(inputs, &what, ControlRequest::get(target)).await?;
    if is_json {
        return Ok(json(&answer));
    }
    let now = inputs.context.clock.now();
    let mut text = String::new();
    let unknown = if verify { "unknown" } else { "unknown; --verify asks STS" };
    for (key, value, missing) in [
        ("identity", &answer.identity, "unknown"),
        ("account", &answer.account, unknown),
        ("arn", &answer.arn, unknown),
        ("source", &answer.source, "unknown"),
    ] {
        let value = value.as_deref().map_or_else(|| missing.into(), |value| Escaped(value).to_string());
        let _ = writeln!(text, "{:<12}{value}", format!("{key}:"));
    }
    let expiration = answer.expiration.as_deref().map_or_else(|| "none".into(), |end| time_text(end, now));
    let _ = writeln!(text, "expiration: {expiration}");
    Ok(text.into())
}
