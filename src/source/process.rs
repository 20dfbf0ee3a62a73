//! Credentials that a program prints: `credential_process` of a profile, `{ process = […] }` of `credenza.toml`.

use crate::source::spec::Program;
use std::io;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};
use zeroize::Zeroizing;

use crate::cache::credentials::CachePolicy;
use crate::cache::key::{CacheKey, CacheKeyBuilder};
use crate::context::Context;
use crate::model::credentials::Credentials;
use crate::model::error::SourceError;
use crate::model::outcome::Lookup;
use crate::model::text::Escaped;
use crate::model::text::excerpt;
use crate::os::tty::Terminal;
use crate::source::document;
use crate::source::{BoxFuture, Source};

/// How long a program may take. People touch security keys and type passwords meanwhile.
const DEADLINE: Duration = Duration::from_secs(60);

/// The most that a program may print. Session tokens have 1 to 12 kB.
const LONGEST_OUTPUT: usize = 64 * 1024;

/// What is kept of standard error: its end, where the reason stands.
const LONGEST_COMPLAINT: usize = 4 * 1024;

/// A program that has ended may leave others behind that hold its pipes; they are waited for so long.
const AFTER_THE_END: Duration = Duration::from_millis(250);

/// What to do about a program that gives no credentials.
const RUN_IT: &str = "run it by hand: it has to print the JSON of credential_process";

/// Runs a program that prints the JSON of `credential_process` (`Version` 1). Loads of the same program with the same
/// environment at the same time are one run, whose outcome all of them have; credentials with an `Expiration` serve those
/// who load later until the first would renew them, others nobody. It gets the environment
/// less our own variables and 60 s; then all that it has started ends. Where a person sits at the terminal (`get`, `check`,
/// `exec`) it may ask there: on `/dev/tty`, or on standard error, which is shown there as the SDK for Go does it, and read
/// from standard input. Elsewhere it has nothing on standard input and a process group of its own. What it says on
/// standard error stands in the failure.
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
    deadline: Duration,
}

impl ProcessCredentials {
    /// This program.
    #[must_use]
    pub fn new(program: Program) -> Self {
        Self { program, account_id: None, deadline: DEADLINE }
    }

    /// The account, where the program does not say one (`aws_account_id` of the profile).
    #[must_use]
    pub fn with_account_id(self, account_id: Option<Box<str>>) -> Self {
        Self { account_id, ..self }
    }

    /// The same with another deadline.
    #[must_use]
    pub fn with_deadline(self, deadline: Duration) -> Self {
        Self { deadline, ..self }
    }

    /// What the program gives, or has just given to somebody else: a hundred roles over one program ask a person once.
    async fn obtain(&self, context: &Context) -> Result<Credentials, SourceError> {
        // Who waits for another one's run waits as long.
        context.deadline.extend(self.deadline + AFTER_THE_END);
        // A person may be asked.
        let terms = if context.terminal.is_ours() { CachePolicy::ASKED } else { CachePolicy::ISSUED };
        context.credential_cache.obtain(&context.clock, self.cache_key(context), terms, || self.run(context)).await
    }

    /// All that makes what the program prints, and how it is understood.
    fn cache_key(&self, context: &Context) -> CacheKey {
        let of = match &self.program {
            Program::Line(line) => CacheKeyBuilder::new("process line").with(line.expose()),
            Program::Words(words) => {
                let count = CacheKeyBuilder::new("process words").with(words.len().to_be_bytes());
                words.iter().fold(count, |of, word| of.with(word.as_bytes()))
            }
        };
        let of = of
            .with_optional(self.account_id.as_ref().map(|id| id.as_bytes()))
            .with(self.deadline.as_nanos().to_be_bytes())
            .with([u8::from(context.terminal.is_ours())]);
        let mut variables: Vec<_> = context.environment.for_children().collect();
        variables.sort_unstable();
        variables.into_iter().fold(of, |of, (name, value)| of.with(name).with(value)).cache_key()
    }

    async fn run(&self, context: &Context) -> Result<Credentials, SourceError> {
        let mut command = self.command()?;
        command.env_clear().envs(context.environment.for_children());
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        // A group of its own is not the one that may read from the terminal: who may ask a person stays in ours.
        let asks = context.terminal.is_ours();
        if asks {
            command.stdin(Stdio::inherit());
        } else {
            command.stdin(Stdio::null()).process_group(0);
        }
        let child = context.open_file_limit.start_limited(|| command.spawn()).map_err(|error| {
            let advice = match error.kind() {
                io::ErrorKind::NotFound => "see that it is installed and in PATH, or name its whole path",
                _ => "see that it is a program that we may run",
            };
            SourceError::misconfigured(format!("cannot start {}: {error}; {advice}", self.called()))
        })?;
        let printed =
            match tokio::time::timeout(self.deadline, RunningProgram::new(child, !asks).end(&context.terminal)).await {
                Ok(printed) => {
                    printed.map_err(|error| self.unavailable(&format!("printed what cannot be read: {error}")))?
                }
                Err(_) => {
                    let seconds = self.deadline.as_secs_f32();
                    return Err(self.unavailable(&format!("has not ended within {seconds} s")));
                }
            };
        self.understand(&printed)
    }

    fn understand(&self, printed: &ProgramOutput) -> Result<Credentials, SourceError> {
        let complaint = String::from_utf8_lossy(&printed.complaint);
        let complaint = Some(complaint.trim()).filter(|complaint| !complaint.is_empty());
        let failure = |why: String| SourceError {
            detail: complaint.map(|complaint| excerpt(complaint, None).into()),
            ..self.unavailable(&why)
        };
        let Some(status) = printed.status else {
            let message = format!("{} printed more than 64 kB; these are no credentials: {RUN_IT}", self.called());
            return Err(SourceError::misconfigured(message));
        };
        if !status.success() {
            // It may be a network that is away as well as a login that has ended: it is tried again.
            return Err(failure(format!("failed ({status})")));
        }
        let credentials = document::printed(&printed.output).map_err(|why| failure(format!("ran, and {why}")))?;
        Ok(match credentials.account_id {
            None => credentials.with_account_id(self.account_id.as_deref()),
            Some(_) => credentials,
        })
    }

    /// A failure of the program's own, which a person sees best by running it.
    fn unavailable(&self, why: &str) -> SourceError {
        SourceError::unavailable(format!("{} {why}; {RUN_IT}", self.called()))
    }

    fn command(&self) -> Result<Command, SourceError> {
        match &self.program {
            Program::Line(line) => {
                let mut command = Command::new("sh");
                command.arg("-c").arg(line.expose());
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

    /// Arguments may be secrets: a line is called by nothing of it, a list of words by its first.
    fn called(&self) -> String {
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

    fn region<'a>(&'a self, _: &'a Context) -> BoxFuture<'a, Option<Box<str>>> {
        Box::pin(std::future::ready(None))
    }
}

/// A program that runs, and all that it has started: they end when this is dropped.
struct RunningProgram {
    child: Child,
    group: Option<Pid>,
}

struct ProgramOutput {
    /// `None`: it has printed too much and was not waited for.
    status: Option<ExitStatus>,
    output: Zeroizing<Vec<u8>>,
    complaint: Vec<u8>,
}

/// Why reading ended before the program did.
enum ReadEnd {
    TooMuch,
    Broken(io::Error),
}

impl From<io::Error> for ReadEnd {
    fn from(error: io::Error) -> Self {
        Self::Broken(error)
    }
}

impl RunningProgram {
    fn new(child: Child, leads_a_group: bool) -> Self {
        let group = child.id().and_then(pid).filter(|_| leads_a_group);
        Self { child, group }
    }

    /// Reads what it prints until it has ended. Whoever it leaves behind with its pipes is not waited for.
    async fn end(mut self, terminal: &Terminal) -> io::Result<ProgramOutput> {
        let (mut output, mut complaint) = (Zeroizing::new(Vec::with_capacity(LONGEST_OUTPUT)), Vec::new());
        let (stdout, stderr) = (self.child.stdout.take(), self.child.stderr.take());
        let mut reading = Box::pin(async {
            tokio::try_join!(head(stdout, &mut output), tail(stderr, &mut complaint, terminal)).map(drop)
        });
        let (read, status) = tokio::select! {
            read = &mut reading => (Some(read), None),
            status = self.child.wait() => (None, Some(status?)),
        };
        let read = match read {
            Some(read) => Some(read),
            None => tokio::time::timeout(AFTER_THE_END, &mut reading).await.ok(),
        };
        drop(reading);
        match read {
            // It may go on printing for ever.
            Some(Err(ReadEnd::TooMuch)) => Ok(ProgramOutput { status: None, output, complaint }),
            Some(Err(ReadEnd::Broken(error))) => Err(error),
            Some(Ok(())) => {
                let status = match status {
                    Some(status) => status,
                    None => self.child.wait().await?,
                };
                // Nobody is left who holds its pipes; what else it started meant to stay.
                self.group = None;
                Ok(ProgramOutput { status: Some(status), output, complaint })
            }
            None => Ok(ProgramOutput { status, output, complaint }),
        }
    }
}

impl Drop for RunningProgram {
    fn drop(&mut self) {
        // The group is there as long as one of it lives or the child has not been waited for: its number is not reused.
        if let Some(group) = self.group {
            let _ = kill_process_group(group, Signal::KILL);
        } else if let Some(id) = self.child.id() {
            for started in descendants(id).into_iter().filter_map(pid) {
                let _ = kill_process(started, Signal::KILL);
            }
        }
    }
}

fn pid(id: u32) -> Option<Pid> {
    i32::try_from(id).ok().and_then(Pid::from_raw)
}

/// What a process that lives has started, and what that has, as the kernel tells.
fn descendants(id: u32) -> Vec<u32> {
    let mut found = vec![id];
    let mut next = 0;
    while let Some(id) = found.get(next) {
        let threads = std::fs::read_dir(format!("/proc/{id}/task")).into_iter().flatten().flatten();
        let children = threads.filter_map(|thread| std::fs::read_to_string(thread.path().join("children")).ok());
        let children: Vec<u32> = children
            .flat_map(|line| line.split_whitespace().filter_map(|id| id.parse().ok()).collect::<Vec<_>>())
            .collect();
        found.extend(children);
        next += 1;
    }
    found
}

/// All that is printed, unless it is too much.
async fn head(from: Option<impl AsyncRead + Unpin>, into: &mut Vec<u8>) -> Result<(), ReadEnd> {
    let Some(mut from) = from else { return Ok(()) };
    let mut chunk = Zeroizing::new([0; 4096]);
    loop {
        let read = from.read(&mut *chunk).await?;
        if read == 0 {
            return Ok(());
        }
        if into.len() + read > LONGEST_OUTPUT {
            return Err(ReadEnd::TooMuch);
        }
        into.extend_from_slice(&chunk[..read]);
    }
}

/// The end of what is printed; all of it is shown at the terminal, where it may be a question.
async fn tail(from: Option<impl AsyncRead + Unpin>, into: &mut Vec<u8>, terminal: &Terminal) -> Result<(), ReadEnd> {
    let Some(mut from) = from else { return Ok(()) };
    let mut chunk = [0; 4096];
    loop {
        let read = from.read(&mut chunk).await?;
        if read == 0 {
            return Ok(());
        }
        terminal.show(&chunk[..read]);
        into.extend_from_slice(&chunk[..read]);
        let surplus = into.len().saturating_sub(LONGEST_COMPLAINT);
        into.drain(..surplus);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::model::error::ErrorKind;
    use crate::os::environment::Environment;

    const GOOD: &str = r#"echo '{"Version":1,"AccessKeyId":"A","SecretAccessKey":"hush"}'"#;

    async fn run_with(line: &str, variables: &[(&str, &str)], deadline: Duration) -> Result<Credentials, SourceError> {
        let path = [("PATH", "/usr/bin:/bin")];
        let environment = Environment::new(path.into_iter().chain(variables.iter().copied()));
        let context = Context { environment, ..Context::default() };
        ProcessCredentials::new(Program::Line(line.into())).with_deadline(deadline).run(&context).await
    }

    async fn run(line: &str) -> Result<Credentials, SourceError> {
        run_with(line, &[], Duration::from_secs(20)).await
    }

    async fn refused(line: &str) -> String {
        let failure = run(line).await.unwrap_err();
        assert!(!failure.to_string().contains("hush"), "{failure}");
        failure.to_string()
    }

    fn lives(pid: &str) -> bool {
        let pid = Pid::from_raw(pid.trim().parse().unwrap()).unwrap();
        rustix::process::test_kill_process(pid).is_ok()
            && !std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()))
                .is_ok_and(|stat| stat.contains(") Z "))
    }

    #[tokio::test]
    async fn a_line_is_run_by_a_shell_and_words_are_not() {
        assert_eq!(&*run(&format!("true | {GOOD} | cat")).await.unwrap().access_key_id, "A");
        let printed = r#"{"Version":1,"AccessKeyId":"A;B","SecretAccessKey":"s"}"#;
        let words = ["printf", "%s", printed].map(Into::into).to_vec();
        let source = ProcessCredentials::new(Program::Words(words)).with_account_id(Some("123456789012".into()));
        let environment = Environment::new([("PATH", "/usr/bin:/bin")]);
        let found = source.run(&Context { environment, ..Context::default() }).await.unwrap();
        assert_eq!((&*found.access_key_id, found.account_id.as_deref()), ("A;B", Some("123456789012")));
    }

    #[tokio::test]
    async fn the_environment_is_handed_down_less_our_own_variables() {
        let line = r#"test -z "$CREDENZA_AUTH_TOKEN$NOTIFY_SOCKET$LISTEN_FDS" &&
            echo "{\"Version\":1,\"AccessKeyId\":\"$MINE\",\"SecretAccessKey\":\"s\"}""#;
        let variables =
            [("MINE", "OURS"), ("CREDENZA_AUTH_TOKEN", "hush"), ("NOTIFY_SOCKET", "/x"), ("LISTEN_FDS", "1")];
        let found = run_with(line, &variables, Duration::from_secs(20)).await.unwrap();
        assert_eq!(&*found.access_key_id, "OURS");
    }

    #[tokio::test]
    async fn what_goes_wrong_is_said() {
        for (line, expected) in [
            ("echo please log in >&2; exit 3", "failed (exit status: 3); run it by hand"),
            ("echo please log in >&2; exit 3", "credential_process; it said: please log in"),
            ("exit 1", "failed (exit status: 1)"),
            ("kill -9 $$", "failed (signal: 9"),
            ("echo hush", "its output is not a JSON document"),
            ("true", "its output is empty"),
            ("printf '\\033[2Jx' >&2; exit 1", "it said: \\u{1b}[2Jx"),
            ("nosuchprogram", "it said: sh: 1: nosuchprogram: not found"),
            ("yes hush", "printed more than 64 kB"),
            ("head -c 1000000000 /dev/zero", "printed more than 64 kB"),
            ("trap '' PIPE; while :; do echo hush; done", "printed more than 64 kB"),
        ] {
            let message = refused(line).await;
            assert!(message.contains(expected) && message.contains(RUN_IT), "{line}: {message}");
        }
        let absent = ProcessCredentials::new(Program::Words(vec!["/nonexistent/x".into()]));
        let failure = absent.run(&Context::default()).await.unwrap_err();
        assert_eq!(failure.kind, ErrorKind::Misconfigured);
        assert!(failure.to_string().contains("cannot start the process /nonexistent/x"), "{failure}");
        assert!(
            failure.to_string().ends_with("see that it is installed and in PATH, or name its whole path"),
            "{failure}"
        );
    }

    #[tokio::test]
    async fn standard_error_without_end_is_drained_and_its_end_kept() {
        let line = format!("head -c 1000000 /dev/zero | tr '\\0' x >&2; echo the reason >&2; {GOOD}");
        assert!(run(&line).await.is_ok());
    }

    #[tokio::test]
    async fn all_that_it_has_started_ends_with_the_deadline() {
        for terminal in [Terminal::default(), Terminal::ours()] {
            ends_with_the_deadline(terminal).await;
        }
    }

    async fn ends_with_the_deadline(terminal: Terminal) {
        let folder = tempfile::tempdir().unwrap();
        let pid = folder.path().join("pid");
        let line = format!("sh -c 'sleep 1000 & echo $! > {}; wait'; true", pid.display());
        let environment = Environment::new([("PATH", "/usr/bin:/bin")]);
        let context = Context { environment, terminal, ..Context::default() };
        let source = ProcessCredentials::new(Program::Line(line.as_str().into()));
        let failure = source.with_deadline(Duration::from_millis(500)).run(&context).await.unwrap_err();
        assert!(
            failure.to_string().contains("has not ended within 0.5 s; run it by hand")
                && failure.kind == ErrorKind::Unavailable
        );
        let pid = std::fs::read_to_string(&pid).unwrap();
        let began = Instant::now();
        while lives(&pid) {
            assert!(began.elapsed() < Duration::from_secs(10), "{pid} lives on");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    #[tokio::test]
    async fn who_is_left_behind_with_the_pipes_is_not_waited_for() {
        let began = Instant::now();
        assert!(run(&format!("sleep 1000 & {GOOD}")).await.is_ok());
        assert!(began.elapsed() < Duration::from_secs(15));
    }

    #[tokio::test]
    async fn a_hundred_at_once_are_one_run_and_none_is_shared_with_what_differs() {
        let folder = tempfile::tempdir().unwrap();
        let runs = folder.path().join("runs");
        let print = |then: &str| {
            let line = format!("echo x >> {}; sleep 0.2; {then}", runs.display());
            ProcessCredentials::new(Program::Line(line.as_str().into()))
        };
        let counted = || std::fs::read_to_string(&runs).map_or(0, |text| text.lines().count());
        let keys = r#""Version":1,"AccessKeyId":"AKIA1","SecretAccessKey":"s""#;
        let end = crate::os::clock::Clock::system().now() + Duration::from_secs(3600);
        let lasting = format!(r#"echo '{{{keys},"Expiration":"{}"}}'"#, crate::model::time::timestamp(end));
        let endless = format!("echo '{{{keys}}}'");
        for (then, again) in [(&*lasting, 0), (&*endless, 1)] {
            let context = Context { clock: crate::os::clock::Clock::system(), ..Context::default() };
            let before = counted();
            let mut loads = tokio::task::JoinSet::new();
            for _ in 0..100 {
                let (source, context) = (print(then), context.for_refresher());
                loads.spawn(async move { source.load(&context).await });
            }
            let answers = loads.join_all().await;
            assert!(answers.iter().all(|answer| matches!(answer, Lookup::Found(_))));
            assert_eq!(counted() - before, 1, "{then}");
            let before = counted();
            assert!(matches!(print(then).load(&context).await, Lookup::Found(_)));
            assert_eq!(counted() - before, again, "{then}");

            let before = counted();
            let other =
                Context { environment: crate::os::environment::Environment::new([("A", "b")]), ..context.clone() };
            let with_account = print(then).with_account_id(Some("123456789012".into()));
            let Lookup::Found(found) = with_account.load(&context).await else { panic!() };
            assert_eq!(found.account_id.as_deref(), Some("123456789012"));
            assert!(matches!(print(then).load(&other).await, Lookup::Found(_)));
            assert_eq!(counted() - before, 2, "another account, another environment");
        }
        let before = counted();
        let context = Context { clock: crate::os::clock::Clock::system(), ..Context::default() };
        let failing = print("exit 3");
        let failures = tokio::join!(failing.load(&context), failing.load(&context));
        assert!(matches!(&failures.0, Lookup::Failed(_)) && failures.0 == failures.1);
        assert_eq!(counted() - before, 1);
    }
}
