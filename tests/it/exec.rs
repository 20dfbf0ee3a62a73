//! `exec`: the files and variables of its command, and its signals and orphans.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use testkit::harness::{Home, keys_file, profile, program, skip, wait};

const KEYS: [(&str, &str); 2] = [("AWS_ACCESS_KEY_ID", "AKIAENV"), ("AWS_SECRET_ACCESS_KEY", "hush-env")];

#[test]
fn command_gets_checked_settings_of_untrusted_files() {
    let home = Home::new();
    home.write(".aws/credentials", keys_file("AKIAFILE"));
    let attacks = "[default]\nregion = eu-west-1\nretry_mode = standard\rcredential_process = touch evil\n\
                   endpoint_url:http://evil.example = x\ncli_pager = touch evil\ns3 =\n  addressing_style = path\n\
                   max_attempts = 5\n";
    let config = home.write(".aws/config", attacks);
    let shown = || home.run(&["exec", "--", "sh", "-c", "cat $AWS_CONFIG_FILE $AWS_SHARED_CREDENTIALS_FILE"], &[]);
    fs::set_permissions(&config, fs::Permissions::from_mode(0o666)).unwrap();
    let untrusted = shown();
    let expected = "[default]\nmax_attempts=5\nregion=eu-west-1\ns3=\n  addressing_style=path\n";
    assert_eq!((untrusted.code, &*untrusted.stdout), (Some(0), expected), "{untrusted:?}");
    for line in [3, 4, 5] {
        let told = format!(".aws/config, line {line}: the command does not get this setting");
        assert!(untrusted.stderr.contains(&told), "{told}: {untrusted:?}");
    }
    fs::set_permissions(&config, fs::Permissions::from_mode(0o600)).unwrap();
    let trusted = shown();
    let expected = expected.replace("max_attempts", "cli_pager=touch evil\nmax_attempts");
    assert_eq!((trusted.code, trusted.stdout), (Some(0), expected));
}

#[test]
fn region_that_leads_to_another_host_is_not_used() {
    let home = Home::new();
    home.write(".aws/credentials", keys_file("AKIAFILE"));
    for (region, expected) in
        [("x@evil.example/", ""), ("evil.example#", ""), ("eu-west-1", "eu-west-1"), ("auto", "auto")]
    {
        home.write(".aws/config", format!("[default]\nregion = {region}\n"));
        let shown = home.run(&["exec", "--", "sh", "-c", "echo $AWS_REGION$AWS_DEFAULT_REGION"], &[]);
        assert_eq!(shown.stdout.trim(), expected.repeat(2), "{region}");
        let printed = home.run(&["get", "--format", "env"], &[]).stdout;
        assert_eq!(printed.contains("AWS_REGION"), !expected.is_empty(), "{printed}");
    }
}

#[test]
fn command_uses_kept_profiles_by_their_names() {
    let home = Home::new();
    let profiles = ["default", "dev", "other"].map(|name| profile(name, &format!("AKIA{}", name.to_uppercase())));
    home.write(".aws/credentials", profiles.concat());
    home.write(
        ".aws/config",
        "[profile dev]\nregion = eu-west-3\n[profile process]\ncredential_process = cat keys.json\n\
         [profile self]\nrole_arn = r\nsource_profile = default\n",
    );
    home.write("keys.json", r#"{"Version":1,"AccessKeyId":"AKIAPROC","SecretAccessKey":"hush-proc"}"#);
    let own = program();
    let keep = ["exec", "--profile", "dev", "--keep-profiles", "--"];
    for (arguments, expected) in [
        // [default] is the broker, not the default profile of the user.
        (&[own, "get"][..], "AKIADEV"),
        (&[own, "get", "--profile", "dev"], "AKIADEV"),
        (&[own, "get", "--profile", "other"], "AKIAOTHER"),
        (&[own, "get", "--profile", "process"], "AKIAPROC"),
        (&[own, "get", "--profile", "credenza-default"], "AKIADEFAULT"),
        (&[own, "exec", "--keep-profiles", "--", own, "get", "--profile", "other"], "AKIAOTHER"),
        (&[own, "exec", "--profile", "other", "--keep-profiles", "--", own, "get"], "AKIAOTHER"),
        (&[own, "exec", "--keep-profiles", "--", own, "get", "--profile", "credenza-default"], "AKIADEFAULT"),
    ] {
        assert_eq!(home.run(&[&keep, arguments].concat(), &[]).key(), expected, "{arguments:?}");
    }
    let files =
        home.run(&[&keep[..], &["sh", "-c", "cat $AWS_CONFIG_FILE $AWS_SHARED_CREDENTIALS_FILE"]].concat(), &[]);
    assert!(files.stdout.contains("source_profile=credenza-default\n"), "{files:?}");
    assert!(files.stdout.starts_with("[default]\nregion=eu-west-3\n"), "{files:?}");
    // Variables would send the keys of all profiles to the endpoint of the broker's.
    let url = ["exec", "--url", "http://key:hush@minio.example", "--region", "r1", "--keep-profiles", "--"];
    let shown = home.run(&[&url[..], &["sh", "-c", "env; cat $AWS_CONFIG_FILE"]].concat(), &[]).stdout;
    assert!(!shown.contains("AWS_REGION=") && !shown.contains("AWS_ENDPOINT_URL_S3="), "{shown}");
    assert!(shown.contains("region=r1\n") && shown.contains("endpoint_url=http://minio.example"), "{shown}");
    let without = home.run(&["exec", "--profile", "dev", "--", own, "get", "--profile", "other"], &[]);
    assert!(without.code == Some(1) && without.stderr.contains("there is no profile other"), "{without:?}");
    // A file that others can write gives no profile.
    fs::set_permissions(home.path().join(".aws/config"), fs::Permissions::from_mode(0o666)).unwrap();
    let process = home.run(&[&keep[..], &[own, "get", "--profile", "process"]].concat(), &[]);
    let told = ".aws/config, line 4: profile process: the command does not get this profile: the file may be written";
    assert!(process.code == Some(1) && process.stderr.contains(told), "{told}: {process:?}");
}

#[test]
fn command_gets_no_metadata_service_and_no_boto_keys() {
    let home = Home::new();
    let script =
        "echo $AWS_EC2_METADATA_DISABLED $BOTO_CONFIG; test -f $BOTO_CONFIG && ! test -s $BOTO_CONFIG && echo empty";
    let mut command = home.command(&["exec", "--", "sh", "-c", script]);
    command.envs(KEYS).env_remove("AWS_EC2_METADATA_DISABLED");
    let shown = String::from_utf8(command.output().unwrap().stdout).unwrap();
    assert!(shown.starts_with("true /") && shown.ends_with("/boto\nempty\n"), "{shown}");
}

#[test]
fn ignored_signals_stay_ignored() {
    let home = Home::new();
    let script = "grep SigIgn /proc/$$/status; read line; exit 7";
    for (trap, is_ignored) in [("trap '' HUP INT;", true), ("", false)] {
        let exec = home.command(&["exec", "--", "sh", "-c", script]);
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("{trap} exec \"$0\" \"$@\"")]).arg(exec.get_program()).args(exec.get_args());
        shell.env_clear().envs(exec.get_envs().filter_map(|(name, value)| Some((name, value?)))).envs(KEYS);
        let mut child = shell.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let mask = u64::from_str_radix(line.trim().trim_start_matches("SigIgn:").trim(), 16).unwrap();
        assert_eq!(mask & 0b11, if is_ignored { 0b11 } else { 0 }, "the command: {line}");
        for signal in [Signal::HUP, Signal::INT] {
            kill_process(Pid::from_child(&child), signal).unwrap();
        }
        if is_ignored {
            std::thread::sleep(Duration::from_millis(100));
            // The pipe breaks if a signal has ended the command.
            child.stdin.take().unwrap().write_all(b"\n").unwrap();
        }
        assert_eq!(wait(&mut child).code(), Some(if is_ignored { 7 } else { 129 }));
    }
}

/// Runs a script as the command of `exec`, which is PID 1 of a namespace of its own. `None` if this is not allowed.
fn as_pid_1(home: &Home, script: &str) -> Option<String> {
    let exec = home.command(&["exec", "--", "sh", "-c", script]);
    let mut unshare = Command::new("unshare");
    unshare.args(["--user", "--map-root-user", "--pid", "--fork", "--mount-proc"]);
    unshare.arg(exec.get_program()).args(exec.get_args());
    unshare.env_clear().envs(exec.get_envs().filter_map(|(name, value)| Some((name, value?)))).envs(KEYS);
    let output = unshare.stdin(Stdio::null()).output().ok()?;
    let shown = String::from_utf8(output.stdout).unwrap();
    (!shown.is_empty()).then_some(shown)
}

#[test]
fn reaps_orphans_as_pid_1() {
    let home = Home::new();
    let script = "echo $PPID; for i in 1 2 3; do (sleep 0.1 &); done; sleep 1; cat /proc/[0-9]*/stat";
    let Some(shown) = as_pid_1(&home, script) else {
        skip("unshare cannot make a PID namespace, where exec is PID 1");
        return;
    };
    assert!(shown.starts_with("1\n"), "{shown}");
    assert!(shown.contains("(credenza)") && !shown.contains(") Z "), "{shown}");
}

#[test]
fn daemon_in_the_background_ignores_ctrl_c() {
    let home = Home::new();
    let serve = home.command(&["serve", "--listen", "127.0.0.1:0"]);
    let mut shell = Command::new("sh");
    shell.args(["-c", "trap '' INT HUP; exec \"$0\" \"$@\""]).arg(serve.get_program()).args(serve.get_args());
    shell.env_clear().envs(serve.get_envs().filter_map(|(name, value)| Some((name, value?)))).envs(KEYS);
    let mut broker = testkit::harness::Broker::start(shell);
    broker.signal(Signal::INT);
    // SIGHUP reloads all the same.
    broker.signal(Signal::HUP);
    broker.wait_for_log("configuration loaded");
    broker.wait_for_key("AKIAENV");
    broker.signal(Signal::TERM);
    assert_eq!(broker.wait().code(), Some(0));
}

/// Returns the exit code and standard error of a command with a closed pipe as its output.
fn into_closed_pipe(mut command: Command) -> (Option<i32>, String) {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut child = command.stdout(writer).stderr(Stdio::piped()).spawn().unwrap();
    drop(command);
    let mut errors = String::new();
    child.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
    (wait(&mut child).code(), errors)
}

#[test]
fn closed_pipes_end_every_command_quietly() {
    let home = Home::new();
    home.write(".aws/credentials", keys_file("AKIAFILE"));
    let broker = home.serve(&[], &[]);
    broker.wait_for_key("AKIAFILE");
    let address = broker.address().to_string();
    let at_daemon = ["--listen", &address];
    let table: &[(&[&str], &[&str])] = &[
        (&["--help"], &[]),
        (&["--version"], &[]),
        (&["help", "exec"], &[]),
        (&["get", "--help"], &[]),
        (&["completions", "bash"], &[]),
        (&["completions", "powershell"], &[]),
        (&["manual", "man"], &[]),
        (&["profiles"], &[]),
        (&["profiles", "--json"], &[]),
        (&["check"], &[]),
        (&["check", "-v"], &[]),
        (&["get"], &[]),
        (&["get", "--format", "env"], &[]),
        (&["get", "--format", "ecs"], &[]),
        (&["get", "--from-daemon"], &at_daemon),
        (&["env"], &at_daemon),
        (&["status"], &at_daemon),
        (&["status", "--json"], &at_daemon),
        (&["status", "--watch"], &at_daemon),
        (&["status", "--watch", "--json"], &at_daemon),
    ];
    for (arguments, more) in table {
        let (code, errors) = into_closed_pipe(home.command(&[*arguments, more].concat()));
        assert_eq!(code, Some(0), "{arguments:?}: {errors}");
        assert!(!errors.contains("panicked") && !errors.contains("roken pipe"), "{arguments:?}: {errors}");
    }
    // Errors and log lines go nowhere: the exit code is the only result.
    let failing: &[(&[&str], i32)] = &[
        (&["get", "--profile", "absent"], 1),
        (&["check", "-v", "--config", "absent"], 78),
        (&["get", "--absent"], 2),
    ];
    for (arguments, expected) in failing {
        let mut command = home.command(arguments);
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let status = command.stdout(Stdio::null()).stderr(writer).status().unwrap();
        assert_eq!(status.code(), Some(*expected), "{arguments:?}");
    }
}
