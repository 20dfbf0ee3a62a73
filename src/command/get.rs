//! `credenza get`: resolves once, without a daemon, or asks a running one, and prints.

use serde_json::Value;
use zeroize::Zeroizing;

use super::daemon::{self, Daemon};
use super::format::{Format, Printed};
use super::{Failed, resolve};
use crate::clock::{parse_timestamp, timestamp};
use crate::config::{Identity, ServerConfig};
use crate::credentials::{Credentials, Name};
use crate::lease::Lease;
use crate::secret::Secret;
use crate::world::World;

/// The credentials of an identity in one of the forms.
///
/// # Errors
/// When there are none, and why.
pub async fn get(world: &World, identity: &Identity, format: Format) -> Result<Zeroizing<String>, Failed> {
    let resolved = resolve(world, identity).await?;
    let credentials = &resolved.credentials;
    let now = world.clock.now();
    if let Some(end) = credentials.expiration.filter(|end| *end <= now) {
        tracing::warn!(source = %resolved.source, expired = %timestamp(end), "these credentials have already expired");
    }
    if format == Format::Ecs {
        let lease = Lease::new(credentials, resolved.source, now, identity.long_lived_expiration);
        return Ok(line(&lease.body));
    }
    let Some(dialect) = format.dialect() else {
        return Ok(Printed { credentials, region: None }.process());
    };
    // The region is asked only where it is printed: it may cost a call.
    let region = resolved.chain.region(world, Some(resolved.winner)).await;
    Printed { credentials, region: region.as_deref() }.lines(dialect).map_err(Failed::because)
}

/// The same from a running daemon.
///
/// # Errors
/// When none runs, the listener is not its own, or it has none; with its message.
pub async fn from_daemon(
    server: &ServerConfig,
    world: &World,
    identity: &Name,
    format: Format,
) -> Result<Zeroizing<String>, Failed> {
    let daemon = Daemon::find(server, world)?;
    let body = daemon.ask(&daemon::path(identity)).await?;
    let mut credentials = read(&body).map_err(|why| daemon::foreign(daemon.address, why))?;
    if format == Format::Ecs {
        return Ok(line(&body));
    }
    let Some(dialect) = format.dialect() else {
        return Ok(Printed { credentials: &credentials, region: None }.process());
    };
    // The body has neither region nor endpoint.
    let status = daemon.ask("/status").await?;
    let status: Value = serde_json::from_slice(&status).map_err(|error| daemon::foreign(daemon.address, error))?;
    let said = &status["identities"][identity.as_str()];
    credentials.endpoint = said["endpoint"].as_str().map(Into::into);
    Printed { credentials: &credentials, region: said["region"].as_str() }.lines(dialect).map_err(Failed::because)
}

/// What the body of `GET /credentials` holds.
fn read(body: &[u8]) -> Result<Credentials, String> {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Body {
        access_key_id: Box<str>,
        secret_access_key: Secret,
        token: Secret,
        expiration: Box<str>,
        account_id: Option<Box<str>>,
    }
    let body: Body = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    let expiration = parse_timestamp(&body.expiration).map_err(|_| "its Expiration is no timestamp")?;
    let keys = Credentials::new(&body.access_key_id, body.secret_access_key.expose())
        .and_then(|keys| keys.with_session_token(Some(body.token.expose())))
        .map_err(|error| error.to_string())?;
    Ok(keys.with_expiration(Some(expiration)).with_account_id(body.account_id.as_deref()))
}

fn line(body: &[u8]) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::with_capacity(2 * body.len() + 1));
    text.push_str(&String::from_utf8_lossy(body));
    text.push('\n');
    text
}
