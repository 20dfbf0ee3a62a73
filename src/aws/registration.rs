//! The registration of this program with SSO-OIDC.

use std::time::SystemTime;

use crate::model::secret::Secret;

/// This program as a registered client of SSO-OIDC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Registration {
    pub(crate) client_id: Secret,
    pub(crate) client_secret: Secret,
    /// The moment from which SSO-OIDC rejects the registration.
    pub(crate) expires: SystemTime,
}
