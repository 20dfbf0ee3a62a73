//! The IMDS client: the session and the requests of one load.

use std::time::Duration;

use http::header::{HeaderName, HeaderValue};
use http::{Method, StatusCode};
use serde::Deserialize;

use crate::cache::key::{CacheKey, CacheKeyBuilder};
use crate::context::Context;
use crate::context::attempts::Attempts;
use crate::http::address_policy::AddressPolicy;
use crate::http::error::{HttpError, HttpErrorCause};
use crate::http::message::{Request, Response};
use crate::http::url::Url;
use crate::model::credentials::Credentials;
use crate::model::error::ErrorKind;
use crate::model::error::SourceError;
use crate::model::outcome::Lookup;
use crate::model::secret::Secret;
use crate::model::text::usable;
use crate::source::document;
use crate::source::document::SuccessCode;
use crate::source::endpoint::{EndpointHints, retry};
use crate::source::imds::endpoint::{IDENTITY, ROLES, TOKEN, V1_DISABLED, role_path};
use crate::source::imds::{IdentityDocument, ImdsSession, MetadataCredentials};

const TOKEN_HEADER: HeaderName = HeaderName::from_static("x-aws-ec2-metadata-token");
const TTL_HEADER: HeaderName = HeaderName::from_static("x-aws-ec2-metadata-token-ttl-seconds");

/// The requested lifetime of a session token: six hours, the maximum of the service.
const MAX_TTL_S: u64 = 21_600;

/// A session is renewed this long before its end, so that it does not end between two requests of one load.
const MARGIN: Duration = Duration::from_secs(60);

/// The timeout of a request that may never be answered, because this machine may be no instance. The service has a
/// link-local address, and an instance responds within milliseconds.
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);

/// The maximum number of such requests. With one request, a single lost packet would make the source *not configured*.
const MAX_PROBES: u32 = 2;

/// The time that is left before the deadline of the load, so that the error of a request is reported with its hint.
const DEADLINE_MARGIN: Duration = Duration::from_millis(100);

const HINTS: EndpointHints = EndpointHints {
    silent: "check that this machine is an instance with its metadata service on, or that \
             AWS_EC2_METADATA_SERVICE_ENDPOINT or ec2_metadata_service_endpoint of the profile names a running one",
    denied: "check that the metadata service of this instance is on (HttpEndpoint), accepts requests from here, and may \
             assume the instance's role",
    other: "check which program listens there instead of the metadata service (AWS_EC2_METADATA_SERVICE_ENDPOINT)",
};

/// The timeout for the identity document. It only gives the region, for which clients wait three seconds.
const IDENTITY_TIMEOUT: Duration = Duration::from_secs(3);

pub(crate) struct ImdsClient<'c> {
    source: &'c MetadataCredentials,
    context: &'c Context,
    endpoint: Url,
    /// True after a refused session was renewed. A load renews it only once.
    renewed: bool,
    /// The maximum timeout of each request.
    limit: Duration,
}

impl<'c> ImdsClient<'c> {
    pub(crate) fn new(source: &'c MetadataCredentials, context: &'c Context, endpoint: Url) -> Self {
        let limit = source.timeout.unwrap_or(Duration::MAX);
        Self { source, context, endpoint, renewed: false, limit }
    }

    /// Returns the cache key: everything that the result of this load depends on.
    pub(crate) fn cache_key(&self) -> CacheKey {
        CacheKeyBuilder::new("metadata service")
            .with_value(&self.endpoint)
            .with([u8::from(self.allows_v1()), u8::from(self.source.only_source)])
            .with(self.limit.as_nanos().to_be_bytes())
            .cache_key()
    }

    pub(crate) async fn load(mut self) -> Lookup {
        self.credentials().await.map_or_else(|lookup| lookup, Lookup::Found)
    }

    /// Requests the credentials of the first role. They get the account of the identity document only if a request for
    /// the region has read it.
    async fn credentials(&mut self) -> Result<Credentials, Lookup> {
        let (list, request, session) = self.get(ROLES).await?;
        match list.status {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND => {
                return Err(Lookup::not_configured(format!(
                    "no role is attached to this instance ({request}: status 404)"
                )));
            }
            StatusCode::BAD_REQUEST | StatusCode::METHOD_NOT_ALLOWED if session.token().is_none() => {
                return Err(not_aws(&request, list.status));
            }
            _ => return Err(self.refused(&list, &request, &session).into()),
        }
        let role = role_path(&list.body, &request).map_err(|error| HINTS.useless(error))?;
        let (response, request, session) = self.get(&role).await?;
        match response.status {
            StatusCode::OK => {}
            // The role was in the list a moment ago, so another role is just replacing it.
            StatusCode::NOT_FOUND => {
                let error = SourceError::unavailable(format!("{request}: status 404 Not Found"));
                return Err(error.with_hint("another role may be replacing this one: try again later").into());
            }
            _ => return Err(self.refused(&response, &request, &session).into()),
        }
        let found = document::credentials(&response.body, SuccessCode::Required, &request, session.token());
        let mut found = found.map_err(|error| HINTS.useless(error))?;
        if found.account_id.is_none() {
            let identity = &self.source.state_of(&self.endpoint).identity;
            found.account_id = identity.as_ref().and_then(|identity| identity.account_id.clone());
        }
        Ok(found)
    }

    /// Returns the identity document. It is kept after the first response, and requested again until then. An error
    /// gives an empty document.
    pub(crate) async fn identity(&mut self) -> IdentityDocument {
        let kept = self.source.state_of(&self.endpoint).identity.clone();
        if let Some(identity) = kept {
            return identity;
        }
        self.limit = self.limit.min(IDENTITY_TIMEOUT);
        let Ok((response, ..)) = self.get(IDENTITY).await else { return IdentityDocument::default() };
        let identity = match response.status {
            StatusCode::OK => IdentityDocument::read(&response.body),
            StatusCode::NOT_FOUND => IdentityDocument::default(),
            _ => return IdentityDocument::default(),
        };
        self.source.state_of(&self.endpoint).identity = Some(identity.clone());
        identity
    }

    /// Sends a GET request. Returns the response, the request for messages, and the session of the request.
    async fn get(&mut self, path: &str) -> Result<(Response, String, ImdsSession), Lookup> {
        let mut attempts = Attempts::new(self.context);
        loop {
            let session = self.session().await?;
            let timeout = self.timeout(self.may_be_absent());
            let mut request = Request::new(Method::GET, self.at(path)?, AddressPolicy::Anywhere, timeout);
            if let Some(token) = session.token() {
                request = request
                    .with_secret(TOKEN_HEADER, "session token of the metadata service", token)
                    .map_err(SourceError::from)?;
            }
            let shown = request.to_string();
            let sent = self.context.http_client.send(request).await;
            if let Some(retry_after) = retry(&sent, &self.context.clock)
                && attempts.next(retry_after).await
            {
                continue;
            }
            match sent {
                Ok(response) if response.status == StatusCode::UNAUTHORIZED && !self.renewed => {
                    self.renewed = true;
                    self.source.state_of(&self.endpoint).session = None;
                }
                Ok(response) => {
                    if let ImdsSession::V1 = session {
                        self.keep(ImdsSession::V1, MAX_TTL_S);
                    }
                    return Ok((response, shown, session));
                }
                Err(error) => return Err(self.unanswered(error, None)),
            }
        }
    }

    /// Returns true if this machine may be no instance: the service has never responded, and the chain has other
    /// sources.
    fn may_be_absent(&self) -> bool {
        !self.source.only_source && !self.context.http_client.has_answered(&self.endpoint)
    }

    /// Returns the timeout of a request: a second for a probe, else the time until the deadline of the load.
    fn timeout(&self, is_probe: bool) -> Duration {
        let left = self.context.deadline.left().saturating_sub(DEADLINE_MARGIN).max(DEADLINE_MARGIN);
        left.min(self.limit).min(if is_probe { PROBE_TIMEOUT } else { Duration::MAX })
    }

    /// Returns the kept session, or opens one.
    async fn session(&mut self) -> Result<ImdsSession, Lookup> {
        if let Some(session) = self.kept_session() {
            return Ok(session);
        }
        // If IMDSv1 is allowed, a hop limit may stop all responses to token requests.
        let is_probe = self.may_be_absent() || self.allows_v1();
        let (mut attempts, mut requests) = (Attempts::new(self.context), 0);
        loop {
            let timeout = self.timeout(is_probe);
            let request = Request::new(Method::PUT, self.at(TOKEN)?, AddressPolicy::Anywhere, timeout)
                .with_header(TTL_HEADER, HeaderValue::from(MAX_TTL_S));
            let shown = request.to_string();
            let sent = self.context.http_client.send(request).await;
            requests += 1;
            let is_last = is_probe && sent.is_err() && requests == MAX_PROBES;
            if let Some(retry_after) = retry(&sent, &self.context.clock).filter(|_| !is_last)
                && attempts.next(retry_after).await
            {
                continue;
            }
            return match sent {
                Ok(response) => self.open(&response, &shown),
                Err(error) => self.without_token(error),
            };
        }
    }

    /// Opens the session of this response to the token request.
    fn open(&self, response: &Response, request: &str) -> Result<ImdsSession, Lookup> {
        match response.status.as_u16() {
            200 => {}
            400 | 403..=405 if self.allows_v1() => return Ok(ImdsSession::V1),
            400 | 404 | 405 => return Err(not_aws(request, response.status)),
            403 => {
                let message = format!(
                    "{request}: status {}: the metadata service of this instance is turned off",
                    response.status
                );
                let hint = "turn it on (HttpEndpoint), or set AWS_EC2_METADATA_DISABLED=true";
                return Err(SourceError::new(ErrorKind::Denied, message).with_hint(hint).into());
            }
            _ => return Err(HINTS.refused(response, request, &self.context.clock, None).into()),
        }
        let token = std::str::from_utf8(&response.body).ok().map(str::trim).filter(|token| is_token(token));
        let Some(token) = token else {
            let error = SourceError::unavailable(format!("{request}: the answer is not a token"));
            return Err(HINTS.useless(error).into());
        };
        // Without this header, which the SDKs require, the token is used until the service refuses it.
        let ttl = response.headers.get(TTL_HEADER).and_then(|ttl| ttl.to_str().ok()?.trim().parse().ok());
        let session = ImdsSession::V2(Secret::new(token));
        self.keep(session.clone(), ttl.unwrap_or(MAX_TTL_S));
        Ok(session)
    }

    /// Handles a token request without a response. IMDSv1 may work nevertheless: the hop limit of the instance stops
    /// only responses of IMDSv2.
    fn without_token(&self, error: HttpError) -> Result<ImdsSession, Lookup> {
        let timed_out = matches!(error.cause(), HttpErrorCause::TimedOut(_));
        if timed_out && self.allows_v1() {
            return Ok(ImdsSession::V1);
        }
        let hint = "in a container the hop limit may be 1: set HttpPutResponseHopLimit to 2";
        Err(self.unanswered(error, timed_out.then_some(hint)))
    }

    /// Returns the lookup of a request without a response. A service that has never responded is *not configured* in a
    /// chain with other sources, because most machines are not EC2 instances.
    fn unanswered(&self, error: HttpError, hint: Option<&str>) -> Lookup {
        if error.cause().is_silence() && self.may_be_absent() {
            let hint = hint.map_or_else(String::new, |hint| format!("; {hint}"));
            return Lookup::not_configured(format!("no metadata service answers here ({error}){hint}"));
        }
        match hint {
            Some(hint) => SourceError::from(error).with_hint(hint).into(),
            None => HINTS.unanswered(error).into(),
        }
    }

    /// Returns the kept session unless it has ended.
    fn kept_session(&self) -> Option<ImdsSession> {
        let now = self.context.clock.now();
        let mut state = self.source.state_of(&self.endpoint);
        if state.session.as_ref().is_some_and(|(_, end)| *end <= now) {
            state.session = None;
        }
        state.session.as_ref().map(|(session, _)| session.clone())
    }

    /// Keeps a session, unless there is one already. An IMDSv1 session ends, too, so that IMDSv2 is tried again.
    fn keep(&self, session: ImdsSession, ttl: u64) {
        let ttl = Duration::from_secs(ttl.min(MAX_TTL_S));
        let end = self.context.clock.now() + ttl.saturating_sub(MARGIN.min(ttl / 2));
        let mut state = self.source.state_of(&self.endpoint);
        if state.session.is_none() {
            if let ImdsSession::V1 = session {
                tracing::warn!("the metadata service gives no IMDSv2 session token: IMDSv1 is used");
            }
            state.session = Some((session, end));
        }
    }

    fn allows_v1(&self) -> bool {
        self.source.allow_v1 && !self.context.environment.is_true(V1_DISABLED)
    }

    fn at(&self, path: &str) -> Result<Url, SourceError> {
        self.endpoint
            .join(path)
            .map_err(|error| SourceError::misconfigured(format!("{}: the path {error}", self.endpoint)))
    }

    fn refused(&self, response: &Response, request: &str, session: &ImdsSession) -> SourceError {
        HINTS.refused(response, request, &self.context.clock, session.token())
    }
}

/// Returns the lookup of a service that is not the instance metadata service of AWS.
fn not_aws(request: &str, status: StatusCode) -> Lookup {
    Lookup::not_configured(format!(
        "{request}: status {status}: the program at this address is not the instance metadata service of AWS (GCE, \
         OpenStack and Azure have their own); for an imitation without IMDSv2 write {{ source = \"imds\", allow_v1 = true }}"
    ))
}

impl ImdsSession {
    fn token(&self) -> Option<&Secret> {
        match self {
            Self::V2(token) => Some(token),
            Self::V1 => None,
        }
    }
}

impl IdentityDocument {
    /// Reads the document. Absent or invalid values are read as unknown.
    pub(crate) fn read(body: &[u8]) -> Self {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct IdentityFields {
            region: Option<String>,
            account_id: Option<String>,
        }
        let Ok(document) = serde_json::from_slice::<IdentityFields>(body) else { return Self::default() };
        let is_account = |id: &String| id.len() == 12 && id.bytes().all(|byte| byte.is_ascii_digit());
        let region = document.region.as_deref().and_then(|region| usable("region", region).ok());
        Self { region: region.map(Into::into), account_id: document.account_id.filter(is_account).map(Into::into) }
    }
}

fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic())
}

#[cfg(test)]
mod tests;
