//! The life of leases: precedence, waiting, withdrawal, reload, restart.

use std::fs;
use std::os::unix::fs::symlink;
use std::time::{Duration, Instant, SystemTime};

use testkit::harness::{Home, KEYS, keys_file, profile};
use testkit::server::{Reply, Server};

/// Starts a container endpoint that answers each request after a delay.
fn slow(delay: Duration) -> Server {
    Server::start(move |_| {
        std::thread::sleep(delay);
        Reply::ok(testkit::document("ASIASLOW", "2099-01-01T00:00:00Z"))
    })
}

#[test]
fn loads_sources_in_order_after_flags() {
    let home = Home::new();
    home.write(".aws/credentials", format!("{}{}", keys_file("AKIAFILE"), profile("dev", "AKIADEV")));
    let flags = ["--access-key-id", "AKIAFLAG", "--secret-access-key", "hush-flag"];
    let url = ["--url", "http://AKIAURL:hush-url@127.0.0.1:9000/"];
    let both: Vec<&str> = flags.iter().chain(&url).copied().collect();
    type Case<'a> = (&'a [&'a str], &'a [(&'a str, &'a str)], &'a str);
    let table: &[Case<'_>] = &[
        (&[], &[], "AKIAFILE"),
        (&[], &KEYS, "AKIAENV"),
        (&url, &KEYS, "AKIAURL"),
        (&flags, &KEYS, "AKIAFLAG"),
        (&both, &KEYS, "AKIAFLAG"),
        (&["--profile", "dev"], &KEYS, "AKIADEV"),
        (&[], &[("AWS_PROFILE", "dev")], "AKIADEV"),
        (&[], &[("AWS_PROFILE", "dev"), KEYS[0], KEYS[1]], "AKIAENV"),
        (&[], &[("CREDENZA_PROFILE", "dev"), KEYS[0], KEYS[1]], "AKIADEV"),
        (&["--profile", "default"], &[("CREDENZA_PROFILE", "dev")], "AKIAFILE"),
    ];
    for (arguments, variables, key) in table {
        let broker = home.serve(arguments, variables);
        assert_eq!(broker.get("/credentials").key().as_deref(), Some(*key), "{arguments:?} {variables:?}");
    }
}

#[test]
fn stops_the_chain_at_half_a_key_pair() {
    let home = Home::new();
    home.write(".aws/credentials", keys_file("AKIAFILE"));
    let broker = home.serve(&[], &KEYS[..1]);
    let answer = broker.get("/credentials");
    assert_eq!((answer.status, answer.code().as_str()), (403, "SourceMisconfigured"), "{answer:?}");
    assert!(
        answer.message().contains("environment") && answer.message().contains("AWS_SECRET_ACCESS_KEY"),
        "{answer:?}"
    );
}

#[test]
fn serves_a_changed_file_after_every_kind_of_change() {
    let home = Home::new();
    let path = home.path().join(".aws/credentials");
    // The folder does not exist at first.
    let broker = home.serve(&[], &[]);
    assert_eq!(broker.get("/credentials").status, 404);
    home.write(".aws/credentials", keys_file("AKIA1"));
    broker.wait_for_key("AKIA1");
    // In place.
    fs::write(&path, keys_file("AKIA2")).unwrap();
    broker.wait_for_key("AKIA2");
    // Write and rename.
    home.write(".aws/new", keys_file("AKIA3"));
    fs::rename(home.path().join(".aws/new"), &path).unwrap();
    broker.wait_for_key("AKIA3");
    // Remove, then create: the lease is served meanwhile.
    fs::remove_file(&path).unwrap();
    std::thread::sleep(Duration::from_millis(400));
    assert_eq!(broker.get("/credentials").key().as_deref(), Some("AKIA3"));
    home.write(".aws/credentials", keys_file("AKIA4"));
    broker.wait_for_key("AKIA4");
    // A Kubernetes volume: the file is a symlink through `..data`, which is swapped.
    for version in ["v1", "v2"] {
        home.write(&format!("volume/{version}/credentials"), keys_file(&format!("AKIA{version}")));
    }
    symlink("v1", home.path().join("volume/..data")).unwrap();
    symlink("..data/credentials", home.path().join("volume/credentials")).unwrap();
    fs::remove_file(&path).unwrap();
    symlink("../volume/credentials", &path).unwrap();
    broker.wait_for_key("AKIAv1");
    symlink("v2", home.path().join("volume/..tmp")).unwrap();
    fs::rename(home.path().join("volume/..tmp"), home.path().join("volume/..data")).unwrap();
    broker.wait_for_key("AKIAv2");
}

#[test]
fn keeps_lease_when_the_file_breaks() {
    let home = Home::new();
    home.write(".aws/credentials", keys_file("AKIA1"));
    let broker = home.serve(&[], &[]);
    broker.wait_for_key("AKIA1");
    for broken in [
        "[default\naws_access_key_id = AKIA2\n",
        "[default]\naws_access_key_id = AKIA2\n",
        "aws_access_key_id\n",
        "\0\0",
    ] {
        home.write(".aws/credentials", broken);
        let failing =
            |answer: &testkit::harness::Response| !answer.json()["identities"]["default"]["failure"].is_null();
        broker.wait_for("/status", failing);
        assert_eq!(broker.get("/credentials").key().as_deref(), Some("AKIA1"), "{broken:?}");
        home.write(".aws/credentials", keys_file("AKIA1"));
        broker.wait_for("/status", |answer| !failing(answer));
    }
}

#[test]
fn withdraws_lease_of_a_deleted_default_file_only() {
    let home = Home::new();
    home.write(".aws/credentials", keys_file("AKIADEFAULT"));
    let named = home.write("named", keys_file("AKIANAMED"));
    let config = "[identities.default]\nsources = [\"profile\"]\n\
                  [identities.named]\nsources = [{ credentials_file = \"~/named\" }]\n";
    let broker = home.serve_config(config, &[]);
    broker.wait_for_key("AKIADEFAULT");
    broker.wait_for_identity("named");
    fs::remove_file(home.path().join(".aws/credentials")).unwrap();
    fs::remove_file(named).unwrap();
    let (answer, took) = broker.wait_for("/credentials", |answer| answer.status != 200);
    assert_eq!((answer.status, answer.code().as_str()), (404, "CredentialsNotConfigured"), "{answer:?}");
    assert!(took > Duration::from_secs(4), "it had its grace: {took:?}");
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(broker.get("/credentials/named").key().as_deref(), Some("AKIANAMED"), "named: until it expires");
}

#[test]
fn fifty_clients_share_one_slow_load() {
    let home = Home::new();
    home.write(".aws/credentials", profile("other", "AKIAOTHER"));
    let upstream = slow(Duration::from_millis(1200));
    let variables = [("AWS_CONTAINER_CREDENTIALS_FULL_URI", &*upstream.url("/"))];
    let config = "[identities.default]\neager = false\nsources = [\"container\"]\n\
                  [identities.other]\nsources = [{ profile = \"other\" }]\n";
    let broker = home.serve_config(config, &variables);
    broker.wait_for_identity("other");
    assert_eq!(upstream.seen().len(), 0, "on demand");
    std::thread::scope(|scope| {
        let waiters: Vec<_> = (0..50).map(|_| scope.spawn(|| broker.get("/credentials"))).collect();
        std::thread::sleep(Duration::from_millis(200));
        for _ in 0..20 {
            let began = Instant::now();
            assert_eq!(broker.get("/credentials/other").status, 200);
            assert!(began.elapsed() < Duration::from_millis(500), "{:?}", began.elapsed());
        }
        for waiter in waiters {
            assert_eq!(waiter.join().unwrap().key().as_deref(), Some("ASIASLOW"));
        }
    });
    assert_eq!(upstream.seen().len(), 1);
}

#[test]
fn finishes_a_load_after_its_client_disconnects() {
    let home = Home::new();
    let upstream = slow(Duration::from_millis(800));
    let variables = [("AWS_CONTAINER_CREDENTIALS_FULL_URI", &*upstream.url("/"))];
    let broker = home.serve_config("[identities.default]\neager = false\nsources = [\"container\"]\n", &variables);
    let request = broker.begin("/credentials");
    std::thread::sleep(Duration::from_millis(300));
    drop(request);
    std::thread::sleep(Duration::from_millis(1000));
    let began = Instant::now();
    assert_eq!(broker.get("/credentials").key().as_deref(), Some("ASIASLOW"));
    assert!(began.elapsed() < Duration::from_millis(300));
    assert_eq!(upstream.seen().len(), 1);
}

#[test]
fn reports_a_refusal_at_once_without_retrying_early() {
    let home = Home::new();
    let upstream = Server::start(|_| Reply::of(403, r#"{"code":"Nope","message":"go away"}"#));
    let variables = [("AWS_CONTAINER_CREDENTIALS_FULL_URI", &*upstream.url("/"))];
    let broker = home.serve(&[], &variables);
    for _ in 0..20 {
        let answer = broker.get("/credentials");
        assert_eq!((answer.status, answer.code().as_str()), (403, "SourceDenied"), "{answer:?}");
        assert!(
            answer.message().contains("go away") && answer.message().contains("identity default: container"),
            "{answer:?}"
        );
    }
    assert_eq!(upstream.seen().len(), 1);
}

#[test]
fn reload_applies_changes_and_rejects_bad_files() {
    let home = Home::new();
    let write = |text: &str| home.write("credenza.toml", text);
    let identity = |name: &str, key: &str| {
        let keys = format!("{{ access_key_id = \"{key}\", secret_access_key = \"hush\" }}");
        format!("[identities.{name}]\nsources = [{keys}]\n")
    };
    let broker = home.serve_config(identity("a", "AKIAA1") + &identity("b", "AKIAB1"), &[]);
    broker.wait_for_identity("a");
    let loaded = |name: &str| broker.get("/status").json()["identities"][name]["loaded"].clone();
    let before = loaded("b");
    std::thread::sleep(Duration::from_millis(1100));
    write(&[identity("a", "AKIAA2"), identity("b", "AKIAB1"), identity("c", "AKIAC1")].concat());
    broker.wait_for("/credentials/a", |answer| answer.key().as_deref() == Some("AKIAA2"));
    broker.wait_for_identity("c");
    assert_eq!(loaded("b"), before, "what did not change keeps its lease");
    // Two errors: both are reported, and nothing changes.
    write("[identities.a]\nsources = [\"nonsense\"]\nunknown = 1\n");
    let (status, _) = broker.wait_for("/status", |answer| !answer.json()["configuration_refused"].is_null());
    let why = status.json()["configuration_refused"].as_str().unwrap().to_owned();
    assert!(why.contains("source 1") && why.contains("unknown"), "{why}");
    assert_eq!(broker.get("/credentials/a").key().as_deref(), Some("AKIAA2"));
    // Corrected, and without one identity.
    write(&identity("a", "AKIAA2"));
    broker.wait_for("/status", |answer| answer.json()["configuration_refused"].is_null());
    broker.wait_for("/credentials/c", |answer| answer.status == 404);
    // A hang-up signal loads every identity again.
    let before = loaded("a");
    std::thread::sleep(Duration::from_millis(1100));
    broker.signal(rustix::process::Signal::HUP);
    broker.wait_for("/status", |_| loaded("a") != before);
}

#[test]
fn keeps_the_auth_token_over_a_restart() {
    let home = Home::new();
    let mut broker = home.serve(&[], &KEYS);
    let token = home.token();
    broker.signal(rustix::process::Signal::TERM);
    assert_eq!(broker.wait().code(), Some(0));
    assert_eq!(home.token(), token, "it stays when the daemon stops");
    let broker = home.serve(&[], &KEYS);
    assert_eq!(broker.get("/credentials").status, 200);
}

#[test]
fn never_serves_expired_or_substitute_credentials() {
    let home = Home::new();
    home.write(".aws/credentials", keys_file("AKIAFILE"));
    let soon = testkit::timestamp(SystemTime::now() + Duration::from_secs(3));
    let variables = [KEYS[0], KEYS[1], ("AWS_SESSION_TOKEN", "hush-token"), ("AWS_CREDENTIAL_EXPIRATION", &*soon)];
    let broker = home.serve(&[], &variables);
    let answer = broker.get("/credentials");
    assert_eq!(answer.key().as_deref(), Some("AKIAENV"), "{answer:?}");
    assert_eq!(answer.json()["Expiration"], soon);
    let (answer, _) = broker.wait_for("/credentials", |answer| answer.key().as_deref() != Some("AKIAENV"));
    assert_eq!((answer.status, answer.code().as_str()), (503, "CredentialsUnavailable"), "{answer:?}");
    assert_eq!(answer.header("retry-after"), Some("1"));
}
