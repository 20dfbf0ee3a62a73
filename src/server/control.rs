//! The control socket: a Unix socket by which the owner changes a running daemon. Only root and the user of the daemon
//! reach it. The commands of `cli/control` are its clients.

mod answers;
mod grants;
mod mfa;
mod requests;
mod tokens;
mod whoami;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::BoxError;
use bytes::Bytes;
use http::Method;
use http::request::Parts;
use http_body_util::{BodyExt, Limited};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};

use crate::audit::event::{AuditKeys, AuditKind};
use crate::context::mfa_sessions::MfaSessions;
use crate::lease::key::LeaseKey;
use crate::lease::supervisor::SupervisorCommand;
use crate::model::identity_name::IdentityName;
use crate::model::text::Escaped;
use crate::model::time::timestamp;
use crate::server::access::{AllowedHosts, check_addressed};
use crate::server::answer_log::AnswerLog;
use crate::server::client_table::commands::ClientCommand;
use crate::server::clients::ClientsWatch;
use crate::server::control::answers::{ControlResult, body, grants, render};
use crate::server::control::requests::{Query, UseBody};
use crate::server::error::ErrorResponse;
use crate::server::lookup::LeaseLookup;
use crate::server::origin::RequestOrigin;
use crate::server::response::AnswerFuture;
use crate::server::status::StatusDocument;

/// The maximum size of a request body, in bytes. A session policy has 2,048 characters.
const MAX_BODY: usize = 64 * 1024;

/// The maximum time for the body of a request to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// A request to load the configuration again. The reply is the reason why the earlier one stays in use.
pub(crate) type ReloadRequest = oneshot::Sender<Result<(), String>>;

#[derive(Debug)]
pub(crate) struct ControlServer {
    pub(crate) leases: LeaseLookup,
    pub(crate) started: SystemTime,
    pub(crate) clients: ClientsWatch,
    pub(crate) commands: mpsc::Sender<ClientCommand>,
    pub(crate) reloads: mpsc::Sender<ReloadRequest>,
    pub(crate) supervisor: mpsc::Sender<SupervisorCommand>,
    /// The sessions with MFA of the daemon.
    pub(crate) mfa_sessions: MfaSessions,
    /// The addresses of the TCP listeners.
    pub(crate) addresses: Vec<SocketAddr>,
    /// The paths of the Unix listeners.
    pub(crate) sockets: Vec<PathBuf>,
    /// The user of the daemon. Root has access as well.
    pub(crate) owner: u32,
    pub(crate) log: AnswerLog,
}

impl ControlServer {
    /// Answers one request. Calls `authorized` for the owner.
    pub(crate) fn answer<B>(
        self: &Arc<Self>,
        request: http::Request<B>,
        origin: &RequestOrigin,
        authorized: impl FnOnce(),
    ) -> AnswerFuture
    where
        B: hyper::body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let (parts, body) = request.into_parts();
        let user = origin.user;
        if user != Some(0) && user != Some(self.owner) {
            tracing::warn!(?user, "a user that does not own the daemon is refused at the control socket");
            return AnswerFuture::Now(render(Err(self.refused(origin, ErrorResponse::not_owner()))));
        }
        if let Err(refusal) = check_addressed(&parts, &AllowedHosts::default()) {
            return AnswerFuture::Now(render(Err(self.refused(origin, refusal.into()))));
        }
        authorized();
        let (server, origin) = (Arc::clone(self), origin.clone());
        AnswerFuture::Later(Box::pin(async move {
            let body = Limited::new(body, MAX_BODY).collect();
            let body = match tokio::time::timeout(BODY_TIMEOUT, body).await {
                Ok(Ok(body)) => body.to_bytes(),
                Ok(Err(_)) => {
                    return render(Err(ErrorResponse::bad_request(format!(
                        "the body is not whole, or longer than {MAX_BODY} bytes"
                    ))));
                }
                Err(_) => return render(Err(ErrorResponse::bad_request("the body did not arrive in time"))),
            };
            tracing::debug!(method = %parts.method, path = %Escaped(parts.uri.path()), "control request");
            render(server.handle(&parts, &body, &origin).await)
        }))
    }

    fn refused(&self, origin: &RequestOrigin, error: ErrorResponse) -> ErrorResponse {
        self.log.record_error(origin, None, None, &error);
        error
    }

    async fn handle(&self, request: &Parts, sent: &[u8], origin: &RequestOrigin) -> ControlResult {
        let path = request.uri.path();
        let query = || Query::parse(request.uri.query().unwrap_or_default());
        match (&request.method, path) {
            (&Method::GET, "/status") => self.status().await,
            (&Method::POST, "/reload") => self.reload(origin).await,
            (&Method::GET, "/grants") => body(&grants(&self.ask(ClientCommand::ListGrants).await?)),
            (&Method::POST, "/grants") => self.grant(parse(sent)?, origin).await,
            (&Method::DELETE, path) if path.starts_with("/grants/") => {
                self.revoke(&path["/grants/".len()..], origin).await
            }
            (&Method::POST, "/use") => self.use_identity(parse(sent)?, origin).await,
            (&Method::GET, "/whoami") => self.whoami(&query()?).await,
            (&Method::GET, "/token") => self.token(&query()?).await,
            (&Method::POST, "/mfa") => self.mfa(parse(sent)?, origin).await,
            (&Method::DELETE, "/mfa/sessions") => self.forget_mfa_sessions().await,
            (&Method::GET, "/mfa/session") => self.mfa_session(&query()?),
            (&Method::POST, "/token/rotate") => self.rotate(parse(sent)?, origin).await,
            _ => Err(ErrorResponse::no_control_path()),
        }
    }

    /// Sends a command to the client table and waits for its reply.
    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> ClientCommand) -> Result<T, ErrorResponse> {
        let (reply, answer) = oneshot::channel();
        let stopping = |()| ErrorResponse::daemon_stopping();
        self.commands.send(command(reply)).await.map_err(|_| stopping(()))?;
        answer.await.map_err(|_| stopping(()))
    }

    async fn status(&self) -> ControlResult {
        let registry = &self.leases.registry;
        let mut identities: Vec<_> = {
            let handles = registry.handles.borrow();
            handles.iter().map(|(name, handle)| (name.clone(), handle.state())).collect()
        };
        identities.sort_by(|a, b| a.0.cmp(&b.0));
        let mut document = StatusDocument::new(registry, self.started, self.leases.now(), &identities, |_| true);
        document.add_audit(self.log.counts());
        let mut document =
            serde_json::to_value(&document).map_err(|_| ErrorResponse::bad_request("the state has no JSON form"))?;
        document["switch"] = self.switch();
        document["clients"] = self.clients.borrow().names().into_iter().collect();
        document["grants"] = grants(&self.ask(ClientCommand::ListGrants).await?);
        body(&document)
    }

    fn switch(&self) -> Value {
        let clients = self.clients.borrow();
        match clients.default_identity.as_ref().and_then(|default| default.switched.as_ref()) {
            Some((identity, end)) => json!({"identity": identity.as_str(), "until": end.map(timestamp)}),
            None => Value::Null,
        }
    }

    async fn reload(&self, origin: &RequestOrigin) -> ControlResult {
        let (reply, answer) = oneshot::channel();
        let stopping = || ErrorResponse::daemon_stopping();
        self.reloads.send(reply).await.map_err(|_| stopping())?;
        let reloaded = answer.await.map_err(|_| stopping())?;
        let result = if reloaded.is_ok() { "applied" } else { "refused" };
        self.log.record_change(AuditKind::Reload, origin, |event| event.result = Some(result));
        match reloaded {
            Ok(()) => body(&json!({"result": result})),
            Err(message) => Err(ErrorResponse::configuration_refused(message)),
        }
    }

    async fn use_identity(&self, request: UseBody, origin: &RequestOrigin) -> ControlResult {
        let (identity, lifetime) = request.parts()?;
        let switched = identity.as_str() != IdentityName::DEFAULT;
        if switched {
            self.check_identity(&identity).await?;
        }
        let before = {
            let clients = self.clients.borrow();
            let target = clients.default_identity.as_ref().map(|default| default.target(self.leases.now()));
            target.map_or_else(|| (IdentityName::default(), None), |target| (target.identity, target.latest))
        };
        let order = switched.then(|| (identity.clone(), lifetime));
        let until = self.ask(|reply| ClientCommand::Use(order, reply)).await?;
        self.log.record_change(AuditKind::Use, origin, |event| {
            event.identity = Some(identity.as_str().into());
            event.keys = until.map(|until| AuditKeys { expiration: Some(until), ..AuditKeys::default() });
        });
        // Clients hold what they got before until its told expiration.
        let held = self.leases.held_lease(&LeaseKey::Identity(before.0.clone())).map(|lease| lease.serve_until);
        let held = held.map(|end| before.1.map_or(end, |latest| end.min(latest)));
        body(&json!({
            "identity": identity.as_str(),
            "until": until.map(timestamp),
            "held_until": held.map(timestamp),
            // Clients were told short lifetimes before this choice.
            "switchable": before.1.is_some(),
        }))
    }

    /// Checks that there is an identity of this name.
    async fn check_identity(&self, identity: &IdentityName) -> Result<(), ErrorResponse> {
        let registry = &self.leases.registry;
        let is_configured = registry.lookup(&LeaseKey::Identity(identity.clone())).is_some();
        if is_configured || registry.find(&LeaseKey::Identity(identity.clone())).await.is_some() {
            return Ok(());
        }
        Err(ErrorResponse::identity_not_found(identity))
    }
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, ErrorResponse> {
    // serde reads an array as an object, too: its values in the order of the fields.
    if body.trim_ascii_start().first() != Some(&b'{') {
        return Err(ErrorResponse::bad_request("the body is not a JSON object"));
    }
    serde_json::from_slice(body).map_err(|error| {
        let error = error.to_string();
        // Of a value with a wrong type serde repeats the value, which may be a code.
        let wrong = error.strip_prefix("invalid ").and_then(|rest| rest.rsplit_once(", expected "));
        let shown =
            wrong.map_or_else(|| error.clone(), |(_, expected)| format!("a value has a wrong type, not {expected}"));
        ErrorResponse::bad_request(format!("the body is not as expected: {}", Escaped(&shown)))
    })
}

#[cfg(test)]
mod tests {
    use http_body_util::Full;
    use tokio::sync::watch;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::lease::registry::LeaseRegistry;
    use crate::os::clock::Clock;
    use crate::server::control::requests::MfaBody;

    const OWNER: u32 = 1000;

    /// A server of [`OWNER`] without identities, and with no client table behind it.
    fn server() -> Arc<ControlServer> {
        let registry = LeaseRegistry {
            handles: watch::Sender::default().subscribe(),
            config_error: watch::Sender::default().subscribe(),
            known_profiles: watch::Sender::default().subscribe(),
            profile_demand: mpsc::channel(1).0,
        };
        Arc::new(ControlServer {
            leases: LeaseLookup { registry, clock: Clock::system(), stopping: CancellationToken::new() },
            started: SystemTime::UNIX_EPOCH,
            clients: watch::Sender::default().subscribe(),
            commands: mpsc::channel(1).0,
            reloads: mpsc::channel(1).0,
            supervisor: mpsc::channel(1).0,
            mfa_sessions: MfaSessions::default(),
            addresses: Vec::new(),
            sockets: Vec::new(),
            owner: OWNER,
            log: AnswerLog::default(),
        })
    }

    #[tokio::test]
    async fn answers_root_and_the_owner_only() {
        for (user, status) in [(Some(0), 404), (Some(OWNER), 404), (Some(OWNER + 1), 403), (None, 403)] {
            let request = http::Request::get("/nothing").header("host", "localhost").body(Full::<Bytes>::default());
            let mut is_authorized = false;
            let Ok(answer) = server().answer(request.unwrap(), &user.into(), || is_authorized = true).wait().await;
            assert_eq!((answer.status().as_u16(), is_authorized), (status, status == 404), "{user:?}");
        }
    }

    #[test]
    fn errors_about_bodies_repeat_no_value() {
        for (body, expected) in [
            (r#"{"identity":"a","code":123456}"#, "a value has a wrong type, not a string at line 1"),
            (r#"{"identity":["a, expected 123456"],"code":"1"}"#, "a value has a wrong type, not a"),
            ("{\"identity\":\"a\",\"co\u{7f}de\":\"123456\"}", "unknown field `co\\u{7f}de`"),
            (r#"["a","123456"]"#, "not a JSON object"),
        ] {
            let error = parse::<MfaBody>(body.as_bytes()).unwrap_err().message;
            assert!(error.contains(expected) && !error.contains("123456"), "{body}: {error}");
        }
    }
}
