//! `credenza get`: resolves once, without a daemon, and prints.

use zeroize::Zeroizing;

use super::format::Printed;
use super::{Failed, resolve};
use crate::arguments::Format;
use crate::clock::timestamp;
use crate::config::Identity;
use crate::lease::Lease;
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

fn line(body: &[u8]) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::with_capacity(2 * body.len() + 1));
    text.push_str(&String::from_utf8_lossy(body));
    text.push('\n');
    text
}
