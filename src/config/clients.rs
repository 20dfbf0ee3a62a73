//! Reads `[clients]`: the programs that may request credentials, and the identities that each of them may have.

use std::collections::{BTreeMap, HashMap};

use crate::config::schema::CLIENT;
use crate::config::sources::text_or_file;
use crate::config::syntax::LineIndex;
use crate::config::table::{ConfigErrors, TableEntry, TableSection};
use crate::config::users::Account;
use crate::config::value;
use crate::model::client_name::ClientName;
use crate::model::name_pattern::NamePattern;
use crate::source::spec::TextSource;

/// A program that may request credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ClientConfig {
    /// The tokens: one of `token`, `token_file` and `token_files`. A client that is known by its user alone has none.
    pub(crate) tokens: Vec<TextSource>,
    /// The line of `token` in the file, from 1.
    pub(crate) token_line: Option<usize>,
    /// The identities that the client may have; never empty.
    pub(crate) identities: Vec<NamePattern>,
    /// The users that the client may have. An empty list means any user.
    pub(crate) users: Vec<Account>,
    /// The line of `users` in the file, from 1.
    pub(crate) users_line: Option<usize>,
}

/// Reads `[clients]`. A table without clients serves only the owner's control socket.
pub(crate) fn read(
    entry: TableEntry<'_>,
    index: &LineIndex<'_>,
    errors: &mut ConfigErrors,
) -> BTreeMap<ClientName, ClientConfig> {
    let mut clients = Vec::new();
    for (name, at, entry) in entry.named(errors) {
        let path = entry.path.clone();
        let name = ClientName::parse(&name).map_err(|error| errors.push(at, &path, error));
        let client = client(entry, at, index, errors);
        if let (Ok(name), Some(client)) = (name, client) {
            clients.push((name, (at, path), client));
        }
    }
    refuse_twins(&clients, errors);
    clients.into_iter().map(|(name, _, client)| (name, client)).collect()
}

fn client(entry: TableEntry<'_>, at: usize, index: &LineIndex<'_>, errors: &mut ConfigErrors) -> Option<ClientConfig> {
    let (path, before) = (entry.path.clone(), errors.count());
    let mut section = TableSection::open(entry, &CLIENT, errors)?;
    let has_identities = section.at("identities").is_some();
    let identities = section.take("identities").and_then(|entry| entry.list(errors, "pattern")).unwrap_or_default();
    let identities: Vec<_> = identities.into_iter().filter_map(|entry| entry.read(errors, NamePattern::new)).collect();
    let has_token = ["token", "token_file", "token_files"].iter().any(|key| section.at(key).is_some());
    let users_at = section.at("users");
    let users_line = users_at.as_ref().map(|(at, _)| index.line(*at));
    let users = section.take("users").and_then(|entry| entry.list(errors, "user")).unwrap_or_default();
    let users: Vec<_> = users.into_iter().filter_map(|user| user.account(errors)).collect();
    let token_line = section.at("token").map(|(at, _)| index.line(at));
    let tokens = tokens(&mut section, errors);
    section.close();
    // A key with an error of its own may be the missing one.
    if errors.count() == before {
        if !has_identities || identities.is_empty() {
            errors.push(at, &path, "may have no identity; list names or patterns: identities = [\"web\", \"team-*\"]");
        }
        match users_at {
            Some((at, path)) if users.is_empty() => {
                errors.push(at, &path, "names no user; list users, or remove the key to accept any user");
            }
            None if !has_token => {
                errors.push(at, &path, "has neither a token nor users; add token_file, token, token_files or users");
            }
            _ => {}
        }
    }
    Some(ClientConfig { tokens, token_line, identities, users, users_line })
}

fn tokens(section: &mut TableSection<'_>, errors: &mut ConfigErrors) -> Vec<TextSource> {
    let files = section.take("token_files");
    let single = text_or_file(section, "token", "token_file", value::auth_token, errors);
    let Some(files) = files else { return single.into_iter().collect() };
    if single.is_some() {
        files.refuse::<()>(errors, "token or token_file is set as well; keep one of the three");
    }
    let (at, path) = (files.at(), files.path.clone());
    let entries = files.list(errors, "file").unwrap_or_default();
    if entries.is_empty() {
        errors.push(at, &path, "names no file; list the files of the client's tokens");
    }
    entries.into_iter().filter_map(|entry| entry.read(errors, value::path)).map(TextSource::File).collect()
}

/// Reports each client with a token or a token file of an earlier one. Other equal tokens are found when the files are read.
fn refuse_twins(clients: &[(ClientName, (usize, String), ClientConfig)], errors: &mut ConfigErrors) {
    let mut owners: HashMap<(bool, &[u8]), &ClientName> = HashMap::new();
    for (name, (at, path), client) in clients {
        let keys = client.tokens.iter().map(|token| match token {
            TextSource::Literal(token) => (true, token.expose().as_bytes()),
            TextSource::File(path) => (false, path.as_os_str().as_encoded_bytes()),
        });
        if let Some(twin) = keys.clone().find_map(|key| owners.get(&key)) {
            errors.push(*at, path, format!("has the token of client {twin}; give each client a token of its own"));
        }
        owners.extend(keys.map(|key| (key, name)));
    }
}

#[cfg(test)]
mod tests {
    use crate::config::server::AuthTokenConfig;
    use crate::config::{Config, Overrides};
    use crate::source::spec::TextSource;

    fn errors(text: &str) -> String {
        match Config::parse(text.as_bytes(), &Overrides::default()) {
            Ok(_) => String::new(),
            Err(errors) => errors.iter().map(|error| format!("{error}\n")).collect(),
        }
    }

    #[test]
    fn reads_tokens_patterns_and_users() {
        let text = "[clients.web]\ntoken_file = \"/run/web\"\nidentities = [\"web\", \"team-*\"]\nusers = [\"root\", 7]\n\
                    [clients.two]\ntoken_files = [\"/a\", \"/b\"]\nidentities = [\"*\"]\n\
                    [clients.\"a@b\"]\nusers = [7]\nidentities = [\"a\"]\n";
        let clients = Config::parse(text.as_bytes(), &Overrides::default()).unwrap().clients.unwrap();
        let shape: Vec<_> = clients
            .iter()
            .map(|(name, client)| (name.as_str(), client.tokens.len(), client.identities.len(), client.users.len()))
            .collect();
        assert_eq!(shape, [("a@b", 0, 1, 1), ("two", 2, 1, 0), ("web", 1, 2, 2)]);
        assert!(Config::parse(b"", &Overrides::default()).unwrap().clients.is_none());
        assert!(Config::parse(b"[clients]\n", &Overrides::default()).unwrap().clients.unwrap().is_empty());
    }

    #[test]
    fn auth_token_beside_clients_is_refused_or_told() {
        let token = "0123456789abcdef0123456789abcdef";
        for key in [format!("auth_token = \"{token}\""), "auth_token_file = \"/t\"".into()] {
            let text = format!("[server]\n{key}\n[clients]\n");
            assert!(errors(&text).contains("opens nothing beside [clients]"), "{text}");
            assert!(errors(&text).starts_with("line 2, "), "{}", errors(&text));
        }
        assert_eq!(errors("[server]\ntoken_file = \"/t\"\n[clients]\n"), "", "the control socket is beside it");
        let given = Some(AuthTokenConfig::Given(TextSource::Literal(token.into())));
        let overrides = Overrides { token: given, ..Overrides::default() };
        let warnings = |text: &str| Config::parse(text.as_bytes(), &overrides).unwrap().warnings;
        assert!(warnings("[clients]\n")[0].contains("CREDENZA_AUTH_TOKEN"));
        assert_eq!(warnings(""), [""; 0]);
    }

    #[test]
    fn refuses_clients_that_make_no_sense() {
        let token = "token = \"0123456789abcdef0123456789abcdef\"\n";
        for (text, expected) in [
            ("[clients.a]\nidentities = [\"a\"]\n", "neither a token nor users"),
            ("[clients.a]\nusers = [1]\n", "may have no identity"),
            ("[clients.a]\nusers = [1]\nidentities = []\n", "may have no identity"),
            ("[clients.a]\nusers = []\nidentities = [\"a\"]\n", "names no user"),
            ("[clients.a]\nusers = \"root\"\nidentities = [\"a\"]\n", "must be a list"),
            ("[clients.a]\ntoken_files = []\nidentities = [\"a\"]\n", "names no file"),
            ("[clients.a]\ntoken = \"short\"\nidentities = [\"a\"]\n", "auth token"),
            (
                "[clients.a]\ntoken = \"0123456789abcdef0123456789abcdef\"\ntoken_file = \"/a\"\nidentities = [\"a\"]\n",
                "keep one",
            ),
            (
                "[clients.a]\ntoken_file = \"/a\"\ntoken_files = [\"/b\"]\nidentities = [\"a\"]\n",
                "keep one of the three",
            ),
            ("[clients.\"a b\"]\nusers = [1]\nidentities = [\"a\"]\n", "not the name of a client"),
            ("[clients.owner]\nusers = [1]\nidentities = [\"a\"]\n", "logs use this name"),
            ("[clients.a]\nuser = [1]\nidentities = [\"a\"]\n", "did you mean `users`"),
            ("[clients.a]\nmetrics = true\nusers = [1]\nidentities = [\"a\"]\n", "not supported yet"),
            ("clients = 1\n", "must be a table"),
            ("[clients]\na = 1\n", "must be a table"),
        ] {
            let shown = errors(text);
            assert!(shown.contains(expected), "{text}: {shown}");
            assert_eq!(shown.lines().count(), 1, "{text}: {shown}");
        }
        let twins = format!("[clients.a]\n{token}identities = [\"a\"]\n[clients.b]\n{token}identities = [\"b\"]\n");
        assert!(errors(&twins).contains("has the token of client a"), "{}", errors(&twins));
        assert!(!errors(&twins).contains("0123456789"));
    }
}
