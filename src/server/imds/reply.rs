//! What the metadata service answers: text, whatever it is, that nobody may keep.

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Response, StatusCode, header};
use http_body_util::{Either, Full};

use crate::server::error::{cut, unkept};
use crate::server::response::HttpAnswer;

/// How long a token shall live, in seconds; the answer bears it, too.
pub(crate) const TTL: HeaderName = HeaderName::from_static("x-aws-ec2-metadata-token-ttl-seconds");

/// A status and a text.
pub(crate) struct ImdsReply {
    status: StatusCode,
    body: Bytes,
    /// How long a token lives that was just issued, in seconds.
    ttl: Option<u64>,
}

impl ImdsReply {
    /// What was asked for, as it is.
    pub(crate) fn text(body: impl Into<Bytes>) -> Self {
        Self { status: StatusCode::OK, body: body.into(), ttl: None }
    }

    /// A token that lives for so many seconds.
    pub(crate) fn token(token: String, ttl: u64) -> Self {
        Self { ttl: Some(ttl), ..Self::text(token) }
    }

    /// A status that is no success, and a sentence about why.
    pub(crate) fn refusal(status: StatusCode, why: impl Into<String>) -> Self {
        let mut why = why.into();
        cut(&mut why);
        Self { status, ..Self::text(why) }
    }

    /// Not by this method.
    pub(crate) fn not_allowed(why: &str) -> Self {
        Self::refusal(StatusCode::METHOD_NOT_ALLOWED, why)
    }

    /// As it leaves.
    #[allow(clippy::unnecessary_wraps, reason = "an answer cannot fail, and its type says so")]
    pub(crate) fn sent(self) -> HttpAnswer {
        let mut response: Response<Either<_, Body>> = Response::new(Either::Left(Full::new(self.body)));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        unkept(headers);
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
