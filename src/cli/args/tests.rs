use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use crate::cli::args::completions::CompletionShell;
use clap::ArgAction;

use crate::cli::args::*;
use crate::cli::command_options::PolicyOptions;
use crate::cli::control::complete_names::NameKind;
use crate::cli::env::EnvRequest;
use crate::cli::output::formats::{OutputFormat, ShellDialect};
use crate::config::Config;
use crate::config::server::AuthTokenConfig;
use crate::config::users::Account;
use crate::config::value::listen_address;
use crate::source::spec::{RoleSpec, SourceKind, SourceSpec, TextSource};

/// The variable with the arguments of a child process. The child runs this test program, since a test must not change
/// the variables of its own process.
const CHILD: &str = "ARGUMENTS_FOR_THE_CHILD";

fn run(line: &str, stdin: &str) -> Result<Invocation, String> {
    let arguments = std::iter::once("credenza").chain(line.split_whitespace());
    parse(arguments, &mut stdin.as_bytes()).map_err(|error| {
        assert_eq!(error.exit_code(), 2);
        error.to_string()
    })
}

fn valid(line: &str) -> Invocation {
    run(line, "").unwrap_or_else(|error| panic!("{line}: {error}"))
}

fn literal(text: &str) -> TextSource {
    TextSource::Literal(text.into())
}

fn status(name: Option<&str>, ready: bool, json: bool, watch: bool) -> Command {
    Command::Status(StatusRequest { name: name.map(Into::into), ready, json, watch })
}

#[test]
fn last_of_quiet_and_verbose_counts() {
    for (line, expected) in [
        ("status", Verbosity::Normal),
        ("-q check", Verbosity::Quiet),
        ("check -v", Verbosity::Verbose),
        ("get --quiet -v", Verbosity::Verbose),
        ("get -v --quiet", Verbosity::Quiet),
    ] {
        assert_eq!(valid(line).verbosity, expected, "{line}");
    }
    assert_eq!(valid("status --color never").color, ColorChoice::Never);
    assert!(run("status --color blue", "").unwrap_err().contains("blue"));
}

#[test]
fn every_flag_has_a_variable_and_hides_its_value() {
    let mut command = command();
    command.build();
    let mut flags = 0;
    let mut commands = vec![&command];
    while let Some(command) = commands.pop() {
        commands.extend(command.get_subcommands().filter(|command| command.get_name() != "help"));
        for arg in command.get_arguments() {
            let Some(long) = arg.get_long() else { continue };
            if matches!(
                arg.get_action(),
                ArgAction::Help | ArgAction::HelpShort | ArgAction::HelpLong | ArgAction::Version
            ) {
                continue;
            }
            flags += 1;
            let variable = format!("CREDENZA_{}", long.replace('-', "_").to_uppercase());
            assert_eq!(arg.get_env().and_then(|name| name.to_str()), Some(&*variable), "--{long}");
            assert!(arg.is_hide_env_values_set(), "--{long}");
            assert!(arg.get_help().is_some(), "--{long}");
        }
    }
    assert!(flags > 20, "{flags}");
    command.debug_assert();
}

#[test]
fn parses_every_command() {
    let get = |identity: &str, format| Command::Get {
        identity: IdentityChoice::Identity(identity.into()),
        format,
        from_daemon: false,
        login: false,
        mfa_code: None,
        role: None,
        policies: PolicyOptions::default(),
    };
    let env = |identity: &str, dialect| {
        Command::Env(EnvRequest { identity: identity.into(), dialect, shadow: false, login: false })
    };
    let request = |identity, command: &[&str]| ExecRequest {
        identity,
        from_daemon: false,
        login: false,
        mfa_code: None,
        keep_profiles: false,
        role: None,
        policies: PolicyOptions::default(),
        lifetime: None,
        command: command.iter().map(Into::into).collect(),
    };
    let exec =
        |identity: &str, command: &[&str]| Command::Exec(request(IdentityChoice::Identity(identity.into()), command));
    let named = |name: &str| IdentityChoice::IdentityOrProfile(name.into());
    let role = RoleSpec {
        arn: "arn:aws:iam::123456789012:role/r".into(),
        session_name: Some("me".into()),
        duration: Some(Duration::from_secs(7200)),
        ..RoleSpec::default()
    };
    for (line, expected) in [
        ("", Command::Serve),
        ("--profile dev", Command::Serve),
        ("serve", Command::Serve),
        ("get", get("default", OutputFormat::Process)),
        ("get --identity a/b --format env", get("a/b", OutputFormat::Env)),
        ("get --format powershell", get("default", OutputFormat::Powershell)),
        (
            "get --from-daemon --identity a --token-file t --listen 127.0.0.1:1",
            Command::Get {
                identity: IdentityChoice::Identity("a".into()),
                format: OutputFormat::Process,
                from_daemon: true,
                login: false,
                mfa_code: None,
                role: None,
                policies: PolicyOptions::default(),
            },
        ),
        ("env", env("default", ShellDialect::Env)),
        ("env --identity a --format fish --token-file t", env("a", ShellDialect::Fish)),
        (
            "env a --shadow",
            Command::Env(EnvRequest { identity: "a".into(), dialect: ShellDialect::Env, shadow: true, login: false }),
        ),
        ("env --unset --format fish", Command::EnvUnset(ShellDialect::Fish)),
        ("exec -- ls -l --help", exec("default", &["ls", "-l", "--help"])),
        ("exec --identity a -- ls", exec("a", &["ls"])),
        ("exec", exec("default", &[])),
        ("exec a/b -- ls", Command::Exec(request(named("a/b"), &["ls"]))),
        ("exec dev", Command::Exec(request(named("dev"), &[]))),
        (
            "exec dev --from-daemon -- ls",
            Command::Exec(ExecRequest { from_daemon: true, ..request(named("dev"), &["ls"]) }),
        ),
        (
            "exec a --role-arn arn:aws:iam::123456789012:role/r --session-name me --duration 2h -- ls",
            Command::Exec(ExecRequest { role: Some(role), ..request(named("a"), &["ls"]) }),
        ),
        ("check", Command::Check { verify: false }),
        ("status --ready", status(None, true, false, false)),
        ("status --json", status(None, false, true, false)),
        ("status --fail-within 30m", Command::StatusWarnings(Duration::from_secs(1800))),
        ("status --watch --json", status(None, false, true, true)),
        ("status a/b", status(Some("a/b"), false, false, false)),
        ("profiles --strict", Command::Profiles { json: false, strict: true }),
        ("completions zsh", Command::Completions(CompletionShell::Zsh)),
    ] {
        assert_eq!(valid(line).command, expected, "{line}");
    }
}

#[test]
fn parses_commands_of_the_control_socket() {
    for (line, expected) in [
        ("revoke build", ControlCommand::Revoke { name: "build".into(), json: false }),
        (
            "use prod --for 1h30m --json",
            ControlCommand::Use { identity: "prod".into(), period: Some(Duration::from_secs(5400)), json: true },
        ),
        ("whoami", ControlCommand::Whoami { identity: "default".into(), verify: false, json: false }),
        ("token show --client web", ControlCommand::ShowToken { client: Some("web".into()), json: false }),
        ("token rotate --json", ControlCommand::RotateToken { client: None, json: true }),
        ("mfa a --mfa-code -", ControlCommand::Mfa { identity: "a".into(), code: Some("123456".into()), json: false }),
        ("mfa a", ControlCommand::Mfa { identity: "a".into(), code: None, json: false }),
        ("complete-names grants", ControlCommand::CompleteNames(NameKind::Grants)),
    ] {
        let invocation = run(&format!("{line} --control-socket /s"), "123456\n").unwrap();
        assert_eq!(invocation.command, Command::Control(expected), "{line}");
        assert_eq!(invocation.overrides.control_socket.as_deref(), Some(Path::new("/s")));
    }
    let line = "grant build --identity dev --for 90s --policy p --policy-arn arn:aws:iam::aws:policy/A,arn:aws:iam::aws:policy/B --client-file f --replace --format fish";
    let Command::Control(ControlCommand::Grant(grant)) = valid(line).command else { panic!() };
    assert_eq!((grant.name.as_str(), grant.identity.as_str(), grant.period.as_secs()), ("build", "dev", 90));
    assert_eq!((grant.policies.policy_arn.len(), grant.replace, grant.dialect), (2, true, Some(ShellDialect::Fish)));
    assert_eq!((grant.policies.policy, grant.client_file), (Some("p".into()), Some("f".into())));
    let Command::Control(ControlCommand::Grant(grant)) = valid("grant a --identity b --for 1s --json").command else {
        panic!()
    };
    assert_eq!(grant.dialect, None);
}

#[test]
fn usage_errors_say_what_to_do() {
    for (line, expected) in [
        ("--access-key-id A", "add --secret-access-key-file"),
        ("--secret-access-key hunter2", "add --access-key-id"),
        ("--session-token hunter2", "--access-key-id and"),
        ("--access-key-id A --secret-access-key=", "--secret-access-key: the secret access key is empty"),
        ("--url http://k:s@h --url-file f", "--url and --url-file are both given"),
        ("--url http://hunter2@h", "--url: the user info of the URL is half a key pair"),
        ("--url http://k:hun/ter2@h", "%2F"),
        ("--url-file -", "--url-file: the URL does not begin"),
        ("--url-file - --auth-token-file -", "--url-file and --auth-token-file both read standard input"),
        ("--auth-token hunter2", "--auth-token: "),
        ("--auth-token-file t --token-file u", "remove --token-file, or --auth-token"),
        ("get --from-daemon --profile dev", "--profile has no meaning for `credenza get --from-daemon`"),
        ("get --from-daemon --mfa-code 1", "--mfa-code has no meaning"),
        ("env --url-file u", "--url-file has no meaning for `credenza env`"),
        ("env --format ecs", "possible values: env, dotenv, fish, powershell"),
        ("get --profile dev --identity minio", "--profile would configure the identity default"),
        ("get --identity=", "1 to 256 bytes"),
        ("get --listen 127.0.0.1:1", "--listen has no meaning for `credenza get`"),
        ("--imds-listen 10.0.0.1:80", "other hosts must not reach it"),
        ("check --imds-listen 127.0.0.1", "write it like 127.0.0.1:9733"),
        ("--imds-identity=", "1 to 256 bytes"),
        ("--imds-listen 127.0.0.1:1 status", "--imds-listen has no meaning for `credenza status`"),
        ("get --imds-allow-v1", "--imds-allow-v1 has no meaning for `credenza get`"),
        ("get --from-daemon --imds-identity a", "--imds-identity has no meaning for `credenza get --from-daemon`"),
        ("exec --imds-identity a -- ls", "--imds-identity has no meaning for `credenza exec`"),
        ("env --imds-identity a", "--imds-identity has no meaning for `credenza env`"),
        ("login --imds-identity a", "--imds-identity has no meaning for `credenza login`"),
        ("profiles --imds-identity a", "--imds-identity has no meaning for `credenza profiles`"),
        ("exec --allow-remote -- ls", "--allow-remote has no meaning for `credenza exec`"),
        ("grants --profile dev", "--profile has no meaning for `credenza grants`"),
        ("token show --imds-identity a", "--imds-identity has no meaning for `credenza token show`"),
        ("get --from-daemon --control-socket s", "--control-socket has no meaning for `credenza get --from-daemon`"),
        ("grant a --identity b --for 1m --json --format env", "--json and --format are both given"),
        ("status --profile dev", "--profile has no meaning for `credenza status`"),
        ("exec ls x", "write the command after --: credenza exec -- ls x …, or credenza exec ls -- x …"),
        ("exec a --identity b -- ls", "a and --identity b both name an identity"),
        ("exec a --profile b -- ls", "--profile would configure the identity default, and the first argument names a"),
        ("exec a --session-name me -- ls", "--session-name is about the role of --role-arn; add --role-arn"),
        ("exec a --from-daemon --for 1h -- ls", "--for has no meaning with --from-daemon"),
        ("exec a --from-daemon --policy p -- ls", "--policy and --policy-arn"),
        ("exec --role-arn admin -- ls", "not the ARN of a role"),
        ("env --unset --format dotenv", "a .env file cannot unset variables"),
        ("env --unset --shadow", "--shadow"),
        ("status --fail-within 30m --json", "--json"),
        ("get a b", "b is a second name; remove it"),
        ("get --format xml", "process"),
        ("--listen localhost:1", "127.0.0.1:9733"),
        ("--listen unix:relative", "not the absolute path of a Unix socket"),
        ("--log-level inof", "info, debug"),
        ("--log-format xml", "json"),
        ("--profil dev", "'--profile'"),
        ("sreve", "serve"),
    ] {
        let stdin = if line.contains("--url-file - --auth") { "http://k:hunter2@h" } else { "hunter2" };
        let error = run(line, stdin).expect_err(line);
        assert!(error.contains(expected), "{line}\n{error}");
        assert!(!error.contains("hunter2"), "{line}\n{error}");
    }
}

#[test]
fn source_flags_build_a_chain() {
    let keys = SourceKind::Static { access_key_id: literal("A"), secret_access_key: literal("s"), session_token: None };
    let profile = |name: Option<&str>, credentials_file: Option<&str>| SourceKind::Profile {
        name: name.map(Into::into),
        credentials_file: credentials_file.map(Into::into),
        config_file: None,
    };
    let (container, imds) = (SourceKind::Container, SourceKind::Imds { allow_v1: false });
    let url = SourceKind::Url(TextSource::File("u".into()));
    let environment = SourceKind::Environment;
    for (line, expected) in [
        ("", None),
        ("--region eu", None),
        ("--listen 127.0.0.1:1", None),
        (
            "--access-key-id A --secret-access-key s",
            Some(vec![keys.clone(), environment.clone(), profile(None, None), container.clone(), imds.clone()]),
        ),
        (
            "get --url-file u",
            Some(vec![url.clone(), environment, profile(None, None), container.clone(), imds.clone()]),
        ),
        ("--profile dev", Some(vec![profile(Some("dev"), None), container.clone(), imds.clone()])),
        (
            "--url-file u check --credentials-file c --access-key-id A --secret-access-key s",
            Some(vec![keys, url, profile(None, Some("c")), container, imds]),
        ),
    ] {
        let expected = expected.map(|kinds| kinds.into_iter().map(SourceSpec::from).collect::<Vec<_>>());
        assert_eq!(valid(line).overrides.sources, expected, "{line}");
    }
}

#[test]
fn parses_server_flags() {
    let addresses = ["127.0.0.1:1", "[::1]:2", "[::1]:3", "unix:/s"].map(|text| listen_address(text).unwrap()).to_vec();
    let line =
        "--listen 127.0.0.1:1 serve --listen [::1]:2,[::1]:3,unix:/s --allow-remote --token-file t --token-group 5";
    let overrides = valid(line).overrides;
    assert_eq!(overrides.listen.as_deref(), Some(&addresses[1..]), "clap uses the values after the command");
    assert_eq!((overrides.allow_remote, overrides.token_group), (Some(true), Some(Account::Id(5))));
    assert_eq!(overrides.token, Some(AuthTokenConfig::Kept(Some("t".into()))));
    assert_eq!(
        valid("--listen 127.0.0.1:1 --listen [::1]:2 --listen [::1]:3,unix:/s").overrides.listen,
        Some(addresses)
    );
    assert_eq!(valid("").overrides, Overrides::default());
    let read = valid("--auth-token-file t").overrides.token;
    assert_eq!(read, Some(AuthTokenConfig::Given(TextSource::File("t".into()))));
}

#[test]
fn parses_imds_flags() {
    let addresses: Vec<SocketAddr> = ["127.0.0.1:1", "[::1]:2"].map(|text| text.parse().unwrap()).to_vec();
    for line in ["--imds-listen 127.0.0.1:1,[::1]:2", "check --imds-listen 127.0.0.1:1 --imds-listen [::1]:2"] {
        let overrides = valid(line).overrides;
        assert_eq!(overrides, Overrides { imds_listen: Some(addresses.clone()), ..Overrides::default() }, "{line}");
    }
    let overrides = valid("serve --imds-identity a/b --imds-allow-v1").overrides;
    assert_eq!((overrides.imds_identity, overrides.imds_allow_v1), (Some("a/b".into()), Some(true)));
}

#[test]
fn reads_standard_input_at_once() {
    let long = "0123456789abcdef0123456789abcdef";
    let invocation = run("--auth-token-file -", &format!("{long}\n")).unwrap();
    assert_eq!(invocation.overrides.token, Some(AuthTokenConfig::Given(literal(long))));
    let invocation = run("--access-key-id A --secret-access-key-file -", "hunter2\n").unwrap();
    let sources = invocation.overrides.sources.unwrap();
    let SourceKind::Static { secret_access_key, .. } = &sources[0].kind else { panic!("{sources:?}") };
    assert_eq!(secret_access_key, &literal("hunter2"));
    assert!(invocation.warnings.is_empty());
    assert!(run("--url-file -", &"x".repeat(70_000)).unwrap_err().contains("longer than 64 kB"));
}

#[test]
fn secret_on_the_command_line_gives_a_warning() {
    for (line, expected) in [
        ("--url http://k:hunter2@h", 1),
        ("--access-key-id A --secret-access-key hunter2 --session-token hunter2", 2),
        ("--access-key-id A --secret-access-key-file f", 0),
    ] {
        let invocation = valid(line);
        assert_eq!(invocation.warnings.len(), expected, "{line}");
        assert!(!format!("{invocation:?}").contains("hunter2"));
    }
    assert!(valid("--url http://k:s@h").warnings[0].contains("--url-file"));
}

const IN_THE_FILE: &[u8] = b"[server]\ntoken_file = \"/from-file\"\nallow_remote = true\n\
    [imds]\nlisten = \"127.0.0.1:5\"\nidentity = \"default\"\nallow_v1 = true\n\
    [identities.a]\nsources = [\"imds\"]\n[identities.b]\nsources = [\"imds\"]\n";

/// The child process of other tests: prints the result of its arguments and variables.
#[test]
fn child() {
    let Some(line) = std::env::var_os(CHILD) else { return };
    match run(line.to_str().unwrap(), "") {
        Ok(invocation) => {
            let config = Config::parse(IN_THE_FILE, &invocation.overrides).unwrap();
            let (server, sources) = (&config.server, &config.identities["default"].sources);
            let show = |text: &TextSource| match text {
                TextSource::Literal(secret) => secret.expose().to_owned(),
                TextSource::File(path) => path.display().to_string(),
            };
            let first = match &sources[0].kind {
                SourceKind::Static { access_key_id, secret_access_key, .. } => {
                    format!("{}:{}", show(access_key_id), show(secret_access_key))
                }
                SourceKind::Url(url) => show(url),
                other => format!("{other:?}"),
            };
            let token = match &server.token {
                AuthTokenConfig::Given(text) => show(text),
                AuthTokenConfig::Kept(path) => format!("{path:?}"),
            };
            print_line(&format!(
                "first={first} token={token} remote={} warnings={}",
                server.allow_remote,
                invocation.warnings.len()
            ));
            print_line(&format!("{:?} {:?}", server.listen, invocation.command));
            let imds = config.imds.unwrap();
            print_line(&format!("imds={:?} {} v1={}", imds.listen, imds.identity, imds.allow_v1));
        }
        Err(error) => print_line(&error),
    }
}

#[allow(clippy::print_stdout, reason = "the parent process reads it")]
fn print_line(text: &str) {
    println!("{text}");
}

/// Runs the child with these variables, `NAME=value` for `CREDENZA_NAME`, separated by `|`.
fn run_with(line: &str, variables: &str) -> String {
    let variables = variables.split_terminator('|').map(|variable| variable.split_once('=').unwrap());
    let mut child = std::process::Command::new(std::env::current_exe().unwrap());
    child.args(["cli::args::tests::child", "--exact", "--nocapture"]).env_clear().env(CHILD, line);
    child.envs(variables.map(|(name, value)| (format!("CREDENZA_{name}"), value)));
    let output = child.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn flags_beat_variables_and_variables_beat_the_file() {
    const TOKEN: &str = "0123456789abcdef0123456789abcdef";
    for (line, variables, expected) in [
        ("", "", "first=Environment token=Some(\"/from-file\") remote=true warnings=0 | Default Serve"),
        ("", "URL=http://k:s@h", "first=http://k:s@h | warnings=0"),
        ("--url http://k:flag@h", "URL=http://k:s@h", "first=http://k:flag@h | warnings=1"),
        ("get --url-file flag", "URL=http://k:s@h", "first=flag | warnings=0"),
        ("get --url http://k:s@h", "URL_FILE=variable", "first=http://k:s@h"),
        ("", "URL=http://k:s@h|URL_FILE=f", "CREDENZA_URL and CREDENZA_URL_FILE are both given"),
        ("--access-key-id A", "SECRET_ACCESS_KEY=s", "first=A:s | warnings=0"),
        ("", "ACCESS_KEY_ID=A", "half a key pair"),
        (
            "",
            "ACCESS_KEY_ID= |URL=|LISTEN=|ALLOW_REMOTE=|IMDS_LISTEN=|IMDS_IDENTITY=|IMDS_ALLOW_V1=",
            "first=Environment | Default Serve | imds=[127.0.0.1:5] default v1=true",
        ),
        ("", "IMDS_LISTEN=127.0.0.1:1,[::1]:2|IMDS_ALLOW_V1=no", "imds=[127.0.0.1:1, [::1]:2] default v1=false"),
        ("", "IMDS_IDENTITY=a", "imds=[127.0.0.1:5] a v1=true"),
        (
            "serve --imds-listen [::1]:3 --imds-identity b --imds-allow-v1",
            "IMDS_LISTEN=127.0.0.1:1|IMDS_IDENTITY=a|IMDS_ALLOW_V1=false",
            "imds=[[::1]:3] b v1=true",
        ),
        ("", "IMDS_LISTEN=10.0.0.1:80", "other hosts must not reach it"),
        ("get", "IMDS_IDENTITY=a", "Get"),
        ("", "ALLOW_REMOTE=false", "remote=false"),
        ("--allow-remote", "ALLOW_REMOTE=no", "remote=true"),
        ("", "TOKEN_FILE=/v", "token=Some(\"/v\")"),
        ("--token-file /f", &format!("AUTH_TOKEN={TOKEN}"), "token=Some(\"/f\")"),
        ("--auth-token-file /f", "TOKEN_FILE=/v", "token=/f"),
        ("", &format!("AUTH_TOKEN={TOKEN}|TOKEN_FILE=/v"), "remove --token-file"),
        ("", "LISTEN=127.0.0.1:1,[::1]:2", "[Tcp(127.0.0.1:1), Tcp([::1]:2)]"),
        ("", "LISTEN=unix:/s,[::1]:2", "[Unix(\"/s\"), Tcp([::1]:2)]"),
        ("get", "IDENTITY=minio|PROFILE=dev", "CREDENZA_PROFILE would configure the identity default"),
        ("get --profile flag", "PROFILE=variable|LISTEN=127.0.0.1:1", "Some(\"flag\") | Get"),
    ] {
        let shown = run_with(line, variables);
        for expected in expected.split(" | ") {
            assert!(shown.contains(expected), "{line} {variables:?}\n{shown}\ndoes not contain {expected}");
        }
    }
    let help = run_with("--help-me", "SECRET_ACCESS_KEY=hunter2");
    assert!(help.contains("--help") && !help.contains("hunter2"), "{help}");
}

/// `CREDENZA_SET` is a note for later commands in a shell, not the value of a flag.
#[test]
fn no_flag_reads_the_list_of_own_variables() {
    let command = command();
    let commands: Vec<_> = std::iter::once(&command).chain(command.get_subcommands()).collect();
    let read: Vec<_> =
        commands.iter().flat_map(|command| command.get_arguments()).filter_map(clap::Arg::get_env).collect();
    assert!(read.contains(&"CREDENZA_LISTEN".as_ref()) && read.contains(&"CREDENZA_FORMAT".as_ref()));
    assert!(!read.contains(&"CREDENZA_SET".as_ref()));
}

fn printed(line: &str) -> String {
    let arguments = std::iter::once("credenza").chain(line.split_whitespace());
    let error = parse(arguments, &mut &b""[..]).unwrap_err();
    assert_eq!(error.exit_code(), 0, "{line}: {error}");
    error.to_string()
}

#[test]
fn help_shows_what_belongs_to_the_command() {
    fn visit(command: &clap::Command, path: &str, seen: &mut usize) {
        for subcommand in command.get_subcommands().filter(|command| !command.is_hide_set()) {
            let path = format!("{path} {}", subcommand.get_name());
            let short = printed(&format!("{path} --help"));
            assert!(short.contains("Example"), "{path}: {short}");
            assert!(short.contains(&format!("credenza{path} --help-all")), "{path}: {short}");
            for shared in ["--secret-access-key", "--token-group", "--log-format ", "--imds-listen"] {
                assert!(!short.contains(shared), "{path} shows {shared}");
                assert!(printed(&format!("{path} --help-all")).contains(shared), "{path} hides {shared}");
            }
            *seen += 1;
            visit(subcommand, &path, seen);
        }
    }
    let mut command = command();
    command.build();
    let mut seen = 0;
    visit(&command, "", &mut seen);
    assert!(seen > 20, "{seen}");
    assert!(!printed("--help").contains("--token-group") && printed("--help-all").contains("--token-group"));
}

#[test]
fn help_command_prints_help() {
    assert_eq!(printed("help"), printed("--help"));
    assert_eq!(printed("help exec"), printed("exec --help"));
    assert_eq!(printed("help --all token rotate"), printed("token rotate --help-all"));
    assert!(run("help exce", "").unwrap_err().contains("'exec'"));
    assert!(run("help exec -- --", "").unwrap_err().contains("takes the name of a command"));
}
