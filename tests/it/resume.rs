//! A login in the middle of a command: a person at a terminal is asked, and the command goes on.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use testkit::harness::{HUSH, Home};
use testkit::oidc::{DEVICE, Oidc};
use testkit::signin::{Signin, cached};
use testkit::sso::Portal;
use testkit::sts::{Role, Sts};

use crate::terminal::Screen;

const START_URL: &str = "https://d.awsapps.com/start";
const ACCOUNT: &str = "123456789012";
const QUESTION: &str = "Log in now? [Y/n] ";
const CONFIG: &str = "[sso-session work]\nsso_start_url = https://d.awsapps.com/start\nsso_region = eu-west-1\n\
                      [profile dev]\nsso_session = work\nsso_account_id = 123456789012\nsso_role_name = Dev\n";

fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs()
}

/// A home with a profile of IAM Identity Center and no login, and a portal that gives every role to every token.
struct Stage {
    home: Home,
    oidc: Oidc,
    portal: Arc<Portal>,
}

impl Stage {
    fn new() -> Self {
        let home = Home::new();
        home.write(".aws/config", CONFIG);
        let (oidc, portal) = (Oidc::start(START_URL, now()), Arc::new(Portal::start((now() + 3600) * 1000)));
        oidc.set(|state| {
            let portal = Arc::clone(&portal);
            state.issued = Some(Box::new(move |token| portal.allow(token, ACCOUNT, "*")));
        });
        Self { home, oidc, portal }
    }

    fn variables(&self) -> [(&'static str, String); 4] {
        [
            ("AWS_ENDPOINT_URL_SSO", self.portal.endpoint()),
            ("AWS_ENDPOINT_URL_SSO_OIDC", self.oidc.endpoint()),
            ("CREDENZA_NO_BROWSER", "true".into()),
            ("RUST_LOG", "warn".into()),
        ]
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.home.command(arguments);
        command.envs(self.variables());
        command
    }

    fn logins(&self) -> usize {
        self.oidc.asked(DEVICE)
    }
}

const GET: &[&str] = &["get", "--profile", "dev"];
const EXEC: &[&str] = &["exec", "dev", "--", "sh", "-c", "echo $CREDENZA_ACTIVE; read line && echo $line"];

#[test]
fn command_goes_on_after_a_login() {
    for arguments in [GET, EXEC] {
        let stage = Stage::new();
        let mut screen = Screen::of(&stage.command(arguments));
        screen.wait_for(QUESTION);
        assert!(screen.shown().contains("SSO session work"), "{}", screen.shown());
        assert_eq!(stage.logins(), 0, "nothing happens before the answer");
        screen.types("\r");
        screen.wait_for("code ABCD-EFGH");
        screen.wait_for("logged in: SSO session work");
        if arguments == EXEC {
            // The command has the terminal, and what is typed after the answer.
            screen.types("typed\r");
        }
        let (code, printed) = screen.ends();
        let expected = if arguments == GET { "\"ASIA" } else { "dev " };
        assert!(code == Some(0) && printed.contains(expected), "{printed}: {}", screen.shown());
        assert!(arguments == GET || printed.ends_with("typed\n"), "{printed}");
        assert!(!screen.shown().contains(HUSH), "{}", screen.shown());
        // The next command finds the login.
        let mut screen = Screen::of(&stage.command(GET));
        assert_eq!(screen.ends().0, Some(0), "{}", screen.shown());
        assert!(!screen.shown().contains(QUESTION) && stage.logins() == 1, "{}", screen.shown());
    }
}

#[test]
fn only_the_flag_logs_in_without_a_question() {
    let stage = Stage::new();
    for answer in ["n\r", "no\r", "x\r", "\x04"] {
        let mut screen = Screen::of(&stage.command(EXEC));
        screen.wait_for(QUESTION);
        screen.types(answer);
        let (code, printed) = screen.ends();
        assert_eq!((code, &*printed), (Some(1), ""), "{answer:?}: {}", screen.shown());
        assert!(screen.shown().contains("run: credenza login --sso-session work"), "{}", screen.shown());
    }
    let mut screen = Screen::of(&stage.command(GET));
    screen.wait_for(QUESTION);
    screen.types("\x03");
    assert_eq!(screen.ends().0, Some(130), "{}", screen.shown());
    assert_eq!(stage.logins(), 0);
    let mut screen = Screen::of(&stage.command(&["get", "dev", "--login"]));
    let (code, printed) = screen.ends();
    assert!(code == Some(0) && printed.contains("\"ASIA"), "{}", screen.shown());
    assert!(!screen.shown().contains(QUESTION) && screen.shown().contains("code ABCD-EFGH"), "{}", screen.shown());
}

#[test]
fn program_without_a_terminal_is_never_asked() {
    let stage = Stage::new();
    for arguments in [&["get", "--profile", "dev", "--login"][..], &["exec", "dev", "--login", "--", "echo", "started"]]
    {
        let variables = stage.variables();
        let variables: Vec<(&str, &str)> = variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let ended = stage.home.run(arguments, &variables);
        assert!(ended.code == Some(1) && ended.stdout.is_empty(), "{ended:?}");
        assert!(ended.stderr.contains("run: credenza login --sso-session work"), "{ended:?}");
        assert!(!ended.stderr.contains("Log in now"), "{ended:?}");
    }
    assert_eq!(stage.logins(), 0);
}

#[test]
fn shell_gets_its_lines_after_a_login_for_the_daemon() {
    for arguments in [&["env", "dev"][..], &["get", "dev", "--from-daemon"]] {
        let stage = Stage::new();
        let variables = stage.variables();
        let variables: Vec<(&str, &str)> = variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
        stage.home.write("credenza.toml", "[identities.dev]\nsources = [{ profile = \"dev\" }]\n");
        let broker = stage.home.serve(&["--config", "credenza.toml"], &variables[..3]);
        broker.wait_for("/credentials/dev", |response| response.status == 403);
        let mut command = stage.command(arguments);
        command.env("CREDENZA_LISTEN", broker.address().to_string());
        let mut screen = Screen::of(&command);
        screen.wait_for(QUESTION);
        screen.types("y\r");
        let (code, printed) = screen.ends();
        let expected = if arguments[0] == "env" { "/credentials/dev'" } else { "\"ASIA" };
        assert!(code == Some(0) && printed.contains(expected), "{printed}: {}", screen.shown());
        assert!(!screen.shown().contains("has no credentials yet"), "{}", screen.shown());
    }
}

#[test]
fn shell_switches_after_a_login() {
    let stage = Stage::new();
    let shell =
        format!("eval \"$('{}' shell-switch --identity dev)\"; echo $AWS_ACCESS_KEY_ID", testkit::harness::program());
    let mut command = Command::new("sh");
    command.args(["-c", &shell]).env_clear().current_dir(stage.home.path());
    command.envs(stage.command(&[]).get_envs().filter_map(|(name, value)| Some((name, value?))));
    let mut screen = Screen::of(command.env("CREDENZA_LISTEN", testkit::server::nobody().to_string()));
    screen.wait_for(QUESTION);
    screen.types("\r");
    let (code, printed) = screen.ends();
    assert!(code == Some(0) && printed.starts_with("ASIA"), "{printed}: {}", screen.shown());
}

#[test]
fn aws_cli_logs_in_to_its_own_sessions() {
    let home = Home::new();
    let session = "arn:aws:iam::123456789012:user/me";
    home.write(".aws/config", format!("[profile dev]\nregion = us-east-1\nlogin_session = {session}\n"));
    let signin = Signin::start(now());
    let end = testkit::timestamp(SystemTime::now() + Duration::from_secs(600));
    home.write("fresh", cached("ASIALOGIN", &end, "hush-refresh"));
    // SHA-256 of the session.
    let file = "286187707741fc2ccb93cf9e56dbd0ee0a16208feed5fbc8ae1baa86d44c283f.json";
    let script = format!(
        "#!/bin/sh\necho \"aws $*\" \"$CREDENZA_LOGIN\"\nmkdir -p \"$HOME/.aws/login/cache\"\numask 077\n\
         cat \"$HOME/fresh\" > \"$HOME/.aws/login/cache/{file}\"\n"
    );
    fs::set_permissions(home.write("bin/aws", script), fs::Permissions::from_mode(0o700)).unwrap();
    let path = format!("{}:{}", home.path().join("bin").display(), std::env::var("PATH").unwrap());
    let mut command = home.command(&["get", "dev"]);
    command.env("PATH", path).env("AWS_ENDPOINT_URL_SIGNIN", signin.endpoint());
    let mut screen = Screen::of(command.env("RUST_LOG", "warn").env("CREDENZA_LOGIN", "false"));
    screen.wait_for(QUESTION);
    screen.types("\r");
    let (code, printed) = screen.ends();
    assert!(code == Some(0) && printed.contains("ASIALOGIN"), "{printed}: {}", screen.shown());
    // Its output is on standard error: standard output is that of `get`.
    assert!(screen.shown().contains("aws login --profile dev \r\n") && !printed.contains("aws login"), "{printed}");
}

#[test]
fn code_of_a_command_is_kept_by_the_daemon() {
    const REGION: &str = "eu-central-1";
    const ROLE: &str = "arn:aws:iam::123456789012:role/r";
    const DEVICE: &str = "arn:aws:iam::123456789012:mfa/me";
    const CODE: &str = "806317";
    let (home, sts) = (Home::new(), Sts::start(REGION));
    sts.allow(ROLE, Role { mfa: Some((DEVICE.into(), CODE.into())), ..Role::default() });
    let (id, secret) = (Sts::ACCESS_KEY_ID, Sts::SECRET_ACCESS_KEY);
    home.write(".aws/credentials", format!("[base]\naws_access_key_id = {id}\naws_secret_access_key = {secret}\n"));
    home.write(
        ".aws/config",
        format!("[profile dev]\nrole_arn = {ROLE}\nsource_profile = base\nmfa_serial = {DEVICE}\n"),
    );
    home.write("credenza.toml", "[identities.prod]\nsources = [{ profile = \"dev\" }]\n");
    let url = sts.url();
    let variables = [("AWS_ENDPOINT_URL_STS", &*url), ("AWS_REGION", REGION), ("RUST_LOG", "warn")];
    let broker = home.serve(&["--config", "credenza.toml"], &variables[..2]);
    broker.wait_for("/credentials/prod", |response| response.status == 403);
    let command = |arguments: &[&str]| {
        let mut command = home.command(arguments);
        command.envs(variables);
        command
    };
    let mut screen = Screen::of(&command(&["get", "dev"]));
    screen.wait_for("MFA code of identity prod: ");
    assert!(!screen.echoes());
    screen.types(&format!("{CODE}\r"));
    let (code, printed) = screen.ends();
    assert!(code == Some(0) && printed.contains("\"ASIA"), "{printed}: {}", screen.shown());
    assert!(!screen.shown().contains(CODE), "{}", screen.shown());
    // One code: the daemon has the session, and the next command needs no code.
    let mut screen = Screen::of(&command(&["exec", "dev", "--", "echo", "started"]));
    assert_eq!(screen.ends(), (Some(0), "started\n".to_owned()), "{}", screen.shown());
    assert_eq!(sts.actions().iter().filter(|action| *action == "GetSessionToken").count(), 1, "{:?}", sts.actions());
}
