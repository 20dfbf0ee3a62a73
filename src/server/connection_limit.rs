//! The connection limit of one protocol: its slots, and the eviction of connections when all are taken. The number and
//! its bounds are `max_connections` of `config/server.rs`.
//!
//! The holder with the most slots loses one, so that no user of the host can keep another out.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use crate::os::peer::{ConnectionEnds, PeerUser, PeerUsers};
use crate::server::clients::Client;
use crate::server::origin::RequestOrigin;

/// The number of unauthorized connections that are evicted when the kernel refuses a connection, and at most for one
/// new connection. More than one is evicted, because sources need file descriptors too, and because each eviction
/// looks at all connections.
const EVICTED_AT_ONCE: usize = 16;

/// One in so many slots is evicted at once, so that a low limit loses few connections.
const SHARE_AT_ONCE: usize = 32;

/// The interval at which a new connection that waits looks for idle connections.
const RETRY: Duration = Duration::from_millis(100);

#[derive(Debug)]
pub(crate) struct ConnectionLimit {
    limit: usize,
    users: PeerUsers,
    connections: Mutex<OpenConnections>,
    slot_freed: Notify,
}

#[derive(Debug, Default)]
struct OpenConnections {
    /// The number of the newest connection.
    newest: u64,
    /// The connections that are not evicted, oldest first.
    by_number: BTreeMap<u64, HeldSlot>,
    /// The number of connections that were evicted and are still open.
    leaving: usize,
}

#[derive(Debug)]
struct HeldSlot {
    open: Arc<OpenConnection>,
    peer: Peer,
}

/// The client's end of a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer {
    /// The addresses of a TCP connection.
    ends: Option<ConnectionEnds>,
    /// Looked up when it matters. The user of a connection never changes.
    user: Option<PeerUser>,
    /// The process that connected to a Unix socket.
    pid: Option<i32>,
}

/// The party that a slot counts for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Holder {
    /// A program that has closed its end. Its slots are evicted first.
    Closed,
    User(u32),
    /// A client of another host or network namespace, by the address of its entry in access control.
    Client(usize),
    Address(Option<IpAddr>),
}

/// The connections that may be evicted, with the number of slots of each holder.
#[derive(Debug, Default)]
struct Candidates {
    connections: Vec<Candidate>,
    slots: Vec<usize>,
    indices: HashMap<Holder, usize>,
}

#[derive(Clone, Copy, Debug)]
struct Candidate {
    number: u64,
    holder: Holder,
    /// The index of its holder in [`Candidates::slots`].
    index: usize,
    is_authorized: bool,
    is_busy: bool,
}

/// The state that a connection shares with the connection limit.
#[derive(Debug, Default)]
pub(crate) struct OpenConnection {
    /// Set once the connection has proved something: the token of a client, or a session token of IMDS.
    proof: OnceLock<Option<Arc<Client>>>,
    /// True while a request is being answered.
    pub(crate) busy: AtomicBool,
    /// Set when the first request begins, and never cleared.
    pub(crate) begun: AtomicBool,
    /// Set when a response is ready. The header timeout then starts for the next request head.
    pub(crate) answered: AtomicBool,
    /// True if the connection is evicted. It is set before `evicted` is notified.
    is_evicted: AtomicBool,
    pub(crate) evicted: Notify,
}

/// The slot of one connection. Dropping it frees the slot.
pub(crate) struct ConnectionSlot {
    number: u64,
    pub(crate) open: Arc<OpenConnection>,
    limit: Arc<ConnectionLimit>,
}

impl ConnectionLimit {
    /// Allows `limit` connections, and at least one.
    pub(crate) fn new(limit: usize) -> Self {
        Self { limit: limit.max(1), users: PeerUsers::new(), connections: Mutex::default(), slot_freed: Notify::new() }
    }

    /// Takes a slot for a new connection. If all slots are taken, the holder with the most of them loses one. The new
    /// connection waits if that would end a request in flight of a holder that has no more than its share.
    ///
    /// Returns `None` if all slots are taken and the client has already closed the new connection.
    pub(crate) async fn take_slot(self: &Arc<Self>, mut peer: Peer) -> Option<ConnectionSlot> {
        loop {
            let slot_freed = self.slot_freed.notified();
            if let Some(slot) = self.try_take_slot(&mut peer) {
                return Some(slot);
            }
            if peer.user == Some(PeerUser::Closed) {
                return None;
            }
            let _ = tokio::time::timeout(RETRY, slot_freed).await;
        }
    }

    /// Returns the proven user of a new connection. That of a TCP connection is looked up only if it is wanted. Call it
    /// once, before anything is read: a later look-up could find another socket with the same addresses.
    pub(crate) fn proven_user(&self, peer: &mut Peer, is_wanted: bool) -> Option<u32> {
        match (peer.ends, peer.user) {
            // The kernel keeps the user of a Unix peer.
            (None, Some(PeerUser::User(uid))) => Some(uid),
            (Some(ends), _) if is_wanted => {
                let proven = self.users.proven(ends);
                peer.user = proven.map(PeerUser::User).or(peer.user);
                proven
            }
            _ => None,
        }
    }

    /// Returns the party that a new connection counts for.
    pub(crate) fn holder(&self, peer: &mut Peer) -> Holder {
        peer.look_up(&self.users);
        peer.holder(None)
    }

    fn try_take_slot(self: &Arc<Self>, peer: &mut Peer) -> Option<ConnectionSlot> {
        let mut connections = self.connections();
        if connections.by_number.len() + connections.leaving >= self.limit {
            let newcomer = self.holder(peer);
            if connections.leaving == 0 && newcomer != Holder::Closed {
                connections.look_up_users(&self.users);
                connections.evict_for(newcomer, self.limit);
            }
            return None;
        }
        connections.newest += 1;
        let (number, open) = (connections.newest, Arc::<OpenConnection>::default());
        connections.by_number.insert(number, HeldSlot { open: Arc::clone(&open), peer: *peer });
        Some(ConnectionSlot { number, open, limit: Arc::clone(self) })
    }

    /// Evicts unauthorized connections until [`EVICTED_AT_ONCE`] of them are leaving.
    pub(crate) fn evict_several(&self) {
        let mut connections = self.connections();
        connections.look_up_users(&self.users);
        let mut candidates = connections.candidates();
        candidates.connections.retain(|candidate| !candidate.is_authorized);
        while connections.leaving < EVICTED_AT_ONCE
            && let Some(first) = candidates.first()
        {
            connections.evict(candidates.take(first).number);
        }
    }

    fn connections(&self) -> MutexGuard<'_, OpenConnections> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Peer {
    /// Makes the peer of a TCP connection. `ends` is `None` if the kernel no longer knows the addresses.
    pub(crate) fn at(ends: Option<ConnectionEnds>) -> Self {
        Self { ends, user: None, pid: None }
    }

    /// Makes the peer of a Unix socket, with the user that the kernel recorded at its `connect()`.
    pub(crate) fn of_unix(user: Option<u32>, pid: Option<i32>) -> Self {
        Self { ends: None, user: Some(user.map_or(PeerUser::Unknown, PeerUser::User)), pid }
    }

    /// Returns the origin of the requests of this connection, with its proven user.
    pub(crate) fn origin(&self, user: Option<u32>, listener: Option<Arc<str>>) -> RequestOrigin {
        RequestOrigin { user, pid: self.pid, address: self.ends.map(|ends| ends.client.ip()), listener }
    }

    fn look_up(&mut self, users: &PeerUsers) {
        let ends = self.ends;
        self.user.get_or_insert_with(|| ends.map_or(PeerUser::Unknown, |ends| users.of(ends)));
    }

    fn holder(&self, client: Option<&Arc<Client>>) -> Holder {
        match (self.user, client) {
            (Some(PeerUser::Closed), _) => Holder::Closed,
            (Some(PeerUser::User(uid)), _) => Holder::User(uid),
            (_, Some(client)) => Holder::Client(Arc::as_ptr(client).addr()),
            (_, None) => Holder::Address(self.ends.map(|ends| ends.client.ip())),
        }
    }
}

impl Candidates {
    /// Returns the position of the connection that leaves first: of the holder with the most slots, unauthorized before
    /// authorized, idle before busy, old before new.
    fn first(&self) -> Option<usize> {
        let rank = |at: &usize| {
            let Candidate { number, holder, index, is_authorized, is_busy } = self.connections[*at];
            (holder == Holder::Closed, self.slots[index], !is_authorized, !is_busy, Reverse(number))
        };
        (0..self.connections.len()).max_by_key(rank)
    }

    fn take(&mut self, at: usize) -> Candidate {
        let taken = self.connections.swap_remove(at);
        self.slots[taken.index] -= 1;
        taken
    }

    fn slots_of(&self, holder: Holder) -> usize {
        self.indices.get(&holder).map_or(0, |index| self.slots[*index])
    }
}

impl OpenConnections {
    fn look_up_users(&mut self, users: &PeerUsers) {
        for slot in self.by_number.values_mut() {
            slot.peer.look_up(users);
        }
    }

    fn candidates(&self) -> Candidates {
        let mut candidates = Candidates::default();
        for (&number, slot) in &self.by_number {
            let proof = slot.open.proof.get();
            let holder = slot.peer.holder(proof.and_then(Option::as_ref));
            let next = candidates.slots.len();
            let index = *candidates.indices.entry(holder).or_insert(next);
            if index == next {
                candidates.slots.push(0);
            }
            candidates.slots[index] += 1;
            let (is_authorized, is_busy) = (proof.is_some(), slot.open.busy.load(Ordering::Relaxed));
            candidates.connections.push(Candidate { number, holder, index, is_authorized, is_busy });
        }
        candidates
    }

    /// Evicts a connection for a new one of this holder. A request in flight is ended only if the new holder has fewer
    /// slots. A holder of more than half of the slots loses several, because floods go on.
    fn evict_for(&mut self, newcomer: Holder, limit: usize) {
        let mut candidates = self.candidates();
        let share = candidates.slots_of(newcomer) + 1;
        for number in 0..(limit / SHARE_AT_ONCE).clamp(1, EVICTED_AT_ONCE) {
            let Some(first) = candidates.first() else { return };
            let Candidate { holder, is_busy, .. } = candidates.connections[first];
            let slots = candidates.slots_of(holder);
            if is_busy && slots <= share || number > 0 && (is_busy || slots <= limit / 2) {
                return;
            }
            self.evict(candidates.take(first).number);
        }
    }

    fn evict(&mut self, number: u64) {
        if let Some(HeldSlot { open, .. }) = self.by_number.remove(&number) {
            self.leaving += 1;
            open.is_evicted.store(true, Ordering::Release);
            open.evicted.notify_one();
        }
    }
}

impl OpenConnection {
    /// Marks the connection as authorized: by the token of this client, or by a session token of IMDS.
    pub(crate) fn authorize(&self, client: Option<&Arc<Client>>) {
        if !self.is_authorized() {
            let _ = self.proof.set(client.cloned());
        }
    }

    /// Returns true once the connection has proved something.
    pub(crate) fn is_authorized(&self) -> bool {
        self.proof.get().is_some()
    }

    /// Returns true if the connection has to close to free its slot.
    pub(crate) fn is_evicted(&self) -> bool {
        self.is_evicted.load(Ordering::Acquire)
    }
}

/// Marks a connection as busy. Dropping it ends the mark.
pub(crate) struct BusyGuard(Arc<OpenConnection>);

impl BusyGuard {
    pub(crate) fn new(open: &Arc<OpenConnection>) -> Self {
        open.busy.store(true, Ordering::Relaxed);
        Self(Arc::clone(open))
    }
}

impl Drop for BusyGuard {
    fn drop(&mut self) {
        self.0.busy.store(false, Ordering::Relaxed);
        self.0.answered.store(true, Ordering::Relaxed);
    }
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        let mut connections = self.limit.connections();
        if connections.by_number.remove(&self.number).is_none() {
            connections.leaving -= 1;
        }
        drop(connections);
        self.limit.slot_freed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A slot of a connection that the test describes: user, authorized, busy.
    type Given = (u32, bool, bool);

    /// Fills a limit with these connections, and returns the positions of those that a new connection of the user
    /// evicts, one after another, and then no more.
    fn evicted(given: &[Given], newcomer: u32, limit: usize) -> Vec<u64> {
        let mut connections = OpenConnections::default();
        for (number, &(user, is_authorized, is_busy)) in (0..).zip(given) {
            let open = Arc::<OpenConnection>::default();
            open.busy.store(is_busy, Ordering::Relaxed);
            if is_authorized {
                open.authorize(None);
            }
            let slot = HeldSlot { open, peer: Peer { ends: None, user: Some(PeerUser::User(user)), pid: None } };
            connections.by_number.insert(number, slot);
        }
        let before: Vec<u64> = connections.by_number.keys().copied().collect();
        connections.evict_for(Holder::User(newcomer), limit);
        before.into_iter().filter(|number| !connections.by_number.contains_key(number)).collect()
    }

    #[test]
    fn evicts_of_the_holder_with_most_slots() {
        const IDLE: bool = false;
        let table: &[(&str, &[Given], u32, &[u64])] = &[
            ("the oldest of the user with most", &[(1, false, IDLE), (2, false, IDLE), (2, false, IDLE)], 1, &[1]),
            ("also for itself", &[(1, false, IDLE), (2, false, IDLE), (2, false, IDLE)], 2, &[1]),
            ("with a token too", &[(1, false, IDLE), (2, true, IDLE), (2, true, IDLE)], 1, &[1]),
            ("unauthorized first", &[(2, true, IDLE), (2, true, IDLE), (2, false, true), (1, false, IDLE)], 1, &[2]),
            ("idle before busy", &[(2, true, true), (2, true, IDLE), (1, true, IDLE)], 1, &[1]),
            ("busy for a poorer user", &[(2, true, true), (2, true, true), (2, true, true)], 1, &[0]),
            ("busy for no equal user", &[(2, true, true), (2, true, true), (2, true, true)], 2, &[]),
            ("of equals the unauthorized", &[(1, true, IDLE), (2, false, IDLE)], 3, &[1]),
            ("of equals no busy one", &[(1, true, true), (2, true, true)], 3, &[]),
        ];
        for (name, given, newcomer, expected) in table {
            assert_eq!(evicted(given, *newcomer, given.len()), *expected, "{name}");
        }
    }

    #[test]
    fn holder_of_most_slots_loses_several() {
        let flood = |others: u32| -> Vec<Given> {
            let own = (0..512 - others).map(|_| (1, true, false));
            own.chain((0..others).map(|other| (2 + other, false, false))).collect()
        };
        assert_eq!(evicted(&flood(100), 7, 512), (0..16).collect::<Vec<_>>());
        assert_eq!(evicted(&flood(300), 7, 512), [0], "it has less than half");
        assert_eq!(evicted(&flood(251), 7, 512), (0..5).collect::<Vec<_>>(), "down to half");
    }

    #[tokio::test(start_paused = true)]
    async fn connection_that_its_program_has_closed_goes_first() {
        let of = |user| Peer { ends: None, user: Some(user), pid: None };
        let (limit, mut slots) = (Arc::new(ConnectionLimit::new(3)), Vec::new());
        for user in [PeerUser::User(1), PeerUser::User(1), PeerUser::Closed] {
            slots.push(limit.take_slot(of(user)).await.unwrap());
        }
        let evicted = || slots.iter().map(|slot| slot.open.is_evicted()).collect::<Vec<_>>();
        let new = tokio::time::timeout(RETRY * 10, limit.take_slot(of(PeerUser::Closed))).await;
        assert!(matches!(new, Ok(None)), "a new one waits for no slot");
        assert_eq!(evicted(), [false; 3]);
        assert!(limit.try_take_slot(&mut of(PeerUser::User(2))).is_none());
        assert_eq!(evicted(), [false, false, true]);
    }

    #[test]
    fn users_unknown_to_the_kernel_count_by_client_or_address() {
        let client = |name: &str| Arc::new(Client::of_all(name));
        let (one, other) = (client("one"), client("other"));
        let address = |ip: &str| {
            let address = format!("{ip}:1").parse().unwrap();
            Some(ConnectionEnds { client: address, ours: address })
        };
        let of = |ends, client| Peer { ends, user: Some(PeerUser::Unknown), pid: None }.holder(client);
        assert_eq!(of(address("10.0.0.1"), Some(&one)), of(address("10.0.0.2"), Some(&one)));
        assert_ne!(of(address("10.0.0.1"), Some(&one)), of(address("10.0.0.1"), Some(&other)));
        assert_ne!(of(address("10.0.0.1"), None), of(address("10.0.0.2"), None));
        let known = Peer { ends: address("10.0.0.1"), user: Some(PeerUser::User(1)), pid: None };
        assert_eq!(known.holder(Some(&one)), known.holder(None));
    }
}
