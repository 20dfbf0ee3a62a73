//! Credentials that a program prints: `credential_process` of a profile, `{ process = […] }` of `credenza.toml`.

pub(crate) mod running;

use std::io;
use std::os::unix::ffi::OsStrExt;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use crate::cache::credentials::CachePolicy;
use crate::cache::key::{CacheKey, CacheKeyBuilder};
use crate::context::Context;
use crate::model::credentials::Credentials;
use crate::model::error::SourceError;
use crate::model::outcome::Lookup;
use crate::model::text::Escaped;
use crate::model::text::excerpt;
use crate::os::children::{ProgramRun, StartedChild};
use crate::os::environment::NESTING;
use crate::source::document;
use crate::source::nesting::{self, BREAK_CIRCLE, STARTS_AGAIN};
use crate::source::process::running::{PIPE_GRACE, ProgramOutput, RunningProgram};
use crate::source::spec::Program;
use crate::source::{BoxFuture, Source};

/// The default time limit for one run. The user may have to touch a security key or type a password in this time.
const TIMEOUT: Duration = Duration::from_secs(60);

/// The shell of a command line. A name without a path would be looked up in `PATH`, which may be another user's after
/// `su`.
const SHELL: &str = "/bin/sh";

/// The hint for a program that gives no credentials.
const RUN_BY_HAND: &str = "run it by hand: it has to print the JSON of credential_process";

/// Runs a program that prints the JSON of `credential_process` (`Version` 1).
///
/// Concurrent loads of one program with one environment share one run. Credentials with an `Expiration` are cached for
/// later loads until their renewal is due; others are not cached.
///
/// The program gets the environment without the broker's own variables, but with one that lists the programs above it. A
/// program that starts itself again through Credenza is misconfigured. After 60 s it and all processes that it started
/// are killed. At a terminal (`get`, `check`, `exec`) the program may ask the user on `/dev/tty`, or on standard error
/// with the answer on standard input. Standard error is shown, as the SDK for Go does. Without a terminal, standard
/// input is empty, and the program gets its own process group. The error of a failed run has the end of standard error
/// as its detail.
///
/// ```
/// use credenza::{Context, Lookup, ProcessCredentials, Program, Source};
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// let line = r#"echo '{"Version":1,"AccessKeyId":"AKIAEXAMPLE","SecretAccessKey":"secret"}'"#;
/// let source = ProcessCredentials::new(Program::Line(line.into()));
/// let Lookup::Found(credentials) = source.load(&Context::from_environment()).await else { panic!() };
/// assert_eq!(&*credentials.access_key_id, "AKIAEXAMPLE");
/// # });
/// ```
#[derive(Clone, Debug)]
pub struct ProcessCredentials {
    program: Program,
    account_id: Option<Box<str>>,
    /// The profile with the program, for messages about a circle. Empty if there is none.
    profile: Box<str>,
    timeout: Duration,
}

impl ProcessCredentials {
    /// Makes a source that runs this program.
    #[must_use]
    pub fn new(program: Program) -> Self {
        Self { program, account_id: None, profile: "".into(), timeout: TIMEOUT }
    }

    /// Returns this source with the account for programs that print none (`aws_account_id` of the profile).
    #[must_use]
    pub fn with_account_id(self, account_id: Option<Box<str>>) -> Self {
        Self { account_id, ..self }
    }

    /// Returns this source with the name of the profile that has the program.
    #[must_use]
    pub(crate) fn of_profile(self, profile: &str) -> Self {
        Self { profile: profile.into(), ..self }
    }

    /// Returns this source with this limit for one run.
    #[must_use]
    pub fn with_timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// Returns cached credentials, or runs the program. If a hundred roles have one program as base, the user is asked
    /// once.
    async fn obtain(&self, context: &Context) -> Result<Credentials, SourceError> {
        // A load that waits for the run of another load needs this time, too.
        context.deadline.extend(self.timeout + PIPE_GRACE);
        // At a terminal the program may ask the user for a code.
        let policy = if context.terminal.is_ours() { CachePolicy::ASKED } else { CachePolicy::ISSUED };
        context.credential_cache.obtain(&context.clock, self.cache_key(context), policy, || self.run(context)).await
    }

    /// Returns the cache key: everything that the output of the program and its credentials depend on.
    fn cache_key(&self, context: &Context) -> CacheKey {
        let parts = self.parts();
        let key = CacheKeyBuilder::new("process").with(parts.len().to_be_bytes());
        let key = parts.iter().fold(key, CacheKeyBuilder::with);
        let key = key
            .with_optional(self.account_id.as_ref().map(|id| id.as_bytes()))
            .with(self.timeout.as_nanos().to_be_bytes())
            .with([u8::from(context.terminal.is_ours())]);
        let mut variables: Vec<_> = context.environment.for_children().collect();
        variables.sort_unstable();
        let parts = variables.into_iter().flat_map(|(name, value)| [name.as_bytes(), value.as_bytes()]);
        parts.fold(key, CacheKeyBuilder::with).cache_key()
    }

    /// Returns the program as parts for a hash: the words of a list begin with their separator, a line is alone.
    fn parts(&self) -> Vec<&[u8]> {
        match &self.program {
            Program::Line(line) => vec![line.expose().as_bytes()],
            Program::Words(words) => {
                std::iter::once(&b"words"[..]).chain(words.iter().map(|word| word.as_bytes())).collect()
            }
        }
    }

    async fn run(&self, context: &Context) -> Result<Credentials, SourceError> {
        let nesting = nesting::enter(context, &self.parts(), &self.profile)?;
        let mut command = self.command()?;
        command.env_clear().envs(context.environment.for_children()).env(NESTING, nesting);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        // Only the foreground process group may read from the terminal. So a program that may ask the user stays in our
        // process group.
        let may_ask = context.terminal.is_ours();
        if may_ask {
            command.stdin(Stdio::inherit());
        } else {
            command.stdin(Stdio::null()).process_group(0);
        }
        let run = ProgramRun::begin(&mut command);
        let child = StartedChild::start(|| context.open_file_limit.start_limited(|| command.spawn()));
        let child = child.map_err(|error| {
            let hint = match error.kind() {
                io::ErrorKind::NotFound => "check that it is installed and in PATH, or write its full path",
                _ => "check that it is a program that this user may run",
            };
            SourceError::misconfigured(format!("cannot start {}: {error}", self.shown_name()))
                .with_hint(hint)
                .caused_by(error)
        })?;
        let run = RunningProgram::new(child, run, !may_ask).wait(&context.terminal);
        match tokio::time::timeout(self.timeout, run).await {
            Ok(Ok(printed)) => self.credentials(&printed),
            Ok(Err(error)) => Err(self.unavailable(&format!("printed unreadable output: {error}")).caused_by(error)),
            Err(_) => {
                let seconds = self.timeout.as_secs_f32();
                Err(self.unavailable(&format!("has not ended within {seconds} s")))
            }
        }
    }

    fn credentials(&self, printed: &ProgramOutput) -> Result<Credentials, SourceError> {
        let stderr = String::from_utf8_lossy(&printed.stderr);
        let stderr = Some(stderr.trim()).filter(|stderr| !stderr.is_empty());
        let failed = |why: String| SourceError {
            detail: stderr.map(|stderr| excerpt(stderr, None).into()),
            ..self.unavailable(&why)
        };
        let Some(status) = printed.status else {
            let message = format!("{} printed more than 64 kB, which are no credentials", self.shown_name());
            return Err(SourceError::misconfigured(message).with_hint(RUN_BY_HAND));
        };
        if !status.success() && stderr.is_some_and(|stderr| stderr.contains(STARTS_AGAIN)) {
            let message = format!("{} starts credenza, which {STARTS_AGAIN}", self.shown_name());
            let detail = failed(String::new()).detail;
            return Err(SourceError { detail, ..SourceError::misconfigured(message).with_hint(BREAK_CIRCLE) });
        }
        if !status.success() {
            // The cause may be the network or an expired login, so the error is transient.
            return Err(failed(format!("failed ({status})")));
        }
        let credentials = document::printed(&printed.output).map_err(|why| failed(format!("ran, and {why}")))?;
        Ok(match credentials.account_id {
            None => credentials.with_account_id(self.account_id.as_deref()),
            Some(_) => credentials,
        })
    }

    /// Makes an error of the program. The hint is to run the program by hand, which shows the user most.
    fn unavailable(&self, why: &str) -> SourceError {
        SourceError::unavailable(format!("{} {why}", self.shown_name())).with_hint(RUN_BY_HAND)
    }

    fn command(&self) -> Result<Command, SourceError> {
        match &self.program {
            Program::Line(line) => {
                let mut command = Command::new(SHELL);
                command.arg0("sh").arg("-c").arg(line.expose());
                Ok(command)
            }
            Program::Words(words) => {
                let (program, arguments) =
                    words.split_first().ok_or_else(|| SourceError::misconfigured("there is no program to run"))?;
                let mut command = Command::new(&**program);
                command.args(arguments.iter().map(|argument| &**argument));
                Ok(command)
            }
        }
    }

    /// Names the program in messages. Arguments may be secrets. So only the first word of a list is shown, and no part
    /// of a line.
    fn shown_name(&self) -> String {
        match &self.program {
            Program::Line(_) => "the credential_process".into(),
            Program::Words(words) => {
                format!("the process {}", Escaped(words.first().map_or("", |word| word)))
            }
        }
    }
}

impl Source for ProcessCredentials {
    fn name(&self) -> &str {
        "process"
    }

    fn load<'a>(&'a self, context: &'a Context) -> BoxFuture<'a, Lookup> {
        Box::pin(async move { Lookup::from_result(self.obtain(context).await) })
    }
}

#[cfg(test)]
mod tests;
