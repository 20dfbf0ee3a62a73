//! The handlers of the router, for requests that cannot be answered at once.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::{StatusCode, Uri};
use percent_encoding::percent_decode_str;
use tokio::time::Instant;

use crate::lease::state::LeaseState;
use crate::model::client_name::ClientName;
use crate::model::identity_name::IdentityName;
use crate::os::accounts;
use crate::server::access::Refusal;
use crate::server::clients::Client;
use crate::server::error::{ErrorResponse, json};
use crate::server::origin::RequestOrigin;
use crate::server::routes::{RouteState, below_credentials};
use crate::server::status;

/// The longest time that `/status` waits for missing regions to load.
const REGION_TIMEOUT: Duration = Duration::from_secs(1);

/// The sender of a request, for the handlers of the router.
#[derive(Clone, Debug)]
pub(super) struct Requester {
    /// `None` for a program without a valid token, which may only read the health paths.
    pub(super) client: Option<Arc<Client>>,
    pub(super) origin: RequestOrigin,
}

impl Requester {
    /// Returns the client of a request.
    ///
    /// # Errors
    /// If the request has none.
    fn client(request: &Request) -> Result<(&Arc<Client>, &RequestOrigin), ErrorResponse> {
        let requester = request.extensions().get::<Self>();
        let client = requester.and_then(|requester| Some((requester.client.as_ref()?, &requester.origin)));
        client.ok_or_else(|| ErrorResponse::from(Refusal::NoToken))
    }
}

pub(super) async fn credentials(State(state): State<Arc<RouteState>>, request: Request) -> Response {
    let (client, origin) = match Requester::client(&request) {
        Ok((client, origin)) => (Arc::clone(client), origin.clone()),
        Err(error) => return error.into(),
    };
    let name = match requested_identity(request.uri()) {
        Ok(None) => client.own_identity(),
        Ok(Some(name)) => name,
        Err(error) => {
            state.log.record_error(&origin, Some(&client.name), None, &error);
            return error.into();
        }
    };
    let clients = Arc::clone(&state.clients.borrow());
    let target = clients.target(&client, name.clone(), state.leases.now());
    let identity = target.identity.clone();
    match state.served_body(&client, &origin, &clients, &name, target).await {
        Ok(body) => json(StatusCode::OK, body),
        Err(error) => {
            state.log.record_error(&origin, Some(&client.name), Some(&identity), &error);
            error.into()
        }
    }
}

pub(super) async fn method_not_allowed(State(state): State<Arc<RouteState>>, request: Request) -> Response {
    let error = ErrorResponse::method_not_allowed();
    if let (Ok((client, origin)), Some(_)) = (Requester::client(&request), below_credentials(request.uri().path())) {
        state.log.record_error(origin, Some(&client.name), None, &error);
    }
    error.into()
}

/// Returns the identity of the path, percent-decoded once: names may contain `/` and `%`.
pub(super) fn requested_identity(uri: &Uri) -> Result<Option<IdentityName>, ErrorResponse> {
    match below_credentials(uri.path()).and_then(|below| below.strip_prefix('/')) {
        None => Ok(None),
        Some(name) => percent_decode_str(name)
            .decode_utf8()
            .map(|name| Some(IdentityName::new(&*name)))
            .map_err(|_| ErrorResponse::identity_not_found(&IdentityName::new(name))),
    }
}

pub(super) async fn healthz() -> Response {
    json(StatusCode::OK, Bytes::from_static(br#"{"status":"ok"}"#))
}

pub(super) async fn readyz(State(state): State<Arc<RouteState>>, request: Request) -> Response {
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

pub(super) async fn status(State(state): State<Arc<RouteState>>, request: Request) -> Response {
    let (client, user) = match Requester::client(&request) {
        Ok((client, origin)) => (Arc::clone(client), origin.user.map(accounts::user_name)),
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
    if client.name.as_str() == ClientName::OWNER {
        shown.add_audit(state.log.counts());
    } else {
        shown.hide_configuration();
    }
    match serde_json::to_vec(&shown) {
        Ok(body) => json(StatusCode::OK, body.into()),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
