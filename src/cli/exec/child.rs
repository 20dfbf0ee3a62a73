//! The command of `exec`: starts it with its variables, passes signals on, and waits for it.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::ExitStatus;

use tokio::process::Command;

use crate::cli::child_environment::EnvironmentChanges;
use crate::cli::error::CommandError;
use crate::cli::exit_code;
use crate::context::Context;
use crate::os::children::StartedChild;
use crate::os::files::walk::walk;
use crate::os::signals::Signals;

/// Runs the command until it ends. Returns its exit code. Without a command it is a shell.
///
/// # Errors
/// If the command cannot be waited for.
pub(crate) async fn run(
    context: &Context,
    changes: EnvironmentChanges,
    command: &[OsString],
    mut signals: Signals,
) -> Result<u8, CommandError> {
    let shell = [shell(context)];
    let (program, arguments) = command.split_first().unwrap_or((&shell[0], &[]));
    let mut spawned = Command::new(program);
    spawned.args(arguments);
    for (name, value) in changes {
        match value {
            Some(value) => spawned.env(name, value),
            None => spawned.env_remove(name),
        };
    }
    // From now on the terminal belongs to the child.
    context.terminal.hand_over();
    context.progress.hand_over();
    let started = StartedChild::start(|| context.open_file_limit.start_limited(|| spawned.spawn()));
    let mut child = match started {
        Ok(child) => child,
        Err(error) => {
            tracing::error!(program = %program.to_string_lossy().escape_debug(), %error, "cannot run this program");
            return Ok(if error.kind() == io::ErrorKind::NotFound {
                exit_code::NOT_FOUND
            } else {
                exit_code::CANNOT_EXECUTE
            });
        }
    };
    loop {
        tokio::select! {
            status = child.child.wait() => {
                let status = status.map_err(|error| CommandError::new(format!("cannot wait for the program: {error}")))?;
                return Ok(code_of(status));
            }
            arrived = signals.next() => if !arrived.by_terminal {
                forward(&child, arrived.signal);
            },
        }
    }
}

/// Returns the shell of the user: that of `SHELL`, as other programs do.
fn shell(context: &Context) -> OsString {
    // A relative path could name a program of the current folder, and after `su` the variable a program of another user.
    let is_trusted = |shell: &&str| {
        shell.starts_with('/') && walk(Path::new(shell)).is_ok_and(|found| found.facts.trusted(&context.trust).is_ok())
    };
    context.environment.get("SHELL").filter(is_trusted).unwrap_or("/bin/sh").into()
}

/// Sends a signal to the child. The caller leaves out signals from the terminal, because the child gets those directly.
fn forward(child: &StartedChild, signal: i32) {
    let process = child.child.id().and_then(|id| i32::try_from(id).ok()).and_then(rustix::process::Pid::from_raw);
    if let (Some(process), Some(signal)) = (process, rustix::process::Signal::from_named_raw(signal)) {
        let _ = rustix::process::kill_process(process, signal);
    }
}

/// Returns the exit code as a shell does: the code, or 128 plus the signal.
fn code_of(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(1);
    u8::try_from(code).unwrap_or(u8::MAX)
}
