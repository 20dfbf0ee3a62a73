//! Connections: accepted, limited, drained.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Poll, Waker};
use std::time::Duration;

use http::HeaderValue;
use http::header::CONNECTION;
use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::server::connection_limit::{BusyGuard, ConnectionLimit, ConnectionSlot};
use crate::server::header_timeout::HeaderTimer;
use crate::server::protocol::Protocol;
use crate::server::response::AnswerFuture;

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

/// The kernel has to refuse nothing for so long before that is news: one that has a descriptor now and then would fill
/// the log.
const CALM: Duration = Duration::from_secs(5);

/// Where connections come from.
pub(crate) trait Listener: Send + 'static {
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

/// What a connection is told from outside.
enum ConnectionSignal {
    /// It makes room for another.
    Evicted,
    /// The daemon stops.
    Stop,
}

/// Nobody accepts connections on one of the addresses any more.
#[derive(Debug, thiserror::Error)]
#[error("a listener ended by itself: {0}; the daemon cannot go on without it")]
pub(crate) struct ListenerEnded(#[source] JoinError);

/// Serves until `stop` is cancelled, then lets requests in flight end, for five seconds at most.
///
/// # Errors
/// When a listener panicked.
pub(crate) async fn serve<L: Listener>(
    listeners: Vec<L>,
    protocol: Protocol,
    limit: usize,
    stop: CancellationToken,
) -> Result<(), ListenerEnded> {
    let connection_limit = Arc::new(ConnectionLimit::new(limit));
    let mut acceptors = JoinSet::new();
    for listener in listeners {
        acceptors.spawn(accept(listener, protocol.clone(), Arc::clone(&connection_limit), stop.clone()));
    }
    while let Some(ended) = acceptors.join_next().await {
        ended.map_err(ListenerEnded)?;
    }
    Ok(())
}

async fn accept<L: Listener>(
    mut listener: L,
    protocol: Protocol,
    connection_limit: Arc<ConnectionLimit>,
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
                connection_limit.relieve();
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
        let connection_slot = tokio::select! {
            () = stop.cancelled() => break,
            connection_slot = connection_limit.connection_slot() => connection_slot,
        };
        tasks.spawn(speak(stream, protocol.clone(), connection_slot, stop.clone()));
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
pub(crate) fn builder() -> http1::Builder {
    let mut http = http1::Builder::new();
    http.timer(HeaderTimer::default()).header_read_timeout(HEAD_TIMEOUT).max_buf_size(HEAD_LIMIT);
    http
}

/// One connection from its first byte to its last.
async fn speak<S>(stream: S, protocol: Protocol, connection_slot: ConnectionSlot, stop: CancellationToken)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let place = Arc::clone(&connection_slot.place);
    let service = service_fn(move |request: http::Request<Incoming>| {
        place.begun.notify_one();
        let has_body = !request.body().is_end_stream();
        let answer = protocol.answer(request, || place.authorized.store(true, Ordering::Relaxed));
        let busy = matches!(answer, AnswerFuture::Later(_)).then(|| BusyGuard::new(&place));
        async move {
            let _busy = busy;
            let mut answered = answer.wait().await;
            // Nobody has read it, and no client sends one: nothing more is taken from who did.
            if has_body && let Ok(response) = &mut answered {
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            answered
        }
    });
    let connection = builder().serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let called = async {
        tokio::select! {
            () = connection_slot.place.evicted.notified() => ConnectionSignal::Evicted,
            () = stop.cancelled() => ConnectionSignal::Stop,
        }
    };
    let mut called = std::pin::pin!(called);
    let mut listening: Option<Waker> = None;
    let ended = poll_fn(|cx| {
        if let Poll::Ready(ended) = connection.as_mut().poll(cx) {
            return Poll::Ready(Err(ended));
        }
        // Whoever calls wakes this task, so that once is enough: asking each time costs as much as the door.
        if listening.as_ref().is_some_and(|waker| waker.will_wake(cx.waker()))
            && !(connection_slot.place.must_go() || stop.is_cancelled())
        {
            return Poll::Pending;
        }
        listening = Some(cx.waker().clone());
        called.as_mut().poll(cx).map(Ok)
    });
    let ended = match ended.await {
        Err(ended) => ended,
        Ok(ConnectionSignal::Evicted) => {
            tracing::debug!("closed the oldest connection that proved nothing, to make room");
            return;
        }
        Ok(ConnectionSignal::Stop) => {
            // hyper would close at once what has not been read from yet. Whoever connected a moment ago is about to ask,
            // and his first request cannot be sent again without asking him.
            let first = tokio::time::timeout(FLUSH, connection_slot.place.begun.notified());
            tokio::select! {
                biased;
                ended = connection.as_mut() => return told(ended),
                begun = first => if begun.is_err() {
                    return;
                }
            }
            connection.as_mut().graceful_shutdown();
            if connection_slot.place.busy.load(Ordering::Relaxed) {
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
