//! The AWS SDK for Rust as a client of the broker.
//!
//! Prints the buckets in one line (`buckets: a b`) or what went wrong (`error: …`). With `--loop` it does so once for
//! every line on standard input, with one client, as a long-running program would; the words `exit` or end of file stop it.

use std::error::Error;
use std::io::{self, BufRead, Write};
use std::process::ExitCode;

use aws_config::BehaviorVersion;
use aws_sdk_s3::Client;
use aws_sdk_s3::error::DisplayErrorContext;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let http = aws_smithy_http_client::Builder::new().build_http();
    let shared = aws_config::defaults(BehaviorVersion::latest()).http_client(http).load().await;
    // Buckets in the path: on loopback there is no name to put a bucket in front of.
    let client = Client::from_conf(aws_sdk_s3::config::Builder::from(&shared).force_path_style(true).build());

    if std::env::args().any(|argument| argument == "--loop") {
        for line in io::stdin().lock().lines().map_while(Result::ok).take_while(|line| line.trim() != "exit") {
            drop(line);
            report(&list(&client).await);
        }
        return ExitCode::SUCCESS;
    }
    let listed = list(&client).await;
    report(&listed);
    if listed.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

async fn list(client: &Client) -> Result<Vec<String>, String> {
    let answer = client.list_buckets().send().await.map_err(explain)?;
    Ok(answer.buckets().iter().filter_map(|bucket| bucket.name()).map(str::to_owned).collect())
}

/// The whole chain of an SDK error in one line; its own `Display` says "service error" only.
fn explain(error: impl Error) -> String {
    DisplayErrorContext(error).to_string().replace('\n', " ")
}

fn report(listed: &Result<Vec<String>, String>) {
    match listed {
        Ok(names) => println!("buckets: {}", names.join(" ")),
        Err(reason) => println!("error: {reason}"),
    }
    io::stdout().flush().expect("standard output is open");
}
