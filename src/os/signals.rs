//! Signals, handed from their own thread to the runtime.

use std::io;
use std::thread::JoinHandle;

use signal_hook::consts::{SIGALRM, SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook::iterator::exfiltrator::WithOrigin;
use signal_hook::iterator::{Handle, SignalsInfo};
use signal_hook::low_level::siginfo::{Cause, Origin};
use tokio::sync::mpsc;

/// What a daemon listens to.
pub(crate) const DAEMON: &[i32] = &[SIGHUP, SIGINT, SIGTERM];

/// What a program that runs another one passes on.
pub(crate) const WRAPPER: &[i32] = &[SIGALRM, SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2];

/// What ends a command that is not done yet.
pub(crate) const ENDING: &[i32] = &[SIGHUP, SIGINT, SIGQUIT, SIGTERM];

/// The exit code of one whom a signal ended, as a shell reports it.
#[must_use]
pub(crate) fn exit_code(signal: i32) -> u8 {
    u8::try_from(128 + signal).unwrap_or(u8::MAX)
}

/// A signal that arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ReceivedSignal {
    /// Its number.
    pub(crate) signal: i32,
    /// Whether the terminal sent it, which then sent it to every process of the foreground group.
    pub(crate) by_terminal: bool,
}

/// The signals of this process; dropping it ends the thread and restores nothing, for the process ends then.
#[derive(Debug)]
pub(crate) struct Signals {
    arrived: mpsc::UnboundedReceiver<ReceivedSignal>,
    handle: Handle,
    thread: Option<JoinHandle<()>>,
}

impl Signals {
    /// Begins to listen.
    ///
    /// # Errors
    /// When the operating system refuses a handler or a thread.
    pub(crate) fn listen(to: &[i32]) -> io::Result<Self> {
        let mut signals = SignalsInfo::<WithOrigin>::new(to)?;
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

    /// What this comes to, or the signal that ends the command before: then it is dropped, and what its sources had
    /// started ends with it, as it would not if the signal simply ended us.
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

    /// The next signal; never when the thread is gone.
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
