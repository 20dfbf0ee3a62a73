//! One socket, as the kernel finds it (sock_diag(7)): the listener that would accept a connection, or the client's end of
//! a connection. The answer is one message, for any number of sockets on the host.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};

use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, send, socket_with};

use crate::os::peer::{ConnectionEnds, ListeningSocket, PeerUser};

const SOCK_DIAG_BY_FAMILY: u16 = 20;
const NLM_F_REQUEST: u16 = 1;
const TCP: u8 = 6;
const TCP_ESTABLISHED: u8 = 1;
const TCP_LISTEN: u8 = 10;

/// The size of `struct nlmsghdr` and `struct inet_diag_req_v2`.
const REQUEST_SIZE: usize = 16 + 56;

/// The offset of the `inet_diag_msg` in an answer, and the offsets of the fields that are read.
const MESSAGE: usize = 16;
const FAMILY: usize = MESSAGE;
const STATE: usize = MESSAGE + 1;
const OWN_PORT: usize = MESSAGE + 4;
const REMOTE_PORT: usize = MESSAGE + 6;
const OWN_IP: usize = MESSAGE + 8;
const REMOTE_IP: usize = MESSAGE + 24;
const UID: usize = MESSAGE + 64;
const INODE: usize = MESSAGE + 68;

/// Returns the socket that would accept a connection to this address. `None` if there is no listener, or this kernel
/// does not support the request.
///
/// # Errors
/// If the netlink socket fails.
pub(crate) fn at(address: SocketAddr) -> io::Result<Option<ListeningSocket>> {
    let anyone = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0);
    let found = find(&open()?, address, anyone)?.filter(|found| found.state == TCP_LISTEN);
    Ok(found.map(|FoundSocket { uid, inode, .. }| ListeningSocket { uid, inode: inode.into() }))
}

/// Opens a socket for questions to the kernel.
///
/// # Errors
/// If a sandbox forbids it, or no file descriptor is left.
pub(crate) fn open() -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC;
    Ok(socket_with(AddressFamily::NETLINK, SocketType::DGRAM, flags, Some(netlink::SOCK_DIAG))?)
}

/// Returns the user of the client's end of a connection.
pub(crate) fn peer_user(kernel: impl AsFd, ConnectionEnds { client, ours }: ConnectionEnds) -> PeerUser {
    match find(kernel, client, ours) {
        Ok(Some(FoundSocket { state: TCP_LISTEN, .. }) | None) | Err(_) => PeerUser::Unknown,
        // A socket without an inode belongs to no program any more.
        Ok(Some(FoundSocket { inode: 0, .. })) => PeerUser::Closed,
        Ok(Some(FoundSocket { uid, .. })) => PeerUser::User(uid),
    }
}

/// Returns the user of the client's end if that is an open connection of a program.
///
/// Only such a socket names its user. The kernel lists a socket in TIME_WAIT or SYN_RECV, and each that its program has
/// closed, under user 0, which is root's.
pub(crate) fn established_user(kernel: impl AsFd, ConnectionEnds { client, ours }: ConnectionEnds) -> Option<u32> {
    let found = find(kernel, client, ours).ok()??;
    let is_exact = (found.own, found.remote) == (Some(canonical(client)), Some(canonical(ours)));
    (found.state == TCP_ESTABLISHED && found.inode != 0 && is_exact).then_some(found.uid)
}

/// A socket of this host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FoundSocket {
    state: u8,
    /// The addresses; `None` for a family other than IPv4 and IPv6.
    own: Option<SocketAddr>,
    remote: Option<SocketAddr>,
    uid: u32,
    inode: u32,
}

/// Returns the address without scope, and without the form of IPv4 addresses that IPv6 sockets have.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// Finds the socket with this own and this remote address, else the listener at its own address.
fn find(kernel: impl AsFd, own: SocketAddr, remote: SocketAddr) -> io::Result<Option<FoundSocket>> {
    send(&kernel, &request(own, remote), SendFlags::empty())?;
    let mut answer = [0; 4096];
    // Do not wait: the kernel has answered before `send` returns.
    let (length, _) = recv(&kernel, &mut answer, RecvFlags::DONTWAIT)?;
    Ok(read(&answer[..length]))
}

fn request(own: SocketAddr, remote: SocketAddr) -> Vec<u8> {
    let ip = own.ip().to_canonical();
    let family = if ip.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let mut bytes = Vec::with_capacity(REQUEST_SIZE);
    bytes.extend(u32::try_from(REQUEST_SIZE).unwrap_or_default().to_ne_bytes());
    bytes.extend(SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    bytes.extend(NLM_F_REQUEST.to_ne_bytes());
    // Sequence number and port id may be zero: there is one request, and the kernel knows its sender.
    bytes.extend([0; 8]);
    bytes.extend([u8::try_from(family.as_raw()).unwrap_or_default(), TCP, 0, 0]);
    // Accept every TCP state: a request for one socket ignores them.
    bytes.extend(u32::MAX.to_ne_bytes());
    bytes.extend(own.port().to_be_bytes());
    bytes.extend(remote.port().to_be_bytes());
    for ip in [ip, remote.ip().to_canonical()] {
        match ip {
            IpAddr::V4(ip) => {
                bytes.extend(ip.octets());
                bytes.extend([0; 12]);
            }
            IpAddr::V6(ip) => bytes.extend(ip.octets()),
        }
    }
    // Interface 0 means any interface; a cookie with all bits set means no cookie.
    bytes.extend([0; 4]);
    bytes.extend([0xff; 8]);
    bytes
}

/// Returns `None` for an error, too: a missing socket and a missing kernel module look alike.
fn read(answer: &[u8]) -> Option<FoundSocket> {
    let word = |at: usize| Some(u32::from_ne_bytes(answer.get(at..at + 4)?.try_into().ok()?));
    let kind = u16::from_ne_bytes(answer.get(4..6)?.try_into().ok()?);
    (kind == SOCK_DIAG_BY_FAMILY).then_some(())?;
    let address = |ip, port| read_address(answer, *answer.get(FAMILY)?, ip, port);
    Some(FoundSocket {
        state: *answer.get(STATE)?,
        own: address(OWN_IP, OWN_PORT),
        remote: address(REMOTE_IP, REMOTE_PORT),
        uid: word(UID)?,
        inode: word(INODE)?,
    })
}

/// Reads an address at these offsets; both parts are in network byte order.
fn read_address(answer: &[u8], family: u8, ip: usize, port: usize) -> Option<SocketAddr> {
    let octets: [u8; 16] = answer.get(ip..ip + 16)?.try_into().ok()?;
    let [a, b, c, d, ..] = octets;
    let ip = match AddressFamily::from_raw(family.into()) {
        AddressFamily::INET => Ipv4Addr::new(a, b, c, d).into(),
        AddressFamily::INET6 => Ipv6Addr::from(octets).to_canonical(),
        _ => return None,
    };
    Some(SocketAddr::new(ip, u16::from_be_bytes(answer.get(port..port + 2)?.try_into().ok()?)))
}

#[cfg(test)]
mod tests {
    use std::net::{Shutdown, TcpListener, TcpStream};
    use std::os::fd::AsRawFd;

    use super::*;
    use crate::os::accounts::overflow_id;
    use crate::os::peer::PeerUsers;
    use crate::os::peer::tests::as_user;

    #[test]
    fn finds_the_listener_and_none_on_unused_port() {
        for address in ["127.0.0.1:1", "[::1]:1"].map(|address| address.parse().unwrap()) {
            assert_eq!(request(address, address).len(), REQUEST_SIZE);
        }
        for (local, asked) in
            [("127.0.0.1", "127.0.0.1"), ("0.0.0.0", "127.0.0.1"), ("[::1]", "[::1]"), ("[::]", "127.0.0.1")]
        {
            let Ok(listener) = TcpListener::bind(format!("{local}:0")) else { continue };
            let port = listener.local_addr().unwrap().port();
            let Ok(Some(found)) = at(format!("{asked}:{port}").parse().unwrap()) else {
                // A kernel without sock_diag has only the tables.
                continue;
            };
            let link = std::fs::read_link(format!("/proc/self/fd/{}", listener.as_raw_fd())).unwrap();
            assert_eq!(link.to_str().unwrap(), format!("socket:[{}]", found.inode), "{local}");
            assert_eq!(found.uid, rustix::process::geteuid().as_raw());
        }
        assert!(at("127.0.0.1:0".parse().unwrap()).is_ok_and(|found| found.is_none()));
    }

    #[test]
    fn finds_the_user_of_a_client() {
        let ours = rustix::process::geteuid().as_raw();
        let Ok(kernel) = open() else { return };
        for address in ["127.0.0.1:0", "[::1]:0", "[::]:0"] {
            let Ok(listener) = TcpListener::bind(address) else { continue };
            if matches!(at(listener.local_addr().unwrap()), Ok(None) | Err(_)) {
                continue;
            }
            let port = listener.local_addr().unwrap().port();
            let target = if address == "[::1]:0" { "[::1]" } else { "127.0.0.1" };
            let client = TcpStream::connect(format!("{target}:{port}")).unwrap();
            let (accepted, peer) = listener.accept().unwrap();
            let ends = ConnectionEnds { client: peer, ours: accepted.local_addr().unwrap() };
            assert_eq!(peer_user(&kernel, ends), PeerUser::User(ours), "{address}");
            client.shutdown(Shutdown::Write).unwrap();
            assert_eq!(peer_user(&kernel, ends), PeerUser::User(ours), "{address}: it can still read");
            drop(client);
            assert_eq!(peer_user(&kernel, ends), PeerUser::Closed, "{address}");
            drop(accepted);
            assert_ne!(peer_user(&kernel, ends), PeerUser::User(ours), "{address}");
        }
    }

    /// Connects as a user, and returns both ends and their addresses.
    fn connection(user: u32, listener: &TcpListener, from: Option<SocketAddr>) -> Option<(TcpStream, TcpStream)> {
        let target = listener.local_addr().unwrap();
        let client =
            as_user(user, move || from.map_or_else(|| TcpStream::connect(target).ok(), |from| bound(from, target)));
        let client = client?.unwrap();
        let own = canonical(client.local_addr().unwrap());
        loop {
            let (accepted, peer) = listener.accept().unwrap();
            if canonical(peer) == own {
                return Some((client, accepted));
            }
        }
    }

    /// Connects from an address that a socket in TIME_WAIT may still have.
    fn bound(from: SocketAddr, target: SocketAddr) -> Option<TcpStream> {
        let socket = socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None).unwrap();
        rustix::net::sockopt::set_socket_reuseaddr(&socket, true).unwrap();
        rustix::net::bind(&socket, &from).ok()?;
        rustix::net::connect(&socket, &target).ok()?;
        Some(socket.into())
    }

    fn ends((client, accepted): &(TcpStream, TcpStream)) -> ConnectionEnds {
        ConnectionEnds { client: client.local_addr().unwrap(), ours: accepted.local_addr().unwrap() }
    }

    #[test]
    fn proves_the_user_of_an_open_connection_alone() {
        let ours = rustix::process::geteuid().as_raw();
        let users = PeerUsers::new();
        for (address, target) in [
            ("127.0.0.1:0", "127.0.0.1"),
            ("[::1]:0", "[::1]"),
            ("[::]:0", "127.0.0.1"),
            ("[::]:0", "[::ffff:127.0.0.1]"),
            ("0.0.0.0:0", "127.0.0.1"),
        ] {
            let Ok(listener) = TcpListener::bind(address) else { continue };
            let port = listener.local_addr().unwrap().port();
            let client = TcpStream::connect(format!("{target}:{port}")).unwrap();
            let (accepted, peer) = listener.accept().unwrap();
            let ends = ConnectionEnds { client: peer, ours: accepted.local_addr().unwrap() };
            assert_eq!(users.proven(ends), Some(ours), "{address} {target}");
            let turned = ConnectionEnds { client: ends.ours, ours: ends.client };
            assert_eq!(users.proven(turned), Some(ours), "the accepted socket is ours, too");
            let other = ConnectionEnds { client: SocketAddr::new(peer.ip(), 1), ..ends };
            assert_eq!(users.proven(other), None, "no socket has this address");
            let listening = ConnectionEnds { client: ends.ours, ours: other.client };
            assert_eq!(users.proven(listening), None, "the listener is no client");
            client.shutdown(Shutdown::Write).unwrap();
            assert_eq!(users.proven(ends), None, "{address}: half closed");
            drop(client);
            assert_eq!(users.proven(ends), None, "{address}: closed");
        }
        assert_eq!(PeerUsers(None).proven(ConnectionEnds { client: LOCAL, ours: LOCAL }), None);
    }

    const LOCAL: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

    #[test]
    fn proves_other_users_and_not_the_overflow_user() {
        let users = PeerUsers::new();
        let listener = TcpListener::bind(LOCAL).unwrap();
        for (user, expected) in [(64_001, Some(64_001)), (0, Some(0)), (overflow_id(), None)] {
            let Some(connection) = connection(user, &listener, None) else { return };
            assert_eq!(users.proven(ends(&connection)), expected, "{user}");
        }
    }

    /// A socket in TIME_WAIT is listed under user 0, and its port is free for others.
    #[test]
    fn time_wait_never_proves_root() {
        const STRANGER: u32 = 64_001;
        let users = PeerUsers::new();
        let kernel = open().unwrap();
        let (one, two) = (TcpListener::bind(LOCAL).unwrap(), TcpListener::bind(LOCAL).unwrap());
        let ours = rustix::process::geteuid().as_raw();
        let first = connection(ours, &one, Some(LOCAL)).unwrap();
        let stale = ends(&first);
        assert_eq!(users.proven(stale), Some(ours));
        // The client closes first, so that its end is the one that waits.
        drop(first.0);
        drop(first.1);
        let waits = || find(&kernel, stale.client, stale.ours).unwrap();
        testkit::harness::until("the client's end waits", || waits().is_some_and(|found| found.state == 6));
        assert_eq!(waits().map(|found| (found.uid, found.inode)), Some((0, 0)), "the kernel names root");
        assert_eq!(users.proven(stale), None);

        // Another user has the port for a connection to another listener.
        let Some(second) = connection(STRANGER, &two, Some(stale.client)) else { return };
        assert_eq!(ends(&second).client, stale.client, "the same address");
        assert_eq!(users.proven(ends(&second)), Some(STRANGER));
        assert_eq!(users.proven(stale), None, "the stale pair");
        drop(second);

        // The same pair again: the kernel gives it up after a second.
        let (target, from) = (stale.ours, stale.client);
        let deadline = std::time::Instant::now() + testkit::harness::TIMEOUT;
        let again = loop {
            match as_user(STRANGER, move || bound(from, target)) {
                Some(Some(client)) => break client,
                Some(None) if std::time::Instant::now() < deadline => {
                    std::thread::sleep(std::time::Duration::from_millis(50));
                }
                // net.ipv4.tcp_tw_reuse may be off.
                _ => return,
            }
        };
        assert_eq!(users.proven(stale), Some(STRANGER));
        drop(again);
        assert_eq!(users.proven(stale), None);
    }

    #[test]
    fn looks_up_one_user_in_microseconds() {
        let users = PeerUsers::new();
        let listener = TcpListener::bind(LOCAL).unwrap();
        let Some(connection) = connection(rustix::process::geteuid().as_raw(), &listener, None) else { return };
        let ends = ends(&connection);
        let mut took: Vec<_> = (0..2000)
            .map(|_| {
                let began = std::time::Instant::now();
                assert!(users.proven(ends).is_some());
                began.elapsed()
            })
            .collect();
        took.sort_unstable();
        assert!(took[took.len() / 10].as_micros() < 50, "{took:?}");
    }

    #[test]
    fn errors_and_truncated_messages_give_no_socket() {
        let mut error = [0; 36];
        error[4] = 2;
        assert_eq!(read(&error), None);
        let mut whole = [0; 88];
        whole[4..6].copy_from_slice(&SOCK_DIAG_BY_FAMILY.to_ne_bytes());
        whole[STATE] = TCP_LISTEN;
        whole[UID] = 7;
        assert!(read(&whole).is_some());
        for length in 0..whole.len() {
            assert_eq!(read(&whole[..length]), None, "{length}");
        }
    }
}
