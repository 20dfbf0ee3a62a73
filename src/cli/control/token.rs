//! `credenza token`: shows or rotates the auth token, or the token of a client.

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::cli::control::answer::{encoded, json, time_text};
use crate::cli::control::client::{ControlRequest, ask};
use crate::cli::control::{CommandOutput, ControlInputs};
use crate::cli::error::CommandError;
use crate::model::auth_token;
use crate::model::client_name::ClientName;
use crate::model::secret::Secret;
use crate::model::text::Escaped;

#[derive(Deserialize)]
struct PrintedToken {
    client: Option<Box<str>>,
    token_file: Option<Box<str>>,
    token: Secret,
}

#[derive(Deserialize, Serialize)]
struct RotateAnswer {
    client: Option<Box<str>>,
    token_file: Option<Box<str>>,
    old_until: Option<Box<str>>,
}

/// Returns the words for a client's token in errors.
fn token_of(client: Option<&ClientName>) -> String {
    client.map_or_else(|| "the auth token".into(), |client| format!("the token of client {client}"))
}

/// Shows a token.
///
/// # Errors
/// If no daemon answers, or it refuses.
pub(crate) async fn show(
    inputs: &ControlInputs,
    client: Option<&ClientName>,
    is_json: bool,
) -> Result<CommandOutput, CommandError> {
    #[derive(Serialize)]
    struct TokenDocument<'a> {
        client: Option<&'a str>,
        token_file: Option<&'a str>,
        token: &'a str,
    }
    let query = client.map(|client| format!("?client={}", encoded(client.as_str()))).unwrap_or_default();
    let what = format!("cannot show {}", token_of(client));
    let answer: PrintedToken = ask(inputs, &what, ControlRequest::get(format!("/token{query}"))).await?;
    auth_token::check(answer.token.expose())
        .map_err(|reason| CommandError::new(format!("{what}: it is no token: {reason}. Restart the daemon")))?;
    let PrintedToken { client, token_file, token } = &answer;
    if is_json {
        return Ok(json(&TokenDocument {
            client: client.as_deref(),
            token_file: token_file.as_deref(),
            token: token.expose(),
        }));
    }
    let mut text = Zeroizing::new(String::with_capacity(token.expose().len() + 1));
    text.push_str(token.expose());
    text.push('\n');
    Ok(CommandOutput { text, notes: Vec::new() })
}

/// Replaces a token by a new one.
///
/// # Errors
/// If no daemon answers, or it refuses.
pub(crate) async fn rotate(
    inputs: &ControlInputs,
    client: Option<&ClientName>,
    is_json: bool,
) -> Result<CommandOutput, CommandError> {
    let body = serde_json::json!({ "client": client.map(ClientName::as_str) });
    let what = format!("cannot rotate {}", token_of(client));
    let answer: RotateAnswer = ask(inputs, &what, ControlRequest::post("/token/rotate", &body)).await?;
    if is_json {
        return Ok(json(&answer));
    }
    let file = answer.token_file.as_deref().map(|file| format!(" in {}", Escaped(file))).unwrap_or_default();
    let old = match &answer.old_until {
        Some(until) => format!("the old one holds until {}", time_text(until, inputs.context.clock.now())),
        None => "the old one opens nothing".into(),
    };
    Ok(format!("{}{file} is new; {old}\n", token_of(client)).into())
}
