//! Parses `credenza.toml` into a [`Config`] that is always valid.
//!
//! The parser is pure: it takes bytes and [`Overrides`] (flags and variables). It returns a configuration, the first
//! syntax error, or all semantic errors of the file. [`load`] reads the file and checks its owner.

pub(crate) mod audit;
pub(crate) mod clients;
pub(crate) mod identity;
pub(crate) mod imds;
pub(crate) mod listen;
pub(crate) mod load;
pub(crate) mod notify;
pub(crate) mod profiles;
pub(crate) mod roles;
pub(crate) mod schema;
mod secrets;
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
use std::path::{Path, PathBuf};

use crate::config::audit::AuditConfig;
use crate::config::clients::ClientConfig;
use crate::config::identity::{Identity, IdentityDefaults};
use crate::config::imds::ImdsConfig;
use crate::config::listen::ListenAddress;
use crate::config::notify::NotifyCommand;
use crate::config::profiles::ServedProfiles;
use crate::config::schema::{AUDIT, DEFAULTS, FILES, IMDS, NOTIFY, PROFILES, ROOT, SERVER};
use crate::config::server::{AuthTokenConfig, ServerConfig};
use crate::config::sources::built_in_chain;
use crate::config::syntax::LineIndex;
use crate::config::table::{ConfigErrors, TableEntry, TableSection};
use crate::config::users::Account;
use crate::model::client_name::ClientName;
use crate::model::identity_name::IdentityName;
use crate::model::name_pattern::NamePattern;
use crate::model::nearest::did_you_mean;
use crate::source::spec::{SourceKind, SourceSpec};

/// A valid configuration. The identity `default` always exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Config {
    pub(crate) server: ServerConfig,
    /// `None` if no IMDS server is configured.
    pub(crate) imds: Option<ImdsConfig>,
    pub(crate) identities: BTreeMap<IdentityName, Identity>,
    /// The settings of identities that the file does not name.
    defaults: IdentityDefaults,
    /// Profiles of the shared files that are served as identities.
    pub(crate) profiles: Option<ServedProfiles>,
    /// The clients. `None` means that the auth token opens every identity.
    pub(crate) clients: Option<BTreeMap<ClientName, ClientConfig>>,
    /// The program that tells of the end of a login.
    pub(crate) notify: Option<NotifyCommand>,
    /// The audit log. `None` means that there is none.
    pub(crate) audit: Option<AuditConfig>,
    /// Further users and folders with trusted files, beside root and the user of the broker. A trusted file may
    /// name programs to run and endpoints that get tokens.
    pub(crate) trusted_files: TrustedFiles,
    /// The region of a flag or a variable, for the identity that a command names.
    pub(crate) region: Option<Box<str>>,
    /// The file that was read.
    pub(crate) file: Option<Box<Path>>,
    /// The warning that other users may read the secrets in the file.
    pub(crate) open_secrets: Option<String>,
    /// Settings that are allowed and may surprise the user, for the log.
    pub(crate) warnings: Vec<String>,
}

/// The values of flags and variables. They take precedence over the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Overrides {
    pub(crate) listen: Option<Vec<ListenAddress>>,
    pub(crate) allow_remote: Option<bool>,
    pub(crate) imds_listen: Option<Vec<SocketAddr>>,
    pub(crate) imds_identity: Option<IdentityName>,
    pub(crate) imds_allow_v1: Option<bool>,
    pub(crate) token: Option<AuthTokenConfig>,
    pub(crate) token_group: Option<Account>,
    /// The path of the control socket.
    pub(crate) control_socket: Option<PathBuf>,
    /// Replaces the source chain of the identity `default`.
    pub(crate) sources: Option<Vec<SourceSpec>>,
    /// Replaces the region of every source of the identity `default`.
    pub(crate) region: Option<Box<str>>,
    pub(crate) serve_profiles: Option<Vec<NamePattern>>,
    /// The credentials file of the served profiles.
    pub(crate) credentials_file: Option<PathBuf>,
    /// The config file of the served profiles.
    pub(crate) config_file: Option<PathBuf>,
}

/// An error in `credenza.toml`. It never shows a value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) struct ConfigError {
    /// The line number, from 1.
    pub(crate) line: usize,
    /// The column in characters, from 1.
    pub(crate) column: usize,
    /// The path of the key, such as `server.listen`; empty for a syntax error.
    pub(crate) key: String,
    /// The error, and the text to write instead.
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
    /// Returns the configured identity of this name, else the identity of a served profile, even if the profile does
    /// not exist.
    pub(crate) fn identity(&self, name: &IdentityName) -> Option<Identity> {
        let served = || self.profiles.as_ref().filter(|served| served.matches(name.as_str()));
        self.identities.get(name).cloned().or_else(|| served().map(|served| served.identity(name)))
    }

    /// Returns an identity with a profile of the shared files as its only source.
    pub(crate) fn identity_of_profile(
        &self,
        name: &IdentityName,
        credentials_file: Option<PathBuf>,
        config_file: Option<PathBuf>,
    ) -> Identity {
        let kind = SourceKind::Profile { name: Some(name.as_str().into()), credentials_file, config_file };
        self.defaults.identity(name.clone(), vec![kind.into()])
    }

    /// Returns the name of the first identity with this profile as a source.
    pub(crate) fn identity_with_profile(&self, profile: &str) -> Option<IdentityName> {
        let is_of_profile = |source: &SourceSpec| matches!(&source.kind, SourceKind::Profile { name: Some(name), .. } if **name == *profile);
        let mut identities = self.identities.values();
        let found = identities.find(|identity| identity.sources.iter().any(is_of_profile));
        found.map(|identity| identity.name.clone())
    }

    /// Returns an error message if there is no identity of this name.
    pub(crate) fn unknown_identity(&self, name: &IdentityName) -> Option<String> {
        if self.identity(name).is_some() {
            return None;
        }
        let names: Vec<String> = self.identities.keys().map(ToString::to_string).collect();
        let similar = did_you_mean(name.as_str(), self.identities.keys().map(IdentityName::as_str));
        let similar = similar.map(|hint| format!("{hint} ")).unwrap_or_default();
        Some(format!("there is no identity {name}; {similar}configured identities: {}", names.join(", ")))
    }

    /// Returns an error message if a flag or a variable of the IMDS server conflicts with other settings.
    ///
    /// The parser has checked the file, so a conflict found here comes from a flag or a variable.
    pub(crate) fn imds_conflict(&self) -> Option<String> {
        let imds = self.imds.as_ref()?;
        imds.address_conflict(&self.server).or_else(|| {
            let unknown = self.unknown_identity(&imds.identity)?;
            Some(format!("--imds-identity (or CREDENZA_IMDS_IDENTITY): {unknown}"))
        })
    }

    /// Parses a file, or no bytes without one, and applies flags and variables.
    ///
    /// # Errors
    /// The first syntax error, else all semantic errors in the order of the file.
    pub(crate) fn parse(bytes: &[u8], overrides: &Overrides) -> Result<Self, Vec<ConfigError>> {
        let text = syntax::decode(bytes).map_err(|error| vec![error])?;
        let index = LineIndex::new(text);
        let value = syntax::parse(&index).map_err(|error| vec![error])?;
        let mut errors = ConfigErrors::default();
        let root = TableSection::open(TableEntry::root(value), &ROOT, &mut errors);
        match root.map(|root| read(root, overrides, &index, &mut errors)) {
            Some(config) if errors.count() == 0 => Ok(config),
            _ => Err(errors.finish(&index)),
        }
    }
}

fn read(mut root: TableSection<'_>, overrides: &Overrides, index: &LineIndex<'_>, errors: &mut ConfigErrors) -> Config {
    let files = root.section("files", &FILES, errors);
    let trusted_files = files.map(|section| TrustedFiles::read(section, errors)).unwrap_or_default();
    let notify = root.section("notify", &NOTIFY, errors).and_then(|section| notify::read(section, errors));
    let section = root.section("server", &SERVER, errors);
    let auth_token = section.as_ref().and_then(|section| section.at("auth_token").or(section.at("auth_token_file")));
    let server = server::read(section, overrides, errors);
    let imds = imds::read(root.section("imds", &IMDS, errors), &server, overrides, errors);
    let (imds, named) = imds.unzip();
    let defaults = root.section("defaults", &DEFAULTS, errors);
    let defaults = defaults.map(|section| IdentityDefaults::read(section, errors)).unwrap_or_default();
    let profiles = root.section("profiles", &PROFILES, errors);
    let profiles = profiles.and_then(|section| profiles::read(section, defaults, errors));
    let sources = overrides.sources.clone().map(|sources| with_profile_files(profiles.as_ref(), sources));
    let profiles = served_profiles(profiles, defaults, overrides);
    let clients = root.take("clients").map(|entry| clients::read(entry, index, errors));
    if let (Some(_), Some((at, path))) = (&clients, auth_token) {
        errors.push(at, &path, "opens nothing beside [clients]; remove it, or give the token to a client");
    }
    let at = root.at("audit").map_or(0, |(at, _)| at);
    let audit = root.section("audit", &AUDIT, errors).and_then(|section| audit::read(section, at, errors));
    let tables = root.take("identities").map(|entry| entry.named(errors)).unwrap_or_default();
    root.close();
    let mut identities = BTreeMap::new();
    for (name, at, entry) in tables {
        if let Some(identity) = identity::read(&name, at, entry, defaults, errors) {
            identities.insert(identity.name.clone(), identity);
        }
    }
    let is_alone = identities.is_empty() && profiles.is_none();
    let mut warnings = ensure_default(&mut identities, is_alone, defaults, sources, overrides.region.as_deref());
    warnings.extend(imds::unused_overrides(imds.as_ref(), overrides));
    if let (Some(_), Some(AuthTokenConfig::Given(_))) = (&clients, &overrides.token) {
        warnings.push(
            "the auth token of a flag or a variable (--auth-token, CREDENZA_AUTH_TOKEN or its file) opens nothing beside \
             [clients]; give each client a token in its table"
                .into(),
        );
    }
    let config = Config {
        server,
        imds,
        identities,
        defaults,
        profiles,
        clients,
        notify,
        audit,
        trusted_files,
        region: overrides.region.clone(),
        file: None,
        open_secrets: None,
        warnings,
    };
    if let (Some(imds), Some(Some((at, path)))) = (&config.imds, named)
        && let Some(unknown) = config.unknown_identity(&imds.identity)
    {
        errors.push(at, &path, unknown);
    }
    config
}

/// Applies flags and variables to `[profiles]`. Returns `None` without a pattern.
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

/// Adds the files of `[profiles]` to profile sources that name a profile and no file.
///
/// A profile source from a flag then reads the files that the served profile of that name reads.
fn with_profile_files(profiles: Option<&ServedProfiles>, mut sources: Vec<SourceSpec>) -> Vec<SourceSpec> {
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

/// The warning that flags or variables hide an identity of the file. A command that runs once was asked to do so.
pub(crate) const REPLACES_DEFAULT: &str =
    "source flags or variables replace [identities.default]; remove one of the two";

/// Adds the identity `default` if it is missing, and applies flags and variables to it. Returns warnings.
fn ensure_default(
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
            warnings.push(REPLACES_DEFAULT.into());
        }
    } else if !identities.contains_key(&name) {
        let mut implicit = defaults.identity(name.clone(), built_in_chain());
        // Do not load `default` at the start if there are other identities: perhaps no client uses it.
        implicit.eager &= is_alone;
        identities.insert(name.clone(), implicit);
    }
    if let (Some(region), Some(default)) = (region, identities.get_mut(&name)) {
        default.sources.iter_mut().for_each(|source| source.region = Some(region.into()));
    }
    warnings
}

/// The users and folders of `[files]` with trusted files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct TrustedFiles {
    pub(crate) owners: Vec<Account>,
    /// Absolute paths, or paths below `~`.
    pub(crate) folders: Vec<PathBuf>,
}

impl TrustedFiles {
    fn read(mut section: TableSection<'_>, errors: &mut ConfigErrors) -> Self {
        let mut list =
            |key, errors: &mut _| section.take(key).and_then(|entry| entry.list(errors, "entry")).unwrap_or_default();
        let (owners, folders) = (list("trusted_owners", errors), list("trusted_folders", errors));
        section.close();
        Self {
            owners: owners.into_iter().filter_map(|owner| owner.account(errors)).collect(),
            folders: folders.into_iter().filter_map(|folder| folder.read(errors, value::folder)).collect(),
        }
    }
}
