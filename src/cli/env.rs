//! `credenza env`: prints the variables that make every SDK of a shell use a running daemon.

pub(crate) mod shadow;
pub(crate) mod unset;

use std::net::IpAddr;
use std::path::Path;

use zeroize::Zeroizing;

use crate::cli::child_environment::{
    ACTIVE, ActiveIdentity, CLEARED, NO_PROXY, TOKEN, TOKEN_FILE, has_proxy, no_proxy,
};
use crate::cli::daemon_client::DaemonClient;
use crate::cli::daemon_client::address::credentials_path;
use crate::cli::env::unset::{BEFORE, KEYS, LEADING, restored, saved};
use crate::cli::error::CommandError;
use crate::cli::output::formats::ShellDialect;
use crate::cli::output::{UnwritableValue, Variable, lines, region_endpoint_variables};
use crate::cli::preferred_credentials::{self, BotoConfig};
use crate::cli::region_endpoint::RegionEndpoint;
use crate::config::imds::ImdsConfig;
use crate::config::server::ServerConfig;
use crate::context::Context;
use crate::http::url::{Url, UrlHost};
use crate::model::identity_name::IdentityName;
use crate::model::text::Escaped;
use crate::model::time::parse_timestamp;
use crate::os::environment::Environment;

/// The variable that names another instance metadata service than the default.
const IMDS_ENDPOINT: &str = "AWS_EC2_METADATA_SERVICE_ENDPOINT";
const DEFAULT_IMDS: &str = "http://169.254.169.254/";

/// The request of `env`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct EnvRequest {
    pub(crate) identity: IdentityName,
    pub(crate) dialect: ShellDialect,
    /// Names shared files without credentials of the default profile.
    pub(crate) shadow: bool,
    /// Logs in without a question if the login behind the identity has ended.
    pub(crate) login: bool,
}

/// Returns the lines that undo `env` in a shell.
///
/// # Errors
/// If a value cannot be written for this shell.
pub(crate) fn unset(context: &Context, dialect: ShellDialect) -> Result<String, CommandError> {
    let Some(taken) = restored(&context.environment) else {
        tracing::warn!("this shell has no variables of `credenza env`");
        return Ok(String::new());
    };
    if !taken.lost.is_empty() {
        tracing::warn!("these variables had secrets and were not saved; set them again: {}", taken.lost.join(", "));
    }
    let lines = lines(dialect, &taken.variables).map_err(|error: UnwritableValue| CommandError::new(error))?;
    Ok(lines.to_string())
}

/// Returns the lines for a shell that follow those with keys of an identity. They name the identity for prompts, and let
/// `env --unset` take the keys back.
///
/// # Errors
/// If a value cannot be written for this shell.
pub(crate) fn beside_keys(
    environment: &Environment,
    identity: &IdentityName,
    dialect: ShellDialect,
) -> Result<Zeroizing<String>, CommandError> {
    let set = |name, value: String| (name, Some(Zeroizing::new(value)));
    let active = ActiveIdentity { name: identity, expiration: None }.to_string();
    let ours = [set(ACTIVE, active), set(BEFORE, saved(environment)), set(KEYS, "1".to_owned())];
    let variables: Vec<Variable> = LEADING.iter().map(|name| (*name, None)).chain(ours).collect();
    lines(dialect, &variables).map_err(|error: UnwritableValue| CommandError::new(error))
}

/// Returns the lines for a shell. They contain no secret.
///
/// # Errors
/// If no daemon runs, the listener is not the daemon's, the auth token is in no file, or the daemon does not know the
/// identity.
pub(crate) async fn env(
    server: &ServerConfig,
    imds: Option<&ImdsConfig>,
    context: &Context,
    request: &EnvRequest,
) -> Result<String, CommandError> {
    let EnvRequest { identity, dialect, shadow, .. } = request;
    let dialect = *dialect;
    let daemon = DaemonClient::find(server, context)?;
    let uri = daemon.credentials_uri(identity)?;
    // This request makes the daemon load an identity on demand. Region and endpoint are unknown before that.
    if let Err(refusal) = daemon.try_get(&credentials_path(identity)).await? {
        if !refusal.is_about_credentials() {
            return Err(daemon.refused(&refusal));
        }
        tracing::warn!("the daemon has no credentials yet, and serves them once they are loaded: {refusal}");
    }
    if daemon.token().is_some() && daemon.token_file().is_none() {
        return Err(CommandError::new(
            "the auth token is in no file, and SDKs need one; use --token-file or --auth-token-file (token_file, auth_token_file)",
        ));
    }
    let absolute = |file: &Path| {
        std::path::absolute(file)
            .map_err(|error| CommandError::new(format!("token file {}: {error}", Escaped(&file.to_string_lossy()))))
    };
    let token_file = daemon.token_file().map(absolute).transpose()?;
    let status = daemon.identity_status(identity).await?;
    let environment = &context.environment;
    let region_endpoint = RegionEndpoint {
        region: status["region"].as_str(),
        endpoint: status["endpoint"].as_str(),
        // Programs that know only instance metadata may use the daemon's IMDS server.
        disables_imds: !is_imds_server(environment.get(IMDS_ENDPOINT).unwrap_or(DEFAULT_IMDS), imds),
    };
    let mut variables: Vec<Variable> = region_endpoint_variables(region_endpoint, environment, dialect).collect();
    match shadow {
        true => variables.extend(shadow::variables(context, region_endpoint).await?),
        false => warn_of_preferred_files(context).await,
    }
    warn_of_preferred_variables(environment, dialect);
    let host = daemon.address.tcp().map_or(IpAddr::from([127, 0, 0, 1]), |address| address.ip());
    let no_proxy_hosts = has_proxy(environment).then(|| no_proxy(environment, host));
    if dialect != ShellDialect::Dotenv {
        let expiration = status["expiration"].as_str().and_then(|text| parse_timestamp(text).ok());
        let set = |name, value: String| (name, Some(Zeroizing::new(value)));
        let active = ActiveIdentity { name: identity, expiration }.to_string();
        variables.extend([set(ACTIVE, active), set(BEFORE, saved(environment)), (KEYS, None)]);
    }
    Ok(shell_lines(&uri, token_file.as_deref(), no_proxy_hosts.as_deref(), variables, dialect)?.to_string())
}

/// Returns true if this URL is that of the daemon's IMDS server.
fn is_imds_server(endpoint: &str, imds: Option<&ImdsConfig>) -> bool {
    let (Some(imds), Ok(url)) = (imds, Url::parse(endpoint)) else { return false };
    imds.listen.iter().any(|address| *url.host() == UrlHost::Address(address.ip()) && url.port() == address.port())
}

/// Warns of credentials in files that the SDKs of this shell use instead of the daemon's.
async fn warn_of_preferred_files(context: &Context) {
    const FIX: &str = "remove them, or use `credenza env --shadow` or `credenza exec`";
    if let Some(location) = preferred_credentials::of_default_profile(context).await {
        tracing::warn!(
            "SDKs use the credentials of the default profile, not the daemon's: {location}; give the profile another name, \
             {FIX}"
        );
    }
    match preferred_credentials::of_boto_config(context).await {
        Some(BotoConfig::Keys(location)) => {
            tracing::warn!("boto3 and the AWS CLI use these keys of boto 2, not the daemon's: {location}; {FIX}");
        }
        Some(BotoConfig::Unreadable(error)) => tracing::warn!(
            "boto3 and the AWS CLI may use keys of boto 2, not the daemon's: {error}; run programs with `credenza exec`"
        ),
        None => {}
    }
}

/// Warns of variables that the SDKs of this shell use instead of the daemon, and that a .env file cannot unset.
fn warn_of_preferred_variables(environment: &Environment, dialect: ShellDialect) {
    let names = CLEARED.iter().chain(&[TOKEN]).copied();
    let set = preferred_credentials::of_variables(environment, names);
    if dialect == ShellDialect::Dotenv && !set.is_empty() {
        let set = set.join(", ");
        tracing::warn!(
            "SDKs use these variables, not the daemon's credentials, and a .env file cannot unset them: {set}; unset them"
        );
    }
}

fn shell_lines(
    uri: &str,
    token_file: Option<&Path>,
    no_proxy_hosts: Option<&str>,
    region_endpoint: Vec<Variable>,
    dialect: ShellDialect,
) -> Result<Zeroizing<String>, CommandError> {
    let as_text = |file: &Path| {
        file.to_str().map(|file| Zeroizing::new(file.to_owned())).ok_or_else(|| {
            CommandError::new(format!(
                "token file {}: its path is not UTF-8; choose another",
                Escaped(&file.to_string_lossy())
            ))
        })
    };
    // Without a token, a file that the shell names would be sent and refused.
    let token_file = token_file.map(as_text).transpose()?;
    let set = |name, value: &str| (name, Some(Zeroizing::new(value.to_owned())));
    // Without NO_PROXY, two libraries send the credential request, with the token, to a configured proxy.
    let no_proxy = no_proxy_hosts.map(|hosts| NO_PROXY.map(|name| set(name, hosts)));
    let variables: Vec<_> = region_endpoint
        .into_iter()
        .chain(no_proxy.into_iter().flatten())
        .chain([set("AWS_CONTAINER_CREDENTIALS_FULL_URI", uri)])
        // A .env file cannot unset a variable.
        .chain((dialect != ShellDialect::Dotenv || token_file.is_some()).then_some((TOKEN_FILE, token_file)))
        .collect();
    let cleared = CLEARED.iter().chain(&[TOKEN]);
    let text =
        |variables: &[Variable]| lines(dialect, variables).map_err(|error: UnwritableValue| CommandError::new(error));
    if dialect == ShellDialect::Dotenv {
        // Leave these variables out of a file. A file can only set them to blank, and some SDKs use a blank relative
        // URI or profile.
        let names: Vec<&str> = cleared.copied().collect();
        let hint = format!("# Unset these variables before you read this file: {}\n", names.join(" "));
        return Ok(Zeroizing::new(hint + &text(&variables)?));
    }
    text(&cleared.map(|name| (*name, None)).chain(variables).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(no_proxy_hosts: Option<&str>, dialect: ShellDialect) -> Result<String, String> {
        let uri = "http://127.0.0.1:9733/credentials/a%20b";
        let text = shell_lines(uri, Some(Path::new("/run/o'brien/token")), no_proxy_hosts, Vec::new(), dialect);
        text.map(|text| text.to_string()).map_err(|error| error.to_string())
    }

    fn printed(dialect: ShellDialect) -> String {
        with(None, dialect).unwrap()
    }

    #[test]
    fn quotes_no_proxy_hosts() {
        let hosts = "o'brien,::1";
        for (dialect, expected) in [
            (ShellDialect::Env, ["export NO_PROXY='o'\\''brien,::1'\n", "export no_proxy='o'\\''brien,::1'\n"]),
            (ShellDialect::Dotenv, ["\nNO_PROXY='o\\'brien,::1'\n", "\nno_proxy='o\\'brien,::1'\n"]),
            (ShellDialect::Fish, ["set -gx NO_PROXY 'o\\'brien,::1'\n", "set -gx no_proxy 'o\\'brien,::1'\n"]),
            (ShellDialect::Powershell, ["$env:NO_PROXY = 'o''brien,::1'\n", "$env:no_proxy = 'o''brien,::1'\n"]),
        ] {
            let text = with(Some(hosts), dialect).unwrap();
            assert!(expected.iter().all(|line| text.contains(line)), "{text}");
            assert!(!printed(dialect).to_lowercase().contains("no_proxy"));
        }
        let refused = with(Some("a\\'b"), ShellDialect::Dotenv).unwrap_err();
        assert!(refused.starts_with("NO_PROXY cannot be written for a .env file"), "{refused}");
    }

    #[test]
    fn unsets_overriding_variables_before_it_sets_ours() {
        let text = printed(ShellDialect::Env);
        for name in CLEARED.iter().chain(&[TOKEN]) {
            assert!(text.contains(&format!("unset {name}\n")), "{name}: {text}");
        }
        let expected = "export AWS_CONTAINER_CREDENTIALS_FULL_URI='http://127.0.0.1:9733/credentials/a%20b'\n\
                        export AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE='/run/o'\\''brien/token'\n";
        assert!(text.ends_with(expected), "{text}");
        assert!(printed(ShellDialect::Fish).contains("set -eg AWS_PROFILE\n"));
        assert!(printed(ShellDialect::Powershell).contains("$env:AWS_PROFILE = $null\n"));
    }

    #[test]
    fn dotenv_file_lists_the_variables_to_unset() {
        let text = printed(ShellDialect::Dotenv);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 3, "{text}");
        assert!(lines[0].starts_with("# ") && lines[0].contains(" AWS_PROFILE "), "{text}");
        assert_eq!(lines[1], "AWS_CONTAINER_CREDENTIALS_FULL_URI=http://127.0.0.1:9733/credentials/a%20b");
        assert_eq!(lines[2], "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE='/run/o\\'brien/token'");
    }
}
