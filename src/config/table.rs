//! Reads the tables of `credenza.toml` and collects every semantic error.

use std::borrow::Cow;
use std::fmt::Display;
use std::ops::RangeInclusive;

use toml_span::Value;
use toml_span::value::{Table, ValueInner};

use crate::config::schema::TableKeys;
use crate::config::syntax::LineIndex;
use crate::config::users::Account;
use crate::config::{ConfigError, value};
use crate::model::text::Escaped;

/// The errors of one file, in the order of discovery.
#[derive(Debug, Default)]
pub(crate) struct ConfigErrors {
    /// The errors, each with byte offset, key path and message.
    found: Vec<(usize, String, String)>,
}

impl ConfigErrors {
    pub(crate) fn push(&mut self, at: usize, key: &str, message: impl Into<String>) {
        self.found.push((at, key.to_owned(), message.into()));
    }

    pub(crate) fn count(&self) -> usize {
        self.found.len()
    }

    /// Returns the errors in the order of the file.
    pub(crate) fn finish(mut self, index: &LineIndex<'_>) -> Vec<ConfigError> {
        self.found.sort();
        self.found.dedup();
        self.found.into_iter().map(|(at, key, message)| index.error(at, key, message)).collect()
    }
}

/// A table. The caller takes each known key once.
#[derive(Debug)]
pub(crate) struct TableSection<'t> {
    /// The prefix of the keys in messages: `server.`.
    prefix: String,
    table: Table<'t>,
    known: &'static TableKeys,
}

impl<'t> TableSection<'t> {
    /// Returns an empty table, for a file without this table.
    pub(crate) fn empty(known: &'static TableKeys) -> Self {
        Self { prefix: String::new(), table: Table::new(), known }
    }

    /// Opens the table in this entry; reports unknown keys.
    pub(crate) fn open(entry: TableEntry<'t>, known: &'static TableKeys, errors: &mut ConfigErrors) -> Option<Self> {
        let separator = if entry.is_element { ", " } else { "." };
        let prefix = if entry.path.is_empty() { String::new() } else { format!("{}{separator}", entry.path) };
        let mut table = entry.table(errors)?;
        table.retain(|key, _| {
            let refusal = known.refuse(&key.name);
            if let Some(message) = &refusal {
                errors.push(key.span.start, &format!("{prefix}{}", quoted(&key.name)), message.as_str());
            }
            refusal.is_none()
        });
        Some(Self { prefix, table, known })
    }

    pub(crate) fn take(&mut self, key: &'static str) -> Option<TableEntry<'t>> {
        debug_assert!(self.known.names.contains(&key), "{key} is not among the keys of {}", self.known.table);
        let value = self.table.remove(key)?;
        Some(TableEntry { path: format!("{}{key}", self.prefix), value, is_element: false })
    }

    /// The offset and the path of the value of this key.
    pub(crate) fn at(&self, key: &str) -> Option<(usize, String)> {
        self.table.get(key).map(|value| (value.span.start, format!("{}{key}", self.prefix)))
    }

    /// Opens a table within this one.
    pub(crate) fn section(
        &mut self,
        key: &'static str,
        keys: &'static TableKeys,
        errors: &mut ConfigErrors,
    ) -> Option<Self> {
        Self::open(self.take(key)?, keys, errors)
    }

    /// Asserts in debug builds that every known key was taken.
    pub(crate) fn close(self) {
        debug_assert!(self.table.is_empty(), "not read: {:?} of {}", self.table.keys(), self.known.table);
    }
}

/// A value with its offset and path.
#[derive(Debug)]
pub(crate) struct TableEntry<'t> {
    /// The path for messages: `server.listen`.
    pub(crate) path: String,
    value: Value<'t>,
    /// True for an element of a list. Messages write `source 2, key` instead of `table.key`.
    is_element: bool,
}

impl<'t> TableEntry<'t> {
    pub(crate) fn root(value: Value<'t>) -> Self {
        Self { path: String::new(), value, is_element: false }
    }

    /// The byte offset of the value.
    pub(crate) fn at(&self) -> usize {
        self.value.span.start
    }

    /// Reports an error about this value and returns `None`.
    pub(crate) fn refuse<T>(&self, errors: &mut ConfigErrors, message: impl Into<String>) -> Option<T> {
        errors.push(self.at(), &self.path, message);
        None
    }

    fn refuse_type<T>(&self, errors: &mut ConfigErrors, expected: &str) -> Option<T> {
        self.refuse(errors, format!("must be {expected}, not {}", self.kind()))
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
                self.refuse_type(errors, "a text in quotes")
            }
        }
    }

    pub(crate) fn word<T: Copy>(self, errors: &mut ConfigErrors, words: &[(&str, T)]) -> Option<T> {
        self.read(errors, |text| {
            words.iter().find(|(word, _)| *word == text).map(|(_, meaning)| *meaning).ok_or_else(|| {
                let words: Vec<_> = words.iter().map(|(word, _)| format!("\"{word}\"")).collect();
                format!("must be {}", words.join(" or "))
            })
        })
    }

    pub(crate) fn boolean(self, errors: &mut ConfigErrors) -> Option<bool> {
        self.value.as_bool().or_else(|| self.refuse_type(errors, "true or false"))
    }

    pub(crate) fn number(self, errors: &mut ConfigErrors, allowed: RangeInclusive<usize>) -> Option<usize> {
        let Some(number) = self.value.as_integer() else {
            return self.refuse_type(errors, "a whole number");
        };
        usize::try_from(number)
            .ok()
            .filter(|number| allowed.contains(number))
            .or_else(|| self.refuse(errors, format!("must lie between {} and {}", allowed.start(), allowed.end())))
    }

    /// Parses a user or a group, by name or number.
    pub(crate) fn account(self, errors: &mut ConfigErrors) -> Option<Account> {
        match self.value.as_integer() {
            Some(id) => u32::try_from(id)
                .map(Account::Id)
                .ok()
                .or_else(|| self.refuse(errors, "not a user or group number; it is between 0 and 4294967295")),
            None => self.read(errors, value::account),
        }
    }

    /// Returns the elements of a list. In messages an element is named by `noun` and its number, from 1.
    pub(crate) fn list(mut self, errors: &mut ConfigErrors, noun: &str) -> Option<Vec<Self>> {
        let elements = match self.value.take() {
            ValueInner::Array(elements) => elements,
            other => {
                self.value.set(other);
                return self.refuse_type(errors, "a list");
            }
        };
        let entries = elements.into_iter().enumerate().map(|(position, value)| Self {
            path: format!("{}, {noun} {}", self.path, position + 1),
            value,
            is_element: true,
        });
        Some(entries.collect())
    }

    /// Returns the keys of a table that allows any key, with their offsets and values.
    pub(crate) fn named(self, errors: &mut ConfigErrors) -> Vec<(Cow<'t, str>, usize, Self)> {
        let path = self.path.clone();
        let tables = self.table(errors).unwrap_or_default().into_iter().map(|(key, value)| {
            let entry = Self { path: format!("{path}.{}", quoted(&key.name)), value, is_element: false };
            (key.name, key.span.start, entry)
        });
        tables.collect()
    }

    pub(crate) fn is_list(&self) -> bool {
        self.value.as_array().is_some()
    }

    fn table(mut self, errors: &mut ConfigErrors) -> Option<Table<'t>> {
        match self.value.take() {
            ValueInner::Table(table) => Some(table),
            other => {
                self.value.set(other);
                self.refuse_type(errors, "a table")
            }
        }
    }
}

/// A text that may be a secret. It is overwritten on drop if it is owned.
struct ZeroizedText<'t>(Cow<'t, str>);

impl Drop for ZeroizedText<'_> {
    fn drop(&mut self) {
        if let Cow::Owned(text) = &mut self.0 {
            zeroize::Zeroize::zeroize(text);
        }
    }
}

/// Formats a key as TOML writes it.
fn quoted(key: &str) -> String {
    let bare = !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
    if bare { key.to_owned() } else { format!("\"{}\"", Escaped(key)) }
}
