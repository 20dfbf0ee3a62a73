//! The place of a setting: where a person has to look.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use crate::model::text::Escaped;

/// The place that an error is about: a line of a file, or a variable of the environment.
///
/// It prints as `/home/me/.aws/config, line 3: profile dev` or as `AWS_REGION`. Text from files is escaped when it prints.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Location(Arc<Place>);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Place {
    Line { file: Box<Path>, line: usize, profile: Option<Box<str>>, property: Option<Box<str>> },
    Variable(Box<str>),
}

impl Location {
    /// A line of a file. Lines count from 1.
    #[must_use]
    pub fn line(file: &Path, line: usize) -> Self {
        Self(Arc::new(Place::Line { file: file.into(), line, profile: None, property: None }))
    }

    /// A variable of the environment.
    #[must_use]
    pub fn variable(name: &str) -> Self {
        Self(Arc::new(Place::Variable(name.into())))
    }

    /// The same line, with the name of the profile that it belongs to.
    #[must_use]
    pub fn in_profile(mut self, name: &str) -> Self {
        if let Place::Line { profile, .. } = Arc::make_mut(&mut self.0) {
            *profile = Some(name.into());
        }
        self
    }

    /// The same line, with the name of the property that stands there.
    #[must_use]
    pub fn with_property(mut self, name: &str) -> Self {
        if let Place::Line { property, .. } = Arc::make_mut(&mut self.0) {
            *property = Some(name.into());
        }
        self
    }

    /// The file, unless the place is a variable.
    #[must_use]
    pub fn file(&self) -> Option<&Path> {
        match &*self.0 {
            Place::Line { file, .. } => Some(file),
            Place::Variable(_) => None,
        }
    }

    /// The number of the line, counted from 1, unless the place is a variable.
    #[must_use]
    pub fn line_number(&self) -> Option<usize> {
        match &*self.0 {
            Place::Line { line, .. } => Some(*line),
            Place::Variable(_) => None,
        }
    }

    /// The property of the file or the name of the variable, where it is known.
    #[must_use]
    pub fn property(&self) -> Option<&str> {
        match &*self.0 {
            Place::Line { property, .. } => property.as_deref(),
            Place::Variable(name) => Some(name),
        }
    }

    /// The profile that the line belongs to, where it is known.
    #[must_use]
    pub fn profile(&self) -> Option<&str> {
        match &*self.0 {
            Place::Line { profile, .. } => profile.as_deref(),
            Place::Variable(_) => None,
        }
    }

    /// Returns true if the place is a variable of the environment.
    #[must_use]
    pub fn is_variable(&self) -> bool {
        matches!(&*self.0, Place::Variable(_))
    }

    /// Prints the property before its line: `ca_bundle (/home/me/.aws/config line 3)`, or the name of the variable.
    #[must_use]
    pub fn named(&self) -> String {
        match &*self.0 {
            Place::Line { file, line, property: Some(property), .. } => {
                format!("{property} ({} line {line})", Escaped(&file.to_string_lossy()))
            }
            Place::Line { .. } | Place::Variable(_) => self.to_string(),
        }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.0 {
            Place::Line { file, line, profile, .. } => {
                write!(f, "{}, line {line}", Escaped(&file.to_string_lossy()))?;
                profile.as_ref().map_or(Ok(()), |profile| write!(f, ": profile {}", Escaped(profile)))
            }
            Place::Variable(name) => f.write_str(name),
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
    fn gives_its_parts_apart() {
        let line = Location::line(Path::new("/c"), 3).in_profile("dev").with_property("role_arn");
        assert_eq!((line.file(), line.line_number()), (Some(Path::new("/c")), Some(3)));
        assert_eq!((line.profile(), line.property()), (Some("dev"), Some("role_arn")));
        let variable = Location::variable("AWS_REGION");
        assert_eq!((variable.file(), variable.line_number()), (None, None));
        assert_eq!((variable.profile(), variable.property()), (None, Some("AWS_REGION")));
        assert!(variable.is_variable() && !line.is_variable());
    }
}
