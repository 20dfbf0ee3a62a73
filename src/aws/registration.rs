//! What SSO-OIDC knows this program by.

use std::time::SystemTime;

use crate::secret::Secret;

/// This program as it is registered with SSO-OIDC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registration {
    /// Its name there.
    pub client_id: Secret,
    /// Its proof.
    pub client_secret: Secret,
    /// The moment from which SSO-OIDC does not know it any more.
    pub expires: SystemTime,
}
