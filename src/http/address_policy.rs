//! The addresses that a request may connect to. The policy checks the resolved addresses, never the name.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::net::TcpStream;

use crate::http::error::HttpErrorCause;
use crate::http::url::UrlHost;

/// The container endpoints of ECS and EKS. The SDKs send them a token over plain HTTP.
const CONTAINER_ENDPOINTS: [IpAddr; 3] = [
    IpAddr::V4(Ipv4Addr::new(169, 254, 170, 2)),
    IpAddr::V4(Ipv4Addr::new(169, 254, 170, 23)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23)),
];

/// The addresses that a request may connect to. No request may connect to the listeners of this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AddressPolicy {
    /// Any address: TLS authenticates the server, or the request has no secret.
    Anywhere,
    /// Loopback, a container endpoint written as an address, and names that resolve to loopback only.
    Container,
}

/// Checks all addresses before a connection to the first one. So the order of the DNS response has no effect.
pub(crate) fn judge(
    policy: AddressPolicy,
    host: &UrlHost,
    addresses: &[SocketAddr],
    own: &[SocketAddr],
) -> Result<(), HttpErrorCause> {
    for address in addresses {
        let ip = address.ip().to_canonical();
        let literal = matches!(host, UrlHost::Address(_));
        if policy == AddressPolicy::Container && !ip.is_loopback() && !(literal && CONTAINER_ENDPOINTS.contains(&ip)) {
            return Err(HttpErrorCause::Forbidden(address.ip()));
        }
        if own.iter().any(|listener| leads_to(*address, *listener)) {
            return Err(HttpErrorCause::OwnListener(*address));
        }
    }
    Ok(())
}

/// Returns true if a connection to this address may reach this listener, judged by the addresses alone.
pub(crate) fn leads_to(address: SocketAddr, listener: SocketAddr) -> bool {
    if address.port() != listener.port() {
        return false;
    }
    let (ip, listener) = (address.ip().to_canonical(), listener.ip().to_canonical());
    // Linux connects to loopback for 0.0.0.0 and [::].
    let here = ip.is_loopback() || ip.is_unspecified();
    if listener.is_unspecified() {
        // A listener on [::] accepts IPv4 connections, too.
        return here && (listener.is_ipv6() || ip.is_ipv4());
    }
    ip == listener || (ip.is_unspecified() && listener.is_loopback())
}

/// Returns true if the connection has reached a listener of this process on a wildcard address, through any address of
/// this machine.
pub(crate) fn is_own_connection(stream: &TcpStream, own: &[SocketAddr]) -> bool {
    let (Ok(local), Ok(peer)) = (stream.local_addr(), stream.peer_addr()) else { return false };
    local.ip().to_canonical() == peer.ip().to_canonical()
        && own.iter().any(|listener| listener.port() == peer.port() && listener.ip().is_unspecified())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::url::Url;

    fn judged(policy: AddressPolicy, url: &str, addresses: &[&str], own: &[&str]) -> Result<(), HttpErrorCause> {
        let url = Url::parse(url).unwrap();
        let mut at: Vec<_> = addresses.iter().map(|ip| SocketAddr::new(ip.parse().unwrap(), url.port())).collect();
        if let UrlHost::Address(ip) = url.host() {
            at.push(SocketAddr::new(*ip, url.port()));
        }
        let own: Vec<SocketAddr> = own.iter().map(|listener| listener.parse().unwrap()).collect();
        judge(policy, url.host(), &at, &own)
    }

    #[test]
    fn plain_http_reaches_loopback_and_container_endpoints() {
        for (url, addresses) in [
            ("http://127.0.0.1/", &[][..]),
            ("http://127.9.8.7:8080/", &[]),
            ("http://[::1]/", &[]),
            ("http://[::ffff:127.0.0.1]/", &[]),
            ("http://169.254.170.2/", &[]),
            ("http://169.254.170.23/", &[]),
            ("http://[fd00:ec2::23]/", &[]),
            ("http://localhost/", &["::1", "127.0.0.1"]),
            ("http://host.docker.internal/", &["127.0.0.1"]),
        ] {
            assert_eq!(judged(AddressPolicy::Container, url, addresses, &[]), Ok(()), "{url}");
        }
        for (url, addresses) in [
            ("http://169.254.169.254/", &[][..]),
            ("http://169.254.170.3/", &[]),
            ("http://10.0.0.1/", &[]),
            ("http://0.0.0.0/", &[]),
            ("http://[::]/", &[]),
            ("http://[fd00:ec2::254]/", &[]),
            ("http://[::ffff:10.0.0.1]/", &[]),
            ("http://example.com/", &["93.184.216.34"]),
            ("http://endpoint/", &["169.254.170.2"]),
            ("http://mixed/", &["127.0.0.1", "10.0.0.1"]),
            ("http://mixed/", &["10.0.0.1", "127.0.0.1"]),
            ("http://2852039170/", &["169.254.170.2"]),
        ] {
            let refused = judged(AddressPolicy::Container, url, addresses, &[]);
            assert!(matches!(refused, Err(HttpErrorCause::Forbidden(_))), "{url}");
            assert_eq!(judged(AddressPolicy::Anywhere, url, addresses, &[]), Ok(()), "{url}");
        }
    }

    #[test]
    fn no_request_reaches_own_listeners() {
        for (url, addresses, listener, refused) in [
            ("http://127.0.0.1:9733/", &[][..], "127.0.0.1:9733", true),
            ("http://127.0.0.1:9734/", &[], "127.0.0.1:9733", false),
            ("http://127.0.0.2:9733/", &[], "127.0.0.1:9733", false),
            ("http://[::ffff:127.0.0.1]:9733/", &[], "127.0.0.1:9733", true),
            ("http://localhost:9733/", &["::1", "127.0.0.1"], "127.0.0.1:9733", true),
            ("https://evil:9733/", &["127.0.0.1"], "127.0.0.1:9733", true),
            ("http://0.0.0.0:9733/", &[], "127.0.0.1:9733", true),
            ("http://[::]:9733/", &[], "[::1]:9733", true),
            ("http://127.0.0.2:9733/", &[], "0.0.0.0:9733", true),
            ("http://[::1]:9733/", &[], "0.0.0.0:9733", false),
            ("http://127.0.0.1:9733/", &[], "[::]:9733", true),
            ("http://[::1]:9733/", &[], "[::]:9733", true),
            ("http://10.0.0.1:9733/", &[], "[::]:9733", false),
            ("http://169.254.170.2/", &[], "169.254.170.2:80", true),
        ] {
            let outcome = judged(AddressPolicy::Anywhere, url, addresses, &[listener]);
            assert_eq!(matches!(outcome, Err(HttpErrorCause::OwnListener(_))), refused, "{url} {listener}");
        }
    }
}
