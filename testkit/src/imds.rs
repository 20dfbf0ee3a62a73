//! The instance metadata service, version 2, as strict as EC2's.

use std::collections::VecDeque;

use crate::server::{Fake, Reply, Seen, Service};

/// Serves one role to requests with a session token of this service.
pub type Imds = Fake<State>;

/// The contents and the behaviour of the service; [`Imds::set`] changes them.
pub struct State {
    /// `None` answers the role list with 404, like an instance without a profile.
    pub role: Option<String>,
    pub document: String,
    /// The identity document; `None` is a 404.
    pub identity: Option<String>,
    /// Answers requests without a session token (`HttpTokens = optional`).
    pub v1: bool,
    /// The reply to every token request, instead of a token.
    pub token: Option<Reply>,
    /// The replies to the next requests for a path.
    script: VecDeque<(&'static str, Reply)>,
    sessions: u32,
}

pub const TOKEN: &str = "/latest/api/token";
pub const ROLES: &str = "/latest/meta-data/iam/security-credentials/";
pub const IDENTITY: &str = "/latest/dynamic/instance-identity/document";

impl Imds {
    pub fn start(role: &str, document: &str) -> Self {
        Self::over(State {
            role: Some(role.into()),
            document: document.into(),
            identity: Some(r#"{"accountId":"123456789012","region":"eu-west-3","instanceId":"i-1"}"#.into()),
            v1: false,
            token: None,
            script: VecDeque::new(),
            sessions: 1,
        })
    }

    /// Invalidates all session tokens.
    pub fn end_sessions(&self) {
        self.set(|state| state.sessions += 1);
    }

    /// Answers the next request for this path with this reply.
    pub fn script(&self, path: &'static str, reply: Reply) {
        self.set(|state| state.script.push_back((path, reply)));
    }
}

impl Service for State {
    const ROOT: &str = "/";

    fn answer(&mut self, request: &Seen) -> Reply {
        if let Some(at) = self.script.iter().position(|(path, _)| *path == request.target) {
            return self.script.remove(at).unwrap().1;
        }
        // EC2 refuses these headers, and no client of it sends them.
        if request.header("x-forwarded-for").is_some() || request.header("authorization").is_some() {
            return Reply::of(403, "");
        }
        if !request.body.is_empty() || request.header("host").is_none() {
            return Reply::of(400, "");
        }
        match (request.method.as_str(), request.target.as_str()) {
            ("PUT", TOKEN) => self.token(request),
            ("GET", _) if !self.admits(request.header("x-aws-ec2-metadata-token")) => Reply::of(401, ""),
            ("GET", ROLES) => self.role.clone().map_or(Reply::of(404, "<html>"), Reply::ok),
            ("GET", IDENTITY) => self.identity.clone().map_or(Reply::of(404, "<html>"), Reply::ok),
            ("GET", path) if path.strip_prefix(ROLES) == self.role.as_deref() => Reply::ok(self.document.clone()),
            _ => Reply::of(404, "<html>"),
        }
    }
}

impl State {
    fn admits(&self, token: Option<&str>) -> bool {
        token.map_or(self.v1, |token| token == self.session())
    }

    fn session(&self) -> String {
        format!("hush-metadata-{}==", self.sessions)
    }

    fn token(&self, request: &Seen) -> Reply {
        if let Some(reply) = &self.token {
            return reply.clone();
        }
        let seconds = request.header("x-aws-ec2-metadata-token-ttl-seconds").and_then(|text| text.parse::<u32>().ok());
        match seconds.filter(|seconds| (1..=21600).contains(seconds)) {
            Some(seconds) => {
                Reply::ok(self.session()).with("x-aws-ec2-metadata-token-ttl-seconds", seconds.to_string())
            }
            None => Reply::of(400, ""),
        }
    }
}
