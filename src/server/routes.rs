//! The routes of the container credentials protocol: authorize the request, look up the lease, send its body.

use std::cell::RefCell;
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
use tokio::sync::watch;
use tokio::time::Instant;
use tower_service::Service;

use crate::lease::handle::LeaseHandle;
use crate::lease::key::LeaseKey;
use crate::lease::registry::LeaseHandles;
use crate::lease::state::LeaseState;
use crate::model::client_name::ClientName;
use crate::model::identity_name::IdentityName;
use crate::model::text::Escaped;
use crate::os::accounts;
use crate::server::access::{AllowedHosts, Authorized, Refusal, authorize};
use crate::server::clients::{Client, Clients, ClientsWatch, Target};
use crate::server::error::{ErrorResponse, json, unboxed_json};
use crate::server::lookup::LeaseLookup;
use crate::server::response::AnswerFuture;
use crate::server::status;

/// The longest time that `/status` waits for missing regions to load.
const REGION_TIMEOUT: Duration = Duration::from_secs(1);

/// The longest time that a request waits for the clients of a new configuration. They come within a millisecond, because
/// their tokens were read before.
const RELOAD_TIMEOUT: Duration = Duration::from_secs(4);

#[derive(Debug)]
pub(crate) struct RouteState {
    pub(crate) leases: LeaseLookup,
    pub(crate) clients: ClientsWatch,
    pub(crate) hosts: AllowedHosts,
    pub(crate) started: SystemTime,
}

/// The sender of a request, for the handlers of the router.
#[derive(Clone, Debug)]
struct Requester {
    /// `None` for a program without a valid token, which may only read the health paths.
    client: Option<Arc<Client>>,
    /// The proven user of the connection.
    user: Option<u32>,
}

impl Requester {
    /// Returns the client of a request.
    ///
    /// # Errors
    /// If the request has none.
    fn client(request: &Request) -> Result<(&Arc<Client>, Option<u32>), ErrorResponse> {
        let requester = request.extensions().get::<Self>();
        let client = requester.and_then(|requester| Some((requester.client.as_ref()?, requester.user)));
        client.ok_or_else(|| ErrorResponse::from(Refusal::NoToken))
    }
}

/// A published value as one connection saw it last. A look for a change costs a fraction of a look at the watch. A connection
/// without requests is closed soon, so that it holds nothing old for long.
#[derive(Debug)]
struct LastSeen<T> {
    watch: watch::Receiver<Arc<T>>,
    seen: Arc<T>,
}

impl<T> Clone for LastSeen<T> {
    fn clone(&self) -> Self {
        Self { watch: self.watch.clone(), seen: Arc::clone(&self.seen) }
    }
}

impl<T> LastSeen<T> {
    fn of(mut watch: watch::Receiver<Arc<T>>) -> Self {
        let seen = Arc::clone(&watch.borrow_and_update());
        Self { watch, seen }
    }

    #[inline]
    fn now(&mut self) -> &T {
        if self.watch.has_changed().is_ok_and(|changed| changed) {
            self.seen = Arc::clone(&self.watch.borrow_and_update());
        }
        &self.seen
    }
}

/// Answers requests: access control first, then the lease that is held, then the router.
#[derive(Clone, Debug)]
pub(crate) struct Routes {
    state: Arc<RouteState>,
    router: Router,
    /// Each connection has a clone, and answers one request at a time.
    published: RefCell<(LastSeen<Clients>, LastSeen<LeaseHandles>)>,
}

impl Routes {
    pub(crate) fn new(state: Arc<RouteState>) -> Self {
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
            .with_state(Arc::clone(&state));
        let clients = LastSeen::of(state.clients.clone());
        let handles = LastSeen::of(state.leases.registry.handles.clone());
        Self { state, router, published: RefCell::new((clients, handles)) }
    }

    /// Returns true if access control must know the users of connections.
    pub(crate) fn needs_users(&self) -> bool {
        self.state.clients.borrow().needs_users() || self.state.leases.registry.handles.borrow().needs_users
    }

    /// Answers one request. `user` is the proven user of the connection. Calls `authorized` if a client sent it.
    pub(crate) fn answer<B>(
        &self,
        request: http::Request<B>,
        user: Option<u32>,
        authorized: impl FnOnce(&Arc<Client>),
    ) -> AnswerFuture
    where
        B: hyper::body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<axum::BoxError>,
    {
        let (mut parts, body) = request.into_parts();
        let mut published = self.published.borrow_mut();
        let (clients, handles) = &mut *published;
        let (clients, handles) = (clients.now(), handles.now());
        let authorized_as = match authorize(&parts, &self.state.hosts, clients, user) {
            Ok(authorized_as) => authorized_as,
            Err(refusal) => {
                tracing::debug!(path = %Escaped(parts.uri.path()), ?refusal, "refused");
                return AnswerFuture::Now(Ok(Response::from(ErrorResponse::from(refusal)).map(Either::Right)));
            }
        };
        let client = match authorized_as {
            Authorized::Client(client) => Some(client),
            Authorized::Anyone => None,
        };
        if let Some(client) = client {
            tracing::debug!(path = %Escaped(parts.uri.path()), client = %client.name, "request");
            authorized(client);
            if clients.generation != handles.generation {
                drop(published);
                return self.answer_after_reload(http::Request::from_parts(parts, body), user);
            }
            if let Some(body) = self.state.held_body(&parts, client, clients, handles) {
                return AnswerFuture::Now(Ok(unboxed_json(StatusCode::OK, parts.headers, body).map(Either::Left)));
            }
        }
        parts.extensions.insert(Requester { client: client.cloned(), user });
        let answer = self.router.clone().call(Request::from_parts(parts, Body::new(body)));
        AnswerFuture::Later(Box::pin(async { answer.await.map(|answer| answer.map(Either::Right)) }))
    }

    /// Answers a request that came while a reload had replaced the identities, and not yet the clients: it waits for them, and
    /// is judged anew.
    #[cold]
    fn answer_after_reload<B>(&self, request: http::Request<B>, user: Option<u32>) -> AnswerFuture
    where
        B: hyper::body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<axum::BoxError>,
    {
        fn known_already(_: &Arc<Client>) {}
        let routes = self.clone();
        AnswerFuture::Later(Box::pin(async move {
            match routes.state.settled_clients().await {
                Ok(_) => routes.answer(request, user, known_already).wait().await,
                Err(error) => Ok(Response::from(error).map(Either::Right)),
            }
        }))
    }
}

impl RouteState {
    /// Returns the body for a request for a lease that is usable now. Nearly all requests are of this kind, so they
    /// bypass the router, which is slower (docs/PERFORMANCE.md). The router answers all other requests, and every
    /// error.
    #[inline]
    fn held_body(&self, request: &Parts, client: &Client, clients: &Clients, handles: &LeaseHandles) -> Option<Bytes> {
        if request.method != Method::GET {
            return None;
        }
        let name = match below_credentials(request.uri.path())? {
            "" => client.own_name(),
            below => below.strip_prefix('/').filter(|name| !name.is_empty() && !name.contains('%'))?,
        };
        // The router tells a shorter expiration, too.
        if !client.identities.contains(name) || client.ends.is_some() || clients.switches(client, name) {
            return None;
        }
        handles.body(name, self.leases.now())
    }

    /// Returns the clients that go with the identities in use. During a reload it waits for them.
    ///
    /// # Errors
    /// If they do not come in time.
    async fn settled_clients(&self) -> Result<Arc<Clients>, ErrorResponse> {
        let (handles, mut clients) = (&self.leases.registry.handles, self.clients.clone());
        let settled = clients.wait_for(|clients| clients.generation >= handles.borrow().generation);
        match tokio::time::timeout(RELOAD_TIMEOUT, settled).await {
            Ok(Ok(clients)) => Ok(Arc::clone(&clients)),
            Ok(Err(_)) | Err(_) => Err(ErrorResponse::reloading()),
        }
    }

    /// Returns the key of the lease that this client gets of an identity.
    fn lease_key(&self, client: &Client, identity: &IdentityName, user: Option<&str>) -> LeaseKey {
        let key = self.leases.registry.key_for(identity, client.name.as_str(), user);
        match &client.narrowing {
            Some(narrowing) => key.narrowed_further(narrowing),
            None => key,
        }
    }

    /// Returns the state of the lease that this client gets of an identity, whose own lease has `handle`. Without a request the
    /// session of a client is not loaded.
    fn own_state(
        &self,
        client: &Client,
        user: Option<&str>,
        (identity, handle): (IdentityName, LeaseHandle),
    ) -> (IdentityName, Arc<LeaseState>) {
        let shared = handle.state();
        let key = self.lease_key(client, &identity, user);
        if matches!(key, LeaseKey::Identity(_)) {
            return (identity, shared);
        }
        let own = self.leases.registry.lookup(&key).map(|own| LeaseState::clone(&own.state())).unwrap_or_default();
        let LeaseState { eager, is_profile, ref region, .. } = *shared;
        (identity, Arc::new(LeaseState { eager, is_profile, region: region.clone(), ..own }))
    }

    /// Returns the identities that this client may have, by name.
    fn identities(&self, client: &Client) -> Vec<(IdentityName, LeaseHandle)> {
        let handles = self.leases.registry.handles.borrow();
        let mut identities: Vec<_> = handles
            .iter()
            .map(|(name, handle)| (name.clone(), handle.clone()))
            .filter(|(name, _)| client.may_have(name))
            .collect();
        identities.sort_by(|a, b| a.0.cmp(&b.0));
        identities
    }
}

async fn credentials(State(state): State<Arc<RouteState>>, request: Request) -> Response {
    let (client, user) = match Requester::client(&request) {
        Ok((client, user)) => (Arc::clone(client), user),
        Err(error) => return error.into(),
    };
    let name = match requested_identity(request.uri()) {
        Ok(None) => client.own_identity(),
        Ok(Some(name)) => name,
        Err(error) => return error.into(),
    };
    let now = state.leases.now();
    let clients = Arc::clone(&state.clients.borrow());
    let Target { identity, latest } = clients.target(&client, name, now);
    // Refuse before the lookup: a client must not learn if a forbidden identity exists.
    if !client.may_have(&identity) {
        return ErrorResponse::identity_not_allowed(&identity).into();
    }
    let key = state.lease_key(&client, &identity, user.map(accounts::user_name).as_deref());
    let lease = match state.leases.lease_of(&key, client.name.as_str()).await {
        Ok(lease) => lease,
        Err(error) => return error.into(),
    };
    // A grant may end, and a client may be removed, while its request waits. The lease may be one of a new configuration.
    let after = match state.settled_clients().await {
        Ok(after) => after,
        Err(error) => return error.into(),
    };
    let is_removed = !Arc::ptr_eq(&clients, &after) && !after.still_has(&client, user);
    if is_removed || client.has_ended(state.leases.now()) {
        state.leases.give_up(&key);
        return ErrorResponse::from(Refusal::WrongToken).into();
    }
    json(StatusCode::OK, latest.map_or_else(|| lease.body.clone(), |latest| lease.body_until(latest)))
}

/// Returns the rest of a path below `/credentials`, or below `/v2/credentials`, the path of the ECS agent.
fn below_credentials(path: &str) -> Option<&str> {
    path.strip_prefix("/credentials").or_else(|| path.strip_prefix("/v2/credentials"))
}

/// Returns the identity of the path, percent-decoded once: names may contain `/` and `%`.
fn requested_identity(uri: &Uri) -> Result<Option<IdentityName>, ErrorResponse> {
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

async fn readyz(State(state): State<Arc<RouteState>>, request: Request) -> Response {
    let anyone = Client::of_all("anyone");
    let (client, named) = match Requester::client(&request) {
        Ok((client, _)) => (&**client, true),
        Err(_) => (&anyone, false),
    };
    let now = state.leases.now();
    let is_unready = |state: &LeaseState| state.eager && state.usable(now).is_none();
    let unready: Vec<IdentityName> = state
        .identities(client)
        .into_iter()
        .filter(|(_, handle)| is_unready(&handle.state()))
        .map(|(name, _)| name)
        .collect();
    if unready.is_empty() {
        return json(StatusCode::OK, Bytes::from_static(br#"{"status":"ready"}"#));
    }
    let names: Vec<&str> = if named { unready.iter().map(IdentityName::as_str).collect() } else { Vec::new() };
    let body = serde_json::json!({
        "code": "NotReady",
        "message": format!("{} of the eager identities have no usable credentials", unready.len()),
        "identities": named.then_some(names),
    });
    json(StatusCode::SERVICE_UNAVAILABLE, body.to_string().into())
}

async fn status(State(state): State<Arc<RouteState>>, request: Request) -> Response {
    let (client, user) = match Requester::client(&request) {
        Ok((client, user)) => (Arc::clone(client), user.map(accounts::user_name)),
        Err(error) => return error.into(),
    };
    let mut identities = state.identities(&client);
    let deadline = Instant::now() + REGION_TIMEOUT;
    let mut handles: Vec<_> = identities.iter_mut().map(|(_, handle)| handle).collect();
    state.leases.load_regions(&mut handles, deadline).await;
    let may_have = |name: &IdentityName| client.may_have(name);
    let own_state = |identity| state.own_state(&client, user.as_deref(), identity);
    let identities: Vec<_> = identities.into_iter().map(own_state).collect();
    let (started, now) = (state.started, state.leases.now());
    let mut shown = status::StatusDocument::new(&state.leases.registry, started, now, &identities, may_have);
    if client.name.as_str() != ClientName::OWNER {
        shown.hide_configuration();
    }
    match serde_json::to_vec(&shown) {
        Ok(body) => json(StatusCode::OK, body.into()),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

#[cfg(test)]
mod tests;
