//! The terminal at which programs of a source may ask the user for passphrases, security keys and codes.

use std::fs::File;
use std::io::{self, BufRead, BufReader, IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The terminal of `get`, `check` and `exec`. A daemon has none, which is the default.
#[derive(Clone, Debug, Default)]
pub(crate) struct Terminal(Arc<AtomicBool>);

impl Terminal {
    /// Returns the terminal of this process, with a user that may be asked.
    pub(crate) fn ours() -> Self {
        Self(Arc::new(AtomicBool::new(true)))
    }

    /// Leaves the terminal to another program. From now on only that program reads from it.
    pub(crate) fn hand_over(&self) {
        self.0.store(false, Ordering::Relaxed);
    }

    /// Shows the output of a program on standard error, if that is a terminal with a user.
    pub(crate) fn show(&self, output: &[u8]) {
        let mut errors = io::stderr();
        if self.is_ours() && errors.is_terminal() {
            // Ignore errors: there is no other place to show the output.
            let _ = errors.write_all(output).and_then(|()| errors.flush());
        }
    }

    /// Returns true if the user may be asked.
    pub(crate) fn is_ours(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Reads one line from the terminal of this process, since standard input may be redirected. `None` at its end.
///
/// # Errors
/// If there is no terminal, or it does not respond.
pub(crate) async fn read_line() -> io::Result<Option<String>> {
    let terminal = File::open("/dev/tty")?;
    // A terminal gives a line at a time, so that nothing behind the line is read.
    let read = move || {
        let mut line = String::new();
        let length = BufReader::new(terminal).read_line(&mut line)?;
        Ok((length > 0).then_some(line))
    };
    tokio::task::spawn_blocking(read).await.map_err(io::Error::other)?
}
