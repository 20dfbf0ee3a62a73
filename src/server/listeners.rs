//! Binds the listeners: on loopback and on the addresses that SDKs know, on other addresses only with `allow_remote`, and
//! on Unix sockets.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::config::listen::{Listen, ListenAddress, PORT, RemoteAddress, WELL_KNOWN};
use crate::os::systemd::PassedSocket;
use crate::server::connection_limit::ConnectionLimit;
use crate::server::connections::Listener;
use crate::server::protocol::Protocol;
use crate::server::unix_listener::{BACKLOG, BUFFER, SocketAccess, UnixSocketError, UnixSocketListener};

/// The time after which a client that does not read its response is disconnected. Otherwise the connection would stay
/// open for ever.
const UNREAD_TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Debug, thiserror::Error)]
pub(crate) enum ListenError {
    #[error(transparent)]
    Remote(#[from] RemoteAddress),
    #[error(
        "{0}: another program listens there, perhaps another broker (`credenza status` asks it); choose another address with \
         --listen, for the metadata service with --imds-listen"
    )]
    InUse(SocketAddr),
    #[error("{0}: no interface of this host has this address; {hint}", hint = address_hint(.0.ip()))]
    NotOurs(SocketAddr),
    #[error(
        "{0}: not allowed to listen there; ports below 1024 need root or CAP_NET_BIND_SERVICE \
         (in a unit: AmbientCapabilities=CAP_NET_BIND_SERVICE)"
    )]
    Denied(SocketAddr),
    #[error("{0}: cannot listen there: {1}")]
    Io(SocketAddr, #[source] io::Error),
    #[error("{0}: {1}")]
    Unix(ListenAddress, #[source] UnixSocketError),
}

/// Returns the hint for an address of no interface. Only the link-local addresses of SDKs belong on loopback: a host has
/// others from its network.
fn address_hint(address: IpAddr) -> String {
    match (WELL_KNOWN.contains(&address), address) {
        (true, IpAddr::V4(_)) => format!("`ip addr add {address}/32 dev lo` adds it"),
        (true, IpAddr::V6(_)) => format!("`ip addr add {address}/128 dev lo` adds it"),
        (false, _) => "`ip addr` lists those that it has".into(),
    }
}

/// A listener of either kind.
#[derive(Debug)]
pub(crate) enum BoundListener {
    Tcp(TcpListener),
    Unix(UnixSocketListener),
}

impl BoundListener {
    /// Returns the address with its port, or the path. A socket of the service manager may have neither.
    pub(crate) fn listen_address(&self) -> Option<ListenAddress> {
        match self {
            Self::Tcp(listener) => listener.local_addr().ok().map(ListenAddress::Tcp),
            Self::Unix(listener) => listener.path().map(ListenAddress::Unix),
        }
    }
}

impl Listener for BoundListener {
    fn listening_on(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(listener) => listener.local_addr().ok(),
            Self::Unix(_) => None,
        }
    }

    async fn serve(self, protocol: Protocol, limit: Arc<ConnectionLimit>, stop: CancellationToken) {
        match self {
            Self::Tcp(listener) => listener.serve(protocol, limit, stop).await,
            Self::Unix(listener) => listener.serve(protocol, limit, stop).await,
        }
    }
}

/// Binds all addresses, or none. The paths of Unix sockets are expanded.
///
/// # Errors
/// The first address that the daemon cannot listen on, with the reason.
pub(crate) async fn bind(listen: &Listen, allow_remote: bool) -> Result<Vec<BoundListener>, ListenError> {
    let (addresses, lenient) = match listen {
        Listen::Addresses(addresses) => (addresses.clone(), false),
        Listen::Default => {
            let loopback = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
            (loopback.map(|address| SocketAddr::new(address, PORT).into()).to_vec(), true)
        }
    };
    let mut listeners = Vec::with_capacity(addresses.len());
    for address in addresses {
        check_address(&address, allow_remote)?;
        let address = match address {
            ListenAddress::Tcp(address) => address,
            ListenAddress::Unix(path) => {
                let listener = UnixSocketListener::bind(&path, SocketAccess::All).await;
                let listener = listener.map_err(|error| ListenError::Unix(ListenAddress::Unix(path), error))?;
                listeners.push(BoundListener::Unix(listener));
                continue;
            }
        };
        match TcpListener::bind(address).await {
            Ok(listener) => {
                prepare(&listener, address).map_err(|error| ListenError::Io(address, error))?;
                listeners.push(BoundListener::Tcp(listener));
            }
            Err(error) if lenient && address.is_ipv6() && is_missing_ipv6(&error) => {
                tracing::debug!(%address, %error, "this host has no IPv6");
            }
            Err(error) => return Err(classify(address, error)),
        }
    }
    Ok(listeners)
}

/// Adopts the sockets of a service manager, by the rules of [`bind`].
///
/// # Errors
/// The first socket that the daemon may not listen on, with the reason.
pub(crate) fn adopt(sockets: Vec<PassedSocket>, allow_remote: bool) -> Result<Vec<BoundListener>, ListenError> {
    let nowhere = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);
    let adopt = |socket| match socket {
        PassedSocket::Tcp(socket) => {
            let address = socket.local_addr().map_err(|error| ListenError::Io(nowhere, error))?;
            check_address(&address.into(), allow_remote)?;
            let listener = TcpListener::from_std(socket).map_err(|error| ListenError::Io(address, error))?;
            prepare(&listener, address).map_err(|error| ListenError::Io(address, error))?;
            Ok(BoundListener::Tcp(listener))
        }
        PassedSocket::Unix(socket) => {
            let address = ListenAddress::Unix("socket of the service manager".into());
            let adopted = UnixSocketListener::adopt(socket);
            adopted
                .map(BoundListener::Unix)
                .map_err(|error| ListenError::Unix(address, UnixSocketError::Io("listen there", error)))
        }
    };
    sockets.into_iter().map(adopt).collect()
}

/// Checks that an address may be listened on; warns if other hosts can reach it.
fn check_address(address: &ListenAddress, allow_remote: bool) -> Result<(), ListenError> {
    let Some(remote) = address.remote() else { return Ok(()) };
    if !allow_remote {
        return Err(remote.into());
    }
    tracing::warn!(%address, "other hosts can reach this address: only the token protects it, and it is sent unencrypted");
    Ok(())
}

/// Sets the socket options that every connection inherits.
fn prepare(listener: &TcpListener, address: SocketAddr) -> io::Result<()> {
    use rustix::net::sockopt;
    rustix::net::listen(listener, BACKLOG)?;
    // Small responses must not wait for an acknowledgement.
    sockopt::set_tcp_nodelay(listener, true)?;
    sockopt::set_socket_send_buffer_size(listener, BUFFER)?;
    sockopt::set_socket_recv_buffer_size(listener, BUFFER)?;
    sockopt::set_tcp_user_timeout(listener, u32::try_from(UNREAD_TIMEOUT.as_millis()).unwrap_or(u32::MAX))?;
    limit_hops(listener, address)
}

/// Limits packets of a link-local address to one hop, as AWS does, so that they do not reach another host.
fn limit_hops(listener: &TcpListener, address: SocketAddr) -> io::Result<()> {
    if !WELL_KNOWN.contains(&address.ip()) {
        return Ok(());
    }
    match address {
        SocketAddr::V4(_) => rustix::net::sockopt::set_ip_ttl(listener, 1)?,
        SocketAddr::V6(_) => rustix::net::sockopt::set_ipv6_unicast_hops(listener, Some(1))?,
    }
    Ok(())
}

fn is_missing_ipv6(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::AddrNotAvailable | io::ErrorKind::Unsupported)
        || error.raw_os_error() == Some(rustix::io::Errno::AFNOSUPPORT.raw_os_error())
}

fn classify(address: SocketAddr, error: io::Error) -> ListenError {
    match error.kind() {
        io::ErrorKind::AddrInUse => ListenError::InUse(address),
        io::ErrorKind::AddrNotAvailable => ListenError::NotOurs(address),
        io::ErrorKind::PermissionDenied => ListenError::Denied(address),
        _ => ListenError::Io(address, error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::listen::is_local;

    #[test]
    fn knows_local_addresses() {
        for local in
            ["127.0.0.1", "127.1.2.3", "::1", "169.254.170.2", "169.254.170.23", "169.254.169.254", "fd00:ec2::23"]
        {
            assert!(is_local(local.parse().unwrap()), "{local}");
        }
        for remote in ["0.0.0.0", "::", "10.0.0.1", "169.254.170.3", "fd00:ec2::24", "8.8.8.8"] {
            assert!(!is_local(remote.parse().unwrap()), "{remote}");
        }
    }

    #[tokio::test]
    async fn adopts_handed_over_sockets() {
        let socket = |address: &str| {
            let socket = std::net::TcpListener::bind(address).unwrap();
            socket.set_nonblocking(true).unwrap();
            PassedSocket::Tcp(socket)
        };
        let local = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = local.local_addr().unwrap();
        local.set_nonblocking(true).unwrap();
        let adopted = adopt(vec![PassedSocket::Tcp(local)], false).unwrap();
        assert_eq!(adopted[0].listening_on(), Some(address));
        assert!(matches!(adopt(vec![socket("0.0.0.0:0")], false), Err(ListenError::Remote(_))));
        assert!(adopt(vec![socket("0.0.0.0:0")], true).is_ok());
    }

    #[tokio::test]
    async fn errors_say_what_to_do() {
        let bind = async |address: SocketAddr| bind(&Listen::Addresses(vec![address.into()]), false).await;
        let first = bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let taken = first[0].listening_on().unwrap();
        assert!(matches!(bind(taken).await, Err(ListenError::InUse(address)) if address == taken));
        assert!(matches!(bind("0.0.0.0:0".parse().unwrap()).await, Err(ListenError::Remote(_))));
        let error = bind("169.254.170.23:0".parse().unwrap()).await.unwrap_err().to_string();
        assert!(error.contains("ip addr add 169.254.170.23/32 dev lo"), "{error}");
        // An address for documentation (RFC 5737), which no host has.
        let elsewhere = Listen::Addresses(vec![SocketAddr::from(([192, 0, 2, 1], 9)).into()]);
        let error = super::bind(&elsewhere, true).await.unwrap_err().to_string();
        assert!(error.contains("`ip addr` lists") && !error.contains("ip addr add"), "{error}");
    }
}
