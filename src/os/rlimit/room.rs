//! File descriptors: as many as the connections need, and some for everything else.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// For all that is no connection of a client: files, watches, and one connection upstream per identity that loads.
const BESIDE: u64 = 1024;

/// Makes room for so many connections at each of the protocols as far as this process may, and says how many of each there
/// is room for: a flood of connections must not take the descriptors with which files are read and upstream is asked.
#[must_use]
pub(crate) fn make_room(connections: usize, protocols: usize) -> usize {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    // `None` is no limit.
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
    connections as u64 + BESIDE
}

/// Where descriptors are scarce, a quarter of them is not for connections.
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
    fn connections_never_take_all() {
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
