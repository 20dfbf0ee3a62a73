//! Sessions that may do less: `exec --policy`, `assume`, `max_lifetime`, and what is refused.

use testkit::harness::{Home, program};
use testkit::sts::{Role, Sts};

const ROLE: &str = "arn:aws:iam::123456789012:role/demo";
const READ_ONLY: &str = "{\n  \"Version\": \"2012-10-17\",\n  \"Statement\": { \"Effect\": \"Allow\", \"Action\": \"s3:Get*\", \"Resource\": \"*\" }\n}\n";

/// A home with a policy and a role over keys, the strict STS, and its variables.
fn stage() -> (Home, Sts, [(&'static str, &'static str); 2]) {
    let (home, sts) = (Home::new(), Sts::start("eu-west-1"));
    sts.allow(ROLE, Role::default());
    home.write("read-only.json", READ_ONLY);
    let (id, secret) = (Sts::ACCESS_KEY_ID, Sts::SECRET_ACCESS_KEY);
    home.write(
        ".aws/config",
        format!(
            "[profile role]\nrole_arn = {ROLE}\nsource_profile = user\n\
             [profile user]\naws_access_key_id = {id}\naws_secret_access_key = {secret}\n\
             [profile other]\naws_access_key_id = minioadmin\naws_secret_access_key = hush\n"
        ),
    );
    let variables = [("AWS_ENDPOINT_URL_STS", sts.url().leak() as &'static str), ("AWS_REGION", "eu-west-1")];
    (home, sts, variables)
}

#[test]
fn command_gets_a_narrowed_session() {
    let (home, sts, variables) = stage();
    let own = program();
    for (profile, action) in [("role", "AssumeRole"), ("user", "GetFederationToken")] {
        let exec = ["exec", "--profile", profile, "--policy", "read-only.json", "--", own, "get"];
        let shown = home.run(&exec, &variables);
        assert!(shown.key().starts_with("ASIA"), "{shown:?}");
        let forms = sts.forms();
        let of = |name: &str| forms.last().unwrap().iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str());
        assert_eq!(of("Action"), Some(action));
        let minified = READ_ONLY.replace(['\n', ' '], "");
        assert_eq!(of("Policy"), Some(&*minified));
        assert_eq!(shown.stderr.contains("may call neither IAM nor STS"), profile == "user", "{shown:?}");
    }
    let arn = "arn:aws:iam::aws:policy/ReadOnlyAccess";
    let shown = home.run(&["get", "--profile", "role", "--policy-arn", arn], &variables);
    assert!(shown.key().starts_with("ASIA"), "{shown:?}");
    assert!(sts.forms().last().unwrap().iter().any(|(name, value)| name == "PolicyArns.member.1.arn" && value == arn));
}

#[test]
fn refuses_a_policy_that_cannot_be_applied() {
    let (home, sts, variables) = stage();
    home.write("broken.json", "{\n  \"Statement\": [{ \"Effect\": \"allow\" }]\n}\n");
    for (arguments, expected) in [
        (
            &["--profile", "other", "--policy", "read-only.json"][..],
            "the keys are not those of an IAM user (AKIA…); add assume",
        ),
        (
            &["--profile", "role", "--policy", "broken.json"],
            "broken.json, line 2: session policy, column 29: Effect is neither",
        ),
        (&["--profile", "role", "--policy", "nowhere.json"], "nowhere.json"),
        (&["--profile", "role", "--policy-arn", ROLE], "not the ARN of a managed policy"),
    ] {
        let shown = home.run(&[&["exec"], arguments, &["--", "echo", "started"]].concat(), &variables);
        assert!(matches!(shown.code, Some(1 | 2)) && shown.stderr.contains(expected), "{expected}: {shown:?}");
        assert!(shown.stdout.is_empty(), "{shown:?}");
    }
    assert!(sts.actions().is_empty(), "{:?}", sts.actions());
    let shown = home.run(&["get", "--from-daemon", "--policy", "read-only.json"], &variables);
    assert!(shown.code == Some(2) && shown.stderr.contains("--from-daemon"), "{shown:?}");
}

#[test]
fn credentials_end_with_the_time_of_the_command() {
    let (home, sts, variables) = stage();
    let script = "\"$0\" get; sleep 3; \"$0\" get; echo end";
    let exec = ["exec", "--profile", "role", "--policy", "read-only.json", "--for", "2s", "--"];
    let shown = home.run(&[&exec[..], &["sh", "-c", script, program()]].concat(), &variables);
    assert!(shown.stdout.contains("ASIA1") && shown.stdout.ends_with("end\n"), "{shown:?}");
    assert_eq!(shown.stdout.matches("AccessKeyId").count(), 1, "{shown:?}");
    assert!(shown.stderr.contains("the time of this session was over at"), "{shown:?}");
    let forms = sts.forms();
    assert!(forms[0].contains(&("DurationSeconds".into(), "900".into())), "{forms:?}");
}

/// The configuration of an identity whose role is assumed over the keys of a user.
fn config(assume: &str, more: &str) -> String {
    let (id, secret) = (Sts::ACCESS_KEY_ID, Sts::SECRET_ACCESS_KEY);
    format!(
        "[identities.default]\nsources = [{{ access_key_id = \"{id}\", secret_access_key = \"{secret}\" }}]\n\
         assume = {{ role_arn = \"{ROLE}\", {assume} }}\n{more}"
    )
}

#[test]
fn clients_get_the_assumed_role_and_a_capped_expiration() {
    let (home, sts, variables) = stage();
    let assume = "policy_file = \"~/read-only.json\", duration = \"12h\", session_name = \"{client}\"";
    let broker = home.serve_config(config(assume, "max_lifetime = \"30m\"\n"), &variables);
    broker.wait_for_key("ASIA1");
    let body = broker.get("/credentials").json();
    let told = |body: &serde_json::Value| {
        let text = body["Expiration"].as_str().unwrap().to_owned();
        time::OffsetDateTime::parse(&text, &time::format_description::well_known::Rfc3339).unwrap()
    };
    let left = told(&body) - time::OffsetDateTime::now_utc();
    assert!((time::Duration::minutes(28)..=time::Duration::minutes(30)).contains(&left), "{left}");
    let form = &sts.forms()[0];
    for part in [("DurationSeconds", "43200"), ("RoleSessionName", "owner")] {
        assert!(form.contains(&(part.0.into(), part.1.into())), "{part:?}: {form:?}");
    }
    // A changed policy makes a new session, and a broken one none.
    home.write("read-only.json", READ_ONLY.replace("Get", "List"));
    broker.wait_for_key("ASIA2");
    home.write("read-only.json", READ_ONLY.replace("Allow", "allow"));
    let shown = home.run(&["check", "-v", "--config", "credenza.toml"], &variables);
    assert!(shown.stdout.contains("read-only.json, line 3: session policy, column 28: Effect is neither"), "{shown:?}");
}

#[test]
fn check_shows_the_packed_size() {
    let (home, _sts, variables) = stage();
    home.write("credenza.toml", config("policy_file = \"~/read-only.json\"", ""));
    let shown = home.run(&["check", "-v", "--config", "credenza.toml"], &variables);
    assert!(shown.stdout.contains("policies and tags take 3 % of what STS accepts"), "{shown:?}");
}

#[test]
fn limits_that_the_configuration_breaks_are_a_bad_configuration() {
    let (home, sts, variables) = stage();
    for (assume, expected) in [
        ("duration = \"13h\"", "must lie between 15m and 12h"),
        ("session_name = \"{nobody}\"", "braces stand around {client}, {user} or {identity}"),
        ("policy = \'{\'", "within the policy"),
    ] {
        home.write("credenza.toml", config(assume, ""));
        let shown = home.run(&["get", "--config", "credenza.toml"], &variables);
        assert!(shown.code == Some(78) && shown.stderr.contains(expected), "{expected}: {shown:?}");
    }
    assert!(sts.actions().is_empty());
}

#[test]
fn policy_that_another_user_writes_is_not_used() {
    let (home, sts, variables) = stage();
    let policy = home.path().join("read-only.json");
    if std::os::unix::fs::chown(&policy, Some(65_533), None).is_err()
        && testkit::harness::skip("this user cannot give a file to another one")
    {
        return;
    }
    let refused = home.run(&["get", "--profile", "role", "--policy", "read-only.json"], &variables);
    assert!(refused.code == Some(1) && refused.stderr.contains("belongs to user 65533"), "{refused:?}");
    assert!(sts.actions().is_empty());
}

/// The session belongs to a lease of its own for each user, and a revocation must find it.
#[test]
fn revocation_tells_of_the_session_of_a_user() {
    let (home, _sts, variables) = stage();
    let config = format!(
        "[identities.a]\nsources = [{{ profile = \"user\" }}]\nassume = {{ role_arn = \"{ROLE}\", tags = {{ who = \"{{user}}\" }} }}\n"
    );
    let broker = home.serve_config(config, &variables);
    let owner = |arguments: &[&str]| home.run(&[arguments, &["--json"]].concat(), &[]).json();
    for (is_used, is_handed_out) in [(false, false), (true, true)] {
        let grant = owner(&["grant", "g", "--identity", "a", "--for", "5m"]);
        if is_used {
            let answer = broker.get_with("/credentials", grant["token"].as_str().unwrap());
            assert!(answer.key().is_some_and(|key| key.starts_with("ASIA")), "{}", answer.body);
        }
        let revoked = owner(&["revoke", "g"]);
        assert_eq!(
            (&revoked["is_session"], &revoked["handed_out"]),
            (&is_handed_out.into(), &is_handed_out.into()),
            "{revoked}"
        );
        assert_eq!(revoked["deny_policy"].is_object(), is_handed_out, "{revoked}");
    }
}
