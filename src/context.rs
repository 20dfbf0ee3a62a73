//! Everything impure, in one place. Its default reaches nothing, so that a test that forgets a fake fails loudly.

pub(crate) mod deadline;
pub(crate) mod mfa;

use std::sync::Arc;

use crate::cache::credentials::CredentialCache;
use crate::cache::logins::LoginState;
pub(crate) use crate::context::deadline::Deadline;
use crate::context::mfa::Mfa;
use crate::http::client::HttpClient;
use crate::os::clock::Clock;
pub(crate) use crate::os::environment::Environment;
use crate::os::files::Files;
use crate::os::rlimit::OpenFileLimit;
use crate::os::rng::Rng;
use crate::os::tty::Terminal;

/// What a source may reach of the outside: clock, environment variables, files, HTTP and random numbers.
///
/// `Context::default()` reaches nothing: a source that needs the outside fails or is not configured there.
/// [`Context::from_environment`] reaches everything. Clones share their caches.
#[derive(Clone, Debug, Default)]
pub struct Context {
    /// The wall clock.
    pub(crate) clock: Clock,
    /// What spreads loads over time.
    pub(crate) rng: Rng,
    /// The environment as it was at the start.
    pub(crate) environment: Environment,
    /// Files and the shared files.
    pub(crate) files: Files,
    /// HTTP.
    pub(crate) http_client: HttpClient,
    /// What this process remembers of log-ins; shared by all keepers.
    pub(crate) login_state: LoginState,
    /// Temporary credentials that somebody in this process has obtained.
    pub(crate) credential_cache: CredentialCache,
    /// Who types codes of multi-factor devices.
    pub(crate) mfa: Mfa,
    /// Where programs that sources start may ask a person.
    pub(crate) terminal: Terminal,
    /// How many files programs that are started may open.
    pub(crate) open_file_limit: OpenFileLimit,
    /// How much time the load under way was granted.
    pub(crate) deadline: Deadline,
    /// Users beside us and root whose shared files may say what is run and where requests go.
    pub(crate) trusted_owners: Arc<[u32]>,
}

impl Context {
    /// A context that reaches the environment variables, the files and the clock of this process, and the network.
    #[must_use]
    pub fn from_environment() -> Self {
        Self::new(Environment::of_process(), Files::unwatched())
    }

    /// The same with these variables and files.
    #[must_use]
    pub(crate) fn new(environment: Environment, files: Files) -> Self {
        Self {
            clock: Clock::system(),
            http_client: HttpClient::system(Arc::default()).with_environment(&environment),
            environment,
            files,
            open_file_limit: OpenFileLimit::of_this_process(),
            ..Self::default()
        }
    }

    /// The user we are.
    #[must_use]
    pub(crate) fn uid(&self) -> u32 {
        rustix::process::geteuid().as_raw()
    }

    /// The same world for another keeper, which remembers what it reads by itself.
    #[must_use]
    pub(crate) fn for_refresher(&self) -> Self {
        Self { files: self.files.fresh(), deadline: Deadline::default(), ..self.clone() }
    }
}
