//! The events of the audit log. The names of the fields are those of the lines, and they are stable (docs/AUDIT.md).

use std::net::IpAddr;
use std::sync::Arc;
use std::time::SystemTime;

use serde::{Serialize, Serializer};

use crate::model::credentials::SessionDetails;
use crate::model::policy::SessionPolicy;
use crate::model::time::timestamp;

/// The maximum length of a text in a line, in characters. Names of the configuration are shorter; a path that a client
/// sends may have 16,000.
const LONGEST: usize = 256;

/// The kind of an event: the value of the field `event`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum AuditKind {
    /// A client got credentials.
    Served,
    /// A client got an error for a request for credentials, or was refused before it was known.
    Refused,
    Grant,
    Revoke,
    /// A grant ended by its time, or because its identity vanished.
    GrantEnded,
    /// `credenza use` changed the identity that `default` means.
    Use,
    /// The time of `credenza use` was over.
    UseEnded,
    /// A session with MFA was obtained, or refused.
    Mfa,
    /// A login behind an identity was renewed by a person.
    Login,
    Reload,
    /// A token was rotated, by the owner or by a changed file.
    Token,
    /// Events that could not be written, since the line of this kind before.
    Lost,
}

impl AuditKind {
    /// Returns true for the answers to requests. Equal ones within a second become one line.
    pub(crate) fn is_answer(self) -> bool {
        matches!(self, Self::Served | Self::Refused)
    }
}

/// The program at the other end of a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
pub(crate) struct AuditPeer {
    /// The user, as the kernel tells it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) uid: Option<u32>,
    /// The process at the moment of its connect(2). Only Unix sockets have it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) pid: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) address: Option<IpAddr>,
}

/// An event. Fields that are not known are absent from its line.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub(crate) struct AuditEvent {
    pub(crate) event: AuditKind,
    /// The client, or the name of the grant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) client: Option<Arc<str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) peer: Option<AuditPeer>,
    /// The address or path of the listener.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) listener: Option<Arc<str>>,
    /// The identity that answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) identity: Option<Arc<str>>,
    /// The identity that the client named, where `credenza use` made it another.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) requested: Option<Arc<str>>,
    #[serde(flatten)]
    pub(crate) keys: Option<AuditKeys>,
    /// The HTTP status of the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) status: Option<u16>,
    /// The code of the error, as the client got it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) code: Option<&'static str>,
    /// The result of a reload: `applied` or `refused`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) result: Option<&'static str>,
}

/// The keys that a client got.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize)]
pub(crate) struct AuditKeys {
    /// The full name of the source.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) source: Option<Arc<str>>,
    /// The access key id. CloudTrail shows it for every call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) access_key_id: Option<Box<str>>,
    /// The expiration that the client was told.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "moment")]
    pub(crate) expiration: Option<SystemTime>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) session_name: Option<Box<str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) source_identity: Option<Box<str>>,
    /// The SHA-256 of the session policy as STS got it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) policy_sha256: Option<Box<str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) packed_policy_size: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) aws_request_id: Option<Box<str>>,
}

impl AuditKeys {
    /// Adds what STS said about the session.
    #[must_use]
    pub(crate) fn with_session(self, session: Option<&SessionDetails>) -> Self {
        let Some(session) = session else { return self };
        Self {
            session_name: session.session_name.clone(),
            source_identity: session.source_identity.clone(),
            policy_sha256: session.policy.as_ref().map(SessionPolicy::sha256),
            packed_policy_size: session.packed_policy_size,
            aws_request_id: session.request_id.clone(),
            ..self
        }
    }
}

impl AuditEvent {
    pub(crate) fn new(event: AuditKind) -> Self {
        Self {
            event,
            client: None,
            peer: None,
            listener: None,
            identity: None,
            requested: None,
            keys: None,
            status: None,
            code: None,
            result: None,
        }
    }
}

/// Returns a text from outside, cut to the length of a field.
pub(crate) fn shortened(text: &str) -> Arc<str> {
    match text.char_indices().nth(LONGEST) {
        None => text.into(),
        Some((end, _)) => format!("{}…", &text[..end]).into(),
    }
}

#[allow(clippy::ref_option, reason = "serde passes the field by reference")]
fn moment<S: Serializer>(at: &Option<SystemTime>, serializer: S) -> Result<S::Ok, S::Error> {
    match at {
        Some(at) => serializer.serialize_str(&timestamp(*at)),
        None => serializer.serialize_none(),
    }
}
