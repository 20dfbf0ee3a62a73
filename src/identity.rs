//! From what the configuration says of an identity to what keeps it.

use crate::chain::{Chain, merge_credentials};
use crate::config::Identity;
use crate::keeper::Policy;
use crate::source::Source;

/// The chain of an identity.
#[must_use]
pub fn chain(identity: &Identity) -> Chain {
    let alone = identity.sources.len() == 1;
    let sources = identity.sources.iter().map(|spec| -> Box<dyn Source> { spec.build(alone) });
    merge_credentials(sources).on_failure(identity.on_failure)
}

/// How its lease is treated.
#[must_use]
pub fn policy(identity: &Identity) -> Policy {
    Policy { long_lived: identity.long_lived_expiration, load_timeout: identity.load_timeout, eager: identity.eager }
}
