//! Chooses the sessions that the supervisor drops: those of a client that has lost an identity, or is gone.

use std::fmt;

use crate::lease::key::{LeaseKey, NarrowedIdentity};

/// Returns true for each session to be dropped. The server makes it, because it alone knows the clients.
pub(crate) struct SessionFilter(Box<dyn Fn(&NarrowedIdentity) -> bool + Send>);

impl SessionFilter {
    pub(crate) fn new(matches: impl Fn(&NarrowedIdentity) -> bool + Send + 'static) -> Self {
        Self(Box::new(matches))
    }

    /// Chooses all sessions of this client.
    pub(crate) fn of_client(client: &str) -> Self {
        let client = Box::<str>::from(client);
        Self::new(move |session| session.narrowing.client.as_ref() == Some(&client))
    }

    /// Chooses the session of this key alone.
    pub(crate) fn of_key(key: LeaseKey) -> Self {
        Self::new(move |session| matches!(&key, LeaseKey::Narrowed(narrowed) if **narrowed == *session))
    }

    pub(crate) fn matches(&self, session: &NarrowedIdentity) -> bool {
        (self.0)(session)
    }
}

impl fmt::Debug for SessionFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionFilter").finish_non_exhaustive()
    }
}
