//! The principal of an identity: as far as it is known, or as STS answers.

use serde_json::json;
use tokio::sync::oneshot;

use crate::aws::sts::answer::CallerIdentity;
use crate::lease::supervisor::SupervisorCommand;
use crate::model::identity_name::IdentityName;
use crate::model::time::timestamp;
use crate::server::control::ControlServer;
use crate::server::control::answers::{ControlResult, body};
use crate::server::control::requests::Query;
use crate::server::error::ErrorResponse;

impl ControlServer {
    pub(super) async fn whoami(&self, query: &Query<'_>) -> ControlResult {
        let named = query.get("identity").map_or_else(IdentityName::default, IdentityName::new);
        let clients = self.clients.borrow().default_identity.clone();
        let identity = match clients {
            Some(default) if named.as_str() == IdentityName::DEFAULT => default.target(self.leases.now()).identity,
            _ => named,
        };
        let lease = self.leases.lease(&identity).await?;
        let verified = match query.get("verify") {
            Some("true") => Some(self.caller(&identity).await?),
            _ => None,
        };
        let account = verified.as_ref().map(|caller| &caller.account).or(lease.account_id.as_ref());
        let session_arn = lease.session.as_ref().and_then(|session| session.arn.as_ref());
        body(&json!({
            "identity": identity.as_str(),
            "account": account,
            "arn": verified.as_ref().map(|caller| &caller.arn).or(session_arn),
            "source": &*lease.source,
            "expiration": lease.expiration.map(timestamp),
        }))
    }

    /// Asks STS for the principal of an identity.
    async fn caller(&self, identity: &IdentityName) -> Result<CallerIdentity, ErrorResponse> {
        let (reply, answer) = oneshot::channel();
        let stopping = || ErrorResponse::daemon_stopping();
        let command = SupervisorCommand::Caller { identity: identity.clone(), reply };
        self.supervisor.send(command).await.map_err(|_| stopping())?;
        let caller = answer.await.map_err(|_| stopping())?;
        let caller = caller.ok_or_else(|| ErrorResponse::identity_not_found(identity))?;
        caller.map_err(|error| ErrorResponse::of_owner(&error))
    }
}
