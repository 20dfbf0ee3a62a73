//! Programs of `credential_process` that start Credenza: circles end at once, and nesting that ends works.

use std::fs;
use std::time::{Duration, Instant};

use testkit::harness::{Home, TIMEOUT, program, until};

const CIRCLE: &str = "starts credenza, which starts the same program again";

/// Writes `[default]` with a program that runs these arguments of Credenza, and counts its runs.
fn circle(home: &Home, arguments: &str) {
    let command = format!("echo x >> runs; exec {} {arguments}", program());
    home.write(".aws/config", format!("[default]\ncredential_process = sh -c '{command}'\n"));
}

fn runs(home: &Home) -> usize {
    fs::read_to_string(home.path().join("runs")).map_or(0, |runs| runs.lines().count())
}

#[test]
fn reports_a_circle_of_programs_at_once() {
    for (arguments, command) in [
        ("get", &["get"][..]),
        ("get --profile default", &["get"]),
        ("exec -- true", &["get"]),
        ("get", &["exec", "--", "true"]),
        ("get", &["check", "-v"]),
    ] {
        let home = Home::new();
        circle(&home, arguments);
        let began = Instant::now();
        let ended = home.run(command, &[]);
        assert_eq!(ended.code, Some(1), "{ended:?}");
        let told = ended.stdout + &ended.stderr;
        assert!(told.contains(&format!("line 2: profile default: the credential_process {CIRCLE}; let the")), "{told}");
        assert!(told.contains("profile default → profile d"), "the command shows the path: {told}");
        // `exec` retries within its first load only.
        assert!(runs(&home) <= 2 && began.elapsed() < TIMEOUT / 2, "{} runs of {arguments}", runs(&home));
    }
}

#[test]
fn daemon_reports_a_circle_of_programs() {
    let home = Home::new();
    circle(&home, "get");
    let broker = home.serve(&[], &[]);
    let (answer, _) = broker.wait_for("/credentials", |answer| answer.status == 403);
    assert!(answer.message().contains(CIRCLE), "{}", answer.message());
    assert!(!answer.message().contains("profile default → "), "standard error stays here: {}", answer.message());
    std::thread::sleep(Duration::from_secs(2));
    assert!(runs(&home) <= 2, "{} runs", runs(&home));
}

#[test]
fn daemon_reports_a_program_that_waits_for_the_daemon() {
    for is_socket in [false, true] {
        let home = Home::new();
        let (token_file, socket) = (home.path().join("run/token"), home.path().join("run/credenza.sock"));
        let listen = if is_socket { format!("unix:{}", socket.display()) } else { "127.0.0.1:0".into() };
        circle(&home, &format!("get --from-daemon --listen \"$(cat address)\" --token-file {}", token_file.display()));
        let config = "[identities.lazy]\neager = false\nsources = [\"profile\"]\n[identities.keys]\n\
                      sources = [{ access_key_id = \"AKIAKEYS\", secret_access_key = \"hush\" }]\n";
        home.write("credenza.toml", config);
        let broker = home.serve(&["--config", "credenza.toml", "--listen", &listen], &[]);
        home.write("address", if is_socket { listen } else { broker.address().to_string() });
        let command = |arguments: &[&str]| home.run(&[&["--config", "credenza.toml"], arguments].concat(), &[]);
        // Another identity of the daemon is no circle.
        let config_file = home.path().join(".aws/config");
        let written = fs::read_to_string(&config_file).unwrap();
        fs::write(&config_file, written.replace("get --from-daemon", "get --identity keys --from-daemon")).unwrap();
        let whoami = command(&["whoami", "lazy", "--json"]);
        assert!(whoami.code == Some(0) && whoami.json()["source"] == "profile", "{whoami:?}");
        fs::write(&config_file, written.replace("get --from-daemon", "get --identity lazy --from-daemon")).unwrap();
        let began = Instant::now();
        let mut status = String::new();
        until("the circle is reported", || {
            status = command(&["status", "--json", "--control-socket", "run/control.sock"]).stdout;
            status.contains(CIRCLE)
        });
        assert!(status.contains("misconfigured") && began.elapsed() < TIMEOUT / 2, "{status}");
    }
}

#[test]
fn nesting_that_ends_gives_credentials() {
    let home = Home::new();
    let printed = r#"{"Version":1,"AccessKeyId":"AKIAEND","SecretAccessKey":"hush-end"}"#;
    home.write("keys.json", printed);
    let get = |name: &str| format!("{} get --profile {name}", program());
    home.write(
        ".aws/config",
        format!(
            "[default]\ncredential_process = {}\n[profile 'my dev']\ncredential_process = {}\n[profile c]\n\
             credential_process = {} exec --profile end -- cat keys.json\n[profile end]\ncredential_process = cat keys.json\n",
            get("\"my dev\""),
            get("c"),
            program()
        ),
    );
    for command in [&["get"][..], &["get", "--profile", "my dev"]] {
        let ended = home.run(command, &[("CREDENZA_NESTED", "of,another/program")]);
        assert!(ended.code == Some(0) && ended.stdout.contains("AKIAEND"), "{ended:?}");
    }
}

#[test]
fn own_listener_is_no_source_by_any_name() {
    let home = Home::new();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let listen = format!("127.0.0.1:{port}");
    let hosts =
        ["127.0.0.1", "127.1", "2130706433", "0x7f.1", "localhost", "LOCALHOST", "[::ffff:127.0.0.1]", "0.0.0.0"];
    for host in hosts {
        let url = format!("http://{host}:{port}");
        let full = format!("{url}/credentials");
        for (variables, source) in [
            (vec![("AWS_CONTAINER_CREDENTIALS_FULL_URI", &*full)], "container"),
            (vec![("AWS_EC2_METADATA_SERVICE_ENDPOINT", &url), ("AWS_EC2_METADATA_DISABLED", "false")], "imds"),
        ] {
            let broker = home.serve(&["--listen", &listen], &variables);
            let (answer, took) = broker.wait_for("/credentials", |answer| answer.status == 403);
            let told = answer.message();
            // 0.0.0.0 is no loopback address, so plain http to it is refused before.
            let is_own =
                told.contains("is a listener of this process") || told.contains("plain http is sent to loopback");
            assert!(told.contains(source) && is_own && took < TIMEOUT / 2, "{url} {told}");
        }
    }
}
