//! Converts the bytes of a file to TOML values.
//!
//! The TOML parser stops at the first syntax error, so a file reports only that one. Its messages never quote the file:
//! the text may be a secret.

use toml_span::{ErrorKind, Value};

use crate::config::ConfigError;

/// The maximum size of a file in bytes. It limits the memory of the parser; a larger file is not a configuration.
const MAX_FILE_SIZE: usize = 1 << 20;

/// Converts byte offsets of a text to lines and columns.
#[derive(Debug)]
pub(crate) struct LineIndex<'t> {
    text: &'t str,
    line_starts: Vec<usize>,
}

impl<'t> LineIndex<'t> {
    pub(crate) fn new(text: &'t str) -> Self {
        let after_breaks = text.bytes().enumerate().filter(|(_, b)| *b == b'\n').map(|(at, _)| at + 1);
        Self { text, line_starts: std::iter::once(0).chain(after_breaks).collect() }
    }

    /// The line of this offset, from 1.
    pub(crate) fn line(&self, at: usize) -> usize {
        self.line_starts.partition_point(|start| *start <= at)
    }

    /// Builds an error about the text at this offset.
    pub(crate) fn error(&self, at: usize, key: String, message: String) -> ConfigError {
        let line = self.line(at);
        let column = self.text.get(self.line_starts[line - 1]..at).map_or(0, |before| before.chars().count()) + 1;
        ConfigError { line, column, key, message }
    }
}

/// Decodes a file: UTF-8 without NUL characters. A byte order mark at the start is skipped.
///
/// # Errors
/// The first byte that is not text.
pub(crate) fn decode(bytes: &[u8]) -> Result<&str, ConfigError> {
    let refuse = |at: usize, message: &str| {
        let line = 1 + bytes[..at].iter().filter(|b| **b == b'\n').count();
        let column = 1 + bytes[..at].iter().rev().take_while(|b| **b != b'\n').count();
        ConfigError { line, column, key: String::new(), message: message.into() }
    };
    if bytes.len() > MAX_FILE_SIZE {
        return Err(refuse(0, "the file is larger than 1 MB, so it is not a configuration"));
    }
    if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") {
        return Err(refuse(0, "the file is UTF-16; save it as UTF-8"));
    }
    if let Some(at) = bytes.iter().position(|b| *b == 0) {
        return Err(refuse(at, "a NUL character; the file is binary, or it was cut off while it was written"));
    }
    let text = std::str::from_utf8(bytes).map_err(|error| refuse(error.valid_up_to(), "not UTF-8 text"))?;
    Ok(text.strip_prefix('\u{feff}').unwrap_or(text))
}

/// Parses a text as TOML.
///
/// # Errors
/// The first syntax error.
pub(crate) fn parse<'t>(index: &LineIndex<'t>) -> Result<Value<'t>, ConfigError> {
    toml_span::parse(index.text).map_err(|error| {
        let at = error.span.start.min(index.text.len());
        index.error(at, String::new(), format!("syntax error: {}", describe(&error.kind, index)))
    })
}

/// Says what is wrong and what to write, without any text of the file.
fn describe(kind: &ErrorKind, index: &LineIndex<'_>) -> String {
    let twice = |what: &str, first: usize| {
        format!("the {what} is defined a second time (first on line {}); keep one of them", index.line(first))
    };
    match kind {
        ErrorKind::UnexpectedEof => "the file ends inside a value; close its quote, bracket or brace".into(),
        ErrorKind::ExceededDepthLimit => "brackets are nested too deeply; remove some".into(),
        ErrorKind::InvalidCharInString(_) => {
            "a text contains a line break or a control character; its closing quote may be missing".into()
        }
        ErrorKind::InvalidEscape(_) | ErrorKind::InvalidHexEscape(_) | ErrorKind::InvalidEscapeValue(_) => {
            r"a backslash without a valid escape; write \\, or put the text in single quotes".into()
        }
        ErrorKind::UnterminatedString => "a text without its closing quote; add the quote".into(),
        ErrorKind::UnquotedString | ErrorKind::InvalidNumber => "not a valid value; put a text in \"quotes\"".into(),
        ErrorKind::Unexpected(_) => "an unexpected character; put a text in \"quotes\"".into(),
        ErrorKind::Wanted { expected, found } => {
            let found = if *found == "eof" { "the end of the file" } else { found };
            format!("expected {expected}, found {found}; a quote, bracket or comma before it may be missing")
        }
        ErrorKind::DuplicateKey { first, .. } => twice("key", first.start),
        ErrorKind::DuplicateTable { first, .. } => twice("table", first.start),
        ErrorKind::RedefineAsArray | ErrorKind::DottedKeyInvalidType { .. } => {
            "a table whose name has another value above; rename or remove one of them".into()
        }
        ErrorKind::MultilineStringKey => "a key spans several lines; write it on one line".into(),
        _ => "not TOML; write KEY = VALUE lines below [TABLE] lines".into(),
    }
}
