//! Requests and responses.

use std::fmt;
use std::time::Duration;

use http::header::{
    CONNECTION, CONTENT_LENGTH, HOST, HeaderMap, HeaderName, HeaderValue, PROXY_AUTHORIZATION, RETRY_AFTER, USER_AGENT,
};
use http::{Method, StatusCode};
use http_body_util::Full;
use hyper::body::Bytes;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;
use zeroize::Zeroizing;

use crate::http::address_policy::AddressPolicy;
use crate::http::proxy::Proxy;
use crate::http::trust_roots::TrustRoots;
use crate::http::url::Url;
use crate::model::secret::Secret;
use crate::model::text::InvalidText;
use crate::os::clock::Clock;

/// The `User-Agent` of all requests.
pub(crate) const AGENT: HeaderValue = HeaderValue::from_static(concat!("credenza/", env!("CARGO_PKG_VERSION")));

/// The maximum pause that a `Retry-After` header can cause. A wrong date must not stop renewal for days.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(60 * 60);

/// One request. It prints as method and URL. Headers and body are never printed.
pub(crate) struct Request {
    method: Method,
    pub(super) url: Url,
    pub(super) address_policy: AddressPolicy,
    proxied: bool,
    pub(super) roots: Option<TrustRoots>,
    pub(super) timeout: Duration,
    headers: HeaderMap,
    body: Bytes,
}

/// A complete response. `Debug` shows only the status.
pub(crate) struct Response {
    /// The status, also of a redirect or an error.
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    /// The body, at most 64 kB. Its memory is overwritten when dropped.
    pub(crate) body: Zeroizing<Vec<u8>>,
}

impl Request {
    /// Makes a request without a body. It connects only to addresses of `address_policy`, and may take `timeout` in
    /// total.
    pub(crate) fn new(method: Method, url: Url, address_policy: AddressPolicy, timeout: Duration) -> Self {
        Self {
            method,
            url,
            address_policy,
            proxied: false,
            roots: None,
            timeout,
            headers: HeaderMap::new(),
            body: Bytes::new(),
        }
    }

    /// Sets a header that is not a secret.
    pub(crate) fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    /// Sets a header with a secret, which is never printed. `part` names it in errors.
    ///
    /// # Errors
    /// If a header cannot carry the text.
    pub(crate) fn with_secret(
        mut self,
        name: HeaderName,
        part: &'static str,
        secret: &Secret,
    ) -> Result<Self, InvalidText> {
        let mut value = HeaderValue::from_str(secret.expose()).map_err(|_| InvalidText::ControlCharacter(part))?;
        value.set_sensitive(true);
        self.headers.insert(name, value);
        Ok(self)
    }

    pub(crate) fn with_body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// Sends the request through the proxy that the environment names for its URL, if there is one.
    pub(crate) fn through_proxy(mut self) -> Self {
        self.proxied = true;
        self
    }

    /// Trusts these certificate authorities instead of those of the system.
    pub(crate) fn with_roots(mut self, roots: TrustRoots) -> Self {
        self.roots = Some(roots);
        self
    }

    pub(crate) fn is_https(&self) -> bool {
        self.url.is_https()
    }

    /// Returns true if the request may go through a proxy. A request with a restricted address policy may not: the
    /// proxy would resolve the name again, unchecked.
    pub(crate) fn asks_for_proxy(&self) -> bool {
        self.proxied && self.address_policy == AddressPolicy::Anywhere
    }

    pub(crate) fn into_http(self) -> http::Request<Full<Bytes>> {
        let (length, has_body) = (self.body.len(), matches!(self.method, Method::PUT | Method::POST));
        let mut request = http::Request::new(Full::new(self.body));
        *request.method_mut() = self.method;
        *request.uri_mut() = self.url.target();
        *request.headers_mut() = self.headers;
        let headers = request.headers_mut();
        if let Ok(host) = HeaderValue::try_from(self.url.authority()) {
            headers.insert(HOST, host);
        }
        if has_body {
            // An empty body has a length, too: without it some servers respond with 411.
            headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
        }
        headers.insert(USER_AGENT, AGENT);
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
        request
    }

    /// Converts the request for a proxy: with the whole URL as target, and with the authorization for the proxy.
    pub(crate) fn into_http_through(self, proxy: &Proxy) -> http::Request<Full<Bytes>> {
        let url = self.url.clone();
        let mut request = self.into_http();
        if let Ok(whole) = format!("{}{}", url.origin(), url.target()).parse() {
            *request.uri_mut() = whole;
        }
        if let Some(authorization) = &proxy.authorization {
            request.headers_mut().insert(PROXY_AUTHORIZATION, authorization.clone());
        }
        request
    }
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, self.url)
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Request({self})")
    }
}

impl Response {
    /// Returns the pause that the service requests, in seconds or as a date, at most an hour.
    pub(crate) fn retry_after(&self, clock: &Clock) -> Option<Duration> {
        let text = self.headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
        let pause = match text.parse() {
            Ok(seconds) => Duration::from_secs(seconds),
            Err(_) => {
                let at = OffsetDateTime::parse(text, &Rfc2822).ok()?;
                (at - OffsetDateTime::from(clock.now())).try_into().unwrap_or_default()
            }
        };
        Some(pause.min(LONGEST_RETRY_AFTER))
    }
}

impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Response").field("status", &self.status).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn reads_retry_after_in_seconds_or_as_a_date() {
        // Sun, 06 Nov 1994 08:49:37 GMT
        let clock = Clock::injected(SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777));
        for (text, seconds) in [
            ("0", Some(0)),
            (" 12 ", Some(12)),
            ("99999999", Some(3600)),
            ("Sun, 06 Nov 1994 08:50:37 GMT", Some(60)),
            ("Sun, 06 Nov 1994 08:48:37 GMT", Some(0)),
            ("-1", None),
            ("99999999999999999999999", None),
            ("soon", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, HeaderValue::from_static(text));
            let response = Response { status: StatusCode::OK, headers, body: Zeroizing::default() };
            assert_eq!(response.retry_after(&clock), seconds.map(Duration::from_secs), "{text}");
        }
    }

    #[test]
    fn printed_requests_show_no_secret() {
        let url = Url::parse("http://h/p?hush").unwrap();
        let request = Request::new(Method::GET, url, AddressPolicy::Anywhere, Duration::ZERO)
            .with_secret(http::header::AUTHORIZATION, "token", &"hush".into())
            .unwrap()
            .with_body("hush");
        assert_eq!(format!("{request} {request:?}"), "GET http://h/p Request(GET http://h/p)");
        let line = Request::new(Method::GET, Url::parse("http://h").unwrap(), AddressPolicy::Anywhere, Duration::ZERO)
            .with_secret(http::header::AUTHORIZATION, "token", &"a\nhush".into());
        assert_eq!(line.unwrap_err(), InvalidText::ControlCharacter("token"));
    }
}
