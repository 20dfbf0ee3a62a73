//! The attempts of one request within a load.

use std::time::Duration;

use crate::context::Context;

/// The maximum pauses before the second and the third attempt. Half of each is random, so that retries spread. `get` and
/// `exec` have no second load, so one transient error must not fail them.
const PAUSES: [Duration; 2] = [Duration::from_millis(250), Duration::from_millis(500)];

/// Counts the attempts of one request: three within the deadline of the load.
pub(crate) struct Attempts<'c> {
    context: &'c Context,
    pauses: std::array::IntoIter<Duration, 2>,
}

impl<'c> Attempts<'c> {
    pub(crate) fn new(context: &'c Context) -> Self {
        Self { context, pauses: PAUSES.into_iter() }
    }

    /// Pauses before the next attempt, for at least `retry_after`. Returns false if there is no further attempt: three
    /// were made, or more than half of the remaining time would pass before the next.
    pub(crate) async fn next(&mut self, retry_after: Option<Duration>) -> bool {
        let Some(longest) = self.pauses.next() else { return false };
        let drawn = longest.mul_f64(0.5 + self.context.rng.draw() / 2.0);
        let pause = drawn.max(retry_after.unwrap_or_default());
        if pause * 2 > self.context.deadline.left() {
            return false;
        }
        tokio::time::sleep(pause).await;
        true
    }
}
