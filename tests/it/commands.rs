//! The commands as a user runs them.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;
use std::time::Duration;

use testkit::harness::{HUSH, Home, KEYS, Response, keys_file, profile, send, wait, wrapped};
use testkit::server::{Reply, Server};

#[test]
fn get_prints_each_format_or_fails_with_a_reason() {
    let home = Home::new();
    home.write(".aws/credentials", keys_file("AKIAFILE"));
    home.write(".aws/config", "[default]\nregion = eu-west-1\n");
    let process = home.run(&["get"], &[]).json();
    assert_eq!((&process["Version"], &process["AccessKeyId"]), (&1.into(), &"AKIAFILE".into()));
    assert!(process.get("SessionToken").is_none() && process.get("Expiration").is_none());
    let env = home.run(&["get", "--format", "env"], &[]).stdout;
    assert!(
        env.contains("export AWS_ACCESS_KEY_ID='AKIAFILE'\n") && env.contains("unset AWS_SESSION_TOKEN\n"),
        "{env}"
    );
    assert!(env.contains("export AWS_REGION='eu-west-1'\n"), "{env}");
    let ecs = home.run(&["get", "--format", "ecs"], &[]).json();
    assert_eq!((&ecs["Code"], &ecs["Token"]), (&"Success".into(), &"".into()));
    let none = home.run(&["get", "--profile", "nobody"], &[]);
    assert_eq!((none.code, none.stdout.as_str()), (Some(1), ""), "{none:?}");
    assert!(none.stderr.contains("profile nobody"), "{none:?}");
    let none = Home::new().run(&["get"], &[]);
    assert!(none.code == Some(1) && none.stderr.contains("credenza check"), "{none:?}");
}

#[test]
fn get_reads_secrets_from_stdin_and_warns_of_arguments() {
    let home = Home::new();
    let secret = home.write("secret", "hush-stdin\n");
    let mut command = home.command(&["get", "--access-key-id", "AKIASTDIN", "--secret-access-key-file", "-"]);
    let output = command.stdin(fs::File::open(secret).unwrap()).output().unwrap();
    let printed: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(printed["SecretAccessKey"], "hush-stdin");
    let literal = home.run(&["get", "--access-key-id", "AKIA1", "--secret-access-key", "hush-literal"], &[]);
    assert!(literal.code == Some(0) && literal.stderr.contains("list processes"), "{literal:?}");
    assert!(!literal.stderr.contains(HUSH));
    let variable =
        home.run(&["get"], &[("CREDENZA_ACCESS_KEY_ID", "AKIA1"), ("CREDENZA_SECRET_ACCESS_KEY", "hush-var")]);
    assert!(variable.code == Some(0) && !variable.stderr.contains("list processes"), "{variable:?}");
}

#[test]
fn get_passes_on_expiration_and_account_as_said() {
    let body = r#"{"AccessKeyId":"ASIA1","SecretAccessKey":"hush","Token":"hush-t","Expiration":"9999-12-31T23:59:59Z",
        "AccountId":"tenant-7","RoleArn":"arn:aws:iam::123456789012:role/r"}"#;
    let server = Server::start(move |_| Reply::ok(body));
    let uri = server.url("/");
    let printed = Home::new().run(&["get"], &[("AWS_CONTAINER_CREDENTIALS_FULL_URI", &uri)]).json();
    assert_eq!((&printed["Expiration"], &printed["AccountId"]), (&"9999-12-31T23:59:59Z".into(), &"tenant-7".into()));
}

#[test]
fn get_prints_expired_credentials_with_a_warning() {
    let home = Home::new();
    let expired =
        [KEYS[0], KEYS[1], ("AWS_SESSION_TOKEN", "hush"), ("AWS_CREDENTIAL_EXPIRATION", "2020-01-01T00:00:00Z")];
    let ended = home.run(&["get"], &expired);
    assert!(ended.code == Some(0) && ended.stdout.contains("AKIAENV") && ended.stderr.contains("expired"), "{ended:?}");
}

#[test]
fn exits_2_for_usage_and_78_for_configuration_errors() {
    let home = Home::new();
    home.write(
        "bad.toml",
        "[server]\nlisten = 7\nnonsense = 1\n[identities.a]\nsources = [{ access_key_id = \"A\" }]\n",
    );
    let table: &[(&[&str], i32, &[&str])] = &[
        (&["--nonsense"], 2, &["--nonsense"]),
        (&["get", "--access-key-id", "AKIA1"], 2, &["half a key pair"]),
        (&["get", "--identity", "other", "--url", "http://a:hush@b"], 2, &["--identity"]),
        (&["exec", "ls", "-l"], 2, &["-l"]),
        (&["exec", "ls", "x"], 2, &["write the command after --"]),
        (&["check", "-v", "--config", "bad.toml"], 78, &["line 2", "line 3", "line 5", "server.listen", "nonsense"]),
        (&["serve", "--config", "absent.toml"], 78, &["absent.toml"]),
        (&["serve", "--listen", "0.0.0.0:0"], 2, &["--allow-remote"]),
        (&["check", "-v", "--token-group", "no-such-group"], 78, &["server.token_group", "no-such-group"]),
        (&["get", "--identity", "nobody"], 1, &["nobody", "default"]),
    ];
    for (arguments, code, words) in table {
        let ended = home.run(arguments, &[]);
        assert_eq!(ended.code, Some(*code), "{arguments:?} {ended:?}");
        for word in *words {
            assert!(ended.stderr.to_lowercase().contains(&word.to_lowercase()), "{word}: {ended:?}");
        }
        assert!(!ended.stderr.contains(HUSH), "{ended:?}");
    }
}

#[test]
fn check_explains_sources_and_exits_1_without_credentials() {
    let home = Home::new();
    home.write(
        ".aws/credentials",
        format!("{}{}", keys_file("AKIAFILE"), "[role]\nrole_arn = arn:x\nsource_profile = gone\n"),
    );
    let good = home.run(&["check", "-v"], &[]);
    assert_eq!(good.code, Some(0), "{good:?}");
    for line in
        ["environment  not configured", "profile      found  ← wins", "imds         not configured", "=> AKIAFILE"]
    {
        assert!(good.stdout.contains(line), "{line}: {}", good.stdout);
    }
    let bad = home.run(&["check", "-v", "--profile", "role"], &[]);
    assert_eq!(bad.code, Some(1));
    assert!(bad.stdout.contains("source_profile names a profile that is in neither file: role → gone"), "{bad:?}");
    assert!(!format!("{good:?}{bad:?}").contains(HUSH));
}

#[test]
fn check_prints_a_line_for_each_identity_failures_first() {
    let home = Home::new();
    home.write(".aws/credentials", profile("temp", "ASIAIOSFODNN7EXAMPLE") + &profile("dev", "AKIADEV"));
    home.write(
        "credenza.toml",
        "[identities.a]\nsources = [{ profile = \"dev\" }]\n[identities.b]\nsources = [{ profile = \"gone\" }]\n\
         [identities.c]\nsources = [{ profile = \"temp\" }]\n",
    );
    let ended = home.run(&["check", "--config", "credenza.toml"], &[]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let lines: Vec<&str> = ended.stdout.lines().collect();
    assert_eq!(lines[0], "IDENTITY  STATE           KEY      SOURCE");
    assert!(lines[1].starts_with("b         failing         there is no profile gone in "), "{ended:?}");
    assert!(
        lines[2].starts_with("c         available       the access key id is that of a temporary key"),
        "{ended:?}"
    );
    assert_eq!(lines[3], "a         available       AKIADEV  profile dev");
    let explained: Vec<_> = lines.iter().filter(|line| line.starts_with("identity ")).collect();
    assert_eq!(explained, [&"identity b"], "{ended:?}");
    let quiet = home.run(&["check", "-q", "--profile", "dev"], &[]);
    assert_eq!((quiet.code, &*quiet.stdout), (Some(0), ""), "{quiet:?}");
    let got = home.run(&["get", "--config", "credenza.toml", "--identity", "c"], &[]);
    assert!(got.code == Some(0) && got.stderr.contains("there is no session token"), "{got:?}");
}

#[test]
fn warns_of_a_configuration_with_secrets_that_others_may_read() {
    let home = Home::new();
    let file = home.write("credenza.toml", "[identities.a]\nsources = [\"http://AKIAURL:hush@127.0.0.1:9000\"]\n");
    let warnings = |mode| {
        fs::set_permissions(home.path(), fs::Permissions::from_mode(0o755)).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        let ended = home.run(&["check", "--config", file.to_str().unwrap()], &[]);
        ended.stdout.lines().filter(|line| line.starts_with("warning: ")).map(str::to_owned).collect::<Vec<_>>()
    };
    let path = file.display();
    let expected = format!(
        "warning: every user of this host may read {path} (mode 0644), and it holds a secret; run: chmod 600 {path}"
    );
    assert_eq!(warnings(0o644), [expected]);
    assert_eq!(warnings(0o600), [""; 0]);
}

#[test]
fn check_names_the_path_of_a_token_file_once() {
    let home = Home::new();
    home.write(".aws/credentials", keys_file("AKIAFILE"));
    let (absent, open) = (home.path().join("absent"), home.path().join("open"));
    fs::create_dir(&open).unwrap();
    home.write("open/token", "0123456789abcdef0123456789abcdef");
    fs::set_permissions(&open, fs::Permissions::from_mode(0o777)).unwrap();
    let client =
        |name: &str, file: &str| format!("[clients.{name}]\nidentities = [\"default\"]\ntoken_file = \"{file}\"\n");
    let in_open = format!("{}/token", open.display());
    home.write("credenza.toml", client("a", absent.to_str().unwrap()) + &client("b", &in_open));
    let ended = home.run(&["check", "--config", "credenza.toml"], &[]);
    let lines = [
        format!("  {}: there is no such file; it gives no token", absent.display()),
        format!("  {in_open}: its folder {}: it may be written by all users", open.display()),
    ];
    for line in lines {
        assert!(ended.stdout.lines().any(|found| found.starts_with(&line)), "{line}: {ended:?}");
    }
}

#[test]
fn profiles_strict_fails_for_a_wrong_profile() {
    let home = Home::new();
    home.write(".aws/credentials", keys_file("AKIAFILE"));
    let strict = || home.run(&["profiles", "--strict"], &[]);
    assert_eq!(strict().code, Some(0));
    home.write(".aws/config", "[profile zone]\nrole_arn = arn:x\nsource_profile = gone\n");
    let ended = strict();
    assert!(ended.code == Some(1) && ended.stdout.starts_with("zone     wrong: "), "failures first: {ended:?}");
    assert_eq!(home.run(&["profiles"], &[]).code, Some(0));
    let quiet = home.run(&["profiles", "-q"], &[]);
    assert!(quiet.stdout.lines().count() == 1 && quiet.stdout.starts_with("zone  wrong: "), "{quiet:?}");
}

#[test]
fn exec_starts_a_private_broker_for_the_child() {
    let home = Home::new();
    home.write(".aws/credentials", format!("{}{}", keys_file("AKIAOTHER"), profile("dev", "AKIADEV")));
    home.write(
        ".aws/config",
        "[profile dev]\nregion = eu-west-3\ns3 =\n  addressing_style = path\nrole_session_name = x\n",
    );
    let script = r#"
        test -z "$AWS_ACCESS_KEY_ID$AWS_PROFILE$CREDENZA_TOKEN_FILE$CREDENZA_PROFILE" || exit 90
        grep -q aws_access "$AWS_SHARED_CREDENTIALS_FILE" "$AWS_CONFIG_FILE" && exit 91
        grep -q 'addressing_style' "$AWS_CONFIG_FILE" || exit 92
        grep -q 'role_session' "$AWS_CONFIG_FILE" && exit 93
        test "$(cat "$AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE")" = "$AWS_CONTAINER_AUTHORIZATION_TOKEN" || exit 94
        test "$(stat -c %a "$(dirname "$AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE")")" = 700 || exit 95
        echo "$AWS_REGION $AWS_CONTAINER_CREDENTIALS_FULL_URI $(dirname "$AWS_CONFIG_FILE")"
        exit 42
    "#;
    let variables = [KEYS[0], KEYS[1], ("CREDENZA_PROFILE", "dev"), ("AWS_PROFILE", "default")];
    let ended = home.run(&["exec", "--", "sh", "-c", script], &variables);
    assert_eq!(ended.code, Some(42), "{ended:?}");
    let said: Vec<&str> = ended.stdout.split_whitespace().collect();
    assert_eq!(said[0], "eu-west-3");
    assert!(said[1].starts_with("http://127.0.0.1:") && said[1].ends_with("/credentials"));
    assert!(!fs::exists(said[2]).unwrap(), "its folder is gone");
    assert!(!fs::exists(home.path().join("run/token")).unwrap(), "the daemon's token file is not its business");
}

/// Creates keys for one store, with its endpoint and region, and keys without either.
fn two_stores() -> Home {
    let home = Home::new();
    home.write(".aws/credentials", profile("plain", "AKIAPLAIN"));
    home.write(
        ".config/credenza/credenza.toml",
        "[identities.minio]\nsources = [{ url = \"http://AKIAURL:hush@127.0.0.1:9000/\", region = \"eu-south-1\" }]\n\
         [identities.plain]\nsources = [{ profile = \"plain\" }]\n[identities.here]\nsources = [\"environment\"]\n\
         [identities.either]\nsources = [{ profile = \"plain\" }, \"environment\"]\n\
         [identities.bare]\nsources = [{ access_key_id = \"AKIABARE\", secret_access_key = \"hush\" }]\n",
    );
    home
}

/// Runs a script in a shell that has evaluated the output of `get` for these identities in turn; returns its output.
fn after_getting(home: &Home, identities: &[&str], script: &str, variables: &[(&str, &str)]) -> String {
    let gets: String =
        identities.iter().map(|name| format!("eval \"$(\"$0\" get --identity {name} --format env)\"; ")).collect();
    let mut shell = wrapped(&["sh", "-c", &format!("{gets}{script}")], &home.command(&[]));
    let output = shell.env_remove("RUST_LOG").envs(variables.iter().copied()).output().unwrap();
    assert!(output.stderr.is_empty(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[test]
fn get_unsets_endpoint_and_region_of_the_previous_identity() {
    let home = two_stores();
    let shown = r#"echo "$AWS_ACCESS_KEY_ID $AWS_ENDPOINT_URL_S3 $AWS_REGION $AWS_DEFAULT_REGION $CREDENZA_SET""#;
    let minio = "AKIAURL http://127.0.0.1:9000 eu-south-1 eu-south-1 AWS_REGION AWS_DEFAULT_REGION AWS_ENDPOINT_URL_S3";
    let own = [("AWS_ENDPOINT_URL_S3", "http://own"), ("AWS_REGION", "own-1")];
    for (identities, variables, expected) in [
        (&["minio"][..], &[][..], minio),
        (&["minio", "plain"], &[], "AKIAPLAIN"),
        (&["minio", "plain", "minio"], &[], minio),
        // The keys in the environment are still those of minio, and valid only there.
        (&["minio", "here", "here"], &[], minio),
        (&["minio", "plain", "here"], &[], "AKIAPLAIN"),
        // The source `environment` does not find them either.
        (&["minio", "either"], &[], "AKIAPLAIN"),
        // The user's own settings remain, even if the identity has the same ones.
        (&["plain"], &own, "AKIAPLAIN http://own own-1"),
        (&["either"], &own, "AKIAPLAIN http://own own-1 own-1 AWS_DEFAULT_REGION"),
        (&["either", "plain"], &own, "AKIAPLAIN http://own own-1"),
    ] {
        assert_eq!(after_getting(&home, identities, shown, variables), expected, "{identities:?}");
    }
}

#[test]
fn exec_unsets_endpoint_and_region_of_other_identities() {
    let home = two_stores();
    let shown = r#"sh -c 'echo "$AWS_ENDPOINT_URL_S3 $AWS_REGION $AWS_DEFAULT_REGION"'"#;
    let minio = "http://127.0.0.1:9000 eu-south-1 eu-south-1";
    let own = [("AWS_ENDPOINT_URL_S3", "http://own")];
    for (identities, exec, variables, expected) in [
        (&["minio"][..], "plain", &[][..], ""),
        (&["minio"], "either", &[], ""),
        (&["minio"], "here", &[], minio),
        (&["plain"], "plain", &own, "http://own"),
    ] {
        let script = format!("exec \"$0\" exec --identity {exec} -- {shown}");
        assert_eq!(after_getting(&home, identities, &script, variables), expected, "{identities:?} {exec}");
    }
    let count = "exec \"$0\" exec --identity minio -- sh -c 'env | grep ^CREDENZA_ | cut -d= -f1 || true'";
    let none = after_getting(&home, &["minio"], count, &[]);
    assert_eq!(none, "CREDENZA_ACTIVE", "no child has another variable of ours");
}

#[test]
fn exec_avoids_a_tmpdir_that_others_can_rename() {
    let home = Home::new();
    let open = home.path().join("tmp");
    fs::create_dir(&open).unwrap();
    let folder = |mode| {
        fs::set_permissions(&open, fs::Permissions::from_mode(mode)).unwrap();
        let variables = [&KEYS[..], &[("TMPDIR", open.to_str().unwrap())]].concat();
        let ended = home.run(&["exec", "--", "sh", "-c", "echo $AWS_CONFIG_FILE"], &variables);
        assert_eq!(ended.code, Some(0), "{ended:?}");
        ended
    };
    assert!(folder(0o700).stdout.starts_with(open.to_str().unwrap()));
    let elsewhere = folder(0o777);
    assert!(!elsewhere.stdout.contains(open.to_str().unwrap()), "{elsewhere:?}");
    let told = format!("TMPDIR is not used: {}: it may be written by all users", open.display());
    assert!(elsewhere.stderr.contains(&told), "{elsewhere:?}");
}

#[test]
fn exec_sets_the_endpoint_and_needs_a_lease_to_start() {
    let home = Home::new();
    let url = [("CREDENZA_URL", "http://AKIAURL:hush@127.0.0.1:9000/")];
    let ended = home.run(&["exec", "--", "sh", "-c", "echo $AWS_ENDPOINT_URL_S3"], &url);
    assert_eq!(ended.stdout.trim(), "http://127.0.0.1:9000", "{ended:?}");
    let ended = home.run(&["exec", "--", "touch", "started"], &[]);
    assert!(ended.code == Some(1) && ended.stderr.contains("no credentials are configured"), "{ended:?}");
    assert!(!fs::exists(home.path().join("started")).unwrap());
    let ended = home.run(&["exec", "--", "/nonexistent/program"], &KEYS);
    assert_eq!(ended.code, Some(127), "{ended:?}");
    home.write("plain", "not a program");
    assert_eq!(home.run(&["exec", "--", "./plain"], &KEYS).code, Some(126));
    assert_eq!(home.run(&["exec", "--", "sh", "-c", "kill -9 $$"], &KEYS).code, Some(137));
}

#[test]
fn exec_serves_one_identity_to_one_client() {
    let home = Home::new();
    let identities = ["one", "two"].map(|name| format!("[identities.{name}]\nsources = [\"environment\"]\n"));
    home.write("credenza.toml", identities.concat());
    let script = "echo $AWS_CONTAINER_CREDENTIALS_FULL_URI $AWS_CONTAINER_AUTHORIZATION_TOKEN; read line";
    let arguments = ["exec", "--config", "credenza.toml", "--identity", "one", "--", "sh", "-c", script];
    let mut child = home.command(&arguments).envs(KEYS).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let (uri, token) = line.trim().split_once(' ').unwrap();
    let address = uri.strip_prefix("http://").unwrap().strip_suffix("/credentials").unwrap();
    for (path, token, status, code) in [
        ("/credentials", token, 200, "AKIAENV"),
        ("/credentials/one", token, 200, "AKIAENV"),
        ("/credentials/two", token, 403, "IdentityNotAllowed"),
        ("/credentials/nobody", token, 403, "IdentityNotAllowed"),
        ("/credentials", "wrong", 401, "InvalidAuthorizationToken"),
    ] {
        let head = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nAuthorization: {token}\r\n");
        let answer = Response::read(&mut send(address.parse().unwrap(), head + "Connection: close\r\n\r\n"));
        assert!(answer.status == status && answer.body.contains(code), "{path}: {answer:?}");
    }
    drop(child.stdin.take());
    wait(&mut child);
}

#[test]
fn exec_refuses_endpoints_of_files_that_others_can_write() {
    let home = Home::new();
    home.write(".aws/credentials", keys_file("AKIAFILE"));
    let config = home.write(".aws/config", "[default]\nendpoint_url = http://127.0.0.1:1\nregion = eu-west-1\n");
    let shown = home.run(&["exec", "--", "sh", "-c", "cat $AWS_CONFIG_FILE"], &[]);
    assert!(shown.stdout.contains("endpoint_url"), "{shown:?}");
    fs::set_permissions(config, std::os::unix::fs::PermissionsExt::from_mode(0o666)).unwrap();
    let refused = home.run(&["exec", "--", "touch", "started"], &[]);
    assert!(["endpoint_url", "0666", "line 2"].iter().all(|word| refused.stderr.contains(word)), "{refused:?}");
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(!fs::exists(home.path().join("started")).unwrap());
    let refused = home.run(&["get"], &[]);
    assert!(refused.code == Some(1) && refused.stderr.contains("line 2: endpoint_url is not used"), "{refused:?}");
    fs::write(home.path().join(".aws/config"), "[default]\nregion = eu-west-1\n").unwrap();
    assert_eq!(home.run(&["get"], &[]).code, Some(0), "keys are taken from any file that can be read");
}

#[test]
fn exec_forwards_signals() {
    let home = Home::new();
    let script = "trap 'echo got; exit 9' TERM; echo ready; while :; do sleep 0.05; done";
    let mut child =
        home.command(&["exec", "--", "sh", "-c", script]).envs(KEYS).stdout(Stdio::piped()).spawn().unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
    std::thread::sleep(Duration::from_millis(50));
    rustix::process::kill_process(rustix::process::Pid::from_child(&child), rustix::process::Signal::TERM).unwrap();
    assert_eq!(wait(&mut child).code(), Some(9));
    let mut rest = String::new();
    out.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "got\n");
}

#[test]
fn status_shows_a_running_daemon() {
    let home = Home::new();
    let broker = home.serve(&[], &KEYS);
    broker.wait_for_key("AKIAENV");
    let address = broker.address().to_string();
    let status = home.run(&["status", "--listen", &address], &[]);
    assert_eq!(status.code, Some(0), "{status:?}");
    let expected = "\nIDENTITY  STATE      KEY      REFRESH  SOURCE\ndefault   available  AKIAENV  ";
    assert!(status.stdout.contains(expected) && status.stdout.ends_with("  environment\n"), "{status:?}");
    let details = home.run(&["status", "default", "--listen", &address], &[]);
    assert!(details.stdout.starts_with("default: available\n  AKIAENV from environment\n"), "{details:?}");
    let unknown = home.run(&["status", "defualt", "--listen", &address], &[]);
    assert!(unknown.code == Some(1) && unknown.stderr.contains("did you mean default?"), "{unknown:?}");
    let quiet = home.run(&["status", "-q", "--listen", &address], &[]);
    assert_eq!((quiet.code, &*quiet.stdout), (Some(0), ""), "{quiet:?}");
    let json = home.run(&["status", "--json", "--listen", &address], &[]).json();
    let identity = &json["identities"]["default"];
    assert_eq!((&identity["source"], &identity["state"]), (&"environment".into(), &"available".into()));
    assert_eq!((&identity["login_required"], identity.get("login_command")), (&false.into(), Some(&().into())));
    let ready = home.run(&["status", "--ready", "--listen", &address], &[("CREDENZA_TOKEN_FILE", "/nonexistent")]);
    assert_eq!(ready.code, Some(0), "{ready:?}");
    let absent = home.run(&["status", "--listen", "127.0.0.1:1"], &[]);
    assert!(absent.code == Some(1) && absent.stderr.contains("no daemon answers"), "{absent:?}");
    home.write("other", "0123456789abcdef0123456789abcdef");
    let refused = home.run(&["status", "--listen", &address], &[("CREDENZA_TOKEN_FILE", "other")]);
    assert!(refused.code == Some(1) && refused.stderr.contains("InvalidAuthorizationToken"), "{refused:?}");
}

#[test]
fn manual_pages_match_the_command_line() {
    let home = Home::new();
    let folder = home.path().join("man/deep");
    let written = home.run(&["manual", folder.to_str().unwrap()], &[]);
    assert_eq!(written.code, Some(0), "{written:?}");
    for page in ["", "-check", "-completions", "-exec", "-get", "-grant", "-serve", "-status", "-token-rotate"] {
        let text = fs::read_to_string(folder.join(format!("credenza{page}.1"))).unwrap();
        assert!(text.contains(".SH NAME") && text.contains("CREDENZA_CONFIG"), "{page}: {text}");
    }
    assert!(fs::read_to_string(folder.join("credenza-status.1")).unwrap().contains("watch"));
    let one = home.path().join("one");
    assert_eq!(home.run(&["man", "--dir", one.to_str().unwrap()], &[]).code, Some(0));
    for (words, file) in [(&["man"][..], "credenza.1"), (&["man", "token", "rotate"], "credenza-token-rotate.1")] {
        let printed = home.run(words, &[]);
        assert_eq!(printed.stdout, fs::read_to_string(one.join(file)).unwrap(), "{words:?}");
    }
    let unknown = home.run(&["man", "exce"], &[]);
    assert!(unknown.code == Some(2) && unknown.stderr.contains("no command `credenza exce`"), "{unknown:?}");
    home.write("file", "");
    let failed = home.run(&["manual", home.path().join("file/man").to_str().unwrap()], &[]);
    assert!(failed.code == Some(1) && failed.stderr.contains("cannot write manual pages"), "{failed:?}");
}

#[test]
fn status_watches_a_daemon() {
    let home = Home::new();
    // An address of this test alone: no other test binds the port meanwhile.
    let socket = std::net::TcpListener::bind("127.99.1.1:0").unwrap();
    let address = socket.local_addr().unwrap().to_string();
    drop(socket);
    let mut watching =
        home.command(&["status", "--watch", "--json", "--listen", &address]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(watching.stdout.take().unwrap()).lines();
    let mut next = || -> serde_json::Value { serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap() };
    // There is no auth token before the first start of a daemon.
    assert!(next()["error"].as_str().unwrap().contains("token"), "it goes on without a daemon");
    let broker = home.serve(&["--listen", &address], &KEYS);
    let mut document = next();
    while document["identities"]["default"]["access_key_id"] != "AKIAENV" {
        document = next();
    }
    drop(broker);
    assert!(next()["error"].as_str().unwrap().contains("no daemon answers"));
    watching.kill().unwrap();
    watching.wait().unwrap();
}

#[test]
fn logs_in_json_and_for_journald() {
    let home = Home::new();
    let mut broker = home.serve(&["--log-format", "json"], &KEYS);
    broker.wait_for_log("lease renewed");
    let mut renewed = Vec::new();
    for line in broker.log().lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert!(line["level"].is_string() && line["timestamp"].is_string());
        if line["message"] == "lease renewed" {
            renewed.push((line["identity"].clone(), line["source"].clone()));
        }
    }
    assert_eq!(renewed, [("default".into(), "environment".into())], "the span of the refresher gives the identity");
    drop(broker);
    let broker = home.serve(&[], &[KEYS[0], KEYS[1], ("JOURNAL_STREAM", "1:2")]);
    assert!(broker.log().lines().all(|line| line.starts_with('<') && line[2..].starts_with('>')), "{}", broker.log());
}

#[test]
fn exits_at_once_on_a_second_signal() {
    let home = Home::new();
    let mut broker = home.serve(&[], &KEYS);
    // An unfinished head delays the stop for a moment.
    let _unfinished = send(broker.address(), "GET /credentials HTTP/1.1\r\nHost: loc");
    std::thread::sleep(Duration::from_millis(200));
    broker.signal(rustix::process::Signal::INT);
    broker.wait_for_log("a second signal");
    broker.signal(rustix::process::Signal::INT);
    assert_eq!(broker.wait().code(), Some(1));
}

#[test]
fn prints_completions_and_help() {
    let home = Home::new();
    for shell in ["bash", "zsh", "fish", "nushell", "tcsh"] {
        let ended = home.run(&["completions", shell], &[]);
        assert!(ended.code == Some(0) && ended.stdout.contains("credenza complete"), "{shell}");
    }
    let help = home.run(&["--help"], &[("CREDENZA_SECRET_ACCESS_KEY", "hush-in-help")]);
    assert!(help.code == Some(0) && help.stdout.contains("Examples:") && !help.stdout.contains(HUSH));
}
