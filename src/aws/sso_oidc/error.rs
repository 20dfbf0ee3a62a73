//! The errors of SSO-OIDC.

use std::fmt;

use crate::model::error::SourceError;

#[derive(Clone, Debug)]
pub(crate) struct OidcError {
    pub(crate) code: OidcErrorCode,
    pub(crate) error: SourceError,
}

/// The error codes of SSO-OIDC that callers distinguish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OidcErrorCode {
    /// The person has not approved the authorization yet.
    Pending,
    /// The person has not approved the authorization yet, and we poll too often.
    SlowDown,
    /// The person or an administrator refused the authorization.
    AccessDenied,
    /// The device code, or the session of a refresh token, has expired.
    Expired,
    /// The refresh token is not valid, or not valid any more.
    InvalidGrant,
    /// The registration is not valid, or not valid any more.
    InvalidClient,
    /// Another code, or no answer.
    Other,
}

impl OidcErrorCode {
    pub(super) fn of(code: &str) -> Self {
        match code {
            "authorization_pending" => Self::Pending,
            "slow_down" => Self::SlowDown,
            "access_denied" => Self::AccessDenied,
            "expired_token" => Self::Expired,
            "invalid_grant" => Self::InvalidGrant,
            "invalid_client" | "unauthorized_client" => Self::InvalidClient,
            _ => Self::Other,
        }
    }
}

impl OidcError {
    /// Returns true if no further request with these tokens can succeed.
    pub(crate) fn ends_the_session(&self) -> bool {
        matches!(
            self.code,
            OidcErrorCode::AccessDenied
                | OidcErrorCode::Expired
                | OidcErrorCode::InvalidGrant
                | OidcErrorCode::InvalidClient
        )
    }
}

impl From<SourceError> for OidcError {
    fn from(error: SourceError) -> Self {
        Self { code: OidcErrorCode::Other, error }
    }
}

impl fmt::Display for OidcError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}
