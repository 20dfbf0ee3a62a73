//! A section as the line pass leaves it, and how rust-ini makes a [`Section`] of it.
//!
//! rust-ini 0.21, quotes and escapes off, reads some of the grammar wrongly: `\` before a line end swallows the next
//! line, `:` separates, values are trimmed of all that Unicode calls white space, a carriage return ends a line. So it
//! is given one section at a time, without comments and continuations, and of the properties only those that it reads
//! right. The others are taken from the line pass as they are, and so are those known to be secret: rust-ini leaves
//! parts of what it read behind in memory, and nobody could overwrite them.

use std::path::Path;
use std::sync::Arc;

use ini::{Ini, ParseOption};

use super::File;
use super::error::Expected;
use super::lines::Fault;
use super::profile::{Property, Section, SubProperty};
use crate::secret::Secret;

/// Properties whose values never pass through rust-ini.
const SECRETS: [&str; 3] = ["aws_secret_access_key", "aws_session_token", "aws_security_token"];

/// The name that every section bears on its way through rust-ini.
const SECTION: &str = "section";

/// A section, with the properties of all its repetitions in order.
#[derive(Default)]
pub(super) struct Draft<'a> {
    /// Without the word before it.
    pub(super) name: &'a str,
    /// The line of the first header.
    pub(super) line: u32,
    pub(super) properties: Vec<DraftProperty<'a>>,
}

/// A property as it stands in the file; all texts are trimmed.
pub(super) struct DraftProperty<'a> {
    pub(super) name: &'a str,
    pub(super) line: u32,
    /// The value on the line of the name.
    pub(super) first: &'a str,
    /// The lines that continue the value.
    pub(super) more: Vec<&'a str>,
    /// Names, lines and values of what belongs to an empty value.
    pub(super) sub_properties: Vec<(&'a str, u32, &'a str)>,
}

impl Draft<'_> {
    /// The section that this is a draft of.
    pub(super) fn finish(self, file: File, path: &Arc<Path>) -> Result<Section, Fault> {
        let mut read = self.read_by_ini()?.into_iter();
        let mut properties = Vec::with_capacity(self.properties.len());
        for draft in &self.properties {
            let (name, value) = if draft.suits_ini() {
                let (name, value) = read.next().ok_or(self.unreadable())?;
                (canonical(name), Secret::from(value))
            } else {
                (canonical(draft.name.to_owned()), draft.value())
            };
            let property = Property::new(value, file, Arc::clone(path), draft.line);
            properties.push((name, property.with_sub_properties(draft.sub_properties())));
        }
        Ok(Section::new(self.name, properties))
    }

    /// What rust-ini reads of the properties that suit it: one pair for each, in order.
    fn read_by_ini(&self) -> Result<Vec<(String, String)>, Fault> {
        let suitable = || self.properties.iter().filter(|property| property.suits_ini());
        let mut text = format!("[{SECTION}]\n");
        for property in suitable() {
            text.extend([property.name, "=", property.first, "\n"]);
        }
        let options = ParseOption { enabled_quote: false, enabled_escape: false, ..ParseOption::default() };
        let mut ini = Ini::load_from_str_opt(&text, options).map_err(|_| self.unreadable())?;
        let read: Vec<_> = ini.delete(Some(SECTION)).into_iter().flatten().collect();
        let agreed = read.iter().map(|(name, _)| name.as_str()).eq(suitable().map(|property| property.name));
        if agreed { Ok(read) } else { Err(self.unreadable()) }
    }

    fn unreadable(&self) -> Fault {
        Fault { line: self.line, expected: Expected::Ini }
    }
}

impl<'a> DraftProperty<'a> {
    pub(super) fn new(name: &'a str, line: u32, first: &'a str) -> Self {
        Self { name, line, first, more: Vec::new(), sub_properties: Vec::new() }
    }

    fn suits_ini(&self) -> bool {
        self.more.is_empty()
            && !self.name.contains(':')
            && !self.first.contains(['\\', '\r'])
            && self.first.trim() == self.first
            && !SECRETS.iter().any(|secret| self.name.eq_ignore_ascii_case(secret))
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
        let sub_property =
            |&(name, line, value): &(&str, u32, &str)| (canonical(name.to_owned()), SubProperty::new(value, line));
        self.sub_properties.iter().map(sub_property).collect()
    }
}

/// Names of properties are the same in any case.
fn canonical(mut name: String) -> Box<str> {
    name.make_ascii_lowercase();
    name.into()
}
