//! The users that own the listeners of a port and the connections of this host.
//!
//! sock_diag(7) reports them for TCP. If it is not available, the listeners are read from `/proc/net/tcp` and `tcp6`
//! (proc_net_tcp.txt in the kernel's documentation). That takes milliseconds, because the kernel lists all connections.
//! For Unix sockets the kernel keeps the user of the moment of connect(2) (`SO_PEERCRED`, unix(7)).

#[cfg(test)]
mod processes;
pub(crate) mod sock_diag;

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;

use tokio::net::UnixStream;

use crate::os::accounts::overflow_id;

/// A listening socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ListeningSocket {
    /// The user that opened it.
    pub(crate) uid: u32,
    /// The inode number. No other socket has had it since the boot.
    inode: u64,
}

/// The addresses of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ConnectionEnds {
    pub(crate) client: SocketAddr,
    pub(crate) ours: SocketAddr,
}

/// The user at the other end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PeerUser {
    User(u32),
    /// The program has closed its end.
    Closed,
    /// The program is on another host or in another network namespace, or the kernel does not answer.
    Unknown,
}

/// Asks the kernel for the users of connections.
#[derive(Debug)]
pub(crate) struct PeerUsers(Option<OwnedFd>);

impl PeerUsers {
    /// Opens a socket for all questions. If that fails, all users are unknown.
    pub(crate) fn new() -> Self {
        let kernel = sock_diag::open();
        if let Err(error) = &kernel {
            tracing::debug!(%error, "the kernel does not tell the users of connections");
        }
        Self(kernel.ok())
    }

    /// Returns the user that certainly holds the client's end of a TCP connection, for access control. Call it when the
    /// connection is accepted, and before anything is read.
    ///
    /// A client of another host or network namespace has none.
    pub(crate) fn proven(&self, ends: ConnectionEnds) -> Option<u32> {
        let uid = self.0.as_ref().and_then(|kernel| sock_diag::established_user(kernel, ends));
        uid.and_then(known)
    }

    /// Returns the user of one connection for fair shares, which takes the kernel a few microseconds.
    pub(crate) fn of(&self, ends: ConnectionEnds) -> PeerUser {
        self.0.as_ref().map_or(PeerUser::Unknown, |kernel| sock_diag::peer_user(kernel, ends))
    }
}

/// Returns the user of the other end of a Unix stream: of the client at its connect(2), or of the server at its
/// listen(2). A process of another pid namespace has a user, too.
///
/// The crate `rustix` cannot represent the process id 0 of another pid namespace, so tokio asks the kernel.
pub(crate) fn peercred(stream: &UnixStream) -> Option<u32> {
    stream.peer_cred().ok().and_then(|peer| known(peer.uid()))
}

/// Returns the process that connected a Unix stream. A process of another pid namespace has none here.
pub(crate) fn peer_process(stream: &UnixStream) -> Option<i32> {
    stream.peer_cred().ok().and_then(|peer| peer.pid()).filter(|pid| *pid > 0)
}

/// Returns the user if the id is that of one user. The overflow id stands for every user without a mapping.
fn known(uid: u32) -> Option<u32> {
    (uid != overflow_id()).then_some(uid)
}

/// Returns the sockets that a connection to this address could reach, sorted.
///
/// # Errors
/// If the kernel does not answer.
pub(crate) fn at(address: SocketAddr) -> io::Result<Vec<ListeningSocket>> {
    if let Ok(Some(found)) = sock_diag::at(address) {
        return Ok(vec![found]);
    }
    from_tables(address)
}

fn from_tables(address: SocketAddr) -> io::Result<Vec<ListeningSocket>> {
    let mut found = Vec::new();
    for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
        match File::open(table) {
            Ok(file) => read(BufReader::new(file), address, &mut found)?,
            // A kernel without IPv6 has no table `tcp6`.
            Err(error) if error.kind() == io::ErrorKind::NotFound && table.ends_with('6') => {}
            Err(error) => return Err(error),
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// Returns true if several users may appear under this user id. A user namespace without a mapping for all users shows
/// all unmapped users under one id.
///
/// # Errors
/// If the kernel does not answer.
pub(crate) fn is_ambiguous(uid: u32) -> io::Result<bool> {
    let overflow: Option<u32> = std::fs::read_to_string("/proc/sys/kernel/overflowuid")?.trim().parse().ok();
    if overflow.is_some_and(|overflow| overflow != uid) {
        return Ok(false);
    }
    Ok(!maps_all_users(&std::fs::read_to_string("/proc/self/uid_map")?))
}

fn maps_all_users(map: &str) -> bool {
    map.split_ascii_whitespace().eq(["0", "0", "4294967295"])
}

/// Reads the listeners at the start of a table. The connections after them are not read, because there may be many.
fn read(table: impl BufRead, address: SocketAddr, found: &mut Vec<ListeningSocket>) -> io::Result<()> {
    const LISTENING: &str = "0A";
    for line in table.lines().skip(1) {
        let line = line?;
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let &[_, local, _, state, _, _, _, uid, _, inode, ..] = &fields[..] else {
            return Err(io::Error::other("a line has an unknown format"));
        };
        if state != LISTENING {
            break;
        }
        let parsed = (parse(local), uid.parse(), inode.parse());
        let (Some(local), Ok(uid), Ok(inode)) = parsed else {
            return Err(io::Error::other("a line has an unknown format"));
        };
        if is_reached(local, address) {
            found.push(ListeningSocket { uid, inode });
        }
    }
    Ok(())
}

/// Returns true if a connection to `address` may reach a listener on `local`. A listener on `[::]` may accept IPv4
/// connections, too, so it matches both families.
fn is_reached(local: SocketAddr, address: SocketAddr) -> bool {
    let (listener, wanted) = (local.ip().to_canonical(), address.ip().to_canonical());
    let on_all = local.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED)
        || listener == IpAddr::V4(Ipv4Addr::UNSPECIFIED) && wanted.is_ipv4();
    local.port() == address.port() && (listener == wanted || on_all)
}

/// Parses an address such as `0100007F:2605`. The IP address is in words of this machine's byte order; the port is a
/// number.
fn parse(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    let word = |at: usize| u32::from_str_radix(ip.get(8 * at..8 * at + 8)?, 16).ok().map(u32::to_ne_bytes);
    let ip = match ip.len() {
        8 => IpAddr::V4(Ipv4Addr::from(word(0)?)),
        32 => {
            let mut octets = [0; 16];
            for (at, part) in octets.chunks_exact_mut(4).enumerate() {
                part.copy_from_slice(&word(at)?);
            }
            IpAddr::V6(Ipv6Addr::from(octets))
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, u16::from_str_radix(port, 16).ok()?))
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::net::TcpListener;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// Does work as another user, which only root may do. The user of a thread is that of the sockets that it makes.
    pub(super) fn as_user<T: Send + 'static>(user: u32, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        let is_ours = user == rustix::process::geteuid().as_raw();
        if !is_ours && !rustix::process::geteuid().is_root() {
            assert!(testkit::harness::skip("sockets of other users need root"));
            return None;
        }
        let thread = std::thread::spawn(move || {
            if !is_ours {
                rustix::thread::set_thread_uid(rustix::process::Uid::from_raw(user)).unwrap();
            }
            work()
        });
        Some(thread.join().unwrap())
    }

    #[test]
    fn finds_own_listener_on_both_families_and_wildcards() {
        let ours = rustix::process::geteuid().as_raw();
        for (local, asked) in
            [("127.0.0.1", "127.0.0.1"), ("0.0.0.0", "127.0.0.1"), ("[::1]", "[::1]"), ("[::]", "[::1]")]
        {
            let Ok(listener) = TcpListener::bind(format!("{local}:0")) else {
                assert!(local.starts_with('['), "{local}");
                continue;
            };
            let port = listener.local_addr().unwrap().port();
            let address = format!("{asked}:{port}").parse().unwrap();
            let found = from_tables(address).unwrap();
            assert_eq!(at(address).unwrap(), found, "{local}");
            assert_eq!(found.iter().map(|found| found.uid).collect::<Vec<_>>(), [ours], "{local}");
        }
    }

    #[cfg(target_endian = "little")]
    #[test]
    fn table_gives_reachable_listeners_and_no_connections() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
            0: 0100007F:2605 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000  0 11 1 0 100 0 0 10 0\n\
            1: 00000000:2605 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1001  0 12 1 0 100 0 0 10 0\n\
            2: 0200007F:2605 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1002  0 13 1 0 100 0 0 10 0\n\
            3: 0100007F:2606 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1003  0 14 1 0 100 0 0 10 0\n\
            4: 0100007F:2605 0100007F:8000 01 00000000:00000000 00:00000000 00000000  1004  0 15 1 0 100 0 0 10 0\n";
        let six = "head\n\
            0: 00000000000000000000000000000000:2605 00000000000000000000000000000000:0000 0A 0:0 00:0 0 7 0 21 1\n\
            1: 00000000000000000000000001000000:2605 00000000000000000000000000000000:0000 0A 0:0 00:0 0 8 0 22 1\n\
            2: 0000000000000000FFFF00000100007F:2605 00000000000000000000000000000000:0000 0A 0:0 00:0 0 9 0 23 1\n";
        let of = |table: &str, address: &str| {
            let mut found = Vec::new();
            read(table.as_bytes(), address.parse().unwrap(), &mut found).unwrap();
            found.iter().map(|found| found.uid).collect::<Vec<_>>()
        };
        assert_eq!(of(table, "127.0.0.1:9733"), [1000, 1001]);
        assert_eq!(of(table, "127.0.0.1:9734"), [1003]);
        assert!(of(table, "[::1]:9733").is_empty());
        assert_eq!(of(six, "127.0.0.1:9733"), [7, 9]);
        assert_eq!(of(six, "[::1]:9733"), [7, 8]);
        assert!(read("head\n0: nonsense\n".as_bytes(), "127.0.0.1:1".parse().unwrap(), &mut Vec::new()).is_err());
    }

    #[tokio::test]
    async fn peercred_gives_the_user_at_the_connect() {
        let folder = tempfile::tempdir().unwrap();
        // Other users must reach the socket.
        std::fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
        let path = folder.path().join("socket");
        let listener = tokio::net::UnixListener::bind(&path).unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o666)).unwrap();
        let ours = rustix::process::geteuid().as_raw();
        for user in [ours, 64_001, overflow_id()] {
            let path = path.clone();
            let Some(client) = as_user(user, move || std::os::unix::net::UnixStream::connect(path).unwrap()) else {
                continue;
            };
            // The thread of the other user has ended: the end belongs to a process of ours now.
            let (accepted, _) = listener.accept().await.unwrap();
            assert_eq!(peercred(&accepted), Some(user).filter(|user| *user != overflow_id()), "{user}");
            drop(client);
            assert_eq!(peercred(&accepted), Some(user).filter(|user| *user != overflow_id()), "{user}");
        }
        let client = UnixStream::connect(&path).await.unwrap();
        assert_eq!(peercred(&client), Some(ours), "a client sees the user that listens");
    }

    #[test]
    fn partial_user_map_does_not_map_all_users() {
        assert!(maps_all_users("         0          0 4294967295\n"));
        for some in ["0 100000 65536\n", "0 1000 1\n", "0 0 1000\n1000 1001 1\n", ""] {
            assert!(!maps_all_users(some), "{some}");
        }
    }
}
