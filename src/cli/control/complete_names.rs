//! `credenza complete-names`: the names that completion scripts offer.

use std::collections::BTreeSet;
use std::time::Duration;

use clap::ValueEnum;
use serde_json::Value;

use crate::cli::control::ControlInputs;
use crate::cli::control::client::{ControlRequest, ask};
use crate::cli::control::grants::ListedGrant;
use crate::cli::find_identity::{profile_names, sso_session_names};
use crate::shared_config::locate::NamedPaths;

/// The maximum time for names: a user waits for them at the prompt.
pub(crate) const TIMEOUT: Duration = Duration::from_millis(300);

/// The kind of names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum NameKind {
    /// The identities of the running daemon
    Identities,
    /// The clients of the running daemon
    Clients,
    /// The grants of the running daemon
    Grants,
    /// The identities of the running daemon and of credenza.toml, and the profiles of the shared files
    Targets,
    /// The profiles of the shared files
    Profiles,
    /// The SSO sessions of the config file
    SsoSessions,
}

/// Returns the names, one a line. Without an answer of a daemon there are only those of files.
pub(crate) async fn complete_names(inputs: &ControlInputs, kind: NameKind) -> String {
    lines(&names(inputs, kind).await)
}

/// Returns the names in their order.
pub(crate) async fn names(inputs: &ControlInputs, kind: NameKind) -> BTreeSet<String> {
    match kind {
        NameKind::Identities => {
            let served = status_names(inputs, "identities").await;
            // Without a file there is only `default`, which needs no completion.
            if served.is_empty() && inputs.config.file.is_some() { configured_identities(inputs) } else { served }
        }
        NameKind::Profiles => profile_names(&inputs.context, &NamedPaths::default()).await.into_iter().collect(),
        NameKind::SsoSessions => sso_session_names(&inputs.context, &NamedPaths::default()).await.into_iter().collect(),
        NameKind::Clients => {
            let configured = inputs.config.clients.iter().flatten().map(|(name, _)| name.to_string());
            status_names(inputs, "clients").await.into_iter().chain(configured).collect()
        }
        NameKind::Grants => {
            let grants = ask::<Vec<ListedGrant>>(inputs, "", ControlRequest::get("/grants")).await;
            grants.unwrap_or_default().into_iter().map(|grant| grant.name.into()).collect()
        }
        NameKind::Targets => {
            let configured = configured_identities(inputs);
            let profiles = profile_names(&inputs.context, &NamedPaths::default()).await;
            let daemons = tokio::time::timeout(TIMEOUT / 2, status_names(inputs, "identities")).await;
            daemons.unwrap_or_default().into_iter().chain(configured).chain(profiles).collect()
        }
    }
}

fn configured_identities(inputs: &ControlInputs) -> BTreeSet<String> {
    inputs.config.identities.keys().map(|name| name.as_str().to_owned()).collect()
}

async fn status_names(inputs: &ControlInputs, key: &str) -> BTreeSet<String> {
    let status: Value = ask(inputs, "", ControlRequest::status()).await.unwrap_or_default();
    match &status[key] {
        Value::Object(named) => named.keys().cloned().collect(),
        Value::Array(list) => {
            let name = |entry: &Value| Some(entry.as_str().or_else(|| entry["name"].as_str())?.to_owned());
            list.iter().filter_map(name).collect()
        }
        _ => BTreeSet::new(),
    }
}

/// Leaves out names that a line cannot hold.
fn lines(names: &BTreeSet<String>) -> String {
    let plain = names.iter().filter(|name| !name.chars().any(char::is_control));
    plain.map(|name| format!("{name}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_is_a_name() {
        let names = ["b", "a b", "c\nd", "\u{1b}[2J"].map(str::to_owned).into();
        assert_eq!(lines(&names), "a b\nb\n");
    }
}
