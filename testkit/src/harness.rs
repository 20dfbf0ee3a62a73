//! Runs the built program as a black box: a home directory of its own, port 0, and every log line at trace level.

mod broker;
mod home;
mod response;

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::{Child, ExitStatus};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

pub use broker::{Broker, KeepAlive, send};
pub use home::{CommandOutput, Home, wrapped};
pub use response::Response;

/// A word that every secret of the tests contains; log lines, statuses and errors must not contain it.
pub const HUSH: &str = "hush";

/// Long-lived keys in the environment.
pub const KEYS: [(&str, &str); 2] = [("AWS_ACCESS_KEY_ID", "AKIAENV"), ("AWS_SECRET_ACCESS_KEY", "hush-env")];

/// The maximum time of one step. Any step on loopback takes a fraction of it, even on a loaded machine.
pub const TIMEOUT: Duration = Duration::from_secs(20);

/// Returns the path of the program under test.
///
/// Cargo builds it before any integration test of its package, and places the tests in `deps` beside it.
pub fn program() -> &'static str {
    static PROGRAM: LazyLock<String> = LazyLock::new(|| {
        let test = std::env::current_exe().unwrap();
        let program = test.parent().unwrap().with_file_name("credenza");
        assert!(program.is_file(), "{} is missing: cargo build makes it", program.display());
        program.into_os_string().into_string().unwrap()
    });
    &PROGRAM
}

/// Lets programs of the tests get the signals that this process ignores. A shell without job control ignores SIGINT and
/// SIGQUIT in a background job, nohup ignores SIGHUP, and a child inherits that. This process
/// installs handlers instead: the kernel resets handlers, but not ignored signals, when a program starts.
pub fn let_children_get_signals() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
        let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default();
        for signal in [signal_hook::consts::SIGHUP, signal_hook::consts::SIGINT, signal_hook::consts::SIGQUIT] {
            if mask & (1 << (signal - 1)) != 0 {
                signal_hook::flag::register(signal, std::sync::Arc::default()).unwrap();
            }
        }
    });
}

/// Returns true after it has said that the machine cannot run a test. With `CI=true` the test fails instead.
pub fn skip(reason: &str) -> bool {
    assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "this test has to run here, and cannot: {reason}");
    // Written past libtest, which drops the output of a passed test.
    let _ = writeln!(std::io::stderr(), "!!! a test does NOT run: {reason}");
    true
}

/// Lets the caller open so many files, as long as it holds the guard; returns `None` if the hard limit is lower.
///
/// The limit is that of the process, so that tests which need thousands of files run one after another.
pub fn open_many_files(files: u64) -> Option<MutexGuard<'static, ()>> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    /// For the tests that run beside.
    const OTHERS: u64 = 4_000;
    static ONE: Mutex<()> = Mutex::new(());
    let guard = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let needed = files + OTHERS;
    let is_enough = current.is_none_or(|current| current >= needed)
        || maximum.is_none_or(|maximum| maximum >= needed)
            && setrlimit(Resource::Nofile, Rlimit { current: Some(needed), maximum }).is_ok();
    is_enough.then_some(guard)
}

/// Repeats the question until the answer is true.
pub fn until(what: &str, mut is_true: impl FnMut() -> bool) {
    let deadline = Instant::now() + TIMEOUT;
    while !is_true() {
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Waits for a child at most [`TIMEOUT`].
pub fn wait(child: &mut Child) -> ExitStatus {
    until("the child exits", || child.try_wait().unwrap().is_some());
    child.wait().unwrap()
}

/// Returns the text of a shared credentials file with a default profile.
pub fn keys_file(key: &str) -> String {
    profile("default", key)
}

/// Returns the section of a profile in the shared credentials file.
pub fn profile(name: &str, key: &str) -> String {
    let mut text = String::new();
    let _ = writeln!(text, "[{name}]\naws_access_key_id = {key}\naws_secret_access_key = {HUSH}-{key}");
    text
}
