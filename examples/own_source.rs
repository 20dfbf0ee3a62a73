//! Adds a source of its own to a chain: a file with an access key id in its first line and a secret in its second.
//!
//! Run it with `cargo run --example own_source -- FILE`. The variables of the AWS SDKs are the next source of the chain.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "the program reports on the terminal")]

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use credenza::{
    AttemptResult, BoxFuture, Context, Credentials, EnvironmentCredentials, Lookup, Outcome, Source, SourceError,
    merge_credentials,
};

/// A file with two lines: access key id and secret access key.
#[derive(Debug)]
struct TwoLineFile {
    path: PathBuf,
}

impl Source for TwoLineFile {
    fn name(&self) -> &str {
        "two-line file"
    }

    fn load<'a>(&'a self, _: &'a Context) -> BoxFuture<'a, Lookup> {
        Box::pin(async { read(&self.path) })
    }

    fn region<'a>(&'a self, _: &'a Context) -> BoxFuture<'a, Option<Box<str>>> {
        Box::pin(std::future::ready(None))
    }
}

/// Returns `NotConfigured` only if the file is missing, so that the chain goes on. An unusable file is an error.
fn read(path: &Path) -> Lookup {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Lookup::not_configured(format!("{} does not exist", path.display()));
        }
        Err(error) => return SourceError::unavailable(format!("cannot read {}: {error}", path.display())).into(),
    };
    let mut lines = text.lines();
    let credentials = match (lines.next(), lines.next()) {
        (Some(key), Some(secret)) => Credentials::new(key, secret)
            .map_err(|error| SourceError::misconfigured(format!("{}: {error}", path.display()))),
        _ => Err(SourceError::misconfigured(format!("{}: two lines are required", path.display()))),
    };
    Lookup::from_result(credentials)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let Some(path) = std::env::args_os().nth(1).map(PathBuf::from) else {
        eprintln!("usage: own_source FILE");
        return ExitCode::FAILURE;
    };
    let chain = merge_credentials([Box::new(TwoLineFile { path }) as _, Box::new(EnvironmentCredentials::new()) as _]);
    let load = chain.load(&Context::from_environment(), None, Duration::from_secs(10)).await;
    for attempt in &load.steps {
        match &attempt.said {
            AttemptResult::Found => println!("{}: found", attempt.source),
            AttemptResult::NotConfigured(reason) => println!("{}: not configured: {reason}", attempt.source),
            AttemptResult::Failed(error) => println!("{}: failed: {error}", attempt.source),
            AttemptResult::NotAsked => println!("{}: not asked", attempt.source),
        }
    }
    match load.verdict {
        Outcome::Found { credentials, .. } => {
            println!("access key id: {}", credentials.access_key_id);
            ExitCode::SUCCESS
        }
        _ => ExitCode::FAILURE,
    }
}
