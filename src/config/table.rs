//! Reading tables of `credenza.toml` without stopping at the first error.

use std::borrow::Cow;
use std::fmt::Display;
use std::ops::RangeInclusive;

use toml_span::Value;
use toml_span::value::{Table, ValueInner};

use crate::config::schema::TableKeys;
use crate::config::server::Account;
use crate::config::{ConfigError, value};
use crate::model::text::Escaped;

/// All that is wrong with one file.
#[derive(Debug)]
pub(crate) struct ConfigErrors {
    /// Whether statements were blanked out: what seems to be missing may have been there.
    pub(crate) is_mended: bool,
    line_starts: Vec<usize>,
    found: Vec<(usize, String, String)>,
}

impl ConfigErrors {
    pub(crate) fn new(text: &str) -> Self {
        let after_breaks = text.bytes().enumerate().filter(|(_, b)| *b == b'\n').map(|(at, _)| at + 1);
        Self { is_mended: false, line_starts: std::iter::once(0).chain(after_breaks).collect(), found: Vec::new() }
    }

    pub(crate) fn push(&mut self, at: usize, key: &str, message: impl Into<String>) {
        self.found.push((at, key.to_owned(), message.into()));
    }

    pub(crate) fn count(&self) -> usize {
        self.found.len()
    }

    /// The line that holds this offset, from 0.
    pub(crate) fn line(&self, at: usize) -> usize {
        self.line_starts.partition_point(|start| *start <= at) - 1
    }

    /// Where this line begins; the end of the text for one behind the last.
    pub(crate) fn line_start(&self, line: usize, text: &str) -> usize {
        self.line_starts.get(line).copied().unwrap_or(text.len())
    }

    /// Everything in the order of the file.
    pub(crate) fn finish(mut self, text: &str) -> Vec<ConfigError> {
        self.found.sort();
        self.found.dedup();
        let found = std::mem::take(&mut self.found);
        let placed = found.into_iter().map(|(at, key, message)| {
            let line = self.line(at);
            let column = text.get(self.line_starts[line]..at).map_or(0, |before| before.chars().count());
            ConfigError { line: line + 1, column: column + 1, key, message }
        });
        placed.collect()
    }
}

/// One table, and where its keys are.
#[derive(Debug)]
pub(crate) struct TableSection<'t> {
    prefix: String,
    table: Table<'t>,
    known: &'static TableKeys,
}

impl<'t> TableSection<'t> {
    /// A table without keys.
    pub(crate) fn empty(known: &'static TableKeys) -> Self {
        Self { prefix: String::new(), table: Table::new(), known }
    }

    /// The table in this entry; reports keys that are unknown.
    pub(crate) fn open(entry: TableEntry<'t>, known: &'static TableKeys, errors: &mut ConfigErrors) -> Option<Self> {
        let separator = if entry.is_element { ", " } else { "." };
        let prefix = if entry.path.is_empty() { String::new() } else { format!("{}{separator}", entry.path) };
        let mut table = entry.table(errors)?;
        table.retain(|key, _| {
            let refused = known.refuse(&key.name);
            if let Some(message) = &refused {
                errors.push(key.span.start, &format!("{prefix}{}", quoted(&key.name)), message.as_str());
            }
            refused.is_none()
        });
        Some(Self { prefix, table, known })
    }

    pub(crate) fn take(&mut self, key: &'static str) -> Option<TableEntry<'t>> {
        debug_assert!(self.known.names.contains(&key), "{key} is not among the keys of {}", self.known.place);
        let value = self.table.remove(key)?;
        Some(TableEntry { path: format!("{}{key}", self.prefix), value, is_element: false })
    }

    /// Where the value of this key stands, and its path.
    pub(crate) fn at(&self, key: &str) -> Option<(usize, String)> {
        self.table.get(key).map(|value| (value.span.start, format!("{}{key}", self.prefix)))
    }

    /// A table within this one.
    pub(crate) fn section(
        &mut self,
        key: &'static str,
        keys: &'static TableKeys,
        errors: &mut ConfigErrors,
    ) -> Option<Self> {
        Self::open(self.take(key)?, keys, errors)
    }

    /// All known keys have been taken.
    pub(crate) fn close(self) {
        debug_assert!(self.table.is_empty(), "nobody read {:?} of {}", self.table.keys(), self.known.place);
    }
}

/// A value, and where it stands.
#[derive(Debug)]
pub(crate) struct TableEntry<'t> {
    /// `server.listen`.
    pub(crate) path: String,
    value: Value<'t>,
    is_element: bool,
}

impl<'t> TableEntry<'t> {
    pub(crate) fn root(value: Value<'t>) -> Self {
        Self { path: String::new(), value, is_element: false }
    }

    pub(crate) fn at(&self) -> usize {
        self.value.span.start
    }

    /// Reports something about this value; nothing comes of it.
    pub(crate) fn refuse<T>(&self, errors: &mut ConfigErrors, message: impl Into<String>) -> Option<T> {
        errors.push(self.at(), &self.path, message);
        None
    }

    fn wanted<T>(&self, errors: &mut ConfigErrors, wanted: &str) -> Option<T> {
        self.refuse(errors, format!("must be {wanted}, not {}", self.kind()))
    }

    fn kind(&self) -> &'static str {
        match self.value.as_ref() {
            ValueInner::String(_) => "a text",
            ValueInner::Integer(_) | ValueInner::Float(_) => "a number",
            ValueInner::Boolean(_) => "true or false",
            ValueInner::Array(_) => "a list",
            ValueInner::Table(_) => "a table",
        }
    }

    pub(crate) fn is_text(&self) -> bool {
        self.value.as_str().is_some()
    }

    /// A text, and what this function makes of it.
    pub(crate) fn read<T, E: Display>(
        mut self,
        errors: &mut ConfigErrors,
        read: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        match self.value.take() {
            ValueInner::String(text) => {
                let text = ZeroizedText(text);
                read(&text.0).map_err(|error| self.refuse::<()>(errors, error.to_string())).ok()
            }
            other => {
                self.value.set(other);
                self.wanted(errors, "a text in quotes")
            }
        }
    }

    /// One of these words.
    pub(crate) fn word<T: Copy>(self, errors: &mut ConfigErrors, words: &[(&str, T)]) -> Option<T> {
        self.read(errors, |text| {
            words.iter().find(|(word, _)| *word == text).map(|(_, meaning)| *meaning).ok_or_else(|| {
                let words: Vec<_> = words.iter().map(|(word, _)| format!("\"{word}\"")).collect();
                format!("must be {}", words.join(" or "))
            })
        })
    }

    pub(crate) fn boolean(self, errors: &mut ConfigErrors) -> Option<bool> {
        self.value.as_bool().or_else(|| self.wanted(errors, "true or false"))
    }

    pub(crate) fn number(self, errors: &mut ConfigErrors, allowed: RangeInclusive<usize>) -> Option<usize> {
        let Some(number) = self.value.as_integer() else {
            return self.wanted(errors, "a whole number");
        };
        usize::try_from(number)
            .ok()
            .filter(|number| allowed.contains(number))
            .or_else(|| self.refuse(errors, format!("must lie between {} and {}", allowed.start(), allowed.end())))
    }

    /// A user or a group by name or number.
    pub(crate) fn account(self, errors: &mut ConfigErrors) -> Option<Account> {
        match self.value.as_integer() {
            Some(id) => {
                u32::try_from(id).map(Account::Id).ok().or_else(|| self.refuse(errors, "not the number of an account"))
            }
            None => self.read(errors, value::account),
        }
    }

    /// The elements of a list; each is called `what` and its number, from 1.
    pub(crate) fn list(mut self, errors: &mut ConfigErrors, what: &str) -> Option<Vec<Self>> {
        let elements = match self.value.take() {
            ValueInner::Array(elements) => elements,
            other => {
                self.value.set(other);
                return self.wanted(errors, "a list");
            }
        };
        let entries = elements.into_iter().enumerate().map(|(position, value)| Self {
            path: format!("{}, {what} {}", self.path, position + 1),
            value,
            is_element: true,
        });
        Some(entries.collect())
    }

    /// The values in this table, whatever their names.
    pub(crate) fn named(self, errors: &mut ConfigErrors) -> Vec<(Cow<'t, str>, usize, Self)> {
        let path = self.path.clone();
        let tables = self.table(errors).unwrap_or_default().into_iter().map(|(key, value)| {
            let entry = Self { path: format!("{path}.{}", quoted(&key.name)), value, is_element: false };
            (key.name, key.span.start, entry)
        });
        tables.collect()
    }

    /// Whether it is a list.
    pub(crate) fn is_list(&self) -> bool {
        self.value.as_array().is_some()
    }

    fn table(mut self, errors: &mut ConfigErrors) -> Option<Table<'t>> {
        match self.value.take() {
            ValueInner::Table(table) => Some(table),
            other => {
                self.value.set(other);
                self.wanted(errors, "a table")
            }
        }
    }
}

/// A text that may have been a secret, overwritten when this parser owned it.
struct ZeroizedText<'t>(Cow<'t, str>);

impl Drop for ZeroizedText<'_> {
    fn drop(&mut self) {
        if let Cow::Owned(text) = &mut self.0 {
            zeroize::Zeroize::zeroize(text);
        }
    }
}

/// A key as it would be written.
fn quoted(key: &str) -> String {
    let bare = !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
    if bare { key.to_owned() } else { format!("\"{}\"", Escaped(key)) }
}
