//! Everything impure, in one place. Its default reaches nothing, so that a test that forgets a fake fails loudly.

use std::sync::Arc;

use crate::chance::Chance;
use crate::clock::Clock;
pub use crate::environment::{Environment, is_ours};
use crate::files::Files;
use crate::mfa::Mfa;
use crate::open_files::OpenFiles;
pub use crate::patience::Patience;
use crate::sessions::Sessions;
use crate::terminal::Terminal;
use crate::token_cache::logins::Logins;
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
    /// What this process remembers of log-ins; shared by all keepers.
    pub logins: Logins,
    /// Temporary credentials that somebody in this process has obtained.
    pub sessions: Sessions,
    /// Who types codes of multi-factor devices.
    pub mfa: Mfa,
    /// Where programs that sources start may ask a person.
    pub terminal: Terminal,
    /// How many files programs that are started may open.
    pub open_files: OpenFiles,
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
