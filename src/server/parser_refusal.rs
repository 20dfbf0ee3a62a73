//! The answers to requests that hyper's parser refuses. hyper answers them with a bare status; here they get the body of
//! every other error.

use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::StatusCode;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use crate::server::access::Refusal;
use crate::server::response::HttpAnswer;

/// The maximum size of a request head, in bytes; a longer head is answered with 431.
const MAX_HEAD: usize = 16 * 1024;

/// The offset of the status in a response.
const STATUS: usize = "HTTP/1.1 ".len();

/// The bytes that are read after an answer, so that the kernel does not reset the connection before the client has read
/// the answer. A client that sends more has no interest in it.
const MAX_UNREAD: u64 = 256 * 1024;

/// The reads after which a request without an end is read at intervals: nearly every request needs one. Each further
/// read would parse the whole head again.
const MANY_READS: u8 = 4;

/// The interval of these reads.
const PAUSE: Duration = Duration::from_millis(200);

/// The stream of a connection. It withholds the answers of hyper's parser, and slows down clients that send their request
/// in small pieces.
pub(crate) struct ParserFilter<S> {
    stream: S,
    /// The reads since the last answer.
    reads: u8,
    pause: Option<Pin<Box<Sleep>>>,
    /// The status of the withheld answer.
    withheld: Option<StatusCode>,
}

impl<S> ParserFilter<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self { stream, reads: 0, pause: None, withheld: None }
    }

    /// Returns the stream, and the reason of the parser if it refused a request. The parser answers some requests not at
    /// all; `begun` is true if the connection has had a request before.
    pub(crate) fn end(self, error: &hyper::Error, begun: bool) -> (S, Option<Refusal>) {
        let refusal = match self.withheld {
            Some(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE | StatusCode::URI_TOO_LONG) => Some(Refusal::HeadTooLarge),
            Some(_) => Some(Refusal::Malformed),
            None if !begun && (error.is_parse() || error.is_incomplete_message()) => Some(Refusal::Malformed),
            None => None,
        };
        (self.stream, refusal)
    }

    pub(crate) fn into_inner(self) -> S {
        self.stream
    }

    /// Returns true if this begins an answer of the parser, or follows it. These are the only answers with a status of
    /// 4xx and without a content type.
    fn withholds(&mut self, bytes: &[u8]) -> bool {
        if bytes.get(STATUS) == Some(&b'4') && bytes.starts_with(b"HTTP/1.") {
            let content_type = b"content-type";
            if !bytes.windows(content_type.len()).any(|window| window == content_type) {
                self.withheld = bytes.get(STATUS..STATUS + 3).and_then(|status| StatusCode::from_bytes(status).ok());
            }
        }
        self.withheld.is_some()
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for ParserFilter<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.reads >= MANY_READS {
            let pause = self.pause.get_or_insert_with(|| Box::pin(tokio::time::sleep(PAUSE)));
            ready!(pause.as_mut().poll(cx));
            self.pause = None;
        }
        ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        self.reads = self.reads.saturating_add(1);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for ParserFilter<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.reads = 0;
        if self.withholds(bytes) {
            return Poll::Ready(Ok(bytes.len()));
        }
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.reads = 0;
        if self.withholds(slices.first().map_or(&[], |slice| slice)) {
            return Poll::Ready(Ok(slices.iter().map(|slice| slice.len()).sum()));
        }
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.withheld.is_some() {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Returns the HTTP settings of every connection.
pub(crate) fn builder() -> http1::Builder {
    let mut http = http1::Builder::new();
    // `HeaderTimer` replaces hyper's header timeout. A client that has closed its sending side still reads. hyper
    // cannot tell if it has hung up, but its request waits a few seconds at most.
    http.header_read_timeout(None).max_buf_size(MAX_HEAD).half_close(true);
    http
}

/// Sends an answer on a connection that had no readable request, and ends the connection.
pub(crate) async fn answer<S>(mut stream: S, answer: impl Fn() -> HttpAnswer)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    // hyper writes an answer only to a request, so it reads one in place of the client's.
    let request = &b"GET / HTTP/1.1\r\nconnection: close\r\n\r\n"[..];
    let service = service_fn(|_| std::future::ready(answer()));
    let connection = TokioIo::new(tokio::io::join(request, &mut stream));
    if builder().serve_connection(connection, service).await.is_ok() {
        let mut unread = stream.take(MAX_UNREAD);
        let _ = tokio::io::copy(&mut unread, &mut tokio::io::sink()).await;
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;
    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn reads_pieces_of_a_request_at_intervals() {
        let (mut client, server) = tokio::io::duplex(64);
        let mut stream = ParserFilter::new(server);
        let began = Instant::now();
        for after in [0, 0, 0, 0, 200, 400] {
            client.write_all(b"x").await.unwrap();
            stream.read_u8().await.unwrap();
            assert_eq!(began.elapsed(), Duration::from_millis(after));
        }
        stream.write_all(b"an answer").await.unwrap();
        client.write_all(b"x").await.unwrap();
        stream.read_u8().await.unwrap();
        assert_eq!(began.elapsed(), Duration::from_millis(400));
    }
}
