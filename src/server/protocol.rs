//! The protocol of a listener. Both protocols serve one lease registry.

use std::sync::Arc;

use bytes::Bytes;
use http::Response;
use http_body_util::Either;

use crate::server::access::Refusal;
use crate::server::clients::Client;
use crate::server::error::ErrorResponse;
use crate::server::imds::ImdsServer;
use crate::server::imds::reply::ImdsReply;
use crate::server::response::{AnswerFuture, HttpAnswer};
use crate::server::routes::Routes;

#[derive(Clone, Debug)]
pub(crate) enum Protocol {
    /// Container credentials, health and status.
    Container(Routes),
    Imds(Arc<ImdsServer>),
}

impl Protocol {
    /// Answers one request. Calls `authorized` if the request has the token of a client, or a session token of the IMDS
    /// server, which has no clients.
    pub(crate) fn answer<B>(
        &self,
        request: http::Request<B>,
        authorized: impl FnOnce(Option<&Arc<Client>>),
    ) -> AnswerFuture
    where
        B: hyper::body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<axum::BoxError>,
    {
        match self {
            Self::Container(routes) => routes.answer(request, |client| authorized(Some(client))),
            Self::Imds(server) => server.answer(&request.into_parts().0, || authorized(None)),
        }
    }

    /// Answers a request that could not be read.
    pub(crate) fn refuse(&self, refusal: Refusal) -> HttpAnswer {
        match self {
            Self::Container(_) => Ok(Response::from(ErrorResponse::from(refusal)).map(Either::Right)),
            Self::Imds(_) => ImdsReply::from(refusal).into_response(),
        }
    }
}
