//! The AWS SDK for Rust as a client of the broker.
//!
//! Prints the buckets in one line (`buckets: a b`) or what went wrong (`error: …`). With `--loop` it does so once for
//! every line on standard input, with one client, as a long-running program would; the words `exit` or end of file stop it.
//! At the word `sts` it asks STS who it is instead (`called: arn…`).
//! With `--listed` the line says `listed:` and ends after 2000 bytes, as the matrix of clients wants it. `--version` tells
//! what it is made of.

use std::error::Error;
use std::io::{self, BufRead, Write};
use std::process::ExitCode;

use aws_config::BehaviorVersion;
use aws_sdk_s3::error::DisplayErrorContext;

const LONGEST_LINE: usize = 2000;
const LOCK_FILE: &str = include_str!("../Cargo.lock");

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    if is_given("--version") {
        let sdk = ["aws-config", "aws-sdk-s3", "aws-sdk-sts"].map(|name| format!("{name} {}", locked(name)));
        println!("{}", sdk.join(", "));
        return ExitCode::SUCCESS;
    }
    let http = aws_smithy_http_client::Builder::new().build_http();
    let shared = aws_config::defaults(BehaviorVersion::latest()).http_client(http).load().await;
    // Buckets in the path: on loopback there is no name to put a bucket in front of.
    let s3 = aws_sdk_s3::Client::from_conf(aws_sdk_s3::config::Builder::from(&shared).force_path_style(true).build());
    let sts = aws_sdk_sts::Client::new(&shared);
    let listed = if is_given("--listed") { "listed" } else { "buckets" };

    if is_given("--loop") {
        for line in io::stdin().lock().lines().map_while(Result::ok).take_while(|line| line.trim() != "exit") {
            match line.trim() {
                "sts" => report("called", &whoami(&sts).await),
                _ => report(listed, &list(&s3).await),
            }
        }
        return ExitCode::SUCCESS;
    }
    let answer = list(&s3).await;
    report(listed, &answer);
    if answer.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn is_given(flag: &str) -> bool {
    std::env::args().skip(1).any(|argument| argument == flag)
}

async fn list(s3: &aws_sdk_s3::Client) -> Result<String, String> {
    let answer = s3.list_buckets().send().await.map_err(explain)?;
    Ok(answer.buckets().iter().filter_map(|bucket| bucket.name()).collect::<Vec<_>>().join(" "))
}

async fn whoami(sts: &aws_sdk_sts::Client) -> Result<String, String> {
    let answer = sts.get_caller_identity().send().await.map_err(explain)?;
    Ok(answer.arn().unwrap_or_default().to_owned())
}

/// The whole chain of an SDK error in one line; its own `Display` says "service error" only.
fn explain(error: impl Error) -> String {
    DisplayErrorContext(error).to_string().replace('\n', " ")
}

fn report(done: &str, answer: &Result<String, String>) {
    let mut line = match answer {
        Ok(names) => format!("{done}: {names}"),
        Err(reason) => format!("error: {reason}"),
    };
    if is_given("--listed") {
        line.truncate(line.floor_char_boundary(LONGEST_LINE));
    }
    println!("{line}");
    io::stdout().flush().expect("standard output is open");
}

/// The version of a crate that was built in: the lock file is that of this build.
fn locked(name: &str) -> &'static str {
    let entry = format!("name = \"{name}\"\nversion = \"");
    let version = LOCK_FILE.split_once(&entry).and_then(|(_, rest)| rest.split('"').next());
    version.expect("a dependency is in the lock file")
}
