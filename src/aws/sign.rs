//! Signature Version 4, with the crate of the AWS SDK for Rust.

use std::time::SystemTime;

use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4::SigningParams;
use http::Method;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::body::Bytes;
use tracing::subscriber::{NoSubscriber, with_default};
use zeroize::Zeroizing;

use crate::aws::call::ATTEMPT_TIMEOUT;
use crate::aws::endpoint::ServiceEndpoint;
use crate::http::address_policy::AddressPolicy;
use crate::http::message::Request;
use crate::model::credentials::Credentials;
use crate::model::error::SourceError;
use crate::model::secret::Secret;

/// A `POST` to the URL of an endpoint, not yet signed.
pub(crate) struct Post<'a> {
    pub(crate) endpoint: &'a ServiceEndpoint,
    /// The name of the service in the scope of the signature.
    pub(crate) service: &'static str,
    pub(crate) content_type: &'static str,
    pub(crate) body: Bytes,
}

impl<'a> Post<'a> {
    /// Makes a request with a body in JSON. Such requests are not signed, so the name of the service does not matter.
    pub(crate) fn json(endpoint: &'a ServiceEndpoint, body: Zeroizing<Vec<u8>>) -> Self {
        Self { endpoint, service: "", content_type: "application/json", body: Bytes::from_owner(body) }
    }

    /// Returns the request without a signature, for unsigned actions.
    pub(crate) fn unsigned(&self) -> Request {
        Request::new(Method::POST, self.endpoint.url.clone(), AddressPolicy::Anywhere, ATTEMPT_TIMEOUT)
            .with_header(CONTENT_TYPE, HeaderValue::from_static(self.content_type))
            .with_body(self.body.clone())
    }

    /// Returns the request, signed with these credentials at this time.
    pub(crate) fn signed(&self, credentials: &Credentials, at: SystemTime) -> Result<Request, SourceError> {
        let headers = self.signature(credentials, at).map_err(|why| {
            SourceError::misconfigured(format!("cannot sign a request to {}: {why}", self.endpoint.url))
        })?;
        let mut request = self.unsigned();
        for (name, value) in headers {
            request = request.with_secret(name, "signature", &value)?;
        }
        Ok(request)
    }

    fn signature(&self, credentials: &Credentials, at: SystemTime) -> Result<Vec<(HeaderName, Secret)>, &'static str> {
        let identity = aws_credential_types::Credentials::new(
            &*credentials.access_key_id,
            credentials.secret_access_key.expose(),
            credentials.session_token.as_ref().map(|token| token.expose().to_owned()),
            None,
            "credenza",
        )
        .into();
        let parameters = SigningParams::builder()
            .identity(&identity)
            .region(&self.endpoint.region)
            .name(self.service)
            .time(at)
            .settings(SigningSettings::default())
            .build()
            .map_err(|_| "a parameter is missing")?
            .into();
        let (host, target) = (self.endpoint.url.authority(), self.endpoint.url.target().to_string());
        let uri = format!("https://{host}{target}");
        let headers = [("host", &*host), (CONTENT_TYPE.as_str(), self.content_type)];
        let body = SignableBody::Bytes(&self.body);
        let request = SignableRequest::new("POST", uri, headers.into_iter(), body).map_err(|_| "it is not HTTP")?;
        // Disable logging while the crate signs: it would log the text that it signs, with the session token.
        let signed = with_default(NoSubscriber::default(), || sign(request, &parameters));
        let (instructions, _) = signed.map_err(|_| "a header cannot carry the keys")?.into_parts();
        let (headers, _) = instructions.into_parts();
        headers
            .iter()
            .map(|header| Ok((HeaderName::from_static(header.name()), Secret::from(header.value()))))
            .collect()
    }
}
