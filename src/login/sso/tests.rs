use std::fs;
use std::os::unix::fs::PermissionsExt;

use testkit::oidc::{Oidc, TOKEN, refusal};
use testkit::server::{Reply, nobody};

use crate::login::sso::*;
use crate::model::error::ErrorKind;
use crate::model::time::parse_timestamp;
use crate::os::clock::Clock;
use crate::os::environment::Environment;
use crate::os::files::Files;
use crate::os::files::trust::TrustPolicy;
use crate::tests::write_private;

const START_URL: &str = "https://d.awsapps.com/start";
const NOW: &str = "2026-11-25T12:00:00Z";
const SOON: &str = "2026-11-25T12:10:00Z";
const LATER: &str = "2026-11-25T20:00:00Z";
const BEFORE: &str = "2026-11-25T11:00:00Z";
const REGISTERED: &str = "2027-01-01T00:00:00Z";

fn at(text: &str) -> SystemTime {
    parse_timestamp(text).unwrap()
}

/// A home, a clock that shows NOW, and an SSO-OIDC that knows one refresh token.
struct Stage {
    home: tempfile::TempDir,
    oidc: Oidc,
    context: Context,
    settings: Settings,
    session: SsoSession,
}

impl Stage {
    fn new() -> Self {
        let oidc = Oidc::start(START_URL, 0);
        oidc.known("client", "hush-client", "hush-refresh", "hush-access");
        let endpoint = oidc.endpoint();
        Self::asking(oidc, &endpoint)
    }

    fn asking(oidc: Oidc, endpoint: &str) -> Self {
        let home = tempfile::tempdir().unwrap();
        let variables = [("HOME", home.path().to_str().unwrap()), ("AWS_ENDPOINT_URL_SSO_OIDC", endpoint)];
        let context = Context { clock: Clock::injected(at(NOW)), ..Context::of(&variables) };
        let settings = Settings::of_environment(&context.environment).with_region(Some("eu-west-1".into()));
        Self { home, oidc, context, settings, session: SsoSession::new("work", START_URL, "eu-west-1") }
    }

    fn legacy(mut self) -> Self {
        self.session = SsoSession { name: None, scopes: Vec::new(), ..self.session };
        self
    }

    fn path(&self) -> PathBuf {
        cache_file::path(&self.context.environment, &self.session).unwrap()
    }

    fn write(&self, content: &str) {
        write_private(&self.path(), content);
    }

    /// A token with this expiration, which can be refreshed.
    fn cached(&self, token: &str, expires: &str) {
        self.write(&cached(token, expires, "hush-refresh", REGISTERED));
    }

    fn read(&self) -> serde_json::Value {
        serde_json::from_slice(&fs::read(self.path()).unwrap()).unwrap()
    }

    async fn login(&self) -> Result<SsoLogin, SourceError> {
        login(&self.context, &self.settings, &self.session, Some("dev")).await
    }

    async fn error(&self) -> SourceError {
        let error = self.login().await.unwrap_err();
        assert!(!error.to_string().contains("hush"), "{error}");
        error
    }
}

fn cached(token: &str, expires: &str, refresh_token: &str, registered: &str) -> String {
    serde_json::json!({
        "startUrl": START_URL, "region": "eu-west-1", "accessToken": token, "expiresAt": expires,
        "clientId": "client", "clientSecret": "hush-client", "registrationExpiresAt": registered,
        "refreshToken": refresh_token, "receivedAt": "kept",
    })
    .to_string()
}

#[tokio::test]
async fn says_what_to_do_about_unreadable_cache_file() {
    let stage = Stage::new();
    let folder = stage.path();
    fs::create_dir_all(folder.parent().unwrap()).unwrap();
    let fifo = || rustix::fs::mkfifoat(rustix::fs::CWD, &folder, 0o600.into()).unwrap();
    let large = || fs::File::create(&folder).unwrap().set_len(17 << 20).unwrap();
    let cases: [(&dyn Fn(), &str); 2] = [(&fifo, "it is a FIFO"), (&large, "it is larger than 64 kB")];
    for (make, told) in cases {
        make();
        let error = stage.error().await;
        assert!(error.to_string().starts_with("the cached token of SSO session work cannot be read: /"), "{error}");
        let hint = "; remove it and run: credenza login --sso-session work";
        assert!(error.to_string().contains(told) && error.to_string().ends_with(hint), "{error}");
        fs::remove_file(&folder).unwrap();
    }
}

#[tokio::test]
async fn uses_valid_token_without_refresh() {
    let stage = Stage::new();
    stage.cached("hush-access", LATER);
    let login = stage.login().await.unwrap();
    assert_eq!((login.token.token.expose(), login.token.expires, login.ends), ("hush-access", at(LATER), None));
    assert!(!format!("{login:?}{:?}", stage.context.login_state).contains("hush"));
    assert!(stage.oidc.server().lines().is_empty());
}

#[tokio::test]
async fn knows_end_of_login_without_further_refresh() {
    let stage = Stage::new();
    for (content, ends) in [
        (cached("hush", LATER, "", REGISTERED), Some(at(LATER))),
        (cached("hush", LATER, "hush-refresh", BEFORE), Some(at(LATER))),
        (cached("hush", LATER, "hush-refresh", "2026-11-25T19:44:59Z"), Some(at(LATER))),
        (cached("hush", LATER, "hush-refresh", "2026-11-25T19:46:00Z"), None),
    ] {
        stage.write(&content);
        assert_eq!(stage.login().await.unwrap().ends, ends, "{content}");
    }
    let legacy = Stage::new().legacy();
    legacy.cached("hush-access", SOON);
    assert_eq!(legacy.login().await.unwrap().ends, Some(at(SOON)));
    assert!(legacy.oidc.server().lines().is_empty(), "the token of legacy keys is never refreshed");
}

#[tokio::test]
async fn refreshes_old_token_and_writes_it_back() {
    for expires in [SOON, BEFORE] {
        let stage = Stage::new();
        stage.cached("hush-access", expires);
        let login = stage.login().await.unwrap();
        assert_eq!((login.token.token.expose(), login.ends), ("hush-access-1", None));
        assert!(login.token.expires >= at(LATER) && login.token.expires < at(LATER) + Duration::from_secs(60));
        let written = stage.read();
        assert_eq!(
            (&written["accessToken"], &written["refreshToken"]),
            (&"hush-access-1".into(), &"hush-refresh-2".into())
        );
        assert_eq!((&written["receivedAt"], &written["clientId"]), (&"kept".into(), &"client".into()));
        assert!(written["expiresAt"].as_str().unwrap().starts_with("2026-11-25T20:00:"), "{written}");
        assert_eq!(fs::metadata(stage.path()).unwrap().permissions().mode() & 0o777, 0o600);
        let [seen] = &stage.oidc.server().seen()[..] else { panic!() };
        let sent: serde_json::Value = serde_json::from_slice(&seen.body).unwrap();
        let expected = serde_json::json!({
            "clientId": "client", "clientSecret": "hush-client", "grantType": "refresh_token", "refreshToken": "hush-refresh"
        });
        assert_eq!((seen.line(), sent), ("POST /token".into(), expected));
        assert_eq!(stage.login().await.unwrap().lineage, login.lineage);
    }
}

#[tokio::test]
async fn refreshes_once_for_concurrent_callers() {
    let stage = Stage::new();
    stage.cached("hush-access", BEFORE);
    let all: [_; 8] = std::array::from_fn(|_| stage.login());
    let mut lineages = Vec::new();
    for login in together(all).await {
        let login = login.unwrap();
        assert_eq!(login.token.token.expose(), "hush-access-1");
        lineages.push(login.lineage);
    }
    lineages.dedup();
    assert_eq!((stage.oidc.asked(TOKEN), lineages.len()), (1, 1));
}

/// Polls all futures in turn until the last is done.
async fn together<T, F: Future<Output = T>, const N: usize>(all: [F; N]) -> Vec<T> {
    let mut all = all.map(|future| (Box::pin(future), None));
    std::future::poll_fn(|context| {
        let mut pending = false;
        for (future, done) in &mut all {
            if done.is_none() {
                match future.as_mut().poll(context) {
                    std::task::Poll::Ready(value) => *done = Some(value),
                    std::task::Poll::Pending => pending = true,
                }
            }
        }
        if pending { std::task::Poll::Pending } else { std::task::Poll::Ready(()) }
    })
    .await;
    all.into_iter().filter_map(|(_, done)| done).collect()
}

#[tokio::test]
async fn shares_error_among_concurrent_callers() {
    let stage = Stage::asking(Oidc::start(START_URL, 0), &format!("http://{}", nobody()));
    stage.cached("hush-access", BEFORE);
    let all: [_; 4] = std::array::from_fn(|_| stage.login());
    for login in together(all).await {
        let error = login.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Unavailable);
        let says = "SSO session work has expired (ended 2026-11-25T11:00:00Z) and cannot be refreshed now: CreateToken";
        assert!(error.to_string().contains(says), "{error}");
    }
}

#[tokio::test]
async fn uses_valid_token_when_refresh_fails() {
    let stage = Stage::new();
    stage.cached("hush-access", SOON);
    for _ in 0..3 {
        stage.oidc.script(TOKEN, Reply::of(500, ""));
    }
    let login = stage.login().await.unwrap();
    assert_eq!((login.token.token.expose(), login.ends), ("hush-access", None));
    assert_eq!(stage.oidc.asked(TOKEN), 3, "three attempts before a pause");
    assert!(stage.login().await.is_ok());
    assert_eq!(stage.oidc.asked(TOKEN), 3);
    // An expired token is refreshed at once.
    stage.cached("hush-access", BEFORE);
    assert_eq!(stage.login().await.unwrap().token.token.expose(), "hush-access-1");
}

#[tokio::test]
async fn does_not_retry_refused_refresh_token() {
    let stage = Stage::new();
    stage.oidc.set(|state| state.refresh_tokens.clear());
    stage.cached("hush-access", SOON);
    for _ in 0..2 {
        assert_eq!(stage.login().await.unwrap().ends, Some(at(SOON)));
    }
    assert_eq!(stage.oidc.asked(TOKEN), 1);
    stage.cached("hush-access", BEFORE);
    let error = stage.error().await;
    assert_eq!(error.kind, ErrorKind::LoginRequired);
    let message =
        "the SSO session work has expired (ended 2026-11-25T11:00:00Z); run: credenza login --sso-session work";
    assert_eq!(&*error.to_string(), message);
    assert_eq!(stage.oidc.asked(TOKEN), 1);
    // A new login ends the error.
    stage.oidc.known("client", "hush-client", "hush-other", "hush-access");
    stage.write(&cached("hush-access", BEFORE, "hush-other", REGISTERED));
    assert!(stage.login().await.is_ok());
}

#[tokio::test]
async fn takes_token_that_another_process_refreshed() {
    let stage = Stage::new();
    stage.cached("hush-access", BEFORE);
    let (path, winner) = (stage.path(), cached("hush-theirs", LATER, "hush-next", REGISTERED));
    // The AWS CLI refreshes the token during our request, which is then refused.
    stage.oidc.set(|state| {
        state.refresh_tokens.clear();
        state.before_token = Some(Box::new(move || fs::write(&path, &winner).unwrap()));
    });
    let login = stage.login().await.unwrap();
    assert_eq!((login.token.token.expose(), login.ends), ("hush-theirs", None));
    assert_eq!(stage.read()["accessToken"], "hush-theirs");
}

#[tokio::test]
async fn keeps_lineage_after_own_refresh() {
    let stage = Stage::new();
    stage.cached("hush-access", LATER);
    let first = stage.login().await.unwrap();
    let nearly_eight_hours = Duration::from_secs(8 * 3600) - WINDOW / 2;
    stage.context.clock.step(nearly_eight_hours.as_millis().try_into().unwrap());
    let refreshed = stage.login().await.unwrap();
    assert_eq!((refreshed.token.token.expose(), refreshed.lineage), ("hush-access-1", first.lineage));
}

#[tokio::test]
async fn starts_new_lineage_for_token_of_another_program() {
    let stage = Stage::new();
    stage.cached("hush-one", LATER);
    let first = stage.login().await.unwrap().lineage;
    assert_eq!(stage.login().await.unwrap().lineage, first);
    stage.cached("hush-two", LATER);
    assert_ne!(stage.login().await.unwrap().lineage, first);
    stage.cached("hush-access", SOON);
    let third = stage.login().await.unwrap();
    assert_eq!(third.token.token.expose(), "hush-access-1");
}

#[tokio::test]
async fn keeps_token_in_memory_when_write_fails() {
    let stage = Stage::new();
    stage.cached("hush-access", BEFORE);
    // Not even root can create files there.
    let (path, elsewhere) = (stage.path(), PathBuf::from("/proc/self/token.json"));
    let content = fs::read(&path).unwrap();
    let entry = CacheEntry::parse(&content).unwrap();
    assert!(write(&stage.context, &elsewhere, &entry).await.unwrap_err().message.contains("cannot write"));
    let slot = stage.context.login_state.slot(&path);
    let token = AccessToken { token: "hush-kept".into(), expires: at(LATER) };
    slot.keep(&"hush-access".into(), entry.clone(), token.clone());
    assert_eq!(stage.login().await.unwrap().token, token);
    // After a second refresh that is not written, the file still has the first token.
    let next = AccessToken { token: "hush-next".into(), ..token };
    slot.keep(&"hush-kept".into(), entry, next.clone());
    assert_eq!(stage.login().await.unwrap().token, next);
    stage.cached("hush-file", LATER);
    assert_eq!(stage.login().await.unwrap().token.token.expose(), "hush-file", "a new login is used at once");
    stage.cached("hush-access", LATER);
    assert_eq!(stage.login().await.unwrap().token.token.expose(), "hush-access");
}

#[tokio::test]
async fn requires_login_without_usable_cache_file() {
    let stage = Stage::new();
    let error = stage.error().await;
    assert_eq!(error.kind, ErrorKind::LoginRequired);
    assert!(error.to_string().starts_with("not logged in at SSO session work (there is no /"), "{error}");
    assert!(error.to_string().ends_with("; run: credenza login --sso-session work"), "{error}");
    for (content, says) in [
        ("", "it is empty"),
        ("{\"accessToken\": \"hush", "it ends in the middle"),
        ("{}", "no accessToken"),
        ("[]", "not a JSON object"),
    ] {
        stage.write(content);
        let error = stage.error().await;
        assert!(error.kind == ErrorKind::LoginRequired && error.to_string().contains(says), "{error}");
    }
    let legacy = Stage::new().legacy();
    legacy.cached("hush-access", BEFORE);
    let message = "the SSO login at https://d.awsapps.com/start has expired (ended 2026-11-25T11:00:00Z); run: credenza login --profile dev";
    assert_eq!(legacy.error().await.to_string(), message);
    let homeless = Context { environment: Environment::default(), ..stage.context.clone() };
    let error = login(&homeless, &stage.settings, &stage.session, None).await.unwrap_err();
    assert!(error.to_string().contains("set HOME"), "{error}");
}

#[tokio::test]
async fn refuses_file_that_another_user_may_have_written() {
    let stage = Stage::new();
    stage.cached("hush-access", LATER);
    fs::set_permissions(stage.path(), fs::Permissions::from_mode(0o646)).unwrap();
    let error = stage.error().await;
    assert_eq!(error.kind, ErrorKind::Misconfigured);
    let says = error.to_string();
    assert!(says.contains("may be written by all users") && says.contains("run: credenza login"), "{says}");
    // A file that other users can read is a warning.
    fs::set_permissions(stage.path(), fs::Permissions::from_mode(0o644)).unwrap();
    assert!(stage.login().await.is_ok());
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(stage.path(), Some(12345), None).unwrap();
        let error = stage.error().await;
        assert!(error.to_string().contains("belongs to user 12345"), "{error}");
        let context = Context { trust: TrustPolicy::of_process([12345].into(), [].into()), ..stage.context.clone() };
        assert!(login(&context, &stage.settings, &stage.session, None).await.is_ok());
    }
    fs::remove_file(stage.path()).unwrap();
    fs::create_dir(stage.path()).unwrap();
    assert_eq!(stage.error().await.kind, ErrorKind::Unsettled);
}

#[tokio::test]
async fn shows_error_of_sso_oidc() {
    for (reply, kind, says) in [
        (refusal(400, "invalid_request", "odd"), ErrorKind::Misconfigured, "invalid_request: odd"),
        (Reply::ok("{\"accessToken\": \"hush"), ErrorKind::Unavailable, "lacks the expected fields"),
        (Reply::of(502, "<html>hush"), ErrorKind::Unavailable, "status 502"),
        (refusal(401, "invalid_client", "odd"), ErrorKind::LoginRequired, "run: credenza login"),
        (refusal(400, "expired_token", "odd"), ErrorKind::LoginRequired, "run: credenza login"),
    ] {
        let stage = Stage::new();
        stage.cached("hush-access", BEFORE);
        for _ in 0..3 {
            stage.oidc.script(TOKEN, reply.clone());
        }
        let error = stage.error().await;
        assert!(error.kind == kind && error.to_string().contains(says), "{says}: {error:?}");
    }
}

#[tokio::test]
async fn stores_login_and_registration_with_closed_modes() {
    let stage = Stage::new();
    let registration = Registration { client_id: "c".into(), client_secret: "hush-c".into(), expires: at(REGISTERED) };
    let issued =
        OidcTokens { access_token: "hush-a".into(), expires_in: 8 * 4 * WINDOW, refresh_token: Some("hush-r".into()) };
    let path = store(&stage.context, &stage.session, issued, &registration).await.unwrap();
    assert_eq!(path, stage.path());
    let folder = fs::metadata(path.parent().unwrap()).unwrap();
    assert_eq!(folder.permissions().mode() & 0o777, 0o700);
    assert_eq!(stage.login().await.unwrap().token.token.expose(), "hush-a");
    let find = async |until| crate::login::sso::registration(&stage.context, &stage.session, until).await;
    assert_eq!(find(at(NOW)).await, None);
    keep_registration(&stage.context, &stage.session, &registration).await.unwrap();
    assert_eq!((find(at(NOW)).await, find(at(REGISTERED)).await), (Some(registration), None));
    assert!(stage.home.path().join(".aws/sso/cache").read_dir().unwrap().count() == 2);
}

#[tokio::test]
async fn new_login_wakes_waiting_refresher() {
    let mut stage = Stage::new();
    let (files, watcher) = Files::watched();
    stage.context.files = files;
    stage.cached("hush-access", BEFORE);
    stage.oidc.set(|state| state.refresh_tokens.clear());
    let waits = async {
        assert_eq!(stage.error().await.kind, ErrorKind::LoginRequired);
        stage.cached("hush-next", LATER);
        stage.context.files.changed().await;
        stage.context.files.forget();
        assert_eq!(stage.login().await.unwrap().token.token.expose(), "hush-next");
    };
    tokio::select! {
        () = waits => {}
        () = watcher.run() => panic!("the watcher ended"),
        () = tokio::time::sleep(Duration::from_secs(20)) => panic!("the new login woke no task"),
    }
}
