//! Connections: accepted, limited, drained.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::answer::Answer;
use super::head_timer::HeadTimer;
use super::protocol::Protocol;

/// A request head has to be complete within this time; it also ends connections that idle.
const HEAD_TIMEOUT: Duration = Duration::from_secs(15);

/// A request head is at most this long, in bytes; a longer one is answered with 431.
const HEAD_LIMIT: usize = 16 * 1024;

/// Requests in flight have this long to end when the daemon stops.
const GRACE: Duration = Duration::from_secs(5);

/// A connection on which no request is being answered has this long to send what it was answered before: half a head
/// must not hold up a stop.
const FLUSH: Duration = Duration::from_millis(500);

/// A pause after the kernel refused a connection, because no file descriptor is left perhaps.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// So many connections that proved nothing are closed, the oldest first, when the kernel refuses another: files have to
/// be read, too.
const RELIEF: usize = 16;

/// The kernel has to refuse nothing for so long before that is news: one that has a descriptor now and then would fill
/// the log.
const CALM: Duration = Duration::from_secs(5);

/// Where connections come from.
pub trait Listener: Send + 'static {
    /// A connection.
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// Where it listens.
    fn address(&self) -> Option<SocketAddr>;

    /// The next connection. Dropping this loses none.
    fn accept(&mut self) -> impl Future<Output = io::Result<Self::Stream>> + Send;
}

impl Listener for TcpListener {
    type Stream = tokio::net::TcpStream;

    fn address(&self) -> Option<SocketAddr> {
        self.local_addr().ok()
    }

    async fn accept(&mut self) -> io::Result<Self::Stream> {
        let (stream, _) = Self::accept(self).await?;
        // Small answers must not wait for an acknowledgement.
        let _ = stream.set_nodelay(true);
        Ok(stream)
    }
}

/// All connections.
#[derive(Debug)]
struct Connections {
    limit: usize,
    open: Mutex<Open>,
    freed: Notify,
}

#[derive(Debug, Default)]
struct Open {
    /// The number of the newest.
    newest: u64,
    /// Oldest first.
    places: BTreeMap<u64, Arc<Place>>,
    /// How many have been told to go and are still there.
    leaving: usize,
}

/// The place of one connection.
#[derive(Debug, Default)]
struct Place {
    admitted: AtomicBool,
    /// Whether a request is being answered.
    busy: AtomicBool,
    /// Told when a request begins.
    begun: Notify,
    /// Set before `evicted` is told.
    must_go: AtomicBool,
    evicted: Notify,
}

/// What a connection is told from outside.
enum Called {
    /// It makes room for another.
    Evicted,
    /// The daemon stops.
    Stop,
}

/// Frees its place when the connection ends, however it does.
struct Seat {
    number: u64,
    place: Arc<Place>,
    connections: Arc<Connections>,
}

/// Nobody accepts connections on one of the addresses any more.
#[derive(Debug, thiserror::Error)]
#[error("a listener ended by itself: {0}; the daemon cannot go on without it")]
pub struct ListenerEnded(#[source] JoinError);

/// Serves until `stop` is cancelled, then lets requests in flight end, for five seconds at most.
///
/// # Errors
/// When a listener panicked.
pub async fn serve<L: Listener>(
    listeners: Vec<L>,
    protocol: Protocol,
    limit: usize,
    stop: CancellationToken,
) -> Result<(), ListenerEnded> {
    let connections = Arc::new(Connections { limit: limit.max(1), open: Mutex::default(), freed: Notify::new() });
    let mut acceptors = JoinSet::new();
    for listener in listeners {
        acceptors.spawn(accept(listener, protocol.clone(), Arc::clone(&connections), stop.clone()));
    }
    while let Some(ended) = acceptors.join_next().await {
        ended.map_err(ListenerEnded)?;
    }
    Ok(())
}

async fn accept<L: Listener>(
    mut listener: L,
    protocol: Protocol,
    connections: Arc<Connections>,
    stop: CancellationToken,
) {
    let mut tasks = JoinSet::new();
    let mut refused: Option<Instant> = None;
    while !stop.is_cancelled() {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            Some(_) = tasks.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        let stream = match accepted {
            Ok(stream) => stream,
            Err(error) if is_of_one_connection(&error) => continue,
            Err(error) => {
                connections.relieve();
                if refused.replace(Instant::now()).is_none() {
                    tracing::error!(%error, "cannot accept connections; those of clients are served on, the others are closed");
                }
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        if refused.take_if(|last| last.elapsed() > CALM).is_some() {
            tracing::info!("connections are accepted again");
        }
        let seat = tokio::select! {
            () = stop.cancelled() => break,
            seat = connections.seat() => seat,
        };
        tasks.spawn(speak(stream, protocol.clone(), seat, stop.clone()));
    }
    drop(listener);
    let drained = async { while tasks.join_next().await.is_some() {} };
    if tokio::time::timeout(GRACE, drained).await.is_err() {
        tracing::warn!("requests were still in flight after {} s and are cut off", GRACE.as_secs());
    }
}

/// Whether an error of `accept` is about the connection that would have come, not about us (see accept(2)).
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted)
}

/// HTTP as every connection speaks it.
#[must_use]
pub fn builder() -> http1::Builder {
    let mut http = http1::Builder::new();
    http.timer(HeadTimer::default()).header_read_timeout(HEAD_TIMEOUT).max_buf_size(HEAD_LIMIT);
    http
}

/// One connection from its first byte to its last.
async fn speak<S>(stream: S, protocol: Protocol, seat: Seat, stop: CancellationToken)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let place = Arc::clone(&seat.place);
    let service = service_fn(move |request: http::Request<Incoming>| {
        place.begun.notify_one();
        let answer = protocol.answer(request, || place.admitted.store(true, Ordering::Relaxed));
        let busy = matches!(answer, Answer::Later(_)).then(|| Busy::new(&place));
        async move {
            let _busy = busy;
            answer.wait().await
        }
    });
    let connection = builder().serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let called = async {
        tokio::select! {
            () = seat.place.evicted.notified() => Called::Evicted,
            () = stop.cancelled() => Called::Stop,
        }
    };
    let mut called = std::pin::pin!(called);
    let mut listening: Option<Waker> = None;
    let ended = poll_fn(|cx| {
        if let Poll::Ready(ended) = connection.as_mut().poll(cx) {
            return Poll::Ready(Err(ended));
        }
        // Whoever calls wakes this task, so that once is enough: asking each time costs as much as the door.
        if listening.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) && !seat.place.is_called(&stop) {
            return Poll::Pending;
        }
        listening = Some(cx.waker().clone());
        called.as_mut().poll(cx).map(Ok)
    });
    let ended = match ended.await {
        Err(ended) => ended,
        Ok(Called::Evicted) => {
            tracing::debug!("closed the oldest connection that proved nothing, to make room");
            return;
        }
        Ok(Called::Stop) => {
            // hyper would close at once what has not been read from yet. Whoever connected a moment ago is about to ask,
            // and his first request cannot be sent again without asking him.
            let first = tokio::time::timeout(FLUSH, seat.place.begun.notified());
            tokio::select! {
                biased;
                ended = connection.as_mut() => return told(ended),
                begun = first => if begun.is_err() {
                    return;
                }
            }
            connection.as_mut().graceful_shutdown();
            if seat.place.busy.load(Ordering::Relaxed) {
                connection.await
            } else {
                tokio::time::timeout(FLUSH, connection).await.unwrap_or(Ok(()))
            }
        }
    };
    told(ended);
}

fn told(ended: hyper::Result<()>) {
    if let Err(error) = ended {
        tracing::debug!(%error, "connection ended");
    }
}

impl Connections {
    /// A seat for a new connection. When all are taken the oldest one that has not been admitted has to go; when all
    /// have been, the new one waits.
    async fn seat(self: &Arc<Self>) -> Seat {
        loop {
            let freed = self.freed.notified();
            if let Some(seat) = self.try_seat() {
                return seat;
            }
            freed.await;
        }
    }

    fn try_seat(self: &Arc<Self>) -> Option<Seat> {
        let mut open = self.open();
        if open.places.len() + open.leaving >= self.limit {
            if open.leaving == 0 {
                open.evict();
            }
            return None;
        }
        open.newest += 1;
        let (number, place) = (open.newest, Arc::<Place>::default());
        open.places.insert(number, Arc::clone(&place));
        Some(Seat { number, place, connections: Arc::clone(self) })
    }

    /// Makes room for more than one.
    fn relieve(&self) {
        let mut open = self.open();
        for _ in open.leaving..RELIEF {
            open.evict();
        }
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Open {
    /// Tells the oldest connection that has not been admitted to go, if there is one.
    fn evict(&mut self) {
        let mut places = self.places.iter();
        let oldest = places.find(|(_, place)| !place.admitted.load(Ordering::Relaxed)).map(|(number, _)| *number);
        if let Some(place) = oldest.and_then(|number| self.places.remove(&number)) {
            self.leaving += 1;
            place.must_go.store(true, Ordering::Release);
            place.evicted.notify_one();
        }
    }
}

impl Place {
    /// Whether there is something to tell the connection.
    fn is_called(&self, stop: &CancellationToken) -> bool {
        self.must_go.load(Ordering::Acquire) || stop.is_cancelled()
    }
}

/// While it lives, a request is being answered.
struct Busy(Arc<Place>);

impl Busy {
    fn new(place: &Arc<Place>) -> Self {
        place.busy.store(true, Ordering::Relaxed);
        Self(Arc::clone(place))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.busy.store(false, Ordering::Relaxed);
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut open = self.connections.open();
        if open.places.remove(&self.number).is_none() {
            open.leaving -= 1;
        }
        drop(open);
        self.connections.freed.notify_waiters();
    }
}
