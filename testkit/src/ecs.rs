//! The container endpoint of ECS and EKS: one path, one token, one document.

use std::collections::VecDeque;

use crate::server::{Fake, Reply, Seen, Service};

/// Refuses every request that the agents refuse: 404 for another path, 401 for another token.
pub type Ecs = Fake<State>;

pub struct State {
    token: Option<String>,
    document: String,
    script: VecDeque<Reply>,
}

impl Ecs {
    pub const TARGET: &str = "/v2/credentials/task?a=b";

    /// Serves this document to requests with this `Authorization`; with `None`, to requests without the header.
    pub fn start(token: Option<&str>, document: &str) -> Self {
        Self::over(State { token: token.map(Into::into), document: document.into(), script: VecDeque::new() })
    }

    /// The value of `AWS_CONTAINER_CREDENTIALS_FULL_URI`.
    pub fn url(&self) -> String {
        self.server().url(Self::TARGET)
    }

    pub fn set_document(&self, document: &str) {
        self.set(|state| state.document = document.into());
    }

    pub fn set_token(&self, token: Option<&str>) {
        self.set(|state| state.token = token.map(Into::into));
    }

    /// Answers the next requests with these replies, regardless of their content.
    pub fn script(&self, replies: impl IntoIterator<Item = Reply>) {
        self.set(|state| state.script.extend(replies));
    }
}

impl Service for State {
    fn answer(&mut self, request: &Seen) -> Reply {
        if let Some(reply) = self.script.pop_front() {
            return reply;
        }
        if request.method != "GET" || request.target != Ecs::TARGET || !request.body.is_empty() {
            return Reply::of(404, r#"{"code":"NotFound","message":"no such path"}"#);
        }
        if request.header("authorization") != self.token.as_deref() {
            return Reply::of(401, r#"{"code":"InvalidAuthorizationToken","message":"wrong token"}"#);
        }
        Reply::ok(self.document.clone()).with("content-type", "application/json")
    }
}
