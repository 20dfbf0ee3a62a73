//! `credenza reload`: makes a running daemon read its configuration again.

use serde::{Deserialize, Serialize};

use crate::cli::control::answer::json;
use crate::cli::control::client::{ControlRequest, ask};
use crate::cli::control::{CommandOutput, ControlInputs};
use crate::cli::error::CommandError;
use crate::model::text::Escaped;

#[derive(Deserialize, Serialize)]
struct ReloadAnswer {
    result: Box<str>,
}

/// Reloads the configuration.
///
/// # Errors
/// If no daemon answers, or the configuration has an error. The earlier one stays in use then.
pub(crate) async fn reload(inputs: &ControlInputs, is_json: bool) -> Result<CommandOutput, CommandError> {
    let request = ControlRequest::post("/reload", &serde_json::json!({}));
    let answer: ReloadAnswer = ask(inputs, "cannot reload the configuration", request).await?;
    if is_json {
        return Ok(json(&answer));
    }
    Ok(format!("configuration: {}\n", Escaped(&answer.result)).into())
}
