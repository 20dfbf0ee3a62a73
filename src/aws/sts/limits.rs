//! Checks requests against the limits of STS, so that a request that STS would refuse is never sent.

use crate::aws::sts::{AssumeRoleRequest, FederationTokenRequest, WebIdentityRequest};
use crate::model::credentials::Credentials;
use crate::model::error::SourceError;
use crate::model::session_limits::{
    FEDERATED_NAME_LENGTH, NAME_LENGTH, check_federation_duration, check_name, check_policies, check_role_duration,
    check_source_identity, check_tags,
};

/// The beginning of the ids of long-lived access keys (IAM User Guide, "Unique identifiers").
const LONG_LIVED: &str = "AKIA";

fn misconfigured(why: String) -> SourceError {
    SourceError::misconfigured(why)
}

pub(super) fn check_role(role: &AssumeRoleRequest, caller: &Credentials) -> Result<(), SourceError> {
    check_name("session_name", &role.session_name, &NAME_LENGTH).map_err(misconfigured)?;
    check_policies(role.policy.as_ref(), &role.policy_arns).map_err(misconfigured)?;
    check_tags(&role.tags).map_err(misconfigured)?;
    if let Some(name) = &role.source_identity {
        check_source_identity(name).map_err(misconfigured)?;
    }
    let is_chained = caller.session.as_ref().is_some_and(|session| session.is_of_role);
    role.duration.map_or(Ok(()), |duration| check_role_duration(duration, is_chained)).map_err(misconfigured)
}

pub(super) fn check_web_identity(role: &WebIdentityRequest) -> Result<(), SourceError> {
    check_name("session_name", &role.session_name, &NAME_LENGTH).map_err(misconfigured)?;
    check_policies(role.policy.as_ref(), &role.policy_arns).map_err(misconfigured)?;
    role.duration.map_or(Ok(()), |duration| check_role_duration(duration, false)).map_err(misconfigured)
}

pub(super) fn check_federation(user: &FederationTokenRequest, caller: &Credentials) -> Result<(), SourceError> {
    if !is_key_of_iam_user(caller) {
        let message = "GetFederationToken needs the long-lived keys of an IAM user (AKIA…, without a session token)";
        return Err(SourceError::misconfigured(message));
    }
    if user.policy.is_none() && user.policy_arns.is_empty() {
        let message = "a federated user without a session policy has no rights";
        return Err(SourceError::misconfigured(message).with_hint("name a policy"));
    }
    check_name("the name of the federated user", &user.name, &FEDERATED_NAME_LENGTH).map_err(misconfigured)?;
    check_policies(user.policy.as_ref(), &user.policy_arns).map_err(misconfigured)?;
    check_tags(&user.tags).map_err(misconfigured)?;
    user.duration.map_or(Ok(()), check_federation_duration).map_err(misconfigured)
}

/// Returns true if these are long-lived keys of AWS. Those of the root user look alike.
pub(crate) fn is_key_of_iam_user(keys: &Credentials) -> bool {
    keys.is_long_lived() && keys.access_key_id.starts_with(LONG_LIVED)
}
