//! SSO-OIDC as strict as the real service: RegisterClient, StartDeviceAuthorization, CreateToken, unsigned JSON.

use std::collections::{HashMap, VecDeque};

use serde_json::{Value, json};

use crate::server::{Fake, Reply, Seen, Service};

/// Accepts only clients and logins that were made through it.
pub type Oidc = Fake<State>;

/// The behaviour of the user at the browser.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Person {
    /// The user agrees at this poll, counted from 1; earlier polls are pending.
    AgreesAt(u32),
    /// The user refuses.
    Refuses,
    /// The user does nothing: the code expires at this poll.
    SleepsUntil(u32),
}

/// The contents and the behaviour of the service; [`Oidc::set`] changes them.
pub struct State {
    /// The known start URLs.
    pub start_urls: Vec<String>,
    pub person: Person,
    /// The seconds between two polls that the service demands; `None` leaves the field out.
    pub interval: Option<u64>,
    /// The lifetime of a new access token in seconds.
    pub token_seconds: u64,
    /// The lifetime of a new registration in seconds, from `now`.
    pub registration_seconds: u64,
    /// The clock for timestamps in responses, in seconds since 1970.
    pub now: u64,
    /// A refresh invalidates the refresh token that it used.
    pub rotates: bool,
    /// Issued access tokens, the newest last; the portal accepts them.
    pub access_tokens: Vec<String>,
    /// Valid refresh tokens, each with the client that it belongs to.
    pub refresh_tokens: HashMap<String, String>,
    /// Registered clients: secret and scopes.
    pub clients: HashMap<String, (String, Vec<String>)>,
    /// Is called with every issued access token.
    pub issued: Option<Told>,
    /// Runs once, before the next token request is handled.
    pub before_token: Option<Box<dyn FnOnce() + Send>>,
    /// The replies to the next requests for a path.
    script: VecDeque<(&'static str, Reply)>,
    devices: HashMap<String, Device>,
    count: u32,
}

/// A callback for issued tokens.
pub type Told = Box<dyn FnMut(&str) + Send>;

struct Device {
    client: String,
    polls: u32,
}

pub const REGISTER: &str = "/client/register";
pub const DEVICE: &str = "/device_authorization";
pub const TOKEN: &str = "/token";

const DEVICE_GRANT: &str = "urn:ietf:params:oauth:grant-type:device_code";

impl Oidc {
    /// Starts with one start URL and a user that agrees at once.
    pub fn start(start_url: &str, now: u64) -> Self {
        Self::over(State {
            start_urls: vec![start_url.into()],
            person: Person::AgreesAt(1),
            interval: Some(1),
            token_seconds: 8 * 3600,
            registration_seconds: 90 * 24 * 3600,
            now,
            rotates: true,
            access_tokens: Vec::new(),
            refresh_tokens: HashMap::new(),
            clients: HashMap::new(),
            issued: None,
            before_token: None,
            script: VecDeque::new(),
            devices: HashMap::new(),
            count: 0,
        })
    }

    /// Answers the next request for this path with this reply.
    pub fn script(&self, path: &'static str, reply: Reply) {
        self.set(|state| state.script.push_back((path, reply)));
    }

    /// Returns the number of requests for this path.
    pub fn asked(&self, path: &str) -> usize {
        self.server().seen().iter().filter(|seen| seen.target == path).count()
    }

    /// Adds an earlier login: a client with a refresh token and an access token.
    pub fn known(&self, client: &str, secret: &str, refresh_token: &str, access_token: &str) {
        self.set(|state| {
            state.clients.insert(client.into(), (secret.into(), vec!["sso:account:access".into()]));
            state.refresh_tokens.insert(refresh_token.into(), client.into());
            state.access_tokens.push(access_token.into());
        });
    }
}

impl Service for State {
    fn answer(&mut self, request: &Seen) -> Reply {
        if let Some(at) = self.script.iter().position(|(path, _)| *path == request.target) {
            return self.script.remove(at).unwrap().1;
        }
        let Some(body) = json_object(request) else {
            return refusal(400, "invalid_request", "no JSON object was posted");
        };
        // These operations are unsigned: a signature would disclose an account without need.
        if request.header("authorization").is_some() {
            return refusal(400, "invalid_request", "this operation is not signed");
        }
        match &*request.target {
            REGISTER => self.register(&body),
            DEVICE => self.authorize(&body),
            TOKEN => self.token(&body),
            _ => Reply::of(404, r#"{"message":"no such path"}"#),
        }
    }
}

impl State {
    fn register(&mut self, body: &Value) -> Reply {
        let known = ["clientName", "clientType", "scopes", "grantTypes", "redirectUris", "issuerUrl"];
        if let Some(refused) = unknown(body, &known) {
            return refused;
        }
        let name = text(body, "clientName");
        if name.is_empty() || name.len() > 100 || text(body, "clientType") != "public" {
            return refusal(400, "invalid_client_metadata", "clientName and clientType: public are required");
        }
        let scopes = body["scopes"].as_array().cloned().unwrap_or_default();
        let Some(scopes) = scopes.iter().map(|scope| scope.as_str().map(Into::into)).collect::<Option<Vec<String>>>()
        else {
            return refusal(400, "invalid_scope", "scopes are texts");
        };
        if scopes.iter().any(|scope| !scope.contains(':')) {
            return refusal(400, "invalid_scope", "no such scope");
        }
        let (client, secret) = (self.fresh("client"), self.fresh("hush-client-secret"));
        self.clients.insert(client.clone(), (secret.clone(), scopes));
        ok(&json!({
            "clientId": client,
            "clientSecret": secret,
            "clientIdIssuedAt": self.now,
            "clientSecretExpiresAt": self.now + self.registration_seconds,
        }))
    }

    fn authorize(&mut self, body: &Value) -> Reply {
        if let Some(refused) = unknown(body, &["clientId", "clientSecret", "startUrl"]).or_else(|| self.stranger(body))
        {
            return refused;
        }
        if !self.start_urls.iter().any(|url| *url == text(body, "startUrl")) {
            return refusal(400, "invalid_request", "no such start URL");
        }
        let device = self.fresh("hush-device");
        self.devices.insert(device.clone(), Device { client: text(body, "clientId").into(), polls: 0 });
        let mut answer = json!({
            "deviceCode": device,
            "userCode": "ABCD-EFGH",
            "verificationUri": "https://device.sso.example/",
            "verificationUriComplete": "https://device.sso.example/?user_code=ABCD-EFGH",
            "expiresIn": 600,
        });
        if let Some(interval) = self.interval {
            answer["interval"] = interval.into();
        }
        ok(&answer)
    }

    fn token(&mut self, body: &Value) -> Reply {
        let known = [
            "clientId",
            "clientSecret",
            "grantType",
            "deviceCode",
            "refreshToken",
            "code",
            "redirectUri",
            "codeVerifier",
            "scope",
        ];
        if let Some(refused) = unknown(body, &known).or_else(|| self.stranger(body)) {
            return refused;
        }
        if let Some(happens) = self.before_token.take() {
            happens();
        }
        match text(body, "grantType") {
            DEVICE_GRANT => self.poll(body),
            "refresh_token" => self.refresh(body),
            _ => refusal(400, "unsupported_grant_type", "no such grant"),
        }
    }

    fn poll(&mut self, body: &Value) -> Reply {
        let (code, client) = (text(body, "deviceCode"), text(body, "clientId"));
        let Some(device) = self.devices.get_mut(code).filter(|device| device.client == client) else {
            return refusal(400, "invalid_grant", "no such device code");
        };
        device.polls += 1;
        let pending = || refusal(400, "authorization_pending", "not yet");
        match self.person {
            Person::AgreesAt(poll) if device.polls < poll => pending(),
            Person::SleepsUntil(poll) if device.polls < poll => pending(),
            Person::Refuses => refusal(400, "access_denied", "the person said no"),
            Person::SleepsUntil(_) => refusal(400, "expired_token", "the device code has expired"),
            Person::AgreesAt(_) => {
                self.devices.remove(code);
                let client = client.to_owned();
                self.issue(&client)
            }
        }
    }

    fn refresh(&mut self, body: &Value) -> Reply {
        let (token, client) = (text(body, "refreshToken"), text(body, "clientId"));
        if self.refresh_tokens.get(token).is_none_or(|owner| *owner != client) {
            return refusal(400, "invalid_grant", "Invalid refresh token provided");
        }
        if self.rotates {
            self.refresh_tokens.remove(token);
        }
        let client = client.to_owned();
        self.issue(&client)
    }

    fn issue(&mut self, client: &str) -> Reply {
        let token = self.fresh("hush-access");
        self.access_tokens.push(token.clone());
        if let Some(issued) = &mut self.issued {
            issued(&token);
        }
        let mut answer = json!({ "accessToken": token, "tokenType": "Bearer", "expiresIn": self.token_seconds });
        // Without this scope there is no refresh token, as with clients of the legacy properties.
        if self.clients[client].1.iter().any(|scope| scope == "sso:account:access") {
            let refresh_token = self.fresh("hush-refresh");
            self.refresh_tokens.insert(refresh_token.clone(), client.into());
            answer["refreshToken"] = refresh_token.into();
        }
        ok(&answer)
    }

    fn stranger(&self, body: &Value) -> Option<Reply> {
        let known = self.clients.get(text(body, "clientId")).map(|(secret, _)| &**secret);
        (known != Some(text(body, "clientSecret"))).then(|| refusal(401, "invalid_client", "unknown client"))
    }

    fn fresh(&mut self, what: &str) -> String {
        self.count += 1;
        format!("{what}-{}", self.count)
    }
}

fn json_object(request: &Seen) -> Option<Value> {
    let is_json = request.header("content-type").is_some_and(|kind| kind.starts_with("application/json"));
    let body: Value = serde_json::from_slice(&request.body).ok()?;
    (request.method == "POST" && is_json && body.is_object()).then_some(body)
}

fn unknown(body: &Value, known: &[&str]) -> Option<Reply> {
    let object = body.as_object().unwrap();
    let other = object.keys().find(|name| !known.contains(&name.as_str()))?;
    Some(refusal(400, "invalid_request", &format!("there is no parameter {other}")))
}

fn text<'v>(body: &'v Value, name: &str) -> &'v str {
    body[name].as_str().unwrap_or_default()
}

fn ok(body: &Value) -> Reply {
    Reply::ok(body.to_string()).with("content-type", "application/json")
}

/// An error as SSO-OIDC writes it: the class in a header, the OAuth code in the body.
pub fn refusal(status: u16, error: &str, description: &str) -> Reply {
    let class: String = error
        .split('_')
        .map(|word| format!("{}{}", word[..1].to_ascii_uppercase(), &word[1..]))
        .chain(["Exception".into()])
        .collect();
    Reply::of(status, json!({ "error": error, "error_description": description }).to_string())
        .with("content-type", "application/json")
        .with("x-amzn-errortype", format!("{class}:"))
}
