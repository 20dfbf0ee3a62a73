//! A section as the parser collects it, and the [`Section`] that it becomes.

use std::borrow::Cow;
use std::path::Path;
use std::sync::Arc;

use crate::model::secret::Secret;
use crate::shared_config::SharedFile;
use crate::shared_config::section::{Property, Section, SubProperty};

/// The kind of section that a header begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum SectionKind {
    /// A section that is not used.
    Ignored,
    /// `[default]` of the config file. `[profile default]` replaces it.
    Default,
    Profile,
    SsoSession,
    Services,
}

/// A section with the properties of all its repetitions, in the order of the lines.
pub(crate) struct RawSection<'a> {
    pub(crate) kind: SectionKind,
    /// The name without the word of its kind: `dev` for `[profile dev]`.
    pub(crate) name: Cow<'a, str>,
    /// The line of the first header.
    pub(crate) line: u32,
    pub(crate) properties: Vec<RawProperty<'a>>,
}

/// A property as the file has it. All texts are trimmed.
pub(crate) struct RawProperty<'a> {
    pub(crate) name: &'a str,
    pub(crate) line: u32,
    /// The value on the line of the name.
    pub(crate) value: &'a str,
    /// The lines that continue the value.
    pub(crate) continuations: Vec<&'a str>,
    /// Name, line and value of each sub-property. Only an empty value has them.
    pub(crate) sub_properties: Vec<(&'a str, u32, &'a str)>,
}

impl RawSection<'_> {
    pub(crate) fn finish(&self, file: SharedFile, path: &Arc<Path>) -> Section {
        let property = |raw: &RawProperty<'_>| {
            let property = Property::new(raw.joined_value(), file, Arc::clone(path), raw.line);
            (lower_case(raw.name), property.with_sub_properties(raw.finished_sub_properties()))
        };
        Section::new(&self.name, self.properties.iter().map(property).collect())
    }
}

impl<'a> RawProperty<'a> {
    pub(crate) fn new(name: &'a str, line: u32, value: &'a str) -> Self {
        Self { name, line, value, continuations: Vec::new(), sub_properties: Vec::new() }
    }

    /// Joins all lines of the value in one allocation, so that no copy of a part of a secret stays in memory.
    fn joined_value(&self) -> Secret {
        if self.continuations.is_empty() {
            return Secret::from(self.value);
        }
        let lines: Vec<&str> = std::iter::once(self.value).chain(self.continuations.iter().copied()).collect();
        Secret::from(lines.join("\n"))
    }

    fn finished_sub_properties(&self) -> Vec<(Box<str>, SubProperty)> {
        let sub_property = |&(name, line, value): &(&str, u32, &str)| (lower_case(name), SubProperty::new(value, line));
        self.sub_properties.iter().map(sub_property).collect()
    }
}

/// Property names are not case-sensitive, as in the SDKs.
fn lower_case(name: &str) -> Box<str> {
    let mut name = Box::from(name);
    str::make_ascii_lowercase(&mut name);
    name
}
