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
        let held = handle.and_then(|handle| handle.state().lease.as_ref().map(|lease| lease.access_key_id.clone()));
        if held.as_deref() == Some(key) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn panic_of_a_refresher_ends_the_daemon_with_an_error() {
    let (mut supervisor, _registry) = Supervisor::new(context(), identities(&keys("broken", "A")));
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
    let (supervisor, registry) = Supervisor::new(context(), text("A1"));
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
    let (mut supervisor, registry) = Supervisor::new(context(), identities(&keys("a", "A1")));
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
    let (supervisor, registry) = Supervisor::new(context, served("\"dev\", \"team-*\""));
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
                match registry.find(&name.into()).await {
                    Some(handle) => return handle,
                    None => tokio::time::sleep(Duration::from_millis(5)).await,
                }
            }
        });
        found.await.unwrap_or_else(|_| panic!("{name} is not served"))
    };
    let is_running = |name: &str| registry.lookup(&LeaseKey::Identity(name.into())).is_some();
    let client = async {
        assert!(registry.find(&"other".into()).await.is_none(), "no pattern matches it");
        assert!(registry.find(&"team-x".into()).await.is_none(), "there is no such profile");
        assert!(!is_running("team-a"), "no client has requested it");
        let dev = registry.find(&"dev".into()).await.unwrap();
        until("the configured identity", &|| {
            dev.state().lease.as_ref().is_some_and(|it| &*it.access_key_id == "CONFIGURED")
        })
        .await;
        let name = IdentityName::from("team-a");
        let (a, again) = tokio::join!(registry.find(&name), registry.find(&name));
        let (a, again) = (a.unwrap(), again.unwrap());
        again.wake(WakeReason::LeaseWanted);
        until("team-a", &|| a.state().lease.as_ref().is_some_and(|it| &*it.access_key_id == "team-a")).await;

        write(&["team-a", "team-b", "team-new"]);
        find("team-new").await;
        assert!(!a.has_ended(), "the others keep their refreshers");
        write(&["team-b", "team-new"]);
        until("a removed profile stops", &|| !is_running("team-a")).await;
        assert!(registry.find(&"team-a".into()).await.is_none());
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
    let (mut supervisor, registry) = Supervisor::new(context(), identities("[profiles]\nserve = [\"*\"]\n"));
    supervisor.known_profiles.send_replace(Some(Arc::new(["dev".into(), "used".into()].into())));
    supervisor.listing = None;
    let (clock, stop) = (supervisor.context.clock.clone(), CancellationToken::new());
    let (_commands, receiver) = mpsc::channel(1);
    let client = async {
        let dev = registry.find(&"dev".into()).await.unwrap();
        let used = registry.find(&"used".into()).await.unwrap();
        for _ in 0..130 {
            used.record_use(clock.now());
            tokio::time::sleep(Duration::from_secs(60)).await;
        }
        assert!(dev.has_ended() && !used.has_ended());
        assert!(
            registry.find(&"dev".into()).await.is_some_and(|handle| !handle.has_ended()),
            "and the next request starts it again"
        );
        stop.cancel();
    };
    let (ended, ()) = tokio::join!(supervisor.run(receiver, stop.clone()), client);
    ended.unwrap();
}
