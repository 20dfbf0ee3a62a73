//! Accepts connections, limits them, and drains them when the daemon stops.

use std::future::{poll_fn, ready};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Poll, Waker};
use std::time::Duration;

use http::HeaderValue;
use http::header::CONNECTION;
use hyper::body::{Body, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;
use tokio_util::either::Either;
use tokio_util::sync::CancellationToken;

use crate::os::peer::ConnectionEnds;
use crate::server::access::Refusal;
use crate::server::burst::Burst;
use crate::server::connection_limit::{BusyGuard, ConnectionLimit, ConnectionSlot, Peer};
use crate::server::header_timeout::HeaderTimer;
use crate::server::origin::RequestOrigin;
use crate::server::parser_refusal::{self, ParserFilter};
use crate::server::protocol::Protocol;
use crate::server::response::{AnswerFuture, HttpAnswer};

/// The header timeout: the longest time for a request head. It also closes idle connections.
const HEADER_TIMEOUT: Duration = Duration::from_secs(15);

/// The time for requests in flight to end when the daemon stops.
const GRACE_PERIOD: Duration = Duration::from_secs(5);

/// The time for a connection without a request in flight to flush its last response when the daemon stops. It is short,
/// so that an incomplete request head does not delay the stop.
const FLUSH: Duration = Duration::from_millis(500);

/// The pause after the kernel refused a connection, for example because no file descriptor is left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The time without a refusal after which recovery is logged. Without it a host that is short of descriptors would fill
/// the log.
const RECOVERED_AFTER: Duration = Duration::from_secs(5);

/// A listener of the daemon.
pub(crate) trait Listener: Send + 'static {
    /// Returns the address of the listener, if it has one.
    fn listening_on(&self) -> Option<SocketAddr>;

    /// Serves its connections until `stop` is cancelled.
    fn serve(
        self,
        protocol: Protocol,
        limit: Arc<ConnectionLimit>,
        stop: CancellationToken,
    ) -> impl Future<Output = ()> + Send;
}

/// A source of connections of one kind. Each kind has code of its own for its connections: one stream for both kinds
/// would add a branch to each read and write.
pub(crate) trait StreamListener: Send + 'static {
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// Returns the address of the listener, if it has one.
    fn address(&self) -> Option<SocketAddr>;

    /// Returns the address or the path of the listener, for the audit log.
    fn name(&self) -> Option<Arc<str>> {
        self.address().map(|address| address.to_string().into())
    }

    /// Accepts the next connection. Dropping the future loses no connection.
    fn accept(&mut self) -> impl Future<Output = io::Result<(Self::Stream, Peer)>> + Send;
}

impl<L: StreamListener> Listener for L {
    fn listening_on(&self) -> Option<SocketAddr> {
        self.address()
    }

    async fn serve(self, protocol: Protocol, limit: Arc<ConnectionLimit>, stop: CancellationToken) {
        accept(self, protocol, limit, stop).await;
    }
}

impl StreamListener for TcpListener {
    type Stream = tokio::net::TcpStream;

    fn address(&self) -> Option<SocketAddr> {
        self.local_addr().ok()
    }

    async fn accept(&mut self) -> io::Result<(Self::Stream, Peer)> {
        let (stream, client) = Self::accept(self).await?;
        let ends = stream.local_addr().ok().map(|ours| ConnectionEnds { client, ours });
        Ok((stream, Peer::at(ends)))
    }
}

/// The reason why the server ends a connection.
enum ConnectionSignal {
    /// Another connection needs the slot.
    Evicted,
    /// The client sent no request head in time.
    HeaderTimeout,
    /// The daemon stops.
    Stop,
}

/// A listener ended by itself. Its address accepts no connections any more.
#[derive(Debug, thiserror::Error)]
#[error("a listener ended: {0}; the daemon stops, because clients cannot reach it")]
pub(crate) struct ListenerEnded(#[source] JoinError);

/// Serves until `stop` is cancelled. Requests in flight then have [`GRACE_PERIOD`] to end.
///
/// # Errors
/// If a listener panicked.
pub(crate) async fn serve<L: Listener>(
    listeners: Vec<L>,
    protocol: Protocol,
    max_connections: usize,
    stop: CancellationToken,
) -> Result<(), ListenerEnded> {
    let limit = Arc::new(ConnectionLimit::new(max_connections));
    let mut acceptors = JoinSet::new();
    for listener in listeners {
        acceptors.spawn(listener.serve(protocol.clone(), Arc::clone(&limit), stop.clone()));
    }
    while let Some(ended) = acceptors.join_next().await {
        ended.map_err(ListenerEnded)?;
    }
    Ok(())
}

async fn accept<L: StreamListener>(
    mut listener: L,
    protocol: Protocol,
    limit: Arc<ConnectionLimit>,
    stop: CancellationToken,
) {
    let mut tasks = JoinSet::new();
    let mut refused: Option<Instant> = None;
    let mut burst = Burst::new();
    let name = listener.name();
    while !stop.is_cancelled() {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            Some(_) = tasks.join_next() => continue,
            accepted = listener.accept(), if !burst.is_turn_over() => accepted,
            // No connection waits, or many came: the open ones have their turn.
            () = tokio::task::yield_now(), if burst.has_begun() => {
                burst.end_turn();
                continue;
            }
        };
        let (stream, mut peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) if concerns_one_connection(&error) => continue,
            Err(error) => {
                limit.evict_several();
                if refused.replace(Instant::now()).is_none() {
                    tracing::error!(%error, "cannot accept connections; the oldest unauthorized connections are closed to free file descriptors; raise the limit of open files");
                }
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        if refused.take_if(|last| last.elapsed() > RECOVERED_AFTER).is_some() {
            tracing::info!("connections are accepted again");
        }
        if !burst.admits(|| limit.holder(&mut peer)) {
            continue;
        }
        let peer_user = limit.proven_user(&mut peer, protocol.wants_peer_users());
        let origin = peer.origin(peer_user, name.clone());
        let slot = tokio::select! {
            () = stop.cancelled() => break,
            slot = limit.take_slot(peer) => slot,
        };
        if let Some(slot) = slot {
            tasks.spawn(serve_connection(stream, origin, protocol.clone(), slot, stop.clone()));
        }
    }
    drop(listener);
    let drained = async { while tasks.join_next().await.is_some() {} };
    if tokio::time::timeout(GRACE_PERIOD, drained).await.is_err() {
        tracing::warn!("requests are aborted: they were still in flight {} s after the stop", GRACE_PERIOD.as_secs());
    }
}

/// Returns true if an error of `accept` is about the incoming connection, not about the listener (see accept(2)).
fn concerns_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted)
}

/// Serves one connection until it is closed.
async fn serve_connection<S>(
    stream: S,
    origin: RequestOrigin,
    protocol: Protocol,
    slot: ConnectionSlot,
    stop: CancellationToken,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (open, error_form) = (Arc::clone(&slot.open), protocol.error_form());
    let unreadable = protocol.answer_log().is_on().then(|| (protocol.answer_log().clone(), origin.clone()));
    let service = service_fn(move |request: http::Request<Incoming>| {
        open.begun.store(true, Ordering::Relaxed);
        let has_body = !request.body().is_end_stream();
        // A second request in one turn of this task is pipelined. The other connections have their turn first.
        let is_pipelined = open.answered.load(Ordering::Relaxed);
        let answer = protocol.answer(request, &origin, |client| open.authorize(client));
        // No handler reads bodies, and no SDK sends one. A connection that has proved nothing gets one answer.
        let closes = has_body || !open.is_authorized();
        match answer {
            AnswerFuture::Now(mut response) if !is_pipelined => {
                open.answered.store(true, Ordering::Relaxed);
                close_if(closes, &mut response);
                Either::Left(ready(response))
            }
            answer => {
                let open = Arc::clone(&open);
                let busy = matches!(answer, AnswerFuture::Later(_)).then(|| BusyGuard::new(&open));
                Either::Right(async move {
                    let _busy = busy;
                    if is_pipelined {
                        tokio::task::yield_now().await;
                    }
                    let mut response = answer.wait().await;
                    open.answered.store(true, Ordering::Relaxed);
                    close_if(closes, &mut response);
                    response
                })
            }
        }
    });
    let mut connection = parser_refusal::builder().serve_connection(TokioIo::new(ParserFilter::new(stream)), service);
    let signal = async {
        tokio::select! {
            () = slot.open.evicted.notified() => ConnectionSignal::Evicted,
            () = stop.cancelled() => ConnectionSignal::Stop,
        }
    };
    let mut signal = std::pin::pin!(signal);
    let mut timer = HeaderTimer::start(HEADER_TIMEOUT);
    let mut registered: Option<Waker> = None;
    let ended = poll_fn(|cx| {
        if let Poll::Ready(ended) = Pin::new(&mut connection).poll(cx) {
            return Poll::Ready(Err(ended));
        }
        if slot.open.answered.swap(false, Ordering::Relaxed) {
            timer.restart();
        }
        // Skip the polls of eviction, stop and timer if they are already registered to wake this task. Polls at each
        // request would cost as much as access control.
        if registered.as_ref().is_some_and(|waker| waker.will_wake(cx.waker()))
            && !(timer.has_fired() || slot.open.is_evicted() || stop.is_cancelled())
        {
            return Poll::Pending;
        }
        registered = Some(cx.waker().clone());
        while timer.poll(cx).is_ready() {
            if !slot.open.busy.load(Ordering::Relaxed) {
                return Poll::Ready(Ok(ConnectionSignal::HeaderTimeout));
            }
            timer.restart();
        }
        signal.as_mut().poll(cx).map(Ok)
    });
    let (stream, refusal) = match ended.await {
        Err(Ok(())) => return,
        Err(Err(error)) => {
            tracing::debug!(%error, "connection ended");
            let begun = slot.open.begun.load(Ordering::Relaxed);
            connection.into_parts().io.into_inner().end(&error, begun)
        }
        Ok(ConnectionSignal::Evicted) => {
            tracing::debug!("closed a connection of the holder with most connections to free its slot");
            return;
        }
        Ok(ConnectionSignal::HeaderTimeout) => {
            tracing::debug!("closed a connection: no request head within {} s", HEADER_TIMEOUT.as_secs());
            let parts = connection.into_parts();
            // A client that has sent nothing waits for no answer.
            let refusal = (!parts.read_buf.is_empty()).then_some(Refusal::HeadTooLate);
            (parts.io.into_inner().into_inner(), refusal)
        }
        Ok(ConnectionSignal::Stop) => {
            // Wait for the first request of a new connection: the client is about to send it, and may not retry. A
            // graceful shutdown by hyper would close a connection without a request at once.
            let first = poll_fn(|cx| match Pin::new(&mut connection).poll(cx) {
                Poll::Ready(ended) => Poll::Ready(Some(ended)),
                Poll::Pending if slot.open.begun.load(Ordering::Relaxed) => Poll::Ready(None),
                Poll::Pending => Poll::Pending,
            });
            match tokio::time::timeout(FLUSH, first).await {
                Ok(Some(ended)) => return log_end(ended),
                Ok(None) => {}
                Err(_) => return,
            }
            Pin::new(&mut connection).graceful_shutdown();
            return log_end(if slot.open.busy.load(Ordering::Relaxed) {
                connection.await
            } else {
                tokio::time::timeout(FLUSH, connection).await.unwrap_or(Ok(()))
            });
        }
    };
    if let Some(refusal) = refusal {
        if let Some((log, origin)) = unreadable {
            log.record_error(&origin, None, None, &refusal.into());
        }
        let answered = parser_refusal::answer(stream, || error_form.refuse(refusal));
        tokio::select! {
            _ = signal => {}
            _ = tokio::time::timeout(FLUSH, answered) => {}
        }
    }
}

fn close_if(closes: bool, response: &mut HttpAnswer) {
    if closes && let Ok(response) = response {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
}

fn log_end(ended: hyper::Result<()>) {
    if let Err(error) = ended {
        tracing::debug!(%error, "connection ended");
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::atomic::AtomicUsize;
    use std::time::SystemTime;

    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
    use tokio::sync::{mpsc, watch};

    use super::*;
    use crate::lease::registry::LeaseRegistry;
    use crate::model::secret::Secret;
    use crate::os::clock::Clock;
    use crate::server::access::AllowedHosts;
    use crate::server::answer_log::AnswerLog;
    use crate::server::clients::{Client, Clients};
    use crate::server::lookup::LeaseLookup;
    use crate::server::routes::{RouteState, Routes};

    /// A token that no client shows by chance.
    const TOKEN: &str = "0123456789abcdef0123456789abcdef";

    /// A protocol without identities.
    fn protocol() -> Protocol {
        let registry = LeaseRegistry {
            handles: watch::Sender::default().subscribe(),
            config_error: watch::Sender::default().subscribe(),
            known_profiles: watch::Sender::default().subscribe(),
            profile_demand: mpsc::channel(1).0,
        };
        let leases = LeaseLookup { registry, clock: Clock::system(), stopping: CancellationToken::new() };
        let clients = Clients::fixed([(Secret::from(TOKEN), Client::of_all("client"))]);
        let hosts = AllowedHosts::default();
        Protocol::Container(Routes::new(Arc::new(RouteState {
            leases,
            clients,
            hosts,
            started: SystemTime::UNIX_EPOCH,
            log: AnswerLog::default(),
        })))
    }

    /// A listener with connections that all wait already. It counts the accepted ones.
    struct Waiting(VecDeque<(DuplexStream, Option<ConnectionEnds>)>, Arc<AtomicUsize>);

    impl StreamListener for Waiting {
        type Stream = DuplexStream;

        fn address(&self) -> Option<SocketAddr> {
            None
        }

        async fn accept(&mut self) -> io::Result<(DuplexStream, Peer)> {
            let Some((stream, ends)) = self.0.pop_front() else { return std::future::pending().await };
            self.1.fetch_add(1, Ordering::Relaxed);
            Ok((stream, Peer::at(ends)))
        }
    }

    /// Returns both ends of a connection with so many requests on it.
    async fn requested(requests: usize) -> (DuplexStream, DuplexStream) {
        let (mut client, server) = duplex(1 << 15);
        let request = format!("GET /healthz HTTP/1.1\r\nHost: localhost\r\nAuthorization: {TOKEN}\r\n\r\n");
        client.write_all(request.repeat(requests).as_bytes()).await.unwrap();
        (client, server)
    }

    /// Returns the number of answers in one read.
    async fn answers(client: &mut DuplexStream) -> usize {
        let mut bytes = vec![0; 1 << 16];
        let length = client.read(&mut bytes).await.unwrap_or(0);
        String::from_utf8_lossy(&bytes[..length]).matches("HTTP/1.1 200").count()
    }

    #[tokio::test(start_paused = true)]
    async fn pipelined_requests_leave_others_their_turn() {
        let limit = Arc::new(ConnectionLimit::new(2));
        let (mut greedy, first) = requested(100).await;
        let (mut modest, second) = requested(1).await;
        let mut serving = JoinSet::new();
        for server in [first, second] {
            let slot = limit.take_slot(Peer::at(None)).await.unwrap();
            serving.spawn(serve_connection(
                server,
                RequestOrigin::default(),
                protocol(),
                slot,
                CancellationToken::new(),
            ));
        }
        assert_eq!(answers(&mut modest).await, 1);
        let before = answers(&mut greedy).await;
        assert!(before <= 3, "{before} answers came before that of the other connection");
        serving.shutdown().await;
    }

    #[tokio::test(start_paused = true)]
    async fn flood_of_connections_leaves_open_ones_their_turn() {
        let (mut client, server) = requested(1).await;
        let flood = (0..1000).map(|_| (duplex(1).1, None));
        let accepted = Arc::<AtomicUsize>::default();
        let listener = Waiting([(server, None)].into_iter().chain(flood).collect(), Arc::clone(&accepted));
        let mut serving = JoinSet::new();
        let limit = Arc::new(ConnectionLimit::new(2000));
        serving.spawn(accept(listener, protocol(), limit, CancellationToken::new()));
        assert_eq!(answers(&mut client).await, 1);
        let accepted = accepted.load(Ordering::Relaxed);
        assert!(accepted <= 200, "{accepted} connections were accepted before the first was answered");
        serving.shutdown().await;
    }

    #[tokio::test(start_paused = true)]
    async fn flood_of_one_host_is_closed_beside_another_host() {
        let ours = "192.0.2.9:1".parse().unwrap();
        let from =
            |host: u8| Some(ConnectionEnds { client: (std::net::Ipv4Addr::new(192, 0, 2, host), 1).into(), ours });
        let (mut clients, mut waiting) = (Vec::new(), VecDeque::new());
        for number in 0..2002 {
            let (client, server) = requested(1).await;
            clients.push(client);
            waiting.push_back((server, from(if number == 1000 { 2 } else { 1 })));
        }
        let (limit, stop) = (Arc::new(ConnectionLimit::new(3000)), CancellationToken::new());
        let mut serving = JoinSet::new();
        serving.spawn(accept(Waiting(waiting, Arc::default()), protocol(), limit, stop));
        let mut answered = Vec::new();
        for client in &mut clients {
            answered.push(answers(client).await == 1);
        }
        assert!(answered[..256].iter().all(|is_answered| *is_answered), "a burst begins with no limit");
        assert!(answered[1000], "the other host is served");
        assert!(!answered[2001] && answered.iter().filter(|is_answered| **is_answered).count() < 1500);
        serving.shutdown().await;
    }

    #[tokio::test(start_paused = true)]
    #[allow(clippy::disallowed_methods, reason = "awaited below")]
    async fn closes_connection_when_request_head_is_late() {
        let (mut client, server) = tokio::io::duplex(4096);
        let slot = Arc::new(ConnectionLimit::new(1)).take_slot(Peer::at(None)).await.unwrap();
        let began = Instant::now();
        let serving = tokio::spawn(serve_connection(
            server,
            RequestOrigin::default(),
            protocol(),
            slot,
            CancellationToken::new(),
        ));
        for (path, status) in [("/nothing", "404"), ("/healthz", "200")] {
            tokio::time::sleep(Duration::from_secs(10)).await;
            let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: {TOKEN}\r\n\r\n");
            client.write_all(request.as_bytes()).await.unwrap();
            let mut response = vec![0; 4096];
            let length = client.read(&mut response).await.unwrap();
            let response = String::from_utf8_lossy(&response[..length]).into_owned();
            assert!(response.starts_with(&format!("HTTP/1.1 {status} ")), "{response}");
        }
        client.write_all(b"GET /healthz HTTP/1.1\r\nHost: ").await.unwrap();
        let mut late = String::new();
        client.read_to_string(&mut late).await.unwrap();
        assert_eq!(began.elapsed().as_secs(), 35);
        assert!(late.starts_with("HTTP/1.1 408 ") && late.contains("RequestTimeout"), "{late}");
        drop(client);
        serving.await.unwrap();
    }
}
