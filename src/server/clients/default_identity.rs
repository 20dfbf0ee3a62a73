//! The identity that `default` means, and what a request gets.

use std::time::{Duration, SystemTime};

use crate::model::identity_name::IdentityName;

/// The identity that `default` means for clients that may have more than one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DefaultIdentity {
    /// The identity in the place of `default`, and its end. `None` while `default` means itself.
    pub(crate) switched: Option<(IdentityName, Option<SystemTime>)>,
    /// The maximum lifetime in an answer. A short one makes clients ask again soon after a switch.
    pub(crate) lifetime: Duration,
}

/// The identity that a request gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) identity: IdentityName,
    /// The latest expiration that the answer may tell.
    pub(crate) latest: Option<SystemTime>,
}

impl DefaultIdentity {
    /// Returns the identity that is meant at `now`, and the latest expiration to tell.
    pub(crate) fn target(&self, now: SystemTime) -> Target {
        let switched = self.switched.as_ref().filter(|(_, end)| end.is_none_or(|end| now < end));
        let latest = now + self.lifetime;
        match switched {
            Some((identity, end)) => {
                Target { identity: identity.clone(), latest: Some(end.map_or(latest, |end| end.min(latest))) }
            }
            None => Target { identity: IdentityName::default(), latest: Some(latest) },
        }
    }
}
