//! A narrowing: what makes a session of an identity differ from the identity's own lease.

use std::time::{Duration, SystemTime};

use crate::model::policy::SessionPolicy;

/// The narrowing of an identity for one client, grant or command. Equal narrowings of one identity share a lease.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Narrowing {
    /// The session policy. The session may do what the identity and this policy both allow.
    pub(crate) policy: Option<SessionPolicy>,
    /// The ARNs of managed policies that limit the session in the same way.
    pub(crate) policy_arns: Vec<Box<str>>,
    /// The longest duration of one session. STS gives 15 minutes at least; a lease that is needed longer is renewed.
    pub(crate) duration: Option<Duration>,
    /// The client of the session, which fills `{client}`. `None` means the owner.
    pub(crate) client: Option<Box<str>>,
    /// The user of the client, which fills `{user}`.
    pub(crate) user: Option<Box<str>>,
    /// The moment at which the lease ends, whatever the session does. No later expiration is told.
    pub(crate) until: Option<SystemTime>,
}

impl Narrowing {
    /// Returns true if the session may do less than the identity.
    pub(crate) fn has_policy(&self) -> bool {
        self.policy.is_some() || !self.policy_arns.is_empty()
    }
}
