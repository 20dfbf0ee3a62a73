//! The line at a terminal that tells a user for which service the program waits.

use std::io::{self, IsTerminal, Write};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::termios::tcgetwinsize;
use tokio::time::{Instant, timeout_at};

use crate::model::text::Escaped;

/// The time between two updates. A wait that is shorter shows nothing.
const TICK: Duration = Duration::from_secs(1);

/// Moves the cursor to the first column and clears the line.
const CLEAR: &str = "\r\x1b[K";

/// The width of a terminal that does not tell its own, in columns.
const USUAL_WIDTH: usize = 80;

/// Shows waits on standard error. The default shows nothing: a daemon has no user, and a pipe has no use for it.
///
/// Only waits for a service are shown. A program of a source may ask the user something at the same terminal, and its
/// question must stay visible.
#[derive(Clone, Debug, Default)]
pub(crate) struct Progress(Option<Arc<ProgressLine>>);

#[derive(Debug, Default)]
struct ProgressLine {
    /// True while the line is on the screen.
    is_shown: AtomicBool,
    /// True while one wait owns the line. Other waits at the same time show nothing.
    is_owned: AtomicBool,
    /// True after another program has got the terminal.
    has_ended: AtomicBool,
}

impl Progress {
    /// Returns the line on standard error if that is a terminal.
    pub(crate) fn at_terminal() -> Self {
        Self(io::stderr().is_terminal().then(Arc::default))
    }

    /// Leaves the terminal to another program. From now on nothing is shown.
    pub(crate) fn hand_over(&self) {
        if let Some(line) = &self.0 {
            line.has_ended.store(true, Ordering::Relaxed);
            line.erase();
        }
    }

    /// Removes the line, so that other output can take its place. The next update shows the line again.
    pub(crate) fn erase(&self) {
        if let Some(line) = &self.0 {
            line.erase();
        }
    }

    /// Awaits the work. After a second a line says that the program asks `whom`, and for how long.
    pub(crate) async fn asking<T>(&self, whom: impl FnOnce() -> String, work: impl Future<Output = T>) -> T {
        let Some(line) = &self.0 else { return work.await };
        let (whom, began, mut wait) = (whom(), Instant::now(), Wait { line, owns: false });
        let mut work = pin!(work);
        let mut next = began + TICK;
        loop {
            if let Ok(result) = timeout_at(next, &mut work).await {
                return result;
            }
            wait.show(&format!("asking {}… {} s", Escaped(&whom), began.elapsed().as_secs()));
            next += TICK;
        }
    }
}

impl ProgressLine {
    fn erase(&self) {
        if self.is_shown.swap(false, Ordering::Relaxed) {
            write(CLEAR);
        }
    }
}

/// One wait. Dropping it, also when its work is cancelled, removes the line.
struct Wait<'l> {
    line: &'l ProgressLine,
    owns: bool,
}

impl Wait<'_> {
    fn show(&mut self, text: &str) {
        self.owns = self.owns || !self.line.is_owned.swap(true, Ordering::Relaxed);
        if !self.owns || self.line.has_ended.load(Ordering::Relaxed) {
            return;
        }
        // A line that wraps could not be removed. Host names are ASCII: a character is a column.
        let columns = tcgetwinsize(io::stderr()).ok().map(|size| usize::from(size.ws_col)).filter(|width| *width > 0);
        if text.chars().count() < columns.unwrap_or(USUAL_WIDTH) {
            self.line.is_shown.store(true, Ordering::Relaxed);
            write(&format!("{CLEAR}{text}"));
        }
    }
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        if self.owns {
            self.line.erase();
            self.line.is_owned.store(false, Ordering::Relaxed);
        }
    }
}

/// Writes to the terminal, and ignores errors: the work goes on without the line.
fn write(text: &str) {
    let mut out = io::stderr();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}
