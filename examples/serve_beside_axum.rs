//! An axum program that holds credentials of a chain and looks them up again before they expire.
//!
//! Run it with `cargo run --example serve_beside_axum`, then request the URL that it prints. `GET /identity` returns the
//! source and the access key id; the secret stays in the program.

#![allow(clippy::print_stdout, reason = "the program prints its address")]
#![allow(clippy::disallowed_methods, reason = "the wall clock decides when credentials expire")]

use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use credenza::{Chain, ConfigCredentials, Context, Credentials, EnvironmentCredentials, Outcome, merge_credentials};
use tokio::net::TcpListener;
use tokio::sync::Mutex;

/// Credentials are looked up again this long before they expire, so that a request in progress can still use them.
const MARGIN: Duration = Duration::from_secs(300);

struct App {
    chain: Chain,
    context: Context,
    held: Mutex<Option<Held>>,
}

#[derive(Clone)]
struct Held {
    source: Arc<str>,
    credentials: Credentials,
}

impl App {
    /// Returns the held credentials, or looks them up. The lock makes concurrent requests wait for one lookup.
    async fn credentials(&self) -> Result<Held, String> {
        let mut held = self.held.lock().await;
        let is_fresh = |held: &&Held| held.credentials.expiration.is_none_or(|end| SystemTime::now() + MARGIN < end);
        if let Some(fresh) = held.as_ref().filter(is_fresh) {
            return Ok(fresh.clone());
        }
        match self.chain.load(&self.context, None, Duration::from_secs(10)).await.verdict {
            Outcome::Found { winner, credentials } => {
                Ok(held.insert(Held { source: self.chain.source_name(winner), credentials }).clone())
            }
            Outcome::Failed { error, .. } => Err(error.to_string()),
            Outcome::Vanished { .. } | Outcome::NotConfigured => Err("no source is configured".to_owned()),
        }
    }
}

async fn identity(State(app): State<Arc<App>>) -> (StatusCode, String) {
    match app.credentials().await {
        // Here a program would sign its requests with `held.credentials`.
        Ok(held) => (StatusCode::OK, format!("{} {}\n", held.source, held.credentials.access_key_id)),
        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n")),
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> io::Result<()> {
    let chain =
        merge_credentials([Box::new(EnvironmentCredentials::new()) as _, Box::new(ConfigCredentials::new()) as _]);
    let app = Arc::new(App { chain, context: Context::from_environment(), held: Mutex::default() });
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("http://{}/identity", listener.local_addr()?);
    axum::serve(listener, Router::new().route("/identity", get(identity)).with_state(app)).await
}
