//! What stands behind a listener: one protocol or another, before the same board.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use axum::body::Body;
use bytes::Bytes;
use http_body_util::{Either, Full};

use super::metadata::Metadata;
use super::routes::Paths;

/// A response as it leaves: from memory, or from the router.
pub type Answered = Result<http::Response<Either<Full<Bytes>, Body>>, Infallible>;

/// What a request gets.
#[allow(missing_debug_implementations, reason = "a future shows nothing")]
pub enum Answer {
    /// Nothing has to be waited for.
    Now(Answered),
    /// Something has.
    Later(Pin<Box<dyn Future<Output = Answered> + Send>>),
}

impl Answer {
    /// Waits for it.
    pub async fn wait(self) -> Answered {
        match self {
            Self::Now(answered) => answered,
            Self::Later(answered) => answered.await,
        }
    }
}

/// What is spoken on a connection.
#[derive(Clone, Debug)]
pub enum Protocol {
    /// Container credentials, health and status.
    Container(Paths),
    /// The instance metadata service.
    Metadata(Arc<Metadata>),
}

impl Protocol {
    /// Answers one request; `admitted` is told when a client has proven itself. Nobody does to a metadata service: its
    /// tokens are everybody's.
    pub fn answer<B>(&self, request: http::Request<B>, admitted: impl FnOnce()) -> Answer
    where
        B: hyper::body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<axum::BoxError>,
    {
        match self {
            Self::Container(paths) => paths.answer(request, admitted),
            Self::Metadata(service) => service.answer(&request.into_parts().0),
        }
    }
}
