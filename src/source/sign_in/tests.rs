use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use crate::model::error::ErrorKind;
use crate::model::time::parse_timestamp;
use crate::os::clock::Clock;
use crate::os::environment::Environment;
use crate::source::sign_in::*;
use crate::tests::write_private;
use testkit::server::{Reply, nobody};
use testkit::signin::{KEY, Signin, cached, denied, error, invalid};

const SESSION: &str = "arn:aws:iam::123456789012:user/me";
const NOW: &str = "2026-11-25T12:00:00Z";
const SOON: &str = "2026-11-25T12:05:00Z";
const LATER: &str = "2026-11-25T12:05:01Z";
const BEFORE: &str = "2026-11-25T11:00:00Z";

fn at(text: &str) -> SystemTime {
    parse_timestamp(text).unwrap()
}

/// A home directory, a clock at NOW, and a Sign-In server that knows one refresh token.
struct SignInStage {
    signin: Signin,
    context: Context,
    source: SignInCredentials,
    _home: tempfile::TempDir,
}

impl SignInStage {
    fn new() -> Self {
        let signin = Signin::start(at(NOW).duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs());
        signin.known("hush-refresh");
        let endpoint = signin.endpoint();
        Self::asking(signin, &endpoint)
    }

    fn asking(signin: Signin, endpoint: &str) -> Self {
        let home = tempfile::tempdir().unwrap();
        let variables = [("HOME", home.path().to_str().unwrap()), ("AWS_ENDPOINT_URL_SIGNIN", endpoint)];
        let context = Context { clock: Clock::injected(at(NOW)), ..Context::of(&variables) };
        let settings = Settings::of_environment(&context.environment);
        let source = SignInCredentials::new(SESSION).with_settings(settings).of_profile("dev");
        Self { signin, context, source, _home: home }
    }

    fn path(&self) -> PathBuf {
        cache_file::path(&self.context.environment, SESSION).unwrap()
    }

    fn write(&self, content: &str) {
        write_private(&self.path(), content);
    }

    fn cached(&self, expires: &str) {
        self.write(&cached("ASIA0", expires, "hush-refresh"));
    }

    fn read(&self) -> serde_json::Value {
        serde_json::from_slice(&fs::read(self.path()).unwrap()).unwrap()
    }

    async fn found(&self) -> Credentials {
        match self.source.load(&self.context).await {
            Lookup::Found(found) => found,
            other => panic!("{other:?}"),
        }
    }

    async fn error(&self) -> SourceError {
        let Lookup::Failed(error) = self.source.load(&self.context).await else { panic!() };
        assert!(!error.to_string().contains("hush"), "{error}");
        error
    }
}

#[tokio::test]
async fn uses_fresh_credentials_of_the_cache() {
    let stage = SignInStage::new();
    stage.cached(LATER);
    let found = stage.found().await;
    assert_eq!((&*found.access_key_id, found.expiration), ("ASIA0", Some(at(LATER))));
    assert_eq!((found.account_id.as_deref(), found.login_ends), (Some("123456789012"), None));
    assert_eq!(stage.signin.asked(), 0);
    assert_eq!((stage.source.name(), stage.source.region(&stage.context).await), ("sign-in", None));
}

#[tokio::test]
async fn refreshes_old_credentials_and_writes_them_back() {
    for expires in [SOON, BEFORE] {
        let stage = SignInStage::new();
        stage.cached(expires);
        let found = stage.found().await;
        assert_eq!((&*found.access_key_id, found.secret_access_key.expose()), ("ASIASIGNIN1", "hush-secret-1"));
        assert_eq!(found.session_token.unwrap().expose(), "hush-session-1");
        assert_eq!((found.account_id.as_deref(), found.login_ends), (Some("123456789012"), None));
        let written = stage.read();
        assert!(written["accessToken"]["expiresAt"].as_str().unwrap().starts_with("2026-11-25T12:15:0"), "{written}");
        assert_eq!(
            (&written["accessToken"]["accessKeyId"], &written["refreshToken"], &written["idToken"]),
            (&"ASIASIGNIN1".into(), &"hush-refresh-1".into(), &"hush-id".into())
        );
        assert_eq!(fs::metadata(stage.path()).unwrap().permissions().mode() & 0o777, 0o600);
        let [seen] = &stage.signin.server().seen()[..] else { panic!() };
        let sent: serde_json::Value = serde_json::from_slice(&seen.body).unwrap();
        let expected = serde_json::json!({
            "clientId": "arn:aws:signin:::devtools/same-device", "grantType": "refresh_token",
            "refreshToken": "hush-refresh"
        });
        assert_eq!((seen.line(), sent), ("POST /v1/token".into(), expected));
        assert_eq!(&*stage.found().await.access_key_id, "ASIASIGNIN1");
        assert_eq!(stage.signin.asked(), 1);
    }
}

#[tokio::test]
async fn prefers_region_of_login_over_profile() {
    let stage = SignInStage::new();
    stage.write(&cached("ASIA0", BEFORE, "hush-refresh").replace("eu-west-1", "no/region"));
    let source =
        stage.source.clone().with_settings(stage.source.settings.clone().with_region(Some("us-east-1".into())));
    let Lookup::Failed(error) = source.load(&stage.context).await else { panic!() };
    assert!(error.to_string().contains("the region \"no/region\" is not valid"), "{error}");
    // Older logins have no region.
    stage.write(&cached("ASIA0", BEFORE, "hush-refresh").replace("signInRegion", "x"));
    assert!(stage.error().await.message.contains("AWS Sign-In at a configured endpoint needs a region"));
    assert!(matches!(source.load(&stage.context).await, Lookup::Found(_)));
}

#[tokio::test]
async fn signs_a_new_proof_for_every_attempt() {
    let stage = SignInStage::new();
    stage.cached(BEFORE);
    stage.signin.script(error(429, "TooManyRequestsError", "rate_exceeded", "slow"));
    stage.signin.script(Reply::of(500, "<html>"));
    assert_eq!(&*stage.found().await.access_key_id, "ASIASIGNIN1");
    let proofs: std::collections::HashSet<_> =
        stage.signin.server().seen().iter().map(|seen| seen.header("dpop").unwrap().to_owned()).collect();
    assert_eq!(proofs.len(), 3);
}

#[tokio::test]
async fn shares_one_refresh_among_concurrent_loads() {
    let stage = SignInStage::new();
    stage.cached(BEFORE);
    let (one, two, three) = tokio::join!(stage.found(), stage.found(), stage.found());
    assert!([one, two, three].iter().all(|found| &*found.access_key_id == "ASIASIGNIN1"));
    assert_eq!(stage.signin.asked(), 1);
}

#[tokio::test]
async fn ends_the_session_on_refusal() {
    for code in ["TOKEN_EXPIRED", "USER_CREDENTIALS_CHANGED", "invalid_grant"] {
        let stage = SignInStage::new();
        stage.signin.set(|state| {
            state.refresh_tokens.clear();
            state.refuses_with = code;
        });
        stage.cached(SOON);
        for _ in 0..2 {
            assert_eq!(stage.found().await.login_ends.map(|end| end.at), Some(at(SOON)), "{code}");
        }
        stage.cached(BEFORE);
        let error = stage.error().await;
        let message = format!(
            "the sign-in session {SESSION} has expired (ended 2026-11-25T11:00:00Z); run: aws login --profile dev"
        );
        assert_eq!((error.kind, &*error.to_string()), (ErrorKind::LoginRequired, &*message));
        assert_eq!(stage.signin.asked(), 1, "the same token is not sent again");
        // Another login ends the error.
        stage.signin.known("hush-other");
        stage.write(&cached("ASIA0", BEFORE, "hush-other"));
        assert_eq!(&*stage.found().await.access_key_id, "ASIASIGNIN1");
    }
}

#[tokio::test]
async fn takes_the_refresh_of_another_process() {
    let stage = SignInStage::new();
    stage.cached(BEFORE);
    let (path, winner) = (stage.path(), cached("ASIATHEIRS", "2026-11-25T12:15:00Z", "hush-next"));
    stage.signin.set(|state| {
        state.refresh_tokens.clear();
        state.before_token = Some(Box::new(move || fs::write(&path, &winner).unwrap()));
    });
    assert_eq!(&*stage.found().await.access_key_id, "ASIATHEIRS");
    assert_eq!(stage.read()["refreshToken"], "hush-next");
}

#[tokio::test]
async fn maps_sign_in_responses_to_errors() {
    let permission = "ask the administrator of the account for the permission signin:CreateOAuth2Token";
    for (reply, kind, says) in [
        (denied("INSUFFICIENT_PERMISSIONS", "no"), ErrorKind::Denied, permission),
        (denied("NEW", "no"), ErrorKind::Denied, "NEW: no; if this lasts, log in again with aws login"),
        (invalid("INVALID_REQUEST", "hush-refresh?"), ErrorKind::Misconfigured, "INVALID_REQUEST: [redacted]?"),
        (invalid("INVALID_REQUEST", "x"), ErrorKind::Misconfigured, "; if this lasts, log in again with aws login"),
        (error(429, "TooManyRequestsError", "rate_exceeded", "slow"), ErrorKind::Unavailable, "rate_exceeded: slow"),
        (error(500, "InternalServerException", "server_error", "x"), ErrorKind::Unavailable, "server_error: x"),
        (Reply::of(503, "<html>hush"), ErrorKind::Unavailable, "status 503"),
        (Reply::of(403, ""), ErrorKind::Denied, "status 403"),
        (Reply::ok("<html>hush"), ErrorKind::Unavailable, "the answer has no credentials (line 1, column 1)"),
        (Reply::ok("{}"), ErrorKind::Unavailable, "the answer has no credentials"),
        (Reply::ok(answer("", 900)), ErrorKind::Unavailable, "no session token, no refresh token or no lifetime"),
        (Reply::ok(answer("hush", 0)), ErrorKind::Unavailable, "no session token, no refresh token or no lifetime"),
        (Reply::ok(answer("hush\\n\\u0007s", 900)), ErrorKind::Unavailable, "contains a control character"),
    ] {
        let stage = SignInStage::new();
        stage.cached(BEFORE);
        for _ in 0..3 {
            stage.signin.script(reply.clone());
        }
        let error = stage.error().await;
        assert!(error.kind == kind && error.to_string().contains(says), "{says}: {error:?}");
        assert!(error.to_string().contains("cannot be refreshed now: CreateOAuth2Token (POST http://"), "{error}");
    }
    let stage = SignInStage::asking(SignInStage::new().signin, &format!("http://{}", nobody()));
    stage.cached(BEFORE);
    assert_eq!(stage.error().await.kind, ErrorKind::Unavailable);
    stage.cached(SOON);
    assert_eq!(stage.found().await.login_ends, None, "fresh credentials are used");
}

fn answer(session: &str, seconds: u32) -> String {
    format!(
        r#"{{"accessToken":{{"accessKeyId":"A","secretAccessKey":"hush","sessionToken":"{session}"}},"expiresIn":{seconds},"refreshToken":"hush"}}"#
    )
}

#[tokio::test]
async fn limits_unreasonable_lifetimes() {
    let stage = SignInStage::new();
    stage.cached(BEFORE);
    stage.signin.script(Reply::ok(answer("hush", u32::MAX)));
    assert!(stage.found().await.expiration.unwrap() <= at("2026-11-26T00:00:10Z"));
}

#[tokio::test]
async fn requires_login_without_a_usable_cache() {
    let stage = SignInStage::new();
    let error = stage.error().await;
    assert_eq!(error.kind, ErrorKind::LoginRequired);
    let says = format!("not logged in at sign-in session {SESSION} (there is no ");
    assert!(error.to_string().starts_with(&says), "{error}");
    assert!(error.to_string().ends_with("; run: aws login --profile dev"), "{error}");
    let whole = cached("ASIA0", LATER, "hush-refresh");
    for (content, says) in [
        ("", "it is empty"),
        (&whole[..300], "it ends in the middle"),
        ("{}", "it has no clientId"),
        ("[]", "not a JSON"),
    ] {
        stage.write(content);
        let error = stage.error().await;
        assert!(error.kind == ErrorKind::LoginRequired && error.to_string().contains(says), "{says}: {error}");
    }
    // An invalid key is an error only when it is needed, as in botocore.
    let without_key = |expires| cached("ASIA0", expires, "hush-refresh").replace(&escaped(KEY), "hush!");
    stage.write(&without_key(LATER));
    assert_eq!(stage.found().await.login_ends, None);
    stage.write(&without_key(SOON));
    let end = stage.found().await.login_ends.unwrap();
    assert_eq!((end.at, &*end.remedy), (at(SOON), "aws login --profile dev"));
    stage.write(&without_key(BEFORE));
    assert_eq!(stage.error().await.kind, ErrorKind::LoginRequired);
    let homeless = Context { environment: Environment::default(), ..stage.context.clone() };
    let Lookup::Failed(error) = stage.source.load(&homeless).await else { panic!() };
    assert!(error.to_string().ends_with("set HOME or AWS_LOGIN_CACHE_DIRECTORY"), "{error}");
}

fn escaped(text: &str) -> String {
    text.replace('\n', "\\n")
}

#[tokio::test]
async fn refuses_files_that_others_can_write() {
    let stage = SignInStage::new();
    stage.cached(LATER);
    fs::set_permissions(stage.path(), fs::Permissions::from_mode(0o606)).unwrap();
    let error = stage.error().await;
    assert_eq!(error.kind, ErrorKind::Misconfigured);
    assert!(error.to_string().contains("may be written by all users"), "{error}");
    fs::set_permissions(stage.path(), fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(&*stage.found().await.access_key_id, "ASIA0");
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(stage.path(), Some(12345), None).unwrap();
        assert!(stage.error().await.message.contains("belongs to user 12345"));
    }
}
