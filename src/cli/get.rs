//! `credenza get`: loads credentials once, or gets them from a running daemon, and prints them.

use serde_json::Value;
use zeroize::Zeroizing;

use crate::cli::daemon_client;
use crate::cli::daemon_client::DaemonClient;
use crate::cli::error::CommandError;
use crate::cli::load_identity::load_identity;
use crate::cli::output::CredentialsOutput;
use crate::cli::output::formats::OutputFormat;
use crate::cli::region_endpoint;
use crate::cli::region_endpoint::RegionEndpoint;
use crate::config::identity::Identity;
use crate::config::listen::ListenAddress;
use crate::config::server::ServerConfig;
use crate::context::Context;
use crate::lease::Lease;
use crate::lease::refresher::RefreshPolicy;
use crate::model::credentials::Credentials;
use crate::model::identity_name::IdentityName;
use crate::model::secret::Secret;
use crate::model::time::{parse_timestamp, timestamp};
use crate::source::nesting;
use crate::source::nesting::DaemonListener;

/// The maximum number of tries to read the body and the status of one lease. The tries are a few milliseconds apart, so
/// a lease that differs at each try changes all the time.
const MAX_TRIES: u32 = 5;

/// Loads the credentials of an identity and formats them.
///
/// # Errors
/// If the identity has no credentials, or the format cannot express a value.
pub(crate) async fn get(
    context: &Context,
    identity: &Identity,
    format: OutputFormat,
) -> Result<Zeroizing<String>, CommandError> {
    let before = &context.environment;
    let context = &Context { environment: region_endpoint::without_own_variables(before), ..context.clone() };
    let loaded = load_identity(context, identity).await?;
    if let Some(warning) = context.mfa.unused_code() {
        tracing::warn!("{warning}");
    }
    let credentials = &loaded.credentials;
    let now = context.clock.now();
    if let Some(end) = credentials.expiration.filter(|end| *end <= now) {
        tracing::warn!(source = %loaded.source, expired = %timestamp(end), "these credentials have already expired");
    }
    if format == OutputFormat::Ecs {
        let lease = Lease::new(credentials, loaded.source, now, RefreshPolicy::from(identity).limits);
        return Ok(line(&lease.body));
    }
    let Some(dialect) = format.dialect() else {
        return Ok(CredentialsOutput { credentials, region_endpoint: RegionEndpoint::default() }.process());
    };
    // Look up the region for shell variables only: the lookup may cost a request.
    let region = loaded.chain.region(context, Some(loaded.winner)).await;
    let (region, endpoint) = (region.as_deref(), credentials.endpoint.as_deref());
    let region_endpoint = RegionEndpoint { region, endpoint, disables_imds: false }.or_environment(
        before,
        &loaded.source,
        &credentials.access_key_id,
    );
    CredentialsOutput { credentials, region_endpoint }.lines(dialect, before).map_err(CommandError::new)
}

/// Gets the credentials of an identity from a running daemon and formats them.
///
/// # Errors
/// If no daemon runs, the listener is not the daemon's, or the daemon refuses the request.
pub(crate) async fn from_daemon(
    server: &ServerConfig,
    context: &Context,
    identity: &IdentityName,
    format: OutputFormat,
) -> Result<Zeroizing<String>, CommandError> {
    let daemon = DaemonClient::find(server, context)?;
    let listener = match &daemon.address {
        ListenAddress::Tcp(address) => DaemonListener::Tcp(*address),
        ListenAddress::Unix(path) => DaemonListener::Unix(path.clone()),
    };
    nesting::check_daemon(&context.environment, &listener, identity).map_err(CommandError::new)?;
    let not_a_daemon = |reason| daemon_client::exchange::not_a_daemon(&daemon.address, reason);
    let Some(dialect) = format.dialect() else {
        let body = daemon.get(&daemon_client::address::credentials_path(identity)).await?;
        let credentials = CredentialsBody::read(&body).and_then(|body| body.credentials()).map_err(not_a_daemon)?;
        return Ok(match format {
            OutputFormat::Ecs => line(&body),
            _ => CredentialsOutput { credentials: &credentials, region_endpoint: RegionEndpoint::default() }.process(),
        });
    };
    let (body, status) = body_and_status(&daemon, identity).await?;
    let mut credentials = body.credentials().map_err(not_a_daemon)?;
    if status["expiration"].is_null() {
        // Remove the expiration that the body gives to long-lived keys. It only makes SDKs request the body again,
        // which a program with variables cannot do.
        credentials.expiration = None;
    }
    let before = &context.environment;
    let (region, endpoint) = (status["region"].as_str(), status["endpoint"].as_str());
    let region_endpoint = RegionEndpoint { region, endpoint, disables_imds: false }.or_environment(
        before,
        status["source"].as_str().unwrap_or_default(),
        &credentials.access_key_id,
    );
    CredentialsOutput { credentials: &credentials, region_endpoint }.lines(dialect, before).map_err(CommandError::new)
}

/// Gets the credentials and the status, both of one lease. Only the status has the region and the endpoint.
async fn body_and_status(
    daemon: &DaemonClient,
    identity: &IdentityName,
) -> Result<(CredentialsBody, Value), CommandError> {
    let path = daemon_client::address::credentials_path(identity);
    let mut before = daemon.get(&path).await?;
    for _ in 0..MAX_TRIES {
        let body = CredentialsBody::read(&before)
            .map_err(|reason| daemon_client::exchange::not_a_daemon(&daemon.address, reason))?;
        let status = daemon.identity_status(identity).await?;
        let after = daemon.get(&path).await?;
        // The body is unchanged after the status was read, and both are about one lease.
        if after == before && body.matches(&status) {
            return Ok((body, status));
        }
        before = after;
    }
    Err(CommandError::new(format!(
        "identity {identity}: the credentials of {} changed in each of {MAX_TRIES} tries to read them with their endpoint; \
         `credenza status --watch` shows the changes; try again",
        daemon.address
    )))
}

/// The body of `GET /credentials`.
#[derive(serde::Deserialize)]
#[serde(rename_all = "PascalCase")]
struct CredentialsBody {
    access_key_id: Box<str>,
    secret_access_key: Secret,
    token: Secret,
    expiration: Box<str>,
    last_updated: Option<Box<str>>,
    account_id: Option<Box<str>>,
}

impl CredentialsBody {
    fn read(body: &[u8]) -> Result<Self, String> {
        serde_json::from_slice(body).map_err(|error| error.to_string())
    }

    fn credentials(&self) -> Result<Credentials, String> {
        let expiration = parse_timestamp(&self.expiration).map_err(|_| "its Expiration is not a timestamp")?;
        let keys = Credentials::new(&self.access_key_id, self.secret_access_key.expose())
            .and_then(|keys| keys.with_session_token(Some(self.token.expose())))
            .map_err(|error| error.to_string())?;
        Ok(keys.with_expiration(Some(expiration)).with_account_id(self.account_id.as_deref()))
    }

    /// Returns true if this status is about the lease of the body.
    fn matches(&self, status: &Value) -> bool {
        status["access_key_id"].as_str() == Some(&self.access_key_id)
            && status["loaded"].as_str() == self.last_updated.as_deref()
            && status["serve_until"].as_str() == Some(&self.expiration)
    }
}

fn line(body: &[u8]) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::with_capacity(2 * body.len() + 1));
    text.push_str(&String::from_utf8_lossy(body));
    text.push('\n');
    text
}
