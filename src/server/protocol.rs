//! What stands behind a listener: one protocol or another, before the same board.

use std::sync::Arc;

use bytes::Bytes;

use crate::server::imds::ImdsServer;
use crate::server::response::AnswerFuture;
use crate::server::routes::Routes;

/// What is spoken on a connection.
#[derive(Clone, Debug)]
pub(crate) enum Protocol {
    /// Container credentials, health and status.
    Container(Routes),
    /// The instance metadata service.
    Imds(Arc<ImdsServer>),
}

impl Protocol {
    /// Answers one request; `admitted` is told when a client has proven itself. Nobody does to a metadata service: its
    /// tokens are everybody's.
    pub(crate) fn answer<B>(&self, request: http::Request<B>, authorized: impl FnOnce()) -> AnswerFuture
    where
        B: hyper::body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<axum::BoxError>,
    {
        match self {
            Self::Container(paths) => paths.answer(request, authorized),
            Self::Imds(service) => service.answer(&request.into_parts().0),
        }
    }
}
