//! The variables of this process, and whose home directory it has.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The environment at the start of the process. `Debug` shows names only.
#[derive(Clone, Default)]
pub(crate) struct Environment {
    variables: Arc<HashMap<String, String>>,
    home: Option<Arc<Path>>,
}

impl Environment {
    /// The variables of this process. Leaves out names and values that are not UTF-8.
    #[must_use]
    pub(crate) fn of_process() -> Self {
        let variables =
            std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        Self::new(variables).with_home(std::env::home_dir())
    }

    /// An environment of these variables. The home directory is `HOME`; see [`Environment::with_home`].
    pub(crate) fn new<K: Into<String>, V: Into<String>>(variables: impl IntoIterator<Item = (K, V)>) -> Self {
        let variables: HashMap<_, _> = variables.into_iter().map(|(k, v)| (k.into(), v.into())).collect();
        let home = variables.get("HOME").filter(|home| !home.is_empty()).map(|home| Arc::from(Path::new(home)));
        Self { variables: Arc::new(variables), home }
    }

    /// The same with another home directory, for accounts that have one without `HOME` being set.
    #[must_use]
    pub(crate) fn with_home(mut self, home: Option<PathBuf>) -> Self {
        self.home = home.filter(|home| !home.as_os_str().is_empty()).map(Arc::from);
        self
    }

    /// The value of a variable without surrounding white space; one that is blank counts as unset, as in the SDKs.
    #[must_use]
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(|value| value.trim()).filter(|value| !value.is_empty())
    }

    /// Whether a variable says yes: `true`, in any case (the SDKs take nothing else).
    #[must_use]
    pub(crate) fn is_true(&self, name: &str) -> bool {
        self.get(name).is_some_and(|value| value.eq_ignore_ascii_case("true"))
    }

    /// The home directory, if the user has one.
    #[must_use]
    pub(crate) fn home(&self) -> Option<&Path> {
        self.home.as_deref()
    }

    /// The profile that is meant: `AWS_PROFILE`, else `AWS_DEFAULT_PROFILE`, in the order of the SDK for Go. The AWS CLI and
    /// boto3 know both and ask the second first; the other SDKs know the first alone.
    #[must_use]
    pub(crate) fn profile(&self) -> Option<&str> {
        self.get("AWS_PROFILE").or_else(|| self.get("AWS_DEFAULT_PROFILE"))
    }

    /// A sentence for who has set both to different names.
    #[must_use]
    pub(crate) fn two_profiles(&self) -> Option<String> {
        let (first, second) = (self.get("AWS_PROFILE")?, self.get("AWS_DEFAULT_PROFILE")?);
        (first != second).then(|| {
            format!("AWS_PROFILE ({first:?}) counts, not AWS_DEFAULT_PROFILE ({second:?}), which boto3 would take; unset one")
        })
    }

    /// All variables as they were handed in.
    #[must_use]
    pub(crate) fn variables(&self) -> &HashMap<String, String> {
        &self.variables
    }

    /// The variables that programs started by us get: all but those between us and whoever started us.
    pub(crate) fn for_children(&self) -> impl Iterator<Item = (&str, &str)> {
        self.variables.iter().map(|(name, value)| (&**name, &**value)).filter(|(name, _)| !is_ours(name))
    }

    /// The same without these variables.
    #[must_use]
    pub(crate) fn without(&self, is_gone: impl Fn(&str) -> bool) -> Self {
        let left = self.variables.iter().filter(|(name, _)| !is_gone(name));
        let left = left.map(|(name, value)| (name.clone(), value.clone())).collect();
        Self { variables: Arc::new(left), home: self.home.clone() }
    }

    /// The path with a leading `~` replaced by the home directory; as it stands when there is no home.
    #[must_use]
    pub(crate) fn expand(&self, path: &Path) -> PathBuf {
        match (path.strip_prefix("~"), self.home()) {
            (Ok(rest), Some(home)) => home.join(rest),
            _ => path.to_owned(),
        }
    }
}

/// Variables that are between us and whoever started us, never a child's. A name that ends in `_` is a prefix.
const OURS: &[&str] = &["CREDENZA_", "NOTIFY_SOCKET", "LISTEN_", "WATCHDOG_"];

/// Whether a variable is between us and whoever started us.
#[must_use]
pub(crate) fn is_ours(name: &str) -> bool {
    OURS.iter().any(|ours| if ours.ends_with('_') { name.starts_with(ours) } else { name == *ours })
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut names: Vec<_> = self.variables.keys().collect();
        names.sort_unstable();
        f.debug_struct("Environment").field("names", &names).field("home", &self.home).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blank_is_unset_and_debug_shows_no_value() {
        let environment = Environment::new([("A", " x "), ("B", " "), ("HOME", "/h"), ("T", "True")]);
        assert_eq!((environment.get("A"), environment.get("B"), environment.get("C")), (Some("x"), None, None));
        assert!(environment.is_true("T") && !environment.is_true("A"));
        assert!(!format!("{environment:?}").contains('x'));
    }

    #[test]
    fn a_tilde_is_the_home_directory() {
        let environment = Environment::new([("HOME", "/h")]);
        for (written, meant) in [("~/a", "/h/a"), ("~", "/h"), ("/a/~", "/a/~"), ("~other/a", "~other/a")] {
            assert_eq!(environment.expand(Path::new(written)), Path::new(meant));
        }
        assert_eq!(Environment::default().expand(Path::new("~/a")), Path::new("~/a"));
    }
}
