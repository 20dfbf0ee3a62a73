use std::time::{Duration, SystemTime};

use super::*;
use crate::config::Overrides;
use crate::lease::registry::NoRefresher;
use crate::lease::supervisor::demand::{MAKES_ROOM_AFTER, MAX_USER_SESSIONS};
use crate::model::narrowing::Narrowing;
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
        let held = handle.and_then(|handle| handle.state().lease.as_ref().map(|lease| lease.access_key_id.clone()));
        if held.as_deref() == Some(key) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn panic_of_a_refresher_ends_the_daemon_with_an_error() {
    let (mut supervisor, _registry) = Supervisor::new(context(), identities(&keys("broken", "A")), None);
    let task = supervisor.tasks.spawn(async { panic!("a bug") });
    supervisor.running.get_mut("broken").unwrap().task = task;
    let (_commands, receiver) = mpsc::channel(1);
    let ended = tokio::time::timeout(Duration::from_secs(5), supervisor.run(receiver, CancellationToken::new())).await;
    let error = ended.expect("it ends").unwrap_err().to_string();
    assert!(error.contains("identity broken") && error.contains("panic"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn swaps_generations_and_stopping_ends_all_refreshers() {
    let text = |key: &str| identities(&format!("{}{}", keys("a", key), keys("b", "B1")));
    let (supervisor, registry) = Supervisor::new(context(), text("A1"), None);
    let (commands, receiver) = mpsc::channel(1);
    let stop = CancellationToken::new();
    let client = async {
        until_key(&registry, "a", "A1").await;
        let b = registry.lookup(&LeaseKey::Identity("b".into())).unwrap();
        commands.send(SupervisorCommand::Replace(text("A2"))).await.unwrap();
        until_key(&registry, "a", "A2").await;
        assert!(!b.has_ended(), "an unchanged identity keeps its refresher");
        commands.send(SupervisorCommand::Replace(identities(&keys("a", "A2")))).await.unwrap();
        while registry.lookup(&LeaseKey::Identity("b".into())).is_some() || !b.has_ended() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let a = registry.lookup(&LeaseKey::Identity("a".into())).unwrap();
        stop.cancel();
        a
    };
    let (ended, a) = tokio::join!(supervisor.run(receiver, stop.clone()), client);
    ended.unwrap();
    while !a.has_ended() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn drops_long_lived_keys_that_are_now_to_be_exchanged() {
    let (mut supervisor, registry) = Supervisor::new(context(), identities(&keys("a", "A1")), None);
    until_key(&registry, "a", "A1").await;
    let lease = || registry.lookup(&LeaseKey::Identity("a".into())).unwrap().state().lease.clone();
    supervisor.replace(identities(&format!("{}long_lived_expiration = \"15m\"\n", keys("a", "A1"))));
    assert!(lease().is_some(), "another change keeps the lease");
    supervisor.replace(identities(&format!("{}long_lived_keys = \"session\"\n", keys("a", "A1"))));
    assert!(lease().is_none());
}

#[tokio::test]
async fn starts_profiles_on_demand_and_stops_removed_ones() {
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
    let (supervisor, registry) = Supervisor::new(context, served("\"dev\", \"team-*\""), None);
    let (commands, receiver) = mpsc::channel(1);
    let stop = CancellationToken::new();
    let until = async |what: &str, holds: &dyn Fn() -> bool| {
        let waited = tokio::time::timeout(Duration::from_secs(20), async {
            while !holds() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        waited.await.unwrap_or_else(|_| panic!("{what}"));
    };
    let find = async |name: &'static str| {
        let found = tokio::time::timeout(Duration::from_secs(20), async {
            loop {
                match registry.find(&LeaseKey::Identity(name.into())).await {
                    Some(handle) => return handle,
                    None => tokio::time::sleep(Duration::from_millis(5)).await,
                }
            }
        });
        found.await.unwrap_or_else(|_| panic!("{name} is not served"))
    };
    let is_running = |name: &str| registry.lookup(&LeaseKey::Identity(name.into())).is_some();
    let client = async {
        assert!(registry.find(&LeaseKey::Identity("other".into())).await.is_none(), "no pattern matches it");
        assert!(registry.find(&LeaseKey::Identity("team-x".into())).await.is_none(), "there is no such profile");
        assert!(!is_running("team-a"), "no client has requested it");
        let dev = registry.find(&LeaseKey::Identity("dev".into())).await.unwrap();
        until("the configured identity", &|| {
            dev.state().lease.as_ref().is_some_and(|it| &*it.access_key_id == "CONFIGURED")
        })
        .await;
        let name = LeaseKey::Identity("team-a".into());
        let (a, again) = tokio::join!(registry.find(&name), registry.find(&name));
        let (a, again) = (a.unwrap(), again.unwrap());
        again.wake(WakeReason::LeaseWanted);
        until("team-a", &|| a.state().lease.as_ref().is_some_and(|it| &*it.access_key_id == "team-a")).await;

        write(&["team-a", "team-b", "team-new"]);
        find("team-new").await;
        assert!(!a.has_ended(), "the others keep their refreshers");
        write(&["team-b", "team-new"]);
        until("a removed profile stops", &|| !is_running("team-a")).await;
        assert!(registry.find(&LeaseKey::Identity("team-a".into())).await.is_none());
        write(&["[broken", "team-b"]);
        assert!(is_running("team-new"));

        commands.send(SupervisorCommand::Replace(served("\"team-b\""))).await.unwrap();
        until("a profile that is no longer served", &|| !is_running("team-new")).await;
        write(&["team-b"]);
        let b = find("team-b").await;
        clock.step(3 * 3600 * 1000);
        assert!(b.idle_time(clock.now()) >= Duration::from_secs(2 * 3600));
        b.record_use(clock.now());
        assert!(b.idle_time(clock.now()) < Duration::from_secs(60));
        stop.cancel();
    };
    let (ended, _, ()) =
        tokio::join!(supervisor.run(receiver, stop.clone()), stop.run_until_cancelled(watcher.run()), client);
    ended.unwrap();
}

#[tokio::test(start_paused = true)]
async fn stops_profile_that_is_idle() {
    let (mut supervisor, registry) = Supervisor::new(context(), identities("[profiles]\nserve = [\"*\"]\n"), None);
    supervisor.known_profiles.send_replace(Some(Arc::new(["dev".into(), "used".into()].into())));
    supervisor.listing = None;
    let (clock, stop) = (supervisor.context.clock.clone(), CancellationToken::new());
    let (_commands, receiver) = mpsc::channel(1);
    let client = async {
        let dev = registry.find(&LeaseKey::Identity("dev".into())).await.unwrap();
        let used = registry.find(&LeaseKey::Identity("used".into())).await.unwrap();
        for _ in 0..130 {
            used.record_use(clock.now());
            tokio::time::sleep(Duration::from_secs(60)).await;
        }
        assert!(dev.has_ended() && !used.has_ended());
        assert!(
            registry.find(&LeaseKey::Identity("dev".into())).await.is_some_and(|handle| !handle.has_ended()),
            "and the next request starts it again"
        );
        stop.cancel();
    };
    let (ended, ()) = tokio::join!(supervisor.run(receiver, stop.clone()), client);
    ended.unwrap();
}

/// A configuration with an identity that names its clients, and one that does not.
fn per_client(session_name: &str) -> Generation {
    let assume = format!(
        "[identities.a]\nsources = [{{ access_key_id = \"A\", secret_access_key = \"s\" }}]\n\
         assume = {{ role_arn = \"arn:aws:iam::123456789012:role/r\", session_name = \"{session_name}\" }}\n"
    );
    identities(&format!("{assume}{}", keys("b", "B1")))
}

#[tokio::test]
async fn clients_share_a_lease_unless_its_sessions_name_them() {
    let (mut supervisor, registry) = Supervisor::new(context(), per_client("{client}"), None);
    let (a, b) = (IdentityName::from("a"), IdentityName::from("b"));
    let of = |identity: &IdentityName| -> BTreeSet<LeaseKey> {
        (0..100).map(|number| registry.key_for(identity, &format!("c{number}"), Some("ann"))).collect()
    };
    assert_eq!(of(&b), BTreeSet::from([LeaseKey::Identity(b.clone())]));
    assert_eq!(of(&a).len(), 100);
    assert_eq!(registry.key_for(&a, "web", Some("ann")), registry.key_for(&a, "web", None));
    assert_eq!(registry.key_for(&a, "owner", Some("ann")), LeaseKey::Identity(a.clone()));
    assert_eq!(registry.key_for(&"unknown".into(), "web", None), LeaseKey::Identity("unknown".into()));
    supervisor.replace(per_client("{user}"));
    assert_eq!(of(&a).len(), 1, "one user has one session");
    assert_ne!(registry.key_for(&a, "web", Some("ann")), registry.key_for(&a, "web", Some("bob")));
    assert!(matches!(registry.key_for(&a, "owner", Some("ann")), LeaseKey::Narrowed(_)));
    supervisor.replace(per_client("fixed"));
    assert_eq!(of(&a), BTreeSet::from([LeaseKey::Identity(a.clone())]));
}

#[tokio::test(start_paused = true)]
async fn narrowed_lease_starts_on_demand_and_ends_when_idle_or_changed() {
    let (supervisor, registry) = Supervisor::new(context(), identities(&keys("a", "A1")), None);
    let (clock, stop) = (supervisor.context.clock.clone(), CancellationToken::new());
    let (commands, receiver) = mpsc::channel(1);
    let narrowed = |client: &str| {
        LeaseKey::narrowed("a".into(), Narrowing { client: Some(client.into()), ..Narrowing::default() })
    };
    let client = async {
        let unknown = LeaseKey::narrowed("unknown".into(), Narrowing::default());
        assert!(registry.find(&unknown).await.is_none());
        let (idle, used) =
            (registry.find(&narrowed("idle")).await.unwrap(), registry.find(&narrowed("used")).await.unwrap());
        assert!(registry.lookup(&narrowed("idle")).is_some());
        assert_eq!(registry.handles.borrow().len(), 2, "lists show identities only: a and default");
        used.wake(WakeReason::LeaseWanted);
        while used.state().usable(clock.now()).is_none() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let until = Some(clock.now() + Duration::from_secs(600));
        let key = LeaseKey::narrowed("a".into(), Narrowing { until, ..Narrowing::default() });
        let ending = registry.find(&key).await.unwrap();
        for minute in 0..130 {
            used.record_use(clock.now());
            ending.record_use(clock.now());
            assert!(minute < 12 || ending.has_ended(), "its time is over");
            tokio::time::sleep(Duration::from_secs(60)).await;
        }
        assert!(idle.has_ended() && !used.has_ended());
        commands.send(SupervisorCommand::Replace(identities(&keys("a", "A1")))).await.unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(!used.has_ended(), "nothing has changed");
        commands.send(SupervisorCommand::Replace(identities(&keys("a", "A2")))).await.unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(used.has_ended() && registry.lookup(&narrowed("used")).is_none());
        let again = registry.find(&narrowed("used")).await.unwrap();
        commands.send(SupervisorCommand::Replace(identities(&keys("b", "B1")))).await.unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(again.has_ended() && registry.find(&narrowed("used")).await.is_none());
        stop.cancel();
    };
    let (ended, ()) = tokio::join!(supervisor.run(receiver, stop.clone()), client);
    ended.unwrap();
}

/// One program in a user namespace can be as many users as it likes.
#[tokio::test(start_paused = true)]
async fn sessions_for_users_of_one_client_are_limited() {
    let (supervisor, registry) = Supervisor::new(context(), identities(&keys("a", "A1")), None);
    let (clock, stop) = (supervisor.context.clock.clone(), CancellationToken::new());
    let (_commands, receiver) = mpsc::channel(1);
    let find = async |client: &str, user: usize| {
        let narrowing = Narrowing { user: Some(user.to_string().into()), ..Narrowing::default() };
        registry.find_for(&LeaseKey::narrowed("a".into(), narrowing), client).await
    };
    let client = async {
        let other = find("other", 0).await.unwrap();
        let mut held = Vec::new();
        for user in 1..=MAX_USER_SESSIONS {
            held.push(find("many", user).await.unwrap());
        }
        tokio::time::sleep(MAKES_ROOM_AFTER - Duration::from_secs(1)).await;
        // A fresh user is refused; a known one is not, nor is another client.
        assert_eq!(find("many", 5_000).await.unwrap_err(), NoRefresher::TooManySessions);
        find("many", 0).await.unwrap();
        find("many", 1).await.unwrap();
        find("other", 5_001).await.unwrap();
        held.iter().skip(1).for_each(|handle| handle.record_use(clock.now()));
        tokio::time::sleep(Duration::from_secs(2)).await;
        // Of its own sessions, the one that nobody used makes room.
        find("many", 5_000).await.unwrap();
        assert!(held[0].has_ended() && held.iter().skip(1).all(|handle| !handle.has_ended()) && !other.has_ended());
        assert_eq!(find("many", 1).await.unwrap_err(), NoRefresher::TooManySessions);
        // Sessions for all users of an identity are as many as the configuration has.
        let of_client = Narrowing { client: Some("many".into()), ..Narrowing::default() };
        registry.find_for(&LeaseKey::narrowed("a".into(), of_client), "many").await.unwrap();
        stop.cancel();
    };
    let (ended, ()) = tokio::join!(supervisor.run(receiver, stop.clone()), client);
    ended.unwrap();
}

#[tokio::test]
async fn drops_a_lease_that_is_now_to_be_narrowed() {
    let assume = "assume = { role_arn = \"arn:aws:iam::123456789012:role/r\" }\n";
    let (mut supervisor, registry) = Supervisor::new(context(), identities(&keys("a", "A1")), None);
    until_key(&registry, "a", "A1").await;
    supervisor.replace(identities(&format!("{}{assume}", keys("a", "A1"))));
    assert!(registry.lookup(&LeaseKey::Identity("a".into())).unwrap().state().lease.is_none());
}
