//! The key of the credential cache: a hash of everything that makes the credentials.

use std::fmt;
use std::hash::{Hash, Hasher};

use ring::digest;

use crate::model::credentials::Credentials;
use crate::model::secret::Secret;
use crate::model::text::hex;

/// A hash of **everything** that makes the credentials: the method, its parameters, the caller and the endpoint. Two
/// requests that differ in one part never share credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct CacheKey([u8; 32]);

impl CacheKey {
    /// Parses a key as [`fmt::Display`] prints it. `None` for any other text.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        if text.len() != 64 || !text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
            return None;
        }
        let mut bytes = [0; 32];
        for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
            *byte = u8::from_str_radix(str::from_utf8(digits).ok()?, 16).ok()?;
        }
        Some(Self(bytes))
    }
}

/// Prints the key in hexadecimal. It tells nothing about the credentials in it: a secret key has 240 random bits.
impl fmt::Display for CacheKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

#[derive(Clone)]
pub(crate) struct CacheKeyBuilder(digest::Context);

impl CacheKeyBuilder {
    /// Begins the key of a method, for example `assume role` or `sso`.
    pub(crate) fn new(method: &str) -> Self {
        Self(digest::Context::new(&digest::SHA256)).with(method)
    }

    /// Adds a part. Its length is hashed, too, so that `("ab", "c")` and `("a", "bc")` differ.
    pub(crate) fn with(mut self, part: impl AsRef<[u8]>) -> Self {
        let part = part.as_ref();
        self.0.update(&(part.len() as u64).to_be_bytes());
        self.0.update(part);
        self
    }

    /// Adds an optional part. An absent part differs from an empty one.
    pub(crate) fn with_optional(self, part: Option<impl AsRef<[u8]>>) -> Self {
        match part {
            Some(part) => self.with("+").with(part),
            None => self.with("-"),
        }
    }

    /// Adds a value by its `Hash`. Its `Debug` text may be shortened, and two values may print alike.
    pub(crate) fn with_value(self, value: &impl Hash) -> Self {
        let mut inner = Self(digest::Context::new(&digest::SHA256));
        value.hash(&mut inner);
        self.with(inner.0.finish())
    }

    /// Adds the credentials of the caller: every part that a signature depends on.
    pub(crate) fn with_caller(self, caller: &Credentials) -> Self {
        self.with(caller.access_key_id.as_bytes())
            .with(caller.secret_access_key.expose())
            .with_optional(caller.session_token.as_ref().map(Secret::expose))
    }

    pub(crate) fn cache_key(self) -> CacheKey {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(self.0.finish().as_ref());
        CacheKey(bytes)
    }
}

impl Hasher for CacheKeyBuilder {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Returns the first eight bytes of the key.
    fn finish(&self) -> u64 {
        let CacheKey(bytes) = self.clone().cache_key();
        bytes.iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
    }
}

impl fmt::Debug for CacheKeyBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CacheKeyBuilder")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_back_the_printed_key() {
        let key = CacheKeyBuilder::new("MFA session").cache_key();
        let text = key.to_string();
        assert_eq!(CacheKey::parse(&text), Some(key));
        for other in ["", &text[..63], &format!("{text}0"), &text.to_uppercase(), &text.replacen('a', "+", 1), "é"] {
            assert!(other == text || CacheKey::parse(other).is_none(), "{other}");
        }
    }
}
