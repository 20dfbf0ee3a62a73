//! All access of sources to the outside world. The default reaches nothing, so that a test without a fake fails loudly.

pub(crate) mod attempts;
pub(crate) mod deadline;
pub(crate) mod mfa;
pub(crate) mod mfa_sessions;

use std::path::PathBuf;
use std::sync::Arc;

use crate::cache::credentials::CredentialCache;
use crate::cache::logins::LoginState;
pub(crate) use crate::context::deadline::Deadline;
use crate::context::mfa::Mfa;
use crate::context::mfa_sessions::MfaSessions;
use crate::http::client::HttpClient;
use crate::model::identity_name::IdentityName;
use crate::os::clock::Clock;
pub(crate) use crate::os::environment::Environment;
use crate::os::files::Files;
use crate::os::files::trust::TrustPolicy;
use crate::os::progress::Progress;
use crate::os::rlimit::OpenFileLimit;
use crate::os::rng::Rng;
use crate::os::tty::Terminal;

/// The outside world that a source may use: clock, environment variables, files, HTTP and random numbers.
///
/// `Context::default()` reaches nothing: a source that needs the outside fails or is not configured there.
/// [`Context::from_environment`] reaches everything. Clones share their caches.
#[derive(Clone, Debug, Default)]
pub struct Context {
    pub(crate) clock: Clock,
    /// Random numbers, which spread loads over time.
    pub(crate) rng: Rng,
    /// The environment at the start of the process.
    pub(crate) environment: Environment,
    pub(crate) files: Files,
    pub(crate) http_client: HttpClient,
    /// The logins of this process, shared by all refreshers.
    pub(crate) login_state: LoginState,
    /// The temporary credentials of this process, shared by all refreshers.
    pub(crate) credential_cache: CredentialCache,
    pub(crate) mfa: Mfa,
    /// The sessions with MFA of this process, shared by all refreshers.
    pub(crate) mfa_sessions: MfaSessions,
    /// The terminal at which programs of a source may ask the user.
    pub(crate) terminal: Terminal,
    /// The line that shows the user for which service the program waits.
    pub(crate) progress: Progress,
    /// The limit of open files for programs of a source.
    pub(crate) open_file_limit: OpenFileLimit,
    pub(crate) deadline: Deadline,
    /// The Unix sockets that this process listens on for clients.
    pub(crate) own_sockets: Arc<[PathBuf]>,
    /// The identity that is loaded, for the programs of its sources.
    pub(crate) identity: Option<IdentityName>,
    /// The users and folders with files that may decide about programs and endpoints.
    pub(crate) trust: TrustPolicy,
    /// True if warnings about all profiles of the shared files are logged, and not only about those in use.
    pub(crate) warns_of_all_profiles: bool,
}

impl Context {
    /// Returns a context that reaches the environment variables, the files and the clock of this process, and the
    /// network.
    #[must_use]
    pub fn from_environment() -> Self {
        Self::new(Environment::of_process(), Files::unwatched())
    }

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

    /// Returns this context with a line that shows for which service it waits.
    #[must_use]
    pub(crate) fn with_progress(self, progress: Progress) -> Self {
        Self { http_client: self.http_client.with_progress(progress.clone()), progress, ..self }
    }

    pub(crate) fn uid(&self) -> u32 {
        self.trust.ours
    }

    /// Returns this context for the loads of this identity.
    #[must_use]
    pub(crate) fn for_identity(&self, identity: &IdentityName) -> Self {
        Self { identity: Some(identity.clone()), ..self.clone() }
    }

    /// Returns the context of another refresher, with its own record of reads and its own deadline.
    pub(crate) fn for_refresher(&self) -> Self {
        Self { files: self.files.fresh(), deadline: Deadline::default(), ..self.clone() }
    }

    /// Returns the context of a test with these variables, and with the files and the network of this machine.
    #[cfg(test)]
    pub(crate) fn of(variables: &[(&str, &str)]) -> Self {
        Self::new(Environment::new(variables.iter().copied()), Files::unwatched())
    }
}
