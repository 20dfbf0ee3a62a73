//! A server that was started, and what the kernel says of it.

use std::fs;
use std::io::{self, BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// The maximum time for a line of the log. Under callgrind on a busy machine a debug build starts in a minute.
const LINE_TIMEOUT: Duration = Duration::from_secs(180);

/// A running server; dropping it ends it.
pub struct Process {
    child: Child,
    pub address: SocketAddr,
    log: Arc<Log>,
    reader: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Log {
    lines: Mutex<Vec<String>>,
    grown: Condvar,
}

impl Process {
    /// Starts it and waits until it says where it listens.
    pub fn start(mut command: Command) -> io::Result<Self> {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
        let log = Arc::new(Log::default());
        let pipe = child.stderr.take().expect("it is piped");
        let reader = std::thread::spawn({
            let log = Arc::clone(&log);
            move || {
                for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                    log.lines.lock().unwrap_or_else(PoisonError::into_inner).push(line);
                    log.grown.notify_all();
                }
            }
        });
        let mut process = Self { child, address: ([127, 0, 0, 1], 0).into(), log, reader: Some(reader) };
        process.address = process.wait_for_lines(1, |line| address(line).is_some()).and_then(|lines| {
            lines.iter().find_map(|line| address(line)).ok_or_else(|| io::Error::other("it says no address"))
        })?;
        Ok(process)
    }

    /// Waits until it has logged this many such lines since the last call, and forgets the log.
    pub fn wait_for_lines(&mut self, count: usize, wanted: impl Fn(&str) -> bool) -> io::Result<Vec<String>> {
        let deadline = Instant::now() + LINE_TIMEOUT;
        let mut lines = self.log.lines.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if lines.iter().filter(|line| wanted(line)).count() >= count {
                return Ok(std::mem::take(&mut lines));
            }
            let left = deadline.saturating_duration_since(Instant::now()).min(Duration::from_millis(100));
            if left.is_zero() || self.child.try_wait()?.is_some() {
                return Err(io::Error::other(format!("the server did not say it; it said {lines:#?}")));
            }
            (lines, _) = self.log.grown.wait_timeout(lines, left).unwrap_or_else(PoisonError::into_inner);
        }
    }

    pub fn hang_up(&self) -> io::Result<()> {
        self.signal(Signal::HUP)
    }

    /// Ends it with SIGTERM. Returns the lines that it has logged since the last call of `wait_for_lines`.
    pub fn stop(mut self) -> io::Result<Vec<String>> {
        self.signal(Signal::TERM)?;
        self.child.wait()?;
        if let Some(reader) = self.reader.take() {
            reader.join().map_err(|_| io::Error::other("the reader of the log panicked"))?;
        }
        Ok(std::mem::take(&mut self.log.lines.lock().unwrap_or_else(PoisonError::into_inner)))
    }

    fn signal(&self, signal: Signal) -> io::Result<()> {
        let pid = Pid::from_raw(self.child.id().cast_signed()).expect("a child has a number");
        Ok(kill_process(pid, signal)?)
    }

    /// CPU time of all its threads that live, user and system.
    pub fn cpu(&self) -> io::Result<Duration> {
        let run = |text: String| text.split(' ').next().and_then(|run| run.parse().ok()).unwrap_or(0);
        let nanoseconds: u64 = self.of_threads("schedstat")?.into_iter().map(run).sum();
        Ok(Duration::from_nanos(nanoseconds))
    }

    /// How often its threads went to sleep, and so were woken.
    pub fn sleeps(&self) -> io::Result<u64> {
        Ok(self.of_threads("status")?.iter().map(|status| field(status, "voluntary_ctxt_switches:")).sum())
    }

    /// Resident memory in bytes.
    pub fn resident(&self) -> io::Result<u64> {
        Ok(field(&fs::read_to_string(format!("/proc/{}/status", self.child.id()))?, "VmRSS:") * 1024)
    }

    /// The peak of its resident memory in bytes.
    pub fn peak(&self) -> io::Result<u64> {
        Ok(field(&fs::read_to_string(format!("/proc/{}/status", self.child.id()))?, "VmHWM:") * 1024)
    }

    fn of_threads(&self, name: &str) -> io::Result<Vec<String>> {
        fs::read_dir(format!("/proc/{}/task", self.child.id()))?
            .map(|thread| fs::read_to_string(thread?.path().join(name)))
            // A thread may end while its line is looked for.
            .filter(|read| !matches!(read, Err(error) if error.kind() == io::ErrorKind::NotFound))
            .collect()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn field(status: &str, name: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

fn address(line: &str) -> Option<SocketAddr> {
    line.split("listening on http://").nth(1)?.split_whitespace().next()?.parse().ok()
}
