//! Generations of keepers: spawns them, publishes the board, swaps in a new configuration, stops.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::config::identity::Identity;
use crate::config::profiles::ServedProfiles;
use crate::context::Context;
use crate::lease::Lease;
use crate::lease::refresher::{RefreshPolicy, Refresher};
use crate::lease::registry::{LeaseHandle, LeaseKey, LeaseRegistry, LiveLeases, ProfileDemand, WakeReason};
use crate::lease::served_profiles::ServedProfileNames;
use crate::model::error::SourceError;
use crate::model::identity_name::IdentityName;
use crate::source::build;
use crate::source::spec::LongLivedKeys;

/// What the supervisor is told.
#[derive(Debug)]
pub(crate) enum SupervisorCommand {
    /// A new and valid configuration.
    Replace(Generation),
    /// The configuration on disk is not valid, and why; nothing else changes.
    Refused(Arc<str>),
    /// Everybody loads now.
    Reload,
}

/// What a configuration has to be kept.
#[derive(Clone, Debug)]
pub(crate) struct Generation {
    /// By name.
    pub(crate) identities: BTreeMap<IdentityName, Identity>,
    /// Profiles that are identities once somebody asks for them.
    pub(crate) profiles: Option<ServedProfiles>,
}

impl Generation {
    /// That of a configuration.
    #[must_use]
    pub(crate) fn of(config: &Config) -> Self {
        Self { identities: config.identities.clone(), profiles: config.profiles.clone() }
    }
}

/// How often it is looked who has not been asked for.
const SWEEP: Duration = Duration::from_secs(60);

/// How many may ask at once for what nobody keeps yet; the others wait a moment.
const DEMANDS: usize = 64;

/// A look at the shared files, which gives its catalogue back.
type ProfileListing =
    Pin<Box<dyn Future<Output = (ServedProfileNames, Result<BTreeSet<IdentityName>, SourceError>)> + Send>>;

/// A keeper ended by itself: nobody keeps its lease fresh any more.
#[derive(Debug, thiserror::Error)]
#[error("the keeper of identity {0} ended: {1}; the daemon cannot go on without it")]
pub(crate) struct RefresherEnded(IdentityName, String);

/// The owner of all keepers.
pub(crate) struct Supervisor {
    context: Context,
    profiles: Option<ServedProfiles>,
    running: BTreeMap<IdentityName, RunningRefresher>,
    tasks: JoinSet<Infallible>,
    look: Option<ProfileListing>,
    demands: mpsc::Receiver<ProfileDemand>,
    live: watch::Sender<Arc<LiveLeases>>,
    known: watch::Sender<Option<Arc<BTreeSet<IdentityName>>>>,
    refused: watch::Sender<Option<Arc<str>>>,
}

struct RunningRefresher {
    identity: Identity,
    handle: LeaseHandle,
    task: AbortHandle,
}

impl Supervisor {
    /// A supervisor with its first generation running.
    #[must_use]
    pub(crate) fn new(context: Context, generation: Generation) -> (Self, LeaseRegistry) {
        let (live, known, refused) = (watch::Sender::default(), watch::Sender::default(), watch::Sender::default());
        let (demand, demands) = mpsc::channel(DEMANDS);
        let registry =
            LeaseRegistry { live: live.subscribe(), refused: refused.subscribe(), known: known.subscribe(), demand };
        let (running, tasks) = (BTreeMap::new(), JoinSet::new());
        let mut supervisor =
            Self { context, profiles: None, running, tasks, look: None, demands, live, known, refused };
        supervisor.replace(generation);
        (supervisor, registry)
    }

    /// Runs until `stop` is cancelled. Keepers end with it.
    ///
    /// # Errors
    /// When a keeper panicked or ended by itself.
    pub(crate) async fn run(
        mut self,
        mut orders: mpsc::Receiver<SupervisorCommand>,
        stop: CancellationToken,
    ) -> Result<(), RefresherEnded> {
        let clock = self.context.clock.clone();
        let mut ticker = std::pin::pin!(clock.watch_for_steps());
        let mut sweep = tokio::time::interval(SWEEP);
        sweep.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        loop {
            let sweeps = self.running.values().any(|running| running.identity.is_profile);
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
                (catalogue, names) = looked(&mut self.look) => self.learn(catalogue, names),
                Some(demand) = self.demands.recv() => self.answer(demand),
                _ = sweep.tick(), if sweeps => self.sweep(),
            }
        }
    }

    fn obey(&mut self, order: SupervisorCommand) {
        match order {
            SupervisorCommand::Replace(generation) => {
                self.refused.send_replace(None);
                self.replace(generation);
            }
            SupervisorCommand::Refused(why) => {
                self.refused.send_replace(Some(why));
            }
            SupervisorCommand::Reload => {
                self.context.credential_cache.forget();
                for running in self.running.values() {
                    running.handle.wish(WakeReason::Reload);
                }
            }
        }
    }

    /// Swaps in a generation. An identity that did not change keeps its keeper and its lease; a changed one serves its old
    /// lease until its new chain has been loaded once.
    fn replace(&mut self, Generation { identities, profiles }: Generation) {
        let mut before = std::mem::take(&mut self.running);
        for (name, identity) in identities {
            let old = before.remove(&name);
            let running = match old {
                Some(old) if old.identity == identity => old,
                Some(old) => {
                    tracing::info!(identity = %name, "configured anew");
                    let lease = old.handle.now().lease.clone().filter(|lease| may_go_on(lease, &identity));
                    let running = self.spawn(&name, identity, lease);
                    old.task.abort();
                    running
                }
                None => self.spawn(&name, identity, None),
            };
            self.running.insert(name, running);
        }
        // Profiles that are still served as they were go on.
        let known = self.known.borrow().clone().unwrap_or_default();
        for (name, running) in std::mem::take(&mut before) {
            let serves = |served: &ServedProfiles| served.matches(name.as_str()) && known.contains(&name);
            match profiles.as_ref().filter(|served| running.identity.is_profile && serves(served)) {
                Some(served) if served.identity(&name) == running.identity => drop(self.running.insert(name, running)),
                _ => drop(before.insert(name, running)),
            }
        }
        if self.profiles != profiles {
            self.profiles = profiles;
            self.look = None;
            match &self.profiles {
                Some(served) => {
                    self.known.send_replace(None);
                    self.look = Some(Box::pin(look(ServedProfileNames::new(&self.context, served.clone()))));
                }
                None => drop(self.known.send_replace(Some(Arc::default()))),
            }
        } else if self.profiles.is_none() {
            self.known.send_replace(Some(Arc::default()));
        }
        self.publish();
        for (name, gone) in before {
            tracing::info!(identity = %name, "not configured any more");
            gone.task.abort();
        }
    }

    /// The names of the profiles have been looked up, or could not be: then those from before stand.
    fn learn(&mut self, catalogue: ServedProfileNames, names: Result<BTreeSet<IdentityName>, SourceError>) {
        match names {
            Ok(names) => {
                tracing::info!(profiles = names.len(), "profiles are served on demand");
                let gone = |name: &IdentityName, running: &RunningRefresher| {
                    running.identity.is_profile && !names.contains(name)
                };
                self.drop_those(gone, "the profile is gone");
                self.known.send_replace(Some(Arc::new(names)));
            }
            Err(failure) => {
                tracing::warn!(error = %failure, "the profiles cannot be listed; those that were known are served on");
                self.known.send_if_modified(|known| known.is_none().then(|| *known = Some(Arc::default())).is_some());
            }
        }
        self.look = Some(Box::pin(async {
            catalogue.changed().await;
            look(catalogue).await
        }));
    }

    /// Somebody asks for a profile that nobody keeps yet.
    fn answer(&mut self, ProfileDemand { name, reply }: ProfileDemand) {
        if let Some(running) = self.running.get(&name) {
            let _ = reply.send(running.handle.clone());
            return;
        }
        let is_known = self.known.borrow().as_ref().is_some_and(|known| known.contains(&name));
        let Some(served) = self.profiles.as_ref().filter(|_| is_known) else { return };
        let identity = served.identity(&name);
        let running = self.spawn(&name, identity, None);
        running.handle.touch(self.context.clock.now());
        let _ = reply.send(running.handle.clone());
        self.running.insert(name, running);
        self.publish();
    }

    /// Drops the keepers of profiles that nobody has asked for in a long time.
    fn sweep(&mut self) {
        let Some(served) = &self.profiles else { return };
        let (now, idle) = (self.context.clock.now(), served.idle);
        self.drop_those(
            |_, running| running.identity.is_profile && running.handle.idle(now) >= idle,
            "nobody has asked for this profile in a long time; it is loaded when somebody does",
        );
    }

    fn drop_those(&mut self, which: impl Fn(&IdentityName, &RunningRefresher) -> bool, why: &str) {
        let dropped: Vec<(IdentityName, RunningRefresher)> =
            self.running.extract_if(.., |name, running| which(name, running)).collect();
        if dropped.is_empty() {
            return;
        }
        self.publish();
        for (name, running) in dropped {
            tracing::info!(identity = %name, "{why}");
            running.task.abort();
        }
    }

    fn publish(&self) {
        let live =
            self.running.iter().map(|(name, running)| (LeaseKey::Identity(name.clone()), running.handle.clone()));
        self.live.send_replace(Arc::new(live.collect()));
    }

    fn spawn(&mut self, name: &IdentityName, identity: Identity, inherited: Option<Arc<Lease>>) -> RunningRefresher {
        let key = LeaseKey::Identity(name.clone());
        let (refresher, handle) = Refresher::new(
            key,
            build::chain(&identity.sources, identity.on_failure, identity.long_lived_keys),
            self.context.for_refresher(),
            RefreshPolicy::from(&identity),
            inherited,
        );
        let task = self.tasks.spawn(refresher.keep());
        RunningRefresher { identity, handle, task }
    }

    fn ended(&self, id: tokio::task::Id, why: String) -> RefresherEnded {
        let name = self.running.iter().find(|(_, running)| running.task.id() == id).map(|(name, _)| name.clone());
        RefresherEnded(name.unwrap_or_else(|| IdentityName::new("?")), why)
    }
}

impl std::fmt::Debug for Supervisor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Supervisor").field("running", &self.running.keys()).finish_non_exhaustive()
    }
}

/// Whether a lease from before may be served until the new chain has been loaded: not long-lived keys that are to be
/// exchanged from now on.
fn may_go_on(lease: &Lease, identity: &Identity) -> bool {
    !(lease.without_token && matches!(identity.long_lived_keys, LongLivedKeys::Session { .. }))
}

async fn look(catalogue: ServedProfileNames) -> (ServedProfileNames, Result<BTreeSet<IdentityName>, SourceError>) {
    let names = catalogue.names().await;
    (catalogue, names)
}

/// What came of a look; nothing ever where nobody looks. The look is over then, and another one may begin.
async fn looked(
    look: &mut Option<ProfileListing>,
) -> (ServedProfileNames, Result<BTreeSet<IdentityName>, SourceError>) {
    match look {
        Some(looking) => {
            let outcome = looking.await;
            *look = None;
            outcome
        }
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;
    use crate::config::Overrides;
    use crate::os::clock::Clock;

    fn identities(text: &str) -> Generation {
        Generation::of(&Config::parse(text.as_bytes(), &Overrides::default()).unwrap())
    }

    fn keys(identity: &str, key: &str) -> String {
        format!("[identities.{identity}]\nsources = [{{ access_key_id = \"{key}\", secret_access_key = \"s\" }}]\n")
    }

    fn context() -> Context {
        Context {
            clock: Clock::injected(SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_449_600)),
            ..Context::default()
        }
    }

    async fn until_key(registry: &LeaseRegistry, name: &str, key: &str) {
        loop {
            let handle = registry.lookup(&LeaseKey::Identity(name.into()));
            let held = handle.and_then(|handle| handle.now().lease.as_ref().map(|lease| lease.access_key_id.clone()));
            if held.as_deref() == Some(key) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    #[tokio::test]
    async fn a_keeper_that_panics_ends_the_daemon_with_an_error() {
        let (mut supervisor, _board) = Supervisor::new(context(), identities(&keys("broken", "A")));
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
        let (supervisor, registry) = Supervisor::new(context(), text("A1"));
        let (orders, receiver) = mpsc::channel(1);
        let stop = CancellationToken::new();
        let acting = async {
            until_key(&registry, "a", "A1").await;
            let b = registry.lookup(&LeaseKey::Identity("b".into())).unwrap();
            orders.send(SupervisorCommand::Replace(text("A2"))).await.unwrap();
            until_key(&registry, "a", "A2").await;
            assert!(!b.is_orphaned(), "what did not change keeps its keeper");
            orders.send(SupervisorCommand::Replace(identities(&keys("a", "A2")))).await.unwrap();
            while registry.lookup(&LeaseKey::Identity("b".into())).is_some() || !b.is_orphaned() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            let a = registry.lookup(&LeaseKey::Identity("a".into())).unwrap();
            stop.cancel();
            a
        };
        let (ended, a) = tokio::join!(supervisor.run(receiver, stop.clone()), acting);
        ended.unwrap();
        while !a.is_orphaned() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    #[tokio::test]
    async fn long_lived_keys_that_are_to_be_exchanged_from_now_on_are_served_no_longer() {
        let (mut supervisor, registry) = Supervisor::new(context(), identities(&keys("a", "A1")));
        until_key(&registry, "a", "A1").await;
        let lease = || registry.lookup(&LeaseKey::Identity("a".into())).unwrap().now().lease.clone();
        supervisor.replace(identities(&format!("{}long_lived_expiration = \"15m\"\n", keys("a", "A1"))));
        assert!(lease().is_some(), "what changes otherwise goes on");
        supervisor.replace(identities(&format!("{}long_lived_keys = \"session\"\n", keys("a", "A1"))));
        assert!(lease().is_none());
    }

    #[tokio::test]
    async fn profiles_are_kept_on_demand_and_dropped_when_idle_gone_or_not_served_any_more() {
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir(home.path().join(".aws")).unwrap();
        let write = |names: &[&str]| {
            let profile = |name: &&str| format!("[{name}]\naws_access_key_id = {name}\naws_secret_access_key = s\n");
            let text: String = names.iter().map(profile).collect();
            std::fs::write(home.path().join(".aws/credentials"), text).unwrap();
        };
        write(&["dev", "team-a", "team-b", "other"]);
        let (files, watcher) = crate::os::files::Files::watched();
        let environment = crate::os::environment::Environment::new([("HOME", home.path().to_str().unwrap())]);
        let context = Context { files, environment, ..context() };
        let clock = context.clock.clone();
        let served = |text: &str| identities(&format!("[profiles]\nserve = [{text}]\n{}", keys("dev", "CONFIGURED")));
        let (supervisor, registry) = Supervisor::new(context, served("\"dev\", \"team-*\""));
        let (orders, receiver) = mpsc::channel(1);
        let stop = CancellationToken::new();
        let until = async |what: &str, holds: &dyn Fn() -> bool| {
            let patience = tokio::time::timeout(Duration::from_secs(20), async {
                while !holds() {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            });
            patience.await.unwrap_or_else(|_| panic!("{what}"));
        };
        let keeps = |name: &str| registry.lookup(&LeaseKey::Identity(name.into())).is_some();
        let acting = async {
            assert!(registry.find(&"other".into()).await.is_none(), "no pattern matches it");
            assert!(registry.find(&"team-x".into()).await.is_none(), "there is no such profile");
            assert!(!keeps("team-a"), "nobody has asked");
            let dev = registry.find(&"dev".into()).await.unwrap();
            until("the configured identity", &|| {
                dev.now().lease.as_ref().is_some_and(|it| &*it.access_key_id == "CONFIGURED")
            })
            .await;
            let name = IdentityName::from("team-a");
            let (a, again) = tokio::join!(registry.find(&name), registry.find(&name));
            let (a, again) = (a.unwrap(), again.unwrap());
            again.wish(WakeReason::LeaseWanted);
            until("team-a", &|| a.now().lease.as_ref().is_some_and(|it| &*it.access_key_id == "team-a")).await;

            write(&["team-a", "team-b", "team-new"]);
            let new = async {
                while registry.find(&"team-new".into()).await.is_none() {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            };
            tokio::time::timeout(Duration::from_secs(20), new).await.expect("a new profile appears");
            assert!(!a.is_orphaned(), "the others go on");
            write(&["team-b", "team-new"]);
            until("a removed profile vanishes", &|| !keeps("team-a")).await;
            assert!(registry.find(&"team-a".into()).await.is_none());
            write(&["[broken", "team-b"]);
            assert!(keeps("team-new"));

            orders.send(SupervisorCommand::Replace(served("\"team-b\""))).await.unwrap();
            until("what is not served any more goes", &|| !keeps("team-new")).await;
            write(&["team-b"]);
            let b = async {
                loop {
                    match registry.find(&"team-b".into()).await {
                        Some(handle) => return handle,
                        None => tokio::time::sleep(Duration::from_millis(5)).await,
                    }
                }
            };
            let b = tokio::time::timeout(Duration::from_secs(20), b).await.expect("it is served");
            clock.step(3 * 3600 * 1000);
            assert!(b.idle(clock.now()) >= Duration::from_secs(2 * 3600));
            b.touch(clock.now());
            assert!(b.idle(clock.now()) < Duration::from_secs(60));
            stop.cancel();
        };
        let (ended, _, ()) =
            tokio::join!(supervisor.run(receiver, stop.clone()), stop.run_until_cancelled(watcher.run()), acting);
        ended.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_asks_and_the_keeper_goes() {
        let (mut supervisor, registry) = Supervisor::new(context(), identities("[profiles]\nserve = [\"*\"]\n"));
        supervisor.known.send_replace(Some(Arc::new(["dev".into(), "used".into()].into())));
        supervisor.look = None;
        let (clock, stop) = (supervisor.context.clock.clone(), CancellationToken::new());
        let (_orders, receiver) = mpsc::channel(1);
        let acting = async {
            let dev = registry.find(&"dev".into()).await.unwrap();
            let used = registry.find(&"used".into()).await.unwrap();
            for _ in 0..130 {
                used.touch(clock.now());
                tokio::time::sleep(Duration::from_secs(60)).await;
            }
            assert!(dev.is_orphaned() && !used.is_orphaned());
            assert!(registry.find(&"dev".into()).await.is_some_and(|handle| !handle.is_orphaned()), "and comes again");
            stop.cancel();
        };
        let (ended, ()) = tokio::join!(supervisor.run(receiver, stop.clone()), acting);
        ended.unwrap();
    }
}
