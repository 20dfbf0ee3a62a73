//! The errors and warnings of the parser. They never show a value, because it may be a secret.

use std::fmt::{self, Write};
use std::path::Path;
use std::sync::Arc;

use crate::shared_config::SharedFile;

/// A line that breaks the grammar. The whole file cannot be used then.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file} {}, line {line}: expected {expected}; {}", ForeignText(&path.to_string_lossy()), expected.hint())]
pub(crate) struct ParseError {
    pub(crate) file: SharedFile,
    pub(crate) path: Arc<Path>,
    /// The line number, counted from 1.
    pub(crate) line: u32,
    pub(crate) expected: ExpectedSyntax,
}

/// The error in the syntax of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ExpectedSyntax {
    #[error("a section header such as [default] before the first property")]
    Header,
    #[error("NAME = VALUE (only `=` separates the two)")]
    Equals,
    #[error("NAME = VALUE, as this line belongs to a property with an empty value")]
    SubProperty,
    #[error("a name before the `=`")]
    Name,
    #[error("a name between `[` and `]`")]
    SectionName,
    #[error("a `]` at the end of the section header")]
    Bracket,
    #[error("nothing but a comment after the section header")]
    Comment,
    /// The file has too many sections.
    #[error("at most 10,000 sections in one file")]
    FewerSections,
    /// The file has too many properties.
    #[error("at most 60,000 properties in one file")]
    FewerProperties,
    /// The bytes are not UTF-8.
    #[error("text in UTF-8")]
    Utf8,
}

impl ExpectedSyntax {
    pub(crate) fn hint(self) -> &'static str {
        match self {
            Self::Utf8 => "save the file in UTF-8",
            Self::FewerSections | Self::FewerProperties => "remove what no program uses, or move it to another file",
            _ => "correct the line, or make it a comment with `#` at its beginning",
        }
    }
}

/// A part of a file that is ignored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ParseWarning {
    pub(crate) file: SharedFile,
    pub(crate) path: Arc<Path>,
    /// The line number, counted from 1.
    pub(crate) line: u32,
    /// The name of the section that the ignored part belongs to. `None` for a whole section, and for the file.
    pub(crate) section: Option<Box<str>>,
    pub(crate) ignored: IgnoredItem,
}

impl ParseWarning {
    /// Returns true if the warning is about the whole file.
    pub(crate) fn is_about_file(&self) -> bool {
        matches!(self.ignored, IgnoredItem::More(_))
    }

    /// Returns true if the warning is about a part of the section of this name, or about an ignored section that seems to
    /// have this name.
    pub(crate) fn is_about_section(&self, name: &str) -> bool {
        self.section.as_deref() == Some(name) || self.is_about_ignored_section(name)
    }

    /// Returns true if the warning is about an ignored section that seems to have this name.
    pub(crate) fn is_about_ignored_section(&self, name: &str) -> bool {
        match &self.ignored {
            IgnoredItem::OtherSection(text) | IgnoredItem::Prefixed(text) | IgnoredItem::SectionName(text) => {
                text.trim_end_matches(['\'', '"']).ends_with(name)
            }
            _ => false,
        }
    }
}

/// The ignored part and the reason. Section names are as written. Property names are not kept, because a line such as
/// `aws_session_token: SECRET==` puts the secret into the name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum IgnoredItem {
    /// A section of the config file with an unknown kind of header.
    OtherSection(Box<str>),
    /// `[profile NAME]` in the credentials file. There a header must be `[NAME]`.
    Prefixed(Box<str>),
    /// A section with a forbidden character in its name.
    SectionName(Box<str>),
    /// `[default]` in a config file that has `[profile default]`.
    Default,
    /// A property with a forbidden character in its name.
    PropertyName,
    /// A sub-property with a forbidden character in its name.
    SubPropertyName,
    /// The end of a `credential_process` after ` ;` or ` #` outside quotes, which is a comment. Users write `a ; b` there
    /// by mistake.
    Command,
    /// The number of further ignored items from this line on. A longer list would not help the user.
    More(usize),
}

impl fmt::Display for ParseWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, path, line, section: _, ignored } = self;
        write!(f, "{file} {}, line {line}: {ignored}", ForeignText(&path.to_string_lossy()))
    }
}

impl fmt::Display for IgnoredItem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const ALLOWED: &str = "names allow letters, digits and -_/.%@:+";
        match self {
            Self::OtherSection(name) => write!(
                f,
                "section [{}] is ignored: the config file has [default], [profile NAME], [sso-session NAME] and [services NAME]",
                ForeignText(name)
            ),
            Self::Prefixed(name) => {
                write!(f, "section [{}] is ignored: the credentials file has the bare name in brackets; write [NAME]", ForeignText(name))
            }
            Self::SectionName(name) => {
                write!(f, "section [{}] is ignored: {ALLOWED}, and spaces in quotes", ForeignText(name))
            }
            Self::Default => f.write_str("section [default] is ignored: the file has [profile default] too, which wins"),
            Self::PropertyName => write!(f, "a property is ignored: {ALLOWED}"),
            Self::SubPropertyName => write!(f, "a sub-property is ignored: {ALLOWED}"),
            Self::Command => f.write_str(
                "the credential_process ends before ` ;` or ` #` outside quotes: the rest of the line is a comment, as in the SDKs for Go, Java and \
                 Rust (boto3 runs the whole line); remove the white space before the `;` or `#`, or put the command into a \
                 script; write a comment on a line above",
            ),
            Self::More(count) => write!(f, "{count} more sections or properties are ignored from here on"),
        }
    }
}

/// Prints foreign text for a terminal and a log: escapes what does not print, and cuts it at [`MAX_SHOWN`] characters.
struct ForeignText<'a>(&'a str);

/// The maximum characters of foreign text in a message. It is more than a path or name needs to be recognised.
const MAX_SHOWN: usize = 256;

impl fmt::Display for ForeignText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut chars = self.0.chars();
        for char in chars.by_ref().take(MAX_SHOWN) {
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
    fn prints_file_path_line_and_expected_syntax() {
        let error = ParseError {
            file: SharedFile::Credentials,
            path: Path::new("/home/a b/\u{1b}[31m").into(),
            line: 7,
            expected: ExpectedSyntax::Equals,
        };
        let text = "credentials file /home/a b/\\u{1b}[31m, line 7: expected NAME = VALUE (only `=` separates the two); \
            correct the line, or make it a comment with `#` at its beginning";
        assert_eq!(error.to_string(), text);
        assert!(
            ParseError { expected: ExpectedSyntax::Utf8, ..error }
                .to_string()
                .ends_with("in UTF-8; save the file in UTF-8")
        );
    }

    #[test]
    fn escapes_and_cuts_foreign_text() {
        assert_eq!(ForeignText("a\"b\r\n\u{202e}é\\").to_string(), "a\"b\\r\\n\\u{202e}é\\\\");
        assert_eq!(ForeignText(&"x".repeat(MAX_SHOWN)).to_string(), "x".repeat(MAX_SHOWN));
        assert_eq!(ForeignText(&"x".repeat(MAX_SHOWN + 1)).to_string(), "x".repeat(MAX_SHOWN) + "…");
    }
}
