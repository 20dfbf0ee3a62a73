//! Grants at the control socket: given, and revoked.

use percent_encoding::percent_decode_str;
use serde_json::json;
use tokio::sync::mpsc;

use crate::audit::event::{AuditKeys, AuditKind};
use crate::lease::key::LeaseKey;
use crate::lease::supervisor::SupervisorCommand;
use crate::lease::supervisor::session_filter::SessionFilter;
use crate::model::client_name::ClientName;
use crate::model::time::timestamp;
use crate::os::accounts;
use crate::server::client_table::commands::ClientCommand;
use crate::server::client_table::grants::GrantError;
use crate::server::control::ControlServer;
use crate::server::control::answers::{ControlResult, GivenGrant, body, deny_policy};
use crate::server::control::requests::GrantBody;
use crate::server::error::ErrorResponse;
use crate::server::origin::RequestOrigin;

/// The session of a grant that is not given yet. Its drop ends the session, so that nothing renews it if the grant is refused
/// or its command hangs up.
struct PendingSession<'s> {
    supervisor: &'s mpsc::Sender<SupervisorCommand>,
    key: Option<LeaseKey>,
}

impl Drop for PendingSession<'_> {
    fn drop(&mut self) {
        if let Some(key) = self.key.take() {
            // A supervisor that is too busy ends the session when it is idle.
            let _ = self.supervisor.try_send(SupervisorCommand::DropSessions(SessionFilter::of_key(key)));
        }
    }
}

impl ControlServer {
    pub(super) async fn grant(&self, request: GrantBody, origin: &RequestOrigin) -> ControlResult {
        let order = request.order(self.leases.now())?;
        self.check_identity(&order.identity).await?;
        let is_in_use = self.ask(ClientCommand::ListGrants).await?.iter().any(|grant| grant.name == order.name);
        if is_in_use && !order.replace {
            return Err(grant_error(GrantError::NameInUse(order.name)));
        }
        let mut session = PendingSession { supervisor: &self.supervisor, key: None };
        if let Some(narrowing) = order.narrowing() {
            // A grant that cannot be narrowed is refused here, and not at its first request. It replaces no grant then.
            let user = origin.user.map(accounts::user_name);
            let key = self.leases.registry.key_for(&order.identity, order.name.as_str(), user.as_deref());
            let key = key.narrowed_further(&narrowing);
            session.key = Some(key.clone());
            let lease = self.leases.lease_of(&key, order.name.as_str()).await;
            let state = self.leases.registry.lookup(&key).map(|handle| handle.state());
            lease.map_err(|error| {
                state.and_then(|state| ErrorResponse::of_grant(key.identity(), &state)).unwrap_or(error)
            })?;
        }
        let (grant, token) = self.ask(|reply| ClientCommand::Grant(order, reply)).await?.map_err(grant_error)?;
        session.key = None;
        self.log.record_change(AuditKind::Grant, origin, |event| {
            event.client = Some(grant.name.as_str().into());
            event.identity = Some(grant.identity.as_str().into());
            let policy_sha256 = grant.policy_sha256.clone();
            event.keys = Some(AuditKeys { expiration: Some(grant.ends), policy_sha256, ..AuditKeys::default() });
        });
        let state =
            self.leases.registry.lookup(&LeaseKey::Identity(grant.identity.clone())).map(|handle| handle.state());
        body(&GivenGrant {
            name: grant.name.as_str(),
            identity: grant.identity.as_str(),
            expires: timestamp(grant.ends),
            url: self.addresses.first().map(|address| format!("http://{address}/credentials")),
            socket: self.sockets.first().map(|path| path.to_string_lossy()),
            token: token.expose(),
            region: state.as_ref().and_then(|state| state.region.clone().flatten()),
            endpoint: state.as_ref().and_then(|state| state.lease.as_ref()?.endpoint.clone()),
        })
    }

    pub(super) async fn revoke(&self, name: &str, origin: &RequestOrigin) -> ControlResult {
        let name = percent_decode_str(name).decode_utf8_lossy();
        let name = ClientName::parse(&name).map_err(ErrorResponse::bad_request)?;
        let grant = self.ask(|reply| ClientCommand::Revoke(name, reply)).await?.map_err(grant_error)?;
        self.log.record_change(AuditKind::Revoke, origin, |event| {
            event.client = Some(grant.name.as_str().into());
            event.identity = Some(grant.identity.as_str().into());
        });
        let now = self.leases.now();
        let is_narrowed = grant.narrowing.is_some();
        let handles = self.leases.registry.handles_of(&grant.identity, grant.name.as_str(), is_narrowed);
        let leases: Vec<_> = handles.iter().filter_map(|handle| handle.state().lease.clone()).collect();
        let leases = leases.iter().filter(|lease| lease.expiration.is_none_or(|end| now < end));
        // Keys that were handed out live on at the service, longer than the grant told.
        let (sessions, keys): (Vec<_>, Vec<_>) = leases.partition(|lease| !lease.is_long_lived);
        let is_session = !sessions.is_empty();
        let ends = if is_session { &sessions } else { &keys };
        let end = ends.iter().filter_map(|lease| lease.expiration).max();
        // No client gets the sessions of the grant any more, so they need no renewal.
        let sessions = SessionFilter::of_client(grant.name.as_str());
        let _ = self.supervisor.send(SupervisorCommand::DropSessions(sessions)).await;
        body(&json!({
            "name": grant.name.as_str(),
            "identity": grant.identity.as_str(),
            "handed_out": is_session || !keys.is_empty(),
            "keys_live_until": end.map(timestamp),
            "is_session": is_session,
            "deny_policy": is_session.then(|| deny_policy(now)),
        }))
    }
}

#[allow(clippy::needless_pass_by_value, reason = "map_err passes errors by value")]
fn grant_error(error: GrantError) -> ErrorResponse {
    match error {
        GrantError::Unknown(_) => ErrorResponse::no_such_name(error.to_string()),
        _ => ErrorResponse::conflict(error.to_string()),
    }
}
