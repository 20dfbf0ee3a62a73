//! Finds, reads and checks `credenza.toml`, at the start and after each change.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::config::secrets;
use crate::config::users;
use crate::config::{Config, ConfigError, Overrides};
use crate::model::client_name::ClientName;
use crate::model::text::Escaped;
use crate::os::accounts::overflow_id;
use crate::os::environment::Environment;
use crate::os::files::Files;
use crate::os::files::contents::{FileContents, LARGE};
use crate::os::files::trust::TrustPolicy;
use crate::os::files::walk::trusted_folder;

/// The paths of `credenza.toml`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ConfigLocation {
    /// The user named the file, so it must exist.
    Named(PathBuf),
    /// The first of these files that exists. If no file exists, the defaults apply.
    FirstOf(Vec<PathBuf>),
}

impl ConfigLocation {
    /// Returns the file that `--config` or `CREDENZA_CONFIG` names, else the default paths.
    pub(crate) fn new(named: Option<&Path>, environment: &Environment) -> Self {
        if let Some(named) = named {
            return Self::Named(environment.expand(named));
        }
        // The XDG specification ignores relative paths.
        let configured = environment.get("XDG_CONFIG_HOME").map(PathBuf::from).filter(|folder| {
            // After `su` or `sudo -E` it may be the folder of another user, without a file of ours.
            let refused = trusted_folder(folder, &TrustPolicy::default()).err().filter(|_| folder.exists());
            if let Some(reason) = &refused {
                let folder = Escaped(&folder.to_string_lossy()).to_string();
                tracing::warn!(folder, "XDG_CONFIG_HOME is not used: {reason}");
            }
            folder.is_absolute() && refused.is_none()
        });
        let folder = configured.or_else(|| environment.home().map(|home| home.join(".config")));
        let own = folder.map(|folder| folder.join("credenza/credenza.toml"));
        Self::FirstOf(own.into_iter().chain([PathBuf::from("/etc/credenza/credenza.toml")]).collect())
    }
}

/// The maximum number of errors in a message. It limits the length of a log line: a wrong file can have a hundred
/// thousand errors.
const MAX_SHOWN_ERRORS: usize = 100;

/// Loads the configuration, and again after each change.
#[derive(Debug)]
pub(crate) struct ConfigLoader {
    location: ConfigLocation,
    overrides: Overrides,
    files: Files,
}

/// The reason why a configuration cannot be used. At the start the program exits with 78; after a reload, log and
/// status show the reason.
#[derive(Debug)]
pub(crate) enum LoadError {
    /// The file cannot be read, its owner is not trusted, or it names an unknown user or group.
    File(String),
    /// Flags or variables conflict with the file: exit code 2.
    Usage(String),
    /// The path and the errors in the file.
    Content(Box<Path>, Vec<ConfigError>),
}

impl ConfigLoader {
    /// Creates a loader. `files` must not be used elsewhere, because [`Self::changed`] reports a change of every file
    /// that was read through them.
    pub(crate) fn new(location: ConfigLocation, overrides: Overrides, files: Files) -> Self {
        Self { location, overrides, files }
    }

    /// Loads the current configuration.
    ///
    /// # Errors
    /// If a named file is missing, or the file cannot be read, has an untrusted owner, or has errors.
    pub(crate) async fn load(&self) -> Result<Config, LoadError> {
        self.files.forget();
        let config = self.parse(false).await?;
        resolve_accounts(&config)?;
        Ok(config)
    }

    /// Loads the configuration for a client of the daemon. It may not read a closed file of the system: then the defaults
    /// apply, which are those of the system's daemon.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub(crate) async fn load_for_client(&self) -> Result<Config, LoadError> {
        self.files.forget();
        self.parse(true).await
    }

    /// Returns the configuration of the flags and variables alone.
    ///
    /// # Errors
    /// If they conflict.
    pub(crate) fn without_file(&self) -> Result<Config, LoadError> {
        Config::parse(b"", &self.overrides).map_err(|errors| LoadError::Content(Path::new("flags").into(), errors))
    }

    async fn parse(&self, skips_closed: bool) -> Result<Config, LoadError> {
        match self.find(skips_closed).await? {
            None => self.without_file(),
            Some((path, contents)) => match Config::parse(&contents.bytes, &self.overrides) {
                Ok(config) => {
                    // Flags and variables are no part of the file.
                    let of_file = Config::parse(&contents.bytes, &Overrides::default()).ok();
                    let open_secrets = contents.facts.mode_open_to_all().zip(of_file);
                    let open_secrets = open_secrets.and_then(|(mode, file)| secrets::open_secrets(path, mode, &file));
                    Ok(Config { file: Some(path.into()), open_secrets, ..config })
                }
                Err(errors) => Err(LoadError::Content(path.into(), errors)),
            },
        }
    }

    /// Loads the configuration for `serve` and `check`.
    ///
    /// # Errors
    /// As [`Self::load`], and if flags or variables of the IMDS server conflict with other settings. Other commands do
    /// not use those flags.
    pub(crate) async fn load_for_daemon(&self) -> Result<Config, LoadError> {
        let config = self.load().await?;
        match config.imds_conflict() {
            Some(conflict) => Err(LoadError::Usage(conflict)),
            None => Ok(config),
        }
    }

    /// Waits until the file has changed, or has appeared at one of the paths.
    pub(crate) async fn changed(&self) {
        self.files.changed().await;
    }

    async fn find(&self, skips_closed: bool) -> Result<Option<(&Path, FileContents)>, LoadError> {
        let (paths, named) = match &self.location {
            ConfigLocation::Named(path) => (std::slice::from_ref(path), true),
            ConfigLocation::FirstOf(paths) => (paths.as_slice(), false),
        };
        for path in paths {
            match self.files.read_up_to(path, LARGE).await {
                Ok(contents) => {
                    // This file decides which files are read, where keys come from, and which other files are trusted.
                    contents.facts.trusted(&TrustPolicy::default()).map_err(|distrust| {
                        LoadError::File(format!(
                            "{}: {}; it is not read",
                            Escaped(&path.to_string_lossy()),
                            distrust.about(path)
                        ))
                    })?;
                    return Ok(Some((path, contents)));
                }
                Err(error) if error.is_missing() && !named => {}
                Err(error) if skips_closed && !named && error.may_pass() && path.starts_with("/etc") => {}
                Err(error) => {
                    // Often only the service can read the file in `/etc`. Other users can create a file in their home.
                    let hint = match paths.first().filter(|own| *own != path) {
                        Some(own) => {
                            let own = Escaped(&own.to_string_lossy()).to_string();
                            format!("; create {own}, even an empty one: it takes precedence")
                        }
                        None => String::new(),
                    };
                    return Err(LoadError::File(format!("{error}{hint}")));
                }
            }
        }
        Ok(None)
    }
}

/// The user and group ids of the accounts in a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ResolvedAccounts {
    pub(crate) trusted_owners: Vec<u32>,
    pub(crate) token_group: Option<u32>,
    /// The users of each client that names some.
    pub(crate) client_users: BTreeMap<ClientName, Arc<[u32]>>,
}

/// Resolves the users and groups that a configuration names.
///
/// # Errors
/// All names that this host does not know, and users of clients that prove nothing.
pub(crate) fn resolve_accounts(config: &Config) -> Result<ResolvedAccounts, LoadError> {
    let mut unknown = Vec::new();
    let mut id = |key: &str, found: Result<u32, users::UnknownAccount>| {
        found.map_err(|error| unknown.push(format!("{key}: {error}"))).ok()
    };
    let owners = config.trusted_files.owners.iter();
    let trusted_owners = owners.filter_map(|owner| id("files.trusted_owners", users::user_id(owner))).collect();
    let token_group =
        config.server.token_group.as_ref().and_then(|group| id("server.token_group", users::group_id(group)));
    let mut client_users = BTreeMap::new();
    for (name, client) in config.clients.iter().flatten().filter(|(_, client)| !client.users.is_empty()) {
        let key = users_key(config, name);
        let users = client.users.iter().filter_map(|user| id(&key, users::user_id(user)));
        client_users.insert(name.clone(), users.collect::<Vec<_>>().into());
    }
    unknown.extend(users_without_proof(config, &client_users, overflow_id()));
    if unknown.is_empty() {
        Ok(ResolvedAccounts { trusted_owners, token_group, client_users })
    } else {
        Err(LoadError::File(unknown.join("\n")))
    }
}

/// Returns the place of a client's `users`, for messages: file, line and key.
fn users_key(config: &Config, name: &ClientName) -> String {
    let line = config.clients.iter().flatten().find(|(of, _)| *of == name).and_then(|(_, client)| client.users_line);
    let line = line.map(|line| format!("line {line}: ")).unwrap_or_default();
    let file = config.file.as_ref().map(|file| format!("{}, ", Escaped(&file.to_string_lossy()))).unwrap_or_default();
    format!("{file}{line}clients.{name}.users")
}

/// Returns an error for each client by user that the kernel could not tell from another client: the overflow user stands
/// for all users of other namespaces, and one user without a token can be one client only.
fn users_without_proof(config: &Config, client_users: &BTreeMap<ClientName, Arc<[u32]>>, overflow: u32) -> Vec<String> {
    let mut errors = Vec::new();
    let mut without_token: BTreeMap<u32, &ClientName> = BTreeMap::new();
    let has_token = |name| config.clients.iter().flatten().any(|(of, client)| of == name && !client.tokens.is_empty());
    for (name, users) in client_users {
        if users.contains(&overflow) {
            errors.push(format!(
                "{}: user {overflow} stands for every user that a namespace does not map; name another user",
                users_key(config, name)
            ));
        }
        for user in users.iter().filter(|_| !has_token(name)) {
            if let Some(other) = without_token.insert(*user, name).filter(|other| *other != name) {
                errors.push(format!(
                    "{}: user {user} alone is client {other} as well; give one of the two a token",
                    users_key(config, name)
                ));
            }
        }
    }
    if let (Some((name, _)), Some(address)) = (client_users.iter().next(), config.server.beyond_loopback()) {
        errors.push(format!(
            "{}: other hosts can reach {address}, and their users are unknown; listen on loopback, or remove users",
            users_key(config, name)
        ));
    }
    errors
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(message) | Self::Usage(message) => f.write_str(message),
            Self::Content(path, errors) => {
                write!(
                    f,
                    "{}: {} error{}",
                    Escaped(&path.to_string_lossy()),
                    errors.len(),
                    if errors.len() == 1 { "" } else { "s" }
                )?;
                errors.iter().take(MAX_SHOWN_ERRORS).try_for_each(|error| write!(f, "\n{error}"))?;
                match errors.len().saturating_sub(MAX_SHOWN_ERRORS) {
                    0 => Ok(()),
                    more => write!(f, "\nand {more} more"),
                }
            }
        }
    }
}

impl std::error::Error for LoadError {}
