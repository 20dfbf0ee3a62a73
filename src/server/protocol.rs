//! The protocol of a listener. All protocols serve one lease registry.

use std::sync::Arc;

use bytes::Bytes;
use http::Response;
use http_body_util::Either;

use crate::server::access::Refusal;
use crate::server::answer_log::AnswerLog;
use crate::server::clients::Client;
use crate::server::control::ControlServer;
use crate::server::error::ErrorResponse;
use crate::server::imds::ImdsServer;
use crate::server::imds::reply::ImdsReply;
use crate::server::origin::RequestOrigin;
use crate::server::response::{AnswerFuture, HttpAnswer};
use crate::server::routes::Routes;

#[derive(Clone, Debug)]
pub(crate) enum Protocol {
    /// Container credentials, health and status.
    Container(Routes),
    Imds(Arc<ImdsServer>),
    /// Commands of the owner.
    Control(Arc<ControlServer>),
}

impl Protocol {
    /// Returns true if the user behind each TCP connection is looked up. That of a Unix peer is always known.
    pub(crate) fn wants_peer_users(&self) -> bool {
        match self {
            Self::Container(routes) => routes.needs_users(),
            Self::Imds(server) => server.log.is_on(),
            Self::Control(_) => false,
        }
    }

    /// Answers one request. Calls `authorized` if the request has the
    /// token of a client, a session token of the IMDS server, which has no clients, or the owner at the control socket.
    pub(crate) fn answer<B>(
        &self,
        request: http::Request<B>,
        origin: &RequestOrigin,
        authorized: impl FnOnce(Option<&Arc<Client>>),
    ) -> AnswerFuture
    where
        B: hyper::body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<axum::BoxError>,
    {
        match self {
            Self::Container(routes) => routes.answer(request, origin, |client| authorized(Some(client))),
            Self::Imds(server) => server.answer(&request.into_parts().0, origin, || authorized(None)),
            Self::Control(server) => server.answer(request, origin, || authorized(None)),
        }
    }

    pub(crate) fn answer_log(&self) -> &AnswerLog {
        match self {
            Self::Container(routes) => routes.log(),
            Self::Imds(server) => &server.log,
            Self::Control(server) => &server.log,
        }
    }

    pub(crate) fn error_form(&self) -> ErrorForm {
        match self {
            Self::Container(_) | Self::Control(_) => ErrorForm::Json,
            Self::Imds(_) => ErrorForm::Imds,
        }
    }
}

/// The form of a protocol's errors.
#[derive(Clone, Copy, Debug)]
pub(crate) enum ErrorForm {
    Json,
    Imds,
}

impl ErrorForm {
    /// Answers a request that could not be read.
    pub(crate) fn refuse(self, refusal: Refusal) -> HttpAnswer {
        match self {
            Self::Json => Ok(Response::from(ErrorResponse::from(refusal)).map(Either::Right)),
            Self::Imds => ImdsReply::from(refusal).into_response(),
        }
    }
}
