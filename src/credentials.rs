//! One set of credentials, always moved as a unit.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use crate::secret::Secret;

/// The name of an identity: what a client puts behind `/credentials/`.
///
/// Names come from `credenza.toml`, from profiles and from requests; printing one escapes control characters.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Arc<str>);

impl Name {
    /// The identity that always exists.
    pub const DEFAULT: &'static str = "default";

    /// Takes any text; whether an identity of that name exists is decided elsewhere.
    pub fn new(text: impl Into<Arc<str>>) -> Self {
        Self(text.into())
    }

    /// The name as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for Name {
    fn default() -> Self {
        Self::new(Self::DEFAULT)
    }
}

impl From<&str> for Name {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

impl std::borrow::Borrow<str> for Name {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Escaped(&self.0).fmt(f)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

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
    pub origin: Origin,
}

/// When a log-in ends, and what a person then runs; behind one pointer, for it travels with every answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoginEnd {
    /// The moment.
    pub at: SystemTime,
    /// The command that logs in again: `credenza login --sso-session work`.
    pub remedy: Box<str>,
}

/// A file and a line, or nothing; behind one pointer, for it travels with every answer. It is a note for people: what
/// differs in it alone is equal, and looks equal.
#[derive(Clone, Default)]
pub struct Origin(Option<Arc<Box<str>>>);

impl Origin {
    /// This place.
    pub fn new(place: impl Into<Box<str>>) -> Self {
        Self(Some(Arc::new(place.into())))
    }

    /// The message with the place before it.
    #[must_use]
    pub fn before(&self, message: &str) -> String {
        self.0.as_ref().map_or_else(|| message.to_owned(), |place| format!("{place}: {message}"))
    }

    /// The place itself.
    #[must_use]
    pub fn place(&self) -> Option<&str> {
        self.0.as_ref().map(|place| &***place)
    }
}

impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Origin")
    }
}

impl std::hash::Hash for Origin {
    fn hash<H: std::hash::Hasher>(&self, _: &mut H) {}
}

impl PartialEq for Origin {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Origin {}

/// Why a text cannot be part of credentials. It names the part and never shows the text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// The part is empty.
    #[error("the {0} is empty")]
    Empty(&'static str),
    /// A header or a variable could not carry it, or it would carry more than one.
    #[error("the {0} contains a control character (a line break, perhaps)")]
    ControlCharacter(&'static str),
}

impl Credentials {
    /// A long-lived key pair with nothing else. Surrounding white space is not part of a key.
    ///
    /// # Errors
    /// When either half is empty or holds a control character.
    pub fn new(access_key_id: &str, secret_access_key: &str) -> Result<Self, Unusable> {
        Ok(Self {
            access_key_id: usable("access key id", access_key_id)?.into(),
            secret_access_key: Secret::new(usable("secret access key", secret_access_key)?),
            session_token: None,
            expiration: None,
            account_id: None,
            endpoint: None,
            login_ends: None,
            origin: Origin::default(),
        })
    }

    /// The same with a session token; an empty one is no token.
    ///
    /// # Errors
    /// When the token holds a control character.
    pub fn with_session_token(mut self, token: Option<&str>) -> Result<Self, Unusable> {
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

/// The text without surrounding white space, if it can travel in a header, a variable and a file.
///
/// # Errors
/// When nothing is left or a control character is inside; the error bears `part`, never the text.
pub fn usable<'t>(part: &'static str, text: &'t str) -> Result<&'t str, Unusable> {
    let text = text.trim();
    if text.is_empty() {
        return Err(Unusable::Empty(part));
    }
    if text.chars().any(char::is_control) {
        return Err(Unusable::ControlCharacter(part));
    }
    Ok(text)
}

/// Prints a foreign text with everything escaped that could forge a log line or move a terminal's cursor.
#[derive(Clone, Copy)]
pub struct Escaped<'t>(pub &'t str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write as _;
        for c in self.0.chars() {
            // Beside control characters: line and paragraph separators and the bidirectional overrides.
            if c.is_control()
                || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
            {
                write!(f, "{}", c.escape_default())?;
            } else {
                f.write_char(c)?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The same as a word of a POSIX shell, for commands that a message tells to run: in quotes where it needs them.
#[derive(Clone, Copy, Debug)]
pub struct Quoted<'t>(pub &'t str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_/.%@:+,=".contains(c);
        if !self.0.is_empty() && self.0.chars().all(is_plain) {
            return f.write_str(self.0);
        }
        write!(f, "'{}'", Escaped(&self.0.replace('\'', "'\\''")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_for_a_shell_is_quoted_where_it_needs_it() {
        for (text, quoted) in [
            ("team/a%b", "team/a%b"),
            ("", "''"),
            ("a b", "'a b'"),
            ("o'brien; rm", "'o'\\''brien; rm'"),
            ("$x\n", "'$x\\n'"),
        ] {
            assert_eq!(Quoted(text).to_string(), quoted);
        }
    }

    #[test]
    fn keys_are_trimmed_and_checked() {
        let keys = Credentials::new(" AKIA1\n", "\tsecret ").unwrap();
        assert_eq!((&*keys.access_key_id, keys.secret_access_key.expose()), ("AKIA1", "secret"));
        assert_eq!(Credentials::new("", "s").unwrap_err(), Unusable::Empty("access key id"));
        assert_eq!(Credentials::new("A", " ").unwrap_err(), Unusable::Empty("secret access key"));
        for bad in ["a\nb", "a\0b", "a\u{7f}b", "a\u{85}b"] {
            assert_eq!(Credentials::new("A", bad).unwrap_err(), Unusable::ControlCharacter("secret access key"));
            assert!(keys.clone().with_session_token(Some(bad)).is_err());
        }
    }

    #[test]
    fn where_they_are_written_is_a_note() {
        let keys = Credentials::new("A", "s").unwrap();
        let noted = Credentials { origin: Origin::new("/f, line 3"), ..keys.clone() };
        assert_eq!(noted, keys);
        assert_eq!((noted.origin.before("no"), keys.origin.before("no")), ("/f, line 3: no".into(), "no".into()));
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

    #[test]
    fn foreign_text_is_escaped() {
        assert_eq!(Escaped("a\nb\u{1b}[2J\u{202e}é").to_string(), "a\\nb\\u{1b}[2J\\u{202e}é");
        assert_eq!(Name::new("a\rb").to_string(), "a\\rb");
    }
}
