//! The IMDS server: the instance metadata service, version 2, for programs that know no other protocol.
//!
//! Paths, headers and codes follow the EC2 user guide ("Use IMDS"). Details that the guide leaves open follow the SDKs
//! (docs/PROTOCOL.md). The protocol has no clients: each program that reaches the listener gets the identity
//! (SECURITY.md).

pub(crate) mod reply;
pub(crate) mod session_tokens;

use std::sync::{Arc, Once};
use std::time::Duration;

use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use percent_encoding::percent_decode_str;
use tokio::time::Instant;

use crate::lease::key::LeaseKey;
use crate::lease::{LONG_LIVED_REFUSAL, Lease};
use crate::model::identity_name::IdentityName;
use crate::model::text::Escaped;
use crate::model::time::timestamp;
use crate::server::access::{AllowedHosts, check_addressed};
use crate::server::answer_log::{AnswerLog, ServedLease};
use crate::server::imds::reply::{ImdsReply, TTL};
use crate::server::imds::session_tokens::{ImdsSessionTokens, parse_ttl};
use crate::server::lookup::LeaseLookup;
use crate::server::origin::RequestOrigin;
use crate::server::response::AnswerFuture;

const TOKEN_PATH: &str = "/latest/api/token";
const ROLES: &str = "/latest/meta-data/iam/security-credentials";
const INFO: &str = "/latest/meta-data/iam/info";
const REGION: &str = "/latest/meta-data/placement/region";
const ZONE: &str = "/latest/meta-data/placement/availability-zone";
const DOCUMENT: &str = "/latest/dynamic/instance-identity/document";

const TOKEN: HeaderName = HeaderName::from_static("x-aws-ec2-metadata-token");

/// The warning about the risk of `allow_v1`, for the log and `check`.
pub(crate) const ALLOW_V1_NOTICE: &str = "allow_v1: the metadata service answers requests without a token; an attacker can make a server that fetches \
     URLs send such a request. Remove allow_v1 if no program needs IMDSv1";

/// The longest wait for a region. SDKs give up after a second.
const REGION_TIMEOUT: Duration = Duration::from_millis(800);

/// The name of this protocol's programs among clients.
const CLIENT: &str = "imds";

#[derive(Debug)]
pub(crate) struct ImdsServer {
    pub(crate) leases: LeaseLookup,
    /// The identity that is served; its name is the name of the role.
    pub(crate) identity: IdentityName,
    pub(crate) hosts: AllowedHosts,
    pub(crate) session_tokens: ImdsSessionTokens,
    /// True if requests without a session token are answered (IMDSv1).
    pub(crate) allow_v1: bool,
    /// Ensures that refused long-lived keys are logged once. SDKs do not show the response to the user.
    pub(crate) long_lived_warning: Once,
    pub(crate) log: AnswerLog,
}

impl ImdsServer {
    /// Answers one request. Calls `authorized` if the request has a session token.
    pub(crate) fn answer(
        self: &Arc<Self>,
        request: &Parts,
        origin: &RequestOrigin,
        authorized: impl FnOnce(),
    ) -> AnswerFuture {
        let (path, method) = (collapse_slashes(request.uri.path()), &request.method);
        if let Err(refusal) = check_addressed(request, &self.hosts) {
            tracing::debug!(path = %Escaped(path), ?refusal, "IMDS request refused");
            let reply = ImdsReply::from(refusal);
            self.record_refused(origin, &reply);
            return AnswerFuture::Now(reply.into_response());
        }
        if path == TOKEN_PATH {
            let reply = self.issue_token(method, &request.headers);
            if !reply.status.is_success() {
                self.record_refused(origin, &reply);
            }
            return AnswerFuture::Now(reply.into_response());
        }
        match self.check_token(&request.headers) {
            Ok(is_proved) if is_proved => authorized(),
            Ok(_) => {}
            Err(refusal) => {
                tracing::debug!(path = %Escaped(path), "IMDS request refused: no valid session token");
                self.record_refused(origin, &refusal);
                return AnswerFuture::Now(refusal.into_response());
            }
        }
        if !matches!(*method, Method::GET | Method::HEAD) {
            return AnswerFuture::Now(ImdsReply::method_not_allowed("this path answers only GET").into_response());
        }
        tracing::debug!(path = %Escaped(path), "IMDS request");
        let Some(resource) = self.find_resource(path) else {
            return AnswerFuture::Now(ImdsReply::error(StatusCode::NOT_FOUND, "no such path").into_response());
        };
        let (server, origin) = (Arc::clone(self), origin.clone());
        AnswerFuture::Later(Box::pin(async move {
            let loaded = server.load_resource(resource, &origin).await;
            if let (Err(reply), ImdsResource::Role | ImdsResource::Roles) = (&loaded, resource) {
                server.record_refused(&origin, reply);
            }
            loaded.unwrap_or_else(|error| error).into_response()
        }))
    }

    fn record_refused(&self, origin: &RequestOrigin, reply: &ImdsReply) {
        self.log.record_refused(origin, Some(CLIENT), Some(self.identity.as_str()), reply.status, None);
    }

    /// Answers `PUT /latest/api/token`.
    fn issue_token(&self, method: &Method, headers: &HeaderMap) -> ImdsReply {
        if *method != Method::PUT {
            return ImdsReply::method_not_allowed("this path answers only PUT");
        }
        match single_value(headers, &TTL).and_then(|ttl| ttl.to_str().ok()).and_then(parse_ttl) {
            Some(seconds) => {
                ImdsReply::token(self.session_tokens.issue(self.leases.now(), Duration::from_secs(seconds)), seconds)
            }
            None => ImdsReply::error(
                StatusCode::BAD_REQUEST,
                "X-aws-ec2-metadata-token-ttl-seconds must be a whole number of seconds from 1 to 21600",
            ),
        }
    }

    /// Checks the session token of a request. With `allow_v1` it may be missing, but not invalid. Returns true if there
    /// is one.
    fn check_token(&self, headers: &HeaderMap) -> Result<bool, ImdsReply> {
        let refuse = |why: &str| Err(ImdsReply::error(StatusCode::UNAUTHORIZED, why));
        if !headers.contains_key(TOKEN) {
            if self.allow_v1 {
                return Ok(false);
            }
            return refuse(
                "the request has no session token (IMDSv2): get one with PUT /latest/api/token. For programs that know \
                 only IMDSv1, set allow_v1 = true in [imds] of credenza.toml",
            );
        }
        match single_value(headers, &TOKEN) {
            Some(token) if self.session_tokens.verify(self.leases.now(), token.as_bytes()) => Ok(true),
            _ => refuse("the session token has expired or is not valid here: get another with PUT /latest/api/token"),
        }
    }

    /// Finds the resource at a path. Some SDKs write a slash after folders, others do not.
    fn find_resource(&self, path: &str) -> Option<ImdsResource> {
        if let Some(role) = path.strip_prefix(ROLES) {
            return match role {
                "" | "/" => Some(ImdsResource::Roles),
                role => role.strip_prefix('/').filter(|role| self.is_role(role)).map(|_| ImdsResource::Role),
            };
        }
        match path.strip_suffix('/').unwrap_or(path) {
            REGION => Some(ImdsResource::Region),
            ZONE => Some(ImdsResource::Zone),
            _ => match path {
                INFO => Some(ImdsResource::Info),
                DOCUMENT => Some(ImdsResource::Document),
                _ => None,
            },
        }
    }

    /// Returns true if this is the name of the identity, verbatim or percent-encoded.
    fn is_role(&self, text: &str) -> bool {
        let name = self.identity.as_str();
        text == name || percent_decode_str(text).decode_utf8().is_ok_and(|text| text == name)
    }

    async fn load_resource(&self, resource: ImdsResource, origin: &RequestOrigin) -> Result<ImdsReply, ImdsReply> {
        let missing = |why: &str| ImdsReply::error(StatusCode::NOT_FOUND, format!("identity {}: {why}", self.identity));
        match resource {
            ImdsResource::Roles => {
                self.check_held_lease()?;
                Ok(ImdsReply::text(self.identity.as_str().to_owned()))
            }
            ImdsResource::Role => {
                let lease = self.lease().await?;
                let identity = self.identity.as_str();
                let expiration = lease.serve_until;
                let served = ServedLease { client: CLIENT, identity, requested: identity, lease: &lease, expiration };
                let recorded = self.log.confirm_served(origin, served).await;
                recorded.map_err(|error| ImdsReply::error(error.status, error.message))?;
                Ok(ImdsReply::text(lease.body.clone()))
            }
            ImdsResource::Info => {
                let lease = self.lease().await?;
                let account = lease.account_id.as_deref().ok_or_else(|| missing("its account is not known"))?;
                Ok(ImdsReply::text(
                    serde_json::json!({
                    "Code": "Success",
                    "LastUpdated": timestamp(lease.loaded),
                    "InstanceProfileArn": format!("arn:aws:iam::{account}:instance-profile/{}", self.identity.as_str()),
                }).to_string()))
            }
            ImdsResource::Region | ImdsResource::Zone | ImdsResource::Document => {
                let region = self.region().await;
                let region =
                    region.ok_or_else(|| missing("its region is not known; set region = \"…\" in its sources"))?;
                let zone = format!("{region}a");
                Ok(match resource {
                    ImdsResource::Region => ImdsReply::text(String::from(region)),
                    ImdsResource::Zone => ImdsReply::text(zone),
                    _ => {
                        let mut document = serde_json::json!({
                            "version": "2017-09-30", "region": region, "availabilityZone": zone,
                        });
                        if let Some(account) = self.account() {
                            document["accountId"] = (&*account).into();
                        }
                        ImdsReply::text(document.to_string())
                    }
                })
            }
        }
    }

    /// Waits for the lease; refuses long-lived keys.
    async fn lease(&self) -> Result<Arc<Lease>, ImdsReply> {
        let lease = self.leases.lease_of(&self.key(), CLIENT).await.map_err(|error| {
            // Use one code for permanent and transient errors, as EC2 does. The SDK for Go retries it for minutes.
            let status = if error.is_identity_not_found() { error.status } else { StatusCode::SERVICE_UNAVAILABLE };
            ImdsReply::error(status, error.message)
        })?;
        self.refuse_long_lived(&lease)?;
        Ok(lease)
    }

    /// Refuses the list of roles if the lease is of long-lived keys, so that SDKs see no role. Without a lease the list
    /// is served, because a lease may follow.
    fn check_held_lease(&self) -> Result<(), ImdsReply> {
        match self.leases.held_lease(&self.key()) {
            Some(lease) => self.refuse_long_lived(&lease),
            None => Ok(()),
        }
    }

    fn refuse_long_lived(&self, lease: &Lease) -> Result<(), ImdsReply> {
        if !lease.is_long_lived {
            return Ok(());
        }
        self.long_lived_warning.call_once(|| {
            tracing::warn!(identity = %self.identity, "IMDS requests get no credentials: {LONG_LIVED_REFUSAL}");
        });
        Err(ImdsReply::error(StatusCode::NOT_FOUND, format!("identity {}: {LONG_LIVED_REFUSAL}", self.identity)))
    }

    /// Returns the key of the lease for all programs that reach this server.
    fn key(&self) -> LeaseKey {
        self.leases.registry.key_for(&self.identity, CLIENT, None)
    }

    async fn region(&self) -> Option<Box<str>> {
        let deadline = Instant::now() + REGION_TIMEOUT;
        let mut handle = tokio::time::timeout_at(deadline, self.leases.registry.find(&self.key())).await.ok()??;
        self.leases.load_regions(&mut [&mut handle], deadline).await;
        handle.state().region.clone().flatten()
    }

    fn account(&self) -> Option<Box<str>> {
        self.leases.held_lease(&self.key())?.account_id.clone()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ImdsResource {
    /// The list of roles, with one entry.
    Roles,
    Role,
    Info,
    Region,
    /// The availability zone: the region with the letter `a`, because the zone is unknown.
    Zone,
    Document,
}

/// Collapses leading slashes: the SDK for Java sends two if the endpoint ends in a slash.
fn collapse_slashes(path: &str) -> &str {
    let slashes = path.bytes().take_while(|b| *b == b'/').count();
    &path[slashes.saturating_sub(1)..]
}

/// Returns the value of a header that occurs exactly once.
fn single_value<'r>(headers: &'r HeaderMap, name: &HeaderName) -> Option<&'r HeaderValue> {
    let mut values = headers.get_all(name).iter();
    values.next().filter(|_| values.next().is_none())
}
