//! The clients in the report of `credenza check`: which client may have which identity, and the problems of tokens.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use crate::cli::serve::clients;
use crate::config::Config;
use crate::context::Context;
use crate::lease::served_profiles::ServedProfileNames;
use crate::model::identity_name::IdentityName;
use crate::model::text::Escaped;
use crate::server::answer_log::AnswerLog;
use crate::server::client_table::{ClientSetting, ClientTable, ClientTokenSource};
use crate::server::imds::session_tokens::ImdsSessionTokens;

/// The maximum number of identities in a matrix. A wider matrix does not fit into a terminal; lists take its place.
const MAX_COLUMNS: usize = 6;

/// The maximum number of identities in the list of a client. Thousands of profiles may be served.
const MAX_LISTED: usize = 24;

/// Explains the clients of `[clients]`. Returns true if each client has a usable token or a user.
pub(crate) async fn explain(text: &mut String, context: &Context, config: &Config) -> bool {
    if config.clients.is_none() {
        return true;
    }
    let settings = match clients::settings(config, context) {
        Ok((settings, _)) => settings,
        Err(error) => {
            let _ = writeln!(text, "clients\n  => {error}");
            return false;
        }
    };
    let mut names: BTreeSet<IdentityName> = config.identities.keys().cloned().collect();
    let mut is_listed = true;
    if let Some(served) = &config.profiles {
        match ServedProfileNames::new(context, served.clone()).list().await {
            Ok(profiles) => names.extend(profiles),
            Err(error) => {
                is_listed = false;
                let _ = writeln!(text, "clients\n  => the served profiles are not shown: {error}");
            }
        }
    }
    *text += &matrix(&settings.clients, &names.iter().collect::<Vec<_>>());
    for ClientSetting { client, .. } in &settings.clients {
        if is_listed && !names.iter().any(|name| client.may_have(name)) {
            let names =
                if config.profiles.is_some() { "identity and no served profile" } else { "configured identity" };
            let _ = writeln!(text, "  client {}: no {names} has a name that it may have", client.name);
        }
    }
    for path in settings.clients.iter().flat_map(|setting| &setting.tokens).filter_map(ClientTokenSource::file) {
        // The daemon ignores the line break, and clients send the file as it is.
        if context.files.read(path).await.is_ok_and(|file| file.bytes.ends_with(b"\n")) {
            let path = path.to_string_lossy();
            let _ = writeln!(
                text,
                "  {}: ends with a line break, with which boto3 refuses a token; write it without",
                Escaped(&path)
            );
        }
    }
    let (imds_keys, _) = match ImdsSessionTokens::following() {
        Ok(following) => following,
        Err(error) => {
            let _ = writeln!(text, "  => {error}");
            return false;
        }
    };
    match ClientTable::open(
        context.files.clone(),
        context.trust.clone(),
        context.clock.clone(),
        imds_keys,
        settings,
        AnswerLog::default(),
    )
    .await
    {
        Ok((table, _)) => {
            for (path, problem) in table.problems() {
                let _ = writeln!(text, "  {}: {problem}", Escaped(&path.to_string_lossy()));
            }
            table.problems().is_empty()
        }
        Err(error) => {
            let _ = writeln!(text, "  => {error}");
            false
        }
    }
}

/// Renders the clients with their identities: as a matrix, or as lists if there are many identities.
fn matrix(clients: &[ClientSetting], identities: &[&IdentityName]) -> String {
    let mut text = String::from("clients\n");
    if clients.is_empty() {
        text += "  none: [clients] is empty, so that no program gets credentials\n";
    }
    let longest = clients.iter().map(|setting| setting.client.name.as_str().len()).max().unwrap_or_default();
    let columns: Vec<String> = identities.iter().map(ToString::to_string).collect();
    let is_matrix = columns.len() <= MAX_COLUMNS;
    if is_matrix && !clients.is_empty() {
        let _ = writeln!(text, "  {:longest$}  {}", "", columns.join("  "));
    }
    for ClientSetting { client, tokens, users } in clients {
        let cells: Vec<String> = if is_matrix {
            let cell = |name, column: &String| {
                format!("{:^1$}", if client.may_have(name) { "yes" } else { "-" }, column.chars().count())
            };
            identities.iter().zip(&columns).map(|(name, column)| cell(*name, column)).collect()
        } else {
            let mut allowed = identities.iter().filter(|name| client.may_have(name));
            let shown: Vec<_> = allowed.by_ref().take(MAX_LISTED).map(ToString::to_string).collect();
            let more = match allowed.count() {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            vec![shown.join(", ") + &more]
        };
        let users = users.as_ref().map(|users| users.iter().map(u32::to_string).collect::<Vec<_>>().join(", "));
        let proof = match (tokens.len(), users) {
            (0, Some(users)) => format!("user {users}"),
            (_, Some(users)) => format!("token and user {users}"),
            (_, None) => "token".to_owned(),
        };
        let row = format!("  {:longest$}  {}  by {proof}", client.name.as_str(), cells.join("  "));
        let _ = writeln!(text, "{}", row.trim_end());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::name_pattern::NamePattern;
    use crate::server::clients::{AllowedIdentities, Client};

    fn setting(name: &str, pattern: &str, has_token: bool, users: Option<&[u32]>) -> ClientSetting {
        let patterns = [NamePattern::new(pattern).unwrap()];
        let client = Client::new(name.into(), AllowedIdentities::of_patterns(&patterns));
        let tokens = if has_token { vec![ClientTokenSource::File("/t".into())] } else { Vec::new() };
        ClientSetting { client, tokens, users: users.map(Into::into) }
    }

    #[test]
    fn shows_which_client_may_have_which_identity() {
        let clients = [
            setting("web", "web", true, None),
            setting("agents", "team-*", true, Some(&[33])),
            setting("job", "*", false, Some(&[7, 8])),
        ];
        let names = ["default", "web", "team-a"].map(IdentityName::from);
        let expected = "clients\n          default  web  team-a\n  web        -     yes    -     by token\n  \
                        agents     -      -    yes    by token and user 33\n  job       yes    yes   yes    by user 7, 8\n";
        assert_eq!(matrix(&clients, &names.iter().collect::<Vec<_>>()), expected);
        let many: Vec<IdentityName> = (0..9).map(|number| format!("team-{number}").as_str().into()).collect();
        let shown = matrix(&clients[1..2], &many.iter().collect::<Vec<_>>());
        assert!(shown.contains("agents  team-0, team-1, ") && shown.contains("team-8  by token and"), "{shown}");
        let names: Vec<IdentityName> = (0..100).map(|number| format!("team-{number:02}").as_str().into()).collect();
        let shown = matrix(&clients[1..2], &names.iter().collect::<Vec<_>>());
        assert!(shown.contains("team-23 and 76 more  by token") && !shown.contains("team-24"), "{shown}");
        assert!(matrix(&[], &[]).contains("no program gets credentials"));
    }
}
