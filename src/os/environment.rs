//! The environment variables and the home directory of this process.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::model::error::SourceError;

/// The environment at the start of the process. `Debug` shows no values.
#[derive(Clone, Default)]
pub(crate) struct Environment {
    variables: Arc<HashMap<String, String>>,
    /// The variables with a name or a value that is not UTF-8.
    others: Arc<[(OsString, OsString)]>,
    home: Option<Arc<Path>>,
}

impl Environment {
    /// Returns the variables of this process.
    pub(crate) fn of_process() -> Self {
        Self::of_os(std::env::vars_os()).with_home(std::env::home_dir())
    }

    /// Makes an environment of variables in any encoding.
    pub(crate) fn of_os(variables: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        let (text, others): (Vec<_>, Vec<_>) =
            variables.into_iter().partition(|(name, value)| name.to_str().and(value.to_str()).is_some());
        let text =
            text.into_iter().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        Self { others: others.into(), ..Self::new(text) }
    }

    /// Makes an environment of these variables. `HOME` gives the home directory; see [`Environment::with_home`].
    pub(crate) fn new<K: Into<String>, V: Into<String>>(variables: impl IntoIterator<Item = (K, V)>) -> Self {
        let variables: HashMap<_, _> = variables.into_iter().map(|(k, v)| (k.into(), v.into())).collect();
        let home = variables.get("HOME").filter(|home| !home.is_empty()).map(|home| Arc::from(Path::new(home)));
        Self { variables: Arc::new(variables), others: Arc::default(), home }
    }

    /// Sets the home directory, for users with a home directory but without `HOME`.
    pub(crate) fn with_home(mut self, home: Option<PathBuf>) -> Self {
        self.home = home.filter(|home| !home.as_os_str().is_empty()).map(Arc::from);
        self
    }

    /// Returns the value of a variable without surrounding white space. A blank variable counts as unset, as in the
    /// SDKs.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(|value| value.trim()).filter(|value| !value.is_empty())
    }

    /// Returns the value of a variable like [`Environment::get`], for a variable that decides about credentials.
    ///
    /// # Errors
    /// The value is not UTF-8. Read as unset, it would make a source give the credentials of another principal.
    pub(crate) fn text(&self, name: &str) -> Result<Option<&str>, SourceError> {
        self.check_text(&[name]).map(|()| self.get(name))
    }

    /// Checks that the values of these variables are UTF-8.
    ///
    /// # Errors
    /// Names the first variable with another value.
    pub(crate) fn check_text(&self, names: &[&str]) -> Result<(), SourceError> {
        match names.iter().find(|name| self.others.iter().any(|(other, _)| other == **name)) {
            Some(name) => Err(SourceError::misconfigured(format!("the value of {name} is not UTF-8 text"))
                .with_hint(format!("write {name} in UTF-8, or unset it"))),
            None => Ok(()),
        }
    }

    /// Returns true if the value is `true`, in upper or lower case. The SDKs accept no other value.
    pub(crate) fn is_true(&self, name: &str) -> bool {
        self.get(name).is_some_and(|value| value.eq_ignore_ascii_case("true"))
    }

    pub(crate) fn home(&self) -> Option<&Path> {
        self.home.as_deref()
    }

    /// Returns the selected profile: `AWS_PROFILE`, else `AWS_DEFAULT_PROFILE`, in the order of the SDK for Go. The AWS
    /// CLI and boto3 prefer `AWS_DEFAULT_PROFILE`; the other SDKs read only `AWS_PROFILE`.
    ///
    /// # Errors
    /// The value of the variable is not UTF-8.
    pub(crate) fn profile(&self) -> Result<Option<&str>, SourceError> {
        match self.text("AWS_PROFILE")? {
            None => self.text("AWS_DEFAULT_PROFILE"),
            profile => Ok(profile),
        }
    }

    /// Returns a warning if both variables name a profile and the names differ.
    pub(crate) fn two_profiles(&self) -> Option<String> {
        let (first, second) = (self.get("AWS_PROFILE")?, self.get("AWS_DEFAULT_PROFILE")?);
        (first != second).then(|| {
            format!(
                "AWS_PROFILE ({first:?}) is used, not AWS_DEFAULT_PROFILE ({second:?}), which boto3 would use; unset one of \
                 them"
            )
        })
    }

    /// Returns the variables that are UTF-8, with their untrimmed values.
    pub(crate) fn variables(&self) -> &HashMap<String, String> {
        &self.variables
    }

    /// Returns the names of all variables, also of those with a value that is not UTF-8.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.variables.keys().map(String::as_str).chain(self.others.iter().filter_map(|(name, _)| name.to_str()))
    }

    /// Returns the variables for programs that this process starts, in any encoding: all except [`is_ours`].
    pub(crate) fn for_children(&self) -> impl Iterator<Item = (&OsStr, &OsStr)> {
        let text = self.variables.iter().map(|(name, value)| (OsStr::new(name), OsStr::new(value)));
        let others = self.others.iter().map(|(name, value)| (&**name, &**value));
        text.chain(others).filter(|(name, _)| !name.to_str().is_some_and(is_ours))
    }

    /// Removes the variables for which `is_gone` returns true.
    pub(crate) fn without(&self, is_gone: impl Fn(&str) -> bool) -> Self {
        let left = self.variables.iter().filter(|(name, _)| !is_gone(name));
        let left = left.map(|(name, value)| (name.clone(), value.clone())).collect();
        Self { variables: Arc::new(left), others: Arc::clone(&self.others), home: self.home.clone() }
    }

    /// Replaces a leading `~` by the home directory, if there is one.
    pub(crate) fn expand(&self, path: &Path) -> PathBuf {
        match (path.strip_prefix("~"), self.home()) {
            (Ok(rest), Some(home)) => home.join(rest),
            _ => path.to_owned(),
        }
    }
}

/// Variables for this process alone, set by the user or the service manager. Child processes do not get them. A name
/// that ends in `_` is a prefix.
const OURS: &[&str] = &["CREDENZA_", "NOTIFY_SOCKET", "LISTEN_", "WATCHDOG_"];

/// The variable that lists the programs of `credential_process` above this process. Children inherit it.
pub(crate) const NESTING: &str = "CREDENZA_NESTED";

/// Returns true if the variable is for this process alone.
pub(crate) fn is_ours(name: &str) -> bool {
    name != NESTING && OURS.iter().any(|ours| if ours.ends_with('_') { name.starts_with(ours) } else { name == *ours })
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut names: Vec<_> = self.names().collect();
        names.sort_unstable();
        f.debug_struct("Environment").field("names", &names).field("home", &self.home).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blank_counts_as_unset_and_debug_shows_no_value() {
        let environment = Environment::new([("A", " x "), ("B", " "), ("HOME", "/h"), ("T", "True")]);
        assert_eq!((environment.get("A"), environment.get("B"), environment.get("C")), (Some("x"), None, None));
        assert!(environment.is_true("T") && !environment.is_true("A"));
        assert!(!format!("{environment:?}").contains('x'));
    }

    #[test]
    fn names_a_variable_that_is_not_utf_8() {
        use std::os::unix::ffi::OsStringExt;
        let bad = OsString::from_vec(b"d\xe9v".to_vec());
        let environment = Environment::of_os([
            ("AWS_PROFILE".into(), bad.clone()),
            ("A".into(), "x".into()),
            (bad.clone(), "y".into()),
        ]);
        for error in [environment.text("AWS_PROFILE").unwrap_err(), environment.profile().unwrap_err()] {
            let text = "the value of AWS_PROFILE is not UTF-8 text; write AWS_PROFILE in UTF-8, or unset it";
            assert_eq!(error.to_string(), text);
        }
        assert_eq!((environment.text("A").unwrap(), environment.text("B").unwrap()), (Some("x"), None));
        // Children inherit every variable unchanged.
        let mut children: Vec<_> =
            environment.for_children().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        children.sort();
        assert_eq!(children, [("A".into(), "x".into()), ("AWS_PROFILE".into(), bad.clone()), (bad, "y".into())]);
    }

    #[test]
    fn expands_a_leading_tilde() {
        let environment = Environment::new([("HOME", "/h")]);
        for (path, expected) in [("~/a", "/h/a"), ("~", "/h"), ("/a/~", "/a/~"), ("~other/a", "~other/a")] {
            assert_eq!(environment.expand(Path::new(path)), Path::new(expected));
        }
        assert_eq!(Environment::default().expand(Path::new("~/a")), Path::new("~/a"));
    }
}
