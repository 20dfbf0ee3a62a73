//! The clients of a configuration: those of `[clients]`, else the owner with the auth token.

use crate::cli::error::CommandError;
use crate::config::Config;
use crate::config::clients::ClientConfig;
use crate::config::load;
use crate::config::server::{AuthTokenConfig, ServerConfig};
use crate::config::value;
use crate::context::Context;
use crate::model::client_name::ClientName;
use crate::model::secret::Secret;
use crate::model::text::Escaped;
use crate::server::auth_token;
use crate::server::auth_token::AuthTokenFile;
use crate::server::auth_token::error::AuthTokenError;
use crate::server::client_table::{ClientSetting, ClientSettings, ClientTokenSource};
use crate::server::clients::{AllowedIdentities, Client};
use crate::source::spec::TextSource;

/// The auth token, and its file if there is one.
#[derive(Debug)]
pub(crate) struct AuthToken {
    pub(crate) token: Secret,
    pub(crate) file: Option<AuthTokenFile>,
}

/// Returns the clients of a configuration. Without `[clients]` the auth token is read, or made at the first start.
///
/// # Errors
/// If there is no safe path for the auth token, or the configuration names an unknown user.
pub(crate) fn settings(
    config: &Config,
    context: &Context,
) -> Result<(ClientSettings, Option<AuthToken>), CommandError> {
    let ServerConfig { token_overlap: overlap, switchable, switch_lifetime, .. } = config.server;
    if let Some(clients) = &config.clients {
        let users = load::resolve_accounts(config).map_err(CommandError::new)?.client_users;
        let setting = |(name, client): (&ClientName, &ClientConfig)| ClientSetting {
            client: Client::new(name.clone(), AllowedIdentities::of_patterns(&client.identities)),
            tokens: client
                .tokens
                .iter()
                .map(|token| token_source(token, &place(config, name, client), context))
                .collect(),
            users: users.get(name).cloned(),
        };
        let clients = clients.iter().map(setting).collect();
        return Ok((ClientSettings { clients, overlap, switchable, switch_lifetime }, None));
    }
    let auth_token = auth_token(config, context)?;
    let source = match &auth_token.file {
        Some(file) => ClientTokenSource::Kept(auth_token.token.clone(), file.clone()),
        None => {
            ClientTokenSource::Given(auth_token.token.clone(), "auth_token, --auth-token or CREDENZA_AUTH_TOKEN".into())
        }
    };
    let owner = ClientSetting { client: Client::of_all(ClientName::OWNER), tokens: vec![source], users: None };
    let clients = vec![owner];
    Ok((ClientSettings { clients, overlap, switchable, switch_lifetime }, Some(auth_token)))
}

/// Returns the place of a client's token in the configuration, for messages.
fn place(config: &Config, name: &ClientName, client: &ClientConfig) -> String {
    let file = config.file.as_ref().map_or_else(|| "the configuration".into(), |file| file.to_string_lossy());
    let line = client.token_line.map(|line| format!(", line {line}")).unwrap_or_default();
    format!("{}{line}: clients.{name}.token", Escaped(&file))
}

fn token_source(token: &TextSource, place: &str, context: &Context) -> ClientTokenSource {
    match token {
        TextSource::Literal(token) => ClientTokenSource::Given(token.clone(), place.into()),
        TextSource::File(path) => ClientTokenSource::File(context.environment.expand(path)),
    }
}

fn auth_token(config: &Config, context: &Context) -> Result<AuthToken, CommandError> {
    let group = load::resolve_accounts(config).map_err(CommandError::new)?.token_group;
    let (token, file) = match &config.server.token {
        AuthTokenConfig::Given(TextSource::Literal(given)) => {
            (value::auth_token(given.expose()).map_err(CommandError::new)?, None)
        }
        AuthTokenConfig::Given(TextSource::File(path)) => {
            let file = AuthTokenFile { path: context.environment.expand(path), group: None };
            (file.read_given().map_err(CommandError::new)?, Some(file))
        }
        AuthTokenConfig::Kept(Some(path)) => {
            let file = AuthTokenFile { path: context.environment.expand(path), group };
            let with_hint = |error: AuthTokenError| match error {
                AuthTokenError::OpenFolder { .. } => CommandError::new(error),
                _ => CommandError::new(format!("{error}; set another path with --token-file")),
            };
            (file.keep_or_make().map_err(with_hint)?, Some(file))
        }
        AuthTokenConfig::Kept(None) => {
            let paths = auth_token::default_places(&context.environment, &context.trust);
            let (token, file) = auth_token::at_first_of(&paths, group).map_err(CommandError::new)?;
            (token, Some(file))
        }
    };
    Ok(AuthToken { token, file })
}
