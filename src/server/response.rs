//! What a request gets, by whatever protocol.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;

use axum::body::Body;
use bytes::Bytes;
use http_body_util::{Either, Full};

/// A response as it leaves: from memory, or from the router.
pub(crate) type HttpAnswer = Result<http::Response<Either<Full<Bytes>, Body>>, Infallible>;

/// What a request gets.
#[allow(missing_debug_implementations, reason = "a future shows nothing")]
pub(crate) enum AnswerFuture {
    /// Nothing has to be waited for.
    Now(HttpAnswer),
    /// Something has.
    Later(Pin<Box<dyn Future<Output = HttpAnswer> + Send>>),
}

impl AnswerFuture {
    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) async fn wait(self) -> HttpAnswer {
        match self {
            Self::Now(answered) => answered,
            Self::Later(answered) => answered.await,
        }
    }
}
