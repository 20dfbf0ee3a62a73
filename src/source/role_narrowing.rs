//! The narrowing of a role: what its request to STS gets, so that its session may do less.

use std::time::Duration;

use crate::model::credentials::Credentials;
use crate::model::error::SourceError;
use crate::model::narrowing::Narrowing;
use crate::model::session_limits::ROLE_DURATION;
use crate::model::session_name::{SessionNames, SessionTextKind, fill};
use crate::source::spec::RoleSpec;

/// The duration of a session without a configured one: the default of AssumeRole.
pub(super) const DEFAULT_DURATION: Duration = Duration::from_secs(3600);

/// The session name of a narrowed session without a client.
const NAME_OF_IDENTITY: &str = "credenza-{identity}";

/// The narrowing of an identity, with the names of its sessions.
#[derive(Debug)]
pub(crate) struct RoleNarrowing {
    pub(super) narrowing: Narrowing,
    names: SessionNames,
}

impl RoleNarrowing {
    pub(crate) fn new(narrowing: Narrowing, names: SessionNames) -> Self {
        Self { narrowing, names }
    }

    pub(crate) fn has_policy(&self) -> bool {
        self.narrowing.has_policy()
    }

    /// Narrows the request for a role.
    ///
    /// # Errors
    /// If the role has a policy of its own. A second policy would take its place, and could allow more.
    pub(crate) fn apply(&self, role: &mut RoleSpec) -> Result<(), SourceError> {
        let Narrowing { policy, policy_arns, duration, client, .. } = &self.narrowing;
        if self.has_policy() {
            if role.has_policy() {
                let message = "the role has a session policy of its own, and a further one would replace it";
                let hint = "leave the further policy out, or use an identity without a policy";
                return Err(SourceError::misconfigured(message).with_hint(hint));
            }
            role.policy.clone_from(policy);
            role.policy_arns.clone_from(policy_arns);
        }
        if let Some(duration) = duration {
            let longest = role.duration.unwrap_or(DEFAULT_DURATION).max(*ROLE_DURATION.start());
            role.duration = Some((*duration).clamp(*ROLE_DURATION.start(), longest));
        }
        if role.session_name.is_none() && (client.is_some() || self.has_policy()) {
            role.session_name = Some(self.name(SessionTextKind::Name)?);
        }
        Ok(())
    }

    pub(super) fn name(&self, kind: SessionTextKind) -> Result<Box<str>, SourceError> {
        let text = if self.narrowing.client.is_some() { "{client}" } else { NAME_OF_IDENTITY };
        fill(text, &self.names, kind).map_err(SourceError::misconfigured)
    }

    /// Returns true if STS has narrowed the session of these credentials in this way.
    pub(super) fn is_applied(&self, credentials: &Credentials) -> bool {
        let Narrowing { policy, policy_arns, .. } = &self.narrowing;
        credentials
            .session
            .as_ref()
            .is_some_and(|session| session.policy == *policy && session.policy_arns == *policy_arns)
    }
}
