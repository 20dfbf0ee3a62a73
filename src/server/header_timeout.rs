//! The time-out of request heads, cheap for connections that are busy.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Instant;

use hyper::rt::{Sleep, Timer};

/// The timer of one connection.
///
/// hyper sets a deadline for each head and drops it when the head has come. Telling the runtime of both would cost more
/// than the door; here it knows of one deadline that is never later than the latest of hyper's, and moves it on only when
/// it has passed.
#[derive(Clone, Default)]
pub(crate) struct HeaderTimer(Arc<RunningSleep>);

type RunningSleep = Mutex<Option<Pin<Box<tokio::time::Sleep>>>>;

struct HeaderSleep {
    running: Arc<RunningSleep>,
    deadline: Instant,
}

impl Timer for HeaderTimer {
    fn sleep(&self, duration: std::time::Duration) -> Pin<Box<dyn Sleep>> {
        self.sleep_until(self.now() + duration)
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn Sleep>> {
        Box::pin(HeaderSleep { running: Arc::clone(&self.0), deadline })
    }

    fn now(&self) -> Instant {
        tokio::time::Instant::now().into_std()
    }

    fn reset(&self, sleep: &mut Pin<Box<dyn Sleep>>, deadline: Instant) {
        *sleep = self.sleep_until(deadline);
    }
}

impl Sleep for HeaderSleep {}

impl Future for HeaderSleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let deadline = tokio::time::Instant::from_std(self.deadline);
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let running = running.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        if running.deadline() > deadline {
            running.as_mut().reset(deadline);
        }
        while running.as_mut().poll(cx).is_ready() {
            if running.deadline() >= deadline {
                return Poll::Ready(());
            }
            running.as_mut().reset(deadline);
        }
        Poll::Pending
    }
}

impl fmt::Debug for HeaderTimer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HeadTimer")
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn each_deadline_holds_whatever_was_set_before() {
        let timer = HeaderTimer::default();
        let began = tokio::time::Instant::now();
        let after = async |sleep: Pin<Box<dyn Sleep>>| {
            sleep.await;
            began.elapsed().as_secs()
        };
        // Given up like those of heads that came in time, the first one leaves its deadline with the runtime.
        let mut given_up = timer.sleep(SECOND * 15);
        assert!(tokio::time::timeout(SECOND, given_up.as_mut()).await.is_err());
        drop(given_up);
        assert_eq!(after(timer.sleep(SECOND * 15)).await, 16);
        assert_eq!(after(timer.sleep(SECOND * 15)).await, 31);
        let mut later = timer.sleep(SECOND * 60);
        assert!(tokio::time::timeout(SECOND, later.as_mut()).await.is_err());
        assert_eq!(after(timer.sleep(SECOND * 2)).await, 34, "an earlier one than before");
        timer.reset(&mut later, timer.now() + SECOND * 6);
        assert_eq!(after(later).await, 40);
    }
}
