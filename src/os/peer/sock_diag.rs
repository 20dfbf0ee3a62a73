//! One socket, as the kernel finds it (sock_diag(7)): the listener that would accept a connection, or the client's end of
//! a connection. The answer is one message, for any number of sockets on the host.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};

use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, send, socket_with};

use crate::os::peer::{ConnectionEnds, ListeningSocket, PeerUser};

const SOCK_DIAG_BY_FAMILY: u16 = 20;
const NLM_F_REQUEST: u16 = 1;
const TCP: u8 = 6;
const TCP_LISTEN: u8 = 10;

/// The size of `struct nlmsghdr` and `struct inet_diag_req_v2`.
const REQUEST_SIZE: usize = 16 + 56;

/// The offset of the `inet_diag_msg` in an answer, and the offsets of the fields that are read.
const MESSAGE: usize = 16;
const STATE: usize = MESSAGE + 1;
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

/// A socket of this host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FoundSocket {
    state: u8,
    uid: u32,
    inode: u32,
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
    // The states matter only for a list of sockets.
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
    Some(FoundSocket { state: *answer.get(STATE)?, uid: word(UID)?, inode: word(INODE)? })
}

#[cfg(test)]
mod tests {
    use std::net::{Shutdown, TcpListener, TcpStream};
    use std::os::fd::AsRawFd;

    use super::*;

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
