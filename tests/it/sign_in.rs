//! The login of `aws login`, as a user sees it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use testkit::harness::{CommandOutput, HUSH, Home};
use testkit::signin::{Signin, cached};

const CONFIG: &str = "[profile dev]\nregion = us-east-1\nlogin_session = arn:aws:iam::123456789012:user/me\n";
/// SHA-256 of the session.
const FILE: &str = "286187707741fc2ccb93cf9e56dbd0ee0a16208feed5fbc8ae1baa86d44c283f.json";

struct Stage {
    home: Home,
    signin: Signin,
}

fn now() -> SystemTime {
    SystemTime::now()
}

impl Stage {
    /// Starts a Sign-In that knows one refresh token.
    fn new() -> Self {
        let home = Home::new();
        home.write(".aws/config", CONFIG);
        let signin = Signin::start(now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs());
        signin.known("hush-refresh");
        Self { home, signin }
    }

    /// Writes a login with credentials that expire in this many minutes.
    fn logged_in(&self, key: &str, minutes: i32) -> PathBuf {
        let by = Duration::from_secs(60 * u64::from(minutes.unsigned_abs()));
        let end = if minutes < 0 { now() - by } else { now() + by };
        self.write(&cached(key, &testkit::timestamp(end), "hush-refresh"))
    }

    fn write(&self, content: &str) -> PathBuf {
        let aside = self.home.write(".aws/login/cache/aside", content);
        fs::set_permissions(&aside, fs::Permissions::from_mode(0o600)).unwrap();
        let path = aside.with_file_name(FILE);
        fs::rename(aside, &path).unwrap();
        path
    }

    fn run(&self, arguments: &[&str], variables: &[(&str, &str)]) -> CommandOutput {
        let endpoint = self.signin.endpoint();
        let ended = self.home.run(arguments, &[&[("AWS_ENDPOINT_URL_SIGNIN", &*endpoint)], variables].concat());
        assert!(!ended.stderr.contains(HUSH), "{ended:?}");
        ended
    }

    fn get(&self) -> CommandOutput {
        self.run(&["get", "--profile", "dev"], &[])
    }
}

fn read(path: &PathBuf) -> serde_json::Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

#[test]
fn prints_fresh_credentials_and_refreshes_old_ones() {
    let stage = Stage::new();
    let path = stage.logged_in("ASIA0", 10);
    let found = stage.get().json();
    assert_eq!((&found["AccessKeyId"], &found["AccountId"]), (&"ASIA0".into(), &"123456789012".into()));
    assert_eq!(found["Expiration"], read(&path)["accessToken"]["expiresAt"]);
    assert_eq!(stage.signin.asked(), 0);
    for minutes in [4, -60] {
        stage.signin.known("hush-refresh");
        let path = stage.logged_in("ASIA0", minutes);
        let found = stage.get().json();
        let written = read(&path);
        assert_ne!(found["AccessKeyId"], "ASIA0");
        for (ours, theirs) in [
            ("AccessKeyId", "accessKeyId"),
            ("SecretAccessKey", "secretAccessKey"),
            ("SessionToken", "sessionToken"),
            ("Expiration", "expiresAt"),
            ("AccountId", "accountId"),
        ] {
            assert_eq!(found[ours], written["accessToken"][theirs], "{ours}");
        }
        assert_eq!(written["idToken"], "hush-id");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(stage.get().json()["AccessKeyId"], found["AccessKeyId"]);
    }
    assert_eq!(stage.signin.asked(), 2);
}

#[test]
fn uses_the_named_login_cache() {
    let stage = Stage::new();
    let path = stage.logged_in("ASIA0", 10);
    let folder = stage.home.path().join("elsewhere");
    fs::create_dir(&folder).unwrap();
    fs::rename(&path, folder.join(FILE)).unwrap();
    assert_eq!(stage.get().code, Some(1));
    for named in [folder.to_str().unwrap(), "~/elsewhere"] {
        let ended = stage.run(&["get", "--profile", "dev"], &[("AWS_LOGIN_CACHE_DIRECTORY", named)]);
        assert_eq!(ended.json()["AccessKeyId"], "ASIA0");
    }
}

#[test]
fn reports_required_login_with_location_and_command() {
    let stage = Stage::new();
    let config = stage.home.path().join(".aws/config");
    let place = format!("profile dev: {}, line 3: ", config.display());
    let says = |end: &str, because: &str| {
        let ended = stage.get();
        assert_eq!(ended.code, Some(1), "{ended:?}");
        for part in [&*place, because, end] {
            assert!(ended.stderr.contains(part), "{part}: {ended:?}");
        }
    };
    let remedy = "run: aws login --profile dev";
    says(remedy, "not logged in at sign-in session arn:aws:iam::123456789012:user/me (there is no ");
    let whole = fs::read_to_string(stage.logged_in("ASIA0", 10)).unwrap();
    stage.write(&whole[..whole.len() / 2]);
    says(remedy, "it ends in the middle");
    stage.write(&whole.replace("dpopKey", "other"));
    says(remedy, "it has no dpopKey");
    let path = stage.write(&whole);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o602)).unwrap();
    says(remedy, "another user may have written it");
    if rustix::process::geteuid().is_root() {
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        std::os::unix::fs::chown(&path, Some(12345), None).unwrap();
        says(remedy, "belongs to user 12345");
    }
    stage.signin.set(|state| state.refresh_tokens.clear());
    stage.logged_in("ASIA0", -60);
    says(remedy, "the sign-in session arn:aws:iam::123456789012:user/me has expired (ended 20");
    let check = stage.run(&["check", "-v", "--profile", "dev"], &[]);
    assert!(check.code == Some(1) && format!("{}{}", check.stdout, check.stderr).contains(remedy), "{check:?}");
}

#[test]
fn recovers_after_a_login() {
    let stage = Stage::new();
    stage.signin.set(|state| state.refresh_tokens.clear());
    stage.logged_in("ASIA0", -60);
    let endpoint = stage.signin.endpoint();
    let broker = stage.home.serve(&["--profile", "dev"], &[("AWS_ENDPOINT_URL_SIGNIN", &endpoint)]);
    let (refused, _) = broker.wait_for("/credentials", |answer| answer.status == 403);
    assert_eq!(refused.code(), "LoginRequired", "{refused:?}");
    assert!(refused.message().contains("run: aws login --profile dev") && !refused.body.contains(HUSH), "{refused:?}");
    stage.logged_in("ASIA1", 10);
    broker.wait_for_key("ASIA1");
    let asked = stage.signin.asked();
    assert_eq!(asked, 1, "a refused token is shown once");
    // The AWS CLI has refreshed the login: its file is served without a request.
    stage.logged_in("ASIA2", 12);
    broker.wait_for_key("ASIA2");
    assert_eq!(stage.signin.asked(), asked);
}

#[test]
fn refreshes_a_shared_login_once() {
    let stage = Stage::new();
    let config: String = (0..100).map(|n| CONFIG.replace("dev", &format!("p{n}"))).collect();
    stage.home.write(".aws/config", config);
    stage.logged_in("ASIA0", -60);
    let endpoint = stage.signin.endpoint();
    let broker = stage.home.serve(&["--serve-profiles", "*"], &[("AWS_ENDPOINT_URL_SIGNIN", &endpoint)]);
    std::thread::scope(|scope| {
        for worker in 0..4 {
            let broker = &broker;
            scope.spawn(move || {
                for n in (worker..100).step_by(4) {
                    let path = format!("/credentials/p{n}");
                    let (answer, _) = broker.wait_for(&path, |answer| answer.status == 200);
                    assert_eq!(answer.key().as_deref(), Some("ASIASIGNIN1"));
                }
            });
        }
    });
    assert_eq!(stage.signin.asked(), 1);
}
