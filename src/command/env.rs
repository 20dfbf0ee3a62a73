//! `credenza env`: what leads every SDK of a shell to a running daemon.

use std::net::SocketAddr;
use std::path::Path;

use zeroize::Zeroizing;

use super::Failed;
use super::child::CLEARED;
use super::daemon::{Daemon, path};
use super::format::{Unwritable, Variable, lines};
use crate::arguments::Dialect;
use crate::config::ServerConfig;
use crate::credentials::Name;
use crate::world::World;

/// Those of a token that was given otherwise; it goes before the file.
const TOKEN: &str = "AWS_CONTAINER_AUTHORIZATION_TOKEN";

/// The lines for a shell. Nothing in them is a secret.
///
/// # Errors
/// When no daemon runs, the listener is not its own, or its token stands in no file.
pub async fn env(server: &ServerConfig, world: &World, identity: &Name, dialect: Dialect) -> Result<String, Failed> {
    let daemon = Daemon::find(server, world)?;
    let Some(token_file) = &daemon.token_file else {
        return Err(Failed::because(
            "the daemon's token stands in no file that the SDKs could read; keep it in one (token_file, or auth_token_file)",
        ));
    };
    let token_file = std::path::absolute(token_file)
        .map_err(|error| Failed::because(format!("token file {}: {error}", token_file.display())))?;
    daemon.is_there().await?;
    Ok(leading_to(daemon.address, identity, &token_file, dialect)?.to_string())
}

fn leading_to(
    address: SocketAddr,
    identity: &Name,
    token_file: &Path,
    dialect: Dialect,
) -> Result<Zeroizing<String>, Failed> {
    let token_file = token_file.to_str().ok_or_else(|| {
        Failed::because(format!("token file {}: its name is not UTF-8; choose another", token_file.display()))
    })?;
    let set = |name, value: &str| (name, Some(Zeroizing::new(value.to_owned())));
    let uri = format!("http://{address}{}", path(identity));
    let there =
        [set("AWS_CONTAINER_CREDENTIALS_FULL_URI", &uri), set("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", token_file)];
    let gone = CLEARED.iter().chain(&[TOKEN]);
    let text = |variables: &[Variable]| lines(dialect, variables).map_err(|error: Unwritable| Failed::because(error));
    if dialect == Dialect::Dotenv {
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

    fn printed(dialect: Dialect) -> String {
        let address = "127.0.0.1:9733".parse().unwrap();
        leading_to(address, &"a b".into(), Path::new("/run/o'brien/token"), dialect).unwrap().to_string()
    }

    #[test]
    fn what_would_win_goes_and_what_leads_to_the_daemon_comes_last() {
        let text = printed(Dialect::Env);
        for name in CLEARED.iter().chain(&[TOKEN]) {
            assert!(text.contains(&format!("unset {name}\n")), "{name}: {text}");
        }
        let expected = "export AWS_CONTAINER_CREDENTIALS_FULL_URI='http://127.0.0.1:9733/credentials/a%20b'\n\
                        export AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE='/run/o'\\''brien/token'\n";
        assert!(text.ends_with(expected), "{text}");
        assert!(printed(Dialect::Fish).contains("set -eg AWS_PROFILE\n"));
        assert!(printed(Dialect::Powershell).contains("$env:AWS_PROFILE = $null\n"));
    }

    #[test]
    fn a_file_says_what_it_cannot_take_away() {
        let text = printed(Dialect::Dotenv);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 3, "{text}");
        assert!(lines[0].starts_with("# ") && lines[0].contains(" AWS_PROFILE "), "{text}");
        assert_eq!(lines[1], "AWS_CONTAINER_CREDENTIALS_FULL_URI=http://127.0.0.1:9733/credentials/a%20b");
        assert_eq!(lines[2], "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE='/run/o\\'brien/token'");
    }
}
