//! Lists buckets with the AWS SDK for Rust and the credentials that Credenza finds, without a daemon.
//!
//! Run it with `cargo run --manifest-path examples/aws-sdk/Cargo.toml`. The variable `S3_URL` may hold
//! the URL of an S3 store with its keys, such as `http://key:secret@127.0.0.1:9000`. Without it, the chain has the
//! variables of the AWS SDKs and then the profile of the shared files.

use std::process::ExitCode;

use aws_config::{BehaviorVersion, Region};
use aws_sdk_s3::error::DisplayErrorContext;
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use credenza::{ChainProvider, ConfigCredentials, Context, EnvironmentCredentials, UrlCredentials, merge_credentials};

/// The region of a chain without one. Stores other than AWS accept it.
const DEFAULT_REGION: &str = "us-east-1";

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let chain = match std::env::var("S3_URL") {
        Ok(url) => merge_credentials([Box::new(UrlCredentials::new(&url)) as _]),
        Err(_) => {
            merge_credentials([Box::new(EnvironmentCredentials::new()) as _, Box::new(ConfigCredentials::new()) as _])
        }
    };
    let provider = ChainProvider::new(chain, Context::from_environment());
    match list(provider).await {
        Ok(names) => {
            println!("buckets: {}", names.join(" "));
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn list(provider: ChainProvider) -> Result<Vec<String>, String> {
    let endpoint = provider.endpoint().await.map_err(|error| DisplayErrorContext(error).to_string())?;
    let region = provider.region().await.unwrap_or(DEFAULT_REGION.into());
    let http = aws_smithy_http_client::Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https();
    let shared = aws_config::defaults(BehaviorVersion::latest())
        .http_client(http)
        .credentials_provider(provider)
        .region(Region::new(region.into_string()))
        .load()
        .await;
    // Buckets in the path: a store on loopback has no name to put a bucket in front of.
    let mut config = aws_sdk_s3::config::Builder::from(&shared).force_path_style(endpoint.is_some());
    // Keys that came with an endpoint belong to that store, and go to no other.
    if let Some(endpoint) = endpoint {
        config = config.endpoint_url(endpoint);
    }
    let answer = aws_sdk_s3::Client::from_conf(config.build()).list_buckets().send().await;
    let answer = answer.map_err(|error| DisplayErrorContext(error).to_string())?;
    Ok(answer.buckets().iter().filter_map(|bucket| bucket.name()).map(str::to_owned).collect())
}
