//! `credenza get`: resolves once, without a daemon, or asks a running one, and prints.

use serde_json::Value;
use zeroize::Zeroizing;

use crate::cli::command::{CommandError, resolve};
use crate::cli::daemon_client;
use crate::cli::daemon_client::DaemonClient;
use crate::cli::output::ProcessOutput;
use crate::cli::output::formats::OutputFormat;
use crate::cli::store_variables;
use crate::cli::store_variables::StoreVariables;
use crate::config::identity::Identity;
use crate::config::server::ServerConfig;
use crate::context::Context;
use crate::lease::Lease;
use crate::model::credentials::Credentials;
use crate::model::identity_name::IdentityName;
use crate::model::secret::Secret;
use crate::model::time::{parse_timestamp, timestamp};

/// A daemon that has another lease at each of so many looks, a few milliseconds apart, will not have one soon.
const TRIES: u32 = 5;

/// The credentials of an identity in one of the forms.
///
/// # Errors
/// When there are none, and why.
pub(crate) async fn get(
    context: &Context,
    identity: &Identity,
    format: OutputFormat,
) -> Result<Zeroizing<String>, CommandError> {
    let before = &context.environment;
    let context = &Context { environment: store_variables::forgotten(before), ..context.clone() };
    let resolved = resolve(context, identity).await?;
    let credentials = &resolved.credentials;
    let now = context.clock.now();
    if let Some(end) = credentials.expiration.filter(|end| *end <= now) {
        tracing::warn!(source = %resolved.source, expired = %timestamp(end), "these credentials have already expired");
    }
    if format == OutputFormat::Ecs {
        let lease = Lease::new(credentials, resolved.source, now, identity.long_lived_expiration);
        return Ok(line(&lease.body));
    }
    let Some(dialect) = format.dialect() else {
        return Ok(ProcessOutput { credentials, place: StoreVariables::default() }.process());
    };
    // The region is asked only where it is printed: it may cost a call.
    let region = resolved.chain.region(context, Some(resolved.winner)).await;
    let place = StoreVariables { region: region.as_deref(), endpoint: credentials.endpoint.as_deref() };
    let place = place.of_those(before, &resolved.source, &credentials.access_key_id);
    ProcessOutput { credentials, place }.lines(dialect, before).map_err(CommandError::because)
}

/// The same from a running daemon.
///
/// # Errors
/// When none runs, the listener is not its own, or it has none; with its message.
pub(crate) async fn from_daemon(
    server: &ServerConfig,
    context: &Context,
    identity: &IdentityName,
    format: OutputFormat,
) -> Result<Zeroizing<String>, CommandError> {
    let daemon = DaemonClient::find(server, context)?;
    let foreign = |why| daemon_client::foreign(daemon.address, why);
    let Some(dialect) = format.dialect() else {
        let body = daemon.ask(&daemon_client::path(identity)).await?;
        let credentials = CredentialsBody::read(&body).and_then(|body| body.credentials()).map_err(foreign)?;
        return Ok(match format {
            OutputFormat::Ecs => line(&body),
            _ => ProcessOutput { credentials: &credentials, place: StoreVariables::default() }.process(),
        });
    };
    let (body, said) = of_one_lease(&daemon, identity).await?;
    let mut credentials = body.credentials().map_err(foreign)?;
    if said["expiration"].is_null() {
        // The end in the body is one until which the answer is good: programs with variables cannot ask again.
        credentials.expiration = None;
    }
    let place = StoreVariables { region: said["region"].as_str(), endpoint: said["endpoint"].as_str() };
    let before = &context.environment;
    let place = place.of_those(before, said["source"].as_str().unwrap_or_default(), &credentials.access_key_id);
    ProcessOutput { credentials: &credentials, place }.lines(dialect, before).map_err(CommandError::because)
}

/// The body, which has neither region nor endpoint, and what `/status` says of the same lease.
async fn of_one_lease(
    daemon: &DaemonClient,
    identity: &IdentityName,
) -> Result<(CredentialsBody, Value), CommandError> {
    let path = daemon_client::path(identity);
    let mut before = daemon.ask(&path).await?;
    for _ in 0..TRIES {
        let body = CredentialsBody::read(&before).map_err(|why| daemon_client::foreign(daemon.address, why))?;
        let said = daemon.status_of(identity).await?;
        let after = daemon.ask(&path).await?;
        // Nothing that is printed changed between the two, and the status is that of a lease loaded then.
        if after == before && body.is_of(&said) {
            return Ok((body, said));
        }
        before = after;
    }
    Err(CommandError::because(format!(
        "identity {identity}: {} had other credentials each of the {TRIES} times that it was asked for them and for their \
         endpoint, and those of two are never mixed; `credenza status --watch` shows what changes; ask again",
        daemon.address
    )))
}

/// What the body of `GET /credentials` holds.
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
        let expiration = parse_timestamp(&self.expiration).map_err(|_| "its Expiration is no timestamp")?;
        let keys = Credentials::new(&self.access_key_id, self.secret_access_key.expose())
            .and_then(|keys| keys.with_session_token(Some(self.token.expose())))
            .map_err(|error| error.to_string())?;
        Ok(keys.with_expiration(Some(expiration)).with_account_id(self.account_id.as_deref()))
    }

    /// Whether `/status` speaks of the lease that this was rendered of.
    fn is_of(&self, said: &Value) -> bool {
        said["access_key_id"].as_str() == Some(&self.access_key_id)
            && said["loaded"].as_str() == self.last_updated.as_deref()
            && said["serve_until"].as_str() == Some(&self.expiration)
    }
}

fn line(body: &[u8]) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::with_capacity(2 * body.len() + 1));
    text.push_str(&String::from_utf8_lossy(body));
    text.push('\n');
    text
}
