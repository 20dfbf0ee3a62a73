//! Finds the auth tokens that a running daemon may accept, and the users whose daemon is believed without a token.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fs, io};

use rustix::fs::FileType;

use crate::cli::error::CommandError;
use crate::config::server::{AuthTokenConfig, ServerConfig};
use crate::context::Context;
use crate::model::secret::Secret;
use crate::model::text::Escaped;
use crate::os::files::trust::{PathFacts, TrustPolicy};
use crate::os::files::walk::{runtime_folder, walk};
use crate::server::auth_token;
use crate::server::auth_token::{AuthTokenError, AuthTokenFile};
use crate::source::spec::TextSource;

/// The token file of the daemon of the system, which runs as root or as its own user.
const SYSTEM_TOKEN: &str = "/run/credenza/token";

const ROOT: u32 = 0;

/// An auth token of a running daemon.
#[derive(Debug)]
pub(crate) struct KnownToken {
    pub(crate) token: Secret,
    /// The token file; `None` if the token was given directly.
    pub(crate) file: Option<PathBuf>,
    /// The user id of the owner of the file. Without a file it is the id of the user.
    pub(crate) owner: u32,
}

/// What this program may show to a daemon.
#[derive(Debug, Default)]
pub(crate) struct DaemonAccess {
    /// The tokens that the daemon may accept, the most likely first.
    pub(crate) tokens: Vec<KnownToken>,
    /// The owners of a listener that is believed without a token: a client may be known by its user alone. `None` if the
    /// user named a token.
    pub(crate) by_user: Option<Box<[u32]>>,
    /// The reasons why a token file is not used; if there is no token at all, the paths that were tried.
    pub(crate) unused: Vec<String>,
}

/// Returns the auth tokens of a daemon that runs with this configuration. Without a named token, there is also access by
/// user alone.
///
/// The user vouches for a token file that a flag, a variable or credenza.toml names. A file at a default location must
/// be trusted: another user may have left it there.
///
/// # Errors
/// If a named token file is missing or cannot be read.
pub(crate) fn daemon_access(server: &ServerConfig, context: &Context) -> Result<DaemonAccess, CommandError> {
    let of = |token| Ok(DaemonAccess { tokens: vec![token], ..DaemonAccess::default() });
    match &server.token {
        AuthTokenConfig::Given(TextSource::Literal(given)) => {
            of(KnownToken { token: given.clone(), file: None, owner: context.uid() })
        }
        AuthTokenConfig::Given(TextSource::File(path)) | AuthTokenConfig::Kept(Some(path)) => {
            let is_given = matches!(server.token, AuthTokenConfig::Given(_));
            let read = read(&context.environment.expand(path));
            let read = if is_given { read.map_err(AuthTokenError::of_given_file) } else { read };
            of(read.map_err(CommandError::new)?.0)
        }
        AuthTokenConfig::Kept(None) => Ok(at_default_places(&places(context), context)),
    }
}

fn read(path: &Path) -> Result<(KnownToken, PathFacts), AuthTokenError> {
    let (token, facts) = AuthTokenFile { path: path.to_owned(), group: None }.read()?;
    let owner = facts.owner();
    Ok((KnownToken { token, file: Some(path.to_owned()), owner }, facts))
}

/// Returns the locations of a token file in the order in which they are tried: the runtime folders of this user, the
/// folder of the system's daemon, the state folder.
fn places(context: &Context) -> Vec<PathBuf> {
    let mut places = auth_token::default_places(&context.environment, &context.trust);
    // A daemon that began without XDG_RUNTIME_DIR has its token there.
    let of_user = runtime_folder(None, &context.trust).map(|folder| folder.join("credenza/token"));
    // The state folder is the last of the default locations.
    let state = places.pop();
    let further = of_user.into_iter().chain([SYSTEM_TOKEN.into()]).chain(state);
    for path in further {
        if !places.contains(&path) {
            places.push(path);
        }
    }
    places
}

fn at_default_places(places: &[PathBuf], context: &Context) -> DaemonAccess {
    let (mut tokens, mut unused) = (Vec::new(), Vec::new());
    for path in places {
        let shown = Escaped(&path.to_string_lossy()).to_string();
        match fs::symlink_metadata(path) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                unused.push(format!("the token file {shown} is closed to this user: {error}{}", join_group(path)));
                continue;
            }
            Err(_) => continue,
        }
        match read(path) {
            Ok((token, facts)) => match trusted(path, &facts, &context.trust) {
                Ok(()) => tokens.push(token),
                Err(distrust) => unused.push(format!("the token file {shown} is not used: it {distrust}")),
            },
            Err(error) => unused.push(error.to_string()),
        }
    }
    if tokens.is_empty() && unused.is_empty() {
        let tried: Vec<String> = places.iter().map(|path| Escaped(&path.to_string_lossy()).to_string()).collect();
        unused.push(format!("there is no token file at {}", tried.join(" or ")));
    }
    let owners = [context.uid(), ROOT].into_iter().chain(owner_of_system_folder()).collect();
    DaemonAccess { tokens, by_user: Some(owners), unused }
}

/// Returns the command that opens a closed folder of the system's daemon to this user.
fn join_group(path: &Path) -> &'static str {
    match path == Path::new(SYSTEM_TOKEN) {
        true => "; join its group with `sudo usermod -aG credenza $USER`, and log in again",
        false => "",
    }
}

/// Returns the user of the system's daemon: root has made its folder, and has given it to that user.
fn owner_of_system_folder() -> Option<u32> {
    let folder = Path::new(SYSTEM_TOKEN).parent()?;
    let found = walk(folder).ok()?;
    let above = walk(folder.parent()?).ok()?;
    // Nobody but root may make a folder there, in a container as on a host.
    let is_roots = above.facts.file().is_some_and(|last| last.uid == ROOT && last.mode & 0o022 == 0);
    (is_roots && found.kind() == FileType::Directory).then(|| found.facts.owner())
}

/// Checks the trust of a token file at a default location. The user of the system's daemon is trusted in its folder.
fn trusted(path: &Path, facts: &PathFacts, policy: &TrustPolicy) -> Result<(), String> {
    let of_system = if path == Path::new(SYSTEM_TOKEN) { owner_of_system_folder() } else { None };
    let owners: Arc<[u32]> = policy.owners.iter().copied().chain(of_system).collect();
    facts.trusted(&TrustPolicy { owners, ..policy.clone() }).map_err(|distrust| distrust.to_string())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::os::environment::Environment;
    use crate::os::files::Files;

    fn context(variables: &[(&str, &str)]) -> Context {
        Context::new(Environment::new(variables.iter().copied()), Files::unwatched())
    }

    #[test]
    fn tries_runtime_folders_then_system_then_state() {
        let runtime = tempfile::tempdir().unwrap();
        fs::set_permissions(runtime.path(), fs::Permissions::from_mode(0o700)).unwrap();
        let named = runtime.path().to_str().unwrap();
        let found = places(&context(&[("HOME", "/nowhere"), ("XDG_RUNTIME_DIR", named)]));
        let at =
            |path: &str| found.iter().position(|found| found == Path::new(path)).unwrap_or_else(|| panic!("{path}"));
        let runtime = at(&format!("{named}/credenza/token"));
        let (system, state) = (at(SYSTEM_TOKEN), at("/nowhere/.local/state/credenza/token"));
        assert!(runtime == 0 && system < state && state == found.len() - 1, "{found:?}");
    }

    #[test]
    fn reads_tokens_of_trusted_files_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let token = |name: &str| {
            fs::write(at(name), format!("{name}-0123456789012345678901234567890123456789")).unwrap();
            fs::set_permissions(at(name), fs::Permissions::from_mode(0o600)).unwrap();
        };
        ["first", "second", "open"].into_iter().for_each(token);
        fs::set_permissions(at("open"), fs::Permissions::from_mode(0o666)).unwrap();
        let context = context(&[]);
        let access = at_default_places(&["absent", "first", "open", "second"].map(at), &context);
        let files: Vec<_> = access.tokens.iter().filter_map(|token| token.file.clone()).collect();
        assert_eq!(files, ["first", "second"].map(at));
        assert!(access.unused.len() == 1 && access.unused[0].contains("may be written by all users"), "{access:?}");
        let owners = access.by_user.unwrap();
        assert!(owners.contains(&ROOT) && owners.contains(&context.uid()), "{owners:?}");

        let none = at_default_places(&[at("absent"), at("none")], &context);
        assert!(none.tokens.is_empty() && none.unused[0].starts_with("there is no token file at "), "{none:?}");
    }

    #[test]
    fn only_the_systems_folder_names_its_group() {
        assert!(join_group(Path::new(SYSTEM_TOKEN)).contains("sudo usermod -aG credenza $USER"));
        assert_eq!(join_group(Path::new("/run/user/7/credenza/token")), "");
    }
}
