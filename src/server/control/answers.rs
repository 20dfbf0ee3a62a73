//! The answers at the control socket. Those with a secret are rendered into one buffer, which is overwritten.

use std::borrow::Cow;
use std::time::SystemTime;

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode};
use http_body_util::Either;
use serde::Serialize;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::model::credentials::Credentials;
use crate::model::secret::Secret;
use crate::model::time::timestamp;
use crate::server::client_table::grants::GrantState;
use crate::server::error::{ErrorResponse, unboxed_json};
use crate::server::response::HttpAnswer;

pub(super) type ControlResult = Result<Bytes, ErrorResponse>;

/// The capacity for an answer. Answers with a token are shorter, so that no copy is left in memory.
const ANSWER_SIZE: usize = 8 * 1024;

#[derive(Serialize)]
pub(super) struct GivenGrant<'a> {
    pub(super) name: &'a str,
    pub(super) identity: &'a str,
    pub(super) expires: String,
    pub(super) url: Option<String>,
    pub(super) socket: Option<Cow<'a, str>>,
    pub(super) token: &'a str,
    /// The region and the S3 endpoint of the identity, as far as they are known.
    pub(super) region: Option<Box<str>>,
    pub(super) endpoint: Option<Box<str>>,
}

#[derive(Serialize)]
pub(super) struct ShownToken<'a> {
    pub(super) client: &'a str,
    pub(super) token_file: Option<Cow<'a, str>>,
    pub(super) token: &'a str,
}

/// A session with MFA, with the names of the container credentials protocol.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct LentSession<'a> {
    access_key_id: &'a str,
    secret_access_key: &'a str,
    token: Option<&'a str>,
    expiration: Option<String>,
    account_id: Option<&'a str>,
}

impl<'a> LentSession<'a> {
    pub(super) fn new(session: &'a Credentials) -> Self {
        Self {
            access_key_id: &session.access_key_id,
            secret_access_key: session.secret_access_key.expose(),
            token: session.session_token.as_ref().map(Secret::expose),
            expiration: session.expiration.map(timestamp),
            account_id: session.account_id.as_deref(),
        }
    }
}

/// Returns the grants as they are listed, without their tokens.
pub(super) fn grants(grants: &[GrantState]) -> Value {
    let grant = |grant: &GrantState| {
        json!({
            "name": grant.name.as_str(),
            "identity": grant.identity.as_str(),
            "expires": timestamp(grant.ends),
            "policy_sha256": grant.policy_sha256,
            "policy_arns": grant.narrowing.as_ref().map(|narrowing| &*narrowing.policy_arns).unwrap_or_default(),
        })
    };
    grants.iter().map(grant).collect()
}

/// Returns a policy that ends all sessions of a role that were issued before `now` (IAM User Guide, "Revoking IAM role
/// temporary security credentials").
pub(super) fn deny_policy(now: SystemTime) -> Value {
    json!({
        "Version": "2012-10-17",
        "Statement": [{
            "Effect": "Deny",
            "Action": "*",
            "Resource": "*",
            "Condition": {"DateLessThan": {"aws:TokenIssueTime": timestamp(now)}},
        }],
    })
}

/// Renders an answer into one buffer, which is overwritten when it is dropped: the answer may hold a token.
pub(super) fn body(value: &impl Serialize) -> Result<Bytes, ErrorResponse> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(ANSWER_SIZE));
    serde_json::to_writer(&mut *bytes, value).map_err(|_| ErrorResponse::bad_request("the answer has no JSON form"))?;
    Ok(Bytes::from_owner(bytes))
}

pub(super) fn render(result: ControlResult) -> HttpAnswer {
    Ok(match result {
        Ok(body) => unboxed_json(StatusCode::OK, HeaderMap::new(), body).map(Either::Left),
        Err(error) => Response::from(error).map(Either::Right),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deny_policy_ends_sessions_issued_before_now() {
        let policy = deny_policy(SystemTime::UNIX_EPOCH);
        assert_eq!(policy["Statement"][0]["Condition"]["DateLessThan"]["aws:TokenIssueTime"], "1970-01-01T00:00:00Z");
        assert_eq!(policy["Statement"][0]["Effect"], "Deny");
    }
}
