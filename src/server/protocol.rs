//! The protocol of a listener. Both protocols serve one lease registry.

use std::sync::Arc;

use bytes::Bytes;

use crate::server::imds::ImdsServer;
use crate::server::response::AnswerFuture;
use crate::server::routes::Routes;

#[derive(Clone, Debug)]
pub(crate) enum Protocol {
    /// Container credentials, health and status.
    Container(Routes),
    Imds(Arc<ImdsServer>),
}

impl Protocol {
    /// Answers one request. Calls `authorized` if the request has the token of a client. The IMDS server never calls
    /// it, because every program can get its session tokens.
    pub(crate) fn answer<B>(&self, request: http::Request<B>, authorized: impl FnOnce()) -> AnswerFuture
    where
        B: hyper::body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<axum::BoxError>,
    {
        match self {
            Self::Container(routes) => routes.answer(request, authorized),
            Self::Imds(server) => server.answer(&request.into_parts().0),
        }
    }
}
