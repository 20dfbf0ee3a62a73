//! A program of a source while it runs: reads its output, and kills it with the processes that it started.

use std::io;
use std::process::ExitStatus;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::runtime::Handle;
use zeroize::Zeroizing;

use crate::os::children::{ProgramRun, StartedChild};
use crate::os::tty::Terminal;

/// The maximum output of a program. Session tokens have 1 to 12 kB.
const MAX_OUTPUT: usize = 64 * 1024;

/// The maximum length of standard error that is kept. The end is kept, because it has the reason of a failure.
const MAX_STDERR: usize = 4 * 1024;

/// The time to read the rest of the output after the program has ended. Other processes may hold its pipes open for
/// ever.
pub(super) const PIPE_GRACE: Duration = Duration::from_millis(250);

/// A running program. Dropping it kills the program and the processes that it started, on a thread that may block.
pub(crate) struct RunningProgram(Option<ProgramProcesses>);

/// The processes of a program. Dropping it kills them, and blocks.
struct ProgramProcesses {
    child: StartedChild,
    group: Option<Pid>,
    run: ProgramRun,
}

pub(crate) struct ProgramOutput {
    /// The exit status. `None` if the program printed too much and was killed.
    pub(crate) status: Option<ExitStatus>,
    pub(crate) output: Zeroizing<Vec<u8>>,
    pub(crate) stderr: Vec<u8>,
}

/// The reason why reading ended before the end of the program.
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
    pub(crate) fn new(child: StartedChild, run: ProgramRun, leads_group: bool) -> Self {
        let group = child.child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?)).filter(|_| leads_group);
        Self(Some(ProgramProcesses { child, group, run }))
    }

    /// Reads the output until the program has ended. It does not wait for other processes that hold the pipes.
    pub(crate) async fn wait(mut self, terminal: &Terminal) -> io::Result<ProgramOutput> {
        let (mut output, mut errors) = (Zeroizing::new(Vec::with_capacity(MAX_OUTPUT)), Vec::new());
        let Some(ProgramProcesses { child, group, .. }) = &mut self.0 else {
            return Err(io::Error::other("the program has ended"));
        };
        let child = &mut child.child;
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let mut reading = Box::pin(async {
            tokio::try_join!(head(stdout, &mut output), tail(stderr, &mut errors, terminal)).map(drop)
        });
        let (read, status) = tokio::select! {
            read = &mut reading => (Some(read), None),
            status = child.wait() => (None, Some(status?)),
        };
        let read = match read {
            Some(read) => Some(read),
            None => tokio::time::timeout(PIPE_GRACE, &mut reading).await.ok(),
        };
        drop(reading);
        match read {
            // Do not wait for the end of the program: it may print for ever.
            Some(Err(ReadEnd::TooMuch)) => Ok(ProgramOutput { status: None, output, stderr: errors }),
            Some(Err(ReadEnd::Broken(error))) => Err(error),
            Some(Ok(())) => {
                let status = match status {
                    Some(status) => status,
                    None => child.wait().await?,
                };
                // Do not kill the process group: all pipes are closed, so processes that still run were meant to stay.
                *group = None;
                Ok(ProgramOutput { status: Some(status), output, stderr: errors })
            }
            None => Ok(ProgramOutput { status, output, stderr: errors }),
        }
    }
}

impl Drop for RunningProgram {
    fn drop(&mut self) {
        let Some(processes) = self.0.take() else { return };
        match Handle::try_current() {
            Ok(runtime) if processes.child.child.id().is_some() => {
                drop(runtime.spawn_blocking(move || drop(processes)));
            }
            // A program that has ended is not searched for.
            _ => drop(processes),
        }
    }
}

impl Drop for ProgramProcesses {
    fn drop(&mut self) {
        // The group id is safe to signal. The kernel does not reuse it while a process of the group lives, or before
        // the child is waited for.
        let program = self.child.child.id();
        if let Some(program) = program {
            // Find processes outside the group first: the descendants of a killed process are harder to find.
            self.run.kill(program);
        }
        if let Some(group) = self.group {
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

/// Reads all output, up to [`MAX_OUTPUT`].
async fn head(from: Option<impl AsyncRead + Unpin>, into: &mut Vec<u8>) -> Result<(), ReadEnd> {
    let Some(mut from) = from else { return Ok(()) };
    let mut chunk = Zeroizing::new([0; 4096]);
    loop {
        let read = from.read(&mut *chunk).await?;
        if read == 0 {
            return Ok(());
        }
        if into.len() + read > MAX_OUTPUT {
            return Err(ReadEnd::TooMuch);
        }
        into.extend_from_slice(&chunk[..read]);
    }
}

/// Reads standard error and keeps its end. The terminal shows all of it, because it may be a question to the user.
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
        let surplus = into.len().saturating_sub(MAX_STDERR);
        into.drain(..surplus);
    }
}
