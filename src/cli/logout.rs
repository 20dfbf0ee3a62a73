//! `credenza logout`: ends logins, and says what was removed.

use std::fmt::Write as _;

use serde::Deserialize;

use crate::cli::control::ControlInputs;
use crate::cli::control::client::{ControlRequest, exchange, parse};
use crate::cli::error::CommandError;
use crate::cli::login::targets::LoginTarget;
use crate::cli::login::{LoginRequest, targets};
use crate::context::Context;
use crate::login::sso::logout::logout as end_login;
use crate::model::text::Escaped;

/// The answer of a daemon.
#[derive(Deserialize)]
struct EndedSessions {
    ended: usize,
}

/// Ends the logins, and with `all` also the sessions with MFA of a running daemon. Returns a line for each.
///
/// # Errors
/// If a file cannot be removed. The other logins were ended nevertheless.
pub(crate) async fn logout(
    context: &Context,
    request: &LoginRequest,
    daemon: &ControlInputs,
) -> Result<String, CommandError> {
    let ends_all = request.target == LoginTarget::All;
    let (sites, mut errors) = match targets::find(context, request).await {
        // Without SSO there may still be sessions with MFA.
        Err(_) if ends_all => (Vec::new(), Vec::new()),
        found => found?,
    };
    let mut text = String::new();
    for site in &sites {
        match end_login(context, &site.settings, &site.session).await {
            Ok(Some(ended)) => {
                let path = ended.path.to_string_lossy().into_owned();
                let _ = writeln!(text, "{}: logged out, {} removed", site.session, Escaped(&path));
                if let Some(error) = ended.portal_error {
                    tracing::warn!(
                        "{}: the access portal could not end the login: {error}. The removed token stays valid at AWS until it expires",
                        site.session
                    );
                }
            }
            Ok(None) => {
                let _ = writeln!(text, "{}: there was no login", site.session);
            }
            Err(error) => errors.push(site.failed(error).to_string()),
        }
    }
    if ends_all {
        match exchange(daemon, ControlRequest::delete("/mfa/sessions")).await {
            Ok((socket, Ok(body))) => {
                let EndedSessions { ended } = parse(&socket, &body)?;
                let sessions = if ended == 1 { "session" } else { "sessions" };
                let _ = writeln!(
                    text,
                    "running daemon: {ended} {sessions} with MFA forgotten; credentials from them are valid until they expire"
                );
            }
            Ok((_, Err(refusal))) => errors.push(refusal.of("the daemon keeps its sessions with MFA").to_string()),
            Err(reason) => tracing::debug!(%reason, "no daemon answers"),
        }
    }
    if text.is_empty() && errors.is_empty() {
        text.push_str("there was no login\n");
    }
    if errors.is_empty() { Ok(text) } else { Err(CommandError::new(format!("{text}{}", errors.join("\ncredenza: ")))) }
}
