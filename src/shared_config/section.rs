//! A section as the line pass leaves it, and how rust-ini helps to make a [`Section`] of it.
//!
//! rust-ini 0.21, quotes and escapes off, reads some of the grammar wrongly: `\` before a line end swallows the next
//! line, `:` separates, values are trimmed of all that Unicode calls white space, a carriage return ends a line. So it
//! is given no comments and continuations, and only those properties that it reads right. The others are taken from the
//! line pass as they are, and so are those known to be secret: rust-ini leaves parts of what it read behind in memory,
//! and nobody could overwrite them.

use std::path::Path;
use std::sync::Arc;

use ini::{Ini, ParseOption};

use crate::model::secret::Secret;
use crate::shared_config::SharedFile;
use crate::shared_config::error::ExpectedSyntax;
use crate::shared_config::lexer::LexError;
use crate::shared_config::property::{Property, Section, SubProperty};

/// Properties whose values never pass through rust-ini.
const SECRETS: [&str; 3] = ["aws_secret_access_key", "aws_session_token", "aws_security_token"];

/// Properties that pass through rust-ini together: enough to share its cost, few enough to need little memory.
const BATCH: usize = 1024;

/// What a header begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum SectionKind {
    /// A section that does not count.
    Ignored,
    /// `[default]` of the config file, which gives way to `[profile default]`.
    Default,
    Profile,
    SsoSession,
    Services,
}

/// A section, with the properties of all its repetitions in order.
pub(crate) struct RawSection<'a> {
    pub(crate) sort: SectionKind,
    /// Without the word before it.
    pub(crate) name: &'a str,
    /// The line of the first header.
    pub(crate) line: u32,
    pub(crate) properties: Vec<RawProperty<'a>>,
}

/// A property as it stands in the file; all texts are trimmed.
pub(crate) struct RawProperty<'a> {
    pub(crate) name: &'a str,
    pub(crate) line: u32,
    /// The value on the line of the name.
    pub(crate) first: &'a str,
    /// Whether rust-ini reads name and value right, and may see them.
    plain: bool,
    /// The lines that continue the value.
    pub(crate) more: Vec<&'a str>,
    /// Names, lines and values of what belongs to an empty value.
    pub(crate) sub_properties: Vec<(&'a str, u32, &'a str)>,
}

/// The sections that these are drafts of, in order.
pub(crate) fn finish(drafts: &[RawSection<'_>], file: SharedFile, path: &Arc<Path>) -> Result<Vec<Section>, LexError> {
    let properties = drafts.iter().flat_map(|draft| &draft.properties);
    let mut read = read_by_ini(properties.filter(|property| property.suits_ini()));
    let section = |draft: &RawSection<'_>| {
        let mut properties = Vec::with_capacity(draft.properties.len());
        for property in &draft.properties {
            let value = if property.suits_ini() {
                let same = read.next().filter(|(name, _)| name == property.name);
                let (_, value) = same.ok_or(LexError { line: property.line, expected: ExpectedSyntax::Ini })?;
                Secret::from(value)
            } else {
                property.value()
            };
            let finished = Property::new(value, file, Arc::clone(path), property.line);
            properties.push((canonical(property.name), finished.with_sub_properties(property.sub_properties())));
        }
        Ok(Section::new(draft.name, properties))
    };
    drafts.iter().map(section).collect()
}

/// What rust-ini reads: a name and a value for each property, in order. It ends early when rust-ini disagrees.
///
/// It gets no headers: the line pass knows what belongs where, and sections cost rust-ini more than all else.
fn read_by_ini<'d>(
    mut properties: impl Iterator<Item = &'d RawProperty<'d>>,
) -> impl Iterator<Item = (String, String)> {
    let batch = move || {
        let (mut text, mut count) = (String::new(), 0);
        for property in properties.by_ref().take(BATCH) {
            text.extend([property.name, "=", property.first, "\n"]);
            count += 1;
        }
        let options = ParseOption { enabled_quote: false, enabled_escape: false, ..ParseOption::default() };
        let ini = Ini::load_from_str_opt(&text, options).ok()?;
        let read: Vec<_> = ini.into_iter().flat_map(|(_, properties)| properties).collect();
        (count > 0 && read.len() == count).then_some(read)
    };
    std::iter::from_fn(batch).flatten()
}

impl<'a> RawProperty<'a> {
    pub(crate) fn new(name: &'a str, line: u32, first: &'a str) -> Self {
        let plain = !SECRETS.iter().any(|secret| name.eq_ignore_ascii_case(secret))
            && !name.contains(':')
            && !first.bytes().any(|byte| matches!(byte, b'\\' | b'\r'))
            && first.trim() == first;
        Self { name, line, first, plain, more: Vec::new(), sub_properties: Vec::new() }
    }

    fn suits_ini(&self) -> bool {
        self.plain && self.more.is_empty()
    }

    /// The whole value, built in one piece of memory, so that no part of a secret stays behind.
    fn value(&self) -> Secret {
        if self.more.is_empty() {
            return Secret::from(self.first);
        }
        let lines: Vec<&str> = std::iter::once(self.first).chain(self.more.iter().copied()).collect();
        Secret::from(lines.join("\n"))
    }

    fn sub_properties(&self) -> Vec<(Box<str>, SubProperty)> {
        let sub_property = |&(name, line, value): &(&str, u32, &str)| (canonical(name), SubProperty::new(value, line));
        self.sub_properties.iter().map(sub_property).collect()
    }
}

/// Names of properties are the same in any case.
fn canonical(name: &str) -> Box<str> {
    let mut name = Box::from(name);
    str::make_ascii_lowercase(&mut name);
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ini_sees_what_it_reads_right_and_no_secret() {
        let suits = |name, value| RawProperty::new(name, 1, value).suits_ini();
        for (name, value) in
            [("region", "eu-west-1"), ("role_arn", "arn:aws:iam::1:role/x"), ("a", ""), ("b", "\"#c\"")]
        {
            assert!(suits(name, value), "{name}");
        }
        for (name, value) in [
            ("aws_secret_access_key", "x"),
            ("AWS_Session_Token", "x"),
            ("aws_security_token", "x"),
            ("a:b", "x"),
            ("a", "x\\"),
            ("a", "x\ry"),
            ("a", "\u{a0}x"),
        ] {
            assert!(!suits(name, value), "{name} {value:?}");
        }
    }
}
