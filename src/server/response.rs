//! The response type of all protocols.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;

use axum::body::Body;
use bytes::Bytes;
use http_body_util::{Either, Full};

/// A response with its body in memory, or with the body of the router.
pub(crate) type HttpAnswer = Result<http::Response<Either<Full<Bytes>, Body>>, Infallible>;

/// A response that is ready, or the future that makes it.
#[allow(missing_debug_implementations, reason = "a future shows nothing")]
pub(crate) enum AnswerFuture {
    Now(HttpAnswer),
    Later(Pin<Box<dyn Future<Output = HttpAnswer> + Send>>),
}

impl AnswerFuture {
    pub(crate) async fn wait(self) -> HttpAnswer {
        match self {
            Self::Now(answered) => answered,
            Self::Later(answered) => answered.await,
        }
    }
}
