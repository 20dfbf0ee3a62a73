//! The sessions of clients and grants: how long they are renewed.

use rustix::process::Signal;
use testkit::harness::{Broker, HUSH, Home, until};
use testkit::sts::{Role, Sts};

const ROLE: &str = "arn:aws:iam::123456789012:role/demo";
const POLICY: &str = r#"{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"s3:Get*","Resource":"*"}}"#;

fn token(client: &str) -> String {
    format!("{HUSH}-token-of-at-least-32-characters-{client}")
}

/// An identity with a session for each client, and these clients with their identities.
fn config(clients: &[(&str, &str)]) -> String {
    let (id, secret) = (Sts::ACCESS_KEY_ID, Sts::SECRET_ACCESS_KEY);
    let client = |(name, identities): &(&str, &str)| {
        format!("[clients.{name}]\ntoken = \"{}\"\nidentities = [\"{identities}\"]\n", token(name))
    };
    format!(
        "[identities.prod]\nsources = [{{ access_key_id = \"{id}\", secret_access_key = \"{secret}\" }}]\n\
         assume = {{ role_arn = \"{ROLE}\", session_name = \"{{client}}\" }}\neager = false\n{}",
        clients.iter().map(client).collect::<String>()
    )
}

fn serve(home: &Home, clients: &[(&str, &str)]) -> (Sts, Broker) {
    let sts = Sts::start("eu-west-1");
    sts.allow(ROLE, Role::default());
    let url = sts.url();
    let broker = home.serve_config(config(clients), &[("AWS_ENDPOINT_URL_STS", &url), ("AWS_REGION", "eu-west-1")]);
    (sts, broker)
}

/// Returns the names of the sessions that STS has issued, without the first `skipped`.
fn names(sts: &Sts, skipped: usize) -> Vec<String> {
    let name = |form: &Vec<(String, String)>| form.iter().find(|(key, _)| key == "RoleSessionName").unwrap().1.clone();
    sts.forms().iter().skip(skipped).map(name).collect()
}

/// Makes the daemon renew all sessions, twice, and waits for those that are kept. Returns the names of the renewed ones.
fn renewed(sts: &Sts, broker: &Broker, kept: &[&str]) -> Vec<String> {
    let before = sts.forms().len();
    for times in 1..=2 {
        broker.signal(Signal::HUP);
        let is_renewed = |kept: &&str| names(sts, before).iter().filter(|name| name == kept).count() >= times;
        until("the sessions are renewed", || kept.iter().all(is_renewed));
    }
    names(sts, before)
}

#[test]
fn session_of_a_client_that_is_gone_is_not_renewed() {
    let home = Home::new();
    let (sts, broker) = serve(&home, &[("gone", "prod"), ("lost", "prod"), ("kept", "prod")]);
    for client in ["gone", "lost", "kept"] {
        assert_eq!(broker.get_with("/credentials", &token(client)).status, 200, "{client}");
    }
    let mut all = renewed(&sts, &broker, &["kept"]);
    all.sort();
    all.dedup();
    assert_eq!(all, ["gone", "kept", "lost"]);
    home.write("credenza.toml", config(&[("lost", "other"), ("kept", "prod")]));
    until("the clients have changed", || {
        broker.get_with("/credentials/prod", &token("gone")).status == 401
            && broker.get_with("/credentials/prod", &token("lost")).status == 403
    });
    assert_eq!(renewed(&sts, &broker, &["kept"]), ["kept", "kept"]);
    // The client comes back, and gets a session again.
    home.write("credenza.toml", config(&[("gone", "prod"), ("kept", "prod")]));
    until("the client is back", || broker.get_with("/credentials", &token("gone")).status == 200);
}

#[test]
fn session_of_a_grant_that_is_over_is_not_renewed() {
    let home = Home::new();
    let (sts, broker) = serve(&home, &[("kept", "prod")]);
    assert_eq!(broker.get_with("/credentials", &token("kept")).status, 200);
    home.write("policy.json", POLICY);
    let grant = |name: &str, further: &[&str]| {
        let order = ["grant", name, "--identity", "prod", "--json"];
        let given = home.run(&[&order[..], further].concat(), &[]);
        assert_eq!(given.code, Some(0), "{given:?}");
        let token = given.json()["token"].as_str().unwrap().to_owned();
        assert_eq!(broker.get_with("/credentials", &token).status, 200, "{name}");
        token
    };
    let narrowed = grant("narrowed", &["--for", "30m", "--policy", "policy.json"]);
    let replaced = grant("replaced", &["--for", "30m", "--policy", "policy.json"]);
    let whole = grant("whole", &["--for", "30m"]);
    let brief = grant("brief", &["--for", "2s"]);
    grant("replaced", &["--for", "30m", "--replace"]);
    for name in ["narrowed", "whole"] {
        assert_eq!(home.run(&["revoke", name], &[]).code, Some(0), "{name}");
    }
    until("the grants are over", || {
        [&narrowed, &replaced, &whole, &brief].iter().all(|token| broker.get_with("/credentials", token).status == 401)
    });
    let mut all = renewed(&sts, &broker, &["kept", "replaced"]);
    all.sort();
    assert_eq!(all, ["kept", "kept", "replaced", "replaced"], "one session of the replaced grant is left");
}

#[test]
fn status_shows_a_client_its_own_session() {
    let home = Home::new();
    let (_sts, broker) = serve(&home, &[("one", "prod"), ("two", "prod")]);
    let shown = |client: &str| {
        let prod = broker.get_with("/status", &token(client)).json()["identities"]["prod"].clone();
        (prod["state"].as_str().unwrap().to_owned(), prod["access_key_id"].as_str().map(str::to_owned))
    };
    let key = |client: &str| broker.get_with("/credentials", &token(client)).key();
    let one = key("one");
    assert_eq!((shown("one"), shown("two")), (("available".into(), one.clone()), ("not loaded yet".into(), None)));
    // The session of the owner is another one.
    let owner = home.run(&["whoami", "prod", "--json"], &[]);
    let arn = "arn:aws:sts::123456789012:assumed-role/demo/owner";
    assert_eq!(owner.json()["arn"], arn, "STS named the session when it gave it");
    assert_eq!((shown("one"), shown("two")), (("available".into(), one.clone()), ("not loaded yet".into(), None)));
    let two = key("two");
    assert!(one.is_some() && one != two);
    assert_eq!((shown("one"), shown("two")), (("available".into(), one), ("available".into(), two)));
}

#[test]
fn refused_grant_leaves_no_session_and_promises_no_try() {
    let home = Home::new();
    let (sts, broker) = serve(&home, &[("kept", "prod")]);
    assert_eq!(broker.get_with("/credentials", &token("kept")).status, 200);
    home.write("policy.json", POLICY);
    sts.forbid(ROLE);
    let order = ["grant", "agent", "--identity", "prod", "--for", "30m", "--policy", "policy.json"];
    let refused = home.run(&order, &[]);
    assert!(refused.code == Some(1) && refused.stderr.contains("identity prod: "), "{refused:?}");
    assert!(refused.stderr.contains("sts:AssumeRole") && !refused.stderr.contains("next try"), "{refused:?}");
    sts.allow(ROLE, Role::default());
    assert_eq!(renewed(&sts, &broker, &["kept"]), ["kept", "kept"]);
}
