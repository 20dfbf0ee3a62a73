//! `whoami` without a daemon, and the keys that `check --verify` finds to be revoked.

use testkit::harness::Home;
use testkit::sts::Sts;

/// A home with profiles of good keys, of keys that STS does not know, and of another store.
fn stage() -> (Home, Sts, [(&'static str, String); 2]) {
    let (home, sts) = (Home::new(), Sts::start("eu-west-1"));
    let profile = |name: &str, id: &str, secret: &str| {
        format!("[profile {name}]\naws_access_key_id = {id}\naws_secret_access_key = {secret}\n")
    };
    let good = profile("good", Sts::ACCESS_KEY_ID, Sts::SECRET_ACCESS_KEY);
    let revoked = profile("revoked", "AKIAREVOKED", "hush");
    let other = profile("other", "minio", "hush")
        + "services = minio\n[services minio]\ns3 =\n  endpoint_url = http://127.0.0.1:9\n";
    // The keys of another store would go to an STS of a variable: it may be that of the store.
    let aws = format!("[services aws]\nsts =\n  endpoint_url = {}\n", sts.url());
    home.write(".aws/config", format!("{good}services = aws\n{revoked}services = aws\n{other}{aws}"));
    let variables = [("AWS_REGION", "eu-west-1".into()), ("RUST_LOG", "warn".into())];
    (home, sts, variables)
}

fn run(home: &Home, variables: &[(&'static str, String)], arguments: &[&str]) -> testkit::harness::CommandOutput {
    let variables: Vec<(&str, &str)> = variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
    home.run(arguments, &variables)
}

#[test]
fn whoami_needs_no_daemon() {
    let (home, sts, variables) = stage();
    let known = run(&home, &variables, &["whoami", "good"]);
    assert!(known.code == Some(0) && known.stderr.is_empty(), "{known:?}");
    for text in
        ["identity:   good", "arn:        unknown; --verify asks STS", "source:     profile good", "expiration: none"]
    {
        assert!(known.stdout.contains(text), "{text}: {known:?}");
    }
    assert!(sts.actions().is_empty());
    let verified = run(&home, &variables, &["whoami", "good", "--verify", "--json"]).json();
    assert_eq!(verified["account"], "123456789012");
    assert_eq!(verified["arn"], "arn:aws:iam::123456789012:user/me");
    assert_eq!(sts.actions(), ["GetCallerIdentity"]);
    for (arguments, expected) in [
        (&["revoked", "--verify"][..], "InvalidClientTokenId"),
        (&["nothing"], "there is no identity nothing"),
        (&[], "identity default: no credentials are configured"),
    ] {
        let refused = run(&home, &variables, &[&["whoami"], arguments].concat());
        assert!(refused.code == Some(1) && refused.stderr.contains(expected), "{expected}: {refused:?}");
        assert!(refused.stdout.is_empty() && !refused.stderr.contains("hush"), "{refused:?}");
    }
}

#[test]
fn whoami_knows_profiles_that_the_daemon_does_not_serve() {
    let (home, _sts, variables) = stage();
    let broker = home.serve(&["--profile", "revoked"], &[]);
    broker.wait_for_identity("default");
    let served = run(&home, &variables, &["whoami"]);
    assert!(served.code == Some(0) && served.stdout.contains("source:     profile revoked"), "{served:?}");
    let profile = run(&home, &variables, &["whoami", "good", "--verify"]);
    assert!(profile.stdout.contains("arn:        arn:aws:iam::123456789012:user/me"), "{profile:?}");
    assert!(profile.stderr.contains("the running daemon serves no identity good"), "{profile:?}");
    let unknown = run(&home, &variables, &["whoami", "nothing"]);
    assert!(unknown.code == Some(1) && unknown.stderr.contains("IdentityNotFound"), "{unknown:?}");
}

#[test]
fn check_verifies_the_keys_of_every_identity() {
    let (home, sts, variables) = stage();
    let identity = |name: &str| format!("[identities.{name}]\nsources = [{{ profile = \"{name}\" }}]\n");
    let check = |names: &[&str], verify: bool| {
        home.write("credenza.toml", names.iter().map(|name| identity(name)).collect::<String>());
        let arguments = ["check", "--config", "credenza.toml", "--verify"];
        run(&home, &variables, &arguments[..if verify { 4 } else { 3 }])
    };
    let all = check(&["good", "other", "revoked"], true);
    assert_eq!(all.code, Some(1), "{all:?}");
    for text in [
        "STS accepts the keys: arn:aws:iam::123456789012:user/me, account 123456789012",
        "not verified: keys for http://127.0.0.1:9, which is not AWS",
        "NOT ACCEPTED by STS: ",
        "InvalidClientTokenId",
    ] {
        assert_eq!(all.stdout.matches(text).count(), 1, "{text}: {all:?}");
    }
    assert_eq!(sts.actions().len(), 2, "the keys of another store go nowhere");
    assert_eq!(check(&["good", "other"], true).code, Some(0));
    let asked = sts.actions().len();
    assert_eq!(check(&["good", "other", "revoked"], false).code, Some(0));
    assert_eq!(sts.actions().len(), asked);
    // An STS that does not answer has verified nothing.
    let silent = home.run(
        &["check", "--config", "credenza.toml", "--verify"],
        &[("AWS_ENDPOINT_URL_STS", "http://127.0.0.1:9"), ("AWS_REGION", "eu-west-1")],
    );
    assert!(silent.code == Some(1) && silent.stdout.contains("NOT VERIFIED: "), "{silent:?}");
}
