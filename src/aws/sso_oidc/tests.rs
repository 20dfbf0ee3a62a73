use testkit::oidc::{DEVICE, Oidc, REGISTER, TOKEN, refusal};
use testkit::server::Reply;

use crate::aws::sso_oidc::*;
use crate::os::clock::Clock;

const START_URL: &str = "https://d.awsapps.com/start";

fn stage() -> (Oidc, Context, Settings) {
    let oidc = Oidc::start(START_URL, 1000);
    let clock = Clock::injected(SystemTime::UNIX_EPOCH + Duration::from_secs(1000));
    let context = Context { clock, ..Context::of(&[("AWS_ENDPOINT_URL_SSO_OIDC", &oidc.endpoint())]) };
    let settings = Settings::of_environment(&context.environment).with_region(Some("eu-west-1".into()));
    (oidc, context, settings)
}

#[tokio::test]
async fn registers_authorizes_and_gets_tokens() {
    let (oidc, context, settings) = stage();
    oidc.set(|state| state.interval = None);
    let registration = register(&context, &settings, &["sso:account:access".into()]).await.unwrap();
    assert_eq!(registration.expires, SystemTime::UNIX_EPOCH + Duration::from_secs(1000 + 90 * 24 * 3600));
    let device = authorize(&context, &settings, &registration, START_URL).await.unwrap();
    assert_eq!((device.interval, device.expires_in), (INTERVAL, Duration::from_secs(600)));
    let issued = issue(&context, &settings, &registration, &device.device_code).await.unwrap();
    assert_eq!(issued.expires_in, Duration::from_secs(8 * 3600));
    let again = refresh(&context, &settings, &registration, &issued.refresh_token.unwrap()).await.unwrap();
    assert_ne!(again.access_token, issued.access_token);
    assert!(!format!("{registration:?} {device:?} {again:?}").contains("hush"));
    let headers = oidc.server().seen()[0].headers.clone();
    assert!(headers.contains(&("content-type".into(), "application/json".into())), "{headers:?}");
}

#[tokio::test]
async fn limits_numbers_of_the_service() {
    let (oidc, context, settings) = stage();
    let registration = register(&context, &settings, &[]).await.unwrap();
    let max = u64::MAX;
    let body = format!(
        r#"{{"deviceCode":"d","userCode":"u","verificationUri":"v","expiresIn":{max},"interval":{max},"new":1}}"#
    );
    oidc.script(DEVICE, Reply::ok(body));
    let device = authorize(&context, &settings, &registration, START_URL).await.unwrap();
    assert_eq!((device.expires_in, device.interval), (LONGEST, LONGEST));
    oidc.script(
        DEVICE,
        Reply::ok(r#"{"deviceCode":"d","userCode":"u","verificationUri":"v","expiresIn":0,"interval":0}"#),
    );
    let device = authorize(&context, &settings, &registration, START_URL).await.unwrap();
    assert_eq!((device.expires_in, device.interval), (Duration::ZERO, SHORTEST_INTERVAL));
    let body = format!(r#"{{"clientId":"c","clientSecret":"s","clientSecretExpiresAt":{max}}}"#);
    oidc.script(REGISTER, Reply::ok(body));
    assert!(register(&context, &settings, &[]).await.unwrap().expires > context.clock.now());
}

#[tokio::test]
async fn maps_error_codes_to_kinds() {
    for (text, code, kind) in [
        ("authorization_pending", OidcErrorCode::Pending, ErrorKind::Misconfigured),
        ("slow_down", OidcErrorCode::SlowDown, ErrorKind::Misconfigured),
        ("access_denied", OidcErrorCode::AccessDenied, ErrorKind::Denied),
        ("expired_token", OidcErrorCode::Expired, ErrorKind::Denied),
        ("invalid_grant", OidcErrorCode::InvalidGrant, ErrorKind::Denied),
        ("unauthorized_client", OidcErrorCode::InvalidClient, ErrorKind::Denied),
        ("invalid_request", OidcErrorCode::Other, ErrorKind::Misconfigured),
    ] {
        let (oidc, context, settings) = stage();
        oidc.known("client", "hush-client", "hush-refresh", "hush-access");
        let registration = Registration {
            client_id: "client".into(),
            client_secret: "hush-client".into(),
            expires: SystemTime::UNIX_EPOCH,
        };
        oidc.script(TOKEN, refusal(400, text, "words"));
        let refused = refresh(&context, &settings, &registration, &"hush-refresh".into()).await.unwrap_err();
        assert_eq!((refused.code, refused.error.kind), (code, kind), "{text}");
        let message = refused.to_string();
        assert!(message.starts_with("CreateToken (POST http://127.0.0.1:"), "{message}");
        assert!(message.contains(&format!(": {text}: words; ")) && !message.contains("hush"), "{message}");
        assert_eq!(oidc.asked(TOKEN), 1);
    }
    let (oidc, context, settings) = stage();
    oidc.script(REGISTER, refusal(400, "slow_down", "slower"));
    assert!(register(&context, &settings, &[]).await.is_ok(), "throttling is transient");
    assert_eq!(oidc.asked(REGISTER), 2);
}
