//! The federation endpoint of the AWS console, as strict as the real one: getSigninToken for a session of a role or of a
//! federated user, in the body of a POST request.

use std::collections::{HashMap, VecDeque};

use serde_json::{Value, json};

use crate::server::{Fake, Reply, Seen, Service};
use crate::sts::{Form, form};

/// Gives sign-in tokens for known sessions.
pub type Federation = Fake<State>;

/// The kind of a session, which decides the durations that it may ask for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Role,
    /// A role that was assumed with the session of a role. It may name no duration.
    Chained,
    /// A federated user. It may name no duration.
    Federated,
    /// A session of GetSessionToken, which the console refuses.
    Plain,
}

/// The contents and the behaviour of the endpoint; [`Federation::set`] changes them.
pub struct State {
    /// The secret key, the session token and the kind of each session.
    pub sessions: HashMap<String, (String, String, Kind)>,
    /// The kind of all sessions with this secret key and this token, for sessions that a fake STS has issued.
    pub accepts_all: Option<Kind>,
    script: VecDeque<Reply>,
    forms: Vec<Form>,
}

impl Federation {
    /// Starts without any session.
    #[must_use]
    pub fn start() -> Self {
        Self::over(State { sessions: HashMap::new(), accepts_all: None, script: VecDeque::new(), forms: Vec::new() })
    }

    /// Adds a session.
    pub fn know(&self, access_key_id: &str, secret: &str, token: &str, kind: Kind) {
        self.set(|state| state.sessions.insert(access_key_id.into(), (secret.into(), token.into(), kind)));
    }

    /// Answers the next request with this reply.
    pub fn script(&self, reply: Reply) {
        self.set(|state| state.script.push_back(reply));
    }

    /// Returns the parameters of every accepted request.
    pub fn forms(&self) -> Vec<Form> {
        self.set(|state| state.forms.clone())
    }
}

impl Service for State {
    fn answer(&mut self, request: &Seen) -> Reply {
        if let Some(reply) = self.script.pop_front() {
            return reply;
        }
        match self.token(request) {
            Some(token) => {
                Reply::ok(json!({ "SigninToken": token }).to_string()).with("content-type", "application/json")
            }
            // The real endpoint gives no reason.
            None => {
                Reply::of(400, "<html><body><h1>400 Bad Request</h1></body></html>").with("content-type", "text/html")
            }
        }
    }
}

impl State {
    /// Forgets the replies that were not given.
    pub fn clear_script(&mut self) {
        self.script.clear();
    }

    fn token(&mut self, request: &Seen) -> Option<String> {
        let is_form = request.header("content-type") == Some("application/x-www-form-urlencoded");
        if request.line() != "POST /federation" || !is_form || request.header("authorization").is_some() {
            return None;
        }
        let form = form(&request.body)?;
        let names: Vec<&str> = form.iter().map(|(name, _)| name.as_str()).collect();
        let is_known = names.iter().all(|name| ["Action", "SessionDuration", "SessionType", "Session"].contains(name));
        let text = |name: &str| form.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str());
        if !is_known || text("Action") != Some("getSigninToken") || text("SessionType") != Some("json") {
            return None;
        }
        let session: Value = serde_json::from_str(text("Session")?).ok()?;
        let part = |name: &str| session[name].as_str().filter(|part| !part.is_empty());
        let (id, key, token) = (part("sessionId")?, part("sessionKey")?, part("sessionToken")?);
        if session.as_object()?.len() != 3 {
            return None;
        }
        let kind = match self.sessions.get(id) {
            Some((secret, known, kind)) if (&**secret, &**known) == (key, token) => *kind,
            Some(_) => return None,
            None => self.accepts_all?,
        };
        let duration = text("SessionDuration").map(|seconds| seconds.parse::<u32>().unwrap_or_default());
        let is_valid = match (kind, duration) {
            (Kind::Plain, _) => false,
            (Kind::Chained | Kind::Federated, duration) => duration.is_none(),
            (Kind::Role, duration) => duration.is_none_or(|seconds| (900..=43_200).contains(&seconds)),
        };
        if !is_valid {
            return None;
        }
        self.forms.push(form);
        // A real token has these characters, which a URL must escape.
        Some(format!("hush+signin/{}==", self.forms.len()))
    }
}
