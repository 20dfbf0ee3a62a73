//! `credenza login` and its results, as a user sees them.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Stdio};
use std::time::SystemTime;

use rustix::process::{Pid, Signal, kill_process};
use testkit::harness::{CommandOutput, HUSH, Home, until, wait};
use testkit::oidc::{DEVICE, Oidc, Person, REGISTER, TOKEN, refusal};
use testkit::server::Reply;

const START_URL: &str = "https://d.awsapps.com/start";
/// SHA-1 of `work`.
const WORK: &str = ".aws/sso/cache/e274eeff768c6396088ec6eb091f4bf4d47ab1e0.json";
/// SHA-1 of the start URL.
const LEGACY: &str = ".aws/sso/cache/55ef7a9cf0faa7e6830be02dd04fb62b1c3c5000.json";
const CONFIG: &str = "\
[sso-session work]
sso_start_url = https://d.awsapps.com/start
sso_region = eu-west-1
[profile dev]
sso_session = work
sso_account_id = 123456789012
sso_role_name = Dev
[profile old]
sso_start_url = https://d.awsapps.com/start
sso_region = eu-west-1
sso_account_id = 123456789012
sso_role_name = Dev
[profile plain]
region = eu-west-1
";

fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs()
}

struct Stage {
    home: Home,
    oidc: Oidc,
}

impl Stage {
    fn new(config: &str) -> Self {
        let home = Home::new();
        home.write(".aws/config", config);
        Self { home, oidc: Oidc::start(START_URL, now()) }
    }

    fn login(&self, arguments: &[&str], variables: &[(&str, &str)]) -> CommandOutput {
        let endpoint = self.oidc.endpoint();
        let mut all = vec![("AWS_ENDPOINT_URL_SSO_OIDC", &*endpoint), ("RUST_LOG", "trace")];
        all.extend(variables);
        let ended = self.home.run(&[&["login"], arguments].concat(), &all);
        assert!(!format!("{ended:?}").contains(HUSH), "{ended:?}");
        ended
    }

    fn begin(&self, arguments: &[&str]) -> Child {
        let mut command = self.home.command(&["login"]);
        command.args(arguments).env("AWS_ENDPOINT_URL_SSO_OIDC", self.oidc.endpoint());
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    fn cached(&self, file: &str) -> serde_json::Value {
        let path = self.home.path().join(file);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
    }

    /// Returns the files of the login cache; none if there is no folder.
    fn files(&self) -> Vec<String> {
        let Ok(folder) = fs::read_dir(self.home.path().join(".aws/sso/cache")) else { return Vec::new() };
        folder.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    fn bodies(&self, path: &str) -> Vec<serde_json::Value> {
        let seen = self.oidc.server().seen().into_iter().filter(|seen| seen.target == path);
        seen.map(|seen| serde_json::from_slice(&seen.body).unwrap()).collect()
    }
}

#[test]
fn logs_in_to_a_session_with_a_refresh_token() {
    let stage = Stage::new(CONFIG);
    stage.oidc.set(|state| state.person = Person::AgreesAt(2));
    for arguments in [&["--profile", "dev"][..], &["--sso-session", "work"]] {
        let ended = stage.login(arguments, &[]);
        assert_eq!((ended.code, &*ended.stdout), (Some(0), ""), "{ended:?}");
        for says in [
            "SSO session work: to log in, open this page",
            "https://device.sso.example/?user_code=ABCD-EFGH",
            "code ABCD-EFGH",
            "logged in: SSO session work, until 2",
        ] {
            assert!(ended.stderr.contains(says), "{says}: {}", ended.stderr);
        }
        assert!(!ended.stderr.contains('\r'), "no line moves where there is no terminal: {ended:?}");
    }
    let cached = stage.cached(WORK);
    let names: Vec<_> = cached.as_object().unwrap().keys().map(String::as_str).collect();
    let botocore = "accessToken clientId clientSecret expiresAt refreshToken region registrationExpiresAt startUrl";
    assert_eq!(names.join(" "), botocore);
    assert_eq!((&cached["startUrl"], &cached["region"]), (&START_URL.into(), &"eu-west-1".into()));
    let token = stage.oidc.set(|state| state.access_tokens.last().cloned());
    assert_eq!(cached["accessToken"].as_str().map(Into::into), token);
    let folder = fs::metadata(stage.home.path().join(".aws/sso/cache")).unwrap();
    assert_eq!(folder.permissions().mode() & 0o777, 0o700);
    // The second login uses the registration of the first.
    let [registered] = &stage.bodies(REGISTER)[..] else { panic!() };
    assert_eq!(registered["scopes"], serde_json::json!(["sso:account:access"]));
    assert_eq!(registered["clientType"], "public");
    assert_eq!(stage.bodies(DEVICE).len(), 2);
    assert_eq!(stage.bodies(DEVICE)[0]["startUrl"], START_URL);
    assert_eq!(stage.bodies(TOKEN).len(), 4);
    assert_eq!(stage.files().len(), 2, "the token and the registration: {:?}", stage.files());
}

#[test]
fn legacy_properties_log_in_without_a_refresh_token() {
    let stage = Stage::new(CONFIG);
    let ended = stage.login(&[], &[("AWS_PROFILE", "old")]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.stderr.contains("logged in: SSO login at https://d.awsapps.com/start, until 2"), "{ended:?}");
    let cached = stage.cached(LEGACY);
    assert!(cached["accessToken"].is_string() && cached.get("refreshToken").is_none(), "{cached}");
    assert_eq!(stage.bodies(REGISTER)[0].get("scopes"), None);
}

#[test]
fn renews_invalid_client_registrations() {
    let stage = Stage::new(CONFIG);
    stage.oidc.set(|state| state.registration_seconds = 3600);
    let log_in = || assert_eq!(stage.login(&["--profile", "dev"], &[]).code, Some(0));
    log_in();
    stage.oidc.set(|state| state.registration_seconds = 90 * 24 * 3600);
    log_in();
    assert_eq!(stage.oidc.asked(REGISTER), 2, "an hour is too short for what is to be refreshed");
    stage.oidc.set(|state| state.clients.clear());
    log_in();
    assert_eq!(stage.oidc.asked(REGISTER), 3, "the service has forgotten it");
    log_in();
    assert_eq!(stage.oidc.asked(REGISTER), 3);
}

#[test]
fn polls_less_often_after_slow_down() {
    let stage = Stage::new(CONFIG);
    stage.oidc.script(TOKEN, refusal(400, "slow_down", "slower"));
    let ended = stage.login(&["--profile", "dev"], &[]);
    assert_eq!((ended.code, stage.oidc.asked(TOKEN)), (Some(0), 2), "{ended:?}");
}

#[test]
fn keeps_polling_after_server_errors() {
    let stage = Stage::new(CONFIG);
    for _ in 0..3 {
        stage.oidc.script(TOKEN, Reply::of(503, "<html>"));
    }
    assert_eq!(stage.login(&["--profile", "dev"], &[]).code, Some(0));
}

#[test]
fn keeps_login_cache_after_refusal_or_expired_code() {
    let stage = Stage::new(CONFIG);
    stage.home.write(WORK, "before");
    for (person, says) in [
        (Person::Refuses, "credenza: SSO session work: the request was denied in the browser"),
        (Person::SleepsUntil(2), "the code expired before you agreed; run again: credenza login --sso-session work"),
    ] {
        stage.oidc.set(|state| state.person = person);
        let ended = stage.login(&["--profile", "dev"], &[]);
        assert!(ended.code == Some(1) && ended.stderr.contains(says), "{says}: {ended:?}");
        assert_eq!(fs::read_to_string(stage.home.path().join(WORK)).unwrap(), "before");
        assert_eq!(stage.files().len(), 1);
    }
}

#[test]
fn leaves_no_files_after_an_interrupt() {
    let stage = Stage::new(CONFIG);
    stage.oidc.set(|state| state.person = Person::AgreesAt(u32::MAX));
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let mut child = stage.begin(&["--profile", "dev"]);
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        while !line.contains("code ABCD-EFGH") {
            line.clear();
            assert_ne!(stderr.read_line(&mut line).unwrap(), 0, "it ended");
        }
        kill_process(Pid::from_child(&child), signal).unwrap();
        assert_eq!(wait(&mut child).code(), Some(code));
        let mut rest = String::new();
        stderr.read_to_string(&mut rest).unwrap();
        assert!(rest.contains("login cancelled; nothing has changed"), "{rest}");
        assert_eq!(stage.files(), [""; 0]);
    }
}

#[test]
fn login_all_logs_in_once_per_session() {
    let mut config = String::new();
    for session in ["a", "b"] {
        config += &format!(
            "[sso-session {session}]\nsso_start_url = https://{session}.example/start\nsso_region = eu-west-1\n"
        );
    }
    for n in 0..40 {
        config += &format!("[profile p{n}]\nsso_account_id = 123456789012\nsso_role_name = R{n}\n");
        config += match n % 3 {
            0 => "sso_session = a\n",
            1 => "sso_session = b\n",
            _ => "sso_start_url = https://d.awsapps.com/start\nsso_region = eu-west-1\n",
        };
    }
    let stage = Stage::new(&config);
    stage
        .oidc
        .set(|state| state.start_urls.extend(["https://a.example/start".into(), "https://b.example/start".into()]));
    let ended = stage.login(&["--all"], &[]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!((ended.stderr.matches("logged in: ").count(), stage.oidc.asked(DEVICE)), (3, 3), "{ended:?}");
    assert_eq!(stage.files().len(), 6);
    // A failed login does not prevent the others.
    stage.oidc.set(|state| state.start_urls.retain(|url| !url.contains("//a.")));
    let ended = stage.login(&["--all"], &[]);
    assert_eq!((ended.code, ended.stderr.matches("logged in: ").count()), (Some(1), 2), "{ended:?}");
    let says = ".aws/config, line 2): StartDeviceAuthorization (POST http://127.0.0.1:";
    assert!(ended.stderr.contains("credenza: SSO session a (") && ended.stderr.contains(says), "{ended:?}");
    assert!(
        ended.stderr.contains("invalid_request: no such start URL; check the settings of the profile"),
        "{ended:?}"
    );
    assert!(ended.stderr.contains("; if this lasts, compare sso_start_url"), "{ended:?}");
}

#[test]
fn suggests_logins_for_profiles_without_sso() {
    let stage =
        Stage::new(&format!("{CONFIG}[profile lost]\nsso_session = gone\n[profile half]\nsso_start_url = https://d\n"));
    let config = stage.home.path().join(".aws/config");
    let at = |line: u32| format!("{}, line {line}", config.display());
    let (lost, half) = (format!("credenza: {}: profile lost:", at(16)), format!("{}: profile half:", at(18)));
    let logins = "run one of: credenza login --profile old, credenza login --sso-session work";
    for (arguments, code, says) in [
        (&["--profile", "plain"][..], 1, &*format!("profile plain ({}) does not use SSO; run one of: ", at(14))),
        (&["--profile", "nobody"], 1, "there is no profile nobody in "),
        (&[], 1, "there is no profile default in "),
        (&["--sso-session", "nope"], 1, "there is no [sso-session nope] in "),
        (&["--sso-session", "nope"], 1, logins),
        (&["--profile", "lost"], 1, &format!("{lost} it names the sso_session gone, and no [sso-session gone]")),
        (&["--profile", "half"], 1, &format!("{half} sso_start_url is set without sso_region; add it")),
        (&["--config-file", "/nowhere", "--all"], 1, "/nowhere: there is no such file"),
        (&["--all", "--sso-session", "work"], 2, "--sso-session and --all name different logins"),
        (&["--all", "--profile", "dev"], 2, "--all and --profile name different logins"),
        (&["--url", "http://a:b@c"], 2, "--url has no meaning for `credenza login`"),
        (&["--listen", "127.0.0.1:1"], 2, "--listen has no meaning for `credenza login`"),
    ] {
        let ended = stage.login(arguments, &[]);
        assert!(ended.code == Some(code) && ended.stderr.contains(says), "{arguments:?} {says}: {ended:?}");
    }
    let none = Stage::new("[default]\nregion = r\n").login(&["--all"], &[]);
    assert!(none.code == Some(1) && none.stderr.contains("uses SSO; add one with `aws configure sso`"), "{none:?}");
    assert!(stage.oidc.server().lines().is_empty());
}

#[test]
fn prefers_flags_to_variables() {
    let stage = Stage::new(CONFIG);
    let variables = [("CREDENZA_SSO_SESSION", "nope"), ("CREDENZA_NO_BROWSER", "true")];
    let ended = stage.login(&["--profile", "old"], &variables);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(stage.login(&[], &variables).stderr.contains("there is no [sso-session nope]"));
    assert_eq!(stage.login(&["--sso-session", "work"], &[("CREDENZA_PROFILE", "nope")]).code, Some(0));
}

#[test]
fn opens_the_named_browser_unless_no_browser() {
    let stage = Stage::new(CONFIG);
    let opened = stage.home.path().join("opened");
    let browser = stage
        .home
        .write("browser", format!("#!/bin/sh\necho \"$@\" \"$CREDENZA_X\" >>{}\necho noise\n", opened.display()));
    fs::set_permissions(&browser, fs::Permissions::from_mode(0o700)).unwrap();
    let variables = [("BROWSER", browser.to_str().unwrap()), ("CREDENZA_X", "hush-x")];
    let ended = stage.login(&["--profile", "dev"], &variables);
    assert!(ended.code == Some(0) && !ended.stderr.contains("noise"), "{ended:?}");
    until("the browser has run", || fs::read_to_string(&opened).is_ok_and(|text| text.ends_with('\n')));
    let expected = "https://device.sso.example/?user_code=ABCD-EFGH \n";
    assert_eq!(fs::read_to_string(&opened).unwrap(), expected);
    assert_eq!(stage.login(&["--profile", "dev", "--no-browser"], &variables).code, Some(0));
    assert_eq!(fs::read_to_string(&opened).unwrap(), expected);
    let ended = stage.login(&["--profile", "dev"], &[("BROWSER", "/nowhere/browser")]);
    assert!(ended.code == Some(0) && ended.stderr.contains("(no browser was opened here: "), "{ended:?}");
}

#[test]
fn refuses_endpoints_of_files_that_others_can_write() {
    let stage = Stage::new("");
    let profile = "[profile dev]\nsso_start_url = https://d.awsapps.com/start\nsso_region = eu-west-1\n";
    let path = stage.home.write(".aws/config", format!("{profile}endpoint_url = {}\n", stage.oidc.endpoint()));
    let run = || stage.home.run(&["login", "--profile", "dev"], &[]);
    assert_eq!(run().code, Some(0));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o646)).unwrap();
    let ended = run();
    assert!(ended.code == Some(1) && ended.stderr.contains("may be written by all users"), "{ended:?}");
    assert_eq!(stage.oidc.asked(DEVICE), 1);
}
