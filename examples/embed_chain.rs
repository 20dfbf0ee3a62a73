//! Looks up credentials in a chain of three sources, and prints the source that has them and the access key id.
//!
//! Run it with `cargo run --example embed_chain`, for example with `AWS_PROFILE=dev`. The chain has the variables of the AWS
//! SDKs, then the profile of the shared files, then fixed keys of a local S3 server.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "the program reports on the terminal")]

use std::process::ExitCode;
use std::time::Duration;

use credenza::{ConfigCredentials, Context, EnvironmentCredentials, Outcome, StaticCredentials, merge_credentials};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let chain = merge_credentials([
        Box::new(EnvironmentCredentials::new()) as _,
        Box::new(ConfigCredentials::new()) as _,
        Box::new(StaticCredentials::new("local-user", "local-password")) as _,
    ]);
    let context = Context::from_environment();
    let load = chain.load(&context, None, Duration::from_secs(10)).await;
    match load.verdict {
        Outcome::Found { winner, credentials } => {
            println!("source: {}", chain.source_name(winner));
            println!("access key id: {}", credentials.access_key_id);
            if let Some(region) = chain.region(&context, Some(winner)).await {
                println!("region: {region}");
            }
            ExitCode::SUCCESS
        }
        // A source that is configured and fails ends the search: the next one would be another principal.
        Outcome::Failed { source, error } => {
            eprintln!("source {}: {error}", chain.source_name(source));
            ExitCode::FAILURE
        }
        Outcome::Vanished { .. } | Outcome::NotConfigured => {
            eprintln!("no source is configured");
            ExitCode::FAILURE
        }
    }
}
