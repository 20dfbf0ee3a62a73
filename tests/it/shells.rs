//! Real shells evaluate the output of `get` and `env`.

use std::process::Command;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use testkit::harness::{Home, skip};

struct Shell {
    command: &'static [&'static str],
    format: &'static str,
    /// Reads the lines in the file `$LINES_OF`, and prints `NO_PROXY` and `no_proxy`.
    script: &'static str,
    /// The number of random secrets.
    secrets: u32,
}

const POSIX: &str = ". \"$LINES_OF\"; printenv NO_PROXY; printenv no_proxy";
const FISH: &str = "source $LINES_OF; printenv NO_PROXY; printenv no_proxy";
const POWERSHELL: &str = "Invoke-Expression (Get-Content -Raw $env:LINES_OF); $env:NO_PROXY; $env:no_proxy";
const PWSH: &[&str] = &["pwsh", "-NoProfile", "-NonInteractive", "-Command"];

const SHELLS: [Shell; 4] = [
    Shell { command: &["sh", "-c"], format: "env", script: POSIX, secrets: 96 },
    Shell { command: &["bash", "--norc", "-c"], format: "env", script: POSIX, secrets: 96 },
    Shell { command: &["fish", "--no-config", "-c"], format: "fish", script: FISH, secrets: 48 },
    Shell { command: PWSH, format: "powershell", script: POWERSHELL, secrets: 8 },
];

/// Checks the installed shells at the same time. PowerShell may be missing: a table beside the code covers its
/// documented rules.
fn for_each_shell(check: fn(&Shell)) {
    std::thread::scope(|scope| {
        for shell in &SHELLS {
            let name = shell.command[0];
            if is_here(name) {
                scope.spawn(move || check(shell));
            } else {
                assert!(name == "pwsh" || skip(&format!("{name} is not installed")));
            }
        }
    });
}

fn is_here(shell: &str) -> bool {
    Command::new(shell).args(["-c", "exit 0"]).output().is_ok_and(|output| output.status.success())
}

/// Secret keys that stress quoting: characters that a shell interprets are more frequent than in random text.
fn secrets() -> impl Strategy<Value = String> {
    let text = prop_oneof![
        r#"[\\'"`$#!{}()\[\]~*?%&;|<>=\-@: an0\u{2018}-\u{201f}]{1,24}"#,
        r"[^\p{C}\s]{1,40}",
        r"[ -~]{0,40}"
    ];
    // Surrounding white space is never part of a key.
    text.prop_map(|text| text.trim().to_owned()).prop_filter("an empty secret is none", |text| !text.is_empty())
}

/// Returns the lines that `credenza get` prints for a shell, with this secret key and without a session token.
fn lines(home: &Home, format: &str, secret: &str) -> String {
    let keys = [("AWS_ACCESS_KEY_ID", "AKIAENV"), ("AWS_SECRET_ACCESS_KEY", secret)];
    let output = home.run(&["get", "--format", format], &keys);
    assert_eq!(output.code, Some(0), "{output:?}");
    output.stdout
}

/// Returns the secret key that programs see after the shell has read the lines, and true if they see a session token.
fn evaluate(home: &Home, shell: &[&str], format: &str, secret: &str) -> (String, bool) {
    let lines = lines(home, format, secret);
    let script = match format {
        "powershell" => {
            format!("{lines}[Console]::Out.Write($env:AWS_SECRET_ACCESS_KEY + \"`n\"); Test-Path Env:AWS_SESSION_TOKEN")
        }
        _ => format!("{lines}printenv AWS_SECRET_ACCESS_KEY; printenv AWS_SESSION_TOKEN"),
    };
    let mut command = Command::new(shell[0]);
    command.args(&shell[1..]).arg(script).env("AWS_SESSION_TOKEN", "True").env("LC_ALL", "C.UTF-8");
    let output = command.output().unwrap();
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let (secret, rest) = text.split_once('\n').unwrap();
    (secret.to_owned(), rest.trim() == "True")
}

fn assert_reads_every_secret(&Shell { command, format, secrets: cases, .. }: &Shell) {
    let home = Home::new();
    let printable: String = ('!'..='~').chain(' '..='~').collect();
    assert_eq!(evaluate(&home, command, format, &printable), (printable, false));
    let mut runner = TestRunner::new(Config { cases, failure_persistence: None, ..Config::default() });
    let outcome = runner.run(&secrets(), |secret| {
        prop_assert_eq!(evaluate(&home, command, format, &secret), (secret, false));
        Ok(())
    });
    outcome.unwrap();
}

/// Returns `NO_PROXY` and `no_proxy` as programs see them after the shell has read the output of `credenza env`.
fn exceptions(shell: &[&str], format: &str, script: &str, variables: &[(&str, &str)]) -> String {
    let home = Home::new();
    let broker = home.serve(&[], &[]);
    let address = broker.address().to_string();
    let printed = home.run(&["env", "--listen", &address, "--format", format], variables);
    assert!(printed.code == Some(0) && printed.stdout.contains(&address), "{printed:?}");
    let lines = home.write("lines", &printed.stdout);
    let mut command = Command::new(shell[0]);
    command.args(&shell[1..]).arg(script).env_clear().env("PATH", std::env::var_os("PATH").unwrap());
    let output =
        command.env("HOME", home.path()).env("LINES_OF", lines).envs(variables.iter().copied()).output().unwrap();
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().replace('\n', " ")
}

fn assert_excludes_the_daemon_from_proxies(&Shell { command, format, script, .. }: &Shell) {
    let all = "example.org,.o'brien,127.0.0.1,localhost";
    for (variables, expected) in [
        (&[][..], ""),
        (&[("http_proxy", ""), ("NO_PROXY", "example.org")], "example.org"),
        (&[("HTTP_PROXY", "http://p:1")], "127.0.0.1,localhost 127.0.0.1,localhost"),
        (
            &[("all_proxy", "http://p:1"), ("NO_PROXY", "example.org"), ("no_proxy", ".o'brien, 127.0.0.1")],
            &*format!("{all} {all}"),
        ),
        (&[("https_proxy", "p:1"), ("no_proxy", "*")], "* *"),
    ] {
        assert_eq!(exceptions(command, format, script, variables), expected, "{format} {variables:?}");
    }
}

#[test]
fn shells_exclude_the_daemon_from_proxies() {
    for_each_shell(assert_excludes_the_daemon_from_proxies);
}

/// A shell reads lines without quotes as well.
#[test]
fn dotenv_excludes_the_daemon_from_proxies() {
    let variables = [("HTTPS_PROXY", "http://p:1"), ("NO_PROXY", "example.org")];
    let all = "example.org,127.0.0.1,localhost";
    let found = exceptions(&["sh", "-ac"], "dotenv", POSIX, &variables);
    assert_eq!(found, format!("{all} {all}"));
}

#[test]
fn shells_read_every_secret() {
    for_each_shell(assert_reads_every_secret);
}

/// Returns the output and the errors of a fish script, in which `$credenza` is the program. Each home has universal
/// variables of its own.
fn in_fish(home: &Home, script: &str, variables: &[(&str, &str)]) -> (String, String) {
    let mut command = Command::new("fish");
    command.args(["-c", script]).env_clear().env("PATH", std::env::var_os("PATH").unwrap());
    command.env("HOME", home.path()).env("credenza", testkit::harness::program());
    command.env("XDG_CONFIG_HOME", home.path().join("config")).env("XDG_DATA_HOME", home.path().join("data"));
    let output = command.envs(variables.iter().copied()).current_dir(home.path()).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().replace('\n', " ");
    (text(&output.stdout), text(&output.stderr))
}

#[test]
fn fish_distinguishes_success_from_failure() {
    if !is_here("fish") && skip("fish is not installed") {
        return;
    }
    let home = Home::new();
    let keys = [("AWS_ACCESS_KEY_ID", "AKIAENV"), ("AWS_SECRET_ACCESS_KEY", "hush")];
    let disabled = ("AWS_EC2_METADATA_DISABLED", "true");
    for (script, outcome, outcome_without) in [
        ("$credenza get --format fish | source; echo $status", "0", "0"),
        ("$credenza get --format fish | source; echo $pipestatus", "0 0", "1 0"),
        (
            "set lines ($credenza get --format fish); or echo failed; printf '%s\n' $lines | source; echo $status",
            "0",
            "failed 0",
        ),
        ("$credenza get --format fish >lines; and source lines; echo $status", "0", "1"),
        ("false; $credenza get --format fish | source; and echo $AWS_ACCESS_KEY_ID", "AKIAENV", ""),
    ] {
        assert_eq!(
            in_fish(&home, script, &[&keys[..], &[disabled]].concat()),
            (outcome.into(), String::new()),
            "{script}"
        );
        let (printed, said) = in_fish(&home, script, &[disabled]);
        assert!(printed == outcome_without && said.contains("default"), "{script}: {printed}: {said}");
    }
}

#[test]
fn fish_overrides_variables_of_every_scope() {
    if !is_here("fish") && skip("fish is not installed") {
        return;
    }
    let home = Home::new();
    let lines = home.write("lines", lines(&home, "fish", "new"));
    let lines = [("LINES_OF", lines.to_str().unwrap()), ("AWS_SESSION_TOKEN", "inherited")];
    let there = "for name in AWS_SESSION_TOKEN AWS_SECRET_ACCESS_KEY; printenv $name; end";
    // Blocks within functions, and variables of the calling function.
    let local = format!(
        "function inner; set -fx AWS_SESSION_TOKEN f; begin; set -lx AWS_SESSION_TOKEN a; set -lx AWS_SECRET_ACCESS_KEY a; begin; set -lx AWS_SESSION_TOKEN b; set -lx AWS_SECRET_ACCESS_KEY b; \
         cat $LINES_OF | source; {there}; end; {there}; end; {there}; end; \
         function outer; set -lx AWS_SESSION_TOKEN c; set -lx AWS_SECRET_ACCESS_KEY c; inner; end; outer"
    );
    assert_eq!(in_fish(&home, &local, &lines), ("new new new".into(), String::new()));
    // The universal variable of the user is not erased; a variable that is not exported does not win.
    let universal = in_fish(&home, "set -Ux AWS_SECRET_ACCESS_KEY universal; set -U AWS_SESSION_TOKEN universal", &[]);
    assert_eq!(universal, (String::new(), String::new()));
    let source = format!("source $LINES_OF; echo $status; {there}; set -q AWS_SESSION_TOKEN; and echo kept");
    assert_eq!(in_fish(&home, &source, &lines), ("0 new kept".into(), String::new()));
    in_fish(&home, "set -Ux AWS_SESSION_TOKEN universal", &[]);
    let (printed, said) = in_fish(&home, &source, &lines);
    assert_eq!(printed, "0 universal new kept");
    assert_eq!(
        said,
        "credenza: AWS_SESSION_TOKEN is still set as a universal variable and takes precedence; run: set -eU AWS_SESSION_TOKEN"
    );
    // The advice of the message works.
    in_fish(&home, "set -eU AWS_SESSION_TOKEN", &[]);
    assert_eq!(in_fish(&home, &source, &lines), ("0 new".into(), String::new()));
}
