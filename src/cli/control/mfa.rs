//! `credenza mfa`: hands the code of an MFA device to a running daemon.

use http::StatusCode;
use serde::{Deserialize, Serialize};

use crate::cli::control::answer::{json, time_text};
use crate::cli::control::client::{ControlRequest, exchange, parse};
use crate::cli::control::{CommandOutput, ControlInputs};
use crate::cli::error::CommandError;
use crate::context::mfa::{ask_at_the_terminal, is_code};
use crate::model::identity_name::IdentityName;
use crate::model::secret::Secret;
use crate::model::text::Escaped;

#[derive(Deserialize, Serialize)]
struct MfaAnswer {
    identity: Box<str>,
    until: Option<Box<str>>,
}

/// Sends a code. Without one the user types it at the terminal, without echo.
///
/// # Errors
/// If there is no terminal, the code has another form, no daemon answers, or STS refuses the code.
pub(crate) async fn mfa(
    inputs: &ControlInputs,
    identity: &IdentityName,
    code: Option<Secret>,
    is_json: bool,
) -> Result<CommandOutput, CommandError> {
    #[derive(Serialize)]
    struct MfaRequest<'a> {
        identity: &'a str,
        code: &'a str,
    }
    let what = format!("no MFA session for identity {identity}");
    let code = match code {
        Some(code) => code,
        None => ask_at_the_terminal(&format!("identity {identity}"))
            .await
            .map_err(|_| CommandError::new(format!("{what}: there is no terminal to ask at. Give --mfa-code")))?,
    };
    // STS wants six digits. Other input may be a password, and is never sent.
    if !is_code(&code) {
        return Err(CommandError::new(format!("{what}: a code has six digits. Run the command again")));
    }
    let body = MfaRequest { identity: identity.as_str(), code: code.expose() };
    let (socket, answer) = exchange(inputs, ControlRequest::post("/mfa", &body)).await?;
    let answer = answer.map_err(|refusal| match (refusal.status, &*refusal.code) {
        (StatusCode::NOT_FOUND, "NotFound") => CommandError::new(format!(
            "{what}: the daemon is older than this program. Restart it, or use `credenza exec`"
        )),
        _ => refusal.of(&what),
    });
    let answer: MfaAnswer = parse(&socket, &answer?)?;
    if is_json {
        return Ok(json(&answer));
    }
    let until = match &answer.until {
        Some(until) => format!(" until {}", time_text(until, inputs.context.clock.now())),
        None => String::new(),
    };
    Ok(format!("identity {} has an MFA session{until}\n", Escaped(&answer.identity)).into())
}
