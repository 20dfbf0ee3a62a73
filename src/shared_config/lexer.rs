//! The lexer: splits a file into lines and tells headers, properties and continuations apart.

use crate::shared_config::error::ExpectedSyntax;

/// The white space of the grammar. A carriage return is trimmed like a space, so that CRLF ends a line as LF does. It
/// never begins a continuation or a comment.
const BLANK: [char; 3] = [' ', '\t', '\r'];

/// The property with a command of a shell. Within its quotes no comment begins, as in botocore.
const COMMAND: &str = "credential_process";

/// A line that is neither blank nor a comment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Line<'a> {
    /// The line number, counted from 1.
    pub(crate) number: u32,
    pub(crate) kind: LineKind<'a>,
    /// True if the line is a `credential_process` and a comment cuts off the end of its command.
    pub(crate) is_cut: bool,
}

/// The kind of a line, with its texts trimmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LineKind<'a> {
    /// A header: the text between the brackets, not empty.
    Header(&'a str),
    /// A property: its name, not empty, and its value without the comment after it.
    Property(&'a str, &'a str),
    /// A line that starts with white space: a continuation, or a property if no line above it is less indented. Its
    /// indent in characters, and its text, to which comment characters belong.
    Indented(usize, &'a str),
}

/// A line that breaks the grammar.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct LexError {
    /// The line number, counted from 1.
    pub(crate) line: u32,
    pub(crate) expected: ExpectedSyntax,
}

/// Reads bytes as text, without a byte order mark at the start.
pub(crate) fn text(bytes: &[u8]) -> Result<&str, LexError> {
    let bytes = bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(bytes);
    std::str::from_utf8(bytes).map_err(|error| {
        let before = bytes[..error.valid_up_to()].iter().filter(|byte| **byte == b'\n').count();
        LexError { line: u32::try_from(before).unwrap_or(u32::MAX).saturating_add(1), expected: ExpectedSyntax::Utf8 }
    })
}

/// Returns the lines of a text that are neither blank nor comments.
pub(crate) fn lines(text: &str) -> impl Iterator<Item = Result<Line<'_>, LexError>> {
    (1..).zip(text.split('\n')).filter_map(|(number, line)| {
        kind(line)
            .map(|kind| kind.map(|kind| Line { number, kind, is_cut: is_cut(line, kind) }))
            .map_err(|expected| LexError { line: number, expected })
            .transpose()
    })
}

/// Reads an indented line as a property.
pub(crate) fn property(line: &str) -> Result<(&str, &str), ExpectedSyntax> {
    split(line).map(|(name, value)| (name, trim(without_comment(name, value))))
}

/// Reads a continuation below an empty value as a sub-property. Comment characters belong to its value.
pub(crate) fn sub_property(line: &str) -> Result<(&str, &str), ExpectedSyntax> {
    match split(line) {
        Err(ExpectedSyntax::Equals) => Err(ExpectedSyntax::SubProperty),
        split => split.map(|(name, value)| (name, trim(value))),
    }
}

fn kind(line: &str) -> Result<Option<LineKind<'_>>, ExpectedSyntax> {
    let trimmed = trim(line);
    // As in botocore, a comment may be indented.
    if trimmed.is_empty() || trimmed.starts_with(['#', ';']) {
        return Ok(None);
    }
    let indent = line.len() - line.trim_start_matches(BLANK).len();
    if line.starts_with([' ', '\t']) {
        return Ok(Some(LineKind::Indented(indent, trimmed)));
    }
    if let Some(inside) = line.strip_prefix('[') {
        return header(inside).map(Some);
    }
    property(line).map(|(name, value)| Some(LineKind::Property(name, value)))
}

/// Returns true if a comment follows the value of a `credential_process` on its line.
fn is_cut(line: &str, kind: LineKind<'_>) -> bool {
    let LineKind::Property(name, value) = kind else { return false };
    name.eq_ignore_ascii_case(COMMAND)
        && !value.is_empty()
        && value.as_bytes().as_ptr_range().end != trim(line).as_bytes().as_ptr_range().end
}

fn header(inside: &str) -> Result<LineKind<'_>, ExpectedSyntax> {
    let (name, rest) = inside.split_once(']').ok_or(ExpectedSyntax::Bracket)?;
    match (trim(name), trim(rest)) {
        ("", _) => Err(ExpectedSyntax::SectionName),
        (name, rest) if rest.is_empty() || rest.starts_with(['#', ';']) => Ok(LineKind::Header(name)),
        _ => Err(ExpectedSyntax::Comment),
    }
}

/// Splits a line at the first `=` into its name, trimmed and not empty, and the rest.
fn split(line: &str) -> Result<(&str, &str), ExpectedSyntax> {
    let (name, value) = line.split_once('=').ok_or(ExpectedSyntax::Equals)?;
    match trim(name) {
        "" => Err(ExpectedSyntax::Name),
        name => Ok((name, value)),
    }
}

/// Cuts off a comment after a value: it begins with a `#` or `;` that follows white space. Any other `#` or `;` belongs
/// to the value, and so does all text in the quotes of a command.
fn without_comment<'a>(name: &str, value: &'a str) -> &'a str {
    let has_quotes = name.eq_ignore_ascii_case(COMMAND);
    let (mut quote, mut before) = (None, None);
    let mut bytes = value.bytes().enumerate();
    while let Some((index, byte)) = bytes.next() {
        match (quote, byte) {
            (None, b'#' | b';') if matches!(before, Some(b' ' | b'\t')) => return &value[..index],
            (None, b'"' | b'\'') if has_quotes => quote = Some(byte),
            // The next character is escaped.
            (None | Some(b'"'), b'\\') if has_quotes => drop(bytes.next()),
            (Some(open), _) if open == byte => quote = None,
            _ => {}
        }
        before = Some(byte);
    }
    value
}

fn trim(text: &str) -> &str {
    text.trim_matches(BLANK)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_kinds_of_lines_apart() {
        use LineKind::{Header, Indented, Property};
        let cases: &[(&str, Result<Option<LineKind<'_>>, ExpectedSyntax>)] = &[
            ("", Ok(None)),
            (" \t\r", Ok(None)),
            ("# [x]", Ok(None)),
            (";", Ok(None)),
            (" # a", Ok(None)),
            ("\t ;a", Ok(None)),
            ("\t [x]", Ok(Some(Indented(2, "[x]")))),
            ("[ x\t]\r", Ok(Some(Header("x")))),
            ("[x]#]", Ok(Some(Header("x")))),
            ("[x] y", Err(ExpectedSyntax::Comment)),
            ("[x", Err(ExpectedSyntax::Bracket)),
            ("[ ]", Err(ExpectedSyntax::SectionName)),
            ("a=", Ok(Some(Property("a", "")))),
            ("a =b = c", Ok(Some(Property("a", "b = c")))),
            ("a=b\t;c", Ok(Some(Property("a", "b")))),
            ("a=b;c", Ok(Some(Property("a", "b;c")))),
            ("a=#c", Ok(Some(Property("a", "#c")))),
            ("a= #c", Ok(Some(Property("a", "")))),
            ("a\u{a0}=\u{a0}b\u{a0}", Ok(Some(Property("a\u{a0}", "\u{a0}b\u{a0}")))),
            ("a: b", Err(ExpectedSyntax::Equals)),
            ("=b", Err(ExpectedSyntax::Name)),
        ];
        assert!(!cases.is_empty());
        for (line, expected) in cases {
            assert_eq!(&kind(line), expected, "{line:?}");
        }
    }

    #[test]
    fn keeps_comment_characters_in_the_quotes_of_a_command() {
        for (command, kept) in [
            (r#"sh -c "a ; b # c" 'd ; e' # f"#, r#"sh -c "a ; b # c" 'd ; e'"#),
            (r#"a "\" ; b" ; c"#, r#"a "\" ; b""#),
            (r#"a \" ; b"#, r#"a \""#),
            (r"a '\' ; b", r"a '\'"),
            (r#"a "it's ; " ; b"#, r#"a "it's ; ""#),
            ("a \"open ; b", "a \"open ; b"),
            ("a\\", "a\\"),
        ] {
            let line = format!("Credential_Process = {command}");
            assert_eq!(property(&line), Ok(("Credential_Process", kept)), "{command}");
        }
        assert_eq!(property("a = \"b ; c\""), Ok(("a", "\"b")), "only commands have quotes");
    }

    #[test]
    fn counts_blank_lines_and_comments() {
        let read: Vec<_> = lines("\n#\n[a]\r\n\r\nb=c").map(|line| line.unwrap().number).collect();
        assert_eq!(read, [3, 5]);
        assert_eq!(lines("\n\nb").next(), Some(Err(LexError { line: 3, expected: ExpectedSyntax::Equals })));
    }

    #[test]
    fn reads_utf8_with_or_without_byte_order_mark() {
        assert_eq!(text(b"\xef\xbb\xbfa"), Ok("a"));
        assert_eq!(text(b"a\xef\xbb\xbf"), Ok("a\u{feff}"));
        assert_eq!(text(b"a\nb\n\xff\n\xff"), Err(LexError { line: 3, expected: ExpectedSyntax::Utf8 }));
    }
}
