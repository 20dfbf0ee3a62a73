//! The file, line and property that an error is about.

use std::fmt;
use std::sync::Arc;

/// A file and a line, or nothing; behind one pointer, for it travels with every answer. It is a note for people: what
/// differs in it alone is equal, and looks equal.
#[derive(Clone, Default)]
pub struct Location(Option<Arc<Box<str>>>);

impl Location {
    /// This place.
    pub fn new(place: impl Into<Box<str>>) -> Self {
        Self(Some(Arc::new(place.into())))
    }

    /// The message with the place before it.
    #[must_use]
    pub fn before(&self, message: &str) -> String {
        self.0.as_ref().map_or_else(|| message.to_owned(), |place| format!("{place}: {message}"))
    }

    /// The place itself.
    #[must_use]
    pub fn place(&self) -> Option<&str> {
        self.0.as_ref().map(|place| &***place)
    }
}

impl fmt::Debug for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Origin")
    }
}

impl std::hash::Hash for Location {
    fn hash<H: std::hash::Hasher>(&self, _: &mut H) {}
}

impl PartialEq for Location {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Location {}
