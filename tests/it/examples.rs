//! The programs in `examples/`, which cargo builds before it runs the tests.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use testkit::harness::{HUSH, Home, Response, profile, send};

/// Returns a command that runs an example with these variables and an empty home directory.
fn example(name: &str, home: &Home, variables: &[(&str, &str)]) -> Command {
    let test = std::env::current_exe().unwrap();
    let program: PathBuf = test.parent().unwrap().with_file_name("examples").join(name);
    assert!(program.is_file(), "{} is missing: cargo build --examples makes it", program.display());
    let mut command = Command::new(program);
    command.env_clear().env("HOME", home.path()).envs(variables.iter().copied());
    command
}

/// Returns the output of a program that has ended, unless it shows a secret.
fn output(mut command: Command) -> (bool, String) {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let text = String::from_utf8([stdout, stderr].concat()).unwrap();
    assert!(!text.contains(HUSH), "{text}");
    (status.success(), text)
}

const VARIABLES: [(&str, &str); 2] =
    [("AWS_ACCESS_KEY_ID", "AKIAENVIRONMENT"), ("AWS_SECRET_ACCESS_KEY", "hush-environment")];

#[test]
fn embed_chain_prints_source_and_access_key_id() {
    let home = Home::new();
    assert_eq!(
        output(example("embed_chain", &home, &VARIABLES)),
        (true, "source: environment\naccess key id: AKIAENVIRONMENT\n".to_owned())
    );
    let (success, text) = output(example("embed_chain", &home, &[]));
    assert!(success && text.contains("access key id: local-user\n"), "{text}");
    assert!(!text.contains("local-password"), "{text}");

    home.write(".aws/credentials", profile("dev", "AKIAPROFILE") + "region = eu-west-1\n");
    let (success, text) = output(example("embed_chain", &home, &[("AWS_PROFILE", "dev")]));
    assert!(success && text.contains("access key id: AKIAPROFILE\n"), "{text}");
}

#[test]
fn embed_chain_stops_at_a_source_that_fails() {
    let home = Home::new();
    let (success, text) = output(example("embed_chain", &home, &[("AWS_ACCESS_KEY_ID", "AKIA")]));
    assert!(!success && text.contains("AWS_SECRET_ACCESS_KEY") && !text.contains("local-user"), "{text}");
}

#[test]
fn find_credentials_needs_no_configuration() {
    let home = Home::new();
    let no_imds = ("AWS_EC2_METADATA_DISABLED", "true");
    let (success, text) = output(example("find_credentials", &home, &[no_imds]));
    assert!(!success && text.ends_with("no credentials were found\n"), "{text}");
    for source in ["environment", "profile", "container", "imds"] {
        assert!(text.contains(&format!("{source}: not configured: ")), "{text}");
    }
    home.write(".aws/credentials", profile("default", "AKIAPROFILE") + "region = eu-west-1\n");
    let (success, text) = output(example("find_credentials", &home, &[no_imds]));
    assert!(success && text.ends_with("imds: not asked\naccess key id: AKIAPROFILE\nregion: eu-west-1\n"), "{text}");
}

#[test]
fn own_source_takes_part_in_the_chain() {
    let home = Home::new();
    let file = home.path().join("keys");
    let run = |variables| {
        let mut command = example("own_source", &home, variables);
        command.arg(&file);
        output(command)
    };
    let (success, text) = run(&[]);
    assert!(!success && text.contains("two-line file: not configured"), "{text}");
    let (success, text) = run(&VARIABLES);
    assert!(success && text.contains("environment: found\naccess key id: AKIAENVIRONMENT\n"), "{text}");
    std::fs::write(&file, "AKIAFILE\nhush-file\n").unwrap();
    assert_eq!(
        run(&VARIABLES),
        (true, "two-line file: found\nenvironment: not asked\naccess key id: AKIAFILE\n".to_owned())
    );
    std::fs::write(&file, "AKIAFILE\n").unwrap();
    let (success, text) = run(&VARIABLES);
    assert!(!success && text.contains("two-line file: failed") && !text.contains("AKIAENVIRONMENT"), "{text}");
}

#[test]
fn serve_beside_axum_answers_without_the_secret() {
    let home = Home::new();
    for (variables, status, body) in
        [(&VARIABLES[..], 200, "environment AKIAENVIRONMENT\n"), (&[], 503, "no source is configured\n")]
    {
        let mut child = example("serve_beside_axum", &home, variables).stdout(Stdio::piped()).spawn().unwrap();
        let mut url = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut url).unwrap();
        let (address, path) = url.trim().strip_prefix("http://").unwrap().split_once('/').unwrap();
        let head = format!("GET /{path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
        let response = Response::read(&mut send(address.parse().unwrap(), head));
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!((response.status, &*response.body), (status, body));
    }
}
