//! `get --from-daemon` and `env`: their output, and the listeners that never get the auth token.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::{PermissionsExt, chown, fchown};
use std::process::{Command, Output};
use std::time::{Duration, SystemTime};

use testkit::harness::{Broker, CommandOutput, HUSH, Home, keys_file, profile, skip, wrapped};
use testkit::server::{Reply, Server};

use crate::exhaustion::can;

const TEMPORARY: [(&str, &str); 4] = [
    ("AWS_ACCESS_KEY_ID", "ASIAENV"),
    ("AWS_SECRET_ACCESS_KEY", "hush-env"),
    ("AWS_SESSION_TOKEN", "hush-token"),
    ("AWS_REGION", "eu-west-1"),
];

/// The profile `dev` needs a login that does not exist.
const SSO: &str = "[sso-session work]\nsso_start_url = https://d.awsapps.com/start\nsso_region = eu-west-1\n\
    [profile dev]\nsso_session = work\nsso_account_id = 123456789012\nsso_role_name = Dev\nregion = eu-north-1\n";

/// An auth token that no daemon created.
const OTHER_TOKEN: &str = "0123456789012345678901234567890123456789";

/// A user id other than root and the user of the tests.
const ANOTHER_USER: u32 = 65_533;

fn get(home: &Home, address: SocketAddr, more: &[&str]) -> CommandOutput {
    let address = address.to_string();
    home.run(&[&["get", "--from-daemon", "--listen", &address], more].concat(), &[])
}

fn env(home: &Home, broker: &Broker, more: &[&str]) -> CommandOutput {
    let address = broker.address().to_string();
    home.run(&[&["env", "--listen", &address], more].concat(), &[])
}

#[test]
fn get_prints_each_format_of_a_daemons_lease() {
    let home = Home::new();
    home.write(".aws/credentials", profile("other", "AKIAOTHER"));
    let config = "[identities.default]\nsources = [\"environment\"]\n\
         [identities.\"a/b\"]\nsources = [{ profile = \"other\" }]\n\
         [identities.minio]\nsources = [\"http://AKIAURL:hush-url@127.0.0.1:9000/\"]\n\
         [identities.temporary]\nsources = [{ process = [\"cat\", \"temporary.json\"] }]\n";
    let end = testkit::timestamp(SystemTime::now() + Duration::from_secs(7200));
    let keys = r#""AccessKeyId":"ASIATMP","SecretAccessKey":"hush","SessionToken":"hush-t""#;
    home.write("temporary.json", format!(r#"{{"Version":1,{keys},"Expiration":"{end}"}}"#));
    let broker = home.serve_config(config, &TEMPORARY);
    let process = get(&home, broker.address(), &[]).json();
    assert_eq!(process["Version"], 1);
    assert_eq!((&process["AccessKeyId"], &process["SecretAccessKey"]), (&"ASIAENV".into(), &"hush-env".into()));
    assert_eq!(process["SessionToken"], "hush-token");
    assert!(process["Expiration"].as_str().unwrap().ends_with('Z'));

    let long_lived = get(&home, broker.address(), &["--identity", "a/b", "--format", "process"]).json();
    assert_eq!(long_lived["AccessKeyId"], "AKIAOTHER");
    assert!(long_lived.get("SessionToken").is_none(), "an empty token is none: {long_lived}");

    let lines = get(&home, broker.address(), &["--format", "env"]).stdout;
    for line in ["export AWS_SESSION_TOKEN='hush-token'\n", "export AWS_REGION='eu-west-1'\n"] {
        assert!(lines.contains(line), "{line}: {lines}");
    }
    let minio = get(&home, broker.address(), &["--identity", "minio"]).stdout;
    assert!(minio.contains("Expiration"), "{minio}");
    // Neither has a real expiry. A reader of documents requests again; a reader of variables does not.
    for (identity, unset) in [("default", "unset"), ("minio", "unset"), ("temporary", "export")] {
        let lines = get(&home, broker.address(), &["--identity", identity, "--format", "env"]).stdout;
        assert!(lines.contains(&format!("{unset} AWS_CREDENTIAL_EXPIRATION")), "{identity}: {lines}");
    }
    let lines = get(&home, broker.address(), &["--identity", "minio", "--format", "fish"]).stdout;
    for line in ["set -eg AWS_SESSION_TOKEN\n", "set -gx AWS_ENDPOINT_URL_S3 'http://127.0.0.1:9000'\n"] {
        assert!(lines.contains(line), "{line}: {lines}");
    }
    let ecs = get(&home, broker.address(), &["--format", "ecs"]).stdout;
    assert_eq!(ecs, broker.get("/credentials").body + "\n");
}

#[test]
fn finds_the_daemon_by_its_configuration() {
    let home = Home::new();
    let broker = home.serve(&[], &TEMPORARY);
    let text = format!("[server]\nlisten = [\"{}\"]\ntoken_file = \"run/token\"\n", broker.address());
    home.write(".config/credenza/credenza.toml", text);
    let mut command = home.command(&["get", "--from-daemon"]);
    let output = command.env_remove("CREDENZA_TOKEN_FILE").output().unwrap();
    assert!(String::from_utf8_lossy(&output.stdout).contains("ASIAENV"), "{output:?}");
    let by_variable =
        home.run(&["get"], &[("CREDENZA_FROM_DAEMON", "true"), ("CREDENZA_URL", "http://AKIAURL:hush@127.0.0.1")]);
    assert!(by_variable.stdout.contains("ASIAENV"), "a source is not asked: {by_variable:?}");
}

#[test]
fn prefers_the_address_that_every_sdk_accepts() {
    let home = Home::new();
    // The daemon chooses the ports: the client's file names the used one beside two that do not exist.
    let broker = home.serve(&["--listen", "127.0.0.1:0"], &TEMPORARY);
    let text = format!("[server]\nlisten = [\"[::1]:9\", \"169.254.170.2:80\", \"{}\"]\n", broker.address());
    home.write(".config/credenza/credenza.toml", text);
    let env = home.run(&["env"], &[]);
    assert!(env.stdout.contains(&format!("='http://{}/credentials'", broker.address())), "{env:?}");
    for arguments in [&["get", "--from-daemon"][..], &["status"], &["status", "--ready"]] {
        assert_eq!(home.run(arguments, &[]).code, Some(0), "{arguments:?}");
    }
}

#[test]
fn reports_why_the_daemon_has_no_credentials() {
    let home = Home::new();
    home.write(".aws/config", SSO);
    let expired = [TEMPORARY[0], TEMPORARY[1], TEMPORARY[2], ("AWS_CREDENTIAL_EXPIRATION", "2020-01-01T00:00:00Z")];
    let broker = home.serve_config(
        "[identities.default]\nsources = [\"environment\"]\n[identities.dev]\nsources = [{ profile = \"dev\" }]\n",
        &expired,
    );
    for (identity, words) in [
        ("default", &["environment", "expired"][..]),
        ("dev", &["403 LoginRequired", "run: credenza login --sso-session work"]),
        ("nobody", &["404 IdentityNotFound", "identity nobody"]),
    ] {
        let ended = get(&home, broker.address(), &["--identity", identity]);
        assert_eq!((ended.code, &*ended.stdout), (Some(1), ""), "{ended:?}");
        for word in words {
            assert!(ended.stderr.contains(word), "{word}: {ended:?}");
        }
        assert!(!ended.stderr.contains(HUSH), "{ended:?}");
    }
}

#[test]
fn reports_a_wrong_auth_token_and_a_missing_daemon() {
    let home = Home::new();
    let broker = home.serve(&[], &TEMPORARY);
    let other = home.write("other", OTHER_TOKEN);
    let wrong = get(&home, broker.address(), &["--token-file", other.to_str().unwrap()]);
    assert!(wrong.code == Some(1) && wrong.stderr.contains("401 InvalidAuthorizationToken"), "{wrong:?}");
    assert!(!wrong.stderr.contains("0123456789"), "{wrong:?}");
    let absent = get(&home, broker.address(), &["--token-file", "absent"]);
    assert!(absent.code == Some(1) && absent.stderr.contains("token file absent"), "{absent:?}");
    let address = broker.address();
    drop(broker);
    let none = get(&home, address, &[]);
    assert!(none.code == Some(1) && none.stderr.contains(&format!("no daemon answers at {address}")), "{none:?}");
    let none = home.run(&["env", "--listen", &address.to_string()], &[]);
    assert_eq!((none.code, &*none.stdout), (Some(1), ""), "{none:?}");
}

#[test]
fn never_sends_the_auth_token_to_another_users_listener() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    if fchown(&listener, Some(ANOTHER_USER), None).is_err() && skip("this user cannot give a socket to another one") {
        return;
    }
    let stranger = Server::on(listener, |_| Reply::Raw(Vec::new()));
    let home = Home::new();
    let token = home.write("run/token", OTHER_TOKEN);
    fs::set_permissions(&token, fs::Permissions::from_mode(0o600)).unwrap();
    for arguments in [
        &["get", "--from-daemon", "--listen"][..],
        &["get", "--from-daemon", "--format", "ecs", "--listen"],
        &["env", "--listen"],
        &["status", "--listen"],
        &["status", "--json", "--listen"],
    ] {
        let ended = home.run(&[arguments, &[&stranger.address().to_string()]].concat(), &[]);
        assert_eq!((ended.code, &*ended.stdout), (Some(1), ""), "{ended:?}");
        for word in ["user 65533 listens there", "run/token belongs to user 0", "so the token was not sent"] {
            assert!(ended.stderr.contains(word), "{word}: {ended:?}");
        }
    }
    // An auth token of that user is sent, which shows that the listener records.
    chown(&token, Some(ANOTHER_USER), None).unwrap();
    let ended = get(&home, stranger.address(), &[]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let [seen] = &stranger.seen()[..] else { panic!("{:?}", stranger.lines()) };
    assert_eq!(seen.header("authorization"), Some(OTHER_TOKEN));
}

/// Returns a command of a user without a token file anywhere.
fn without_token(home: &Home, arguments: &[&str]) -> Command {
    let mut command = home.command(arguments);
    command.env_remove("CREDENZA_TOKEN_FILE").env("XDG_STATE_HOME", home.path().join("no-state"));
    command
}

fn text(output: Output) -> (bool, String) {
    (output.status.success(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
}

#[test]
fn a_client_known_by_its_user_needs_no_token_file() {
    let home = Home::new();
    let ours = rustix::process::geteuid().as_raw();
    let socket = format!("unix:{}", home.path().join("job.sock").display());
    let config = format!(
        "[identities.job]\nsources = [\"environment\"]\n\
         [identities.other]\nsources = [\"environment\"]\n[clients.job]\nusers = [{ours}]\nidentities = [\"job\"]\n"
    );
    home.write("credenza.toml", config);
    let listen = ["--config", "credenza.toml", "--listen", "127.0.0.1:0", "--listen", &socket];
    let broker = home.serve(&listen, &TEMPORARY);
    home.write("none.toml", "");
    for listen in [broker.address().to_string(), socket.clone()] {
        let run = |more: &[&str]| {
            let arguments = [&["get", "--from-daemon", "--listen", &listen, "--config", "none.toml"], more].concat();
            text(without_token(&home, &arguments).output().unwrap())
        };
        let (success, said) = run(&["--identity", "job"]);
        assert!(success && said.contains("ASIAENV"), "{listen}: {said}");
        let (success, said) = run(&["--identity", "job", "--format", "env"]);
        assert!(success && said.contains("AWS_REGION='eu-west-1'"), "{listen}: {said}");
        let (success, said) = run(&["--identity", "other"]);
        assert!(!success && said.contains("403 IdentityNotAllowed"), "{listen}: {said}");
    }
    // SDKs ask without a token, too.
    let listen = broker.address().to_string();
    for format in ["env", "dotenv"] {
        let arguments = ["env", "--identity", "job", "--listen", &listen, "--format", format];
        let (success, said) = text(without_token(&home, &arguments).output().unwrap());
        assert!(success && said.contains("AWS_CONTAINER_CREDENTIALS_FULL_URI"), "{said}");
        assert_eq!(said.contains("unset AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE\n"), format == "env", "{said}");
        assert!(!said.contains("AUTHORIZATION_TOKEN_FILE="), "{said}");
    }
    let arguments = ["exec", "--from-daemon", "--identity", "job", "--listen", &listen, "--", "printenv"];
    let mut command = without_token(&home, &arguments);
    let (success, said) = text(command.env("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "/old").output().unwrap());
    assert!(success && said.contains("AWS_CONTAINER_CREDENTIALS_FULL_URI=http://"), "{said}");
    assert!(!said.contains("AUTHORIZATION_TOKEN"), "{said}");
    // A token of an earlier daemon does not stand in the way of the user.
    let stale = home.write("no-state/credenza/token", OTHER_TOKEN);
    fs::set_permissions(&stale, fs::Permissions::from_mode(0o600)).unwrap();
    let arguments = ["get", "--from-daemon", "--identity", "job", "--listen", &broker.address().to_string()];
    let (success, said) = text(without_token(&home, &arguments).output().unwrap());
    assert!(success && said.contains("ASIAENV"), "{said}");
}

#[test]
fn a_daemon_that_does_not_know_the_user_asks_for_a_token() {
    let home = Home::new();
    let broker = home.serve(&[], &TEMPORARY);
    let arguments = ["get", "--from-daemon", "--listen", &broker.address().to_string()];
    let (success, said) = text(without_token(&home, &arguments).output().unwrap());
    let words = ["401 InvalidAuthorizationToken", "does not know this user without a token", "--token-file"];
    assert!(!success && words.iter().all(|word| said.contains(word)), "{said}");
}

#[test]
fn believes_no_stranger_without_a_token() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    if fchown(&listener, Some(ANOTHER_USER), None).is_err() && skip("this user cannot give a socket to another one") {
        return;
    }
    let stranger = Server::on(listener, |_| Reply::ok(shown("AKIASTRANGER", "hush", 0)[0].clone()));
    let home = Home::new();
    let arguments = ["get", "--from-daemon", "--listen", &stranger.address().to_string()];
    let (success, said) = text(without_token(&home, &arguments).output().unwrap());
    assert!(!success && said.contains("user 65533 listens there") && said.contains("nothing was asked"), "{said}");
    assert!(stranger.seen().is_empty() && !said.contains("AKIASTRANGER"), "{said}");
}

#[test]
fn never_sends_the_auth_token_to_an_unknown_listener() {
    let home = Home::new();
    let broker = home.serve(&[], &TEMPORARY);
    let command = format!("exec \"$0\" get --from-daemon --listen {}", broker.address());
    // Without /proc, and with that of another network namespace: its tables do not contain the listener.
    for tables in ["", "mkdir /proc/net && echo head >/proc/net/tcp &&"] {
        let script = format!("mount -t tmpfs none /proc && {tables} {command}");
        let mut unshare = Command::new("unshare");
        unshare.args(["-m", "sh", "-c", &script, testkit::harness::program()]);
        unshare.env("HOME", home.path()).env("CREDENZA_TOKEN_FILE", home.path().join("run/token"));
        let text = |output: Output| String::from_utf8_lossy(&output.stderr).into_owned();
        let said = unshare.output().map_or_else(|error| error.to_string(), text);
        if !said.starts_with("credenza: ") && skip(&format!("a mount namespace cannot be made: {said}")) {
            return;
        }
        assert!(said.contains("cannot find out which user listens there"), "{said}");
    }
    assert!(!broker.log().contains("path=/credentials"), "{}", broker.log());
    assert_eq!(get(&home, broker.address(), &[]).code, Some(0));
    testkit::harness::until("the request is logged", || broker.log().contains("path=/credentials"));
}

#[test]
fn rejects_responses_that_are_not_a_daemons() {
    let home = Home::new();
    home.write("run/token", OTHER_TOKEN);
    let soon = testkit::document("A", "soon");
    for answer in ["{}", "[1", &soon] {
        let daemon = scripted(vec![answer.to_owned()]);
        let ended = get(&home, daemon.address(), &[]);
        assert_eq!((ended.code, &*ended.stdout), (Some(1), ""), "{ended:?}");
        assert!(ended.stderr.contains("not a Credenza daemon") && !ended.stderr.contains(HUSH), "{ended:?}");
    }
}

/// Starts a daemon that gives these answers in order.
fn scripted(answers: Vec<String>) -> Server {
    let mut answers = answers.into_iter();
    Server::start(move |_| Reply::ok(answers.next().unwrap()))
}

/// Returns the response body and the status of a lease at one moment of its life.
fn shown(key: &str, secret: &str, second: u32) -> [String; 2] {
    let (loaded, end) = (format!("2026-11-23T16:00:0{second}Z"), format!("2026-11-23T17:00:0{second}Z"));
    let body = serde_json::json!({
        "AccessKeyId": key, "SecretAccessKey": secret, "Token": "", "LastUpdated": loaded, "Expiration": end,
    });
    let identity = serde_json::json!({
        "access_key_id": key, "loaded": loaded, "serve_until": end, "endpoint": format!("http://{key}:{second}"),
    });
    [body.to_string(), serde_json::json!({ "identities": { "default": identity } }).to_string()]
}

#[test]
fn never_mixes_keys_and_endpoints_of_two_leases() {
    let home = Home::new();
    home.write("run/token", OTHER_TOKEN);
    let [[a, at_a], [b, at_b], [later, at_later]] =
        [shown("A", "hush-a", 0), shown("B", "hush-b", 0), shown("A", "hush-a", 1)];
    let [other_secret, _] = shown("A", "hush-z", 0);
    for (answers, endpoint) in [
        ([&a, &at_a, &a].to_vec(), "http://A:0"),
        // Another lease was published before the status, after it, and both.
        ([&a, &at_b, &b, &at_b, &b].to_vec(), "http://B:0"),
        ([&a, &at_a, &b, &at_b, &b].to_vec(), "http://B:0"),
        ([&a, &at_b, &a, &at_a, &a].to_vec(), "http://A:0"),
        // The same key id, loaded at another time or with another secret.
        ([&a, &at_later, &later, &at_later, &later].to_vec(), "http://A:1"),
        ([&a, &at_a, &other_secret, &at_a, &other_secret].to_vec(), "http://A:0"),
    ] {
        let daemon = scripted(answers.iter().copied().cloned().collect());
        let ended = get(&home, daemon.address(), &["--format", "env"]);
        let key = format!("AWS_ACCESS_KEY_ID='{}'", &endpoint[7..8]);
        assert!(ended.stdout.contains(endpoint) && ended.stdout.contains(&key), "{answers:?}: {ended:?}");
        assert_eq!(daemon.seen().len(), answers.len());
    }
    // A lease that changes all the time, and a status without this identity.
    let nothing = "{\"identities\":{}}".to_owned();
    for answers in [[&a, &at_b, &b, &at_a], [&a, &nothing, &a, &nothing]] {
        let daemon = scripted(answers.into_iter().cycle().take(64).cloned().collect());
        let ended = get(&home, daemon.address(), &["--format", "fish"]);
        assert_eq!((ended.code, &*ended.stdout), (Some(1), ""), "{ended:?}");
        for word in ["identity default", "changed in each of 5 tries", "try again"] {
            assert!(ended.stderr.contains(word) && !ended.stderr.contains(HUSH), "{word}: {ended:?}");
        }
        assert_eq!(daemon.seen().len(), 11);
    }
}

#[test]
fn env_points_to_the_daemon_without_secrets() {
    let home = Home::new();
    home.write(".aws/credentials", keys_file("AKIAFILE"));
    let broker = home.serve(&[], &TEMPORARY);
    for format in ["env", "dotenv", "fish", "powershell"] {
        let ended = env(&home, &broker, &["--format", format]);
        assert_eq!(ended.code, Some(0), "{ended:?}");
        let uri = format!("http://{}/credentials", broker.address());
        for word in [&uri, &home.path().join("run/token").display().to_string(), "AWS_PROFILE", "AWS_ACCESS_KEY_ID"] {
            assert!(ended.stdout.contains(word), "{word}: {ended:?}");
        }
        let all = format!("{ended:?}");
        assert!(!all.contains(&home.token()) && !all.contains(HUSH), "{all}");
    }
    // The environment of a program after `eval`, regardless of its earlier contents.
    let script = "eval \"$(\"$0\" env --listen \"$1\" --identity default)\"; exec printenv";
    let program = testkit::harness::program();
    let mut command = Command::new("sh");
    command.args(["-c", script, program, &broker.address().to_string()]).env_clear();
    command.env("PATH", std::env::var_os("PATH").unwrap()).env("CREDENZA_TOKEN_FILE", "run/token");
    command.envs([("AWS_PROFILE", "x"), ("AWS_ACCESS_KEY_ID", "x"), ("AWS_CONTAINER_AUTHORIZATION_TOKEN", "old")]);
    let found = String::from_utf8(command.current_dir(home.path()).output().unwrap().stdout).unwrap();
    let mut aws: Vec<&str> = found.lines().filter(|line| line.starts_with("AWS_")).collect();
    aws.sort_unstable();
    let token = fs::canonicalize(home.path()).unwrap().join("run/token");
    let expected = [
        format!("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE={}", token.display()),
        format!("AWS_CONTAINER_CREDENTIALS_FULL_URI=http://{}/credentials", broker.address()),
        "AWS_DEFAULT_REGION=eu-west-1".into(),
        "AWS_EC2_METADATA_DISABLED=true".into(),
        "AWS_REGION=eu-west-1".into(),
    ];
    assert_eq!(aws, expected);

    let given = home.run(
        &["env", "--listen", &broker.address().to_string(), "--auth-token-file", "-"],
        &[("CREDENZA_TOKEN_FILE", "")],
    );
    assert_eq!(given.code, Some(2), "an empty standard input is no token: {given:?}");
    let mut command = home.command(&["env", "--listen", &broker.address().to_string()]);
    command.env_remove("CREDENZA_TOKEN_FILE").env("CREDENZA_AUTH_TOKEN", home.token());
    let output = command.output().unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("is in no file"), "{output:?}");
}

#[test]
fn env_sets_endpoint_and_region_of_the_identity() {
    let home = Home::new();
    home.write(".aws/config", SSO);
    let broker = home.serve_config(
        "[identities.default]\nsources = [\"environment\"]\n[identities.plain]\nsources = [{ profile = \"absent\" }]\n\
         [identities.minio]\neager = false\n\
         sources = [{ url = \"http://AKIAURL:hush-url@127.0.0.1:9000/\", region = \"eu-south-1\" }]\n\
         [profiles]\nserve = [\"dev\"]\n",
        &[],
    );
    let token = home.token();
    for (identity, said, printed, absent) in [
        // The identity is loaded on demand: by this request.
        ("minio", "", &["AWS_ENDPOINT_URL_S3='http://127.0.0.1:9000'", "AWS_REGION='eu-south-1'"][..], "AWS_PROFILE='"),
        ("dev", "run: credenza login --sso-session work", &["AWS_REGION='eu-north-1'"], "AWS_ENDPOINT_URL_S3"),
        ("default", "404 CredentialsNotConfigured", &[], "AWS_REGION"),
        ("plain", "no profile absent", &[], "AWS_REGION"),
    ] {
        let ended = env(&home, &broker, &["--identity", identity]);
        assert!(ended.code == Some(0) && ended.stderr.contains(said), "{ended:?}");
        assert_eq!(ended.stderr.is_empty(), said.is_empty(), "{ended:?}");
        let uri = format!("export AWS_CONTAINER_CREDENTIALS_FULL_URI='http://{}/credentials", broker.address());
        for word in printed.iter().chain(&[&*uri]) {
            assert!(ended.stdout.contains(word), "{word}: {ended:?}");
        }
        let all = format!("{ended:?}");
        assert!(!ended.stdout.contains(absent) && !all.contains(HUSH) && !all.contains("AKIAURL"), "{absent}: {all}");
        assert!(!all.contains(&token), "{all}");
    }
    // In the syntax of every shell, with the variables of another identity removed; a file removes nothing.
    let address = broker.address().to_string();
    let of_before = [("CREDENZA_SET", "AWS_REGION AWS_ENDPOINT_URL_S3")];
    for (format, set, unset) in [
        ("env", "export AWS_ENDPOINT_URL_S3='http://127.0.0.1:9000'\n", "unset AWS_ENDPOINT_URL_S3\n"),
        ("fish", "set -gx AWS_ENDPOINT_URL_S3 'http://127.0.0.1:9000'\n", "set -eg AWS_ENDPOINT_URL_S3\n"),
        ("powershell", "$env:AWS_ENDPOINT_URL_S3 = 'http://127.0.0.1:9000'\n", "$env:AWS_ENDPOINT_URL_S3 = $null\n"),
        ("dotenv", "AWS_ENDPOINT_URL_S3=http://127.0.0.1:9000\n", ""),
    ] {
        let of = |identity: &str| {
            let arguments = ["env", "--listen", &address, "--format", format, "--identity", identity];
            home.run(&arguments, &of_before).stdout
        };
        assert!(of("minio").contains(set), "{}", of("minio"));
        assert_eq!(of("minio").contains("CREDENZA_SET"), format != "dotenv", "{}", of("minio"));
        assert!(of("default").contains(unset) && !of("default").contains(set), "{}", of("default"));
        assert_eq!(of("default").contains("AWS_ENDPOINT_URL_S3"), format != "dotenv", "{}", of("default"));
    }
    for (identity, more, said) in [
        ("nosuch", &[][..], "404 IdentityNotFound: identity nosuch"),
        ("minio", &["--token-file", "other"], "401 InvalidAuthorizationToken"),
    ] {
        home.write("other", OTHER_TOKEN);
        let ended = env(&home, &broker, &[&["--identity", identity], more].concat());
        assert_eq!((ended.code, &*ended.stdout), (Some(1), ""), "{ended:?}");
        assert!(ended.stderr.contains(said) && !ended.stderr.contains("01234"), "{ended:?}");
    }
}

#[test]
fn finds_the_token_that_the_daemon_accepts_among_stale_ones() {
    let home = Home::new();
    let broker = home.serve(&[], &TEMPORARY);
    let stale = home.write("stale/token", "0123456789012345678901234567890123456789");
    let good = home.write("runtime/credenza/token", home.token());
    for folder in ["stale", "runtime"] {
        fs::set_permissions(home.path().join(folder), fs::Permissions::from_mode(0o700)).unwrap();
    }
    let run = |arguments: &[&str]| {
        let mut command = home.command(arguments);
        command.args(["--listen", &broker.address().to_string()]).env_remove("CREDENZA_TOKEN_FILE");
        command.env("RUNTIME_DIRECTORY", stale.parent().unwrap()).env("XDG_RUNTIME_DIR", home.path().join("runtime"));
        let output = command.output().unwrap();
        (
            output.status.success(),
            format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr)),
        )
    };
    for arguments in [&["status"][..], &["get", "--from-daemon"], &["env"]] {
        let (succeeded, said) = run(arguments);
        assert!(succeeded, "{said}");
        assert!(arguments != ["env"] || said.contains(good.to_str().unwrap()), "{said}");
    }
    fs::copy(&stale, &good).unwrap();
    let (succeeded, said) = run(&["status"]);
    let names = format!("does not accept the token in {} or {}", stale.display(), good.display());
    assert!(!succeeded && said.contains(&names) && said.contains("--token-file"), "{said}");
}

/// In cron and over ssh, `XDG_RUNTIME_DIR` is unset; after `su` it is the folder of another user.
#[test]
fn finds_the_token_below_the_users_runtime_folder() {
    let home = Home::new();
    let uid = rustix::process::geteuid().as_raw();
    let folder = format!("/run/user/{uid}/credenza");
    let script = format!("mount -t tmpfs -o mode=755 none /run && mkdir -p {folder} && chmod 700 {folder}");
    if !can("-m", &script) && skip("mounting a file system over /run (unshare -m, as root)") {
        return;
    }
    let broker = home.serve(&[], &TEMPORARY);
    let script = format!("{script} && cp run/token {folder}/token && exec \"$0\" \"$@\"");
    for named in [None, Some("/nonexistent"), Some("/tmp")] {
        for arguments in [&["status"][..], &["get", "--from-daemon"], &["env"]] {
            let mut command = home.command(arguments);
            command.args(["--listen", &broker.address().to_string()]).env_remove("CREDENZA_TOKEN_FILE");
            command.envs(named.map(|folder| ("XDG_RUNTIME_DIR", folder)));
            let output = wrapped(&["unshare", "-m", "sh", "-c", &script], &command).output().unwrap();
            let printed = String::from_utf8_lossy(&output.stdout);
            assert!(output.status.success(), "{named:?} {arguments:?}: {output:?}");
            assert!(arguments != ["env"] || printed.contains(&format!("{folder}/token")), "{output:?}");
        }
    }
}

#[test]
fn env_warns_of_credentials_that_sdks_prefer() {
    let home = Home::new();
    let config = home.write(
        "credenza.toml",
        "[identities.default]\nsources = [{ access_key_id = \"AKIA1\", secret_access_key = \"hush\" }]\n",
    );
    let broker = home.serve(&["--config", config.to_str().unwrap()], &[]);
    broker.wait_for_key("AKIA1");
    let quiet = env(&home, &broker, &[]);
    assert_eq!(quiet.stderr, "", "{quiet:?}");
    assert!(quiet.stdout.contains("export AWS_EC2_METADATA_DISABLED='true'\n"), "{quiet:?}");
    let keys = "aws_access_key_id = AKIA2\naws_secret_access_key = hush\n";
    let of_profile = "SDKs use the credentials of the default profile, not the daemon's: ";
    for (file, text, told) in [
        (".aws/credentials", format!("[default]\n{keys}"), ".aws/credentials, line 2: profile default"),
        (".aws/config", format!("[default]\nregion = r\n{keys}"), ".aws/config, line 3: profile default"),
        (".aws/config", "[default]\ncredential_process = x\n".into(), ".aws/config, line 2: profile default"),
        (".aws/config", "[default]\nrole_arn = r\nsource_profile = x\n".into(), ".aws/config, line 3: profile default"),
        (".aws/config", "[default]\nrole_arn = r\ncredential_source = EcsContainer\n".into(), ""),
        (".aws/config", format!("[profile dev]\n{keys}[default]\nregion = r\n"), ""),
        (".boto", format!("[Credentials]\n{keys}"), ".boto, line 2"),
    ] {
        let path = home.write(file, text);
        let ended = env(&home, &broker, &[]);
        assert!(ended.code == Some(0) && ended.stderr.contains(told), "{told}: {ended:?}");
        assert_eq!(ended.stderr.is_empty(), told.is_empty(), "{ended:?}");
        assert_eq!(ended.stderr.contains(of_profile), told.contains("default"), "{ended:?}");
        assert!(told.is_empty() || ended.stderr.contains("`credenza exec`"), "{ended:?}");
        std::fs::remove_file(path).unwrap();
    }
    // A .env file unsets no variable of the shell.
    let address = broker.address().to_string();
    let dotenv = ["env", "--listen", &address, "--format", "dotenv", "--log-level", "warn"];
    let ended = home.run(&dotenv, &[("AWS_PROFILE", "dev"), ("AWS_ROLE_ARN", "r")]);
    assert!(ended.stderr.contains("cannot unset them: AWS_PROFILE, AWS_ROLE_ARN; unset them"), "{ended:?}");
    // The daemon's own IMDS server stays within reach.
    let variables =
        [("CREDENZA_IMDS_LISTEN", "127.0.0.1:9734"), ("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://127.0.0.1:9734/")];
    for (variables, is_disabled) in [(&variables[..], false), (&variables[1..], true), (&variables[..1], true)] {
        let mut command = home.command(&["env", "--listen", &address]);
        command.env_remove("AWS_EC2_METADATA_DISABLED").envs(variables.iter().copied());
        let shown = String::from_utf8(command.output().unwrap().stdout).unwrap();
        let list = format!("CREDENZA_SET='{}'", if is_disabled { "AWS_EC2_METADATA_DISABLED" } else { "" });
        assert_eq!(shown.contains("AWS_EC2_METADATA_DISABLED='true'"), is_disabled, "{variables:?}: {shown}");
        assert_eq!(shown.contains(&list), is_disabled, "{shown}");
    }
}
