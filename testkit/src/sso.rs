//! The SSO portal as strict as the real service: GetRoleCredentials for the roles that a token may have.

use std::collections::{HashMap, VecDeque};

use serde_json::json;

use crate::server::{Fake, Reply, Seen, Service};

/// Issues temporary credentials to requests with a known token.
pub type Portal = Fake<State>;

/// The contents and the behaviour of the service; [`Portal::set`] changes them.
#[derive(Default)]
pub struct State {
    /// Valid access tokens, each with its accounts and roles; `*` is any role.
    pub tokens: HashMap<String, Vec<(String, String)>>,
    /// The expiry of credentials issued from now on, in milliseconds since 1970.
    pub expiration: u64,
    script: VecDeque<Reply>,
    count: u32,
}

impl Portal {
    /// Starts without any token.
    pub fn start(expiration: u64) -> Self {
        Self::over(State { expiration, ..State::default() })
    }

    /// Allows this role to this token.
    pub fn allow(&self, token: &str, account: &str, role: &str) {
        self.set(|state| state.tokens.entry(token.into()).or_default().push((account.into(), role.into())));
    }

    /// Answers the next request with this reply.
    pub fn script(&self, reply: Reply) {
        self.set(|state| state.script.push_back(reply));
    }
}

impl Service for State {
    fn answer(&mut self, request: &Seen) -> Reply {
        if let Some(reply) = self.script.pop_front() {
            return reply;
        }
        if (&*request.method, &*request.target) == ("POST", "/logout") {
            let token = request.header("x-amz-sso_bearer_token").unwrap_or_default();
            return match self.tokens.remove(token) {
                Some(_) => Reply::ok(""),
                None => refusal(401, "UnauthorizedException", "Session token not found or invalid"),
            };
        }
        let Some(query) = request.target.strip_prefix("/federation/credentials?") else {
            return refusal(404, "ResourceNotFoundException", "no such path");
        };
        // This operation is unsigned.
        if request.method != "GET" || !request.body.is_empty() || request.header("authorization").is_some() {
            return refusal(400, "InvalidRequestException", "an unsigned GET without a body is expected");
        }
        let mut parameters: Vec<(&str, String)> = Vec::new();
        for part in query.split('&') {
            let Some((name, value)) = part.split_once('=') else {
                return refusal(400, "InvalidRequestException", "the query is malformed");
            };
            parameters.push((name, percent_encoding::percent_decode_str(value).decode_utf8_lossy().into_owned()));
        }
        parameters.sort();
        let [("account_id", account), ("role_name", role)] = &parameters[..] else {
            return refusal(400, "InvalidRequestException", "account_id and role_name are required, and nothing else");
        };
        if account.len() != 12 || !account.bytes().all(|byte| byte.is_ascii_digit()) {
            return refusal(400, "InvalidRequestException", "account_id has twelve digits");
        }
        let Some(roles) = request.header("x-amz-sso_bearer_token").and_then(|token| self.tokens.get(token)) else {
            return refusal(401, "UnauthorizedException", "Session token not found or invalid");
        };
        if !roles.iter().any(|(a, r)| a == account && (r == role || r == "*")) {
            return refusal(403, "ForbiddenException", "No access");
        }
        self.count += 1;
        let credentials = json!({
            "accessKeyId": format!("ASIA{account}{role}{}", self.count),
            "secretAccessKey": format!("hush-secret-{}", self.count),
            "sessionToken": format!("hush-session-{}", self.count),
            "expiration": self.expiration,
        });
        Reply::ok(json!({ "roleCredentials": credentials }).to_string()).with("content-type", "application/json")
    }
}

/// An error as the portal writes it: the class in a header, the message in the body.
pub fn refusal(status: u16, class: &str, message: &str) -> Reply {
    Reply::of(
        status,
        json!({ "message": message, "__type": format!("com.amazonaws.switchboard.portal#{class}") }).to_string(),
    )
    .with("content-type", "application/json")
    .with("x-amzn-errortype", class)
}
