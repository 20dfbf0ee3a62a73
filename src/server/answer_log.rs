//! The lines of the audit log about requests and commands.

use std::sync::Arc;
use std::time::SystemTime;

use http::StatusCode;

use crate::audit::AuditLog;
use crate::audit::event::{AuditEvent, AuditKeys, AuditKind, shortened};
use crate::lease::Lease;
use crate::model::client_name::ClientName;
use crate::model::identity_name::IdentityName;
use crate::server::error::ErrorResponse;
use crate::server::origin::RequestOrigin;

/// The client in lines about programs that have not proved to be one.
const NO_CLIENT: &str = "none";

/// Credentials as a client gets them.
#[derive(Debug)]
pub(crate) struct ServedLease<'a> {
    pub(crate) client: &'a str,
    /// The identity that answers.
    pub(crate) identity: &'a str,
    /// The identity that the client named.
    pub(crate) requested: &'a str,
    pub(crate) lease: &'a Lease,
    /// The expiration that the client is told.
    pub(crate) expiration: SystemTime,
}

/// Records answers and commands, if there is an audit log.
#[derive(Clone, Debug, Default)]
pub(crate) struct AnswerLog(Option<AuditLog>);

impl AnswerLog {
    pub(crate) fn new(log: Option<AuditLog>) -> Self {
        Self(log)
    }

    #[inline]
    pub(crate) fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Returns the log behind this one.
    pub(crate) fn audit_log(&self) -> Option<AuditLog> {
        self.0.clone()
    }

    /// Returns true if credentials are served only after their line was written.
    #[inline]
    pub(crate) fn is_required(&self) -> bool {
        self.0.as_ref().is_some_and(|log| log.is_required)
    }

    /// Returns the numbers of written and lost events.
    pub(crate) fn counts(&self) -> Option<(u64, u64)> {
        self.0.as_ref().map(AuditLog::counts)
    }

    /// Records that a client gets credentials, without waiting.
    pub(crate) fn record_served(&self, origin: &RequestOrigin, served: &ServedLease<'_>) {
        if let Some(log) = &self.0 {
            log.record(served.event(origin));
        }
    }

    /// Records that a client gets credentials. If the log is required it waits until the line is written.
    ///
    /// # Errors
    /// If the line cannot be written. The client gets no credentials then.
    pub(crate) async fn confirm_served(
        &self,
        origin: &RequestOrigin,
        served: ServedLease<'_>,
    ) -> Result<(), ErrorResponse> {
        match &self.0 {
            Some(log) if log.is_required => {
                let written = log.confirm(served.event(origin)).await;
                if written { Ok(()) } else { Err(ErrorResponse::audit_unavailable()) }
            }
            _ => {
                self.record_served(origin, &served);
                Ok(())
            }
        }
    }

    /// Records that a request for credentials got an error, or that a program was refused before it was known.
    pub(crate) fn record_refused(
        &self,
        origin: &RequestOrigin,
        client: Option<&str>,
        identity: Option<&str>,
        status: StatusCode,
        code: Option<&'static str>,
    ) {
        let Some(log) = &self.0 else { return };
        log.record(AuditEvent {
            client: Some(client.unwrap_or(NO_CLIENT).into()),
            identity: identity.map(shortened),
            status: Some(status.as_u16()),
            code,
            ..event(AuditKind::Refused, origin)
        });
    }

    /// Records an error that a program got.
    pub(crate) fn record_error(
        &self,
        origin: &RequestOrigin,
        client: Option<&ClientName>,
        identity: Option<&IdentityName>,
        error: &ErrorResponse,
    ) {
        let (client, identity) = (client.map(ClientName::as_str), identity.map(IdentityName::as_str));
        self.record_refused(origin, client, identity, error.status, Some(error.code));
    }

    /// Records a command of the owner, or a change that came by itself. `complete` adds what it is about.
    pub(crate) fn record_change(
        &self,
        kind: AuditKind,
        origin: &RequestOrigin,
        complete: impl FnOnce(&mut AuditEvent),
    ) {
        let Some(log) = &self.0 else { return };
        let mut event = event(kind, origin);
        complete(&mut event);
        log.record(event);
    }

    /// Opens the file again: a program may have rotated it.
    pub(crate) fn reopen(&self) {
        if let Some(log) = &self.0 {
            log.reopen();
        }
    }
}

impl ServedLease<'_> {
    fn event(&self, origin: &RequestOrigin) -> AuditEvent {
        let Self { client, identity, requested, lease, expiration } = *self;
        let keys = AuditKeys {
            source: Some(Arc::clone(&lease.source)),
            access_key_id: Some(lease.access_key_id.clone()),
            expiration: Some(expiration),
            ..AuditKeys::default()
        };
        AuditEvent {
            client: Some(client.into()),
            identity: Some(identity.into()),
            requested: (requested != identity).then(|| requested.into()),
            keys: Some(keys.with_session(lease.session.as_deref())),
            status: Some(StatusCode::OK.as_u16()),
            ..event(AuditKind::Served, origin)
        }
    }
}

fn event(kind: AuditKind, origin: &RequestOrigin) -> AuditEvent {
    AuditEvent { peer: origin.peer(), listener: origin.listener.clone(), ..AuditEvent::new(kind) }
}
