//! Secrets that stand in `credenza.toml` itself.

use std::path::Path;

use crate::config::Config;
use crate::config::server::AuthTokenConfig;
use crate::model::text::{Escaped, Quoted};
use crate::source::spec::{SourceKind, SourceSpec, TextSource};

/// Returns a warning if the configuration of a file that all users may read holds a secret.
pub(super) fn open_secrets(path: &Path, mode: u32, of_file: &Config) -> Option<String> {
    holds_secret(of_file).then(|| {
        let path = path.to_string_lossy();
        format!(
            "every user of this host may read {} (mode {mode:04o}), and it holds a secret; run: chmod 600 {}",
            Escaped(&path),
            Quoted(&path)
        )
    })
}

/// Returns true if a value of the configuration is a secret, and not the name of a file with one.
fn holds_secret(config: &Config) -> bool {
    let is_literal = |text: &TextSource| matches!(text, TextSource::Literal(_));
    let sources = config.identities.values().flat_map(|identity| &identity.sources);
    sources.into_iter().any(source_holds_secret)
        || matches!(&config.server.token, AuthTokenConfig::Given(token) if is_literal(token))
        || config.clients.iter().flatten().any(|(_, client)| client.tokens.iter().any(is_literal))
}

fn source_holds_secret(source: &SourceSpec) -> bool {
    let is_literal = |text: &TextSource| matches!(text, TextSource::Literal(_));
    match &source.kind {
        SourceKind::Static { secret_access_key, session_token, .. } => {
            is_literal(secret_access_key) || session_token.as_ref().is_some_and(is_literal)
        }
        SourceKind::Url(url) => is_literal(url),
        SourceKind::AssumeRole { base, .. } => source_holds_secret(base),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Overrides;

    #[test]
    fn warns_of_an_open_file_with_a_secret() {
        let role = "{ role_arn = \"arn:aws:iam::123456789012:role/r\", source = \"http://a:hush@h/\" }";
        for (text, expected) in [
            ("[identities.a]\nsources = [\"http://a:hush@h/\"]", true),
            ("[identities.a]\nsources = [{ url_file = \"/f\" }]", false),
            ("[identities.a]\nsources = [{ access_key_id = \"A\", secret_access_key = \"hush\" }]", true),
            ("[identities.a]\nsources = [{ access_key_id = \"A\", secret_access_key_file = \"/f\" }]", false),
            (&format!("[identities.a]\nsources = [{role}]"), true),
            ("", false),
        ] {
            let config = Config::parse(text.as_bytes(), &Overrides::default()).unwrap();
            let warning = open_secrets(Path::new("/a b"), 0o644, &config);
            assert_eq!(warning.is_some(), expected, "{text}");
            if let Some(warning) = warning {
                assert!(warning.ends_with("(mode 0644), and it holds a secret; run: chmod 600 '/a b'"), "{warning}");
                assert!(!warning.contains("hush"));
            }
        }
    }
}
