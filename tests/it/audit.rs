//! The audit log of a running daemon, and `credenza audit`.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use rustix::process::Signal;
use serde_json::Value;
use testkit::harness::{Broker, HUSH, Home, until};

fn token(client: &str) -> String {
    format!("{HUSH}-token-of-at-least-32-characters-{client}")
}

fn config(audit: &str) -> String {
    format!(
        "[audit]\n{audit}\n[clients.web]\ntoken = \"{}\"\nidentities = [\"default\", \"web\"]\n\
         [identities.default]\nsources = [{{ access_key_id = \"AKIADEFAULT\", secret_access_key = \"{HUSH}\" }}]\n\
         [identities.web]\nsources = [{{ access_key_id = \"AKIAWEB\", secret_access_key = \"{HUSH}\" }}]\n",
        token("web")
    )
}

/// The log of a home.
struct Log(std::path::PathBuf);

impl Log {
    fn of(home: &Home) -> Self {
        Self(home.path().join("audit.log"))
    }

    fn setting(&self) -> String {
        format!("file = \"{}\"", self.0.display())
    }

    fn lines(&self) -> Vec<Value> {
        let text = fs::read_to_string(&self.0).unwrap_or_default();
        assert!(!text.contains(HUSH), "a secret is in the log");
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn events(&self, kind: &str) -> Vec<Value> {
        self.lines().into_iter().filter(|line| line["event"] == kind).collect()
    }

    /// Waits for the line of this kind with this number.
    fn nth(&self, kind: &str, number: usize) -> Value {
        until(&format!("line {number} of {kind}"), || self.events(kind).len() > number);
        self.events(kind).swap_remove(number)
    }

    /// Returns the sum of the counts.
    fn count(&self, kind: &str) -> u64 {
        self.events(kind).iter().map(|line| line["count"].as_u64().unwrap()).sum()
    }
}

fn serve(home: &Home, audit: &str) -> Broker {
    let broker = home.serve_config(config(audit), &[]);
    until("the identities are loaded", || broker.get_with("/readyz", "").status == 200);
    broker
}

#[test]
fn each_answer_about_credentials_leaves_one_line() {
    let home = Home::new();
    let log = Log::of(&home);
    let broker = serve(&home, &log.setting());
    for _ in 0..3 {
        assert_eq!(broker.get_with("/credentials/web", &token("web")).status, 200);
    }
    let served = log.nth("served", 0);
    assert_eq!(fs::metadata(&log.0).unwrap().permissions().mode() & 0o7777, 0o600);
    for (field, expected) in
        [("client", "web"), ("identity", "web"), ("access_key_id", "AKIAWEB"), ("source", "static")]
    {
        assert!(served[field].as_str().unwrap().contains(expected), "{field}: {served}");
    }
    let expected = (200, 3, rustix::process::geteuid().as_raw(), "127.0.0.1");
    let peer = &served["peer"];
    assert_eq!(
        (
            served["status"].as_u64().unwrap(),
            served["count"].as_u64().unwrap(),
            u32::try_from(peer["uid"].as_u64().unwrap()).unwrap(),
            peer["address"].as_str().unwrap()
        ),
        expected
    );
    assert!(served["listener"].as_str().unwrap().starts_with("127.0.0.1:"), "{served}");
    assert!(served["expiration"].as_str().unwrap().ends_with('Z') && served.get("requested").is_none(), "{served}");

    // Refusals, also of programs that have proved nothing, and of a request that cannot be read.
    for (path, token, code, identity) in [
        ("/credentials/prod", token("web"), "IdentityNotAllowed", Some("prod")),
        ("/credentials/web", token("other"), "InvalidAuthorizationToken", Some("web")),
        ("/status", String::new(), "InvalidAuthorizationToken", None),
    ] {
        let before = log.events("refused").len();
        broker.get_with(path, &token);
        let refused = log.nth("refused", before);
        assert_eq!((refused["code"].as_str().unwrap(), refused["identity"].as_str()), (code, identity), "{refused}");
    }
    let before = log.events("refused").len();
    broker.send(b"GET /credentials HTTP/1.1\r\nbad header\r\n\r\n");
    let refused = log.nth("refused", before);
    assert_eq!((&refused["client"], &refused["status"]), (&"none".into(), &400.into()), "{refused}");

    // These leave no line.
    let before = log.lines().len();
    for path in ["/healthz", "/readyz", "/status", "/nothing"] {
        broker.get_with(path, &token("web"));
    }
    broker.get_with("/credentials/web", &token("web"));
    log.nth("served", 1);
    assert_eq!(log.lines().len(), before + 1, "{:?}", log.lines());
}

#[test]
fn commands_of_the_owner_leave_a_line_with_the_doer() {
    let home = Home::new();
    let log = Log::of(&home);
    let broker = serve(&home, &log.setting());
    let run = |arguments: &[&str]| {
        let output = home.run(arguments, &[]);
        assert_eq!(output.code, Some(0), "{arguments:?}: {output:?}");
    };
    run(&["grant", "build", "--identity", "web", "--for", "30m", "--json"]);
    run(&["use", "web", "--for", "2s"]);
    assert_eq!(broker.get_with("/credentials", &token("web")).status, 200);
    run(&["revoke", "build"]);
    run(&["grant", "short", "--identity", "web", "--for", "1s", "--json"]);
    run(&["reload"]);
    let grant = log.nth("grant", 0);
    assert_eq!((&grant["client"], &grant["identity"]), (&"build".into(), &"web".into()));
    assert!(grant["peer"]["pid"].as_u64().is_some() && grant["expiration"].is_string(), "{grant}");
    assert_eq!(log.nth("use", 0)["identity"], "web");
    let served = log.nth("served", 0);
    assert_eq!((&served["identity"], &served["requested"]), (&"web".into(), &"default".into()), "{served}");
    assert_eq!(log.nth("revoke", 0)["client"], "build");
    assert_eq!(log.nth("grant_ended", 0)["client"], "short");
    assert_eq!(log.nth("use_ended", 0)["identity"], "web");
    assert_eq!(log.nth("reload", 0)["result"], "applied");
    assert_eq!(broker.get_with("/credentials", &token("web")).status, 200);
    log.nth("served", 1);
    let shown = home.run(&["audit", "--since", "1h", "--config", "credenza.toml"], &[]);
    let text = shown.stdout;
    assert_eq!(shown.code, Some(0), "{}", shown.stderr);
    for expected in ["HOLDS KEYS", "AKIAWEB", "grant        client=build", "use_ended", "requested=default"] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
}

#[test]
fn rotation_and_stop_lose_no_answer() {
    let home = Home::new();
    let log = Log::of(&home);
    let mut broker = serve(&home, &log.setting());
    let ask = |broker: &Broker| assert_eq!(broker.get_with("/credentials/web", &token("web")).status, 200);
    ask(&broker);
    log.nth("served", 0);
    let old = home.path().join("audit.log.1");
    fs::rename(&log.0, &old).unwrap();
    ask(&broker);
    broker.signal(Signal::HUP);
    log.nth("reload", 0);
    ask(&broker);
    ask(&broker);
    let shown = home.run(&["audit", "--json", "--config", "credenza.toml"], &[]);
    assert_eq!(shown.code, Some(0), "{shown:?}");
    assert!(shown.stdout.lines().count() >= 2, "the rotated file is read: {shown:?}");
    broker.signal(Signal::TERM);
    assert!(broker.wait().success());
    let rotated = Log(old);
    assert_eq!(rotated.count("served") + log.count("served"), 4, "{:?} {:?}", rotated.lines(), log.lines());
}

#[test]
fn required_log_that_cannot_be_written_serves_no_credentials_until_it_can() {
    let home = Home::new();
    let folder = home.path().join("log");
    let log = Log(folder.join("audit.log"));
    let broker = serve(&home, &format!("{}\nrequired = true", log.setting()));
    let ask = || broker.get_with("/credentials/web", &token("web"));
    let refused = ask();
    assert_eq!((refused.status, refused.code().as_str()), (503, "AuditUnavailable"));
    fs::create_dir(&folder).unwrap();
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).unwrap();
    until("the log is written again", || ask().status == 200);
    // The line is there when the answer is.
    assert_eq!(log.events("served").len(), 1);
    assert_eq!(ask().status, 200);
    assert_eq!(log.events("served").len(), 2);
    assert!(log.count("lost") > 0);
}

#[test]
fn log_that_cannot_be_written_holds_up_nothing_and_counts_what_is_lost() {
    let home = Home::new();
    let fifo = home.path().join("audit.log");
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    let broker = serve(&home, &Log(fifo).setting());
    let ask = || broker.get_with("/credentials/web", &token("web")).status;
    assert_eq!(ask(), 200);
    let audit = || home.run(&["status", "--json", "--config", "credenza.toml"], &[]).json()["audit"].clone();
    until("the loss is counted", || audit()["lost"].as_u64() > Some(0));
    assert_eq!((ask(), &audit()["written"]), (200, &0.into()));
}

#[test]
fn audit_says_what_is_wrong() {
    let home = Home::new();
    for (arguments, expected) in [
        (&["audit"][..], "credenza.toml has no [audit]"),
        (&["audit", "/nonexistent/audit.log"], "cannot read the audit log /nonexistent/audit.log"),
        (&["audit", "--since", "soon"], "--since"),
    ] {
        let output = home.run(arguments, &[]);
        assert!(output.code != Some(0) && output.stderr.contains(expected), "{arguments:?}: {output:?}");
    }
    for (audit, expected) in [
        ("", "no place for the log"),
        ("file = \"audit.log\"", "not an absolute path"),
        ("to = \"syslog\"", "journald"),
        ("to = \"stdout\"\nfile = \"/a\"", "one place"),
    ] {
        home.write("credenza.toml", config(audit));
        let output = home.run(&["serve", "--config", "credenza.toml", "--listen", "127.0.0.1:0"], &[]);
        assert!(output.code == Some(78) && output.stderr.contains(expected), "{audit}: {output:?}");
    }
}
