//! Signals, sent from a thread to the runtime.

use std::io;
use std::thread::JoinHandle;

use signal_hook::consts::{SIGALRM, SIGCHLD, SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook::iterator::exfiltrator::WithOrigin;
use signal_hook::iterator::{Handle, SignalsInfo};
use signal_hook::low_level::siginfo::{Cause, Origin};
use tokio::sync::mpsc;

use crate::os::children::reap_orphans;

/// The signals of a daemon. SIGHUP reloads and ends nothing, so `nohup` does not turn it off. SIGTERM is how service
/// managers stop a daemon.
pub(crate) const DAEMON: SignalSet = SignalSet { always: &[SIGCHLD, SIGHUP, SIGTERM], unless_ignored: &[SIGINT] };

/// The signals that `exec` passes on to its program.
pub(crate) const WRAPPER: SignalSet = SignalSet {
    always: &[SIGCHLD],
    unless_ignored: &[SIGALRM, SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2],
};

/// The signals that end a command.
pub(crate) const ENDING: SignalSet = SignalSet { always: &[], unless_ignored: ENDING_SIGNALS };

const ENDING_SIGNALS: &[i32] = &[SIGHUP, SIGINT, SIGQUIT, SIGTERM];

/// The signals that get a handler.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SignalSet {
    pub(crate) always: &'static [i32],
    /// The signals that stay ignored if they are: the parent has decided that, as `nohup` and shells do for jobs in the
    /// background. Children inherit this.
    pub(crate) unless_ignored: &'static [i32],
}

/// Returns the exit code that a shell reports for a program that a signal ended.
pub(crate) fn exit_code(signal: i32) -> u8 {
    u8::try_from(128 + signal).unwrap_or(u8::MAX)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ReceivedSignal {
    pub(crate) signal: i32,
    /// True if the terminal sent the signal. Then every process of the foreground group got the signal, too.
    pub(crate) by_terminal: bool,
}

/// The signals of this process. Dropping it ends the thread. Handlers are not restored, because the process then ends.
#[derive(Debug)]
pub(crate) struct Signals {
    arrived: mpsc::UnboundedReceiver<ReceivedSignal>,
    handle: Handle,
    thread: Option<JoinHandle<()>>,
}

impl Signals {
    /// Installs the handlers. SIGCHLD reaps orphans, and does not arrive.
    ///
    /// # Errors
    /// If the operating system refuses a handler or a thread.
    pub(crate) fn listen(set: SignalSet) -> io::Result<Self> {
        let ignored = ignored_signals();
        let unless_ignored = set.unless_ignored.iter().filter(|signal| ignored & (1 << (*signal - 1)) == 0);
        let mut signals = SignalsInfo::<WithOrigin>::new(set.always.iter().chain(unless_ignored))?;
        let (sender, arrived) = mpsc::unbounded_channel();
        let handle = signals.handle();
        let thread = std::thread::Builder::new().name("signals".into()).spawn(move || {
            for Origin { signal, cause, .. } in &mut signals {
                if signal == SIGCHLD {
                    reap_orphans();
                    continue;
                }
                let by_terminal = matches!(cause, Cause::Kernel);
                if sender.send(ReceivedSignal { signal, by_terminal }).is_err() {
                    return;
                }
            }
        })?;
        Ok(Self { arrived, handle, thread: Some(thread) })
    }

    /// Runs `work` until it is done or a signal ends the command. A signal drops `work`, and so kills the programs that
    /// sources have started. They would go on if the signal killed this process.
    ///
    /// # Errors
    /// The signal.
    pub(crate) async fn unless_ended<T>(&mut self, work: impl Future<Output = T>) -> Result<T, i32> {
        let ended = async {
            loop {
                let arrived = self.next().await;
                if ENDING_SIGNALS.contains(&arrived.signal) {
                    return arrived.signal;
                }
            }
        };
        tokio::select! {
            done = work => Ok(done),
            signal = ended => Err(signal),
        }
    }

    pub(crate) async fn next(&mut self) -> ReceivedSignal {
        match self.arrived.recv().await {
            Some(arrived) => arrived,
            None => std::future::pending().await,
        }
    }
}

/// Returns the ignored signals of this process: bit 0 is signal 1.
fn ignored_signals() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default()
}

impl Drop for Signals {
    fn drop(&mut self) {
        self.handle.close();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
