//! The stand-in program that real clients are tested with.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};

#[test]
fn serves_until_its_input_ends() {
    let mut program = Command::new(env!("CARGO_BIN_EXE_sso-fakes"));
    let mut program = program.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(program.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let told: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(told["login"]["accessToken"]["accessKeyId"], "ASIA0");
    for service in ["oidc", "portal", "signin", "sts"] {
        let url = told[service].as_str().unwrap();
        let mut stream = TcpStream::connect(url.strip_prefix("http://").unwrap()).unwrap();
        stream.write_all(b"GET /nothing HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 4"), "{service}: {answer}");
    }
    drop(program.stdin.take());
    assert!(program.wait().unwrap().success());
}
