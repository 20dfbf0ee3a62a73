//! The audit log: who got which credentials when, who was refused, and what the owner changed.
//!
//! Events go through a bounded queue to a thread of their own, so that a full disk, a slow journal or a pipe that nobody
//! reads never delays a request. docs/AUDIT.md has the fields.

pub(crate) mod event;
pub(crate) mod file;
pub(crate) mod history;
pub(crate) mod journal;
pub(crate) mod line;
pub(crate) mod merge;
pub(crate) mod writer;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use tokio::sync::oneshot;

use crate::audit::event::AuditEvent;
use crate::audit::writer::{AuditWriter, LineSink};
use crate::os::clock::Clock;

/// The events that may wait for the writer. 10,000 requests a second fill it in about a second.
const QUEUE: usize = 8192;

/// The longest time that an answer waits for its line if the log is required. Clients give up after 1 to 5 s.
const CONFIRM_TIMEOUT: Duration = Duration::from_secs(1);

/// The longest time that a stop waits for the last lines.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);

/// A message to the writer.
#[derive(Debug)]
pub(crate) enum AuditOrder {
    Record(SystemTime, Box<AuditEvent>),
    /// Writes the line at once. The reply is true if it was written.
    Confirm(SystemTime, Box<AuditEvent>, oneshot::Sender<bool>),
    /// Opens the file again: a program has rotated it.
    Reopen,
    Stop,
}

/// The numbers of answers and other events since the start.
#[derive(Debug, Default)]
pub(crate) struct AuditCounts {
    pub(crate) written: AtomicU64,
    /// The events that found no room in the queue or could not be written.
    pub(crate) lost: AtomicU64,
}

impl AuditCounts {
    pub(crate) fn lose(&self, count: u64) {
        self.lost.fetch_add(count, Ordering::Relaxed);
    }
}

/// The sending end of the audit log. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct AuditLog {
    orders: SyncSender<AuditOrder>,
    counts: Arc<AuditCounts>,
    clock: Clock,
    /// True if credentials are served only after the line of the answer was written.
    pub(crate) is_required: bool,
}

impl AuditLog {
    /// Starts the thread that writes to `sink`.
    ///
    /// # Errors
    /// If the kernel starts no thread.
    pub(crate) fn start(
        sink: impl LineSink + Send + 'static,
        clock: Clock,
        is_required: bool,
    ) -> io::Result<(Self, AuditThread)> {
        let (log, orders) = Self::channel(clock, is_required);
        let writer = AuditWriter::new(sink, Arc::clone(&log.counts));
        let thread = std::thread::Builder::new().name("audit".into()).spawn(move || writer.run(&orders))?;
        let stop = log.orders.clone();
        Ok((log, AuditThread { stop, thread }))
    }

    fn channel(clock: Clock, is_required: bool) -> (Self, Receiver<AuditOrder>) {
        let (orders, receiver) = sync_channel(QUEUE);
        (Self { orders, counts: Arc::default(), clock, is_required }, receiver)
    }

    /// Returns the numbers of written and lost events.
    pub(crate) fn counts(&self) -> (u64, u64) {
        (self.counts.written.load(Ordering::Relaxed), self.counts.lost.load(Ordering::Relaxed))
    }

    /// Records an event of now. Never waits: without room in the queue the event is counted as lost.
    pub(crate) fn record(&self, event: AuditEvent) {
        if self.orders.try_send(AuditOrder::Record(self.clock.now(), Box::new(event))).is_err() {
            self.counts.lose(1);
        }
    }

    /// Records an event and waits until its line is written. Returns false if it is not.
    pub(crate) async fn confirm(&self, event: AuditEvent) -> bool {
        let (reply, written) = oneshot::channel();
        if self.orders.try_send(AuditOrder::Confirm(self.clock.now(), Box::new(event), reply)).is_err() {
            self.counts.lose(1);
            return false;
        }
        matches!(tokio::time::timeout(CONFIRM_TIMEOUT, written).await, Ok(Ok(true)))
    }

    /// Opens the file again.
    pub(crate) fn reopen(&self) {
        // With a full queue the file is opened again anyway: it cannot be written.
        let _ = self.orders.try_send(AuditOrder::Reopen);
    }
}

/// The thread that writes the lines.
#[derive(Debug)]
pub(crate) struct AuditThread {
    stop: SyncSender<AuditOrder>,
    thread: JoinHandle<()>,
}

impl AuditThread {
    /// Writes the events that are left, and ends the thread. Gives up if it hangs, for example in a pipe that nobody reads.
    pub(crate) async fn stop(self) {
        let Self { stop, thread } = self;
        let ended = tokio::task::spawn_blocking(move || stop.send(AuditOrder::Stop).is_ok() && thread.join().is_ok());
        if !matches!(tokio::time::timeout(STOP_TIMEOUT, ended).await, Ok(Ok(true))) {
            tracing::error!("the last lines of the audit log were not written within {} s", STOP_TIMEOUT.as_secs());
        }
    }
}
