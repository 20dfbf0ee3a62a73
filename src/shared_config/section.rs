//! The sections of the shared files and their properties, each with its location.

use std::fmt;
use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::path::Path;
use std::sync::{Arc, LazyLock};

use crate::model::location::Location;
use crate::model::secret::Secret;
use crate::shared_config::SharedFile;

/// A profile, merged from both files, or an `sso-session` or `services` section.
pub(crate) struct Section {
    name: Box<str>,
    /// The entries, sorted by name, each name once.
    properties: Box<[(Box<str>, Property)]>,
}

/// One property of a section, with its location.
pub(crate) struct Property {
    value: Secret,
    file: SharedFile,
    path: Arc<Path>,
    line: u32,
    hides_another_file: bool,
    /// The entries, sorted by name, each name once.
    sub_properties: Box<[(Box<str>, SubProperty)]>,
}

/// A `name = value` that belongs to a property with an empty value.
pub(crate) struct SubProperty {
    value: Secret,
    line: u32,
}

impl Section {
    /// Makes a section. If several properties have one name, the last wins.
    pub(crate) fn new(name: &str, properties: Vec<(Box<str>, Property)>) -> Self {
        Self { name: name.into(), properties: last_of_each(properties) }
    }

    /// Adds the properties of the other section, which win over properties of an equal name.
    pub(crate) fn override_with(&mut self, mut other: Self) {
        for (name, property) in &mut other.properties {
            property.hides_another_file = find(&self.properties, name).is_some_and(|ours| ours.file != property.file);
        }
        let mut all = std::mem::take(&mut self.properties).into_vec();
        all.extend(other.properties);
        self.properties = last_of_each(all);
    }

    /// Returns the name without the word of its kind: `dev` for `[profile dev]`.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Returns the property of this lower-case name.
    pub(crate) fn get(&self, name: &str) -> Option<&Property> {
        find(&self.properties, name)
    }

    /// Returns all properties, sorted by name. Names are foreign text, and a mistyped line can put a secret into one.
    pub(crate) fn properties(&self) -> impl Iterator<Item = (&str, &Property)> {
        self.properties.iter().map(|(name, property)| (&**name, property))
    }

    /// Hashes the named properties: presence, file, value and sub-properties.
    ///
    /// Lines and other properties are left out, so an equal digest means that these properties are unchanged. The file
    /// is included, because its owner decides if some properties are used. The key is random in each process, so a
    /// digest is useless elsewhere.
    pub(crate) fn digest(&self, names: &[&str]) -> u64 {
        static KEY: LazyLock<RandomState> = LazyLock::new(RandomState::new);
        let mut hasher = KEY.build_hasher();
        for name in names {
            name.hash(&mut hasher);
            match self.get(name) {
                Some(property) => property.feed(&mut hasher),
                None => hasher.write_u8(0),
            }
        }
        hasher.finish()
    }
}

/// Prints no property, not even its name, which may hold a secret.
impl fmt::Debug for Section {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Section").field("name", &self.name).field("properties", &self.properties.len()).finish()
    }
}

impl Property {
    pub(crate) fn new(value: Secret, file: SharedFile, path: Arc<Path>, line: u32) -> Self {
        Self { value, file, path, line, hides_another_file: false, sub_properties: Box::default() }
    }

    /// Adds sub-properties. If several have one name, the last wins.
    pub(crate) fn with_sub_properties(self, sub_properties: Vec<(Box<str>, SubProperty)>) -> Self {
        Self { sub_properties: last_of_each(sub_properties), ..self }
    }

    /// Returns the value as written, trimmed. Continuation lines are trimmed and joined by `\n`. The value may be
    /// empty, may hold any character, and may be a secret.
    pub(crate) fn value(&self) -> &str {
        self.value.expose()
    }

    pub(crate) fn file(&self) -> SharedFile {
        self.file
    }

    /// Returns true if the other file has a property of this name in this profile, too. The other property is ignored.
    pub(crate) fn hides_another_file(&self) -> bool {
        self.hides_another_file
    }

    pub(crate) fn path(&self) -> &Arc<Path> {
        &self.path
    }

    /// Returns the line of the name, counted from 1.
    pub(crate) fn line(&self) -> u32 {
        self.line
    }

    /// Returns the file and line of the name.
    pub(crate) fn location(&self) -> Location {
        Location::line(&self.path, self.line as usize)
    }

    /// Returns the sub-property of this lower-case name.
    pub(crate) fn sub_property(&self, name: &str) -> Option<&SubProperty> {
        find(&self.sub_properties, name)
    }

    /// Returns all sub-properties, sorted by name. Only a property with an empty value has any.
    pub(crate) fn sub_properties(&self) -> impl Iterator<Item = (&str, &SubProperty)> {
        self.sub_properties.iter().map(|(name, sub_property)| (&**name, sub_property))
    }

    fn feed(&self, hasher: &mut impl Hasher) {
        hasher.write_u8(1);
        self.file.hash(hasher);
        self.value().hash(hasher);
        hasher.write_usize(self.sub_properties.len());
        for (name, sub_property) in self.sub_properties() {
            (name, sub_property.value()).hash(hasher);
        }
    }
}

/// Prints the location without the value.
impl fmt::Debug for Property {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { value, file, path, line, hides_another_file: _, sub_properties: _ } = self;
        let mut shown = f.debug_struct("Property");
        shown.field("value", value).field("file", file).field("path", path).field("line", line);
        shown.finish_non_exhaustive()
    }
}

impl SubProperty {
    pub(crate) fn new(value: &str, line: u32) -> Self {
        Self { value: Secret::from(value), line }
    }

    /// Returns the value as written, trimmed.
    pub(crate) fn value(&self) -> &str {
        self.value.expose()
    }

    /// Returns the line, counted from 1.
    pub(crate) fn line(&self) -> u32 {
        self.line
    }
}

/// Prints the location without the value.
impl fmt::Debug for SubProperty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SubProperty").field("value", &self.value).field("line", &self.line).finish()
    }
}

fn last_of_each<T>(mut named: Vec<(Box<str>, T)>) -> Box<[(Box<str>, T)]> {
    named.reverse();
    named.sort_by(|a, b| a.0.cmp(&b.0));
    named.dedup_by(|later, kept| later.0 == kept.0);
    named.into()
}

fn find<'a, T>(sorted: &'a [(Box<str>, T)], name: &str) -> Option<&'a T> {
    let index = sorted.binary_search_by(|(other, _)| (**other).cmp(name)).ok()?;
    Some(&sorted[index].1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shared_config::{FileContent, SharedConfig};

    fn digest(config: &str, credentials: &str, names: &[&str]) -> u64 {
        let config = FileContent { path: Path::new("/config"), bytes: config.as_bytes() };
        let credentials = FileContent { path: Path::new("/credentials"), bytes: credentials.as_bytes() };
        SharedConfig::parse(Some(config), Some(credentials)).unwrap().profile("default").unwrap().digest(names)
    }

    #[test]
    fn digest_changes_with_named_properties_only() {
        let config = "[default]\na=1\ns3=\n x=1\n y=1\nz=";
        let before = digest(config, "", &["a", "s3", "gone"]);
        let same = [
            "# moved\n[default]\n\na = 1\nb=2\ns3=\n y=1\n\n x=1\nz=3",
            "[default]\nz=\nS3=\n X=1\n Y=1\nA=0\nA=1 # later",
        ];
        for other in same {
            assert_eq!(digest(other, "", &["a", "s3", "gone"]), before, "{other:?}");
        }
        let changed = [
            "[default]\na=2\ns3=\n x=1\n y=1",
            "[default]\na=\ns3=\n x=1\n y=1",
            "[default]\ns3=\n x=1\n y=1",
            "[default]\na=1\ns3=\n x=1\n y=2",
            "[default]\na=1\ns3=\n x=1",
            "[default]\na=1\ns3=",
            "[default]\na=1\ns3=\n x=1\n y=1\ngone=",
        ];
        for other in changed {
            assert_ne!(digest(other, "", &["a", "s3", "gone"]), before, "{other:?}");
        }
        assert_ne!(digest(config, "[default]\na=1", &["a", "s3", "gone"]), before);
        assert_ne!(digest(config, "", &["z"]), digest(config, "", &["gone"]));
    }
}
