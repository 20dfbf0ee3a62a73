//! The addresses that the daemon listens on.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The port when none is given.
pub(crate) const PORT: u16 = 9733;

/// Where to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Listen {
    /// `127.0.0.1:9733` and `[::1]:9733`; a host without IPv6 has only the first.
    Default,
    /// What somebody configured; each of them has to work.
    Addresses(Vec<SocketAddr>),
}

/// Whether an address may be listened on without `allow_remote`.
#[must_use]
pub(crate) fn is_local(address: IpAddr) -> bool {
    address.is_loopback() || WELL_KNOWN.contains(&address)
}

/// The addresses that SDKs know by heart: ECS, EKS Pod Identity and the metadata service, of both families.
pub(crate) const WELL_KNOWN: [IpAddr; 5] = [
    IpAddr::V4(Ipv4Addr::new(169, 254, 170, 2)),
    IpAddr::V4(Ipv4Addr::new(169, 254, 170, 23)),
    IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
];

/// An address that programs of other hosts could reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0}: neither a loopback address nor one of 169.254.170.2, 169.254.170.23, 169.254.169.254, fd00:ec2::23 and \
     fd00:ec2::254: others could reach it; --allow-remote (allow_remote = true) allows it all the same"
)]
pub(crate) struct RemoteAddress(pub(crate) SocketAddr);
