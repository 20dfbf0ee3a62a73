//! The keys of leases: an identity, or an identity that is narrowed for one client, grant or command.

use std::sync::Arc;

use crate::model::identity_name::IdentityName;
use crate::model::narrowing::Narrowing;

/// The key of a lease.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum LeaseKey {
    /// The lease that all clients of an identity share.
    Identity(IdentityName),
    /// The lease of one client, grant or command.
    Narrowed(Arc<NarrowedIdentity>),
}

/// An identity that is narrowed for one client, grant or command.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct NarrowedIdentity {
    pub(crate) identity: IdentityName,
    pub(crate) narrowing: Narrowing,
}

impl LeaseKey {
    /// Makes the key of an identity that is narrowed.
    pub(crate) fn narrowed(identity: IdentityName, narrowing: Narrowing) -> Self {
        Self::Narrowed(Arc::new(NarrowedIdentity { identity, narrowing }))
    }

    /// Returns the key of the same identity and the same names with the policies and the times of this narrowing.
    pub(crate) fn narrowed_further(&self, narrowing: &Narrowing) -> Self {
        let (client, user) = match self {
            Self::Identity(_) => (None, None),
            Self::Narrowed(narrowed) => (narrowed.narrowing.client.clone(), narrowed.narrowing.user.clone()),
        };
        let client = narrowing.client.clone().or(client);
        Self::narrowed(self.identity().clone(), Narrowing { client, user, ..narrowing.clone() })
    }

    pub(crate) fn identity(&self) -> &IdentityName {
        match self {
            Self::Identity(name) => name,
            Self::Narrowed(narrowed) => &narrowed.identity,
        }
    }

    /// Returns the client of a lease that no other client shares.
    pub(crate) fn client(&self) -> Option<&str> {
        match self {
            Self::Identity(_) => None,
            Self::Narrowed(narrowed) => narrowed.narrowing.client.as_deref(),
        }
    }
}
