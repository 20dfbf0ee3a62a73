//! One set of credentials, always moved as a unit.

use std::sync::Arc;
use std::time::SystemTime;

use crate::model::location::Location;
use crate::model::secret::Secret;
use crate::model::text::{InvalidText, usable};

/// A key pair with everything that belongs to it. All parts come from one source: the keys of one source are never
/// combined with the token, account or endpoint of another source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// The access key id: `AKIA…` for long-lived keys, `ASIA…` for temporary ones. It identifies the secret key and is
    /// not secret.
    pub access_key_id: Box<str>,
    /// The key that signs requests.
    pub secret_access_key: Secret,
    /// The session token of temporary credentials. `None` for long-lived keys.
    pub session_token: Option<Secret>,
    /// The moment from which services refuse the credentials. `None` if they never expire or the moment is unknown.
    pub expiration: Option<SystemTime>,
    /// The twelve digits of the AWS account. `None` unless the source is certain of it.
    pub account_id: Option<Box<str>>,
    /// The URL of the S3 endpoint that accepts these keys, without user info.
    pub endpoint: Option<Box<str>>,
    /// The end of the login behind these credentials, if known. After it a person has to log in to get new credentials.
    pub login_ends: Option<Arc<LoginEnd>>,
    /// The setting that these credentials come from, for messages.
    pub location: Option<Location>,
}

/// The end of a login, and the command for the next login.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoginEnd {
    /// The moment from which a person has to log in again.
    pub at: SystemTime,
    /// The command that logs in again: `credenza login --sso-session work`.
    pub remedy: Box<str>,
}

impl Credentials {
    /// Makes a long-lived key pair without the other parts. Surrounding white space is removed.
    ///
    /// # Errors
    /// If either half is empty or holds a control character.
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

    /// Returns the credentials with a session token. An empty token counts as absent.
    ///
    /// # Errors
    /// If the token holds a control character.
    pub fn with_session_token(mut self, token: Option<&str>) -> Result<Self, InvalidText> {
        self.session_token = match token.map(str::trim) {
            None | Some("") => None,
            Some(token) => Some(Secret::new(usable("session token", token)?)),
        };
        Ok(self)
    }

    /// Returns the credentials with an account id. A text other than twelve digits is ignored.
    #[must_use]
    pub fn with_account_id(mut self, account_id: Option<&str>) -> Self {
        self.account_id = account_id
            .map(str::trim)
            .filter(|id| id.len() == 12 && id.bytes().all(|b| b.is_ascii_digit()))
            .map(Into::into);
        self
    }

    /// Returns the credentials with an expiration.
    #[must_use]
    pub fn with_expiration(mut self, expiration: Option<SystemTime>) -> Self {
        self.expiration = expiration;
        self
    }

    /// Returns true if these are long-lived keys: keys without a session token. They may have an expiration, if the
    /// source gives one.
    #[must_use]
    pub fn is_long_lived(&self) -> bool {
        self.session_token.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trims_and_checks_keys() {
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
    fn leaves_out_empty_token_and_malformed_account() {
        let keys = Credentials::new("A", "s").unwrap();
        assert_eq!(keys.clone().with_session_token(Some(" ")).unwrap().session_token, None);
        assert_eq!(keys.clone().with_account_id(Some("123456789012")).account_id.as_deref(), Some("123456789012"));
        for odd in ["", "12345678901", "1234567890123", "12345678901x"] {
            assert_eq!(keys.clone().with_account_id(Some(odd)).account_id, None, "{odd}");
        }
    }

    #[test]
    fn debug_shows_no_secret() {
        let keys = Credentials::new("AKIA1", "hunter2").unwrap().with_session_token(Some("tok-en")).unwrap();
        let shown = format!("{keys:?}");
        assert!(shown.contains("AKIA1") && !shown.contains("hunter2") && !shown.contains("tok-en"), "{shown}");
    }
}
