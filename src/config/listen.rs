//! The addresses that the daemon listens on.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use crate::model::text::Escaped;

/// The default port.
pub(crate) const PORT: u16 = 9733;

/// The maximum length of the path of a Unix socket in bytes: the kernel keeps 108 with a zero byte at the end (unix(7)).
pub(crate) const MAX_SOCKET_PATH_LEN: usize = 107;

/// The prefix of the path of a Unix socket.
pub(crate) const UNIX: &str = "unix:";

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Listen {
    /// `127.0.0.1:9733` and `[::1]:9733`; a host without IPv6 has only the first.
    Default,
    /// Configured addresses. The daemon does not start if it cannot listen on one of them.
    Addresses(Vec<ListenAddress>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ListenAddress {
    Tcp(SocketAddr),
    /// The path of a Unix socket: absolute, or below `~`.
    Unix(PathBuf),
}

impl Listen {
    /// Returns these addresses with expanded paths.
    pub(crate) fn expanded(&self, expand: impl Fn(&Path) -> PathBuf) -> Self {
        let Self::Addresses(addresses) = self else { return Self::Default };
        let expanded = addresses.iter().map(|address| match address {
            ListenAddress::Tcp(address) => ListenAddress::Tcp(*address),
            ListenAddress::Unix(path) => ListenAddress::Unix(expand(path)),
        });
        Self::Addresses(expanded.collect())
    }
}

impl ListenAddress {
    /// Returns the address of a TCP listener.
    pub(crate) fn tcp(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(address) => Some(*address),
            Self::Unix(_) => None,
        }
    }

    /// Returns the path of a Unix socket.
    pub(crate) fn unix(&self) -> Option<PathBuf> {
        match self {
            Self::Unix(path) => Some(path.clone()),
            Self::Tcp(_) => None,
        }
    }

    /// Returns a warning if SDKs refuse credentials of this address.
    pub(crate) fn sdk_warning(&self) -> Option<UnaskedAddress> {
        self.tcp().filter(|address| !is_asked_by_sdks(address.ip())).map(UnaskedAddress)
    }

    /// Returns an error if other hosts can reach this address. Only this host reaches a Unix socket.
    pub(crate) fn remote(&self) -> Option<RemoteAddress> {
        self.tcp().filter(|address| !is_local(address.ip())).map(RemoteAddress)
    }
}

impl From<SocketAddr> for ListenAddress {
    fn from(address: SocketAddr) -> Self {
        Self::Tcp(address)
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "{UNIX}{}", Escaped(&path.to_string_lossy())),
        }
    }
}

/// Returns true if the daemon may listen on an address without `allow_remote`.
pub(crate) fn is_local(address: IpAddr) -> bool {
    address.is_loopback() || WELL_KNOWN.contains(&address)
}

/// Returns true if SDKs ask a container endpoint of this address over http. A listener on all addresses is on loopback, too.
/// No SDK asks the addresses of instance metadata for container credentials (docs/CLIENTS.md).
pub(crate) fn is_asked_by_sdks(address: IpAddr) -> bool {
    let is_metadata = IMDS_ADDRESSES.contains(&address);
    (is_local(address) && !is_metadata) || address.is_unspecified()
}

/// An address that SDKs refuse as a container endpoint over http.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct UnaskedAddress(pub(crate) SocketAddr);

impl fmt::Display for UnaskedAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rest = match IMDS_ADDRESSES.contains(&self.0.ip()) {
            true => "this is an address of instance metadata: set it as `listen` of [imds]",
            false => "for containers see \"Containers on a bridge\" in docs/RECIPES.md",
        };
        write!(
            f,
            "{}: SDKs take no credentials from this address over http: they ask loopback, 169.254.170.2, 169.254.170.23 \
             and fd00:ec2::23 only; {rest}",
            self.0
        )
    }
}

const IMDS_ADDRESSES: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)), IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254))];

/// The link-local addresses built into SDKs: ECS, EKS Pod Identity and IMDS, in IPv4 and IPv6.
pub(crate) const WELL_KNOWN: [IpAddr; 5] = [
    IpAddr::V4(Ipv4Addr::new(169, 254, 170, 2)),
    IpAddr::V4(Ipv4Addr::new(169, 254, 170, 23)),
    IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
];

/// An address that other hosts could reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0}: other hosts could reach this address; use a loopback address, 169.254.170.2, 169.254.170.23, 169.254.169.254, \
     fd00:ec2::23 or fd00:ec2::254, or allow it with --allow-remote (allow_remote = true)"
)]
pub(crate) struct RemoteAddress(pub(crate) SocketAddr);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warns_of_addresses_that_sdks_refuse() {
        for (address, expected) in [
            ("127.0.0.1:1", None),
            ("127.8.8.8:1", None),
            ("[::1]:1", None),
            ("169.254.170.2:80", None),
            ("169.254.170.23:80", None),
            ("[fd00:ec2::23]:80", None),
            ("0.0.0.0:1", None),
            ("[::]:1", None),
            ("172.17.0.1:9733", Some("Containers on a bridge")),
            ("10.0.0.7:9733", Some("Containers on a bridge")),
            ("169.254.1.1:80", Some("Containers on a bridge")),
            ("[fd00::1]:80", Some("Containers on a bridge")),
            ("169.254.169.254:80", Some("[imds]")),
            ("[fd00:ec2::254]:80", Some("[imds]")),
        ] {
            let warning = ListenAddress::Tcp(address.parse().unwrap()).sdk_warning().map(|warning| warning.to_string());
            assert_eq!(warning.is_some(), expected.is_some(), "{address}: {warning:?}");
            let says = |text: &str| warning.as_ref().is_some_and(|warning| warning.contains(text));
            assert!(expected.is_none_or(|text| says(text) && says(address)), "{address}: {warning:?}");
        }
        assert_eq!(ListenAddress::Unix("/s".into()).sdk_warning(), None);
    }
}
