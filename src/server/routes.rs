//! The paths: admit, look up, compare one time, hand out bytes.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use http::request::Parts;
use http::{Method, StatusCode, Uri};
use http_body_util::Either;
use percent_encoding::percent_decode_str;
use tokio::time::Instant;
use tower_service::Service;

use crate::lease::registry::{LeaseHandle, LeaseState};
use crate::model::identity_name::IdentityName;
use crate::server::access::{AllowedHosts, Authorized, Client, Clients, authorize};
use crate::server::error::{ErrorResponse, json, unboxed_json};
use crate::server::lookup::LeaseLookup;
use crate::server::response::AnswerFuture;
use crate::server::status;

/// `status` waits this long for keepers to find out their regions.
const REGION_PATIENCE: Duration = Duration::from_secs(1);

/// Everything a request may see.
#[derive(Debug)]
pub(crate) struct RouteState {
    /// What is published.
    pub(crate) leases: LeaseLookup,
    /// Who may ask.
    pub(crate) clients: Clients,
    /// Under which names.
    pub(crate) hosts: AllowedHosts,
    /// When the daemon started.
    pub(crate) started: SystemTime,
}

/// The endpoint as a service: the door, then the lease that is at hand, then the router.
#[derive(Clone, Debug)]
pub(crate) struct Routes {
    endpoint: Arc<RouteState>,
    router: Router,
}

impl Routes {
    /// The paths over this endpoint.
    #[must_use]
    pub(crate) fn new(endpoint: Arc<RouteState>) -> Self {
        let router = Router::new()
            .route("/credentials", get(credentials))
            .route("/credentials/{*identity}", get(credentials))
            .route("/v2/credentials", get(credentials))
            .route("/v2/credentials/{*identity}", get(credentials))
            .route("/healthz", get(healthz))
            .route("/readyz", get(readyz))
            .route("/status", get(status))
            .method_not_allowed_fallback(async || Response::from(ErrorResponse::method_not_allowed()))
            .fallback(async || Response::from(ErrorResponse::not_found()))
            .with_state(Arc::clone(&endpoint));
        Self { endpoint, router }
    }

    /// Answers one request; `admitted` is told when a client has proven itself.
    pub(crate) fn answer<B>(&self, request: http::Request<B>, authorized: impl FnOnce()) -> AnswerFuture
    where
        B: hyper::body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<axum::BoxError>,
    {
        let (mut parts, body) = request.into_parts();
        let who = match authorize(&parts, &self.endpoint.hosts, &self.endpoint.clients) {
            Ok(who) => who,
            Err(refusal) => {
                tracing::debug!(path = %crate::model::text::Escaped(parts.uri.path()), ?refusal, "refused");
                return AnswerFuture::Now(Ok(Response::from(ErrorResponse::from(refusal)).map(Either::Right)));
            }
        };
        if let Authorized::Client(client) = &who {
            tracing::debug!(path = %crate::model::text::Escaped(parts.uri.path()), client = %client.name, "request");
            authorized();
            if let Some(body) = self.endpoint.at_hand(&parts, client) {
                return AnswerFuture::Now(Ok(unboxed_json(StatusCode::OK, parts.headers, body).map(Either::Left)));
            }
        }
        parts.extensions.insert(who);
        let answer = self.router.clone().call(Request::from_parts(parts, Body::new(body)));
        AnswerFuture::Later(Box::pin(async { answer.await.map(|answer| answer.map(Either::Right)) }))
    }
}

impl RouteState {
    /// The bytes for a request for credentials whose lease can be served this moment. Nearly all requests are of this
    /// kind, so they go around the router (docs/PERFORMANCE.md has what that saves); all others and every error are its.
    fn at_hand(&self, request: &Parts, client: &Client) -> Option<Bytes> {
        if request.method != Method::GET {
            return None;
        }
        let name = match below_credentials(request.uri.path())? {
            "" => client.own_identity(),
            below => IdentityName::new(below.strip_prefix('/').filter(|name| !name.is_empty() && !name.contains('%'))?),
        };
        if !client.may_have(&name) {
            return None;
        }
        self.leases.at_hand(name)
    }

    /// The identities this client may see, in order of their names.
    fn identities(&self, client: &Client) -> Vec<(IdentityName, LeaseHandle)> {
        let live = self.leases.registry.handles.borrow();
        let mut identities: Vec<_> = live
            .iter()
            .map(|(key, handle)| (key.identity().clone(), handle.clone()))
            .filter(|(name, _)| client.may_have(name))
            .collect();
        identities.sort_by(|a, b| a.0.cmp(&b.0));
        identities
    }
}

async fn credentials(State(endpoint): State<Arc<RouteState>>, request: Request) -> Response {
    let client = match request.extensions().get() {
        Some(Authorized::Client(client)) => Arc::clone(client),
        _ => return ErrorResponse::from(crate::server::access::Refusal::NoToken).into(),
    };
    let name = match asked_for(request.uri()) {
        Ok(None) => client.own_identity(),
        Ok(Some(name)) => name,
        Err(error) => return error.into(),
    };
    // Whether an identity exists is not for those who may not have it.
    if !client.may_have(&name) {
        return ErrorResponse::identity_not_allowed(&name).into();
    }
    match endpoint.leases.lease(&name).await {
        Ok(lease) => json(StatusCode::OK, lease.body.clone()),
        Err(error) => error.into(),
    }
}

/// What stands below `/credentials`, or below `/v2/credentials`, where the agent of ECS has it.
fn below_credentials(path: &str) -> Option<&str> {
    path.strip_prefix("/credentials").or_else(|| path.strip_prefix("/v2/credentials"))
}

/// The identity in the path, percent-decoded once: names hold `/` and `%`.
fn asked_for(uri: &Uri) -> Result<Option<IdentityName>, ErrorResponse> {
    match below_credentials(uri.path()).and_then(|below| below.strip_prefix('/')) {
        None => Ok(None),
        Some(name) => percent_decode_str(name)
            .decode_utf8()
            .map(|name| Some(IdentityName::new(&*name)))
            .map_err(|_| ErrorResponse::identity_not_found(&IdentityName::new(name))),
    }
}

async fn healthz() -> Response {
    json(StatusCode::OK, Bytes::from_static(br#"{"status":"ok"}"#))
}

async fn readyz(State(endpoint): State<Arc<RouteState>>, request: Request) -> Response {
    let anyone = Client { name: "anyone".into(), identities: None };
    let (client, named) = match request.extensions().get() {
        Some(Authorized::Client(client)) => (&**client, true),
        _ => (&anyone, false),
    };
    let now = endpoint.leases.now();
    let lacking = |published: &LeaseState| published.eager && published.usable(now).is_none();
    let lacking: Vec<IdentityName> = endpoint
        .identities(client)
        .into_iter()
        .filter(|(_, handle)| lacking(&handle.state()))
        .map(|(name, _)| name)
        .collect();
    if lacking.is_empty() {
        return json(StatusCode::OK, Bytes::from_static(br#"{"status":"ready"}"#));
    }
    let names: Vec<&str> = if named { lacking.iter().map(IdentityName::as_str).collect() } else { Vec::new() };
    let body = serde_json::json!({
        "code": "NotReady",
        "message": format!("{} of the eager identities have no usable credentials", lacking.len()),
        "identities": named.then_some(names),
    });
    json(StatusCode::SERVICE_UNAVAILABLE, body.to_string().into())
}

async fn status(State(endpoint): State<Arc<RouteState>>, request: Request) -> Response {
    let Some(Authorized::Client(client)) = request.extensions().get() else {
        return ErrorResponse::from(crate::server::access::Refusal::NoToken).into();
    };
    let mut identities = endpoint.identities(client);
    let deadline = Instant::now() + REGION_PATIENCE;
    let mut handles: Vec<_> = identities.iter_mut().map(|(_, handle)| handle).collect();
    endpoint.leases.regions(&mut handles, deadline).await;
    let may_have = |name: &IdentityName| client.may_have(name);
    let (started, now) = (endpoint.started, endpoint.leases.now());
    let shown = status::StatusDocument::new(&endpoint.leases.registry, started, now, &identities, may_have);
    match serde_json::to_vec(&shown) {
        Ok(body) => json(StatusCode::OK, body.into()),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
