//! The name of a client.

use std::fmt;
use std::sync::Arc;

/// The maximum length in characters. A name is part of log lines and of session names, which STS limits to 64.
const LONGEST: usize = 64;

/// The names that the broker itself uses in its logs.
const RESERVED: [&str; 4] = ["owner", "imds", "none", "other"];

/// The name of a client or a grant: 1 to 64 of the characters `A-Z`, `a-z`, `0-9`, `_`, `.`, `@` and `-`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ClientName(Arc<str>);

impl ClientName {
    /// The name of the client with the auth token.
    pub(crate) const OWNER: &'static str = "owner";

    /// Parses a name that a user has given.
    ///
    /// # Errors
    /// If it is too long, has other characters, or the broker uses it itself.
    pub(crate) fn parse(text: &str) -> Result<Self, &'static str> {
        let is_allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'@' | b'-');
        if text.is_empty() || text.len() > LONGEST || !text.bytes().all(is_allowed) {
            return Err("not the name of a client; use 1 to 64 of the characters A-Z, a-z, 0-9, _, ., @ and -");
        }
        if RESERVED.contains(&text) {
            return Err("logs use this name for a client of the broker itself; use another name");
        }
        Ok(Self(text.into()))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// A name of the broker's own. It is not checked.
impl From<&str> for ClientName {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

impl fmt::Display for ClientName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ClientName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_plain_names_only() {
        let longest = "x".repeat(64);
        for name in ["web", "a.b@c_d-9", "A", longest.as_str()] {
            assert_eq!(ClientName::parse(name).unwrap().as_str(), name);
        }
        let too_long = "x".repeat(65);
        for name in ["", " ", "a b", "a/b", "ä", "a\n", "{client}", "owner", "imds", too_long.as_str()] {
            assert!(ClientName::parse(name).is_err(), "{name:?}");
        }
    }
}
