//! Equal answers within a second, which become one line with a count.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use crate::audit::event::AuditEvent;

/// The time for which equal answers are counted before their line is written.
pub(crate) const MERGE_TIME: Duration = Duration::from_secs(1);

/// The answers that may wait for their line. Requests for many unknown names are all different.
const MOST: usize = 4096;

/// The answers that wait for their line, oldest first.
#[derive(Debug, Default)]
pub(crate) struct WaitingAnswers {
    counts: HashMap<Arc<AuditEvent>, u64>,
    order: VecDeque<WaitingAnswer>,
}

#[derive(Debug)]
struct WaitingAnswer {
    event: Arc<AuditEvent>,
    /// The time of the first answer.
    time: SystemTime,
    due: Instant,
}

/// Equal answers.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct CountedAnswer {
    pub(crate) event: Arc<AuditEvent>,
    /// The time of the first one.
    pub(crate) time: SystemTime,
    pub(crate) count: u64,
}

impl WaitingAnswers {
    /// Counts an answer. Returns the oldest one if too many wait.
    pub(crate) fn add(&mut self, time: SystemTime, event: AuditEvent, now: Instant) -> Option<CountedAnswer> {
        if let Some(count) = self.counts.get_mut(&event) {
            *count += 1;
            return None;
        }
        let event = Arc::new(event);
        self.counts.insert(Arc::clone(&event), 1);
        self.order.push_back(WaitingAnswer { event, time, due: now + MERGE_TIME });
        if self.order.len() > MOST { self.take_first() } else { None }
    }

    /// Returns the moment of the next line.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.order.front().map(|first| first.due)
    }

    /// Takes the oldest answer if it is due at `now`.
    pub(crate) fn take_due(&mut self, now: Instant) -> Option<CountedAnswer> {
        if self.due()? > now { None } else { self.take_first() }
    }

    /// Takes the oldest answer.
    pub(crate) fn take_first(&mut self) -> Option<CountedAnswer> {
        let WaitingAnswer { event, time, .. } = self.order.pop_front()?;
        let count = self.counts.remove(&event).unwrap_or(1);
        Some(CountedAnswer { event, time, count })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::event::AuditKind;

    fn answer(identity: usize) -> AuditEvent {
        AuditEvent { identity: Some(identity.to_string().into()), ..AuditEvent::new(AuditKind::Served) }
    }

    #[test]
    fn equal_answers_within_a_second_are_one() {
        let (time, began) = (SystemTime::UNIX_EPOCH, Instant::now());
        let mut waiting = WaitingAnswers::default();
        for (identity, after) in [(1, 0), (2, 100), (1, 999)] {
            let later = Duration::from_millis(after);
            assert_eq!(waiting.add(time + later, answer(identity), began + later), None);
        }
        assert_eq!(waiting.take_due(began + Duration::from_millis(999)), None);
        let first = waiting.take_due(began + MERGE_TIME).unwrap();
        assert_eq!((first.time, first.count, &*first.event), (time, 2, &answer(1)));
        assert_eq!(waiting.take_due(began + MERGE_TIME), None);
        assert_eq!(waiting.take_first().map(|second| second.count), Some(1));
        assert_eq!(waiting.due(), None);
    }

    #[test]
    fn waiting_answers_have_a_limit_and_none_is_lost() {
        let mut waiting = WaitingAnswers::default();
        let now = Instant::now();
        let early =
            (0..MOST + 10).filter_map(|number| waiting.add(SystemTime::UNIX_EPOCH, answer(number), now)).count();
        let late = std::iter::from_fn(|| waiting.take_first()).count();
        assert_eq!((early, late), (10, MOST));
    }
}
