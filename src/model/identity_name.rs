//! The name of an identity.

use std::fmt;
use std::sync::Arc;

use crate::model::text::Escaped;

/// The name of an identity: the part of a request's path after `/credentials/`.
///
/// Names come from `credenza.toml`, from profiles and from requests. `Display` escapes control characters.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct IdentityName(Arc<str>);

impl IdentityName {
    /// The name of the identity that always exists.
    pub(crate) const DEFAULT: &'static str = "default";

    /// Makes a name from any text. An identity of that name need not exist.
    pub(crate) fn new(text: impl Into<Arc<str>>) -> Self {
        Self(text.into())
    }

    /// The name as written, not escaped.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for IdentityName {
    fn default() -> Self {
        Self::new(Self::DEFAULT)
    }
}

impl From<&str> for IdentityName {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

impl std::borrow::Borrow<str> for IdentityName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for IdentityName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Escaped(&self.0).fmt(f)
    }
}

impl fmt::Debug for IdentityName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}
