//! One file of the login cache: a JSON object with texts that may be secrets.

use std::borrow::Cow;
use std::fmt;
use std::time::SystemTime;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::Value;
use zeroize::Zeroizing;

use crate::model::secret::Secret;
use crate::model::time::parse_timestamp;

/// The maximum size of a login file. Real tokens and client secrets have about 4 kB each.
pub(crate) const LARGEST: usize = 256 * 1024;

/// The fields of one login file. Unknown fields are kept as they are. `Debug` shows no value.
#[derive(Clone, Default)]
pub(crate) struct CacheEntry {
    fields: Vec<(Box<str>, EntryField)>,
}

/// A field. Any text may be a secret.
#[derive(Clone, Deserialize)]
#[serde(from = "Value")]
enum EntryField {
    Text(Secret),
    Object(CacheEntry),
    Other(Value),
}

/// An access token, or the part that identifies it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AccessToken {
    /// The token, or an id that is different for each token.
    pub(crate) token: Secret,
    /// AWS refuses the token from this moment on.
    pub(crate) expires: SystemTime,
}

/// The reason why a login file is not usable. It never shows the content of the file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CacheEntryError {
    #[error("it is larger than {} kB", LARGEST / 1024)]
    TooLarge,
    /// The file may be empty while another program writes it.
    #[error("it is empty")]
    Empty,
    #[error("it ends in the middle")]
    Truncated,
    #[error("it is not a JSON object (line {line}, column {column})")]
    NotAnObject {
        /// The line number, counted from 1.
        line: usize,
        column: usize,
    },
    #[error("it has no {0}")]
    Missing(&'static str),
    #[error("its {0} is not a text")]
    NotText(&'static str),
    #[error("its {0} is not an object")]
    NotObject(&'static str),
    /// The time is neither in RFC 3339 nor in the form that botocore writes.
    #[error("its {field} {why}")]
    Time { field: &'static str, why: &'static str },
    /// The text holds a character that a header cannot carry.
    #[error("its {0} contains a control character")]
    ControlCharacter(&'static str),
}

impl CacheEntry {
    /// Parses a file.
    ///
    /// # Errors
    /// If the file is not a JSON object. Missing and wrong fields are reported later, by the getters.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, CacheEntryError> {
        if bytes.len() > LARGEST {
            return Err(CacheEntryError::TooLarge);
        }
        let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        if text.trim_ascii().is_empty() {
            return Err(CacheEntryError::Empty);
        }
        serde_json::from_slice(text).map_err(|error| match error.classify() {
            serde_json::error::Category::Eof => CacheEntryError::Truncated,
            _ => CacheEntryError::NotAnObject { line: error.line(), column: error.column() },
        })
    }

    /// Renders the file as botocore reads it.
    pub(crate) fn render(&self) -> Zeroizing<Vec<u8>> {
        // Reserve the maximum: escaping turns one byte into at most six. A buffer that grows would leave copies of the
        // secrets in memory.
        let mut bytes = Zeroizing::new(Vec::with_capacity(self.longest()));
        // Writing texts into memory cannot fail.
        let _ = serde_json::to_writer(&mut *bytes, self);
        bytes
    }

    fn longest(&self) -> usize {
        let longest = |(name, field): &(Box<str>, EntryField)| {
            let value = match field {
                EntryField::Text(text) => 6 * text.expose().len(),
                EntryField::Object(object) => object.longest(),
                // The text is escaped already.
                EntryField::Other(value) => value.to_string().len(),
            };
            6 * name.len() + value + 16
        };
        self.fields.iter().map(longest).sum::<usize>() + 2
    }

    /// Returns true if the field exists, even with null.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.fields.iter().any(|(known, _)| **known == *name)
    }

    pub(crate) fn set(&mut self, name: &str, text: Secret) {
        self.put(name, EntryField::Text(text));
    }

    pub(crate) fn set_object(&mut self, name: &str, object: CacheEntry) {
        self.put(name, EntryField::Object(object));
    }

    pub(crate) fn remove(&mut self, name: &str) {
        self.fields.retain(|(known, _)| **known != *name);
    }

    fn put(&mut self, name: &str, field: EntryField) {
        match self.fields.iter_mut().rev().find(|(known, _)| **known == *name) {
            Some((_, known)) => *known = field,
            None => self.fields.push((name.into(), field)),
        }
    }

    /// Returns the text of a field. Null and blank texts are `None`.
    ///
    /// # Errors
    /// If the field is not a text.
    pub(crate) fn text(&self, name: &'static str) -> Result<Option<&Secret>, CacheEntryError> {
        match self.field(name) {
            None => Ok(None),
            Some(EntryField::Text(text)) => Ok(Some(text).filter(|text| !text.expose().trim().is_empty())),
            Some(EntryField::Object(_) | EntryField::Other(_)) => Err(CacheEntryError::NotText(name)),
        }
    }

    /// Returns the text of a required field that is sent in a header.
    ///
    /// # Errors
    /// If the field is missing, is not a text or holds a control character.
    pub(crate) fn required(&self, name: &'static str) -> Result<&Secret, CacheEntryError> {
        let text = self.text(name)?.ok_or(CacheEntryError::Missing(name))?;
        if text.expose().chars().any(char::is_control) {
            return Err(CacheEntryError::ControlCharacter(name));
        }
        Ok(text)
    }

    /// Returns the object in a required field.
    ///
    /// # Errors
    /// If the field is missing or is not an object.
    pub(crate) fn object(&self, name: &'static str) -> Result<&CacheEntry, CacheEntryError> {
        match self.field(name) {
            None => Err(CacheEntryError::Missing(name)),
            Some(EntryField::Object(object)) => Ok(object),
            Some(EntryField::Text(_) | EntryField::Other(_)) => Err(CacheEntryError::NotObject(name)),
        }
    }

    /// Returns the time in a required field.
    ///
    /// # Errors
    /// If the field is missing or is not a time.
    pub(crate) fn end(&self, name: &'static str) -> Result<SystemTime, CacheEntryError> {
        self.time(name)?.ok_or(CacheEntryError::Missing(name))
    }

    /// Returns a field. Null is `None`.
    fn field(&self, name: &str) -> Option<&EntryField> {
        // If two fields have one name, the last counts, as in Python.
        let (_, field) = self.fields.iter().rev().find(|(known, _)| **known == *name)?;
        Some(field).filter(|field| !matches!(field, EntryField::Other(Value::Null)))
    }

    /// Returns the time in a field, in RFC 3339 or as older versions of botocore write it.
    ///
    /// # Errors
    /// If the field is not a time.
    pub(crate) fn time(&self, field: &'static str) -> Result<Option<SystemTime>, CacheEntryError> {
        let Some(text) = self.text(field)? else { return Ok(None) };
        read_time(text.expose()).map(Some).map_err(|why| CacheEntryError::Time { field, why })
    }
}

/// Parses RFC 3339, and the `2020-06-17T10:02:08UTC` of older versions of botocore.
fn read_time(text: &str) -> Result<SystemTime, &'static str> {
    let text = text.trim();
    let text = text.strip_suffix("UTC").map_or(Cow::Borrowed(text), |time| format!("{}Z", time.trim_end()).into());
    parse_timestamp(&text)
}

impl fmt::Debug for CacheEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CacheEntry").field("fields", &self.fields.len()).finish()
    }
}

impl<'de> Deserialize<'de> for CacheEntry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct EntryVisitor;
        impl<'de> Visitor<'de> for EntryVisitor {
            type Value = CacheEntry;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<CacheEntry, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry::<Box<str>, EntryField>()? {
                    fields.push(field);
                }
                Ok(CacheEntry { fields })
            }
        }
        deserializer.deserialize_map(EntryVisitor)
    }
}

impl From<Value> for EntryField {
    fn from(value: Value) -> Self {
        match value {
            Value::String(text) => Self::Text(text.into()),
            Value::Object(object) => {
                let fields = object.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
                Self::Object(CacheEntry { fields })
            }
            other => Self::Other(other),
        }
    }
}

impl Serialize for CacheEntry {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.fields.len()))?;
        for (name, field) in &self.fields {
            match field {
                EntryField::Text(text) => map.serialize_entry(name, text.expose())?,
                EntryField::Object(object) => map.serialize_entry(name, object)?,
                EntryField::Other(value) => map.serialize_entry(name, value)?,
            }
        }
        map.end()
    }
}
