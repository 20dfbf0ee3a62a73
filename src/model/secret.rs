//! The only type that holds secrets.

use std::fmt;

use subtle::ConstantTimeEq;
use zeroize::Zeroize;

/// A secret access key, a session token or the broker's own token.
///
/// It has no `Display` and no `Serialize`, and its `Debug` prints `[redacted]`. Dropping it overwrites its memory.
/// Comparing two secrets of one length takes constant time.
#[derive(Clone)]
pub struct Secret(Box<str>);

impl Secret {
    /// Takes ownership of the text. The caller keeps no copy.
    pub fn new(text: impl Into<Box<str>>) -> Self {
        Self(text.into())
    }

    /// Returns the text. It may leave the process only in response bodies, requests to services, cache files, and the
    /// output of `get`, `env` and `exec`.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Returns true if this is the text. The time depends only on the length of the text.
    #[must_use]
    pub fn is(&self, text: &[u8]) -> bool {
        let ours = self.0.as_bytes();
        if ours.len() != text.len() {
            return false;
        }
        // Combine the differences of all words, and compare the result once in constant time. Whole words need no copy.
        let ((ours, rest), (theirs, their_rest)) = (ours.as_chunks::<8>(), text.as_chunks::<8>());
        let last = rest.iter().zip(their_rest).fold(0, |difference, (a, b)| difference | (a ^ b));
        let differences = ours.iter().zip(theirs).map(|(a, b)| u64::from_ne_bytes(*a) ^ u64::from_ne_bytes(*b));
        let difference = differences.fold(u64::from(last), |difference, word| difference | word);
        difference.ct_eq(&0).into()
    }

    /// Returns true if the text is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.is(other.0.as_bytes())
    }
}

impl Eq for Secret {}

impl<'de> serde::Deserialize<'de> for Secret {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::from)
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self::new(text)
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_no_secret() {
        assert_eq!(format!("{:?}", Some(Secret::from("hunter2"))), "Some([redacted])");
    }

    #[test]
    fn compares_by_content() {
        assert_eq!(Secret::from("a"), Secret::from("a"));
        assert_ne!(Secret::from("a"), Secret::from("ab"));
        let text = "0123456789abcdefghi";
        for length in 0..=text.len() {
            let secret = Secret::from(&text[..length]);
            assert!(secret.is(&text.as_bytes()[..length]));
            for at in 0..length {
                let mut other = text.as_bytes()[..length].to_vec();
                other[at] ^= 1;
                assert!(!secret.is(&other), "{length} {at}");
            }
        }
    }
}
