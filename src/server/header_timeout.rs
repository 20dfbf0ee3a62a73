//! The header timeout, at a low cost for busy connections.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

/// The header timeout of one connection: the client has a fixed time for each request head.
///
/// The timeout of hyper sets a timer for each head and polls the connection again. That takes a tenth of the time of a
/// request. This timeout stores only the time of the restart. Its timer stays in the runtime until it fires.
pub(crate) struct HeaderTimer {
    limit: Duration,
    started: Instant,
    sleep: Pin<Box<Sleep>>,
}

impl HeaderTimer {
    pub(crate) fn start(limit: Duration) -> Self {
        let started = Instant::now();
        Self { limit, started, sleep: Box::pin(tokio::time::sleep_until(started + limit)) }
    }

    /// Restarts the timeout, because the client may send another request head.
    pub(crate) fn restart(&mut self) {
        self.started = Instant::now();
    }

    /// Returns true if the timer has fired and must be polled.
    pub(crate) fn has_fired(&self) -> bool {
        self.sleep.is_elapsed()
    }

    /// Waits for the end of the timeout. If the timer fires too early because of a restart, this method sets it again.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let deadline = self.started + self.limit;
        while self.sleep.as_mut().poll(cx).is_ready() {
            if self.sleep.deadline() >= deadline {
                return Poll::Ready(());
            }
            self.sleep.as_mut().reset(deadline);
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn timeout_ends_after_the_last_restart() {
        let began = Instant::now();
        let mut timer = HeaderTimer::start(SECOND * 15);
        for at in [10, 20, 31] {
            let ended = tokio::time::timeout_at(began + SECOND * at, poll_fn(|cx| timer.poll(cx))).await;
            assert!(ended.is_err(), "ended before {at} s");
            timer.restart();
        }
        poll_fn(|cx| timer.poll(cx)).await;
        assert_eq!(began.elapsed().as_secs(), 46);
    }

    #[tokio::test(start_paused = true)]
    async fn fired_timer_must_be_polled_and_is_set_again() {
        let mut timer = HeaderTimer::start(SECOND);
        assert!(tokio::time::timeout(SECOND / 2, poll_fn(|cx| timer.poll(cx))).await.is_err());
        assert!(!timer.has_fired());
        timer.restart();
        tokio::time::sleep(SECOND * 2 / 3).await;
        assert!(timer.has_fired());
        assert!(poll_fn(|cx| Poll::Ready(timer.poll(cx))).await.is_pending());
        assert!(!timer.has_fired(), "it waits for the restarted timeout");
    }
}
