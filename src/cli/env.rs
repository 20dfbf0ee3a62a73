//! `credenza env`: what leads every SDK of a shell to a running daemon.

use std::net::SocketAddr;
use std::path::Path;

use zeroize::Zeroizing;

use crate::cli::child_environment::{CLEARED, NO_PROXY, has_proxy, no_proxy};
use crate::cli::command::CommandError;
use crate::cli::daemon_client::{DaemonClient, path};
use crate::cli::output::formats::ShellDialect;
use crate::cli::output::{UnwritableValue, Variable, lines, placed};
use crate::cli::store_variables::StoreVariables;
use crate::config::server::ServerConfig;
use crate::context::Context;
use crate::model::identity_name::IdentityName;

/// Those of a token that was given otherwise; it goes before the file.
const TOKEN: &str = "AWS_CONTAINER_AUTHORIZATION_TOKEN";

/// The lines for a shell. Nothing in them is a secret.
///
/// # Errors
/// When no daemon runs, the listener is not its own, its token stands in no file, or it knows no such identity.
pub(crate) async fn env(
    server: &ServerConfig,
    context: &Context,
    identity: &IdentityName,
    dialect: ShellDialect,
) -> Result<String, CommandError> {
    let daemon = DaemonClient::find(server, context)?;
    let Some(token_file) = &daemon.token_file else {
        return Err(CommandError::because(
            "the daemon's token stands in no file that the SDKs could read; keep it in one (token_file, or auth_token_file)",
        ));
    };
    let token_file = std::path::absolute(token_file)
        .map_err(|error| CommandError::because(format!("token file {}: {error}", token_file.display())))?;
    // Whoever loads on demand does so now: what comes with the credentials is not known before.
    if let Err(refusal) = daemon.ask_or_hear_why(&path(identity)).await? {
        if !refusal.is_for_want_of_credentials() {
            return Err(daemon.refused(&refusal));
        }
        tracing::warn!("the daemon has no credentials now, and will serve those that come: {refusal}");
    }
    let said = daemon.status_of(identity).await?;
    let place = StoreVariables { region: said["region"].as_str(), endpoint: said["endpoint"].as_str() };
    let environment = &context.environment;
    let exceptions = has_proxy(environment).then(|| no_proxy(environment, daemon.address.ip()));
    let place = placed(place, environment, dialect).collect();
    Ok(leading_to(daemon.address, identity, &token_file, exceptions.as_deref(), place, dialect)?.to_string())
}

fn leading_to(
    address: SocketAddr,
    identity: &IdentityName,
    token_file: &Path,
    exceptions: Option<&str>,
    place: Vec<Variable>,
    dialect: ShellDialect,
) -> Result<Zeroizing<String>, CommandError> {
    let token_file = token_file.to_str().ok_or_else(|| {
        CommandError::because(format!("token file {}: its name is not UTF-8; choose another", token_file.display()))
    })?;
    let set = |name, value: &str| (name, Some(Zeroizing::new(value.to_owned())));
    let uri = format!("http://{address}{}", path(identity));
    // Where there is a proxy, two libraries send the credential request, and the token with it, there.
    let direct = exceptions.map(|exceptions| NO_PROXY.map(|name| set(name, exceptions)));
    let there: Vec<_> = place
        .into_iter()
        .chain(direct.into_iter().flatten())
        .chain([
            set("AWS_CONTAINER_CREDENTIALS_FULL_URI", &uri),
            set("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", token_file),
        ])
        .collect();
    let gone = CLEARED.iter().chain(&[TOKEN]);
    let text = |variables: &[Variable]| {
        lines(dialect, variables).map_err(|error: UnwritableValue| CommandError::because(error))
    };
    if dialect == ShellDialect::Dotenv {
        // A blank relative URI or profile is one to some SDKs, and a file can take nothing away.
        let names: Vec<&str> = gone.copied().collect();
        let advice = format!("# To be unset where this is read: {}\n", names.join(" "));
        return Ok(Zeroizing::new(advice + &text(&there)?));
    }
    text(&gone.map(|name| (*name, None)).chain(there).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(exceptions: Option<&str>, dialect: ShellDialect) -> Result<String, String> {
        let address = "127.0.0.1:9733".parse().unwrap();
        let text = leading_to(address, &"a b".into(), Path::new("/run/o'brien/token"), exceptions, Vec::new(), dialect);
        text.map(|text| text.to_string()).map_err(|error| error.to_string())
    }

    fn printed(dialect: ShellDialect) -> String {
        with(None, dialect).unwrap()
    }

    #[test]
    fn exceptions_from_proxies_are_quoted_like_all_else() {
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
    fn what_would_win_goes_and_what_leads_to_the_daemon_comes_last() {
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
    fn a_file_says_what_it_cannot_take_away() {
        let text = printed(ShellDialect::Dotenv);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 3, "{text}");
        assert!(lines[0].starts_with("# ") && lines[0].contains(" AWS_PROFILE "), "{text}");
        assert_eq!(lines[1], "AWS_CONTAINER_CREDENTIALS_FULL_URI=http://127.0.0.1:9733/credentials/a%20b");
        assert_eq!(lines[2], "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE='/run/o\\'brien/token'");
    }
}
