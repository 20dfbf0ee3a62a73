//! Everything impure, in one place. Its default reaches nothing, so that a test that forgets a fake fails loudly.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::chance::Chance;
use crate::clock::Clock;
use crate::files::Files;
use crate::mfa::Mfa;
use crate::sessions::Sessions;
use crate::sso::Logins;
use crate::upstream::Upstream;

/// What a source may reach. Each keeper has a clone of its own, since [`Files`] remembers what was read through it.
#[derive(Clone, Debug, Default)]
pub struct World {
    /// The wall clock.
    pub clock: Clock,
    /// What spreads loads over time.
    pub chance: Chance,
    /// The environment as it was at the start.
    pub environment: Environment,
    /// Files and the shared files.
    pub files: Files,
    /// HTTP.
    pub upstream: Upstream,
    /// What this process remembers of SSO log-ins; shared by all keepers.
    pub logins: Logins,
    /// Temporary credentials that somebody in this process has obtained.
    pub sessions: Sessions,
    /// Who types codes of multi-factor devices.
    pub mfa: Mfa,
    /// How much time the load under way was granted.
    pub patience: Patience,
    /// Users beside us and root whose shared files may say what is run and where requests go.
    pub trusted_owners: Arc<[u32]>,
}

impl World {
    /// The user we are.
    #[must_use]
    pub fn uid(&self) -> u32 {
        rustix::process::geteuid().as_raw()
    }

    /// The same world for another keeper, which remembers what it reads by itself.
    #[must_use]
    pub fn for_keeper(&self) -> Self {
        Self { files: self.files.fresh(), patience: Patience::default(), ..self.clone() }
    }
}

/// Time that a source asks for beyond the deadline of a load, because it waits for a program or a person.
#[derive(Clone, Debug, Default)]
pub struct Patience(Arc<AtomicU64>);

impl Patience {
    /// The load under way may take this long from its beginning, if that is longer than its deadline.
    pub fn grant(&self, time: Duration) {
        self.0.fetch_max(u64::try_from(time.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// What was granted since [`Patience::begin`].
    #[must_use]
    pub fn granted(&self) -> Duration {
        Duration::from_millis(self.0.load(Ordering::Relaxed))
    }

    /// A new load begins, to which nobody has granted anything.
    pub fn begin(&self) {
        self.0.store(0, Ordering::Relaxed);
    }
}

/// The environment at the start of the process. `Debug` shows names only.
#[derive(Clone, Default)]
pub struct Environment {
    variables: Arc<HashMap<String, String>>,
    home: Option<Arc<Path>>,
}

impl Environment {
    /// An environment of these variables. The home directory is `HOME`; see [`Environment::with_home`].
    pub fn new<K: Into<String>, V: Into<String>>(variables: impl IntoIterator<Item = (K, V)>) -> Self {
        let variables: HashMap<_, _> = variables.into_iter().map(|(k, v)| (k.into(), v.into())).collect();
        let home = variables.get("HOME").filter(|home| !home.is_empty()).map(|home| Arc::from(Path::new(home)));
        Self { variables: Arc::new(variables), home }
    }

    /// The same with another home directory, for accounts that have one without `HOME` being set.
    #[must_use]
    pub fn with_home(mut self, home: Option<PathBuf>) -> Self {
        self.home = home.filter(|home| !home.as_os_str().is_empty()).map(Arc::from);
        self
    }

    /// The value of a variable without surrounding white space; one that is blank counts as unset, as in the SDKs.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(|value| value.trim()).filter(|value| !value.is_empty())
    }

    /// Whether a variable says yes: `true`, in any case (the SDKs take nothing else).
    #[must_use]
    pub fn is_true(&self, name: &str) -> bool {
        self.get(name).is_some_and(|value| value.eq_ignore_ascii_case("true"))
    }

    /// The home directory, if the user has one.
    #[must_use]
    pub fn home(&self) -> Option<&Path> {
        self.home.as_deref()
    }

    /// All variables as they were handed in.
    #[must_use]
    pub fn variables(&self) -> &HashMap<String, String> {
        &self.variables
    }

    /// The variables that programs started by us get: all but those between us and whoever started us.
    pub fn for_children(&self) -> impl Iterator<Item = (&str, &str)> {
        self.variables.iter().map(|(name, value)| (&**name, &**value)).filter(|(name, _)| !is_ours(name))
    }

    /// The path with a leading `~` replaced by the home directory; as it stands when there is no home.
    #[must_use]
    pub fn expand(&self, path: &Path) -> PathBuf {
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
pub fn is_ours(name: &str) -> bool {
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
