//! The location of a setting, for messages.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use crate::model::text::Escaped;

/// The location that an error is about: a line of a file, or a variable of the environment.
///
/// It prints as `/home/me/.aws/config, line 3: profile dev` or as `AWS_REGION`. `Display` escapes text from files.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Location(Arc<LocationKind>);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum LocationKind {
    Line { file: Box<Path>, line: usize, profile: Option<Box<str>>, property: Option<Box<str>> },
    Variable(Box<str>),
}

impl Location {
    /// A line of a file. Lines count from 1.
    #[must_use]
    pub fn line(file: &Path, line: usize) -> Self {
        Self(Arc::new(LocationKind::Line { file: file.into(), line, profile: None, property: None }))
    }

    /// A variable of the environment.
    #[must_use]
    pub fn variable(name: &str) -> Self {
        Self(Arc::new(LocationKind::Variable(name.into())))
    }

    /// Returns the location with the name of the profile that the line belongs to.
    #[must_use]
    pub fn in_profile(mut self, name: &str) -> Self {
        if let LocationKind::Line { profile, .. } = Arc::make_mut(&mut self.0) {
            *profile = Some(name.into());
        }
        self
    }

    /// Returns the location without the name of the profile.
    #[must_use]
    pub(crate) fn without_profile(&self) -> Self {
        let mut location = self.clone();
        if let LocationKind::Line { profile, .. } = Arc::make_mut(&mut location.0) {
            *profile = None;
        }
        location
    }

    /// Returns the location with the name of the property on the line.
    #[must_use]
    pub fn with_property(mut self, name: &str) -> Self {
        if let LocationKind::Line { property, .. } = Arc::make_mut(&mut self.0) {
            *property = Some(name.into());
        }
        self
    }

    /// The file. `None` if the location is a variable.
    #[must_use]
    pub fn file(&self) -> Option<&Path> {
        match &*self.0 {
            LocationKind::Line { file, .. } => Some(file),
            LocationKind::Variable(_) => None,
        }
    }

    /// The number of the line, counted from 1. `None` if the location is a variable.
    #[must_use]
    pub fn line_number(&self) -> Option<usize> {
        match &*self.0 {
            LocationKind::Line { line, .. } => Some(*line),
            LocationKind::Variable(_) => None,
        }
    }

    /// The name of the property, if it is known, or of the variable.
    #[must_use]
    pub fn property(&self) -> Option<&str> {
        match &*self.0 {
            LocationKind::Line { property, .. } => property.as_deref(),
            LocationKind::Variable(name) => Some(name),
        }
    }

    /// The profile that the line belongs to, if it is known.
    #[must_use]
    pub fn profile(&self) -> Option<&str> {
        match &*self.0 {
            LocationKind::Line { profile, .. } => profile.as_deref(),
            LocationKind::Variable(_) => None,
        }
    }

    /// Returns true if the location is a variable of the environment.
    #[must_use]
    pub fn is_variable(&self) -> bool {
        matches!(&*self.0, LocationKind::Variable(_))
    }

    /// Prints the property before its line: `ca_bundle (/home/me/.aws/config line 3)`, or the name of the variable.
    #[must_use]
    pub fn named(&self) -> String {
        match &*self.0 {
            LocationKind::Line { file, line, property: Some(property), .. } => {
                format!("{property} ({} line {line})", Escaped(&file.to_string_lossy()))
            }
            LocationKind::Line { .. } | LocationKind::Variable(_) => self.to_string(),
        }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.0 {
            LocationKind::Line { file, line, profile, .. } => {
                write!(f, "{}, line {line}", Escaped(&file.to_string_lossy()))?;
                profile.as_ref().map_or(Ok(()), |profile| write!(f, ": profile {}", Escaped(profile)))
            }
            LocationKind::Variable(name) => f.write_str(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_file_line_and_profile_or_the_variable() {
        let line = Location::line(Path::new("/c\n"), 3);
        assert_eq!(line.to_string(), "/c\\n, line 3");
        assert_eq!(line.clone().in_profile("dev").to_string(), "/c\\n, line 3: profile dev");
        assert_eq!(line.clone().with_property("region").named(), "region (/c\\n line 3)");
        let variable = Location::variable("AWS_REGION").in_profile("dev");
        assert_eq!((variable.to_string(), variable.named()), ("AWS_REGION".into(), "AWS_REGION".into()));
    }

    #[test]
    fn returns_its_parts() {
        let line = Location::line(Path::new("/c"), 3).in_profile("dev").with_property("role_arn");
        assert_eq!((line.file(), line.line_number()), (Some(Path::new("/c")), Some(3)));
        assert_eq!((line.profile(), line.property()), (Some("dev"), Some("role_arn")));
        let variable = Location::variable("AWS_REGION");
        assert_eq!((variable.file(), variable.line_number()), (None, None));
        assert_eq!((variable.profile(), variable.property()), (None, Some("AWS_REGION")));
        assert!(variable.is_variable() && !line.is_variable());
    }
}
