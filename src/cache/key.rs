//! What tells sessions apart: a hash of all that makes them.

use std::fmt;
use std::hash::{Hash, Hasher};

use ring::digest;

use crate::model::credentials::Credentials;
use crate::model::secret::Secret;

/// Of **everything** that makes some credentials what they are: the way, its parameters, the caller, the endpoint. Two
/// that differ in anything never share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct CacheKey([u8; 32]);

/// Makes a [`CacheKey`], part by part.
#[derive(Clone)]
pub(crate) struct CacheKeyBuilder(digest::Context);

impl CacheKeyBuilder {
    /// For credentials that come this way: `assume role`, `sso`.
    #[must_use]
    pub(crate) fn new(way: &str) -> Self {
        Self(digest::Context::new(&digest::SHA256)).with(way)
    }

    /// One more part; `("ab", "c")` and `("a", "bc")` differ.
    #[must_use]
    pub(crate) fn with(mut self, part: impl AsRef<[u8]>) -> Self {
        let part = part.as_ref();
        self.0.update(&(part.len() as u64).to_be_bytes());
        self.0.update(part);
        self
    }

    /// A part that may be absent, which is something other than empty.
    #[must_use]
    pub(crate) fn with_optional(self, part: Option<impl AsRef<[u8]>>) -> Self {
        match part {
            Some(part) => self.with("+").with(part),
            None => self.with("-"),
        }
    }

    /// All that a value is told apart from others by; not what is printed of it, which may be cut.
    #[must_use]
    pub(crate) fn with_value(self, value: &impl Hash) -> Self {
        let mut inner = Self(digest::Context::new(&digest::SHA256));
        value.hash(&mut inner);
        self.with(inner.0.finish())
    }

    /// Who asks upstream: every part of these credentials that a signature depends on.
    #[must_use]
    pub(crate) fn with_caller(self, caller: &Credentials) -> Self {
        self.with(caller.access_key_id.as_bytes())
            .with(caller.secret_access_key.expose())
            .with_optional(caller.session_token.as_ref().map(Secret::expose))
    }

    /// The fingerprint.
    #[must_use]
    pub(crate) fn cache_key(self) -> CacheKey {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(self.0.finish().as_ref());
        CacheKey(bytes)
    }
}

/// Takes what a value feeds to it.
impl Hasher for CacheKeyBuilder {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The first bytes of the fingerprint.
    fn finish(&self) -> u64 {
        let CacheKey(bytes) = self.clone().cache_key();
        bytes.iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
    }
}

impl fmt::Debug for CacheKeyBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Parts")
    }
}
