use std::collections::HashSet;

use super::*;
use crate::http::url::Url;
use crate::model::location::Location;
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

#[test]
fn cache_key_differs_with_every_part() {
    let role = || RoleSpec { arn: "arn:aws:iam::1:role/r".into(), ..RoleSpec::default() };
    let sts = |path: &str| {
        let mut settings = Settings { region: Some("eu-west-1".into()), ..Settings::default() };
        settings.endpoints.sts = Some(Ok(Url::parse(&format!("https://h/{path}")).unwrap()));
        settings
    };
    let (plain, long) = (Settings::default(), "x".repeat(300));
    let caller = Credentials::new("AKIAEXAMPLE", "secret").unwrap();
    let of = |role: &RoleSpec, policy, settings: &Settings| {
        cache_key("assume role", role, policy, settings, |parts| parts.with_caller(&caller))
    };
    let text = |text: &str| Some(text.into());
    let different = [
        of(&role(), None, &plain),
        of(&RoleSpec { arn: "arn:aws:iam::1:role/s".into(), ..role() }, None, &plain),
        of(&RoleSpec { session_name: text("a"), ..role() }, None, &plain),
        of(&RoleSpec { external_id: text("a"), ..role() }, None, &plain),
        of(&RoleSpec { mfa_serial: text("a"), ..role() }, None, &plain),
        of(&RoleSpec { source_identity: text("a"), ..role() }, None, &plain),
        of(&RoleSpec { duration: Some(Duration::from_secs(900)), ..role() }, None, &plain),
        of(&RoleSpec { policy_arns: vec!["a".into()], ..role() }, None, &plain),
        of(&RoleSpec { policy_arns: vec!["a".into(), "b".into()], ..role() }, None, &plain),
        of(&RoleSpec { tags: vec![("a".into(), "b".into())], ..role() }, None, &plain),
        of(&role(), Some("{}"), &plain),
        of(&role(), None, &Settings { use_fips: true, ..plain.clone() }),
        of(&role(), None, &Settings { region: text("eu-west-2"), ..plain.clone() }),
        of(&role(), None, &sts("")),
        // The key has also the parts that messages cut off.
        of(&role(), None, &sts(&format!("{long}a"))),
        of(&role(), None, &sts(&format!("{long}b"))),
        cache_key("web identity", &role(), None, &plain, |parts| parts.with_caller(&caller)),
        cache_key("assume role", &role(), None, &plain, |parts| parts.with("AKIAEXAMPLE")),
    ];
    assert_eq!(HashSet::from(different).len(), different.len());
    // Locations and the path of a policy file do not change the session.
    let written = Settings { region_location: Some(Location::line(std::path::Path::new("/c"), 3)), ..plain.clone() };
    let from_a_file = RoleSpec { policy_file: Some("/p.json".into()), ..role() };
    assert_eq!(of(&role(), None, &written), different[0]);
    assert_eq!(of(&from_a_file, Some("{}"), &plain), of(&role(), Some("{}"), &plain));
}
