//! From the bytes of a file to TOML. The TOML parser stops at the first error of syntax, so the statement that holds
//! it is blanked out and the rest read again: one typing error does not hide the others.

use toml_span::{Error, ErrorKind, Value};
use zeroize::Zeroizing;

use crate::config::schema::ALL;
use crate::config::table::ConfigErrors;

/// A larger file is no configuration.
const LARGEST: usize = 16 * 1024 * 1024;

/// After this many errors of syntax it is probably another kind of file.
const MOST_ERRORS: usize = 20;

/// In a larger file only the first error of syntax is told: each further one costs a few more readings of it all.
const LARGEST_MENDED: usize = 1024 * 1024;

/// How many statements above an error may be looked at for the one that it belongs to.
const FARTHEST_START: usize = 16;

/// What the bytes say: the text behind a byte order mark, or the offset and the reason why they say nothing.
pub(crate) fn text(bytes: &[u8]) -> Result<&str, (usize, &'static str)> {
    if bytes.len() > LARGEST {
        return Err((0, "larger than 16 MB; this cannot be a configuration"));
    }
    if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") {
        return Err((0, "UTF-16; save it as UTF-8"));
    }
    if let Some(at) = bytes.iter().position(|b| *b == 0) {
        return Err((at, "a NUL character; this is a binary file, or it was cut off while it was written"));
    }
    let text = std::str::from_utf8(bytes).map_err(|error| (error.valid_up_to(), "not UTF-8 text"))?;
    Ok(text.strip_prefix('\u{feff}').unwrap_or(text))
}

/// Reports every error of syntax. What is left when the statements that hold them are blank is valid, or nothing.
fn mend(text: &str, first: Error, errors: &mut ConfigErrors) -> Option<Zeroizing<String>> {
    let mut mended = Zeroizing::new(text.to_owned());
    let mut error = first;
    for _ in 0..MOST_ERRORS {
        let at = error.span.start.min(text.len());
        let start = start_of_statement(&mended, at, &error.kind, errors);
        let key = start.map_or_else(String::new, |start| key_of(&mended, start, errors));
        errors.push(at, &key, message(&error.kind, errors));
        let start = start.filter(|_| text.len() <= LARGEST_MENDED)?;
        let end = end_of_statement(&mended, start, errors);
        let blank: Zeroizing<String> =
            Zeroizing::new(mended[start..end].bytes().map(|b| if b == b'\n' { '\n' } else { ' ' }).collect());
        mended.replace_range(start..end, &blank);
        match toml_span::parse(&mended) {
            Ok(_) => return Some(mended),
            Err(next) => error = next,
        }
    }
    None
}

/// Where the statement begins that holds the error: with all above it the file is still in order.
fn start_of_statement(text: &str, at: usize, kind: &ErrorKind, errors: &ConfigErrors) -> Option<usize> {
    let is_in_order = |start: usize| match kind {
        ErrorKind::DuplicateKey { .. } | ErrorKind::DuplicateTable { .. } | ErrorKind::RedefineAsArray => true,
        _ => toml_span::parse(&text[..start]).is_ok(),
    };
    let last = errors.line(at);
    let begins = |line: &usize| *line == last || begins_statement(line_of(text, *line, errors));
    let mut candidates = (0..=last).rev().filter(begins).map(|line| errors.line_start(line, text)).take(FARTHEST_START);
    candidates.find(|start| is_in_order(*start))
}

/// A bad header takes all down to the next one with it: nobody knows what the keys below it belong to.
fn end_of_statement(text: &str, start: usize, errors: &ConfigErrors) -> usize {
    let first = errors.line(start);
    let is_header = line_of(text, first, errors).trim_start().starts_with('[');
    let mut line = first + 1;
    while errors.line_start(line, text) < text.len() {
        let next = line_of(text, line, errors);
        if begins_statement(next) && (!is_header || next.trim_start().starts_with('[')) {
            break;
        }
        line += 1;
    }
    errors.line_start(line, text)
}

fn line_of<'t>(text: &'t str, line: usize, errors: &ConfigErrors) -> &'t str {
    &text[errors.line_start(line, text)..errors.line_start(line + 1, text)]
}

/// Whether a line looks like `[header]` or `key =`, not like a part of a value that began above it.
fn begins_statement(line: &str) -> bool {
    let line = line.trim_start();
    line.starts_with('[')
        || line.split_once('=').is_some_and(|(key, _)| {
            !key.trim().is_empty()
                && key.matches(['"', '\'']).count() % 2 == 0
                && key.chars().all(|c| c.is_alphanumeric() || " \t_-.\"'".contains(c))
        })
}

/// `server.listen` for the statement at this offset, as far as it can be told. Only keys that exist are shown: what
/// stands in the place of one may be part of a secret, and so may what goes on behind one that is not in order.
fn key_of(text: &str, start: usize, errors: &ConfigErrors) -> String {
    let statement = errors.line(start);
    let header =
        (0..=statement).rev().map(|line| line_of(text, line, errors).trim()).find(|line| line.starts_with('['));
    let header = header.and_then(|header| header.trim_start_matches('[').split_once(']')).map_or("", |(name, _)| name);
    let key = line_of(text, statement, errors).split_once('=').map_or("", |(key, _)| key.trim());
    let is_known = |key: &str| ALL.iter().any(|keys| keys.names.contains(&key));
    let is_in_order = |key: &str| !key.contains('=') && toml_span::parse(&format!("{key} = 0")).is_ok();
    let parts = [header.trim(), key];
    let shown = parts
        .into_iter()
        .filter(|part| part.split('.').next().is_some_and(|first| is_known(first.trim())) && is_in_order(part));
    crate::model::text::Escaped(&shown.collect::<Vec<_>>().join(".")).to_string()
}

/// The error in words that hold nothing of the file.
fn message(kind: &ErrorKind, errors: &ConfigErrors) -> String {
    let first_at = |at: usize| format!("first on line {}", errors.line(at) + 1);
    match kind {
        ErrorKind::UnexpectedEof => "the file ends in the middle of a value".into(),
        ErrorKind::ExceededDepthLimit => "too many brackets in brackets".into(),
        ErrorKind::InvalidCharInString(_) => {
            "a text with a line break or a control character in it; its closing quote may be missing".into()
        }
        ErrorKind::InvalidEscape(_) | ErrorKind::InvalidHexEscape(_) | ErrorKind::InvalidEscapeValue(_) => {
            r"a backslash that escapes nothing; write \\, or put the text in single quotes".into()
        }
        ErrorKind::UnterminatedString => "a text without its closing quote".into(),
        ErrorKind::UnquotedString | ErrorKind::InvalidNumber => "not a valid value; a text stands in \"quotes\"".into(),
        ErrorKind::Wanted { expected, found } => format!("expected {expected}, found {found}"),
        ErrorKind::DuplicateKey { first, .. } => {
            format!("the key stands here a second time ({})", first_at(first.start))
        }
        ErrorKind::DuplicateTable { first, .. } => {
            format!("the table stands here a second time ({})", first_at(first.start))
        }
        ErrorKind::RedefineAsArray | ErrorKind::DottedKeyInvalidType { .. } => {
            "what is a table here is something else above".into()
        }
        ErrorKind::MultilineStringKey => "a key cannot have several lines".into(),
        _ => "not TOML".into(),
    }
}

/// The value of a text that is in order.
pub(crate) fn parse<'t>(
    text: &'t str,
    mended: &'t mut Option<Zeroizing<String>>,
    errors: &mut ConfigErrors,
) -> Option<Value<'t>> {
    match toml_span::parse(text) {
        Ok(value) => Some(value),
        Err(error) => {
            errors.is_mended = true;
            *mended = mend(text, error, errors);
            toml_span::parse(mended.as_deref()?).ok()
        }
    }
}
