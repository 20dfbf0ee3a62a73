//! The responses of the IMDS server: plain text that no cache may store.

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Response, StatusCode, header};
use http_body_util::{Either, Full};

use crate::server::access::Refusal;
use crate::server::error::{ErrorResponse, set_no_store, truncate};
use crate::server::response::HttpAnswer;

/// The header with the lifetime of a session token, in seconds; requests and responses have it.
pub(crate) const TTL: HeaderName = HeaderName::from_static("x-aws-ec2-metadata-token-ttl-seconds");

pub(crate) struct ImdsReply {
    pub(super) status: StatusCode,
    body: Bytes,
    /// The lifetime of an issued session token, in seconds.
    ttl: Option<u64>,
}

impl ImdsReply {
    pub(crate) fn text(body: impl Into<Bytes>) -> Self {
        Self { status: StatusCode::OK, body: body.into(), ttl: None }
    }

    /// Responds with a session token that lives for `ttl` seconds.
    pub(crate) fn token(token: String, ttl: u64) -> Self {
        Self { ttl: Some(ttl), ..Self::text(token) }
    }

    /// Responds with an error status and the reason.
    pub(crate) fn error(status: StatusCode, why: impl Into<String>) -> Self {
        let mut why = why.into();
        truncate(&mut why);
        Self { status, ..Self::text(why) }
    }

    pub(crate) fn method_not_allowed(why: &str) -> Self {
        Self::error(StatusCode::METHOD_NOT_ALLOWED, why)
    }

    #[allow(clippy::unnecessary_wraps, reason = "the type of a response says that it cannot fail")]
    pub(crate) fn into_response(self) -> HttpAnswer {
        let mut response: Response<Either<_, Body>> = Response::new(Either::Left(Full::new(self.body)));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        set_no_store(headers);
        if let Some(ttl) = self.ttl {
            headers.insert(TTL, ttl.into());
        }
        match self.status {
            StatusCode::SERVICE_UNAVAILABLE => headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1")),
            StatusCode::METHOD_NOT_ALLOWED => headers.insert(header::ALLOW, HeaderValue::from_static("GET, HEAD, PUT")),
            _ => None,
        };
        Ok(response)
    }
}

impl From<Refusal> for ImdsReply {
    fn from(refusal: Refusal) -> Self {
        let ErrorResponse { status, message, .. } = refusal.into();
        Self::error(status, message)
    }
}
