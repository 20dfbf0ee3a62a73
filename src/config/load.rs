//! Finds, reads and checks `credenza.toml`, at the start and whenever it changed.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::config::users;
use crate::config::{Config, ConfigError, Overrides};
use crate::model::text::Escaped;
use crate::os::environment::Environment;
use crate::os::files::Files;
use crate::os::files::contents::FileContents;

/// Where `credenza.toml` is looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ConfigLocation {
    /// Somebody named it: it has to be there.
    Named(PathBuf),
    /// The first of these that exists; none is fine.
    FirstOf(Vec<PathBuf>),
}

impl ConfigLocation {
    /// The file that `--config` or `CREDENZA_CONFIG` names, else the default places.
    #[must_use]
    pub(crate) fn new(named: Option<&Path>, environment: &Environment) -> Self {
        if let Some(named) = named {
            return Self::Named(environment.expand(named));
        }
        // The XDG specification has relative paths ignored.
        let configured = environment.get("XDG_CONFIG_HOME").map(PathBuf::from).filter(|folder| folder.is_absolute());
        let folder = configured.or_else(|| environment.home().map(|home| home.join(".config")));
        let own = folder.map(|folder| folder.join("credenza/credenza.toml"));
        Self::FirstOf(own.into_iter().chain([PathBuf::from("/etc/credenza/credenza.toml")]).collect())
    }
}

/// Nobody reads more errors than this; a wrong file can have a hundred thousand.
const SHOWN: usize = 100;

/// Where the configuration comes from.
#[derive(Debug)]
pub(crate) struct ConfigLoader {
    place: ConfigLocation,
    overrides: Overrides,
    files: Files,
}

/// Why there is no configuration: exit code 78 at the start, a line in log and status later.
#[derive(Debug)]
pub(crate) enum LoadError {
    /// The file itself.
    File(String),
    /// Flags or variables: exit code 2.
    Usage(String),
    /// Everything that is wrong in it.
    Content(Box<Path>, Vec<ConfigError>),
}

impl ConfigLoader {
    /// A loader with files of its own, so that it remembers what it read.
    #[must_use]
    pub(crate) fn new(place: ConfigLocation, overrides: Overrides, files: Files) -> Self {
        Self { place, overrides, files }
    }

    /// The configuration as it stands now.
    ///
    /// # Errors
    /// When a named file is missing, one cannot be read, belongs to somebody else, or is wrong.
    pub(crate) async fn load(&self) -> Result<Config, LoadError> {
        self.files.forget();
        let config = self.parse().await?;
        resolve(&config)?;
        Ok(config)
    }

    async fn parse(&self) -> Result<Config, LoadError> {
        match self.find().await? {
            None => Config::parse(b"", &self.overrides)
                .map_err(|errors| LoadError::Content(Path::new("flags").into(), errors)),
            Some((path, contents)) => Config::parse(&contents.bytes, &self.overrides)
                .map_err(|errors| LoadError::Content(path.into(), errors)),
        }
    }

    /// The configuration for a daemon, or for those who try it.
    ///
    /// # Errors
    /// As for [`Self::load`], and when flags and variables of the metadata service do not go with the rest: other commands
    /// have nothing to do with them.
    pub(crate) async fn load_for_daemon(&self) -> Result<Config, LoadError> {
        let config = self.load().await?;
        match config.metadata_misfit() {
            Some(misfit) => Err(LoadError::Usage(misfit)),
            None => Ok(config),
        }
    }

    /// Waits until what was read has changed, or a file has appeared where one was looked for.
    pub(crate) async fn changed(&self) {
        self.files.changed().await;
    }

    async fn find(&self) -> Result<Option<(&Path, FileContents)>, LoadError> {
        let (paths, named) = match &self.place {
            ConfigLocation::Named(path) => (std::slice::from_ref(path), true),
            ConfigLocation::FirstOf(paths) => (paths.as_slice(), false),
        };
        for path in paths {
            match self.files.read(path).await {
                Ok(contents) => {
                    // It decides which files are read and where keys come from.
                    let ours = rustix::process::geteuid().as_raw();
                    contents.owner.trusted(ours, &[]).map_err(|distrust| {
                        LoadError::File(format!("{}: {distrust}; it is not read", Escaped(&path.to_string_lossy())))
                    })?;
                    return Ok(Some((path, contents)));
                }
                Err(error) if error.is_missing() && !named => {}
                Err(error) => {
                    // That of a service may be closed to others, who then have one of their own.
                    let hint = match paths.first().filter(|own| *own != path) {
                        Some(own) => format!("; {}, even an empty one, goes before it", own.display()),
                        None => String::new(),
                    };
                    return Err(LoadError::File(format!("{error}{hint}")));
                }
            }
        }
        Ok(None)
    }
}

/// The numbers behind the names of a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ResolvedAccounts {
    /// Of `trusted_owners`.
    pub(crate) trusted_owners: Vec<u32>,
    /// Of `token_group`.
    pub(crate) token_group: Option<u32>,
}

/// Looks up the users and groups that a configuration names.
///
/// # Errors
/// All names that are not known here.
pub(crate) fn resolve(config: &Config) -> Result<ResolvedAccounts, LoadError> {
    let mut unknown = Vec::new();
    let mut number = |key: &str, found: Result<u32, users::UnknownAccount>| {
        found.map_err(|error| unknown.push(format!("{key}: {error}"))).ok()
    };
    let owners = config.trusted_owners.iter();
    let trusted_owners = owners.filter_map(|owner| number("files.trusted_owners", users::user(owner))).collect();
    let token_group =
        config.server.token_group.as_ref().and_then(|group| number("server.token_group", users::group(group)));
    if unknown.is_empty() {
        Ok(ResolvedAccounts { trusted_owners, token_group })
    } else {
        Err(LoadError::File(unknown.join("\n")))
    }
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
                errors.iter().take(SHOWN).try_for_each(|error| write!(f, "\n{error}"))?;
                match errors.len().saturating_sub(SHOWN) {
                    0 => Ok(()),
                    more => write!(f, "\nand {more} more"),
                }
            }
        }
    }
}

impl std::error::Error for LoadError {}
