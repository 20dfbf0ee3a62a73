//! What comes of looking for credentials in one place.

use std::borrow::Cow;

use crate::credentials::Credentials;
use crate::failure::Failure;

/// The three answers of a source. Only the second lets a chain go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// A complete key pair, perhaps one that has expired: who uses it judges that.
    Found(Credentials),
    /// Nobody set this source up here; the reason, for `check`: `AWS_ACCESS_KEY_ID is not set`.
    NotConfigured(Cow<'static, str>),
    /// Somebody did, and it does not work.
    Failing(Failure),
}

impl From<Failure> for Answer {
    fn from(failure: Failure) -> Self {
        Self::Failing(failure)
    }
}

impl Answer {
    /// Not configured here, and why.
    pub fn not_configured(reason: impl Into<Cow<'static, str>>) -> Self {
        Self::NotConfigured(reason.into())
    }

    /// Credentials, or the failure that stood in their way.
    pub fn from_result(result: Result<Credentials, Failure>) -> Self {
        result.map_or_else(Self::Failing, Self::Found)
    }
}
