//! The strict SSO portal, SSO-OIDC, Sign-In and STS as a program for real clients.
//!
//! It prints one line of JSON, `{"oidc": URL, "portal": URL, "start_url": URL, "signin": URL, "login": {…}, "sts": URL,
//! "federation": URL, "account": {…}}`, and exits at the end of standard input. Every token that it issues may have any role in the account
//! 123456789012. `login` is a file of `aws login`; the refresh tokens `one`, `two` and `three` are valid once each.
//! `account` has the keys and roles that STS knows, in the region eu-west-1.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "test code")]

use std::io::Read;
use std::sync::Arc;
use std::time::SystemTime;

use testkit::federation::{Federation, Kind};
use testkit::oidc::{Oidc, Person};
use testkit::signin::{Signin, cached};
use testkit::sso::Portal;
use testkit::sts::{Role, Sts};

const START_URL: &str = "https://d.awsapps.com/start";

#[allow(clippy::disallowed_methods, reason = "the fakes tell the time as the clients' own clock does")]
fn main() {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let oidc = Oidc::start(START_URL, now);
    let portal = Arc::new(Portal::start((now + 3600) * 1000));
    oidc.set(|state| {
        let portal = Arc::clone(&portal);
        state.person = Person::AgreesAt(2);
        state.issued = Some(Box::new(move |token| portal.allow(token, "123456789012", "*")));
    });
    let signin = Signin::start(now);
    ["one", "two", "three"].iter().for_each(|refresh_token| signin.known(refresh_token));
    let (sts, account) = sts();
    let federation = Federation::start();
    federation.set(|state| state.accepts_all = Some(Kind::Role));
    let login: serde_json::Value = serde_json::from_str(&cached("ASIA0", "2020-01-01T00:00:00Z", "one")).unwrap();
    println!(
        "{}",
        serde_json::json!({
            "oidc": oidc.endpoint(),
            "portal": portal.endpoint(),
            "start_url": START_URL,
            "signin": signin.endpoint(),
            "login": login,
            "sts": sts.url(),
            "federation": federation.endpoint(),
            "account": account,
        })
    );
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
}

/// Returns an STS, and its keys, roles, MFA device and web identity token.
fn sts() -> (Sts, serde_json::Value) {
    const ROOT: (&str, &str) = ("AKIAROOTEXAMPLE0", "hush-root");
    const DEVICE: (&str, &str) = ("arn:aws:iam::123456789012:mfa/me", "123456");
    const TOKEN: &str = "hush.web.token";
    let sts = Sts::start("eu-west-1");
    sts.know_root(ROOT.0, ROOT.1);
    sts.trust_tokens(&[TOKEN]);
    let arn = |name: &str| format!("arn:aws:iam::{}:role/path/{name}", Sts::ACCOUNT);
    for (name, role) in [
        ("Plain", Role::default()),
        ("Guarded", Role { external_id: Some("ex".into()), ..Role::default() }),
        ("Short", Role { longest: Some(3600), ..Role::default() }),
        ("Mfa", Role { mfa: Some((DEVICE.0.into(), DEVICE.1.into())), ..Role::default() }),
    ] {
        sts.allow(&arn(name), role);
    }
    let account = serde_json::json!({
        "user": [Sts::ACCESS_KEY_ID, Sts::SECRET_ACCESS_KEY],
        "root": ROOT,
        "roles": arn(""),
        "device": DEVICE,
        "web_token": TOKEN,
    });
    (sts, account)
}
