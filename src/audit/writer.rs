//! The thread of the audit log: counts equal answers, writes lines, and tells how many were lost.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Instant, SystemTime};

use crate::audit::event::{AuditEvent, AuditKind};
use crate::audit::line;
use crate::audit::merge::WaitingAnswers;
use crate::audit::{AuditCounts, AuditOrder};

/// Where lines go.
pub(crate) trait LineSink {
    /// Writes a line, which ends with a line break, at once. `kind` is its event.
    ///
    /// # Errors
    /// If the line is not written, or not whole.
    fn write(&mut self, kind: AuditKind, line: &[u8]) -> io::Result<()>;

    /// Opens the file again at the next line.
    fn reopen(&mut self);

    /// Names the place for messages.
    fn name(&self) -> String;
}

impl<S: LineSink + ?Sized> LineSink for Box<S> {
    fn write(&mut self, kind: AuditKind, line: &[u8]) -> io::Result<()> {
        (**self).write(kind, line)
    }

    fn reopen(&mut self) {
        (**self).reopen();
    }

    fn name(&self) -> String {
        (**self).name()
    }
}

pub(crate) struct AuditWriter<S> {
    sink: S,
    counts: Arc<AuditCounts>,
    waiting: WaitingAnswers,
    /// The part of [`AuditCounts::lost`] that a line has told.
    told: u64,
    is_failing: bool,
}

impl<S: LineSink> AuditWriter<S> {
    pub(crate) fn new(sink: S, counts: Arc<AuditCounts>) -> Self {
        Self { sink, counts, waiting: WaitingAnswers::default(), told: 0, is_failing: false }
    }

    /// Executes orders until [`AuditOrder::Stop`], or until no sender is left.
    pub(crate) fn run(mut self, orders: &Receiver<AuditOrder>) {
        loop {
            let order = match self.waiting.due() {
                Some(due) => orders.recv_timeout(due.saturating_duration_since(Instant::now())),
                None => orders.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            match order {
                Ok(AuditOrder::Record(time, event)) => self.record(time, *event),
                Ok(AuditOrder::Confirm(time, event, reply)) => {
                    let count = event.event.is_answer().then_some(1);
                    let is_written = self.write(time, &event, count);
                    // The request may have given up.
                    let _ = reply.send(is_written);
                }
                Ok(AuditOrder::Reopen) => {
                    self.write_all();
                    self.sink.reopen();
                }
                Ok(AuditOrder::Stop) | Err(RecvTimeoutError::Disconnected) => return self.write_all(),
                Err(RecvTimeoutError::Timeout) => {}
            }
            let now = Instant::now();
            while let Some(due) = self.waiting.take_due(now) {
                self.write(due.time, &due.event, Some(due.count));
            }
        }
    }

    fn record(&mut self, time: SystemTime, event: AuditEvent) {
        if event.event.is_answer() {
            if let Some(early) = self.waiting.add(time, event, Instant::now()) {
                self.write(early.time, &early.event, Some(early.count));
            }
            return;
        }
        // Answers before a change stand before it in the log.
        self.write_all();
        self.write(time, &event, None);
    }

    fn write_all(&mut self) {
        while let Some(answer) = self.waiting.take_first() {
            self.write(answer.time, &answer.event, Some(answer.count));
        }
    }

    /// Writes one line, and before it the number of lost events that no line has told. Returns true if it is written.
    fn write(&mut self, time: SystemTime, event: &AuditEvent, count: Option<u64>) -> bool {
        let lost = self.counts.lost.load(Ordering::Relaxed);
        let mut written = Ok(());
        if lost > self.told {
            let told = line::render(time, &AuditEvent::new(AuditKind::Lost), Some(lost - self.told));
            written = self.sink.write(AuditKind::Lost, &told);
            if written.is_ok() {
                self.told = lost;
            }
        }
        let written = written.and_then(|()| self.sink.write(event.event, &line::render(time, event, count)));
        let events = count.unwrap_or(1);
        match written {
            Ok(()) => {
                self.counts.written.fetch_add(events, Ordering::Relaxed);
                if std::mem::take(&mut self.is_failing) {
                    tracing::info!(lost, "the audit log is written again: {}", self.sink.name());
                }
                true
            }
            Err(error) => {
                self.counts.lose(events);
                if !std::mem::replace(&mut self.is_failing, true) {
                    tracing::error!(
                        "the audit log cannot be written: {}: {error}; lines are lost until it can",
                        self.sink.name()
                    );
                }
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::AtomicBool;
    use std::sync::mpsc::sync_channel;

    use super::*;

    #[derive(Clone, Default)]
    struct Memory {
        lines: Arc<Mutex<Vec<serde_json::Value>>>,
        is_full: Arc<AtomicBool>,
        reopened: Arc<Mutex<Vec<usize>>>,
    }

    impl LineSink for Memory {
        fn write(&mut self, _: AuditKind, line: &[u8]) -> io::Result<()> {
            if self.is_full.load(Ordering::Relaxed) {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.lines.lock().unwrap().push(serde_json::from_slice(line).unwrap());
            Ok(())
        }

        fn reopen(&mut self) {
            let lines = self.lines.lock().unwrap().len();
            self.reopened.lock().unwrap().push(lines);
        }

        fn name(&self) -> String {
            "memory".into()
        }
    }

    fn answer(identity: &str) -> Box<AuditEvent> {
        Box::new(AuditEvent { identity: Some(identity.into()), ..AuditEvent::new(AuditKind::Served) })
    }

    /// Executes orders up to a stop, and returns the events and counts of the lines.
    fn lines(memory: &Memory, counts: &Arc<AuditCounts>, orders: Vec<AuditOrder>) -> Vec<(String, u64)> {
        let (sender, receiver) = sync_channel(orders.len() + 1);
        for order in orders.into_iter().chain([AuditOrder::Stop]) {
            sender.send(order).unwrap();
        }
        AuditWriter::new(memory.clone(), Arc::clone(counts)).run(&receiver);
        let lines = std::mem::take(&mut *memory.lines.lock().unwrap());
        lines
            .iter()
            .map(|line| (line["event"].as_str().unwrap().to_owned(), line["count"].as_u64().unwrap_or(0)))
            .collect()
    }

    fn record(event: Box<AuditEvent>) -> AuditOrder {
        AuditOrder::Record(SystemTime::UNIX_EPOCH, event)
    }

    #[test]
    fn counts_add_up_at_a_change_a_reopen_and_a_stop() {
        let (memory, counts) = (Memory::default(), Arc::default());
        let change = || record(Box::new(AuditEvent::new(AuditKind::Grant)));
        let orders = vec![
            record(answer("a")),
            record(answer("a")),
            change(),
            record(answer("a")),
            AuditOrder::Reopen,
            record(answer("a")),
        ];
        let expected = [("served", 2), ("grant", 0), ("served", 1), ("served", 1)];
        assert_eq!(lines(&memory, &counts, orders), expected.map(|(event, count)| (event.to_owned(), count)));
        assert_eq!(*memory.reopened.lock().unwrap(), [3]);
        assert_eq!(counts.written.load(Ordering::Relaxed), 5);
    }

    #[test]
    fn lost_events_are_told_when_lines_get_through_again() {
        let (memory, counts) = (Memory::default(), Arc::<AuditCounts>::default());
        memory.is_full.store(true, Ordering::Relaxed);
        let mut writer = AuditWriter::new(memory.clone(), Arc::clone(&counts));
        let event = answer("a");
        assert!(!writer.write(SystemTime::UNIX_EPOCH, &event, Some(5)));
        counts.lose(2);
        memory.is_full.store(false, Ordering::Relaxed);
        for _ in 0..2 {
            assert!(writer.write(SystemTime::UNIX_EPOCH, &event, Some(1)));
        }
        let lines = memory.lines.lock().unwrap();
        let told: Vec<_> =
            lines.iter().map(|line| (line["event"].as_str().unwrap(), line["count"].as_u64().unwrap())).collect();
        assert_eq!(told, [("lost", 7), ("served", 1), ("served", 1)]);
        assert_eq!((counts.written.load(Ordering::Relaxed), counts.lost.load(Ordering::Relaxed)), (2, 7));
    }

    #[test]
    fn confirmed_line_is_written_before_the_reply() {
        for is_full in [false, true] {
            let (memory, counts) = (Memory::default(), Arc::default());
            memory.is_full.store(is_full, Ordering::Relaxed);
            let (reply, written) = tokio::sync::oneshot::channel();
            let lines = lines(&memory, &counts, vec![AuditOrder::Confirm(SystemTime::UNIX_EPOCH, answer("a"), reply)]);
            assert_eq!((lines.len(), written.blocking_recv()), (usize::from(!is_full), Ok(!is_full)));
        }
    }
}
