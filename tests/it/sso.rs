//! Logins in a running broker: the error without one, recovery, and logins that many profiles share.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use testkit::harness::{Broker, HUSH, Home, until};
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
        self.expire_at(PAST);
    }

    /// Changes the expiry of the tokens of the login cache.
    fn expire_at(&self, end: &str) {
        for entry in fs::read_dir(self.home.path().join(CACHE)).unwrap() {
            let path = entry.unwrap().path();
            let Ok(mut token) = serde_json::from_slice::<serde_json::Value>(&fs::read(&path).unwrap()) else {
                continue;
            };
            if token.get("accessToken").is_some() {
                token["expiresAt"] = end.into();
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
fn notifies_once_of_the_end_of_a_login() {
    let legacy = |name: &str| {
        format!(
            "[profile {name}]\nsso_start_url = {START_URL}\nsso_region = eu-west-1\nsso_account_id = {ACCOUNT}\n\
             sso_role_name = {name}\n"
        )
    };
    let stage = Stage::new(&(legacy("old") + &legacy("other")));
    stage.run(&["login", "--profile", "old", "--no-browser"]);
    stage.expire_at(&testkit::timestamp(SystemTime::now() + Duration::from_secs(1800)));
    let told = stage.home.path().join("told");
    let script = stage.home.write("tell", "printf '%s|' \"$@\" >>told\nenv >env\necho hush-output\nexit 3\n");
    let notify = format!("[notify]\ncommand = [\"/bin/sh\", \"{}\", ", script.display());
    let identities =
        ["old", "other"].map(|name| format!("[identities.{name}]\nsources = [{{ profile = \"{name}\" }}]\n"));
    let config = format!("{notify}\"{{identity}}: {{what}}\", \"{{ends}}\", \"{{command}}\"]\n{}", identities.concat());
    stage.home.write("credenza.toml", config);
    let broker = stage.serve(&["--config", "credenza.toml"]);
    for name in ["old", "other"] {
        broker.wait_for(&format!("/credentials/{name}"), |answer| answer.status == 200);
    }
    until("it has been told, and the failure is logged", || broker.log().contains("failed (exit status: 3)"));
    let words = fs::read_to_string(told).unwrap();
    let [what, ends, command, ""] = &words.split('|').collect::<Vec<_>>()[..] else {
        panic!("told more than once: {words}")
    };
    assert!(["old: login", "other: login"].contains(what) && ends.ends_with('Z'), "{words}");
    assert!(command.starts_with("credenza login --profile o"), "{words}");
    let environment = fs::read_to_string(stage.home.path().join("env")).unwrap();
    assert!(environment.contains("AWS_ENDPOINT_URL_SSO="), "{environment}");
    assert!(!environment.contains("CREDENZA_TOKEN_FILE") && !environment.contains(HUSH), "{environment}");
    let log = broker.log();
    assert!(log.matches("of this identity ends soon").count() == 2 && !log.contains(HUSH), "{log}");
    assert_eq!(log.matches("the program of [notify]").count(), 1, "{log}");
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

/// A stage with three accounts and a login.
fn stage_with_accounts() -> Stage {
    let stage = Stage::new(&session("work"));
    let portal = Arc::clone(&stage.portal);
    stage.oidc.set(|state| {
        state.issued = Some(Box::new(move |token| {
            for (account, role) in [("111111111111", "Dev"), ("222222222222", "*"), ("333333333333", "Dev")] {
                portal.allow(token, account, role);
            }
        }));
    });
    stage.portal.set(|state| {
        let names = [("111111111111", "My dev (eu)"), ("222222222222", "prod"), ("333333333333", "my\u{1b}[2J dev")];
        state.account_names = names.map(|(account, name)| (account.into(), name.into())).into();
    });
    stage.run(&["login", "--sso-session", "work", "--no-browser"]);
    stage
}

#[test]
fn lists_roles_of_a_login_as_profiles() {
    let stage = stage_with_accounts();
    let list = || stage.home.run(&["profiles", "--from-sso", "--session", "work"], &stage.variables());
    let listed = list();
    let (noted, listed) = (listed.stderr, listed.stdout);
    for name in ["My-dev-eu-Dev", "my-2J-dev-Dev", "prod-Admin", "prod-Dev", "prod-ReadOnly"] {
        assert!(listed.contains(&format!("[profile {name}]\n")), "{name}: {listed}");
    }
    assert!(noted.contains("5 new, 0 there already (of 5 roles in work); --write adds them to"), "{noted}");
    assert!(
        !listed.contains('\u{1b}')
            && !fs::read_to_string(stage.home.path().join(".aws/config")).unwrap().contains("prod")
    );
    // The portal throttles more requests than one call repeats.
    stage.portal.set(|state| state.throttled = 4);
    assert_eq!(list().stdout, listed, "the same names each time");
    let asked = stage.home.run(&["profiles", "--from-sso", "--write"], &stage.variables());
    assert!(asked.code == Some(1) && asked.stderr.contains("there is no terminal to ask at"), "{asked:?}");
}

#[test]
fn writes_roles_of_a_login_once() {
    let stage = stage_with_accounts();
    let before = fs::read_to_string(stage.home.path().join(".aws/config")).unwrap();
    let written =
        stage.run(&["profiles", "--from-sso", "--write", "--yes", "--template", "{role}", "--region", "eu-west-1"]);
    assert!(written.contains("5 new"), "{written}");
    let after = fs::read_to_string(stage.home.path().join(".aws/config")).unwrap();
    assert!(after.starts_with(&before), "{after}");
    for name in ["Dev-111111111111", "Dev-222222222222", "Dev-333333333333", "Admin", "ReadOnly"] {
        assert!(after.contains(&format!("[profile {name}]\n# Written by credenza.\nsso_session = work\n")), "{after}");
    }
    assert_eq!(after.matches("region = eu-west-1").count(), 5 + 1);
    let again = stage.run(&["profiles", "--from-sso", "--write", "--yes"]);
    assert!(again.contains("0 new, 5 there already"), "{again}");
    assert_eq!(fs::read_to_string(stage.home.path().join(".aws/config")).unwrap(), after);
    let got = stage.home.run(&["get", "--profile", "Dev-333333333333"], &stage.variables());
    assert!(got.stdout.contains("ASIA333333333333Dev"), "{}", got.stderr);
}

#[test]
fn explains_what_is_missing_for_a_list_of_roles() {
    let stage = Stage::new(&(session("work") + &session("play")));
    let fails = |arguments: &[&str]| {
        let ended = stage.home.run(&[&["profiles", "--from-sso"], arguments].concat(), &stage.variables());
        assert!(ended.code.is_some_and(|code| code != 0), "{ended:?}");
        ended.stderr
    };
    assert!(fails(&[]).contains("several SSO sessions; add --session with one of play, work"));
    assert!(fails(&["--session", "wrok"]).contains("did you mean work?"));
    assert!(fails(&["--session", "work"]).contains("credenza login --sso-session work"));
    assert!(fails(&["--template", "{rol}"]).contains("did you mean role?"));
    assert!(fails(&["--yes"]).contains("--write"));
}
