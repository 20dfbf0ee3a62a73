//! Connections: accepted, limited, drained.

use std::future::{poll_fn, ready};
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
use tokio_util::either::Either;
use tokio_util::sync::CancellationToken;

use crate::server::connection_limit::{BusyGuard, ConnectionLimit, ConnectionSlot};
use crate::server::header_timeout::HeaderTimer;
use crate::server::protocol::Protocol;
use crate::server::response::{AnswerFuture, HttpAnswer};

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
    /// Its client sent no request head in time.
    Late,
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
    // The header timeout is ours: see `HeaderTimer`.
    http.header_read_timeout(None).max_buf_size(HEAD_LIMIT);
    http
}

/// One connection from its first byte to its last.
async fn speak<S>(stream: S, protocol: Protocol, connection_slot: ConnectionSlot, stop: CancellationToken)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let place = Arc::clone(&connection_slot.place);
    let service = service_fn(move |request: http::Request<Incoming>| {
        place.begun.store(true, Ordering::Relaxed);
        let has_body = !request.body().is_end_stream();
        match protocol.answer(request, || place.authorized.store(true, Ordering::Relaxed)) {
            AnswerFuture::Now(mut answered) => {
                place.answered.store(true, Ordering::Relaxed);
                close_after_body(&mut answered, has_body);
                Either::Left(ready(answered))
            }
            AnswerFuture::Later(answered) => {
                let busy = BusyGuard::new(&place);
                Either::Right(async move {
                    let _busy = busy;
                    let mut answered = answered.await;
                    close_after_body(&mut answered, has_body);
                    answered
                })
            }
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
    let mut head = HeaderTimer::start(HEAD_TIMEOUT);
    let mut listening: Option<Waker> = None;
    let ended = poll_fn(|cx| {
        if let Poll::Ready(ended) = connection.as_mut().poll(cx) {
            return Poll::Ready(Err(ended));
        }
        if connection_slot.place.answered.swap(false, Ordering::Relaxed) {
            head.restart();
        }
        // Eviction, stop and timer wake this task, so that one poll of them is enough: another for each request costs as
        // much as access control.
        if listening.as_ref().is_some_and(|waker| waker.will_wake(cx.waker()))
            && !(head.has_fired() || connection_slot.place.must_go() || stop.is_cancelled())
        {
            return Poll::Pending;
        }
        listening = Some(cx.waker().clone());
        while head.poll(cx).is_ready() {
            if !connection_slot.place.busy.load(Ordering::Relaxed) {
                return Poll::Ready(Ok(ConnectionSignal::Late));
            }
            head.restart();
        }
        called.as_mut().poll(cx).map(Ok)
    });
    let ended = match ended.await {
        Err(ended) => ended,
        Ok(ConnectionSignal::Evicted) => {
            tracing::debug!("closed the oldest connection that proved nothing, to make room");
            return;
        }
        Ok(ConnectionSignal::Late) => {
            tracing::debug!("closed a connection: no request head within {} s", HEAD_TIMEOUT.as_secs());
            return;
        }
        Ok(ConnectionSignal::Stop) => {
            // hyper would close at once what has not been read from yet. Whoever connected a moment ago is about to ask,
            // and his first request cannot be sent again without asking him.
            let first = poll_fn(|cx| match connection.as_mut().poll(cx) {
                Poll::Ready(ended) => Poll::Ready(Some(ended)),
                Poll::Pending if connection_slot.place.begun.load(Ordering::Relaxed) => Poll::Ready(None),
                Poll::Pending => Poll::Pending,
            });
            match tokio::time::timeout(FLUSH, first).await {
                Ok(Some(ended)) => return told(ended),
                Ok(None) => {}
                Err(_) => return,
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

/// Closes the connection after a request with a body. No handler reads bodies, and no SDK sends one.
fn close_after_body(answered: &mut HttpAnswer, has_body: bool) {
    if has_body && let Ok(response) = answered {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
}

fn told(ended: hyper::Result<()>) {
    if let Err(error) = ended {
        tracing::debug!(%error, "connection ended");
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::sync::{mpsc, watch};

    use super::*;
    use crate::lease::registry::LeaseRegistry;
    use crate::os::clock::Clock;
    use crate::server::access::{AllowedHosts, Clients};
    use crate::server::lookup::LeaseLookup;
    use crate::server::routes::{RouteState, Routes};

    /// A broker without identities and clients.
    fn protocol() -> Protocol {
        let registry = LeaseRegistry {
            live: watch::Sender::default().subscribe(),
            refused: watch::Sender::default().subscribe(),
            known: watch::Sender::default().subscribe(),
            demand: mpsc::channel(1).0,
        };
        let leases = LeaseLookup { registry, clock: Clock::system(), stopping: CancellationToken::new() };
        let (clients, hosts, started) = (Clients::new([]), AllowedHosts::default(), SystemTime::UNIX_EPOCH);
        Protocol::Container(Routes::new(Arc::new(RouteState { leases, clients, hosts, started })))
    }

    #[tokio::test(start_paused = true)]
    async fn closes_a_connection_whose_head_is_late() {
        let (mut client, server) = tokio::io::duplex(4096);
        let slot = Arc::new(ConnectionLimit::new(1)).connection_slot().await;
        let began = Instant::now();
        let speaking = tokio::spawn(speak(server, protocol(), slot, CancellationToken::new()));
        // One is answered at once, the other by the router.
        for (path, status) in [("/status", "401"), ("/healthz", "200")] {
            tokio::time::sleep(Duration::from_secs(10)).await;
            let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
            client.write_all(request.as_bytes()).await.unwrap();
            let mut answer = vec![0; 4096];
            let length = client.read(&mut answer).await.unwrap();
            let answer = String::from_utf8_lossy(&answer[..length]).into_owned();
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
        }
        client.write_all(b"GET /healthz HTTP/1.1\r\nHost: ").await.unwrap();
        speaking.await.unwrap();
        assert_eq!(began.elapsed().as_secs(), 35);
        assert_eq!(client.read(&mut [0]).await.unwrap(), 0);
    }
}
