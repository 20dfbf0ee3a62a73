//! Finds the credentials of the person who runs it, without any configuration, and prints everything but the secrets.
//!
//! Run it with `cargo run --example find_credentials`. The chain is that of `credenza get`: the variables of the AWS SDKs,
//! the profile of the shared files with all that it can say (keys, roles, SSO, programs), the container endpoint, the
//! instance metadata.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "the program reports on the terminal")]
#![allow(clippy::disallowed_methods, reason = "a program that embeds the library has a clock of its own")]

use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use credenza::{
    AttemptResult, ConfigCredentials, ContainerCredentials, Context, EnvironmentCredentials, MetadataCredentials,
    Outcome, merge_credentials,
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let chain = merge_credentials([
        Box::new(EnvironmentCredentials::new()) as _,
        Box::new(ConfigCredentials::new()) as _,
        Box::new(ContainerCredentials::new()) as _,
        // IMDSv2 alone. It is not the only source: a host without the service is not configured there.
        Box::new(MetadataCredentials::new(false, false)) as _,
    ]);
    let context = Context::from_environment();
    let load = chain.load(&context, None, Duration::from_secs(10)).await;
    for step in &load.steps {
        match &step.said {
            AttemptResult::Found => println!("{}: found", step.source),
            AttemptResult::NotConfigured(reason) => println!("{}: not configured: {reason}", step.source),
            AttemptResult::Failed(error) => println!("{}: failed: {error}", step.source),
            AttemptResult::NotAsked => println!("{}: not asked", step.source),
        }
    }
    let Outcome::Found { winner, credentials } = load.verdict else {
        eprintln!("no credentials were found");
        return ExitCode::FAILURE;
    };
    println!("access key id: {}", credentials.access_key_id);
    if let Some(left) = credentials.expiration.map(|end| end.duration_since(SystemTime::now()).unwrap_or_default()) {
        println!("expires in {} minutes", left.as_secs() / 60);
    }
    if let Some(region) = chain.region(&context, Some(winner)).await {
        println!("region: {region}");
    }
    if let Some(endpoint) = credentials.endpoint {
        println!("endpoint: {endpoint}");
    }
    ExitCode::SUCCESS
}
