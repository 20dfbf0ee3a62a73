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
use crate::server::clients::{Client, Target};
use crate::server::error::{ErrorResponse, json};
use crate::server::routes::{RouteState, below_credentials};
use crate::server::status;

/// The longest time that `/status` waits for missing regions to load.
const REGION_TIMEOUT: Duration = Duration::from_secs(1);

/// The sender of a request, for the handlers of the router.
#[derive(Clone, Debug)]
pub(super) struct Requester {
    /// `None` for a program without a valid token, which may only read the health paths.
    pub(super) client: Option<Arc<Client>>,
    /// The proven user of the connection.
    pub(super) user: Option<u32>,
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

pub(super) async fn credentials(State(state): State<Arc<RouteState>>, request: Request) -> Response {
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
