//! The SSO portal as strict as the real service: GetRoleCredentials for the roles that a token may have, and the lists of
//! accounts and roles in pages.

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
    /// The names of accounts; an account without one has the name `account ID`.
    pub account_names: HashMap<String, String>,
    /// The number of requests for lists that are throttled from now on.
    pub throttled: u32,
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
        let (path, query) = request.target.split_once('?').unwrap_or((&request.target, ""));
        if !["/federation/credentials", "/assignment/accounts", "/assignment/roles"].contains(&path) {
            return refusal(404, "ResourceNotFoundException", "no such path");
        }
        // These operations are unsigned.
        if request.method != "GET" || !request.body.is_empty() || request.header("authorization").is_some() {
            return refusal(400, "InvalidRequestException", "an unsigned GET without a body is expected");
        }
        let mut parameters: Vec<(&str, String)> = Vec::new();
        for part in query.split('&').filter(|part| !part.is_empty()) {
            let Some((name, value)) = part.split_once('=') else {
                return refusal(400, "InvalidRequestException", "the query is malformed");
            };
            parameters.push((name, percent_encoding::percent_decode_str(value).decode_utf8_lossy().into_owned()));
        }
        parameters.sort();
        if path != "/federation/credentials" {
            return self.list(path, &parameters, request.header("x-amz-sso_bearer_token"));
        }
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

/// The number of entries of a page. It is small, so that every list has several.
const PAGE: usize = 2;

impl State {
    /// ListAccounts and ListAccountRoles.
    fn list(&mut self, path: &str, parameters: &[(&str, String)], token: Option<&str>) -> Reply {
        if self.throttled > 0 {
            self.throttled -= 1;
            return refusal(429, "TooManyRequestsException", "HTTP 429 Unknown Code");
        }
        let Some(allowed) = token.and_then(|token| self.tokens.get(token)) else {
            return refusal(401, "UnauthorizedException", "Session token not found or invalid");
        };
        let value = |name| parameters.iter().find(|(key, _)| *key == name).map(|(_, value)| value.as_str());
        let known = ["account_id", "max_result", "next_token"];
        let is_count =
            value("max_result").is_none_or(|count| count.parse().is_ok_and(|count: u8| (1..=100).contains(&count)));
        if parameters.iter().any(|(name, _)| !known.contains(name)) || !is_count {
            return refusal(400, "InvalidRequestException", "max_result is 1 to 100, and nothing else is known");
        }
        let mut entries: Vec<(String, serde_json::Value)> = Vec::new();
        let roles = path == "/assignment/roles";
        match (roles, value("account_id")) {
            (false, None) => {
                for (account, _) in allowed {
                    let name = self.account_names.get(account).cloned().unwrap_or_else(|| format!("account {account}"));
                    let entry = json!({"accountId": account, "accountName": name, "emailAddress": format!("{account}@example.org")});
                    entries.push((account.clone(), entry));
                }
            }
            (true, Some(account)) => {
                let of_account = allowed.iter().filter(|(known, _)| known == account);
                let names = of_account.flat_map(|(_, role)| match role.as_str() {
                    "*" => vec!["Admin", "Dev", "ReadOnly"],
                    role => vec![role],
                });
                entries.extend(names.map(|role| (role.to_owned(), json!({"accountId": account, "roleName": role}))));
            }
            _ => return refusal(400, "InvalidRequestException", "account_id is required for roles alone"),
        }
        entries.sort_by(|(a, _), (b, _)| b.cmp(a));
        entries.dedup_by(|(a, _), (b, _)| a == b);
        let Ok(start) =
            value("next_token").map_or(Ok(0), |token| token.trim_start_matches("next+/= ").parse::<usize>())
        else {
            return refusal(400, "InvalidRequestException", "next_token is not one of ours");
        };
        let page: Vec<_> = entries.iter().skip(start).take(PAGE).map(|(_, entry)| entry).collect();
        // Such characters show clients that do not encode the token.
        let next = (start + PAGE < entries.len()).then(|| format!("next+/= {}", start + PAGE));
        let list = if roles { "roleList" } else { "accountList" };
        Reply::ok(json!({ list: page, "nextToken": next }).to_string()).with("content-type", "application/json")
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
