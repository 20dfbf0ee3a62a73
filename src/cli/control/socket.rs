//! Finds the control socket of a running daemon, and judges its path as that of a token file.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::FileType;

use crate::cli::serve::control::NAME;
use crate::config::server::{AuthTokenConfig, ServerConfig};
use crate::context::Context;
use crate::model::text::Escaped;
use crate::os::files::trust::TrustPolicy;
use crate::os::files::walk::{WalkError, walk};
use crate::server::auth_token;

/// The variables that name the socket, or the token beside it.
const SOCKET_VARIABLE: &str = "CREDENZA_CONTROL_SOCKET";
const TOKEN_VARIABLE: &str = "CREDENZA_TOKEN_FILE";

/// The folder of the daemon of the system, which runs as root or as its own user.
const SYSTEM_FOLDER: &str = "/run/credenza";

/// A socket that may get requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ControlSocket {
    pub(crate) path: PathBuf,
    /// The user id of the owner of the socket.
    pub(crate) owner: u32,
}

/// The sockets of this configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct FoundSockets {
    /// The most likely first.
    pub(crate) trusted: Vec<ControlSocket>,
    /// The reasons why a socket is not used.
    pub(crate) refused: Vec<String>,
    /// All paths that were tried.
    pub(crate) tried: Vec<PathBuf>,
}

/// The origin of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    /// A flag, a variable or the configuration names it. Folders above its own may be open: a volume of a Pod is.
    Named,
    /// It is a default location, where another user may have left a socket.
    Default,
}

/// Finds the sockets of a daemon that runs with this configuration.
pub(crate) fn find(server: &ServerConfig, named: Option<&Path>, context: &Context) -> FoundSockets {
    let mut found = FoundSockets::default();
    let (origin, paths) = candidates(server, named, context);
    let variable = if named.is_some() { SOCKET_VARIABLE } else { TOKEN_VARIABLE };
    let is_of_variable = origin == Origin::Named && context.environment.get(variable).is_some();
    for path in paths {
        match judge(&path, origin, is_of_variable, &context.trust) {
            Ok(Some(owner)) => found.trusted.push(ControlSocket { path: path.clone(), owner }),
            Ok(None) => {}
            Err(reason) => found.refused.push(format!("the control socket {} is not used: {reason}", shown(&path))),
        }
        found.tried.push(path);
    }
    found
}

/// Returns a path for messages.
pub(crate) fn shown(path: &Path) -> String {
    Escaped(&path.to_string_lossy()).to_string()
}

fn candidates(server: &ServerConfig, named: Option<&Path>, context: &Context) -> (Origin, Vec<PathBuf>) {
    let environment = &context.environment;
    if let Some(named) = named {
        return (Origin::Named, vec![environment.expand(named)]);
    }
    if let AuthTokenConfig::Kept(Some(token)) = &server.token {
        return (Origin::Named, vec![environment.expand(token).with_file_name(NAME)]);
    }
    let places = auth_token::default_places(environment, &context.trust);
    let mut paths: Vec<PathBuf> = places.iter().map(|token| token.with_file_name(NAME)).collect();
    let system = Path::new(SYSTEM_FOLDER).join(NAME);
    if !paths.contains(&system) {
        paths.push(system);
    }
    (Origin::Default, paths)
}

/// Returns the owner of a socket that may get requests, or `None` if there is no file.
fn judge(path: &Path, origin: Origin, is_of_variable: bool, policy: &TrustPolicy) -> Result<Option<u32>, String> {
    let found = match walk(path) {
        Ok(found) => found,
        Err(WalkError::Missing { .. }) => return Ok(None),
        Err(error) => {
            let error = std::io::Error::from(error);
            let hint = match error.kind() {
                std::io::ErrorKind::PermissionDenied => {
                    "; only its owner and root may use it (run this command as that user)"
                }
                _ => "",
            };
            return Err(format!("{error}{hint}"));
        }
    };
    found.check_symlinks()?;
    if found.kind() != FileType::Socket {
        return Err("it is not a socket".into());
    }
    let owner = found.facts.owner();
    let facts = match origin {
        Origin::Named => found.facts.without_folders_above(),
        Origin::Default => found.facts.clone(),
    };
    let policy = TrustPolicy { owners: owners(path, origin, is_of_variable, owner, policy), ..policy.clone() };
    facts.trusted(&policy).map_err(|distrust| distrust.about(path))?;
    if origin == Origin::Named {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let folder = walk(folder).map_err(|error| std::io::Error::from(error).to_string())?;
        folder.facts.without_folders_above().trusted(&policy).map_err(|distrust| distrust.about(path))?;
    }
    Ok(Some(owner))
}

/// Returns the further users that may own the socket.
///
/// Root may name the socket of another user, but not by a variable: that may be left over from another user after `su`. Root has also made the folder of the system's daemon, and has given it to
/// the user of that daemon.
fn owners(path: &Path, origin: Origin, is_of_variable: bool, owner: u32, policy: &TrustPolicy) -> Arc<[u32]> {
    let of_system = match path.parent() {
        Some(folder) if folder == Path::new(SYSTEM_FOLDER) => walk(folder).ok().map(|folder| folder.facts.owner()),
        _ => None,
    };
    let named_by_root = (policy.ours == 0 && origin == Origin::Named && !is_of_variable).then_some(owner);
    policy.owners.iter().copied().chain(of_system.filter(|_| policy.ours == 0)).chain(named_by_root).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Overrides};
    use crate::os::environment::Environment;
    use crate::os::files::Files;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::os::unix::net::UnixListener;

    fn server(text: &str) -> ServerConfig {
        Config::parse(text.as_bytes(), &Overrides::default()).unwrap().server
    }

    fn context(variables: &[(&str, &str)]) -> Context {
        Context::new(Environment::new(variables.iter().copied()), Files::unwatched())
    }

    #[test]
    fn looks_beside_the_token() {
        let context = context(&[("HOME", "/nowhere"), ("RUNTIME_DIRECTORY", "/nowhere/run")]);
        let kept = server("[server]\ntoken_file = \"~/t/token\"\n");
        for (server, named, expected) in [
            (&kept, Some("~/c.sock"), &["/nowhere/c.sock"][..]),
            (&kept, None, &["/nowhere/t/control.sock"]),
            (&server(""), None, &["/nowhere/run/control.sock", "/nowhere/.local/state/credenza/control.sock"]),
        ] {
            let found = find(server, named.map(Path::new), &context);
            for path in expected {
                assert!(found.tried.contains(&PathBuf::from(path)), "{path}: {found:?}");
            }
            // This machine may have a daemon of the system.
            let ours = found.trusted.iter().filter(|socket| !socket.path.starts_with(SYSTEM_FOLDER));
            assert!(ours.count() == 0 && found.refused.is_empty(), "{found:?}");
        }
        assert!(find(&server(""), None, &context).tried.contains(&PathBuf::from("/run/credenza/control.sock")));
    }

    #[test]
    fn judges_socket_and_folder() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let _socket = UnixListener::bind(at("socket")).unwrap();
        fs::write(at("file"), "").unwrap();
        symlink(at("socket"), at("link")).unwrap();
        fs::create_dir(at("open")).unwrap();
        let _in_open_folder = UnixListener::bind(at("open/socket")).unwrap();
        fs::set_permissions(at("open"), fs::Permissions::from_mode(0o777)).unwrap();
        let _open = UnixListener::bind(at("writable")).unwrap();
        fs::set_permissions(at("writable"), fs::Permissions::from_mode(0o666)).unwrap();
        fs::set_permissions(at("socket"), fs::Permissions::from_mode(0o600)).unwrap();
        let policy = TrustPolicy::default();
        for origin in [Origin::Named, Origin::Default] {
            for (name, expected) in [
                ("socket", ""),
                ("link", ""),
                ("file", "it is not a socket"),
                ("writable", "may be written by all users"),
                ("open/socket", "may be written by all users"),
            ] {
                match judge(&at(name), origin, false, &policy) {
                    Ok(owner) => assert!(expected.is_empty() && owner.is_some(), "{name}"),
                    Err(reason) => assert!(!expected.is_empty() && reason.contains(expected), "{name}: {reason}"),
                }
            }
            assert_eq!(judge(&at("none"), origin, false, &policy), Ok(None));
        }
    }

    /// Root alone may name the socket of another user.
    #[test]
    fn only_root_names_sockets_of_other_users() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let _socket = UnixListener::bind(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let ours = TrustPolicy::default().ours;
        let other = TrustPolicy { ours: ours + 1, ..TrustPolicy::default() };
        // Files of root are trusted by every user, so that only another user shows the difference.
        if ours != 0 {
            assert!(judge(&path, Origin::Named, false, &other).is_err());
        }
        let root = TrustPolicy { ours: 0, ..TrustPolicy::default() };
        let foreign = |origin, is_of_variable| owners(&path, origin, is_of_variable, 4711, &root).contains(&4711);
        assert!(foreign(Origin::Named, false) && !foreign(Origin::Named, true) && !foreign(Origin::Default, false));
        assert!(!owners(&path, Origin::Named, false, 4711, &TrustPolicy { ours: 5, ..root.clone() }).contains(&4711));
    }
}
