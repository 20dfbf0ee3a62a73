//! What is wrong with a file, and what in it was passed over. Neither ever shows a value: it could be a secret.

use std::fmt::{self, Write};
use std::path::Path;
use std::sync::Arc;

use crate::shared_config::SharedFile;

/// A line that breaks the grammar. The whole file counts as unreadable then.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file} {}, line {line}: expected {expected}; {}", ForeignText(&path.to_string_lossy()), expected.remedy())]
pub(crate) struct ParseError {
    /// Which of the two files.
    pub(crate) file: SharedFile,
    /// Where it is.
    pub(crate) path: Arc<Path>,
    /// The line, counted from 1.
    pub(crate) line: u32,
    /// What should have stood there.
    pub(crate) expected: ExpectedSyntax,
}

/// What a line should have been.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ExpectedSyntax {
    /// A property or a continuation came before the first header.
    #[error("a section header such as [default] before the first property")]
    Header,
    /// A line that starts with white space has nothing above it to continue.
    #[error("a property above this line, which starts with white space and so would continue it")]
    Property,
    /// The line has no `=`.
    #[error("NAME = VALUE (only `=` separates the two)")]
    Equals,
    /// A line of a property with an empty value has no `=`.
    #[error("NAME = VALUE, as this line belongs to a property with an empty value")]
    SubProperty,
    /// Nothing stands before the `=`.
    #[error("a name before the `=`")]
    Name,
    /// Nothing stands between the brackets.
    #[error("a name between `[` and `]`")]
    SectionName,
    /// The header has no `]`.
    #[error("a `]` at the end of the section header")]
    Bracket,
    /// Something else follows the header.
    #[error("nothing but a comment after the section header")]
    Comment,
    /// The bytes are no text.
    #[error("text in UTF-8")]
    Utf8,
}

impl ExpectedSyntax {
    /// What to do about it.
    #[must_use]
    pub(crate) fn remedy(self) -> &'static str {
        match self {
            Self::Utf8 => "save the file in UTF-8",
            _ => "correct the line, or leave it out by a `#` at its beginning",
        }
    }
}

/// Something in a file that was passed over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ParseWarning {
    /// Which of the two files.
    pub(crate) file: SharedFile,
    /// Where it is.
    pub(crate) path: Arc<Path>,
    /// The line, counted from 1.
    pub(crate) line: u32,
    /// What was passed over there.
    pub(crate) ignored: IgnoredItem,
}

/// What was passed over, and why. Section names are as written; property names are not kept, because a line such as
/// `aws_session_token: SECRET==` makes the secret a part of the name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum IgnoredItem {
    /// A section of the config file that is none of the four that count.
    OtherSection(Box<str>),
    /// `[profile NAME]` in the credentials file, where names stand alone.
    Prefixed(Box<str>),
    /// A section with a character that names do not allow.
    SectionName(Box<str>),
    /// `[default]` in a config file that has `[profile default]`.
    Default,
    /// A property with a character that names do not allow.
    PropertyName,
    /// A sub-property with a character that names do not allow.
    SubPropertyName,
    /// The end of a `credential_process`, which a comment cuts off: people write `sh -c "a ; b"` there.
    Command,
    /// So many more from this line on: a list of millions would help nobody.
    More(usize),
}

impl fmt::Display for ParseWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, path, line, ignored } = self;
        write!(f, "{file} {}, line {line}: {ignored}", ForeignText(&path.to_string_lossy()))
    }
}

impl fmt::Display for IgnoredItem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const ALLOWED: &str = "names allow letters, digits and -_/.%@:+";
        match self {
            Self::OtherSection(name) => write!(
                f,
                "section [{}] is ignored: here only [default], [profile NAME], [sso-session NAME] and [services NAME] count",
                ForeignText(name)
            ),
            Self::Prefixed(name) => {
                write!(f, "section [{}] is ignored: here a profile is its bare name in brackets", ForeignText(name))
            }
            Self::SectionName(name) => write!(f, "section [{}] is ignored: {ALLOWED}", ForeignText(name)),
            Self::Default => f.write_str("section [default] is ignored: [profile default] is there too, and wins"),
            Self::PropertyName => write!(f, "a property is ignored: {ALLOWED}"),
            Self::SubPropertyName => write!(f, "a sub-property is ignored: {ALLOWED}"),
            Self::Command => f.write_str(
                "the credential_process ends where white space and then `;` or `#` follow: from there on it is a comment, as \
                 in the SDKs for Go, Java and Rust (boto3 runs the whole line); take away the white space before the `;` \
                 or `#`, or put the command into a script; a comment can have a line of its own",
            ),
            Self::More(count) => write!(f, "{count} more sections or properties are ignored from here on"),
        }
    }
}

/// Text from outside, fit for a terminal and a log: what does not print is escaped, and there is an end to it.
struct ForeignText<'a>(&'a str);

/// Longer than any path or name that somebody would recognise by its end.
const SHOWN: usize = 256;

impl fmt::Display for ForeignText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut chars = self.0.chars();
        for char in chars.by_ref().take(SHOWN) {
            match char {
                '"' | '\'' => f.write_char(char)?,
                _ => write!(f, "{}", char.escape_debug())?,
            }
        }
        if chars.next().is_some() { f.write_char('…') } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_file_path_line_and_what_was_expected() {
        let error = ParseError {
            file: SharedFile::Credentials,
            path: Path::new("/home/a b/\u{1b}[31m").into(),
            line: 7,
            expected: ExpectedSyntax::Equals,
        };
        let text = "credentials file /home/a b/\\u{1b}[31m, line 7: expected NAME = VALUE (only `=` separates the two); \
            correct the line, or leave it out by a `#` at its beginning";
        assert_eq!(error.to_string(), text);
        assert!(
            ParseError { expected: ExpectedSyntax::Utf8, ..error }
                .to_string()
                .ends_with("in UTF-8; save the file in UTF-8")
        );
    }

    #[test]
    fn foreign_text_is_escaped_and_cut() {
        assert_eq!(ForeignText("a\"b\r\n\u{202e}é\\").to_string(), "a\"b\\r\\n\\u{202e}é\\\\");
        assert_eq!(ForeignText(&"x".repeat(SHOWN)).to_string(), "x".repeat(SHOWN));
        assert_eq!(ForeignText(&"x".repeat(SHOWN + 1)).to_string(), "x".repeat(SHOWN) + "…");
    }
}
