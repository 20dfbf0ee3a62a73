//! The way out, as the environment of the program describes it.

#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "support/fakes/mod.rs"]
mod fakes;
mod support;

use fakes::ecs::Ecs;
use fakes::imds::Imds;
use fakes::tls::{Authority, Tls};
use support::{HUSH, Home};

const LATER: &str = "2099-11-23T16:00:00Z";
const FULL: &str = "AWS_CONTAINER_CREDENTIALS_FULL_URI";

/// Every variable that names a proxy names one that is not there, and would be told a password.
const DEAD: [(&str, &str); 6] = [
    ("http_proxy", "http://me:hush@127.0.0.1:1"),
    ("HTTP_PROXY", "http://me:hush@127.0.0.1:1"),
    ("https_proxy", "http://me:hush@127.0.0.1:1"),
    ("HTTPS_PROXY", "http://me:hush@127.0.0.1:1"),
    ("all_proxy", "http://me:hush@127.0.0.1:1"),
    ("ALL_PROXY", "http://me:hush@127.0.0.1:1"),
];

fn got(home: &Home, variables: &[(&str, &str)]) -> String {
    let ended = home.run(&["get"], &[&DEAD[..], variables].concat());
    assert!(ended.code == Some(0) && !ended.stderr.contains(HUSH), "{ended:?}");
    let printed: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap();
    printed["AccessKeyId"].as_str().unwrap().to_owned()
}

#[test]
fn metadata_is_asked_without_a_proxy() {
    let home = Home::new();
    let ecs = Ecs::start(None, &fakes::document("ASIAECS", LATER));
    assert_eq!(got(&home, &[(FULL, &ecs.url())]), "ASIAECS");
    let imds = Imds::start("web", &fakes::document("ASIAIMDS", LATER));
    let variables = [("AWS_EC2_METADATA_DISABLED", "false"), ("AWS_EC2_METADATA_SERVICE_ENDPOINT", &*imds.endpoint())];
    assert_eq!(got(&home, &variables), "ASIAIMDS");
}

#[test]
fn a_container_endpoint_over_tls_is_believed_by_the_authorities_of_the_system() {
    let home = Home::new();
    let ecs = Ecs::start(None, &fakes::document("ASIAECS", LATER));
    let authority = Authority::new("a");
    let tls = Tls::before(ecs.server().address(), authority.sign("127.0.0.1"));
    let url = tls.url(Ecs::TARGET);
    let refused = home.run(&["get"], &[(FULL, &url)]);
    assert!(refused.code == Some(1) && refused.stderr.contains("SSL_CERT_FILE"), "{refused:?}");
    let bundle = home.write("ca.pem", authority.pem());
    assert_eq!(got(&home, &[(FULL, &url), ("SSL_CERT_FILE", bundle.to_str().unwrap())]), "ASIAECS");
}
