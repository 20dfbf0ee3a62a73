//! The limit of open files for the connections of clients and all other files.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The descriptors that are reserved for other uses than connections of clients: files, watches and one HTTP connection
/// per identity that loads.
const RESERVED: u64 = 1024;

/// Raises the limit of open files, up to the hard limit, so that `connections` per protocol fit. Returns the number of
/// connections per protocol that fit. A flood of connections must leave descriptors for files and HTTP requests.
pub(crate) fn make_room(connections: usize, protocols: usize) -> usize {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    // For `getrlimit` `None` means unlimited.
    let mut available = current.unwrap_or(u64::MAX);
    let reachable = maximum.unwrap_or(u64::MAX).min(wanted(connections * protocols));
    if available < reachable && setrlimit(Resource::Nofile, Rlimit { current: Some(reachable), maximum }).is_ok() {
        available = reachable;
    }
    let room = (share(available, connections * protocols) / protocols).max(1);
    if room < connections {
        tracing::warn!(
            limit = available,
            max_connections = connections,
            connections = room,
            "the limit of open files leaves room for fewer connections than max_connections; raise it (ulimit -Hn, LimitNOFILE=)"
        );
    }
    room
}

fn wanted(connections: usize) -> u64 {
    connections as u64 + RESERVED
}

/// Reserves a quarter of the descriptors if they are scarce.
fn share(available: u64, connections: usize) -> usize {
    if available >= wanted(connections) {
        return connections;
    }
    usize::try_from(available / 4 * 3).unwrap_or(usize::MAX).clamp(1, connections.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_descriptors_for_files() {
        for (available, connections, room) in [
            (1536, 512, 512),
            (1024, 512, 512),
            (256, 512, 192),
            (11_024, 10_000, 10_000),
            (20_000, 65_536, 15_000),
            (u64::MAX, 65_536, 65_536),
            (2, 512, 1),
        ] {
            assert_eq!(share(available, connections), room, "{available} {connections}");
        }
    }
}
