//! Narrows an identity for one command: `--policy`, `--policy-arn` and `--for`.

use std::time::Duration;

use crate::cli::args::options::PolicyOptions;
use crate::cli::error::CommandError;
use crate::config::identity::Identity;
use crate::context::Context;
use crate::model::narrowing::Narrowing;
use crate::model::session_limits::check_policies;
use crate::source::policy_file;

/// Returns the identity with the narrowing of the flags. The time of `lifetime` begins now.
///
/// # Errors
/// If the policy cannot be read, or STS would refuse the policies.
pub(crate) async fn narrowed(
    context: &Context,
    identity: Identity,
    policies: PolicyOptions,
    lifetime: Option<Duration>,
) -> Result<Identity, CommandError> {
    let PolicyOptions { policy, policy_arn: policy_arns } = policies;
    let policy = match policy {
        Some(path) => Some(policy_file::read(context, &path).await.map_err(CommandError::new)?),
        None => None,
    };
    check_policies(policy.as_ref(), &policy_arns).map_err(CommandError::new)?;
    if policy.is_none() && policy_arns.is_empty() && lifetime.is_none() {
        return Ok(identity);
    }
    let until = lifetime.map(|lifetime| context.clock.now() + lifetime);
    let narrowing = Narrowing { policy, policy_arns, duration: lifetime, until, ..Narrowing::default() };
    Ok(Identity { narrowing: Some(narrowing), ..identity })
}
