//! Outgoing connections, as the environment of the program configures them.

use testkit::ecs::Ecs;
use testkit::harness::{HUSH, Home};
use testkit::imds::Imds;
use testkit::proxy::{Proxy, Verdict};
use testkit::sts::{Role, Sts};
use testkit::tls::{Authority, Tls};

const LATER: &str = "2099-11-23T16:00:00Z";
const FULL: &str = "AWS_CONTAINER_CREDENTIALS_FULL_URI";

/// Each of these names a proxy that does not exist, with a password.
const DEAD: [&str; 6] = ["http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"];

fn got(home: &Home, variables: &[(&str, &str)]) -> String {
    let ended = home.run(&["get"], &[&DEAD.map(|name| (name, "http://me:hush@127.0.0.1:1")), variables].concat());
    assert!(!ended.stderr.contains(HUSH), "{ended:?}");
    ended.key()
}

#[test]
fn requests_imds_without_a_proxy() {
    let home = Home::new();
    let ecs = Ecs::start(None, &testkit::document("ASIAECS", LATER));
    assert_eq!(got(&home, &[(FULL, &ecs.url())]), "ASIAECS");
    let imds = Imds::start("web", &testkit::document("ASIAIMDS", LATER));
    let variables = [("AWS_EC2_METADATA_DISABLED", "false"), ("AWS_EC2_METADATA_SERVICE_ENDPOINT", &*imds.endpoint())];
    assert_eq!(got(&home, &variables), "ASIAIMDS");
}

#[test]
fn trusts_container_endpoints_by_system_roots() {
    let home = Home::new();
    let ecs = Ecs::start(None, &testkit::document("ASIAECS", LATER));
    let authority = Authority::new("a");
    let tls = Tls::before(ecs.server().address(), authority.sign("127.0.0.1"));
    let url = tls.url(Ecs::TARGET);
    let refused = home.run(&["get"], &[(FULL, &url)]);
    assert!(refused.code == Some(1) && refused.stderr.contains("SSL_CERT_FILE"), "{refused:?}");
    let bundle = home.write("ca.pem", authority.pem());
    assert_eq!(got(&home, &[(FULL, &url), ("SSL_CERT_FILE", bundle.to_str().unwrap())]), "ASIAECS");
}

#[test]
fn assumes_a_role_through_a_tls_inspecting_proxy() {
    const ROLE: &str = "arn:aws:iam::123456789012:role/demo";
    let (home, sts, authority) = (Home::new(), Sts::start("eu-west-1"), Authority::new("Company Root"));
    sts.allow(ROLE, Role::default());
    let tls = Tls::before(sts.server().address(), authority.sign("sts.eu-west-1.amazonaws.com"));
    let proxy = Proxy::start(Verdict::to(tls.address()));
    let named = format!("http://me:hush-password@{}", proxy.address());
    let (id, secret) = (Sts::ACCESS_KEY_ID, Sts::SECRET_ACCESS_KEY);
    home.write(".aws/credentials", format!("[base]\naws_access_key_id = {id}\naws_secret_access_key = {secret}\n"));
    let config = format!("[default]\nrole_arn = {ROLE}\nsource_profile = base\nregion = eu-west-1\n");
    home.write(".aws/config", &config);
    let untrusted = home.run(&["get"], &[("HTTPS_PROXY", &named)]);
    assert!(untrusted.code == Some(1) && untrusted.stderr.contains("in AWS_CA_BUNDLE or ca_bundle"), "{untrusted:?}");
    assert!(!untrusted.stderr.contains(HUSH), "{untrusted:?}");
    let bundle = home.write("ca.pem", authority.pem());
    let by_variable = [("HTTPS_PROXY", &*named), ("AWS_CA_BUNDLE", bundle.to_str().unwrap())];
    home.write("own.config", format!("{config}ca_bundle = ~/ca.pem\n"));
    let own = home.path().join("own.config");
    let by_profile = [("HTTPS_PROXY", &*named), ("AWS_CONFIG_FILE", own.to_str().unwrap())];
    for variables in [by_variable, by_profile] {
        let ended = home.run(&["get"], &variables);
        assert!(ended.code == Some(0) && !ended.stderr.contains(HUSH), "{ended:?}");
        assert!(ended.stdout.contains("ASIA"), "{ended:?}");
    }
    assert!(proxy.seen().iter().all(|seen| seen.line() == "CONNECT sts.eu-west-1.amazonaws.com:443"));
    assert_eq!((proxy.seen().len(), sts.actions().len()), (3, 2));
}
