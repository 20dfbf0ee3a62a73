//! Commands at a real terminal, with a user that types.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, tcgetattr};

use testkit::control::ControlServer;
use testkit::harness::{Home, until, wrapped};
use testkit::server::{Reply, Seen};
use testkit::sts::{Role, Sts};

const REGION: &str = "eu-central-1";
const ROLE: &str = "arn:aws:iam::123456789012:role/r";
const DEVICE: &str = "arn:aws:iam::123456789012:mfa/me";
const QUESTION: &str = "MFA code of arn:aws:iam::123456789012:mfa/me: ";
const CODE: &str = "806317";

/// A terminal and the program that it controls; standard output goes elsewhere, as in `$(credenza get)`.
pub(crate) struct Screen {
    terminal: File,
    shown: Arc<Mutex<String>>,
    reader: Option<std::thread::JoinHandle<()>>,
    child: Child,
}

impl Screen {
    /// Runs a command with this terminal as its controlling terminal.
    pub(crate) fn of(command: &Command) -> Self {
        let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&terminal).unwrap();
        unlockpt(&terminal).unwrap();
        let name = ptsname(&terminal, Vec::new()).unwrap().into_string().unwrap();
        let open = || Stdio::from(OwnedFd::from(OpenOptions::new().read(true).write(true).open(&name).unwrap()));
        // `setsid --ctty` makes standard input the controlling terminal of a new session.
        let mut session = wrapped(&["setsid", "--ctty"], command);
        let child = session.stdin(open()).stdout(Stdio::piped()).stderr(open()).spawn().unwrap();
        // Closes our copies of the descriptors that the command has.
        drop(session);
        let terminal = File::from(terminal);
        let shown = Arc::<Mutex<String>>::default();
        let (mut screen, into) = (terminal.try_clone().unwrap(), Arc::clone(&shown));
        let reader = std::thread::spawn(move || {
            let mut chunk = [0; 1024];
            // The read fails after the last process with the other end has exited.
            while let Ok(read @ 1..) = screen.read(&mut chunk) {
                into.lock().unwrap().push_str(&String::from_utf8_lossy(&chunk[..read]));
            }
        });
        Self { terminal, shown, reader: Some(reader), child }
    }

    pub(crate) fn shown(&self) -> String {
        self.shown.lock().unwrap().clone()
    }

    pub(crate) fn wait_for(&self, text: &str) {
        until(text, || self.shown().contains(text));
    }

    pub(crate) fn echoes(&self) -> bool {
        tcgetattr(&self.terminal).unwrap().local_modes.contains(LocalModes::ECHO)
    }

    pub(crate) fn types(&mut self, text: &str) {
        self.terminal.write_all(text.as_bytes()).unwrap();
    }

    /// Returns the exit code and the standard output. After that, the shown text is complete.
    pub(crate) fn ends(&mut self) -> (Option<i32>, String) {
        let code = testkit::harness::wait(&mut self.child).code();
        let mut printed = String::new();
        self.child.stdout.take().unwrap().read_to_string(&mut printed).unwrap();
        self.reader.take().unwrap().join().unwrap();
        (code, printed)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Creates a role that requires an MFA code.
fn stage() -> (Home, Sts) {
    let (home, sts) = (Home::new(), Sts::start(REGION));
    sts.allow(ROLE, Role { mfa: Some((DEVICE.into(), CODE.into())), ..Role::default() });
    let base = format!(
        "[base]\naws_access_key_id = {}\naws_secret_access_key = {}\n",
        Sts::ACCESS_KEY_ID,
        Sts::SECRET_ACCESS_KEY
    );
    home.write(".aws/credentials", base);
    let role = format!("[profile dev]\nrole_arn = {ROLE}\nsource_profile = base\nmfa_serial = {DEVICE}\n");
    home.write(".aws/config", role);
    (home, sts)
}

fn command(home: &Home, sts: &Sts, arguments: &[&str]) -> Command {
    let mut command = home.command(arguments);
    command.env("AWS_ENDPOINT_URL_STS", sts.url()).env("AWS_REGION", REGION).env("RUST_LOG", "warn");
    command
}

const GET: &[&str] = &["get", "--profile", "dev"];
const EXEC: &[&str] = &["exec", "--profile", "dev", "--", "sh", "-c", "echo lent; read line && echo $line"];

#[test]
fn reads_the_mfa_code_without_echo() {
    for arguments in [GET, EXEC] {
        let (home, sts) = stage();
        let mut screen = Screen::of(&command(&home, &sts, arguments));
        screen.wait_for(QUESTION);
        assert!(!screen.echoes(), "{arguments:?}");
        screen.types(&format!("{CODE}\r"));
        if arguments == EXEC {
            // The terminal of the child has its earlier settings.
            until("the terminal echoes", || screen.echoes());
            screen.types("typed\r");
        }
        let (code, printed) = screen.ends();
        assert_eq!(code, Some(0), "{arguments:?}: {}", screen.shown());
        assert!(screen.echoes(), "{arguments:?}");
        let expected = if arguments == GET { "ASIA1" } else { "lent\ntyped\n" };
        assert!(printed.contains(expected), "{printed}");
        assert!(
            !screen.shown().contains(CODE) && screen.shown().starts_with(&format!("{QUESTION}\r\n")),
            "{:?}",
            screen.shown()
        );
        let [form] = &sts.forms()[..] else { panic!("{:?}", sts.actions()) };
        for (name, value) in [("TokenCode", CODE), ("SerialNumber", DEVICE)] {
            assert!(form.iter().any(|(key, given)| key == name && given == value), "{form:?}");
        }
    }
}

#[test]
fn restores_the_terminal_after_an_interrupt() {
    for arguments in [GET, EXEC, &["check", "-v", "--profile", "dev"]] {
        let (home, sts) = stage();
        let mut screen = Screen::of(&command(&home, &sts, arguments));
        screen.wait_for(QUESTION);
        assert!(!screen.echoes());
        screen.types("12\x03");
        let (code, printed) = screen.ends();
        assert_eq!((code, &*printed), (Some(130), ""), "{arguments:?}: {}", screen.shown());
        assert!(screen.echoes(), "{arguments:?}");
        assert_eq!(screen.shown(), format!("{QUESTION}\r\n"), "{arguments:?}");
        assert!(sts.actions().is_empty());
    }
}

#[test]
fn hands_the_mfa_code_to_the_daemon_unseen() {
    let home = Home::new();
    let answer = |_: &Seen| Reply::ok(r#"{"identity": "prod", "until": null}"#);
    let server = ControlServer::start(&home.path().join("run/control.sock"), answer);
    home.write(
        ".aws/config",
        format!("[profile prod]\nrole_arn = {ROLE}\nsource_profile = base\nmfa_serial = {DEVICE}\n"),
    );
    let (code, interrupt) = (format!("{CODE}\r"), "12\x03".to_owned());
    let commands = [&["mfa", "prod"][..], &["login", "--profile", "prod"]];
    for (arguments, typed) in commands.into_iter().flat_map(|command| [(command, &code), (command, &interrupt)]) {
        let mut screen = Screen::of(home.command(arguments).env("RUST_LOG", "warn"));
        screen.wait_for(if arguments[0] == "mfa" {
            "MFA code of identity prod: "
        } else {
            "MFA code of identity default: "
        });
        assert!(!screen.echoes());
        screen.types(typed);
        let (code, printed) = screen.ends();
        let expected =
            if typed.starts_with(CODE) { (Some(0), "identity prod has an MFA session\n") } else { (Some(130), "") };
        assert_eq!((code, &*printed), expected, "{}", screen.shown());
        assert!(screen.echoes() && !screen.shown().contains(CODE), "{:?}", screen.shown());
    }
    let mut seen = server.take();
    seen.retain(|seen| seen.target == "/mfa");
    assert_eq!(seen.len(), 2, "an interrupt sends nothing");
    assert!(seen.iter().all(|seen| String::from_utf8_lossy(&seen.body).contains(CODE)));
}

#[test]
fn names_the_option_without_a_terminal() {
    for arguments in [GET, EXEC] {
        let (home, sts) = stage();
        let output = wrapped(&["setsid", "--wait"], &command(&home, &sts, arguments)).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        let told = format!("mfa_serial {DEVICE}: there is no terminal to ask at; give --mfa-code");
        assert!(said.contains(&told) && output.stdout.is_empty(), "{said}");
    }
}

#[test]
fn credential_process_prompts_at_terminal_or_stderr() {
    let print = r#"echo "{\"Version\":1,\"AccessKeyId\":\"AKIA$pin\",\"SecretAccessKey\":\"s\"}""#;
    for question in ["printf 'PIN? ' >/dev/tty; read pin </dev/tty", "printf 'PIN? ' >&2; read pin"] {
        for arguments in [GET, &["exec", "--profile", "dev", "--", "echo", "lent AKIA77"]] {
            let (home, sts) = stage();
            home.write(".aws/config", format!("[profile dev]\ncredential_process = {question}; {print}\n"));
            let mut screen = Screen::of(&command(&home, &sts, arguments));
            screen.wait_for("PIN? ");
            screen.types("77\r");
            let (code, printed) = screen.ends();
            assert!(code == Some(0) && printed.contains("AKIA77"), "{question}: {printed} {}", screen.shown());
        }
    }
}

/// Returns the screen of a command whose standard output is a terminal of this width as well.
fn at_width(home: &Home, columns: usize, arguments: &str) -> Screen {
    let script = format!("stty cols {columns}; exec \"$0\" {arguments} >&2");
    let mut command = wrapped(&["sh", "-c", &script], &home.command(&[]));
    command.env("RUST_LOG", "error");
    Screen::of(&command)
}

#[test]
fn error_has_place_answer_and_remedy_on_lines_of_their_own() {
    let (home, sts) = stage();
    home.write(".aws/config", format!("[profile dev]\nrole_arn = {ROLE}x\nsource_profile = base\n"));
    let mut screen = Screen::of(&command(&home, &sts, GET));
    assert_eq!(screen.ends().0, Some(1));
    let shown = screen.shown().replace("\r\n", "\n");
    let lines: Vec<&str> = shown.lines().collect();
    assert!(lines[0].starts_with("credenza: identity default: profile dev: AssumeRole"), "{shown}");
    for label in ["\n    at: ~/.aws/config:", "\n  said: AccessDenied: ", "\n   try: "] {
        assert!(shown.contains(label), "{label}: {shown}");
    }
    assert_eq!(shown.matches("profile dev").count(), 1, "{shown}");
    assert!(lines.iter().all(|line| line.chars().count() <= 80), "{shown}");
    let output = command(&home, &sts, GET).output().unwrap();
    let one = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(one.lines().count() == 1 && one.matches("profile dev").count() == 1, "{one}");
}

#[test]
fn status_fits_the_terminal_and_has_colours() {
    let home = Home::new();
    let long = "a".repeat(90);
    home.write(
        "credenza.toml",
        format!("[identities.{long}]\nsources = [\"environment\"]\n[identities.gone]\nsources = [{{ profile = \"gone\" }}]\n"),
    );
    let broker = home.serve(&["--config", "credenza.toml"], &testkit::harness::KEYS);
    broker.wait_for("/credentials/gone", |answer| answer.status == 503);
    for columns in [40, 60, 80, 120] {
        let mut screen = at_width(&home, columns, &format!("status --listen {}", broker.address()));
        assert_eq!(screen.ends().0, Some(0), "{}", screen.shown());
        let shown = screen.shown();
        assert!(shown.contains("gone") && !shown.contains('\x1b'), "TERM is not set: {shown}");
        assert!(shown.lines().all(|line| line.trim_end().chars().count() <= columns), "{columns}: {shown}");
    }
    let arguments = format!("status --color always --listen {}", broker.address());
    let mut screen = at_width(&home, 80, &arguments);
    screen.ends();
    assert!(screen.shown().contains("\x1b[1;31mfailing\x1b[0m"), "{}", screen.shown());
}

#[test]
fn terminal_shows_a_long_wait_and_removes_it() {
    let body = r#"{"AccessKeyId":"ASIA1","SecretAccessKey":"hush","Token":"t","Expiration":"2035-01-01T00:00:00Z"}"#;
    let server = testkit::server::Server::start(move |_| {
        std::thread::sleep(std::time::Duration::from_millis(1300));
        Reply::ok(body)
    });
    let home = Home::new();
    let run = |arguments: &[&str]| {
        let mut command = home.command(arguments);
        command.env("AWS_CONTAINER_CREDENTIALS_FULL_URI", server.url("/")).env("RUST_LOG", "warn");
        command
    };
    let mut screen = Screen::of(&run(&["get"]));
    let (code, printed) = screen.ends();
    assert!(code == Some(0) && printed.contains("ASIA1"), "{printed} {}", screen.shown());
    let host = server.url("").trim_start_matches("http://").trim_end_matches('/').to_owned();
    assert_eq!(screen.shown(), format!("\r\x1b[Kasking {host}… 1 s\r\x1b[K"));
    let mut screen = Screen::of(&run(&["get", "-q"]));
    assert_eq!((screen.ends().0, screen.shown()), (Some(0), String::new()));
    let output = run(&["get"]).output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
}
