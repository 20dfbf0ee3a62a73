use super::*;
use crate::model::time::parse_timestamp;
use crate::os::clock::Clock;
use crate::tests::write_private;
use testkit::server::Reply;
use testkit::sso::{Portal, refusal};

const NOW: &str = "2026-11-25T12:00:00Z";
const LATER: &str = "2026-11-25T20:00:00Z";
const ACCOUNT: &str = "123456789012";

struct PortalStage {
    portal: Portal,
    context: Context,
    source: SsoCredentials,
    _home: tempfile::TempDir,
}

impl PortalStage {
    /// Has a login with a token that the portal knows.
    fn new() -> Self {
        // 2026-11-25T13:00:00.999Z
        let portal = Portal::start(1_795_611_600_999);
        portal.allow("hush-access", ACCOUNT, "Read Only");
        let home = tempfile::tempdir().unwrap();
        let endpoint = portal.endpoint();
        let variables = [("HOME", home.path().to_str().unwrap()), ("AWS_ENDPOINT_URL_SSO", &endpoint)];
        let context = Context { clock: Clock::injected(parse_timestamp(NOW).unwrap()), ..Context::of(&variables) };
        let session = SsoSession::new("work", "https://d.awsapps.com/start", "eu-west-1");
        let path = crate::login::sso::cache_file::path(&context.environment, &session).unwrap();
        write_private(&path, &format!(r#"{{"accessToken":"hush-access","expiresAt":"{LATER}"}}"#));
        let source = SsoCredentials::new(session, ACCOUNT, "Read Only")
            .with_settings(Settings::of_environment(&context.environment))
            .of_profile("dev");
        Self { portal, context, source, _home: home }
    }

    async fn error(&self) -> SourceError {
        let Lookup::Failed(error) = self.source.load(&self.context).await else { panic!() };
        assert!(!error.to_string().contains("hush"), "{error}");
        error
    }
}

#[tokio::test]
async fn requests_the_role_with_the_login_token() {
    let stage = PortalStage::new();
    let Lookup::Found(found) = stage.source.load(&stage.context).await else { panic!() };
    assert_eq!(&*found.access_key_id, "ASIA123456789012Read Only1");
    assert_eq!(found.secret_access_key.expose(), "hush-secret-1");
    assert_eq!(found.session_token.unwrap().expose(), "hush-session-1");
    assert_eq!(crate::model::time::timestamp(found.expiration.unwrap()), "2026-11-25T13:00:00Z");
    assert_eq!(
        (found.account_id.as_deref(), found.login_ends),
        (
            Some(ACCOUNT),
            Some(Arc::new(LoginEnd {
                at: parse_timestamp(LATER).unwrap(),
                remedy: "credenza login --sso-session work".into(),
                is_mfa: false
            }))
        )
    );
    let [seen] = &stage.portal.server().seen()[..] else { panic!() };
    assert_eq!(seen.line(), "GET /federation/credentials?role_name=Read%20Only&account_id=123456789012");
    assert_eq!(seen.header("x-amz-sso_bearer_token"), Some("hush-access"));
    assert_eq!(stage.source.name(), "sso work");
    assert_eq!(stage.source.region(&stage.context).await, None);
}

#[tokio::test]
async fn passes_on_the_account_as_given() {
    let stage = PortalStage::new();
    let reply = role(r#""sessionToken":"hush""#).replace(r#""expiration":1"#, r#""expiration":1795611600999"#);
    stage.portal.script(Reply::ok(reply));
    let source = SsoCredentials { account_id: "tenant-7".into(), ..stage.source.clone() };
    let Lookup::Found(found) = source.load(&stage.context).await else { panic!() };
    assert_eq!(found.account_id.as_deref(), Some("tenant-7"));
}

#[tokio::test]
async fn adds_hints_to_refusals() {
    let stage = PortalStage::new();
    stage.portal.set(|state| state.tokens.clear());
    let error = stage.error().await;
    assert_eq!(error.kind, ErrorKind::LoginRequired);
    assert!(error.to_string().starts_with("the SSO session work is no longer accepted (GetRoleCredentials"), "{error}");
    assert!(error.to_string().ends_with("; run: credenza login --sso-session work"), "{error}");
    stage.portal.allow("hush-access", ACCOUNT, "Other");
    let error = stage.error().await;
    assert_eq!(error.kind, ErrorKind::Denied);
    let hint = "; ask an administrator of https://d.awsapps.com/start for the role Read Only in account 123456789012";
    assert!(error.to_string().contains("ForbiddenException: No access"), "{error}");
    assert!(error.to_string().ends_with(hint), "{error}");
    assert_eq!(stage.portal.server().lines().len(), 2, "a refusal is tried once");
}

#[tokio::test]
async fn maps_portal_responses_to_errors() {
    for (reply, kind, says) in [
        (refusal(429, "TooManyRequestsException", "slow"), ErrorKind::Unavailable, "TooManyRequestsException: slow"),
        (Reply::of(503, "<html>hush"), ErrorKind::Unavailable, "status 503"),
        (Reply::of(401, ""), ErrorKind::LoginRequired, "status 401"),
        (Reply::of(403, "<html>hush"), ErrorKind::Denied, "status 403"),
        (refusal(404, "ResourceNotFoundException", "none"), ErrorKind::Denied, "ResourceNotFoundException: none"),
        (refusal(400, "InvalidRequestException", "hush-access?"), ErrorKind::Misconfigured, "[redacted]?"),
        (refusal(401, "x#UnauthorizedException:http://y", ""), ErrorKind::LoginRequired, ": UnauthorizedException"),
        (
            Reply::ok(r#"{"roleCredentials":{"accessKeyId":"hush"#),
            ErrorKind::Unavailable,
            "has no role credentials (line 1",
        ),
        (Reply::ok("{}"), ErrorKind::Unavailable, "has no role credentials"),
        (Reply::ok("<html>hush"), ErrorKind::Unavailable, "has no role credentials"),
        (Reply::ok(role(r#""sessionToken":"""#)), ErrorKind::Unavailable, "without a session token"),
        (Reply::ok(role(r#""sessionToken":"hush\na""#)), ErrorKind::Unavailable, "control character"),
    ] {
        let stage = PortalStage::new();
        for _ in 0..3 {
            stage.portal.script(reply.clone());
        }
        let error = stage.error().await;
        assert!(error.kind == kind && error.to_string().contains(says), "{says}: {error:?}");
    }
}

fn role(token: &str) -> String {
    format!(r#"{{"roleCredentials":{{"accessKeyId":"ASIA","secretAccessKey":"hush",{token},"expiration":1}}}}"#)
}

#[tokio::test]
async fn retries_after_throttling() {
    let stage = PortalStage::new();
    stage.portal.script(refusal(429, "TooManyRequestsException", "slow"));
    assert!(matches!(stage.source.load(&stage.context).await, Lookup::Found(_)));
    assert_eq!(stage.portal.server().lines().len(), 2);
}
