//! The commands of the control socket, with a daemon that answers as the test wants.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use testkit::control::ControlServer;
use testkit::harness::{CommandOutput, Home, skip};
use testkit::server::{Reply, Seen};

const TOKEN: &str = "hush-0123456789abcdef0123456789abcdef";

/// A user id other than root and the user of the tests.
const ANOTHER_USER: u32 = 65_533;

/// Starts a server beside the token file of this home.
fn server(home: &Home, answer: impl FnMut(&Seen) -> Reply + Send + 'static) -> ControlServer {
    ControlServer::start(&home.path().join("run/control.sock"), answer)
}

fn always(reply: Reply) -> impl FnMut(&Seen) -> Reply + Send + 'static {
    move |_| reply.clone()
}

/// Answers like a daemon that has made one grant.
fn daemon(seen: &Seen) -> Reply {
    let body: Value = serde_json::from_slice(&seen.body).unwrap_or_default();
    let answer = match &*seen.line() {
        "POST /grants" => json!({
            "name": body["name"], "identity": body["identity"], "expires": "2096-11-30T18:30:00Z",
            "url": "http://127.0.0.1:9733/credentials", "token": TOKEN, "socket": null,
        }),
        "GET /grants" => json!([
            { "name": "build", "identity": "dev", "expires": "2096-11-30T18:30:00Z", "policy_sha256": null, "token": TOKEN },
            { "name": "agent", "identity": "a b", "expires": "2096-11-30T18:30:00Z", "policy_sha256": "5e88" },
        ]),
        "DELETE /grants/a%40b" | "DELETE /grants/build" => json!({
            "name": "build", "identity": "dev", "keys_live_until": "2096-11-30T18:30:00Z", "is_session": true,
            "deny_policy": { "Statement": [{ "Condition": { "DateLessThan": { "aws:TokenIssueTime": "2026-11-30T18:00:00Z" } } }] },
        }),
        "POST /use" => json!({ "identity": body["identity"], "until": null, "held_until": "2096-11-30T18:30:00Z" }),
        "GET /whoami?identity=a%2Fb&verify=true" | "GET /whoami?identity=default" => json!({
            "identity": "default", "account": "123456789012", "arn": null, "source": "profile", "expiration": null,
        }),
        "POST /reload" => json!({ "result": "applied" }),
        "GET /token" | "GET /token?client=web" => json!({ "client": "web", "token_file": "/t", "token": TOKEN }),
        "POST /token/rotate" => json!({ "client": "web", "token_file": "/t", "old_until": "2096-11-30T18:30:00Z" }),
        "POST /mfa" => json!({ "identity": body["identity"], "until": "2096-11-30T18:30:00Z" }),
        "GET /status" => {
            json!({ "identities": { "dev": {}, "a b": {}, "$(touch pwned)": {}, "x\ny": {} }, "clients": ["web"] })
        }
        _ => return Reply::of(404, r#"{"code": "NotFound", "message": "no such path"}"#),
    };
    Reply::ok(answer.to_string())
}

/// Checks that no secret reached standard error.
fn run(home: &Home, arguments: &[&str]) -> CommandOutput {
    let ended = home.run(arguments, &[("RUST_LOG", "warn")]);
    assert!(!ended.stderr.contains(TOKEN) && !ended.stderr.contains("806317"), "{ended:?}");
    ended
}

#[test]
fn commands_send_one_request_and_show_its_answer() {
    let home = Home::new();
    let server = server(&home, daemon);
    let policy =
        json!({ "Version": "2012-10-17", "Statement": [{ "Effect": "Allow", "Action": "s3:Get*", "Resource": "*" }] });
    home.write("p.json", policy.to_string());
    let grant = |policy: Value, arns: Value, replace: bool| json!({ "name": "build", "identity": "dev", "seconds": 1800, "replace": replace, "policy": policy, "policy_arns": arns });
    for (arguments, line, body, shown) in [
        (
            &["grant", "build", "--identity", "dev", "--for", "30m"][..],
            "POST /grants",
            grant(Value::Null, json!([]), false),
            &[
                "unset AWS_PROFILE\n",
                "unset AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE\n",
                "export AWS_CONTAINER_CREDENTIALS_FULL_URI='http://127.0.0.1:9733/credentials'\n",
                "export AWS_CONTAINER_AUTHORIZATION_TOKEN='hush-0123",
            ][..],
        ),
        (
            &[
                "grant",
                "build",
                "--identity",
                "dev",
                "--for",
                "1800s",
                "--policy",
                "p.json",
                "--policy-arn",
                "arn:aws:iam::aws:policy/A",
                "--policy-arn",
                "arn:aws:iam::aws:policy/B",
                "--replace",
                "--format",
                "dotenv",
            ],
            "POST /grants",
            grant(policy.clone(), json!(["arn:aws:iam::aws:policy/A", "arn:aws:iam::aws:policy/B"]), true),
            &["# Unset these variables", "\nAWS_CONTAINER_CREDENTIALS_FULL_URI=http://127.0.0.1:9733/credentials\n"],
        ),
        (
            &["grant", "build", "--identity", "dev", "--for", "30m", "--json"],
            "POST /grants",
            grant(Value::Null, json!([]), false),
            &["\"url\": \"http://127.0.0.1:9733/credentials\",\n  \"token\": \"hush-"],
        ),
        (
            &["grants"],
            "GET /grants",
            Value::Null,
            &["NAME   IDENTITY  ENDS", "\nbuild  dev       2096-11-30T18:30:00Z (in ", "5e88\n"],
        ),
        (
            &["revoke", "a@b"],
            "DELETE /grants/a%40b",
            Value::Null,
            &["grant build of identity dev is revoked", "until 2096-11-30T18:30:00Z", "DateLessThan"],
        ),
        (
            &["use", "a b", "--for", "8h"],
            "POST /use",
            json!({ "identity": "a b", "seconds": 28_800 }),
            &["default is identity a b until", "may hold what they got before until 2096"],
        ),
        (
            &["use", "default"],
            "POST /use",
            json!({ "identity": "default", "seconds": null }),
            &["default is its own identity again"],
        ),
        (
            &["whoami"],
            "GET /whoami?identity=default",
            Value::Null,
            &["account:    123456789012\n", "arn:        unknown; --verify asks STS\n"],
        ),
        (
            &["whoami", "a/b", "--verify"],
            "GET /whoami?identity=a%2Fb&verify=true",
            Value::Null,
            &["arn:        unknown\n"],
        ),
        (&["reload"], "POST /reload", json!({}), &["configuration: applied\n"]),
        (&["token", "show"], "GET /token", Value::Null, &["hush-0123456789abcdef0123456789abcdef\n"]),
        (
            &["token", "rotate", "--client", "web"],
            "POST /token/rotate",
            json!({ "client": "web" }),
            &["the token of client web in /t is new; the old one holds until 2096"],
        ),
        (&["token", "rotate"], "POST /token/rotate", json!({ "client": null }), &["the auth token in /t is new"]),
        (
            &["mfa", "prod", "--mfa-code", "806317"],
            "POST /mfa",
            json!({ "identity": "prod", "code": "806317" }),
            &["identity prod has an MFA session until 2096"],
        ),
    ] {
        let ended = run(&home, arguments);
        assert_eq!(ended.code, Some(0), "{arguments:?}: {ended:?}");
        let [seen] = &server.take()[..] else { panic!("{arguments:?}") };
        assert_eq!((&*seen.line(), seen.header("host")), (line, Some("localhost")), "{arguments:?}");
        assert_eq!(serde_json::from_slice::<Value>(&seen.body).unwrap_or_default(), body, "{arguments:?}");
        for text in shown {
            assert!(ended.stdout.contains(text), "{arguments:?}: {text}\n{}", ended.stdout);
        }
        let says_end =
            ended.stderr.contains("ends at 2096-11-30T18:30:00Z (in ") && ended.stderr.contains("and with the daemon");
        assert_eq!(says_end, arguments[0] == "grant", "{arguments:?}: {ended:?}");
        assert!(arguments[0] == "grants" || says_end || ended.stderr.is_empty(), "{ended:?}");
    }
}

#[test]
fn json_is_one_document_with_stable_names() {
    let home = Home::new();
    let _server = server(&home, daemon);
    let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>().join(" ");
    for (arguments, expected) in [
        (&["grant", "build", "--identity", "dev", "--for", "30m"][..], "expires identity name token url"),
        (
            &["grant", "b", "--identity", "dev", "--for", "30m", "--client-file", "t"],
            "expires identity name token_file url",
        ),
        (&["revoke", "build"], "deny_policy handed_out identity is_session keys_live_until name"),
        (&["use", "dev"], "held_until identity switchable until"),
        (&["whoami"], "account arn expiration identity source"),
        (&["reload"], "result"),
        (&["token", "show", "--client", "web"], "client token token_file"),
        (&["token", "rotate"], "client old_until token_file"),
        (&["mfa", "dev", "--mfa-code", "806317"], "identity until"),
    ] {
        let document = run(&home, &[arguments, &["--json"]].concat()).json();
        assert_eq!(keys(&document), expected, "{arguments:?}");
    }
    let grants = run(&home, &["grants", "--json"]).json();
    let listed: Vec<_> = grants.as_array().unwrap().iter().map(keys).collect();
    assert_eq!(listed, ["expires identity name policy_arns policy_sha256"; 2], "a list shows no token");
    let both = run(&home, &["grant", "b", "--identity", "dev", "--for", "1m", "--json", "--format", "fish"]);
    assert!(both.code == Some(2) && both.stderr.contains("--json and --format are both given"), "{both:?}");
}

#[test]
fn grant_names_the_unix_socket_if_nothing_else_listens() {
    let home = Home::new();
    let reply = json!({ "name": "g", "identity": "i", "expires": "2096-11-30T18:30:00Z", "url": null, "token": TOKEN, "socket": "/run/c\n.sock" });
    let _server = server(&home, always(Reply::ok(reply.to_string())));
    let arguments = ["grant", "g", "--identity", "i", "--for", "30s"];
    for format in ["env", "dotenv", "fish", "powershell"] {
        let ended = run(&home, &[&arguments[..], &["--format", format]].concat());
        assert!(ended.stdout.contains("# Only a Unix socket listens: /run/c\\n.sock\n"), "{ended:?}");
        assert!(!ended.stdout.contains("FULL_URI='") && ended.stdout.contains(TOKEN), "{ended:?}");
    }
    let document = run(&home, &[&arguments[..], &["--json"]].concat()).json();
    assert_eq!((&document["url"], &document["socket"]), (&Value::Null, &"/run/c\n.sock".into()));
}

#[test]
fn grant_excludes_the_daemon_from_proxies() {
    let home = Home::new();
    let _server = server(&home, daemon);
    let arguments = ["grant", "g", "--identity", "i", "--for", "30s"];
    assert!(!run(&home, &arguments).stdout.contains("NO_PROXY"));
    let behind = home.run(&arguments, &[("http_proxy", "http://p:1")]);
    assert!(behind.stdout.contains("export NO_PROXY='127.0.0.1,localhost'\n"), "{behind:?}");
}

#[test]
fn token_goes_to_a_new_closed_file_only() {
    let home = Home::new();
    let server = server(&home, daemon);
    let grant =
        |file: &str| run(&home, &["grant", "build", "--identity", "dev", "--for", "30m", "--client-file", file]);
    let written = grant("agent.token");
    let path = fs::canonicalize(home.path().join("agent.token")).unwrap();
    assert!(
        written.stdout.contains(&format!("export AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE='{}'\n", path.display())),
        "{written:?}"
    );
    assert!(!written.stdout.contains(TOKEN) && written.stdout.contains("unset AWS_CONTAINER_AUTHORIZATION_TOKEN\n"));
    assert_eq!(fs::read_to_string(&path).unwrap(), TOKEN, "without a line break");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
    symlink(home.path().join("target"), home.path().join("link")).unwrap();
    fs::create_dir(home.path().join("open")).unwrap();
    fs::set_permissions(home.path().join("open"), fs::Permissions::from_mode(0o1777)).unwrap();
    server.take();
    for (file, expected) in [
        ("agent.token", "agent.token: it exists. Remove it"),
        ("link", "link: it exists"),
        ("open/token", "other users may make files there"),
        ("none/token", "its folder"),
    ] {
        let refused = grant(file);
        assert!(refused.code == Some(1) && refused.stderr.contains(expected), "{refused:?}");
    }
    assert!(server.take().is_empty(), "a wrong path makes no grant");
    assert!(!home.path().join("target").exists());
    drop(server);
    assert_eq!(grant("unused").code, Some(1));
    assert!(!home.path().join("unused").exists(), "no empty file is left");
}

#[test]
fn grant_with_an_unusable_answer_is_revoked() {
    let home = Home::new();
    let server = server(&home, |seen: &Seen| match &*seen.method {
        "POST" => {
            Reply::ok(r#"{"name": "g", "identity": "i", "expires": "", "url": "http://127.0.0.1/", "token": "short"}"#)
        }
        _ => Reply::ok("{}"),
    });
    let ended = run(&home, &["grant", "g", "--identity", "i", "--for", "30s"]);
    assert!(
        ended.code == Some(1) && ended.stderr.contains("the grant is revoked") && ended.stdout.is_empty(),
        "{ended:?}"
    );
    assert_eq!(server.take().iter().map(Seen::line).collect::<Vec<_>>(), ["POST /grants", "DELETE /grants/g"]);
}

#[test]
fn says_how_to_start_a_daemon() {
    let home = Home::new();
    let path = home.path().join("run/control.sock");
    let path = path.to_str().unwrap();
    for arguments in [
        &["grants"][..],
        &["grant", "g", "--identity", "i", "--for", "1m"],
        &["revoke", "g", "--json"],
        &["use", "i"],
        &["reload"],
        &["token", "show"],
        &["token", "rotate"],
        &["mfa", "i", "--mfa-code", "123456"],
    ] {
        let ended = run(&home, arguments);
        assert_eq!((ended.code, &*ended.stdout), (Some(1), ""), "{ended:?}");
        for text in ["there is no control socket at", path, "`credenza serve`", "`systemctl [--user] start credenza`"] {
            assert!(ended.stderr.contains(text), "{text}: {ended:?}");
        }
    }
    drop(server(&home, daemon));
    let stale = run(&home, &["grants"]);
    assert!(
        stale.code == Some(1)
            && stale.stderr.contains("no daemon listens at")
            && stale.stderr.contains("`credenza serve`"),
        "{stale:?}"
    );
    // A daemon of the system, or the socket of one that was killed, is found first.
    if Path::new("/run/credenza/control.sock").exists() {
        return;
    }
    let mut command = home.command(&["grants"]);
    let output = command.env_remove("CREDENZA_TOKEN_FILE").env("XDG_RUNTIME_DIR", home.path()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    for place in [
        home.path().join("credenza/control.sock"),
        "/run/credenza/control.sock".into(),
        home.path().join(".local/state/credenza/control.sock"),
    ] {
        assert!(said.contains(&*place.to_string_lossy()), "{}: {said}", place.display());
    }
}

#[test]
fn refuses_answers_that_are_not_a_daemons() {
    let home = Home::new();
    let half = b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n[{\"name\"".to_vec();
    let huge = format!("[{}]", "1,".repeat(600_000));
    let html = "<html>hush-page</html>";
    for (reply, expected) in [
        (Reply::Raw(half), "gives no answer"),
        (Reply::Raw(Vec::new()), "gives no answer"),
        (Reply::Raw(b"SSH-2.0-OpenSSH\r\n".to_vec()), "gives no answer"),
        (Reply::ok(huge), "its answer is too long"),
        (Reply::Flood, "its answer is too long"),
        (Reply::ok(html), "its answer has another form (line 1, column 1)"),
        (Reply::of(502, html), "its answer has another form"),
        (Reply::of(400, r#"{"error": "hush"}"#), "it answers with 400 and no reason"),
        (Reply::ok(r#"{"grants": "hush"}"#), "its answer has another form"),
        (Reply::ok(r#"[{"name": 5, "identity": "hush"}]"#), "its answer has another form"),
        (
            Reply::of(409, "{\"code\": \"NameInUse\", \"message\": \"a \\u001b[2Jgrant has it. Use --replace.\"}"),
            "cannot list the grants: a \\u{1b}[2Jgrant has it. Use --replace. (409 NameInUse)",
        ),
        (
            Reply::of(
                409,
                "{\"code\": \"ConfigurationRefused\", \"message\": \"credenza.toml: 2 errors\\nline 3\\nline 5\"}",
            ),
            "credenza.toml: 2 errors\nline 3\nline 5 (409 ConfigurationRefused)",
        ),
        (Reply::of(503, r#"{"code": "Busy", "message": "later"}"#), "cannot list the grants: later (503 Busy)"),
    ] {
        let _server = server(&home, always(reply));
        let ended = run(&home, &["grants"]);
        assert_eq!((ended.code, &*ended.stdout), (Some(1), ""), "{expected}: {ended:?}");
        assert!(ended.stderr.contains(expected) && !ended.stderr.contains("hush"), "{expected}: {ended:?}");
        assert!(!ended.stderr.contains('\u{1b}'), "{ended:?}");
    }
}

#[test]
fn escapes_text_of_the_daemon() {
    let home = Home::new();
    let evil = "x\u{1b}]0;\u{7}\u{9b}2J\u{202e}";
    let reply = json!([{ "name": evil, "identity": evil, "expires": evil, "policy_sha256": evil }]);
    let _server = server(&home, always(Reply::ok(reply.to_string())));
    for arguments in [&["grants"][..], &["grants", "--json"]] {
        let ended = run(&home, arguments);
        assert!(ended.code == Some(0) && ended.stdout.contains("x\\u"), "{ended:?}");
        assert!(ended.stdout.chars().all(|c| c == '\n' || !c.is_control() && c != '\u{202e}'), "{ended:?}");
    }
    assert_eq!(run(&home, &["grants", "--json"]).json()[0]["name"], evil);
}

#[test]
fn uses_no_file_or_socket_of_another_user() {
    let home = Home::new();
    let path = home.write("run/control.sock", "");
    let ended = run(&home, &["grants"]);
    assert!(ended.code == Some(1) && ended.stderr.contains("is not used: it is not a socket"), "{ended:?}");
    let server = server(&home, daemon);
    let named = path.to_str().unwrap().to_owned();
    let folder = path.parent().unwrap().to_owned();
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).unwrap();
    let ended = run(&home, &["grants"]);
    assert!(ended.code == Some(1) && ended.stderr.contains("may be written by all users"), "{ended:?}");
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
    assert!(server.take().is_empty());
    if chown(&path, Some(ANOTHER_USER), None).is_err() && skip("this user cannot give a socket to another one") {
        return;
    }
    // Root may name it. In a default place it may have been left by that user.
    assert_eq!(run(&home, &["grants", "--control-socket", &named]).code, Some(0));
    home.write("credenza/x", "");
    fs::rename(&path, home.path().join("credenza/control.sock")).unwrap();
    // A daemon of the system, or the socket of one that was killed, is found first.
    if Path::new("/run/credenza/control.sock").exists() {
        return;
    }
    let mut command = home.command(&["grants"]);
    let output = command.env_remove("CREDENZA_TOKEN_FILE").env("XDG_RUNTIME_DIR", home.path()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("is not used: it belongs to user 65533"), "{said}");
    // A third user may neither use it nor name it.
    fs::set_permissions(home.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let mut third = Command::new("setpriv");
    third.args(["--reuid=65532", "--clear-groups", testkit::harness::program(), "grants", "--control-socket"]);
    let third = third.arg(home.path().join("credenza/control.sock")).env_clear().output().unwrap();
    let said = String::from_utf8_lossy(&third.stderr);
    if said.contains("setpriv: failed") && skip(&format!("another user cannot run the program: {said}")) {
        return;
    }
    assert!(!third.status.success() && said.contains("it belongs to user 65533, not to this user (65532)"), "{said}");
    assert_eq!(server.take().len(), 1);
}

#[test]
fn sends_nothing_to_a_listener_of_another_user() {
    const LISTEN: &str = "$| = 1; my $l = IO::Socket::UNIX->new(Local => $ARGV[0], Listen => 5) or die $!; print \"ready\\n\"; \
        while (my $c = $l->accept) { print \"sent: $_\" while <$c> }";
    let home = Home::new();
    let path = home.write("l/x", "").with_file_name("control.sock");
    fs::set_permissions(home.path(), fs::Permissions::from_mode(0o755)).unwrap();
    if chown(path.parent().unwrap(), Some(ANOTHER_USER), None).is_err() && skip("this user cannot become another one") {
        return;
    }
    let mut other = Command::new("setpriv");
    other
        .args([&format!("--reuid={ANOTHER_USER}"), "--clear-groups", "perl", "-MIO::Socket::UNIX", "-e", LISTEN])
        .arg(&path);
    let mut other = other.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(other.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "ready");
    chown(path.parent().unwrap(), Some(0), None).unwrap();
    chown(&path, Some(0), None).unwrap();
    let ended = run(&home, &["mfa", "prod", "--mfa-code", "806317", "--control-socket", path.to_str().unwrap()]);
    assert!(
        ended.code == Some(1) && ended.stderr.contains("user 65533 listens there, and it belongs to user 0"),
        "{ended:?}"
    );
    other.kill().unwrap();
    other.wait().unwrap();
    assert!(lines.next().is_none(), "something was sent");
}

#[test]
fn finds_the_socket_by_flag_variable_and_configuration() {
    let home = Home::new();
    let path = home.path().join("elsewhere/c.sock");
    let _server = ControlServer::start(&path, daemon);
    let path = path.to_str().unwrap();
    assert_eq!(run(&home, &["grants", "--control-socket", path]).code, Some(0));
    assert_eq!(home.run(&["grants"], &[("CREDENZA_CONTROL_SOCKET", path)]).code, Some(0));
    let _server = ControlServer::start(&home.path().join("t/control.sock"), daemon);
    home.write(".config/credenza/credenza.toml", "[server]\ntoken_file = \"t/token\"\n");
    let output = home.command(&["grants"]).env_remove("CREDENZA_TOKEN_FILE").output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let refused = run(&home, &["get", "--from-daemon", "--control-socket", path]);
    assert!(
        refused.code == Some(2)
            && refused.stderr.contains("--control-socket has no meaning for `credenza get --from-daemon`"),
        "{refused:?}"
    );
    let refused = run(&home, &["grants", "--listen", "127.0.0.1:1"]);
    assert!(
        refused.code == Some(2) && refused.stderr.contains("--listen has no meaning for `credenza grants`"),
        "{refused:?}"
    );
}

#[test]
fn status_asks_the_control_socket_if_there_are_clients() {
    let home = Home::new();
    let server = server(&home, daemon);
    let path = home.path().join("run/control.sock");
    for (config, arguments) in [
        ("[clients.web]\nidentities = [\"web\"]\nusers = [\"root\"]\n", &["status"][..]),
        ("", &["status", "--control-socket", path.to_str().unwrap()]),
    ] {
        home.write(".config/credenza/credenza.toml", config);
        let ended = run(&home, arguments);
        assert!(ended.code == Some(0) && ended.stdout.contains("\na b             ?\n"), "{ended:?}");
        assert_eq!(server.take().iter().map(Seen::line).collect::<Vec<_>>(), ["GET /status"]);
        let json = run(&home, &[arguments, &["--json"]].concat()).json();
        assert_eq!(json["clients"][0], "web");
        server.take();
    }
    assert_eq!(run(&home, &["status"]).code, Some(1), "without clients it needs the auth token");
    assert!(server.take().is_empty());
}

/// A broken file must not keep the owner from revoking a grant, or from reading the daemon's opinion of the file.
#[test]
fn revokes_with_a_broken_configuration() {
    let home = Home::new();
    let _server = server(&home, daemon);
    home.write(".config/credenza/credenza.toml", "[server\n");
    for arguments in [&["revoke", "build"][..], &["reload"]] {
        let ended = run(&home, arguments);
        assert!(ended.code == Some(0) && ended.stderr.contains("the configuration is not used to find"), "{ended:?}");
    }
}

#[test]
fn reports_a_broken_policy_file() {
    let home = Home::new();
    let server = server(&home, daemon);
    home.write("broken.json", "{\n  \"Version\": \"2012-10-17\",\n}\n");
    home.write("list.json", "[]");
    for (file, expected) in [
        ("broken.json", "broken.json, line 3: session policy, column 1: "),
        ("list.json", "list.json, line 1: session policy, column 1: "),
        ("none.json", "none.json"),
    ] {
        let ended = run(&home, &["grant", "g", "--identity", "i", "--for", "1m", "--policy", file]);
        assert!(ended.code == Some(1) && ended.stderr.contains(expected), "{ended:?}");
    }
    assert!(server.take().is_empty());
}

#[test]
fn refuses_wrong_arguments() {
    let home = Home::new();
    for (arguments, expected) in [
        (&["grant", "g", "--for", "1m"][..], "--identity"),
        (&["grant", "g", "--identity", "i"], "--for"),
        (&["grant", "a b", "--identity", "i", "--for", "1m"], "not the name of a client"),
        (&["grant", "owner", "--identity", "i", "--for", "1m"], "use another name"),
        (&["grant", "g", "--identity", "i", "--for", "soon"], "write it like 90s, 15m, 1h30m or 12h"),
        (&["grant", "g", "--identity", "i", "--for", "0s"], "must lie between"),
        (&["grant", "g", "--identity", "i", "--for", "1m", "--policy-arn", "ReadOnly"], "arn:aws:iam::aws:policy/"),
        (&["revoke"], "<NAME>"),
        (&["use"], "<IDENTITY>"),
        (&["token"], "rotate"),
        (&["grants", "--control-socket="], "empty"),
    ] {
        let ended = run(&home, arguments);
        assert!(ended.code == Some(2) && ended.stderr.contains(expected), "{arguments:?}: {ended:?}");
    }
}

#[test]
fn mfa_reads_the_code_from_standard_input() {
    let home = Home::new();
    let server = server(&home, daemon);
    let with = |input: &str| {
        let mut command = home.command(&["mfa", "prod", "--mfa-code", "-"]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    assert_eq!(with("806317\n").0, Some(0));
    let [seen] = &server.take()[..] else { panic!() };
    assert_eq!(serde_json::from_slice::<Value>(&seen.body).unwrap()["code"], "806317");
    let (code, said) = with("hunter2\n");
    assert!(code == Some(1) && said.contains("a code has six digits") && !said.contains("hunter2"), "{said}");
    assert!(server.take().is_empty(), "a password is not sent");
    let without = run(&home, &["mfa", "prod"]);
    assert!(without.code == Some(1), "{without:?}");
    drop(server);
    let older = Reply::of(404, r#"{"code": "NotFound", "message": "no such path"}"#);
    let _server = self::server(&home, always(older));
    let ended = run(&home, &["mfa", "prod", "--mfa-code", "806317"]);
    assert!(ended.code == Some(1) && ended.stderr.contains("the daemon is older than this program"), "{ended:?}");
}

#[test]
fn complete_names_is_quick_and_quiet() {
    let home = Home::new();
    let names = |kind: &str| {
        let started = Instant::now();
        let ended = run(&home, &["complete-names", kind]);
        assert_eq!((ended.code, &*ended.stderr), (Some(0), ""), "{ended:?}");
        assert!(started.elapsed() < Duration::from_secs(5), "it took {:?}", started.elapsed());
        ended.stdout
    };
    assert_eq!(names("identities"), "");
    let running = server(&home, daemon);
    assert_eq!(names("identities"), "$(touch pwned)\na b\ndev\n");
    assert_eq!(names("clients"), "web\n");
    assert_eq!(names("grants"), "agent\nbuild\n");
    drop(running);
    for reply in [Reply::Hang, Reply::DripHead, Reply::of(403, "{}"), Reply::Flood] {
        let _server = server(&home, always(reply));
        assert_eq!(names("identities"), "");
    }
}

/// The commands and the daemon of this program understand each other.
#[test]
fn commands_drive_a_running_daemon() {
    let home = Home::new();
    let identity = |name: &str| {
        let document = json!({ "Version": 1, "AccessKeyId": format!("ASIA{name}"), "SecretAccessKey": "hush-k",
            "SessionToken": "hush-t", "Expiration": "2035-01-01T00:00:00Z" });
        format!("[identities.{name}]\nsources = [{{ process = [\"echo\", '{document}'] }}]\n")
    };
    let broker = home.serve_config(identity("default") + &identity("prod"), &[]);
    broker.wait_for_identity("prod");
    let good = |arguments: &[&str]| {
        let ended = run(&home, arguments);
        assert_eq!(ended.code, Some(0), "{arguments:?}: {ended:?}");
        ended.stdout
    };
    let made = run(&home, &["grant", "build", "--identity", "prod", "--for", "30m", "--json"]).json();
    let (url, token) = (made["url"].as_str().unwrap(), made["token"].as_str().unwrap());
    assert_eq!(url, format!("http://{}/credentials", broker.address()));
    assert_eq!(broker.get_with("/credentials", token).key(), Some("ASIAprod".into()));
    assert!(good(&["grants"]).contains("build  prod"));
    assert_eq!(good(&["complete-names", "grants"]), "build\n");
    assert_eq!(good(&["complete-names", "identities"]), "default\nprod\n");
    let again = run(&home, &["grant", "build", "--identity", "prod", "--for", "30m"]);
    assert!(again.code == Some(1) && again.stderr.contains("cannot make the grant build: "), "{again:?}");
    good(&["grant", "build", "--identity", "prod", "--for", "30m", "--replace", "--client-file", "t"]);
    let token = fs::read_to_string(home.path().join("t")).unwrap();
    assert_eq!(broker.get_with("/credentials", &token).status, 200);
    let revoked = good(&["revoke", "build"]);
    assert!(revoked.contains("until 2035-01-01T00:00:00Z") && revoked.contains("aws:TokenIssueTime"), "{revoked}");
    assert_eq!(broker.get_with("/credentials", &token).status, 401);
    let gone = run(&home, &["revoke", "build"]);
    assert!(gone.code == Some(1) && gone.stderr.contains("cannot revoke the grant build: "), "{gone:?}");
    assert!(good(&["use", "prod", "--for", "1h"]).contains("default is identity prod until"));
    assert_eq!(broker.get("/credentials").key(), Some("ASIAprod".into()));
    let path = home.path().join("run/control.sock");
    let status = good(&["status", "--control-socket", path.to_str().unwrap()]);
    assert!(status.contains("default is identity prod; that ends in"), "{status}");
    good(&["use", "default"]);
    assert_eq!(broker.get("/credentials").key(), Some("ASIAdefault".into()));
    assert!(good(&["whoami", "prod"]).contains("source:"));
    good(&["reload"]);
    assert_eq!(good(&["token", "show"]).trim_end(), broker.token());
    let before = broker.token();
    assert!(good(&["token", "rotate"]).contains("the auth token in "));
    assert_ne!(broker.token(), before);
    let unknown = run(&home, &["grant", "x", "--identity", "none", "--for", "1m"]);
    assert!(unknown.code == Some(1) && unknown.stderr.contains("none"), "{unknown:?}");
}

/// Returns a folder with a program `credenza` that gives names, first in `PATH`.
fn path_with_names(home: &Home) -> String {
    let folder = home.path().join("bin");
    fs::create_dir_all(&folder).unwrap();
    symlink(testkit::harness::program(), folder.join("credenza")).unwrap();
    format!("{}:{}", folder.display(), std::env::var("PATH").unwrap())
}

/// Returns the output of a shell that runs a script. The completion script is in `$SCRIPT`.
fn in_shell(home: &Home, shell: &[&str], kind: &str, path: &str, script: &str) -> String {
    let completions = home.run(&["completions", kind], &[]);
    assert_eq!(completions.code, Some(0), "{completions:?}");
    let file = home.write(kind, completions.stdout);
    let mut command = Command::new(shell[0]);
    command.args(&shell[1..]).arg(script).env_clear().env("PATH", path).env("HOME", home.path());
    command.env("SCRIPT", file).env("LC_ALL", "C.UTF-8").env("CREDENZA_TOKEN_FILE", home.path().join("run/token"));
    if let Some(functions) = std::env::var_os("FPATH") {
        command.env("FPATH", functions);
    }
    let output = command.current_dir(home.path()).output().unwrap();
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn is_here(shell: &str) -> bool {
    Command::new(shell).args(["-c", "exit 0"]).output().is_ok_and(|output| output.status.success())
}

/// The words of a command line with the cursor at their end, and the names that are offered.
const COMPLETED: &[(&str, &str)] = &[
    ("use |", "$(touch pwned) a b dev"),
    ("use d|", "dev"),
    ("use --for 1h d|", "dev"),
    ("whoami |", "$(touch pwned) a b alpha default dev"),
    ("mfa de|", "dev"),
    ("revoke |", "agent build"),
    ("grant b|", "build"),
    ("get --identity d|", "dev"),
    ("get --identity=d|", "dev"),
    ("--log-level info get --identity d|", "dev"),
    ("grant new --identity d|", "dev"),
    ("token show --client |", "web"),
    ("--log-level info relo|", "reload"),
    ("get --format po|", "powershell"),
    ("--profile al|", "alpha"),
    ("login --sso-session w|", "work"),
    ("--config cred|", "credenza.toml"),
];

/// Returns a home with files whose names are completed, and a daemon.
fn home_with_names() -> (Home, ControlServer) {
    let home = Home::new();
    home.write(".aws/config", "[profile alpha]\nregion = r\n[sso-session work]\nsso_region = r\n");
    home.write("credenza.toml", "");
    let server = server(&home, daemon);
    (home, server)
}

#[test]
fn bash_completes_names_of_the_daemon() {
    if !is_here("bash") && skip("bash is not installed") {
        return;
    }
    let (home, _server) = home_with_names();
    let path = path_with_names(&home);
    let complete = |line: &str| {
        // bash splits words at `=`.
        let line = line.trim_end_matches('|').replace('=', " = ");
        let words: Vec<_> = line.split(' ').collect();
        let last = words.last().unwrap();
        let script = format!(
            ". \"$SCRIPT\"; COMP_WORDS=(credenza {} '{last}'); COMP_CWORD={}; _credenza credenza '{last}' ''; \
             printf '%s\\n' \"${{COMPREPLY[@]}}\"; complete -p credenza",
            words[..words.len() - 1].join(" "),
            words.len()
        );
        in_shell(&home, &["bash", "--norc", "-c"], "bash", &path, &script)
    };
    for (line, expected) in COMPLETED {
        let found = complete(line);
        let (names, registered) = found.split_once("complete ").unwrap();
        let plain = names.trim_end().replace('\\', "").replace('\n', " ");
        assert_eq!(plain, *expected, "{line}");
        assert!(registered.contains("-F _credenza credenza"), "{registered}");
    }
    assert!(complete("use |").starts_with("\\$\\(touch\\ pwned\\)\n"), "a name is quoted for the shell");
    let options = complete("use --|");
    assert!(options.contains("--for") && !options.contains("dev"), "{options}");
    assert!(complete("exec -- unam|").contains("uname"), "the command of exec is completed as a command");
    assert!(complete("exec -- uname cred|").contains("credenza.toml"));
    assert!(!home.path().join("pwned").exists(), "no name is run");
}

#[test]
fn fish_completes_names_of_the_daemon() {
    if !is_here("fish") && skip("fish is not installed") {
        return;
    }
    let (home, _server) = home_with_names();
    let path = path_with_names(&home);
    for (line, expected) in COMPLETED {
        let line = line.trim_end_matches('|');
        let script = format!("source $SCRIPT; complete -C 'credenza {line}'");
        let found = in_shell(&home, &["fish", "--no-config", "-c"], "fish", &path, &script);
        let plain = |line: &str| line.split('\t').next().unwrap().replace('\\', "").replace("--identity=", "");
        let mut names: Vec<_> = found.lines().map(plain).collect();
        names.sort();
        assert_eq!(names.join(" "), *expected, "{line}: {found}");
    }
    let command = in_shell(
        &home,
        &["fish", "--no-config", "-c"],
        "fish",
        &path,
        "source $SCRIPT; complete -C 'credenza exec -- unam'",
    );
    assert!(command.contains("uname"), "{command}");
    assert!(!home.path().join("pwned").exists(), "no name is run");
}

#[test]
fn zsh_completes_names_of_the_daemon() {
    if !is_here("zsh") && skip("zsh is not installed") {
        return;
    }
    let (home, _server) = home_with_names();
    let path = path_with_names(&home);
    for (line, expected) in COMPLETED {
        let line = line.trim_end_matches('|');
        let words: Vec<_> = line.split(' ').collect();
        // `compadd` of zsh works in the line editor only: this one prints the words that match.
        let script = format!(
            "compdef() {{ }}; compset() {{ }}; _files() {{ print -rl -- cred* }}; source $SCRIPT; \
             compadd() {{ print -rl -- ${{(M)${{(P)argv[-1]}}:#${{(b)words[-1]}}*}} }}; \
             words=(credenza {} '{}'); CURRENT={}; _credenza",
            words[..words.len() - 1].join(" "),
            words.last().unwrap(),
            words.len() + 1
        );
        let found = in_shell(&home, &["zsh", "-f", "-c"], "zsh", &path, &script);
        assert_eq!(found.trim_end().replace('\n', " ").replace("--identity=", ""), *expected, "{line}");
    }
    let registered = in_shell(
        &home,
        &["zsh", "-f", "-c"],
        "zsh",
        &path,
        "autoload -Uz compinit; compinit -u -D; source $SCRIPT; print ${_comps[credenza]}",
    );
    assert_eq!(registered, "_credenza\n");
    assert!(!Path::new("pwned").exists() && !home.path().join("pwned").exists(), "no name is run");
}

/// tcsh shows its list on a terminal only. This checks what the script makes tcsh ask, and that tcsh accepts the script.
#[test]
fn tcsh_completes_names_of_the_daemon() {
    let (home, _server) = home_with_names();
    for (line, expected) in COMPLETED.iter().filter(|(line, _)| !line.contains("--config")) {
        let line = format!("credenza {}", line.trim_end_matches('|'));
        let token = home.path().join("run/token").display().to_string();
        let output = home.run(&["complete-line"], &[("COMMAND_LINE", &line), ("CREDENZA_TOKEN_FILE", &token)]);
        let last = line.rsplit([' ', '=']).next().unwrap();
        let names = output.stdout.lines().map(|name| name.trim_start_matches("--identity="));
        let names: Vec<_> = names.filter(|name| name.starts_with(last)).collect();
        // A list of tcsh cannot hold a name with white space.
        assert_eq!(names.join(" "), expected.replace("$(touch pwned) a b ", ""), "{line}: {output:?}");
    }
    if !is_here("tcsh") && skip("tcsh is not installed") {
        return;
    }
    let path = path_with_names(&home);
    let registered = in_shell(&home, &["tcsh", "-f", "-c"], "tcsh", &path, "source $SCRIPT; complete credenza");
    assert!(registered.contains("complete-line") && registered.contains("n/--config/f/"), "{registered}");
}

#[test]
fn nushell_completes_names_of_the_daemon() {
    if !is_here("nu") {
        return;
    }
    let (home, _server) = home_with_names();
    let path = path_with_names(&home);
    for (line, expected) in COMPLETED.iter().filter(|(line, _)| !line.contains("--config")) {
        let line = format!("credenza {}", line.trim_end_matches('|'));
        let script = format!("source {}/nushell; {line}", home.path().display());
        let file = home.write("line.nu", &script);
        let ask = format!("nu --no-config-file --ide-complete {} {}", script.len(), file.display());
        let found = in_shell(&home, &["sh", "-c"], "nushell", &path, &ask);
        let found: serde_json::Value = serde_json::from_str(&found).unwrap();
        let names = found["completions"].as_array().unwrap().iter().filter_map(|name| name.as_str());
        let mut names: Vec<_> = names.map(|name| name.replace("--identity=", "").replace('\'', "")).collect();
        names.sort();
        assert_eq!(names.join(" "), *expected, "{line}");
    }
    // This mode of nushell has no working directory.
    let asked =
        "nu --no-config-file -c 'source nushell; nu-complete credenza [credenza --config cred] | get value | to text'";
    assert_eq!(in_shell(&home, &["sh", "-c"], "nushell", &path, asked).trim_end(), "credenza.toml");
    assert!(!home.path().join("pwned").exists(), "no name is run");
}
