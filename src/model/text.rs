//! Text from outside: checks it, escapes it for logs and terminals, quotes it for a shell.

use std::fmt;
use std::fmt::Write as _;

use zeroize::Zeroizing;

use crate::model::secret::Secret;

/// A text that cannot be part of credentials. The message names the part and never shows the text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidText {
    /// The part is empty.
    #[error("the {0} is empty")]
    Empty(&'static str),
    /// The part holds a control character. A header or a variable could not carry the part, or would be split.
    #[error("the {0} contains a control character (a line break, perhaps)")]
    ControlCharacter(&'static str),
}

/// Returns the text without surrounding white space, if a header, a variable and a file can carry it.
///
/// # Errors
/// If it is empty or holds a control character. The error names `part` and never shows the text.
pub(crate) fn usable<'t>(part: &'static str, text: &'t str) -> Result<&'t str, InvalidText> {
    let text = text.trim();
    if text.is_empty() {
        return Err(InvalidText::Empty(part));
    }
    if text.chars().any(char::is_control) {
        return Err(InvalidText::ControlCharacter(part));
    }
    Ok(text)
}

/// Returns bytes in lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// Prints a text with all characters escaped that could forge a log line or control a terminal.
#[derive(Clone, Copy)]
pub(crate) struct Escaped<'t>(pub &'t str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write as _;
        for c in self.0.chars() {
            // These are not control characters, but forge lines too: line and paragraph separators, and bidirectional
            // overrides.
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

/// Prints a text as one word of a POSIX shell, quoted if necessary, for the commands in messages.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Quoted<'t>(pub &'t str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_/.%@:+,=".contains(c);
        if !self.0.is_empty() && self.0.chars().all(is_plain) {
            return f.write_str(self.0);
        }
        write!(f, "'{}'", Escaped(&self.0.replace('\'', "'\\''")))
    }
}

/// The maximum length of an excerpt, in characters: a message should fit on a few lines of a terminal or a log.
const LONGEST_EXCERPT: usize = 300;

/// The minimum length of a secret that is redacted. A shorter one is a part of many words: redacted there, it garbles
/// the message and is easy to guess.
const SHORTEST_REDACTED: usize = 4;

/// Returns the text with `secret` redacted.
pub(crate) fn redacted(text: &str, secret: &Secret) -> Zeroizing<String> {
    let secret = secret.expose();
    Zeroizing::new(if secret.len() < SHORTEST_REDACTED { text.to_owned() } else { text.replace(secret, "[redacted]") })
}

/// Returns the beginning of a text, escaped and with `secret` redacted.
pub(crate) fn excerpt(text: &str, secret: Option<&Secret>) -> String {
    let text = secret.map_or_else(|| Zeroizing::new(text.to_owned()), |secret| redacted(text, secret));
    match text.char_indices().nth(LONGEST_EXCERPT) {
        None => Escaped(&text).to_string(),
        Some((end, _)) => format!("{}…", Escaped(&text[..end])),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::identity_name::IdentityName;

    #[test]
    fn quotes_shell_words_if_necessary() {
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
    fn redacts_secrets_but_not_parts_of_words() {
        for (secret, expected) in
            [("hush", "a token [redacted] is bad"), ("", "a token hush is bad"), ("a", "a token hush is bad")]
        {
            assert_eq!(excerpt("a token hush is bad", Some(&secret.into())), expected);
        }
    }

    #[test]
    fn escapes_control_characters() {
        assert_eq!(Escaped("a\nb\u{1b}[2J\u{202e}é").to_string(), "a\\nb\\u{1b}[2J\\u{202e}é");
        assert_eq!(IdentityName::new("a\rb").to_string(), "a\\rb");
    }
}
