//! What real shells make of the lines that `get` and `env` print for them.

#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::process::Command;

use credenza::arguments::Dialect;
use credenza::command::format::lines;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use zeroize::Zeroizing;

/// Everything that means something to one shell or another, more often than it would come up by chance.
fn values() -> impl Strategy<Value = String> {
    prop_oneof![r#"[\\'"`$#!{}()\[\]~*?%&;|<>=\-@: an0\u{2018}-\u{201f}]{1,24}"#, r"[^\p{C}\s]{1,40}", r"[ -~]{0,40}"]
}

/// What programs find in `VALUE`, and whether they find `GONE`, after the shell has read the lines.
fn evaluated(shell: &[&str], dialect: Dialect, value: &str) -> (String, bool) {
    let text = lines(dialect, &[("VALUE", Some(Zeroizing::new(value.to_owned()))), ("GONE", None)]).unwrap();
    let script = match dialect {
        Dialect::Powershell => format!("{}[Console]::Out.Write($env:VALUE + \"`n\"); Test-Path Env:GONE", *text),
        _ => format!("{}printenv VALUE; printenv GONE", *text),
    };
    let mut command = Command::new(shell[0]);
    command.args(&shell[1..]).arg(script).env("GONE", "True").env("LC_ALL", "C.UTF-8");
    let output = command.output().unwrap();
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let (value, rest) = text.split_once('\n').unwrap();
    (value.to_owned(), rest.trim() == "True")
}

fn reads_everything_as_it_was(shell: &[&str], dialect: Dialect, cases: u32) {
    let printable: String = (' '..='~').collect();
    assert_eq!(evaluated(shell, dialect, &printable), (printable, false));
    let mut runner = TestRunner::new(Config { cases, failure_persistence: None, ..Config::default() });
    let outcome = runner.run(&values(), |value| {
        prop_assert_eq!(evaluated(shell, dialect, &value), (value, false));
        Ok(())
    });
    outcome.unwrap();
}

fn is_here(shell: &str) -> bool {
    Command::new(shell).args(["-c", "exit 0"]).output().is_ok_and(|output| output.status.success())
}

#[test]
fn sh() {
    reads_everything_as_it_was(&["sh", "-c"], Dialect::Env, 96);
}

#[test]
fn bash() {
    if !is_here("bash") && support::is_left_out("bash is not installed") {
        return;
    }
    reads_everything_as_it_was(&["bash", "--norc", "-c"], Dialect::Env, 96);
}

#[test]
fn fish() {
    if !is_here("fish") && support::is_left_out("fish is not installed") {
        return;
    }
    reads_everything_as_it_was(&["fish", "--no-config", "-c"], Dialect::Fish, 48);
}

/// Nothing is missing where it is not installed: its documented rules stand in a table beside the code.
#[test]
fn powershell() {
    if is_here("pwsh") {
        reads_everything_as_it_was(&["pwsh", "-NoProfile", "-NonInteractive", "-Command"], Dialect::Powershell, 8);
    }
}
