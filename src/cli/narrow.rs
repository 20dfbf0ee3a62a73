//! Changes an identity for one command: the role of `--role-arn`, and the limits of `--policy`, `--policy-arn` and
//! `--for`.

use std::time::Duration;

use crate::aws::arn::DisplayArn;
use crate::cli::command_options::PolicyOptions;
use crate::cli::error::CommandError;
use crate::config::identity::Identity;
use crate::context::Context;
use crate::model::narrowing::Narrowing;
use crate::model::session_limits::{check_policies, check_role_duration};
use crate::source::policy_file;
use crate::source::spec::RoleSpec;

/// Returns the identity with the role and the narrowing of the flags. The time of `lifetime` begins now.
///
/// # Errors
/// If the policy cannot be read, or STS would refuse the policies.
pub(crate) async fn narrowed(
    context: &Context,
    identity: Identity,
    role: Option<RoleSpec>,
    policies: PolicyOptions,
    lifetime: Option<Duration>,
) -> Result<Identity, CommandError> {
    let identity = match role {
        Some(role) => with_role(identity, role)?,
        None => identity,
    };
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

/// Returns the identity with a role that is assumed with its credentials.
fn with_role(identity: Identity, role: RoleSpec) -> Result<Identity, CommandError> {
    if let Some(assumed) = &identity.assume {
        return Err(CommandError::new(format!(
            "--role-arn: identity {} assumes {} already; leave --role-arn out, or name an identity without assume",
            identity.name,
            DisplayArn(&assumed.arn)
        )));
    }
    let is_chained = identity.sources.iter().any(|source| source.kind.is_role_session());
    if let Some(duration) = role.duration {
        check_role_duration(duration, is_chained).map_err(|why| CommandError::new(format!("--{why}")))?;
    }
    Ok(Identity { assume: Some(role), ..identity })
}
