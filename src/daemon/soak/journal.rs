//! The events of the last minutes: those of the upstream and the client, and the log of the daemon.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::Instant;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;

/// Older events are dropped: a violation rarely has an earlier cause.
const SPAN: Duration = Duration::from_secs(600);

/// The maximum number of events, so that a burst of events does not count as a leak.
const LONGEST: usize = 400;

/// Every secret of the soak contains this word; a log line must not.
pub(crate) const HUSH: &str = "hush";

#[derive(Clone, Debug)]
pub(crate) struct Journal {
    start: Instant,
    lines: Arc<Mutex<VecDeque<(Instant, String)>>>,
}

impl Journal {
    pub(crate) fn new() -> Self {
        Self { start: Instant::now(), lines: Arc::default() }
    }

    pub(crate) fn record(&self, line: impl fmt::Display) {
        self.push(format!("{}  {line}", self.moment()));
    }

    /// The simulated time since the start: `hours:minutes:seconds.milliseconds`.
    pub(crate) fn moment(&self) -> String {
        let elapsed = self.start.elapsed();
        let seconds = elapsed.as_secs();
        format!("{:02}:{:02}:{:02}.{:03}", seconds / 3600, seconds / 60 % 60, seconds % 60, elapsed.subsec_millis())
    }

    pub(crate) fn text(&self) -> String {
        let lines = self.lines.lock().unwrap();
        lines.iter().map(|(_, line)| format!("  {line}\n")).collect()
    }

    fn push(&self, line: String) {
        assert!(!line.contains(HUSH), "the log shows a secret: {line}");
        let now = Instant::now();
        let mut lines = self.lines.lock().unwrap();
        while lines.len() >= LONGEST || lines.front().is_some_and(|(at, _)| now - *at > SPAN) {
            lines.pop_front();
        }
        lines.push_back((now, line));
    }
}

impl io::Write for &Journal {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.push(String::from_utf8_lossy(line).trim_end().to_owned());
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Journal {
    type Writer = &'a Journal;

    fn make_writer(&'a self) -> Self::Writer {
        self
    }
}

impl FormatTime for Journal {
    fn format_time(&self, writer: &mut Writer<'_>) -> fmt::Result {
        write!(writer, "{} ", self.moment())
    }
}
