//! What stands behind a listener: one protocol or another, before the same board.

use std::sync::Arc;

use bytes::Bytes;

use super::answer::Answer;
use super::metadata::Metadata;
use super::routes::Paths;

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
