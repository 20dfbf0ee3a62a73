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
