//! Reads `[imds]`: the IMDS server, which serves one identity.

use std::net::SocketAddr;

use crate::config::listen::{Listen, PORT};
use crate::config::schema::IMDS;
use crate::config::server::ServerConfig;
use crate::config::table::{ConfigErrors, TableEntry, TableSection};
use crate::config::{Overrides, value};
use crate::model::identity_name::IdentityName;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ImdsConfig {
    /// The listen addresses; never empty. They are loopback or well known to SDKs, so other hosts cannot reach them.
    pub(crate) listen: Vec<SocketAddr>,
    pub(crate) identity: IdentityName,
    /// Answers requests without an IMDS session token (IMDSv1).
    pub(crate) allow_v1: bool,
}

/// The offset and path of the key that names the identity, for the error about an unknown one.
pub(crate) type IdentityKey = Option<(usize, String)>;

impl ImdsConfig {
    /// Returns an error message if `[server]` or another entry has one of the addresses.
    pub(crate) fn address_conflict(&self, server: &ServerConfig) -> Option<String> {
        let taken = self.listen.iter().enumerate().find(|(position, address)| {
            address.port() != 0 && (self.listen[..*position].contains(address) || is_taken(**address, &server.listen))
        });
        taken.map(|(_, address)| {
            format!("--imds-listen (or CREDENZA_IMDS_LISTEN): {address}: {TAKEN}; choose another address")
        })
    }
}

const TAKEN: &str = "[server] or another entry listens there already";

/// Reads `[imds]`. Flags and variables take precedence. Returns `None` without an address.
pub(crate) fn read(
    section: Option<TableSection<'_>>,
    server: &ServerConfig,
    overrides: &Overrides,
    errors: &mut ConfigErrors,
) -> Option<(ImdsConfig, IdentityKey)> {
    let mut section = section.unwrap_or_else(|| TableSection::empty(&IMDS));
    let listen = section.take("listen").map(|entry| {
        // Skip the check if a flag or a variable replaces the addresses of the file.
        let server = overrides.imds_listen.is_none().then_some(server);
        addresses(entry, server, errors)
    });
    let named = section.at("identity").filter(|_| overrides.imds_identity.is_none());
    let identity = section.take("identity").and_then(|entry| entry.read(errors, value::identity));
    let allow_v1 = section.take("allow_v1").and_then(|entry| entry.boolean(errors));
    section.close();
    let imds = ImdsConfig {
        listen: overrides.imds_listen.clone().or(listen).unwrap_or_default(),
        identity: overrides.imds_identity.clone().or(identity).unwrap_or_default(),
        allow_v1: overrides.imds_allow_v1.or(allow_v1).unwrap_or(false),
    };
    (!imds.listen.is_empty()).then_some((imds, named))
}

/// Returns a warning if flags or variables configure an IMDS server that has no address.
pub(crate) fn unused_overrides(imds: Option<&ImdsConfig>, overrides: &Overrides) -> Option<String> {
    let has_override = overrides.imds_identity.is_some() || overrides.imds_allow_v1 == Some(true);
    (imds.is_none() && has_override).then(|| {
        "--imds-identity and --imds-allow-v1 (or their variables) have no effect: the IMDS server has no address; add \
         --imds-listen (or listen in [imds])"
            .into()
    })
}

fn addresses(entry: TableEntry<'_>, server: Option<&ServerConfig>, errors: &mut ConfigErrors) -> Vec<SocketAddr> {
    let (at, path) = (entry.at(), entry.path.clone());
    let entries = if entry.is_text() { vec![entry] } else { entry.list(errors, "entry").unwrap_or_default() };
    let before = errors.count();
    let mut listen = Vec::new();
    for entry in entries {
        let address = entry.read(errors, |text| {
            let address = value::imds_address(text)?;
            let taken = listen.contains(&address) || server.is_some_and(|server| is_taken(address, &server.listen));
            if address.port() != 0 && taken {
                return Err(format!("{TAKEN}; choose another address"));
            }
            Ok(address)
        });
        listen.extend(address);
    }
    if listen.is_empty() && errors.count() == before {
        errors.push(at, &path, "no address to listen on; add one, or remove the key for no IMDS server");
    }
    listen
}

fn is_taken(address: SocketAddr, listen: &Listen) -> bool {
    match listen {
        Listen::Addresses(addresses) => addresses.iter().any(|taken| taken.tcp() == Some(address)),
        Listen::Default => {
            let loopback = [std::net::Ipv4Addr::LOCALHOST.into(), std::net::IpAddr::V6(std::net::Ipv6Addr::LOCALHOST)];
            address.port() == PORT && loopback.contains(&address.ip())
        }
    }
}
