//! The events of the last minutes: of the service, of the client, and the broker's log.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::Instant;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;

/// The time that the journal covers.
const SPAN: Duration = Duration::from_secs(600);

/// The maximum number of lines: many events must not look like growing memory.
const LONGEST: usize = 400;

/// A word that every secret of the soak test contains; log lines must not contain it.
pub const HUSH: &str = "hush";

#[derive(Clone, Debug)]
pub struct Journal {
    start: Instant,
    lines: Arc<Mutex<VecDeque<(Instant, String)>>>,
}

impl Journal {
    pub fn new() -> Self {
        Self { start: Instant::now(), lines: Arc::default() }
    }

    pub fn tell(&self, line: impl fmt::Display) {
        self.push(format!("{}  {line}", self.moment()));
    }

    /// Returns the elapsed simulated time: `hours:minutes:seconds.milliseconds`.
    pub fn moment(&self) -> String {
        let gone = self.start.elapsed();
        let seconds = gone.as_secs();
        format!("{:02}:{:02}:{:02}.{:03}", seconds / 3600, seconds / 60 % 60, seconds % 60, gone.subsec_millis())
    }

    pub fn text(&self) -> String {
        let lines = self.lines.lock().unwrap();
        lines.iter().map(|(_, line)| format!("  {line}\n")).collect()
    }

    fn push(&self, line: String) {
        assert!(!line.contains(HUSH), "a secret in the log: {line}");
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
