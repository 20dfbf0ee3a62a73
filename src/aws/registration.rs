//! What SSO-OIDC knows this program by.

use std::time::SystemTime;

use crate::model::secret::Secret;

/// This program as it is registered with SSO-OIDC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Registration {
    /// Its name there.
    pub(crate) client_id: Secret,
    /// Its proof.
    pub(crate) client_secret: Secret,
    /// The moment from which SSO-OIDC does not know it any more.
    pub(crate) expires: SystemTime,
}
