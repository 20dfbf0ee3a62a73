//! Logins in a running broker: the error without one, recovery, and logins that many profiles share.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::sync::Arc;
use std::time::SystemTime;

use testkit::harness::{Broker, HUSH, Home};
use testkit::oidc::{Oidc, TOKEN};
use testkit::sso::Portal;

const START_URL: &str = "https://d.awsapps.com/start";
const ACCOUNT: &str = "123456789012";
const CACHE: &str = ".aws/sso/cache";
/// An expiry long ago, as in the login cache.
const PAST: &str = "2020-01-01T00:00:00Z";

fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs()
}

/// A home with these profiles, and a portal that gives every role to every token.
struct Stage {
    home: Home,
    oidc: Oidc,
    portal: Arc<Portal>,
}

impl Stage {
    fn new(config: &str) -> Self {
        let home = Home::new();
        home.write(".aws/config", config);
        let (oidc, portal) = (Oidc::start(START_URL, now()), Arc::new(Portal::start((now() + 3600) * 1000)));
        oidc.set(|state| {
            let portal = Arc::clone(&portal);
            state.issued = Some(Box::new(move |token| portal.allow(token, ACCOUNT, "*")));
        });
        Self { home, oidc, portal }
    }

    fn variables(&self) -> [(&'static str, &'static str); 2] {
        let (portal, oidc) = (self.portal.endpoint().leak(), self.oidc.endpoint().leak());
        [("AWS_ENDPOINT_URL_SSO", portal), ("AWS_ENDPOINT_URL_SSO_OIDC", oidc)]
    }

    /// Runs a command until it exits, and checks that its output has no secret.
    fn run(&self, arguments: &[&str]) -> String {
        let ended = self.home.run(arguments, &self.variables());
        assert!(ended.code == Some(0) && !format!("{ended:?}").contains(HUSH), "{ended:?}");
        ended.stdout + &ended.stderr
    }

    fn serve(&self, arguments: &[&str]) -> Broker {
        self.home.serve(arguments, &self.variables())
    }

    /// Expires the tokens of the login cache.
    fn age(&self) {
        for entry in fs::read_dir(self.home.path().join(CACHE)).unwrap() {
            let path = entry.unwrap().path();
            let Ok(mut token) = serde_json::from_slice::<serde_json::Value>(&fs::read(&path).unwrap()) else {
                continue;
            };
            if token.get("accessToken").is_some() {
                token["expiresAt"] = PAST.into();
                fs::write(&path, token.to_string()).unwrap();
            }
        }
    }
}

fn session(name: &str) -> String {
    format!("[sso-session {name}]\nsso_start_url = {START_URL}\nsso_region = eu-west-1\n")
}

fn profile(name: &str, session: &str, role: &str) -> String {
    format!("[profile {name}]\nsso_session = {session}\nsso_account_id = {ACCOUNT}\nsso_role_name = {role}\n")
}

#[test]
fn reports_required_login_and_serves_after_it() {
    let stage = Stage::new(&(session("work") + &profile("dev", "work", "Dev")));
    let broker = stage.serve(&["--profile", "dev"]);
    let refused = broker.wait_for("/credentials", |answer| answer.status == 403).0;
    assert_eq!(refused.code(), "LoginRequired");
    for says in ["profile dev", "SSO session work", ".aws/config, line ", "run: credenza login --sso-session work"] {
        assert!(refused.message().contains(says), "{refused:?}");
    }
    let status = stage.run(&["status", "--listen", &broker.address().to_string()]);
    assert!(status.contains("\ndefault   login required  run: credenza login --sso-session work\n"), "{status}");
    assert!(status.contains("credenza login --sso-session work"), "{status}");
    assert_eq!((stage.oidc.asked(TOKEN), stage.portal.server().seen().len()), (0, 0), "no request without a login");

    stage.run(&["login", "--sso-session", "work", "--no-browser"]);
    let served = broker.wait_for("/credentials", |answer| answer.status == 200).0;
    assert_eq!(served.key().unwrap(), format!("ASIA{ACCOUNT}Dev1"));
    assert_eq!(stage.portal.server().seen().len(), 1);
}

#[test]
fn status_shows_when_a_login_expires() {
    let legacy = format!(
        "[profile old]\nsso_start_url = {START_URL}\nsso_region = eu-west-1\nsso_account_id = {ACCOUNT}\n\
         sso_role_name = Old\n"
    );
    let stage = Stage::new(&legacy);
    stage.run(&["login", "--profile", "old", "--no-browser"]);
    // The login expires before the keys of the portal.
    let broker = stage.serve(&["--profile", "old"]);
    broker.wait_for("/credentials", |answer| answer.status == 200);
    let status = broker.get("/status").json();
    let ends = status["identities"]["default"]["login_ends"].as_str().unwrap().to_owned();
    assert!(ends.ends_with('Z'), "{status}");
    let shown = stage.run(&["status", "-v", "--listen", &broker.address().to_string()]);
    assert_eq!(status["identities"]["default"]["login_command"], "credenza login --profile old", "{status}");
    let told = "; to log in again, run: credenza login --profile old\n";
    assert!(shown.contains("the login ends in ") && shown.contains(told), "{shown}");

    // The held lease is valid until it expires; another broker has none.
    stage.age();
    drop(broker);
    let broker = stage.serve(&["--profile", "old"]);
    let refused = broker.wait_for("/credentials", |answer| answer.status == 403).0;
    assert_eq!(refused.code(), "LoginRequired");
    assert!(refused.message().contains("run: credenza login --profile old"), "{refused:?}");
    assert_eq!(stage.portal.server().seen().len(), 1, "a token that has ended is not shown to anybody");
}

#[test]
fn refreshes_each_session_once_for_forty_profiles() {
    let sessions = ["a", "b", "c"];
    let mut config: String = sessions.iter().map(|name| session(name)).collect();
    for number in 0..40 {
        write!(config, "{}", profile(&format!("p{number}"), sessions[number % 3], &format!("R{number}x"))).unwrap();
    }
    // The same role of the same session under another name.
    config += &profile("ptwin", "a", "R0x");
    let stage = Stage::new(&config);
    stage.run(&["login", "--all", "--no-browser"]);
    stage.age();
    let before = stage.oidc.asked(TOKEN);

    let broker = stage.serve(&["--serve-profiles", "p*"]);
    std::thread::scope(|scope| {
        for worker in 0..8 {
            let broker = &broker;
            scope.spawn(move || {
                for number in 0..5 {
                    broker.wait_for_identity(&format!("p{}", worker * 5 + number));
                }
            });
        }
    });
    broker.wait_for_identity("ptwin");
    assert_eq!(stage.oidc.asked(TOKEN) - before, 3);
    let asked: Vec<_> = stage.portal.server().seen().iter().map(testkit::server::Seen::line).collect();
    assert_eq!((asked.len(), asked.iter().collect::<BTreeSet<_>>().len()), (40, 40));
    let key = |name: &str| broker.get(&format!("/credentials/{name}")).key().unwrap();
    assert_eq!(key("ptwin"), key("p0"));
    assert!(key("p7").starts_with(&format!("ASIA{ACCOUNT}R7x")));
    assert!((1..40).all(|number| key(&format!("p{number}")) != key("p0")));
}

#[test]
fn logout_ends_the_login_everywhere() {
    let config = format!(
        "[sso-session work]\nsso_start_url = {START_URL}\nsso_region = eu-west-1\n[profile dev]\nsso_session = work\n\
         sso_account_id = {ACCOUNT}\nsso_role_name = Dev\n"
    );
    for portal_fails in [false, true] {
        let stage = Stage::new(&config);
        stage.run(&["login", "--sso-session", "work", "--no-browser"]);
        let got = stage.home.run(&["get", "--profile", "dev"], &stage.variables());
        assert!(got.key().starts_with("ASIA"), "{got:?}");
        if portal_fails {
            (0..3).for_each(|_| stage.portal.script(testkit::server::Reply::of(500, "broken")));
        }
        let told = stage.run(&["logout", "--sso-session", "work"]);
        assert!(told.contains("SSO session work: logged out, ") && told.contains(".json removed"), "{told}");
        assert_eq!(told.contains("the access portal could not end the login"), portal_fails, "{told}");
        let is_known = std::cell::Cell::new(false);
        stage.portal.set(|state| is_known.set(!state.tokens.is_empty()));
        assert_eq!(is_known.get(), portal_fails);
        let after = stage.home.run(&["get", "--profile", "dev"], &stage.variables());
        assert!(after.code == Some(1) && after.stderr.contains("credenza login --sso-session work"), "{after:?}");
        assert!(stage.run(&["logout", "--profile", "dev"]).contains("SSO session work: there was no login"));
        assert!(stage.run(&["logout", "--all"]).contains("there was no login"));
    }
}
