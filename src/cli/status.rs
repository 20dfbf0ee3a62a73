//! `credenza status`: shows the status of a running daemon.

mod details;
pub(crate) mod fail_within;
mod row;
#[cfg(test)]
mod tests;
pub(crate) mod watch;

use std::fmt::Write as _;
use std::time::SystemTime;

use http::StatusCode;
use serde_json::Value;

use crate::cli::control;
use crate::cli::control::ControlInputs;
use crate::cli::control::client::ControlRequest;
use crate::cli::daemon_client::DaemonClient;
use crate::cli::daemon_client::exchange::{get_without_token, not_a_daemon};
use crate::cli::error::CommandError;
use crate::cli::identity_table;
use crate::cli::identity_table::Row;
use crate::cli::status::details::{relative, timestamp};
use crate::cli::terminal::text::write_indented;
use crate::cli::terminal::{Screen, Tone, Verbosity};
use crate::config::listen::ListenAddress;
use crate::model::identity_name::IdentityName;
use crate::model::nearest::nearest;
use crate::model::text::Escaped;

/// Returns true if every eager identity has credentials. Sends no token.
///
/// # Errors
/// If no daemon answers.
pub(crate) async fn ready(address: &ListenAddress) -> Result<bool, CommandError> {
    Ok(get_without_token(address, "/readyz").await?.0 == StatusCode::OK)
}

/// Gets the status document of the daemon.
///
/// With `[clients]` the owner has no token, so that the control socket is asked. It is also asked if the user names it.
///
/// # Errors
/// If no daemon answers, the listener is not the daemon's, or the daemon refuses the token.
pub(crate) async fn document(inputs: &ControlInputs) -> Result<Value, CommandError> {
    if inputs.named.is_some() || inputs.config.clients.is_some() {
        return control::client::ask(inputs, "cannot show the status", ControlRequest::status()).await;
    }
    let daemon = DaemonClient::find(&inputs.config.server, &inputs.context)?;
    let body = daemon.get("/status").await?;
    serde_json::from_slice(&body).map_err(|error| not_a_daemon(&daemon.address, error))
}

/// The form of a status for people.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StatusView<'a> {
    /// The only identity to show, with its details.
    pub(crate) name: Option<&'a IdentityName>,
    pub(crate) verbosity: Verbosity,
    pub(crate) screen: Screen,
}

/// Formats a document for people: what fails first, then a line for each identity, then grants and profiles.
pub(crate) fn text(document: &Value, view: StatusView<'_>) -> String {
    let StatusView { name, verbosity, screen } = view;
    let now = timestamp(&document["now"]).unwrap_or(SystemTime::UNIX_EPOCH);
    let mut text = String::new();
    // Errors quote foreign text, which must not control the terminal.
    let write = |text: &mut String, indent: usize, line: &str| {
        write_indented(text, &Escaped(line).to_string(), indent, screen.width);
    };
    let identities = document["identities"].as_object();
    let shown =
        || identities.into_iter().flatten().filter(|(other, _)| name.is_none_or(|name| name.as_str() == *other));
    if let Some(error) = document["configuration_refused"].as_str().filter(|_| name.is_none()) {
        let problem = "the configuration file has an error, and the earlier configuration stays in use:";
        let mut lines = String::new();
        write(&mut lines, 0, problem);
        text.extend(lines.lines().map(|line| format!("{}\n", screen.paint(Tone::Bad, line))));
        error.lines().for_each(|line| write(&mut text, 2, line));
    }
    if verbosity == Verbosity::Verbose || name.is_some() {
        if name.is_none() {
            write(&mut text, 0, &summary(document, &[], now));
        }
        for (position, (name, identity)) in shown().enumerate() {
            text.push_str(if position > 0 || view.name.is_none() { "\n" } else { "" });
            details::write_identity(&mut text, name, identity, now, screen);
        }
    } else {
        let mut rows: Vec<Row> = shown().map(|(name, identity)| row::row(name, identity, now)).collect();
        if verbosity == Verbosity::Quiet {
            rows.retain(Row::needs_attention);
        } else {
            write(&mut text, 0, &summary(document, &rows, now));
        }
        if !rows.is_empty() {
            text.push_str(&identity_table::render(&mut rows, screen));
        }
    }
    if name.is_none() && verbosity != Verbosity::Quiet {
        remarks(document, now).iter().for_each(|line| write(&mut text, 0, line));
    }
    text
}

fn summary(document: &Value, rows: &[Row], now: SystemTime) -> String {
    let version = document["version"].as_str().unwrap_or("?");
    let mut line = format!("credenza {version}, started {}", relative(&document["started"], now));
    if !rows.is_empty() {
        let available = rows.iter().filter(|row| row.is_available()).count();
        let _ = write!(line, "; {available} of {} available", rows.len());
    }
    line
}

/// Returns a line for the choice of `credenza use`, for each grant, and for the served profiles.
fn remarks(document: &Value, now: SystemTime) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(identity) = document["switch"]["identity"].as_str() {
        lines.push(match document["switch"]["until"].as_str() {
            Some(_) => {
                format!("default is identity {identity}; that ends {}", relative(&document["switch"]["until"], now))
            }
            None => format!("default is identity {identity}, by `credenza use`"),
        });
    }
    for grant in document["grants"].as_array().into_iter().flatten() {
        let word = |key: &str| grant[key].as_str().unwrap_or("?");
        let ends = relative(&grant["expires"], now);
        lines.push(format!("grant {} of identity {} ends {ends}", word("name"), word("identity")));
    }
    let profiles = &document["profiles"];
    if let (Some(known @ 1..), Some(live)) = (profiles["known"].as_u64(), profiles["live"].as_u64()) {
        lines.push(format!("{known} profiles are served on demand, {live} of them are active"));
    }
    lines
}

/// Returns the document with this identity alone.
///
/// # Errors
/// If the daemon has no such identity, or shows none of this name to its client.
pub(crate) fn of_identity(mut document: Value, name: &IdentityName) -> Result<Value, CommandError> {
    let Some(identities) = document["identities"].as_object_mut() else { return Ok(document) };
    if !identities.contains_key(name.as_str()) {
        let known: Vec<String> = identities.keys().map(|name| Escaped(name).to_string()).collect();
        let similar = nearest(name.as_str(), identities.keys().map(String::as_str));
        let similar = similar.map(|similar| format!("did you mean {}? ", Escaped(similar))).unwrap_or_default();
        return Err(CommandError::new(format!(
            "the daemon has no identity {name}; {similar}it has: {}",
            known.join(", ")
        )));
    }
    identities.retain(|other, _| other == name.as_str());
    Ok(document)
}

/// Formats a document, or the error without one, as text.
pub(crate) fn text_or_error(result: Result<&Value, &CommandError>, view: StatusView<'_>) -> String {
    match result {
        Ok(document) => text(document, view),
        Err(error) => {
            let mut lines = String::new();
            write_indented(&mut lines, &error.to_string(), 0, view.screen.width);
            lines
        }
    }
}

/// Formats a document as one line of JSON. Without a document the line has only the field `error`.
pub(crate) fn json_line(result: Result<&Value, &CommandError>) -> String {
    match result {
        Ok(document) => format!("{document}\n"),
        Err(error) => format!("{}\n", serde_json::json!({ "error": error.to_string() })),
    }
}
