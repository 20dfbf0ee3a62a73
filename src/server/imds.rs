//! The instance metadata service, version 2, before the same board: for programs that know no other way.
//!
//! Paths, headers and codes are those of the EC2 user guide ("Use IMDS"); what it leaves open is answered as SDKs want it
//! (docs/PROTOCOL.md). The protocol knows no clients: whoever reaches the listener may have the identity (SECURITY.md).

pub(crate) mod reply;
pub(crate) mod session_tokens;

use std::sync::{Arc, Once};
use std::time::Duration;

use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use percent_encoding::percent_decode_str;
use tokio::time::Instant;

use crate::lease::{LONG_LIVED_REFUSAL, Lease};
use crate::model::identity_name::IdentityName;
use crate::model::text::Escaped;
use crate::model::time::timestamp;
use crate::server::access::{AllowedHosts, addressed};
use crate::server::error::ErrorResponse;
use crate::server::imds::reply::{ImdsReply, TTL};
use crate::server::imds::session_tokens::ImdsSessionTokens;
use crate::server::lookup::LeaseLookup;
use crate::server::response::AnswerFuture;

const TOKEN_PATH: &str = "/latest/api/token";
const ROLES: &str = "/latest/meta-data/iam/security-credentials";
const INFO: &str = "/latest/meta-data/iam/info";
const REGION: &str = "/latest/meta-data/placement/region";
const ZONE: &str = "/latest/meta-data/placement/availability-zone";
const DOCUMENT: &str = "/latest/dynamic/instance-identity/document";

const TOKEN: HeaderName = HeaderName::from_static("x-aws-ec2-metadata-token");

/// What `allow_v1` means.
pub(crate) const ALLOW_V1_NOTICE: &str = "allow_v1: the metadata service answers requests without a token, which a server that fetches URLs for others can \
     be led to make; leave it out when no program needs IMDSv1";

/// A request is held so long until the keeper has found out its region: SDKs give up after a second.
const REGION_PATIENCE: Duration = Duration::from_millis(800);

/// The metadata service over one identity.
#[derive(Debug)]
pub(crate) struct ImdsServer {
    /// What is published.
    pub(crate) leases: LeaseLookup,
    /// Whose credentials it serves. Its name is the name of the role.
    pub(crate) identity: IdentityName,
    /// Under which names.
    pub(crate) hosts: AllowedHosts,
    /// The tokens of the protocol.
    pub(crate) sessions: ImdsSessionTokens,
    /// Whether requests without a token are answered (IMDSv1).
    pub(crate) allow_v1: bool,
    /// Told once in the log, since SDKs keep to themselves what they are told: its credentials cannot be served here.
    pub(crate) refusal: Once,
}

impl ImdsServer {
    /// Answers one request.
    #[must_use]
    pub(crate) fn answer(self: &Arc<Self>, request: &Parts) -> AnswerFuture {
        let (path, method) = (below_one_slash(request.uri.path()), &request.method);
        if let Err(refusal) = addressed(request, &self.hosts) {
            tracing::debug!(path = %Escaped(path), ?refusal, "metadata: refused");
            let error = ErrorResponse::from(refusal);
            return AnswerFuture::Now(ImdsReply::refusal(error.status, error.message).sent());
        }
        if path == TOKEN_PATH {
            return AnswerFuture::Now(self.token(method, &request.headers).sent());
        }
        if let Err(refused) = self.prove(&request.headers) {
            tracing::debug!(path = %Escaped(path), "metadata: no token, or not a good one");
            return AnswerFuture::Now(refused.sent());
        }
        if !matches!(*method, Method::GET | Method::HEAD) {
            return AnswerFuture::Now(ImdsReply::not_allowed("only GET is answered here").sent());
        }
        tracing::debug!(path = %Escaped(path), "metadata request");
        let Some(wanted) = self.wanted(path) else {
            return AnswerFuture::Now(ImdsReply::refusal(StatusCode::NOT_FOUND, "there is nothing here").sent());
        };
        let service = Arc::clone(self);
        AnswerFuture::Later(Box::pin(
            async move { service.give(wanted).await.unwrap_or_else(|refused| refused).sent() },
        ))
    }

    /// `PUT /latest/api/token`.
    fn token(&self, method: &Method, headers: &HeaderMap) -> ImdsReply {
        if *method != Method::PUT {
            return ImdsReply::not_allowed("a token is asked for with PUT");
        }
        match only(headers, &TTL).and_then(|ttl| ttl.to_str().ok()).and_then(session_tokens::ttl) {
            Some(seconds) => ImdsReply::token(self.sessions.issue(Duration::from_secs(seconds)), seconds),
            None => ImdsReply::refusal(
                StatusCode::BAD_REQUEST,
                "X-aws-ec2-metadata-token-ttl-seconds must be a whole number of seconds from 1 to 21600",
            ),
        }
    }

    /// Whether the request bears a good token, or none where version 1 is allowed. A bad one is a bad one even then.
    fn prove(&self, headers: &HeaderMap) -> Result<(), ImdsReply> {
        let refused = |why: &str| Err(ImdsReply::refusal(StatusCode::UNAUTHORIZED, why));
        if !headers.contains_key(TOKEN) {
            if self.allow_v1 {
                return Ok(());
            }
            return refused(
                "this metadata service wants a token (IMDSv2): PUT /latest/api/token; allow_v1 = true in [imds] of \
                 credenza.toml answers programs that know only IMDSv1",
            );
        }
        match only(headers, &TOKEN) {
            Some(token) if self.sessions.hold(token.as_bytes()) => Ok(()),
            _ => refused(
                "the token has ended, or is not one of this metadata service: PUT /latest/api/token gives another",
            ),
        }
    }

    /// What stands at a path. Some SDKs write folders with a slash behind them, some without.
    fn wanted(&self, path: &str) -> Option<ImdsResource> {
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

    /// Whether this is the identity's name, as the list has it or percent-encoded.
    fn is_role(&self, text: &str) -> bool {
        let name = self.identity.as_str();
        text == name || percent_decode_str(text).decode_utf8().is_ok_and(|text| text == name)
    }

    async fn give(&self, wanted: ImdsResource) -> Result<ImdsReply, ImdsReply> {
        let missing =
            |why: &str| ImdsReply::refusal(StatusCode::NOT_FOUND, format!("identity {}: {why}", self.identity));
        match wanted {
            ImdsResource::Roles => {
                self.has_token()?;
                Ok(ImdsReply::text(self.identity.as_str().to_owned()))
            }
            ImdsResource::Role => {
                let lease = self.lease().await?;
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
                    region.ok_or_else(|| missing("its region is not known; region = \"…\" in its sources tells it"))?;
                let zone = format!("{region}a");
                Ok(match wanted {
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

    /// The lease, if it can be served by this protocol.
    async fn lease(&self) -> Result<Arc<Lease>, ImdsReply> {
        let lease = self.leases.lease(&self.identity).await.map_err(|error| {
            // One code for what lasts and what passes, as instances have it. The SDK for Go tries it again for minutes.
            let status = if error.is_identity_not_found() { error.status } else { StatusCode::SERVICE_UNAVAILABLE };
            ImdsReply::refusal(status, error.message)
        })?;
        self.refuse_without_token(&lease)?;
        Ok(lease)
    }

    /// Refuses when the lease at hand cannot be served, so that SDKs see no role at all; without one there may come one.
    fn has_token(&self) -> Result<(), ImdsReply> {
        match self.leases.now_held(&self.identity) {
            Some(lease) => self.refuse_without_token(&lease),
            None => Ok(()),
        }
    }

    /// Credentials without a session token.
    fn refuse_without_token(&self, lease: &Lease) -> Result<(), ImdsReply> {
        if !lease.without_token {
            return Ok(());
        }
        self.refusal.call_once(|| {
            tracing::warn!(identity = %self.identity, "the metadata service was asked in vain: {LONG_LIVED_REFUSAL}");
        });
        Err(ImdsReply::refusal(StatusCode::NOT_FOUND, format!("identity {}: {LONG_LIVED_REFUSAL}", self.identity)))
    }

    async fn region(&self) -> Option<Box<str>> {
        let deadline = Instant::now() + REGION_PATIENCE;
        let mut handle = tokio::time::timeout_at(deadline, self.leases.registry.find(&self.identity)).await.ok()??;
        self.leases.regions(&mut [&mut handle], deadline).await;
        handle.now().region.clone().flatten()
    }

    fn account(&self) -> Option<Box<str>> {
        self.leases.now_held(&self.identity)?.account_id.clone()
    }
}

/// What can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ImdsResource {
    /// The list of roles, which has one.
    Roles,
    /// The credentials.
    Role,
    Info,
    Region,
    /// The region and `a`: an availability zone has to be of some letter.
    Zone,
    Document,
}

/// The SDK for Java joins an endpoint that ends in a slash and its paths with two.
fn below_one_slash(path: &str) -> &str {
    let slashes = path.bytes().take_while(|b| *b == b'/').count();
    &path[slashes.saturating_sub(1)..]
}

/// The value of a header that stands once.
fn only<'r>(headers: &'r HeaderMap, name: &HeaderName) -> Option<&'r HeaderValue> {
    let mut values = headers.get_all(name).iter();
    values.next().filter(|_| values.next().is_none())
}
