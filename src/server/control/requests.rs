//! The requests at the control socket: bodies and queries, checked.

use std::borrow::Cow;
use std::time::{Duration, SystemTime};

use percent_encoding::percent_decode_str;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::model::client_name::ClientName;
use crate::model::identity_name::IdentityName;
use crate::model::policy::SessionPolicy;
use crate::model::secret::Secret;
use crate::model::session_limits::check_policies;
use crate::model::time::end_after;
use crate::server::client_table::grants::GrantOrder;
use crate::server::error::ErrorResponse;

/// The longest lifetime of a grant and of a switch: 30 days.
const LONGEST: u64 = 30 * 24 * 3600;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct GrantBody {
    name: Box<str>,
    identity: Box<str>,
    seconds: u64,
    #[serde(default)]
    replace: bool,
    /// The policy as it is written, so that keys that occur twice are seen.
    #[serde(default)]
    policy: Option<Box<RawValue>>,
    #[serde(default)]
    policy_arns: Vec<Box<str>>,
}

impl GrantBody {
    /// Returns the order of a grant that begins at `now`.
    ///
    /// # Errors
    /// If a part is not valid.
    pub(crate) fn order(self, now: SystemTime) -> Result<GrantOrder, ErrorResponse> {
        let policy = self.policy.map(|policy| SessionPolicy::parse(policy.get())).transpose();
        let policy = policy.map_err(|error| ErrorResponse::bad_request(format!("policy: {error}")))?;
        check_policies(policy.as_ref(), &self.policy_arns).map_err(ErrorResponse::bad_request)?;
        let lifetime = lifetime(self.seconds)?;
        Ok(GrantOrder {
            name: ClientName::parse(&self.name).map_err(ErrorResponse::bad_request)?,
            identity: identity(&self.identity)?,
            lifetime,
            ends: end_after(now, lifetime),
            replace: self.replace,
            policy,
            policy_arns: self.policy_arns,
        })
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct UseBody {
    identity: Box<str>,
    #[serde(default)]
    seconds: Option<u64>,
}

impl UseBody {
    /// Returns the identity, and the time for which `default` means it.
    ///
    /// # Errors
    /// If a part is not valid.
    pub(crate) fn parts(&self) -> Result<(IdentityName, Option<Duration>), ErrorResponse> {
        Ok((identity(&self.identity)?, self.seconds.map(lifetime).transpose()?))
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RotateBody {
    #[serde(default)]
    pub(crate) client: Option<Box<str>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct MfaBody {
    pub(crate) identity: Box<str>,
    pub(crate) code: Secret,
}

fn identity(text: &str) -> Result<IdentityName, ErrorResponse> {
    if text.is_empty() {
        let message = "the name of the identity is empty; `credenza status` lists the identities";
        return Err(ErrorResponse::bad_request(message));
    }
    Ok(IdentityName::new(text))
}

fn lifetime(seconds: u64) -> Result<Duration, ErrorResponse> {
    if (1..=LONGEST).contains(&seconds) {
        return Ok(Duration::from_secs(seconds));
    }
    Err(ErrorResponse::bad_request("the time must lie between 1 s and 30 days"))
}

/// The parameters of a query, percent-decoded.
#[derive(Debug)]
pub(crate) struct Query<'q>(Vec<(Cow<'q, str>, Cow<'q, str>)>);

impl<'q> Query<'q> {
    /// Parses a query.
    ///
    /// # Errors
    /// If it is not UTF-8, or a parameter occurs twice.
    pub(crate) fn parse(text: &'q str) -> Result<Self, ErrorResponse> {
        let decode = |part: &'q str| {
            percent_decode_str(part).decode_utf8().map_err(|_| ErrorResponse::bad_request("the query is not UTF-8"))
        };
        let mut parameters: Vec<(Cow<'_, str>, Cow<'_, str>)> = Vec::new();
        for part in text.split('&').filter(|part| !part.is_empty()) {
            let (key, value) = part.split_once('=').unwrap_or((part, ""));
            let key = decode(key)?;
            if parameters.iter().any(|(known, _)| *known == key) {
                return Err(ErrorResponse::bad_request("a parameter of the query occurs twice"));
            }
            parameters.push((key, decode(value)?));
        }
        Ok(Self(parameters))
    }

    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == key).map(|(_, value)| &**value).filter(|value| !value.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn refuses_orders_that_are_not_valid() {
        let order = |body: serde_json::Value| {
            let request: Result<GrantBody, _> = serde_json::from_value(body);
            request
                .map_err(|error| error.to_string())
                .and_then(|request| request.order(SystemTime::UNIX_EPOCH).map_err(|error| error.message))
        };
        let good = json!({"name": "a", "identity": "web", "seconds": 60});
        assert_eq!(order(good.clone()).unwrap().lifetime, Duration::from_secs(60));
        for (key, value, expected) in [
            ("name", json!("a b"), "not the name of a client"),
            ("name", json!("owner"), "logs use this name"),
            ("name", json!(1), "invalid type"),
            ("identity", json!(""), "empty"),
            ("seconds", json!(0), "between 1 s"),
            ("seconds", json!(-1), "invalid value"),
            ("seconds", json!(u64::MAX), "between 1 s"),
            ("policy", json!({"Version": "2012-10-17"}), "policy: "),
            ("policy_arns", json!(["ReadOnlyAccess"]), "ReadOnlyAccess"),
            ("polici", json!({}), "unknown field"),
        ] {
            let mut body = good.clone();
            body[key] = value;
            let error = order(body).unwrap_err();
            assert!(error.contains(expected), "{key}: {error}");
        }
    }

    #[test]
    fn refuses_policy_with_a_doubled_key() {
        let order = |effect: &str| {
            let statement = format!(r#"{{"Effect":"{effect}","Action":"s3:*","Resource":"*"}}"#);
            let policy = format!(r#"{{"Version":"2012-10-17","Statement":{statement}}}"#);
            let body = format!(r#"{{"name":"a","identity":"web","seconds":60,"policy":{policy}}}"#);
            let request: GrantBody = serde_json::from_str(&body).unwrap();
            request.order(SystemTime::UNIX_EPOCH).map_err(|error| error.message)
        };
        assert!(order("Allow").is_ok());
        let error = order(r#"Deny","Effect":"Allow"#).unwrap_err();
        assert!(error.contains("policy: ") && error.contains("this key is there twice"), "{error}");
    }

    #[test]
    fn decodes_query_once_and_refuses_doubles() {
        let query = Query::parse("identity=a%2Fb%2525&verify=true&empty=").unwrap();
        let shown = ["identity", "verify", "empty", "other"].map(|key| query.get(key));
        assert_eq!(shown, [Some("a/b%25"), Some("true"), None, None]);
        assert!(Query::parse("a=%ff").is_err() && Query::parse("a=1&a=2").is_err());
        assert!(Query::parse("").unwrap().get("a").is_none());
    }
}
