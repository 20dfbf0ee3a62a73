//! Generations of keepers: spawns them, publishes the board, swaps in a new configuration, stops.

use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::board::{Board, Handle, LeaseKey, Wish};
use crate::config::Identity;
use crate::credentials::Name;
use crate::identity;
use crate::keeper::Keeper;
use crate::lease::Lease;
use crate::world::World;

/// What the supervisor is told.
#[derive(Debug)]
pub enum Order {
    /// A new and valid set of identities.
    Replace(BTreeMap<Name, Identity>),
    /// The configuration on disk is not valid, and why; nothing else changes.
    Refused(Arc<str>),
    /// Everybody loads now.
    Reload,
}

/// A keeper ended by itself: nobody keeps its lease fresh any more.
#[derive(Debug, thiserror::Error)]
#[error("the keeper of identity {0} ended: {1}; the daemon cannot go on without it")]
pub struct KeeperEnded(Name, String);

/// The owner of all keepers.
#[derive(Debug)]
pub struct Supervisor {
    world: World,
    running: BTreeMap<Name, Running>,
    tasks: JoinSet<Infallible>,
    live: watch::Sender<Arc<HashMap<LeaseKey, Handle>>>,
    refused: watch::Sender<Option<Arc<str>>>,
}

#[derive(Debug)]
struct Running {
    identity: Identity,
    handle: Handle,
    task: AbortHandle,
}

impl Supervisor {
    /// A supervisor with its first generation running.
    #[must_use]
    pub fn new(world: World, identities: BTreeMap<Name, Identity>) -> (Self, Board) {
        let (live, refused) = (watch::Sender::default(), watch::Sender::default());
        let board = Board { live: live.subscribe(), refused: refused.subscribe() };
        let mut supervisor = Self { world, running: BTreeMap::new(), tasks: JoinSet::new(), live, refused };
        supervisor.replace(identities);
        (supervisor, board)
    }

    /// Runs until `stop` is cancelled. Keepers end with it.
    ///
    /// # Errors
    /// When a keeper panicked or ended by itself.
    pub async fn run(mut self, mut orders: mpsc::Receiver<Order>, stop: CancellationToken) -> Result<(), KeeperEnded> {
        let clock = self.world.clock.clone();
        let mut ticker = std::pin::pin!(clock.watch_for_steps());
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                Some(ended) = self.tasks.join_next_with_id() => match ended {
                    // Those whose place another took were told to end.
                    Err(error) if error.is_cancelled() => {}
                    Err(error) => return Err(self.ended(error.id(), error.to_string())),
                    Ok((_, never)) => match never {},
                },
                () = &mut ticker => {}
                Some(order) = orders.recv() => self.obey(order),
            }
        }
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::Replace(identities) => {
                self.refused.send_replace(None);
                self.replace(identities);
            }
            Order::Refused(why) => {
                self.refused.send_replace(Some(why));
            }
            Order::Reload => {
                for running in self.running.values() {
                    running.handle.wish(Wish::Reload);
                }
            }
        }
    }

    /// Swaps in a set of identities. One that did not change keeps its keeper and its lease; a changed one serves its
    /// old lease until its new chain has been loaded once.
    fn replace(&mut self, identities: BTreeMap<Name, Identity>) {
        let mut before = std::mem::take(&mut self.running);
        for (name, identity) in identities {
            let old = before.remove(&name);
            let running = match old {
                Some(old) if old.identity == identity => old,
                Some(old) => {
                    tracing::info!(identity = %name, "configured anew");
                    let lease = old.handle.now().lease.clone();
                    let running = self.spawn(&name, identity, lease);
                    old.task.abort();
                    running
                }
                None => self.spawn(&name, identity, None),
            };
            self.running.insert(name, running);
        }
        let live =
            self.running.iter().map(|(name, running)| (LeaseKey::Identity(name.clone()), running.handle.clone()));
        self.live.send_replace(Arc::new(live.collect()));
        for (name, gone) in before {
            tracing::info!(identity = %name, "not configured any more");
            gone.task.abort();
        }
    }

    fn spawn(&mut self, name: &Name, identity: Identity, inherited: Option<Arc<Lease>>) -> Running {
        let key = LeaseKey::Identity(name.clone());
        let (keeper, handle) =
            Keeper::new(key, identity::chain(&identity), self.world.for_keeper(), identity.policy(), inherited);
        let task = self.tasks.spawn(keeper.keep());
        Running { identity, handle, task }
    }

    fn ended(&self, id: tokio::task::Id, why: String) -> KeeperEnded {
        let name = self.running.iter().find(|(_, running)| running.task.id() == id).map(|(name, _)| name.clone());
        KeeperEnded(name.unwrap_or_else(|| Name::new("?")), why)
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;
    use crate::clock::Clock;
    use crate::config::{Config, Overrides};

    fn identities(text: &str) -> BTreeMap<Name, Identity> {
        Config::parse(text.as_bytes(), &Overrides::default()).unwrap().identities
    }

    fn keys(identity: &str, key: &str) -> String {
        format!("[identities.{identity}]\nsources = [{{ access_key_id = \"{key}\", secret_access_key = \"s\" }}]\n")
    }

    fn world() -> World {
        World {
            clock: Clock::injected(SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_449_600)),
            ..World::default()
        }
    }

    async fn until_key(board: &Board, name: &str, key: &str) {
        loop {
            let handle = board.lookup(&LeaseKey::Identity(name.into()));
            let held = handle.and_then(|handle| handle.now().lease.as_ref().map(|lease| lease.access_key_id.clone()));
            if held.as_deref() == Some(key) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    #[tokio::test]
    async fn a_keeper_that_panics_ends_the_daemon_with_an_error() {
        let (mut supervisor, _board) = Supervisor::new(world(), identities(&keys("broken", "A")));
        let task = supervisor.tasks.spawn(async { panic!("a bug") });
        supervisor.running.get_mut("broken").unwrap().task = task;
        let (_orders, receiver) = mpsc::channel(1);
        let ended =
            tokio::time::timeout(Duration::from_secs(5), supervisor.run(receiver, CancellationToken::new())).await;
        let error = ended.expect("it does not go on as a zombie").unwrap_err().to_string();
        assert!(error.contains("identity broken") && error.contains("panic"), "{error}");
    }

    #[tokio::test(start_paused = true)]
    async fn generations_swap_and_stopping_ends_all_keepers() {
        let text = |key: &str| identities(&format!("{}{}", keys("a", key), keys("b", "B1")));
        let (supervisor, board) = Supervisor::new(world(), text("A1"));
        let (orders, receiver) = mpsc::channel(1);
        let stop = CancellationToken::new();
        let acting = async {
            until_key(&board, "a", "A1").await;
            let b = board.lookup(&LeaseKey::Identity("b".into())).unwrap();
            orders.send(Order::Replace(text("A2"))).await.unwrap();
            until_key(&board, "a", "A2").await;
            assert!(!b.is_orphaned(), "what did not change keeps its keeper");
            orders.send(Order::Replace(identities(&keys("a", "A2")))).await.unwrap();
            while board.lookup(&LeaseKey::Identity("b".into())).is_some() || !b.is_orphaned() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            let a = board.lookup(&LeaseKey::Identity("a".into())).unwrap();
            stop.cancel();
            a
        };
        let (ended, a) = tokio::join!(supervisor.run(receiver, stop.clone()), acting);
        ended.unwrap();
        while !a.is_orphaned() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}
