//! One set of credentials, always moved as a unit.

use crate::model::location::Location;
use crate::model::text::{InvalidText, usable};
use std::sync::Arc;
use std::time::SystemTime;

use crate::model::secret::Secret;

/// A key pair with all that belongs to it. An endpoint, token or account of one source never meets the keys of another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// `AKIA…` (long-lived) or `ASIA…` (temporary); not a secret, but the name of one.
    pub access_key_id: Box<str>,
    /// The signing key.
    pub secret_access_key: Secret,
    /// Present with temporary credentials; `None` with long-lived ones.
    pub session_token: Option<Secret>,
    /// The moment from which upstream refuses them; `None` when unknown or never.
    pub expiration: Option<SystemTime>,
    /// The twelve-digit account, only when the source is certain of it.
    pub account_id: Option<Box<str>>,
    /// The S3 endpoint that these keys are for, without user info.
    pub endpoint: Option<Box<str>>,
    /// The moment from which there will be no new ones until a person has logged in again, where it is known.
    pub login_ends: Option<Arc<LoginEnd>>,
    /// Where they are written or asked for, for messages.
    pub location: Option<Location>,
}

/// When a log-in ends, and what a person then runs; behind one pointer, for it travels with every answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoginEnd {
    /// The moment.
    pub at: SystemTime,
    /// The command that logs in again: `credenza login --sso-session work`.
    pub remedy: Box<str>,
}

impl Credentials {
    /// A long-lived key pair with nothing else. Surrounding white space is not part of a key.
    ///
    /// # Errors
    /// When either half is empty or holds a control character.
    pub fn new(access_key_id: &str, secret_access_key: &str) -> Result<Self, InvalidText> {
        Ok(Self {
            access_key_id: usable("access key id", access_key_id)?.into(),
            secret_access_key: Secret::new(usable("secret access key", secret_access_key)?),
            session_token: None,
            expiration: None,
            account_id: None,
            endpoint: None,
            login_ends: None,
            location: None,
        })
    }

    /// The same with a session token; an empty one is no token.
    ///
    /// # Errors
    /// When the token holds a control character.
    pub fn with_session_token(mut self, token: Option<&str>) -> Result<Self, InvalidText> {
        self.session_token = match token.map(str::trim) {
            None | Some("") => None,
            Some(token) => Some(Secret::new(usable("session token", token)?)),
        };
        Ok(self)
    }

    /// The same with an account id; what is not made of twelve digits is not certain and is left out.
    #[must_use]
    pub fn with_account_id(mut self, account_id: Option<&str>) -> Self {
        self.account_id = account_id
            .map(str::trim)
            .filter(|id| id.len() == 12 && id.bytes().all(|b| b.is_ascii_digit()))
            .map(Into::into);
        self
    }

    /// The same with an expiration.
    #[must_use]
    pub fn with_expiration(mut self, expiration: Option<SystemTime>) -> Self {
        self.expiration = expiration;
        self
    }

    /// Whether they are long-lived keys: those without a token. Whoever gave them may say when they end all the same.
    #[must_use]
    pub fn is_long_lived(&self) -> bool {
        self.session_token.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_trimmed_and_checked() {
        let keys = Credentials::new(" AKIA1\n", "\tsecret ").unwrap();
        assert_eq!((&*keys.access_key_id, keys.secret_access_key.expose()), ("AKIA1", "secret"));
        assert_eq!(Credentials::new("", "s").unwrap_err(), InvalidText::Empty("access key id"));
        assert_eq!(Credentials::new("A", " ").unwrap_err(), InvalidText::Empty("secret access key"));
        for bad in ["a\nb", "a\0b", "a\u{7f}b", "a\u{85}b"] {
            assert_eq!(Credentials::new("A", bad).unwrap_err(), InvalidText::ControlCharacter("secret access key"));
            assert!(keys.clone().with_session_token(Some(bad)).is_err());
        }
    }

    #[test]
    fn an_empty_token_is_none_and_an_odd_account_is_not_certain() {
        let keys = Credentials::new("A", "s").unwrap();
        assert_eq!(keys.clone().with_session_token(Some(" ")).unwrap().session_token, None);
        assert_eq!(keys.clone().with_account_id(Some("123456789012")).account_id.as_deref(), Some("123456789012"));
        for odd in ["", "12345678901", "1234567890123", "12345678901x"] {
            assert_eq!(keys.clone().with_account_id(Some(odd)).account_id, None, "{odd}");
        }
    }

    #[test]
    fn debug_of_credentials_shows_no_secret() {
        let keys = Credentials::new("AKIA1", "hunter2").unwrap().with_session_token(Some("tok-en")).unwrap();
        let shown = format!("{keys:?}");
        assert!(shown.contains("AKIA1") && !shown.contains("hunter2") && !shown.contains("tok-en"), "{shown}");
    }
}
