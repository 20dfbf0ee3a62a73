//! The lease that a changed identity inherits.

use crate::config::identity::Identity;
use crate::lease::Lease;
use crate::source::spec::{LongLivedKeys, RoleSpec, SourceSpec};

/// Returns true if the old lease may be served until the first load of the new chain has ended. It may not if the new
/// configuration gives clients less: if it exchanges long-lived keys for sessions, assumes another role, or limits
/// sessions by other policies.
///
/// With clients, other sources give no old lease: the same reload may give the identity to a client that never had the
/// earlier principal.
pub(super) fn may_inherit(lease: &Lease, old: &Identity, identity: &Identity, has_clients: bool) -> bool {
    let is_another = has_clients && (old.sources != identity.sources || old.assume != identity.assume);
    let is_exchanged = lease.is_long_lived && matches!(identity.long_lived_keys, LongLivedKeys::Session { .. });
    let is_assumed = identity.assume.is_some() && identity.assume != old.assume;
    let is_narrowed = identity.narrowing != old.narrowing;
    let policies = policies(identity);
    !is_another
        && !is_exchanged
        && !is_assumed
        && !is_narrowed
        && (policies.is_empty() || policies == self::policies(old))
}

/// Returns the session policies of the roles in the sources.
fn policies(identity: &Identity) -> Vec<RoleSpec> {
    let roles = identity.sources.iter().filter_map(SourceSpec::role).filter(|role| role.has_policy());
    let policy_of = |role: &RoleSpec| RoleSpec {
        policy: role.policy.clone(),
        policy_file: role.policy_file.clone(),
        policy_arns: role.policy_arns.clone(),
        ..RoleSpec::default()
    };
    roles.map(policy_of).collect()
}
