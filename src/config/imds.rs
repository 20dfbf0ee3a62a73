//! `[imds]`: the instance metadata service as a further way to one identity.

use std::net::SocketAddr;

use super::server::ServerConfig;
use super::table::{Errors, Section};
use super::value;
use crate::credentials::Name;
use crate::server::listeners::{Listen, PORT, is_local};

/// The metadata service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImdsConfig {
    /// Where it listens: loopback or the addresses that SDKs know, never where other hosts can ask. Not empty.
    pub listen: Vec<SocketAddr>,
    /// Whose credentials it serves.
    pub identity: Name,
    /// Whether requests without a token are answered.
    pub allow_v1: bool,
}

/// Where the identity is named, to say that there is none.
pub(super) type Named = Option<(usize, String)>;

/// What `[imds]` says. Without `listen` there is no such service, whatever else stands there.
pub(super) fn read(
    mut section: Section<'_>,
    server: &ServerConfig,
    errors: &mut Errors,
) -> Option<(ImdsConfig, Named)> {
    let mut listen = Vec::new();
    if let Some(entry) = section.take("listen") {
        let (at, path) = (entry.at(), entry.path.clone());
        let entries = if entry.is_text() { vec![entry] } else { entry.list(errors, "entry").unwrap_or_default() };
        let before = errors.count();
        for entry in entries {
            let address = entry.read(errors, |text| {
                let address = value::address(text)?;
                if !is_local(address.ip()) {
                    return Err(format!(
                        "{address}: neither a loopback address nor 169.254.169.254, fd00:ec2::254, 169.254.170.2, \
                         169.254.170.23 or fd00:ec2::23: the protocol knows no clients, so other hosts must not reach it"
                    ));
                }
                if address.port() != 0 && (listen.contains(&address) || is_taken(address, &server.listen)) {
                    return Err("[server] or another entry listens there already".into());
                }
                Ok(address)
            });
            listen.extend(address);
        }
        if listen.is_empty() && errors.count() == before {
            errors.push(at, &path, "nowhere to listen; name an address, or leave the key out for no metadata service");
        }
    }
    let named = section.at("identity");
    let identity = section.take("identity").and_then(|entry| entry.read(errors, value::identity)).unwrap_or_default();
    let allow_v1 = section.take("allow_v1").and_then(|entry| entry.boolean(errors)).unwrap_or(false);
    section.close();
    (!listen.is_empty()).then_some((ImdsConfig { listen, identity, allow_v1 }, named))
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
