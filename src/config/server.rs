//! Reads `[server]`.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use crate::config::listen::{Listen, ListenAddress, RemoteAddress, is_local};
use crate::config::schema::SERVER;
use crate::config::table::{ConfigErrors, TableEntry, TableSection};
use crate::config::users::Account;
use crate::config::{Overrides, sources, value};
use crate::source::spec::TextSource;

/// The default connection limit: more than the processes of a busy host, fewer than the usual soft rlimit of 1,024 open
/// files. Listeners, files and connections to services need some of those.
const DEFAULT_MAX_CONNECTIONS: usize = 512;

/// The default period for which an old token is accepted. SDKs read a token file at each request, and programs with the
/// token in a variable need a restart.
const DEFAULT_TOKEN_OVERLAP: Duration = Duration::from_secs(5 * 60);

const TOKEN_OVERLAP_ALLOWED: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(24 * 3600);

/// The default of `switch_lifetime`. Most SDKs renew credentials 5 to 15 minutes before their end, so that a shorter
/// lifetime would make them ask at each request.
const DEFAULT_SWITCH_LIFETIME: Duration = Duration::from_secs(20 * 60);

const SWITCH_LIFETIME_ALLOWED: RangeInclusive<Duration> = Duration::from_secs(60)..=Duration::from_secs(12 * 3600);

const MAX_CONNECTIONS_ALLOWED: RangeInclusive<usize> = 1..=65536;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ServerConfig {
    pub(crate) listen: Listen,
    /// Allows listen addresses that other hosts can reach.
    pub(crate) allow_remote: bool,
    /// Further host names that a request may have in its `Host` header, in lower case.
    pub(crate) allowed_hosts: Vec<Box<str>>,
    pub(crate) token: AuthTokenConfig,
    /// The group that may read the token file.
    pub(crate) token_group: Option<Account>,
    pub(crate) max_connections: usize,
    /// The period for which an old token is accepted after its file has changed.
    pub(crate) token_overlap: Duration,
    /// The path of the control socket, from a flag or a variable. `None` means a path beside the auth token.
    pub(crate) control_socket: Option<PathBuf>,
    /// True if `credenza use` reaches every client within [`ServerConfig::switch_lifetime`], from the start.
    pub(crate) switchable: bool,
    /// The longest lifetime that an answer for `default` tells while it means, or may mean, another identity.
    pub(crate) switch_lifetime: Duration,
}

impl ServerConfig {
    /// Returns an error if other hosts can reach a listen address and `allow_remote` is off.
    pub(crate) fn remote_address(&self) -> Option<RemoteAddress> {
        match &self.listen {
            Listen::Addresses(addresses) if !self.allow_remote => addresses.iter().find_map(ListenAddress::remote),
            Listen::Addresses(_) | Listen::Default => None,
        }
    }

    /// Returns an address that other hosts can reach, allowed or not.
    pub(crate) fn beyond_loopback(&self) -> Option<SocketAddr> {
        match &self.listen {
            Listen::Addresses(addresses) => {
                let mut tcp = addresses.iter().filter_map(ListenAddress::tcp);
                tcp.find(|address| !is_local(address.ip()))
            }
            Listen::Default => None,
        }
    }
}

/// The origin of the auth token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum AuthTokenConfig {
    /// The daemon reads the token from this file, or generates it and writes the file. Without a path it uses the first
    /// usable default path.
    Kept(Option<PathBuf>),
    /// The user gives the token, directly or in a file that the daemon never writes.
    Given(TextSource),
}

/// Reads `[server]`. Flags and variables take precedence.
pub(crate) fn read(
    section: Option<TableSection<'_>>,
    overrides: &Overrides,
    errors: &mut ConfigErrors,
) -> ServerConfig {
    let mut section = section.unwrap_or_else(|| TableSection::empty(&SERVER));
    let allow_remote = section.take("allow_remote").and_then(|entry| entry.boolean(errors));
    let allow_remote = overrides.allow_remote.or(allow_remote).unwrap_or(false);
    let listen = section.take("listen").and_then(|entry| addresses(entry, allow_remote, errors));
    let hosts = section.take("allowed_hosts").and_then(|entry| entry.list(errors, "entry")).unwrap_or_default();
    let allowed_hosts = hosts.into_iter().filter_map(|entry| entry.read(errors, value::host)).collect();
    let token_group = section.take("token_group").and_then(|entry| entry.account(errors));
    let token = token(&mut section, errors);
    let max_connections =
        section.take("max_connections").and_then(|entry| entry.number(errors, MAX_CONNECTIONS_ALLOWED));
    let token_overlap =
        section.take("token_overlap").and_then(|entry| entry.read(errors, value::duration(&TOKEN_OVERLAP_ALLOWED)));
    let switchable = section.take("switchable").and_then(|entry| entry.boolean(errors));
    let switch_lifetime =
        section.take("switch_lifetime").and_then(|entry| entry.read(errors, value::duration(&SWITCH_LIFETIME_ALLOWED)));
    section.close();
    ServerConfig {
        listen: overrides.listen.clone().or(listen).map_or(Listen::Default, Listen::Addresses),
        allow_remote,
        allowed_hosts,
        token: overrides.token.clone().or(token).unwrap_or(AuthTokenConfig::Kept(None)),
        token_group: overrides.token_group.clone().or(token_group),
        max_connections: max_connections.unwrap_or(DEFAULT_MAX_CONNECTIONS),
        token_overlap: token_overlap.unwrap_or(DEFAULT_TOKEN_OVERLAP),
        control_socket: overrides.control_socket.clone(),
        switchable: switchable.unwrap_or(false),
        switch_lifetime: switch_lifetime.unwrap_or(DEFAULT_SWITCH_LIFETIME),
    }
}

fn addresses(entry: TableEntry<'_>, allow_remote: bool, errors: &mut ConfigErrors) -> Option<Vec<ListenAddress>> {
    let (at, path) = (entry.at(), entry.path.clone());
    let entries = entry.list(errors, "entry")?;
    if entries.is_empty() {
        errors.push(at, &path, "no address to listen on; list one, or remove the key for the default");
    }
    let mut addresses = Vec::new();
    for entry in entries {
        let address = entry.read(errors, |text| {
            let address = value::listen_address(text)?;
            if let Some(remote) = address.remote().filter(|_| !allow_remote) {
                return Err(remote.to_string());
            }
            // Port 0 may be repeated: each listener gets a different free port.
            if address.tcp().is_none_or(|address| address.port() != 0) && addresses.contains(&address) {
                return Err("listed twice; remove one of them".into());
            }
            Ok(address)
        });
        addresses.extend(address);
    }
    Some(addresses)
}

fn token(section: &mut TableSection<'_>, errors: &mut ConfigErrors) -> Option<AuthTokenConfig> {
    let given = section.at("auth_token").or_else(|| section.at("auth_token_file"));
    let token = sources::text_or_file(section, "auth_token", "auth_token_file", value::auth_token, errors);
    let kept = section.take("token_file");
    if let (Some(_), Some(kept)) = (&given, &kept) {
        return kept
            .refuse(errors, "the daemon does not write a given token to a file; keep token_file, or auth_token");
    }
    let token = token.map(AuthTokenConfig::Given);
    token.or_else(|| {
        kept.and_then(|entry| entry.read(errors, value::path)).map(|path| AuthTokenConfig::Kept(Some(path)))
    })
}
