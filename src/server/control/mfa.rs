//! Sessions with MFA at the control socket: obtained with a code, lent to commands of the owner, and forgotten.

use serde_json::json;
use tokio::sync::oneshot;

use crate::audit::event::{AuditKeys, AuditKind};
use crate::cache::key::CacheKey;
use crate::lease::supervisor::SupervisorCommand;
use crate::model::identity_name::IdentityName;
use crate::model::time::timestamp;
use crate::server::control::ControlServer;
use crate::server::control::answers::{ControlResult, LentSession, body};
use crate::server::control::requests::{MfaBody, Query};
use crate::server::error::ErrorResponse;
use crate::server::origin::RequestOrigin;

impl ControlServer {
    pub(super) async fn mfa(&self, request: MfaBody, origin: &RequestOrigin) -> ControlResult {
        let MfaBody { identity, code } = request;
        let identity = IdentityName::new(identity);
        let (reply, answer) = oneshot::channel();
        let stopping = || ErrorResponse::daemon_stopping();
        let command = SupervisorCommand::Mfa { identity: identity.clone(), code, reply };
        self.supervisor.send(command).await.map_err(|_| stopping())?;
        let obtained = answer.await.map_err(|_| stopping())?;
        let obtained = obtained.ok_or_else(|| ErrorResponse::identity_not_found(&identity))?;
        let obtained = obtained.map_err(|error| ErrorResponse::of_owner(&error));
        self.log.record_change(AuditKind::Mfa, origin, |event| {
            event.identity = Some(identity.as_str().into());
            event.code = obtained.as_ref().err().map(|error| error.code);
            let expiration = obtained.as_ref().ok().copied().flatten();
            event.keys = expiration.map(|end| AuditKeys { expiration: Some(end), ..AuditKeys::default() });
        });
        let until = obtained?;
        body(&json!({"identity": identity.as_str(), "until": until.map(timestamp)}))
    }

    /// Gives the session of exactly these keys and this device to a command of the owner, which would ask for a code
    /// otherwise.
    pub(super) fn mfa_session(&self, query: &Query<'_>) -> ControlResult {
        let key = query.get("key").and_then(CacheKey::parse);
        let key = key.ok_or_else(|| ErrorResponse::bad_request("key is not a SHA-256 in hexadecimal"))?;
        match self.mfa_sessions.get(key, self.leases.now()) {
            Some(session) => body(&LentSession::new(&session)),
            None => Err(ErrorResponse::no_such_name("there is no session with MFA of these keys and this device")),
        }
    }

    /// Forgets the sessions with MFA. Identities that stand on one load again, and need a code.
    pub(super) async fn forget_mfa_sessions(&self) -> ControlResult {
        let ended = self.mfa_sessions.forget();
        if ended > 0 {
            let stopping = |_| ErrorResponse::daemon_stopping();
            self.supervisor.send(SupervisorCommand::Reload).await.map_err(stopping)?;
        }
        body(&json!({"ended": ended}))
    }
}
