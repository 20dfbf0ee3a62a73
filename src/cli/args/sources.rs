//! Builds the source chain and the auth token from flags and variables.

use std::path::PathBuf;

use crate::cli::args::options;
use crate::cli::args::values::ArgumentValues;
use crate::config::server::AuthTokenConfig;
use crate::config::sources::built_in_chain;
use crate::config::value;
use crate::source::spec::{SourceKind, SourceSpec};

/// Builds a source chain from the source flags and their variables. Returns `None` if the user set neither.
pub(crate) fn sources(
    values: &mut ArgumentValues<'_>,
    arguments: &options::SourceOptions,
) -> Result<Option<Vec<SourceSpec>>, String> {
    let keys = keys(values)?;
    let url = values.text("url", value::url)?.map(SourceKind::Url);
    let profile = SourceKind::Profile {
        name: arguments.profile.clone(),
        credentials_file: arguments.credentials_file.clone(),
        config_file: arguments.config_file.clone(),
    };
    let names_profile = !values.names(&["profile", "credentials_file", "config_file"]).is_empty();
    if keys.is_none() && url.is_none() && !names_profile {
        return Ok(None);
    }
    let rest = built_in_chain().into_iter().filter_map(|source| match source.kind {
        SourceKind::Profile { .. } => Some(SourceSpec { kind: profile.clone(), region: None }),
        // As in the AWS CLI: a named profile excludes the keys in the environment.
        SourceKind::Environment if names_profile => None,
        _ => Some(source),
    });
    Ok(Some(keys.into_iter().chain(url).map(SourceSpec::from).chain(rest).collect()))
}

fn keys(values: &mut ArgumentValues<'_>) -> Result<Option<SourceKind>, String> {
    let access_key_id = values.text("access_key_id", value::credential_part("access key id"))?;
    let secret_access_key = values.text("secret_access_key", value::credential_part("secret access key"))?;
    let session_token = values.text("session_token", value::credential_part("session token"))?;
    match (access_key_id, secret_access_key, session_token) {
        (None, None, None) => Ok(None),
        (Some(access_key_id), Some(secret_access_key), session_token) => {
            Ok(Some(SourceKind::Static { access_key_id, secret_access_key, session_token }))
        }
        (Some(_), None, _) => Err("an access key id without its secret access key is half a key pair; add \
                                   --secret-access-key-file (or CREDENZA_SECRET_ACCESS_KEY)"
            .into()),
        (None, Some(_), _) => Err("a secret access key without its access key id is half a key pair; add \
                                   --access-key-id (or CREDENZA_ACCESS_KEY_ID)"
            .into()),
        (None, None, Some(_)) => Err("a session token without its key pair; add --access-key-id and \
                                      --secret-access-key-file (or their variables)"
            .into()),
    }
}

/// Returns the auth token setting of flags and variables: the token itself, or the path of the token file.
pub(crate) fn token(
    values: &mut ArgumentValues<'_>,
    token_file: Option<PathBuf>,
) -> Result<Option<AuthTokenConfig>, String> {
    let rank = values.rank("auth_token").max(values.rank("auth_token_file"));
    let auth_token = values.text("auth_token", value::auth_token)?.map(AuthTokenConfig::Given);
    match (auth_token, token_file) {
        (Some(_), Some(_)) if rank == values.rank("token_file") => {
            Err("the daemon does not write a given token to a file; remove --token-file, or --auth-token and \
                 --auth-token-file (or their variables)"
                .into())
        }
        (Some(auth_token), Some(token_file)) => Ok(Some(if rank > values.rank("token_file") {
            auth_token
        } else {
            AuthTokenConfig::Kept(Some(token_file))
        })),
        (auth_token, token_file) => Ok(auth_token.or_else(|| token_file.map(|file| AuthTokenConfig::Kept(Some(file))))),
    }
}
