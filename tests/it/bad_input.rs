//! Broken, hostile or oversized input: a clear error or the right response, and the other sources go on.

use std::fs::{self, File};
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, symlink};

use testkit::harness::{HUSH, Home, KEYS, keys_file, profile};
use testkit::server::{Reply, Server};

/// Creates odd entries in the place of a file; returns the name of each, and a word of its error.
fn odd_files(home: &Home) -> Vec<(&'static str, &'static str)> {
    let at = |name: &str| home.path().join(name);
    File::create(at("huge")).unwrap().set_len(100 << 20).unwrap();
    home.write("binary", (0..=255_u8).cycle().take(4096).collect::<Vec<_>>());
    fs::create_dir(at("directory")).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, at("fifo"), 0o600.into()).unwrap();
    symlink("nowhere", at("dangling")).unwrap();
    symlink("looping", at("looping")).unwrap();
    home.write("empty", "");
    let unreadable = home.write("unreadable", "x");
    fs::set_permissions(unreadable, fs::Permissions::from_mode(0o0)).unwrap();
    vec![
        ("huge", "larger than"),
        ("binary", ""),
        ("directory", "regular"),
        ("fifo", "regular"),
        ("dangling", "dangling"),
        ("looping", "looping"),
        ("empty", ""),
        ("unreadable", ""),
    ]
}

#[test]
fn keeps_failures_of_odd_files_to_their_source() {
    let home = Home::new();
    let odd = odd_files(&home);
    home.write("good", keys_file("AKIAGOOD"));
    let mut text = "[identities.good]\nsources = [{ credentials_file = \"~/good\" }]\n".to_owned();
    for (name, _) in &odd {
        text += &format!(
            "[identities.shared-{name}]\nsources = [{{ profile = \"default\", credentials_file = \"~/{name}\" }}]\n\
             [identities.config-{name}]\nsources = [{{ profile = \"default\", config_file = \"~/{name}\" }}]\n\
             [identities.key-{name}]\nsources = [{{ access_key_id = \"AKIA\", secret_access_key_file = \"~/{name}\" }}]\n\
             [identities.url-{name}]\nsources = [{{ url_file = \"~/{name}\" }}]\n"
        );
    }
    let broker = home.serve_config(text, &[]);
    broker.wait_for_identity("good");
    for (name, word) in odd {
        for kind in ["shared", "config", "key", "url"] {
            // Root can read every file.
            if name == "unreadable" && kind == "key" && rustix::process::geteuid().is_root() {
                continue;
            }
            let answer = broker.get(&format!("/credentials/{kind}-{name}"));
            assert!(matches!(answer.status, 403 | 404 | 503), "{kind}-{name}: {answer:?}");
            assert!(
                answer.message().contains(word) || answer.message().contains("none in"),
                "{kind}-{name}: {answer:?}"
            );
            assert!(answer.message().contains(name) || kind == "url" || kind == "key", "{kind}-{name}: {answer:?}");
        }
    }
    assert_eq!(broker.get("/credentials/good").status, 200);
    assert!(broker.peak_memory() < 120_000, "{} kB", broker.peak_memory());
}

#[test]
fn exits_78_for_odd_configuration_files() {
    let home = Home::new();
    for (name, word) in odd_files(&home) {
        let ended = home.run(&["check", "--config", name], &[]);
        // An empty file configures nothing, which is valid; there are no credentials then.
        let code = if name == "empty" { 1 } else { 78 };
        assert_eq!(ended.code, Some(code), "{name}: {ended:?}");
        assert!(ended.stderr.contains(word), "{name}: {ended:?}");
    }
    let open = home.write("open.toml", "");
    fs::set_permissions(open, fs::Permissions::from_mode(0o666)).unwrap();
    let ended = home.run(&["check", "--config", "open.toml"], &[]);
    assert!(ended.code == Some(78) && ended.stderr.contains("writ"), "{ended:?}");
}

#[test]
fn refuses_to_start_with_odd_token_files() {
    let home = Home::new();
    let odd = odd_files(&home);
    let shared = home.path().join("shared");
    fs::create_dir(&shared).unwrap();
    fs::set_permissions(&shared, fs::Permissions::from_mode(0o777)).unwrap();
    let others = [("empty/token", "--token-file"), ("shared/token", "it may be written by all users")];
    for (file, word) in odd.into_iter().map(|(name, _)| (name, "token")).chain(others) {
        let ended = home.run(&["serve", "--listen", "127.0.0.1:0", "--token-file", file], &[]);
        assert!(ended.code == Some(1) && ended.stderr.contains(word), "{file}: {ended:?}");
    }
}

#[test]
fn warns_of_a_line_break_after_a_given_token() {
    const TOKEN: &str = "0123456789abcdef0123456789abcdef";
    let home = Home::new();
    for (end, is_warned) in [("\n", true), ("", false)] {
        let file = home.write("given", format!("{TOKEN}{end}"));
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        let broker = home.serve(&["--auth-token-file", "given"], &KEYS);
        assert_eq!(broker.get_with("/credentials", TOKEN).key().as_deref(), Some("AKIAENV"));
        assert_eq!(
            broker.log().contains("ends with a line break, and some SDKs refuse"),
            is_warned,
            "{}",
            broker.log()
        );
        let address = broker.address().to_string();
        let client = home.run(&["get", "--from-daemon", "--listen", &address, "--auth-token-file", "given"], &[]);
        assert_eq!(client.key(), "AKIAENV");
    }
}

#[test]
fn says_what_a_given_token_file_must_hold() {
    let home = Home::new();
    let file = home.write("given", "two words");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    for command in [&["serve", "--listen", "127.0.0.1:0"][..], &["status"], &["env"], &["get", "--from-daemon"]] {
        let ended = home.run(&[command, &["--auth-token-file", "given"]].concat(), &[]);
        let told =
            ended.stderr.contains("given: ") && ended.stderr.contains("write 32 to 4096 visible ASCII characters");
        assert!(ended.code == Some(1) && told && !ended.stderr.contains("next start"), "{ended:?}");
    }
}

#[test]
fn works_without_home_except_for_files() {
    let home = Home::new();
    assert_eq!(home.run(&["get"], &[("HOME", ""), KEYS[0], KEYS[1]]).key(), "AKIAENV");
    let ended = home.run(&["get", "--credentials-file", "~/keys"], &[("HOME", "/nonexistent/home")]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
}

#[test]
fn reads_shared_files_of_editors_and_generators() {
    let home = Home::new();
    let many: String = (0..9_999).map(|number| profile(&format!("p{number}"), &format!("AKIA{number}"))).collect();
    let long = format!(
        "[default]\nunrelated = {}\naws_access_key_id = AKIALONG\naws_secret_access_key = hush\n",
        "x".repeat(1 << 20)
    );
    let table = [
        ("bom", format!("\u{feff}{}", keys_file("AKIABOM")), "AKIABOM"),
        ("crlf", keys_file("AKIACRLF").replace('\n', "\r\n"), "AKIACRLF"),
        ("many", format!("{many}{}", keys_file("AKIAMANY")), "AKIAMANY"),
        ("long", long, "AKIALONG"),
    ];
    for (name, text, key) in &table {
        home.write(name, text);
        let ended = home.run(&["get", "--credentials-file", name], &[]);
        assert!(ended.stdout.contains(key), "{name}: {:?}", ended.stderr);
    }
    home.write("nul", keys_file("AKIA\0NUL"));
    let ended = home.run(&["get", "--credentials-file", "nul"], &[]);
    assert!(
        ended.code == Some(1) && ended.stderr.contains("control character") && !ended.stderr.contains(HUSH),
        "{ended:?}"
    );
}

/// A response that ends with its connection.
fn ok(body: &str) -> Reply {
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n";
    Reply::Raw([head, body].concat().into())
}

fn document(key: &str, expiration: &str) -> Reply {
    ok(&testkit::document(key, expiration))
}

#[test]
fn reports_nonsense_from_services() {
    let table: Vec<(&str, Reply, &[u16])> = vec![
        ("html", ok("<html><body>hush login</body></html>"), &[403, 503]),
        ("half", ok("{\"AccessKeyId\":\"A\",\"SecretAccessKey\":\"hush"), &[403, 503]),
        ("empty", ok(""), &[403, 503]),
        ("redirect", Reply::of(302, "").with("Location", "http://127.0.0.1:1/"), &[403, 503]),
        ("past", document("A", "2020-01-01T00:00:00Z"), &[503]),
        ("no-zone", document("A", "2099-01-01T00:00:00"), &[403, 503]),
        ("newline", document("A\\nB", "2099-01-01T00:00:00Z"), &[403, 503]),
        ("refused", Reply::of(403, "<hush>"), &[403]),
        ("flood", Reply::Flood, &[403, 503]),
        ("year-9999", document("AKIANEVER", "9999-12-31T23:59:59Z"), &[200]),
        ("garbage", Reply::Raw("\u{0}\u{1}\u{2} nonsense\r\n\r\n".into()), &[503]),
    ];
    for (name, reply, statuses) in table {
        let home = Home::new();
        let upstream = Server::start(move |_| reply.clone());
        let broker = home.serve(&[], &[("AWS_CONTAINER_CREDENTIALS_FULL_URI", &upstream.url("/"))]);
        let (answer, _) = broker.wait_for("/credentials", |answer| {
            answer.status == 200 || !answer.message().contains("still being loaded")
        });
        assert!(statuses.contains(&answer.status), "{name}: {answer:?}");
        if answer.status == 200 {
            assert!(!answer.json()["Expiration"].as_str().unwrap().starts_with("9999"), "{answer:?}");
        } else {
            assert!(answer.message().contains("container") && !answer.body.contains(HUSH), "{name}: {answer:?}");
        }
        assert!(broker.peak_memory() < 60_000, "{name}: {} kB", broker.peak_memory());
    }
}

#[test]
fn gives_up_on_an_endless_slow_response() {
    let home = Home::new();
    let upstream = Server::start(|_| Reply::Drip);
    let variables = [("AWS_CONTAINER_CREDENTIALS_FULL_URI", &*upstream.url("/"))];
    let broker = home.serve_config("[defaults]\nload_timeout = \"2s\"\n", &variables);
    let answer = broker.get("/credentials");
    assert_eq!((answer.status, answer.code().as_str()), (503, "CredentialsUnavailable"), "{answer:?}");
}

#[test]
fn refuses_a_source_that_is_the_broker_itself() {
    let home = Home::new();
    let port = { TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port() };
    let uri = format!("http://localhost:{port}/credentials");
    let broker =
        home.serve(&["--listen", &format!("127.0.0.1:{port}")], &[("AWS_CONTAINER_CREDENTIALS_FULL_URI", &uri)]);
    let answer = broker.get("/credentials");
    assert_eq!((answer.status, answer.code().as_str()), (403, "SourceMisconfigured"), "{answer:?}");
    assert!(answer.message().contains("is a listener of this process"), "{answer:?}");
}

#[test]
fn refuses_foreign_container_hosts_without_a_request() {
    for uri in
        ["http://192.0.2.1/", "http://example.invalid/", "http://169.254.169.254/x", "ftp://127.0.0.1/", "nonsense"]
    {
        let home = Home::new();
        let ended = home.run(&["get"], &[("AWS_CONTAINER_CREDENTIALS_FULL_URI", uri)]);
        assert!(ended.code == Some(1) && ended.stderr.contains("container"), "{uri}: {ended:?}");
    }
}
