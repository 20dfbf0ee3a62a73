//! `credenza.toml` → a [`Config`] that cannot be invalid.
//!
//! Pure: bytes and [`Overrides`] (flags and variables) go in, a configuration or **all** errors of the file come out.
//! Who reads the file, and whether its owner may be trusted, is decided by the caller.

pub(crate) mod identity;
pub(crate) mod imds;
pub(crate) mod listen;
pub(crate) mod load;
pub(crate) mod profiles;
pub(crate) mod roles;
pub(crate) mod schema;
pub(crate) mod server;
pub(crate) mod sources;
pub(crate) mod syntax;
pub(crate) mod table;
#[cfg(test)]
mod tests;
pub(crate) mod users;
pub(crate) mod value;

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

pub(crate) use crate::config::identity::Identity;
use crate::config::identity::IdentityDefaults;
pub(crate) use crate::config::imds::ImdsConfig;
pub(crate) use crate::config::profiles::{ProfilePattern, ServedProfiles};
use crate::config::schema::{DEFAULTS, FILES, IMDS, PROFILES, ROOT, SERVER};
pub(crate) use crate::config::server::{Account, AuthTokenConfig, ServerConfig};
pub(crate) use crate::config::sources::built_in_chain;
use crate::config::table::{ConfigErrors, TableEntry, TableSection};
use crate::model::identity_name::IdentityName;
use crate::source::spec::{SourceKind, SourceSpec};

/// Everything that can be configured. There is always an identity `default`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Config {
    /// The HTTP side.
    pub(crate) server: ServerConfig,
    /// The metadata service, where it is wanted.
    pub(crate) imds: Option<ImdsConfig>,
    /// By name.
    pub(crate) identities: BTreeMap<IdentityName, Identity>,
    /// Profiles of the shared files that are identities, too.
    pub(crate) profiles: Option<ServedProfiles>,
    /// Users beside us and root whose shared files may say what is run and where tokens go.
    pub(crate) trusted_owners: Vec<Account>,
    /// What is allowed and may surprise, for the log.
    pub(crate) warnings: Vec<String>,
}

/// What flags and variables say; it goes before the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Overrides {
    /// Where to listen.
    pub(crate) listen: Option<Vec<SocketAddr>>,
    /// Whether other hosts may reach that.
    pub(crate) allow_remote: Option<bool>,
    /// Where the metadata service listens.
    pub(crate) imds_listen: Option<Vec<SocketAddr>>,
    /// Whose credentials it serves.
    pub(crate) imds_identity: Option<IdentityName>,
    /// Whether it answers requests without a token.
    pub(crate) imds_allow_v1: Option<bool>,
    /// Where the broker's own token comes from.
    pub(crate) token: Option<AuthTokenConfig>,
    /// Who may read its file.
    pub(crate) token_group: Option<Account>,
    /// A chain that takes the place of a configured `[identities.default]`.
    pub(crate) sources: Option<Vec<SourceSpec>>,
    /// The region of every source of `default`.
    pub(crate) region: Option<Box<str>>,
    /// Profiles that are served beside it.
    pub(crate) serve_profiles: Option<Vec<ProfilePattern>>,
    /// The credentials file of those.
    pub(crate) credentials_file: Option<PathBuf>,
    /// The config file of those.
    pub(crate) config_file: Option<PathBuf>,
}

/// Something wrong with `credenza.toml`. It never shows a value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) struct ConfigError {
    /// From 1.
    pub(crate) line: usize,
    /// From 1, in characters.
    pub(crate) column: usize,
    /// `server.listen`; empty where no key can be told.
    pub(crate) key: String,
    /// What is wrong and what to write instead.
    pub(crate) message: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}: ", self.line, self.column)?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.message)
    }
}

impl Config {
    /// The identity of this name: one that is configured, else a profile that is served, whether it exists or not.
    #[must_use]
    pub(crate) fn identity(&self, name: &IdentityName) -> Option<Identity> {
        let served = || self.profiles.as_ref().filter(|served| served.matches(name.as_str()));
        self.identities.get(name).cloned().or_else(|| served().map(|served| served.identity(name)))
    }

    /// Why there is no identity of this name, if there is none.
    #[must_use]
    pub(crate) fn missing(&self, name: &IdentityName) -> Option<String> {
        if self.identity(name).is_some() {
            return None;
        }
        let names: Vec<String> = self.identities.keys().map(ToString::to_string).collect();
        Some(format!("there is no identity {name}; there are {}", names.join(", ")))
    }

    /// What flags and variables say of the metadata service that does not go with the rest. The file's own words have been
    /// checked with it: what is left came by flag or variable.
    #[must_use]
    pub(crate) fn metadata_misfit(&self) -> Option<String> {
        let imds = self.imds.as_ref()?;
        imds.misfit(&self.server)
            .or_else(|| Some(format!("--imds-identity (or CREDENZA_IMDS_IDENTITY): {}", self.missing(&imds.identity)?)))
    }

    /// Reads a file (without one: no bytes) with what flags and variables say before it.
    ///
    /// # Errors
    /// All that is wrong with the file, in its order.
    pub(crate) fn parse(bytes: &[u8], overrides: &Overrides) -> Result<Self, Vec<ConfigError>> {
        let text = syntax::text(bytes).map_err(|(at, message)| {
            let line = 1 + bytes[..at].iter().filter(|b| **b == b'\n').count();
            let column = 1 + bytes[..at].iter().rev().take_while(|b| **b != b'\n').count();
            vec![ConfigError { line, column, key: String::new(), message: message.into() }]
        })?;
        let (mut errors, mut mended) = (ConfigErrors::new(text), None);
        let config = syntax::parse(text, &mut mended, &mut errors)
            .and_then(|value| TableSection::open(TableEntry::root(value), &ROOT, &mut errors))
            .map(|root| read(root, overrides, &mut errors));
        match config {
            Some(config) if errors.count() == 0 => Ok(config),
            _ => Err(errors.finish(text)),
        }
    }
}

fn read(mut root: TableSection<'_>, overrides: &Overrides, errors: &mut ConfigErrors) -> Config {
    let files = root.section("files", &FILES, errors);
    let trusted_owners = files.map(|section| trusted_owners(section, errors)).unwrap_or_default();
    let server = server::read(root.section("server", &SERVER, errors), overrides, errors);
    let imds = imds::read(root.section("imds", &IMDS, errors), &server, overrides, errors);
    let (imds, named) = imds.unzip();
    let defaults = root.section("defaults", &DEFAULTS, errors);
    let defaults = defaults.map(|section| IdentityDefaults::read(section, errors)).unwrap_or_default();
    let profiles = root.section("profiles", &PROFILES, errors);
    let profiles = profiles.and_then(|section| profiles::read(section, defaults, errors));
    let sources = overrides.sources.clone().map(|sources| in_files_of(profiles.as_ref(), sources));
    let profiles = served_profiles(profiles, defaults, overrides);
    let tables = root.take("identities").map(|entry| entry.named(errors)).unwrap_or_default();
    root.close();
    let mut identities = BTreeMap::new();
    for (name, at, entry) in tables {
        if let Some(identity) = identity::read(&name, at, entry, defaults, errors) {
            identities.insert(identity.name.clone(), identity);
        }
    }
    let is_alone = identities.is_empty() && profiles.is_none();
    let mut warnings = with_default(&mut identities, is_alone, defaults, sources, overrides.region.as_deref());
    warnings.extend(imds::of_no_use(imds.as_ref(), overrides));
    let config = Config { server, imds, identities, profiles, trusted_owners, warnings };
    if let (Some(imds), Some(Some((at, path)))) = (&config.imds, named)
        && let Some(missing) = config.missing(&imds.identity)
    {
        errors.push(at, &path, missing);
    }
    config
}

/// What flags and variables make of `[profiles]`; nothing where no pattern stands.
fn served_profiles(
    configured: Option<ServedProfiles>,
    defaults: IdentityDefaults,
    overrides: &Overrides,
) -> Option<ServedProfiles> {
    let mut served = match (configured, &overrides.serve_profiles) {
        (Some(configured), None) => configured,
        (Some(mut configured), Some(patterns)) => {
            configured.patterns.clone_from(patterns);
            configured
        }
        (None, Some(patterns)) => ServedProfiles::new(patterns.clone(), defaults),
        (None, None) => return None,
    };
    for (file, given) in
        [(&mut served.credentials_file, &overrides.credentials_file), (&mut served.config_file, &overrides.config_file)]
    {
        if given.is_some() {
            file.clone_from(given);
        }
    }
    (!served.patterns.is_empty()).then_some(served)
}

/// A profile that flags name by its name alone stands in the files of `[profiles]`, where the served one of this name does.
fn in_files_of(profiles: Option<&ServedProfiles>, mut sources: Vec<SourceSpec>) -> Vec<SourceSpec> {
    let Some(profiles) = profiles else { return sources };
    for source in &mut sources {
        if let SourceKind::Profile { name: Some(_), credentials_file, config_file } = &mut source.kind {
            for (file, configured) in
                [(credentials_file, &profiles.credentials_file), (config_file, &profiles.config_file)]
            {
                if file.is_none() {
                    file.clone_from(configured);
                }
            }
        }
    }
    sources
}

/// Sees to it that `default` exists, and that it is what flags and variables make of it.
fn with_default(
    identities: &mut BTreeMap<IdentityName, Identity>,
    is_alone: bool,
    defaults: IdentityDefaults,
    sources: Option<Vec<SourceSpec>>,
    region: Option<&str>,
) -> Vec<String> {
    let mut warnings = Vec::new();
    let name = IdentityName::default();
    if let Some(sources) = sources {
        if identities.insert(name.clone(), defaults.identity(name.clone(), sources)).is_some() {
            warnings.push("source flags or variables take the place of [identities.default]".into());
        }
    } else if !identities.contains_key(&name) {
        let mut implicit = defaults.identity(name.clone(), built_in_chain());
        // As soon as others are configured, or profiles served, nobody may want this one.
        implicit.eager &= is_alone;
        identities.insert(name.clone(), implicit);
    }
    if let (Some(region), Some(default)) = (region, identities.get_mut(&name)) {
        default.sources.iter_mut().for_each(|source| source.region = Some(region.into()));
    }
    warnings
}

fn trusted_owners(mut section: TableSection<'_>, errors: &mut ConfigErrors) -> Vec<Account> {
    let owners = section.take("trusted_owners").and_then(|entry| entry.list(errors, "entry")).unwrap_or_default();
    section.close();
    owners.into_iter().filter_map(|owner| owner.account(errors)).collect()
}
