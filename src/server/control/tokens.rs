//! The tokens of clients at the control socket: shown, and rotated.

use serde_json::json;

use crate::audit::event::AuditKind;
use crate::model::client_name::ClientName;
use crate::model::time::timestamp;
use crate::server::client_table::commands::{ClientCommand, TokenError};
use crate::server::control::ControlServer;
use crate::server::control::answers::{ControlResult, ShownToken, body};
use crate::server::control::requests::{Query, RotateBody};
use crate::server::error::ErrorResponse;
use crate::server::origin::RequestOrigin;

impl ControlServer {
    pub(super) async fn token(&self, query: &Query<'_>) -> ControlResult {
        let client = client(query.get("client"))?;
        let name = client.clone();
        let current = self.ask(|reply| ClientCommand::Token(client, reply)).await?.map_err(token_error)?;
        body(&ShownToken {
            client: name.as_str(),
            token_file: current.file.as_ref().map(|file| file.to_string_lossy()),
            token: current.token.expose(),
        })
    }

    pub(super) async fn rotate(&self, request: RotateBody, origin: &RequestOrigin) -> ControlResult {
        let client = client(request.client.as_deref())?;
        let name = client.clone();
        let rotated = self.ask(|reply| ClientCommand::Rotate(client, reply)).await?.map_err(token_error)?;
        self.log.record_change(AuditKind::Token, origin, |event| event.client = Some(name.as_str().into()));
        body(&json!({
            "client": name.as_str(),
            "token_file": rotated.file.to_string_lossy(),
            "old_until": timestamp(rotated.old_until),
        }))
    }
}

/// Returns the name of a client, or of the owner if there is none.
fn client(name: Option<&str>) -> Result<ClientName, ErrorResponse> {
    match name {
        None | Some(ClientName::OWNER) => Ok(ClientName::OWNER.into()),
        Some(name) => ClientName::parse(name).map_err(ErrorResponse::bad_request),
    }
}

#[allow(clippy::needless_pass_by_value, reason = "map_err passes errors by value")]
fn token_error(error: TokenError) -> ErrorResponse {
    match error {
        TokenError::UnknownClient(_) => ErrorResponse::no_such_name(error.to_string()),
        _ => ErrorResponse::conflict(error.to_string()),
    }
}
