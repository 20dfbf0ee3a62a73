//! The addresses that the daemon listens on.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The default port.
pub(crate) const PORT: u16 = 9733;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Listen {
    /// `127.0.0.1:9733` and `[::1]:9733`; a host without IPv6 has only the first.
    Default,
    /// Configured addresses. The daemon does not start if it cannot listen on one of them.
    Addresses(Vec<SocketAddr>),
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
