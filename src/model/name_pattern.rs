//! Patterns of names: `dev`, `team-*`, `*`.

use std::fmt;

use crate::model::text::usable;

/// A name of a profile or an identity, in which `*` matches any number of characters: `dev`, `team-*`, `*`.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct NamePattern(Box<str>);

impl NamePattern {
    /// Parses a pattern.
    ///
    /// # Errors
    /// If no name can match.
    pub(crate) fn new(text: &str) -> Result<Self, String> {
        Ok(Self(usable("pattern", text).map_err(|error| error.to_string())?.into()))
    }

    /// Returns the pattern as written if it has no `*`, so that exactly one name matches.
    pub(crate) fn only_name(&self) -> Option<&str> {
        (!self.0.contains('*')).then_some(&*self.0)
    }

    /// Returns true if the pattern matches the whole name.
    pub(crate) fn matches(&self, name: &str) -> bool {
        let mut parts = self.0.split('*');
        let first = parts.next().unwrap_or_default();
        let Some(mut rest) = name.strip_prefix(first) else { return false };
        let mut parts: Vec<&str> = parts.collect();
        let Some(last) = parts.pop() else { return rest.is_empty() };
        for part in parts {
            match rest.find(part) {
                Some(at) => rest = &rest[at + part.len()..],
                None => return false,
            }
        }
        rest.ends_with(last)
    }
}

impl fmt::Debug for NamePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn pattern_matches_whole_names() {
        for (pattern, names, others) in [
            ("dev", &["dev"][..], &["", "de", "devx", "xdev"][..]),
            ("team-*", &["team-", "team-a", "team-a/b"], &["team", "ateam-a"]),
            ("*-prod", &["-prod", "a-prod", "-prod-prod"], &["a-prod-x"]),
            ("a*b*c", &["abc", "aXbYc", "abbcc"], &["acb", "ab", "aXc"]),
            ("*", &["", "anything"], &[]),
            ("a*a", &["aa", "aba"], &["a"]),
        ] {
            let pattern = NamePattern::new(pattern).unwrap();
            for name in names {
                assert!(pattern.matches(name), "{pattern:?} {name}");
            }
            for other in others {
                assert!(!pattern.matches(other), "{pattern:?} {other}");
            }
        }
        assert!(NamePattern::new(" ").is_err() && NamePattern::new("a\n").is_ok() && NamePattern::new("a\nb").is_err());
    }

    proptest! {
        #[test]
        fn star_matches_any_text(parts in prop::collection::vec("[ab]{0,3}", 1..4), between in "[abc/]{0,4}") {
            let pattern = NamePattern(parts.join("*").into());
            prop_assert!(pattern.matches(&parts.join(&between)) || parts.len() == 1);
        }
    }
}
