//! `[imds]`: the instance metadata service as a further way to one identity.

use std::net::SocketAddr;

use crate::config::listen::{Listen, PORT};
use crate::config::schema::IMDS;
use crate::config::server::ServerConfig;
use crate::config::table::{ConfigErrors, TableEntry, TableSection};
use crate::config::{Overrides, value};
use crate::model::identity_name::IdentityName;

/// The metadata service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ImdsConfig {
    /// Where it listens: loopback or the addresses that SDKs know, never where other hosts can ask. Not empty.
    pub(crate) listen: Vec<SocketAddr>,
    /// Whose credentials it serves.
    pub(crate) identity: IdentityName,
    /// Whether requests without a token are answered.
    pub(crate) allow_v1: bool,
}

/// Where the identity is named, to say that there is none.
pub(crate) type NamedIdentity = Option<(usize, String)>;

impl ImdsConfig {
    /// An address that somebody else has already, or another entry.
    pub(crate) fn misfit(&self, server: &ServerConfig) -> Option<String> {
        let taken = self.listen.iter().enumerate().find(|(position, address)| {
            address.port() != 0 && (self.listen[..*position].contains(address) || is_taken(**address, &server.listen))
        });
        taken.map(|(_, address)| {
            format!("--imds-listen (or CREDENZA_IMDS_LISTEN): {address}: {TAKEN}; choose another address")
        })
    }
}

/// Why an address cannot be had.
const TAKEN: &str = "[server] or another entry listens there already";

/// What `[imds]` says, behind flags and variables. Without an address there is no such service, whatever else stands there.
pub(crate) fn read(
    section: Option<TableSection<'_>>,
    server: &ServerConfig,
    overrides: &Overrides,
    errors: &mut ConfigErrors,
) -> Option<(ImdsConfig, NamedIdentity)> {
    let mut section = section.unwrap_or_else(|| TableSection::empty(&IMDS));
    let listen = section.take("listen").map(|entry| {
        // What goes before it stands in nobody's way.
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

/// What flags and variables say of a metadata service that listens nowhere.
pub(crate) fn of_no_use(imds: Option<&ImdsConfig>, overrides: &Overrides) -> Option<String> {
    let said = overrides.imds_identity.is_some() || overrides.imds_allow_v1 == Some(true);
    (imds.is_none() && said).then(|| {
        "--imds-identity and --imds-allow-v1 (or their variables) do nothing: the metadata service listens nowhere; \
         --imds-listen (or listen in [imds]) names an address"
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
            let address = value::metadata_address(text)?;
            let taken = listen.contains(&address) || server.is_some_and(|server| is_taken(address, &server.listen));
            if address.port() != 0 && taken {
                return Err(TAKEN.to_owned());
            }
            Ok(address)
        });
        listen.extend(address);
    }
    if listen.is_empty() && errors.count() == before {
        errors.push(at, &path, "nowhere to listen; name an address, or leave the key out for no metadata service");
    }
    listen
}

fn is_taken(address: SocketAddr, listen: &Listen) -> bool {
    match listen {
        Listen::Addresses(addresses) => addresses.contains(&address),
        Listen::Default => {
            let loopback = [std::net::Ipv4Addr::LOCALHOST.into(), std::net::IpAddr::V6(std::net::Ipv6Addr::LOCALHOST)];
            address.port() == PORT && loopback.contains(&address.ip())
        }
    }
}
