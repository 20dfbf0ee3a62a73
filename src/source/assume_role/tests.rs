use super::*;
use crate::source::imds::MetadataCredentials;
use crate::source::static_keys::StaticCredentials;
use testkit::document;
use testkit::imds::Imds;
use testkit::sts::{Role, Sts};

const ROLE: &str = "arn:aws:iam::123456789012:role/r";

/// Lets these seconds pass for the credential cache.
async fn later(seconds: u64) {
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(seconds)).await;
    tokio::time::resume();
}

#[tokio::test]
async fn keeps_mfa_session_after_a_refusal() {
    let sts = Sts::start("eu-west-1");
    let sts_url = sts.url();
    let context = Context {
        mfa: crate::context::mfa::Mfa::given("123456".into()),
        ..Context::of(&[("AWS_ENDPOINT_URL_STS", &sts_url), ("AWS_REGION", "eu-west-1")])
    };
    sts.allow(ROLE, Role { mfa: Some(("serial".into(), "123456".into())), ..Role::default() });
    let load = async || {
        let hub = RoleSpec { arn: ROLE.into(), mfa_serial: Some("serial".into()), ..RoleSpec::default() };
        let leaf = RoleSpec { arn: format!("{ROLE}2").into(), ..RoleSpec::default() };
        let keys = StaticCredentials::new(Sts::ACCESS_KEY_ID, Sts::SECRET_ACCESS_KEY);
        AssumeRole::over_role(leaf, AssumeRole::new(hub, Box::new(keys))).load(&context).await
    };
    for _ in 0..2 {
        assert!(matches!(load().await, Lookup::Failed(error) if error.kind == ErrorKind::Denied));
        later(6).await;
    }
    sts.allow(&format!("{ROLE}2"), Role::default());
    assert!(matches!(load().await, Lookup::Found(_)));
    assert_eq!(sts.actions().len(), 4, "the code was sent once");
}

#[tokio::test]
async fn reloads_a_refused_base_and_repeats_no_request() {
    let (sts, imds) = (Sts::start("eu-west-1"), Imds::start("web", &document("ASIAOLD", "2098-01-01T00:00:00Z")));
    let (sts_url, endpoint) = (sts.url(), imds.endpoint());
    let variables = [
        ("AWS_ENDPOINT_URL_STS", &*sts_url),
        ("AWS_REGION", "eu-west-1"),
        ("AWS_EC2_METADATA_SERVICE_ENDPOINT", &endpoint),
    ];
    let context = Context::of(&variables);
    let trust = |key: &str| {
        sts.know(key, "hush-secret", Some("hush-session"));
        sts.allow(ROLE, Role { trusted: vec![key.into()], ..Role::default() });
    };
    // A chain: the middle role is cached as well.
    let load = async |name: &str| {
        let hub = RoleSpec { arn: ROLE.into(), ..RoleSpec::default() };
        let leaf = RoleSpec { arn: format!("{ROLE}2").into(), session_name: Some(name.into()), ..hub.clone() };
        let base = AssumeRole::new(hub, Box::new(MetadataCredentials::new(false, true)));
        let before = (sts.actions().len(), imds.server().lines().len());
        let lookup = AssumeRole::over_role(leaf, base).load(&context).await;
        let asked = (sts.actions().len() - before.0, imds.server().lines().len() - before.1);
        (matches!(lookup, Lookup::Found(_)), asked)
    };
    sts.allow(&format!("{ROLE}2"), Role::default());
    trust("ASIAOLD");
    assert_eq!(load("first").await, (true, (2, 3)));
    assert_eq!(load("second").await, (true, (1, 0)));

    // The instance gets another role: the old one and the sessions that it assumed are no longer accepted.
    sts.revoke_sessions();
    imds.set(|state| state.document = document("ASIANEW", "2098-01-01T00:00:00Z"));
    trust("ASIANEW");
    assert_eq!(load("third").await, (false, (1, 0)), "new credentials are not invalidated");
    later(6).await;
    // The leaf is refused, the hub is, the hub is assumed by the new role, the leaf by the new hub.
    assert_eq!(load("third").await, (true, (4, 3)));
    assert_eq!(load("fourth").await, (true, (1, 0)));

    // A permanent refusal costs one request for each caller.
    sts.forbid(&format!("{ROLE}2"));
    assert_eq!(load("fifth").await, (false, (1, 0)));
    later(6).await;
    assert_eq!(load("fifth").await, (false, (3, 0)));
}
