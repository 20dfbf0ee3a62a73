//! Signals, sent from a thread to the runtime.

use std::io;
use std::thread::JoinHandle;

use signal_hook::consts::{SIGALRM, SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook::iterator::exfiltrator::WithOrigin;
use signal_hook::iterator::{Handle, SignalsInfo};
use signal_hook::low_level::siginfo::{Cause, Origin};
use tokio::sync::mpsc;

/// The signals that a daemon handles.
pub(crate) const DAEMON: &[i32] = &[SIGHUP, SIGINT, SIGTERM];

/// The signals that `exec` passes on to its program.
pub(crate) const WRAPPER: &[i32] = &[SIGALRM, SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2];

/// The signals that end a command.
pub(crate) const ENDING: &[i32] = &[SIGHUP, SIGINT, SIGQUIT, SIGTERM];

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
    /// Installs the handlers.
    ///
    /// # Errors
    /// If the operating system refuses a handler or a thread.
    pub(crate) fn listen(signals: &[i32]) -> io::Result<Self> {
        let mut signals = SignalsInfo::<WithOrigin>::new(signals)?;
        let (sender, arrived) = mpsc::unbounded_channel();
        let handle = signals.handle();
        let thread = std::thread::Builder::new().name("signals".into()).spawn(move || {
            for Origin { signal, cause, .. } in &mut signals {
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
                if ENDING.contains(&arrived.signal) {
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

impl Drop for Signals {
    fn drop(&mut self) {
        self.handle.close();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
