//! Tells a person, by a program of theirs, that a login or a session with MFA ends soon.
//!
//! Refreshers send notices; the supervisor runs the program. Many identities stand on one login, so that a notice of an
//! event that was told is dropped. A run that fails is not repeated.

use std::collections::BTreeSet;
use std::process::Stdio;
use std::time::{Duration, SystemTime};

use tokio::process::Command;
use tokio::sync::mpsc;

use crate::config::notify::NotifyCommand;
use crate::context::Context;
use crate::model::credentials::LoginEnd;
use crate::model::identity_name::IdentityName;
use crate::model::text::Escaped;
use crate::model::time::timestamp;
use crate::os::children::{ProgramRun, StartedChild};
use crate::os::tty::Terminal;
use crate::source::process::running::RunningProgram;

/// The maximum time of a run. A notification is shown at once; a program that waits for a click must not stay for ever.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The maximum number of programs that run at once. More logins than these seldom end within the same ten seconds.
const MAX_RUNS: usize = 4;

/// The capacity of the queue of notices. Further notices are dropped: they are most likely of the same logins.
const MAX_QUEUED: usize = 64;

/// The end of a login, as the refresher of one of its identities tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Notice {
    pub(crate) identity: IdentityName,
    pub(crate) login: LoginEnd,
    /// The time before the end at which the notice is due.
    pub(crate) ahead: Duration,
}

/// The sending end for refreshers. The default has no receiver.
#[derive(Clone, Debug, Default)]
pub(crate) struct NoticeSender(Option<mpsc::Sender<Notice>>);

impl NoticeSender {
    pub(crate) fn send(&self, notice: Notice) {
        if let Some(Err(error)) = self.0.as_ref().map(|sender| sender.try_send(notice)) {
            tracing::debug!(%error, "a notice of the end of a login is dropped");
        }
    }
}

/// The command, and the events that were told.
#[derive(Debug)]
pub(crate) struct Notifier {
    pub(crate) command: Option<NotifyCommand>,
    pub(crate) sender: NoticeSender,
    notices: mpsc::Receiver<Notice>,
    /// The end, the time before it, and true for a session with MFA.
    told: BTreeSet<(SystemTime, Duration, bool)>,
}

impl Default for Notifier {
    fn default() -> Self {
        let (sender, notices) = mpsc::channel(MAX_QUEUED);
        Self { command: None, sender: NoticeSender(Some(sender)), notices, told: BTreeSet::new() }
    }
}

impl Notifier {
    pub(crate) async fn next(&mut self) -> Option<Notice> {
        self.notices.recv().await
    }

    #[cfg(test)]
    pub(crate) fn try_next(&mut self) -> Option<Notice> {
        self.notices.try_recv().ok()
    }

    /// Returns the words of the program for a notice; `None` if its event was told or there is no command.
    pub(crate) fn words(&mut self, notice: &Notice, now: SystemTime, running: usize) -> Option<Vec<String>> {
        let command = self.command.as_ref()?;
        // An event is past when its end is. A set clock brings no notice back that was told within the last day.
        self.told.retain(|(end, ..)| *end + Duration::from_secs(86_400) > now);
        if !self.told.insert((notice.login.at, notice.ahead, notice.login.is_mfa)) {
            return None;
        }
        if running >= MAX_RUNS {
            tracing::warn!(identity = %notice.identity, "no notification: {MAX_RUNS} of them are still running");
            return None;
        }
        Some(filled_in(&command.0, notice))
    }
}

/// Returns the words with `{identity}`, `{what}`, `{ends}` and `{command}` filled in. The program itself has none.
fn filled_in(words: &[Box<str>], notice: &Notice) -> Vec<String> {
    let values = [
        ("{identity}", Escaped(notice.identity.as_str()).to_string()),
        ("{what}", if notice.login.is_mfa { "MFA session" } else { "login" }.to_owned()),
        ("{ends}", timestamp(notice.login.at)),
        ("{command}", Escaped(&notice.login.remedy).to_string()),
    ];
    let fill = |word: &str| {
        let (mut filled, mut rest) = (String::new(), word);
        // In one pass, so that a value with braces is not filled in again.
        while let Some(at) = rest.find('{') {
            let (before, from) = rest.split_at(at);
            filled.push_str(before);
            let value = values.iter().find(|(name, _)| from.starts_with(name));
            filled.push_str(value.map_or("{", |(_, value)| value));
            rest = &from[value.map_or(1, |(name, _)| name.len())..];
        }
        filled + rest
    };
    let (program, arguments) = words.split_first().map_or(("", &[][..]), |(program, rest)| (program, rest));
    std::iter::once(program.to_owned()).chain(arguments.iter().map(|word| fill(word))).collect()
}

/// Runs the program once, for 10 s at most. A failure is logged.
pub(crate) async fn run(context: Context, words: Vec<String>, identity: IdentityName) {
    let Some((program, arguments)) = words.split_first() else { return };
    let shown = Escaped(program);
    let mut command = Command::new(program);
    command.args(arguments).env_clear().envs(context.environment.for_children());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.process_group(0).kill_on_drop(true);
    let run = ProgramRun::begin(&mut command);
    let child = match StartedChild::start(|| context.open_file_limit.start_limited(|| command.spawn())) {
        Ok(child) => child,
        Err(error) => {
            tracing::warn!(%identity, %error, "cannot start the program of [notify] {shown}; check that it is installed");
            return;
        }
    };
    // Its output is for nobody: read it, so that the program does not wait, and drop it.
    let terminal = Terminal::default();
    let ended = RunningProgram::new(child, run, true).wait(&terminal);
    match tokio::time::timeout(TIMEOUT, ended).await {
        Ok(Ok(printed)) => match printed.status {
            Some(status) if status.success() => tracing::debug!(%identity, "told of the end of a login"),
            Some(status) => {
                tracing::warn!(%identity, "the program of [notify] {shown} failed ({status}); run it by hand to see why");
            }
            None => tracing::warn!(%identity, "the program of [notify] {shown} printed more than 64 kB and was killed"),
        },
        Ok(Err(error)) => tracing::warn!(%identity, %error, "the program of [notify] {shown} failed"),
        Err(_) => {
            let seconds = TIMEOUT.as_secs();
            tracing::warn!(%identity, "the program of [notify] {shown} has not ended within {seconds} s and was killed");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notice(identity: &str, ends: u64, ahead: u64) -> Notice {
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(ends);
        let login = LoginEnd { at, remedy: "credenza login --sso-session work".into(), is_mfa: false };
        Notice { identity: identity.into(), login, ahead: Duration::from_secs(ahead) }
    }

    fn notifier(words: &[&str]) -> Notifier {
        let command = Some(NotifyCommand(words.iter().map(|word| (*word).into()).collect()));
        Notifier { command, ..Notifier::default() }
    }

    #[test]
    fn fills_in_arguments_in_one_pass() {
        let words = ["p{identity}", "{identity}: {what} ends {ends}", "{command}{", "{other} {{what}}", "{", ""];
        let words = words.map(Box::from);
        let filled = filled_in(&words, &notice("{command}\u{1b}[2J", 0, 3600));
        let expected = [
            "p{identity}",
            "{command}\\u{1b}[2J: login ends 1970-01-01T00:00:00Z",
            "credenza login --sso-session work{",
            "{other} {login}",
            "{",
            "",
        ];
        assert_eq!(filled, expected);
        let mut mfa = notice("prod", 0, 600);
        mfa.login.is_mfa = true;
        assert_eq!(filled_in(&words, &mfa)[1], "prod: MFA session ends 1970-01-01T00:00:00Z");
    }

    #[test]
    fn tells_each_event_once() {
        let now = SystemTime::UNIX_EPOCH;
        let mut notifier = notifier(&["p", "{identity}"]);
        let mut told = |identity, ends, ahead, running| {
            notifier.words(&notice(identity, ends, ahead), now, running).map(|words| words[1].clone())
        };
        assert_eq!(told("a", 5000, 3600, 0).as_deref(), Some("a"));
        assert_eq!(told("b", 5000, 3600, 0), None, "another identity stands on the same login");
        assert_eq!(told("b", 5000, 600, 0).as_deref(), Some("b"), "ten minutes before is another event");
        assert_eq!(told("a", 6000, 3600, 0).as_deref(), Some("a"), "a new login");
        assert_eq!(told("a", 7000, 3600, MAX_RUNS), None, "too many run");
        assert_eq!(told("a", 7000, 3600, 0), None, "it is not repeated");
        let mut silent = Notifier::default();
        assert_eq!(silent.words(&notice("a", 5000, 3600), now, 0), None);
    }

    #[tokio::test]
    async fn kills_a_program_that_does_not_end() {
        let folder = tempfile::tempdir().unwrap();
        let mark = folder.path().join("mark");
        let script = format!("echo $$ >>{}; exec sleep 1000", mark.display());
        let words = ["/bin/sh", "-c", &script].map(str::to_owned).to_vec();
        let began = std::time::Instant::now();
        let context = Context::of(&[("PATH", "/usr/bin:/bin")]);
        // The clock is paused once the program runs, so that the time limit comes at once.
        let run = run(context, words, "a".into());
        let paused = async {
            while !std::fs::read_to_string(&mark).is_ok_and(|text| text.ends_with('\n')) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            tokio::time::pause();
        };
        tokio::join!(run, paused);
        assert!(began.elapsed() < TIMEOUT, "{:?}", began.elapsed());
        let pids = std::fs::read_to_string(mark).unwrap();
        let process = std::path::Path::new("/proc").join(pids.trim());
        assert_eq!(pids.lines().count(), 1, "it ran once: {pids}");
        // A blocking thread kills it.
        while process.join("exe").read_link().is_ok() {
            assert!(began.elapsed() < TIMEOUT, "it still runs");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}
