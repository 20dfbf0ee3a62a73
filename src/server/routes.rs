//! The routes of the container credentials protocol: authorize the request, look up the lease, send its body.

mod handlers;

use std::cell::RefCell;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use axum::routing::get;
use bytes::Bytes;
use http::request::Parts;
use http::{Method, StatusCode};
use http_body_util::Either;
use tokio::sync::watch;
use tower_service::Service;

use crate::lease::handle::LeaseHandle;
use crate::lease::key::LeaseKey;
use crate::lease::registry::LeaseHandles;
use crate::lease::state::LeaseState;
use crate::model::identity_name::IdentityName;
use crate::model::text::Escaped;
use crate::os::accounts;
use crate::server::access::{AllowedHosts, Authorized, Refusal, authorize};
use crate::server::answer_log::{AnswerLog, ServedLease};
use crate::server::clients::{Client, Clients, ClientsWatch, Target};
use crate::server::error::{ErrorResponse, unboxed_json};
use crate::server::lookup::LeaseLookup;
use crate::server::origin::RequestOrigin;
use crate::server::response::AnswerFuture;

/// The longest time that a request waits for the clients of a new configuration. They come within a millisecond, because
/// their tokens were read before.
const RELOAD_TIMEOUT: Duration = Duration::from_secs(4);

#[derive(Debug)]
pub(crate) struct RouteState {
    pub(crate) leases: LeaseLookup,
    pub(crate) clients: ClientsWatch,
    pub(crate) hosts: AllowedHosts,
    pub(crate) started: SystemTime,
    pub(crate) log: AnswerLog,
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
        // A sender that has ended, because the daemon stops, has left its last value.
        if self.watch.has_changed().unwrap_or(true) {
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
            .route("/credentials", get(handlers::credentials))
            .route("/credentials/{*identity}", get(handlers::credentials))
            .route("/v2/credentials", get(handlers::credentials))
            .route("/v2/credentials/{*identity}", get(handlers::credentials))
            .route("/healthz", get(handlers::healthz))
            .route("/readyz", get(handlers::readyz))
            .route("/status", get(handlers::status))
            .method_not_allowed_fallback(handlers::method_not_allowed)
            .fallback(async || Response::from(ErrorResponse::not_found()))
            .with_state(Arc::clone(&state));
        let clients = LastSeen::of(state.clients.clone());
        let handles = LastSeen::of(state.leases.registry.handles.clone());
        Self { state, router, published: RefCell::new((clients, handles)) }
    }

    /// Returns true if access control must know the users of connections.
    pub(crate) fn needs_users(&self) -> bool {
        self.state.log.is_on()
            || self.state.clients.borrow().needs_users()
            || self.state.leases.registry.handles.borrow().needs_users
    }

    pub(crate) fn log(&self) -> &AnswerLog {
        &self.state.log
    }

    /// Answers one request. Calls `authorized` if a client sent it.
    pub(crate) fn answer<B>(
        &self,
        request: http::Request<B>,
        origin: &RequestOrigin,
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
        let authorized_as = match authorize(&parts, &self.state.hosts, clients, origin.user) {
            Ok(authorized_as) => authorized_as,
            Err(refusal) => {
                tracing::debug!(path = %Escaped(parts.uri.path()), ?refusal, "refused");
                let error = ErrorResponse::from(refusal);
                if self.state.log.is_on() {
                    let identity = handlers::requested_identity(&parts.uri).ok().flatten();
                    self.state.log.record_error(origin, None, identity.as_ref(), &error);
                }
                return AnswerFuture::Now(Ok(Response::from(error).map(Either::Right)));
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
                return self.answer_after_reload(http::Request::from_parts(parts, body), origin.clone());
            }
            if let Some(body) = self.state.held_body(&parts, origin, client, clients, handles) {
                return AnswerFuture::Now(Ok(unboxed_json(StatusCode::OK, parts.headers, body).map(Either::Left)));
            }
        }
        parts.extensions.insert(handlers::Requester { client: client.cloned(), origin: origin.clone() });
        let answer = self.router.clone().call(Request::from_parts(parts, Body::new(body)));
        AnswerFuture::Later(Box::pin(async { answer.await.map(|answer| answer.map(Either::Right)) }))
    }

    /// Returns true if clients and identities are those of one configuration.
    fn is_settled(&self) -> bool {
        let (clients, handles) = &mut *self.published.borrow_mut();
        clients.now().generation == handles.now().generation
    }

    /// Answers a request that came while a reload had replaced the identities, and not yet the clients: it waits for them, and
    /// is judged anew.
    #[cold]
    fn answer_after_reload<B>(&self, request: http::Request<B>, origin: RequestOrigin) -> AnswerFuture
    where
        B: hyper::body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<axum::BoxError>,
    {
        fn known_already(_: &Arc<Client>) {}
        let routes = self.clone();
        AnswerFuture::Later(Box::pin(async move {
            match routes.state.settled_clients().await {
                Ok(_) if routes.is_settled() => routes.answer(request, &origin, known_already).wait().await,
                Ok(_) => Ok(Response::from(ErrorResponse::reloading()).map(Either::Right)),
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
    fn held_body(
        &self,
        request: &Parts,
        origin: &RequestOrigin,
        client: &Client,
        clients: &Clients,
        handles: &LeaseHandles,
    ) -> Option<Bytes> {
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
        if self.log.is_on() {
            return self.recorded_body(origin, client, name, handles);
        }
        handles.body(name, self.leases.now())
    }

    /// Returns the body of a lease that is usable now, and records the answer. If the audit log is required, the router
    /// waits for the line.
    fn recorded_body(
        &self,
        origin: &RequestOrigin,
        client: &Client,
        name: &str,
        handles: &LeaseHandles,
    ) -> Option<Bytes> {
        if self.log.is_required() {
            return None;
        }
        let lease = handles.lease(name, self.leases.now())?;
        let expiration = lease.serve_until;
        let client = client.name.as_str();
        let served = ServedLease { client, identity: name, requested: name, lease: &lease, expiration };
        self.log.record_served(origin, &served);
        Some(lease.body.clone())
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

    /// Returns the body for a request that the router answers, when its line is in the audit log.
    ///
    /// # Errors
    /// If the client may not have the identity, there is no usable lease, or the client is gone meanwhile.
    async fn served_body(
        &self,
        client: &Arc<Client>,
        origin: &RequestOrigin,
        clients: &Arc<Clients>,
        requested: &IdentityName,
        Target { identity, latest }: Target,
    ) -> Result<Bytes, ErrorResponse> {
        // Refuse before the lookup: a client must not learn if a forbidden identity exists.
        if !client.may_have(&identity) {
            return Err(ErrorResponse::identity_not_allowed(&identity));
        }
        let key = self.lease_key(client, &identity, origin.user.map(accounts::user_name).as_deref());
        let lease = self.leases.lease_of(&key, client.name.as_str()).await?;
        // A grant may end, and a client may be removed, while its request waits. The lease may be one of a new configuration.
        let after = self.settled_clients().await?;
        let is_removed = !Arc::ptr_eq(clients, &after) && !after.still_has(client, origin.user);
        if is_removed || client.has_ended(self.leases.now()) {
            self.leases.give_up(&key);
            return Err(Refusal::WrongToken.into());
        }
        let expiration = latest.map_or(lease.serve_until, |latest| latest.min(lease.serve_until));
        let served = ServedLease {
            client: client.name.as_str(),
            identity: identity.as_str(),
            requested: requested.as_str(),
            lease: &lease,
            expiration,
        };
        self.log.confirm_served(origin, served).await?;
        Ok(latest.map_or_else(|| lease.body.clone(), |latest| lease.body_until(latest)))
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

/// Returns the rest of a path below `/credentials`, or below `/v2/credentials`, the path of the ECS agent.
fn below_credentials(path: &str) -> Option<&str> {
    path.strip_prefix("/credentials").or_else(|| path.strip_prefix("/v2/credentials"))
}

#[cfg(test)]
mod tests;
