//! AWS Sign-In as strict as the real service: CreateOAuth2Token for a refresh token and a DPoP proof of its key.

use std::collections::{HashMap, HashSet, VecDeque};

use base64_simd::URL_SAFE_NO_PAD;
use ring::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use serde_json::{Value, json};

use crate::server::{Fake, Reply, Seen, Service};

/// A key as `aws login` writes it; refresh tokens of [`Signin::known`] are bound to it.
pub const KEY: &str = "-----BEGIN EC PRIVATE KEY-----\nMHcCAQEEIIrwoALEbgUEPLdJ8MaRnAQPeLG4kd08ITN4lh4HMV1VoAoGCCqGSM49\nAwEHoUQDQgAECT0fLuqjLpotRyb4yg2xRyNgE7lswLZjmqj76w65YHfR8kmGlSis\nbzb4vJIUCsrvVAQ4/faK1zM++QqnNBohxA==\n-----END EC PRIVATE KEY-----\n";

/// The public key, as a proof contains it.
const PUBLIC: (&str, &str) =
    ("CT0fLuqjLpotRyb4yg2xRyNgE7lswLZjmqj76w65YHc", "0fJJhpUorG82-LySFArK71QEOP32itczPvkKpzQaIcQ");

pub const CLIENT: &str = "arn:aws:signin:::devtools/same-device";

/// The maximum clock difference of a proof in seconds.
const LARGEST_SKEW: u64 = 300;

/// Issues credentials for known refresh tokens, once for each.
pub type Signin = Fake<State>;

/// The contents and the behaviour of the service; [`Signin::set`] changes them.
pub struct State {
    /// The clock that proofs are checked against, in seconds since 1970.
    pub now: u64,
    /// The lifetime of new credentials in seconds.
    pub seconds: u64,
    /// Valid refresh tokens, each with the public key that it is bound to.
    pub refresh_tokens: HashMap<String, (String, String)>,
    /// The error code for other refresh tokens.
    pub refuses_with: &'static str,
    /// Runs once, before the next token request is handled.
    pub before_token: Option<Box<dyn FnOnce() + Send>>,
    /// The URL that proofs have to name; empty until the server has started.
    url: String,
    seen: HashSet<String>,
    script: VecDeque<Reply>,
    count: u32,
}

impl Signin {
    /// Starts without any refresh token.
    pub fn start(now: u64) -> Self {
        let signin = Self::over(State {
            now,
            seconds: 900,
            refresh_tokens: HashMap::new(),
            refuses_with: "TOKEN_EXPIRED",
            before_token: None,
            url: String::new(),
            seen: HashSet::new(),
            script: VecDeque::new(),
            count: 0,
        });
        let url = signin.server().url("/v1/token");
        signin.set(|state| state.url = url);
        signin
    }

    /// Adds a refresh token that is bound to [`KEY`].
    pub fn known(&self, refresh_token: &str) {
        self.set(|state| state.refresh_tokens.insert(refresh_token.into(), (PUBLIC.0.into(), PUBLIC.1.into())));
    }

    /// Answers the next request with this reply.
    pub fn script(&self, reply: Reply) {
        self.set(|state| state.script.push_back(reply));
    }

    /// Returns the number of requests.
    pub fn asked(&self) -> usize {
        self.server().seen().len()
    }
}

impl Service for State {
    fn answer(&mut self, request: &Seen) -> Reply {
        if let Some(happens) = self.before_token.take() {
            happens();
        }
        if let Some(reply) = self.script.pop_front() {
            return reply;
        }
        if request.line() != "POST /v1/token" {
            return Reply::of(404, r#"{"message":"no such path"}"#);
        }
        self.token(request).unwrap_or_else(|(code, message)| invalid(code, message))
    }
}

impl State {
    fn token(&mut self, request: &Seen) -> Result<Reply, (&'static str, &'static str)> {
        if request.header("content-type") != Some("application/json") {
            return Err(("INVALID_REQUEST", "no JSON was posted"));
        }
        // This operation is unsigned: a signature would disclose an account without need.
        if request.header("authorization").is_some() {
            return Err(("INVALID_REQUEST", "this operation is not signed"));
        }
        let proof = verify(request.header("dpop").unwrap_or_default()).map_err(|why| ("INVALID_REQUEST", why))?;
        if proof.method != "POST" || proof.url != self.url {
            return Err(("INVALID_REQUEST", "the proof is for another request"));
        }
        if proof.issued.abs_diff(self.now) > LARGEST_SKEW {
            return Err(("INVALID_REQUEST", "the proof is of another time"));
        }
        if !self.seen.insert(proof.id) {
            return Err(("INVALID_REQUEST", "the proof was shown before"));
        }
        let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
        let Some(body) = body.as_object() else { return Err(("INVALID_REQUEST", "no JSON object was posted")) };
        if body.keys().any(|name| !["clientId", "grantType", "refreshToken"].contains(&name.as_str())) {
            return Err(("INVALID_REQUEST", "there is no such parameter"));
        }
        let text = |name: &str| body.get(name).and_then(Value::as_str).unwrap_or_default();
        if text("clientId") != CLIENT {
            return Err(("invalid_client", "no such client"));
        }
        if text("grantType") != "refresh_token" {
            return Err(("unsupported_grant_type", "no such grant"));
        }
        let key = (proof.x, proof.y);
        if self.refresh_tokens.get(text("refreshToken")) != Some(&key) {
            return Ok(denied(self.refuses_with, "the refresh token is not good"));
        }
        self.refresh_tokens.remove(text("refreshToken"));
        self.count += 1;
        let (count, next) = (self.count, format!("hush-refresh-{}", self.count));
        self.refresh_tokens.insert(next.clone(), key);
        let answer = json!({
            "accessToken": {
                "accessKeyId": format!("ASIASIGNIN{count}"),
                "secretAccessKey": format!("hush-secret-{count}"),
                "sessionToken": format!("hush-session-{count}"),
            },
            "tokenType": "aws_sigv4",
            "expiresIn": self.seconds,
            "refreshToken": next,
        });
        Ok(Reply::ok(answer.to_string()).with("content-type", "application/json"))
    }
}

/// The claims of a proof with a valid signature.
#[derive(Debug)]
pub struct Proof {
    pub method: String,
    pub url: String,
    pub issued: u64,
    pub id: String,
    pub x: String,
    pub y: String,
}

/// Checks a proof against the key that it contains.
///
/// # Errors
/// Returns the fault of the proof.
pub fn verify(proof: &str) -> Result<Proof, &'static str> {
    let bytes = |text: &str| URL_SAFE_NO_PAD.decode_to_vec(text).map_err(|_| "the proof is not base64url");
    let object = |text: &str| -> Result<Value, &'static str> {
        serde_json::from_slice(&bytes(text)?).map_err(|_| "the proof is not JSON")
    };
    let (message, signature) = proof.rsplit_once('.').ok_or("there is no proof")?;
    let (header, payload) = message.split_once('.').ok_or("the proof has not three parts")?;
    let (header, payload) = (object(header)?, object(payload)?);
    let jwk = &header["jwk"];
    if (&header["typ"], &header["alg"]) != (&"dpop+jwt".into(), &"ES256".into())
        || (&jwk["kty"], &jwk["crv"]) != (&"EC".into(), &"P-256".into())
    {
        return Err("the proof is of another kind");
    }
    if jwk.get("d").is_some() {
        return Err("the proof shows the private key");
    }
    let text = |value: &Value| value.as_str().map(ToOwned::to_owned).ok_or("the proof lacks something");
    let (x, y) = (text(&jwk["x"])?, text(&jwk["y"])?);
    let point = [vec![4], bytes(&x)?, bytes(&y)?].concat();
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point)
        .verify(message.as_bytes(), &bytes(signature)?)
        .map_err(|_| "the signature of the proof is wrong")?;
    Ok(Proof {
        method: text(&payload["htm"])?,
        url: text(&payload["htu"])?,
        issued: payload["iat"].as_u64().ok_or("the proof has no time")?,
        id: text(&payload["jti"])?,
        x,
        y,
    })
}

/// A `ValidationException`.
pub fn invalid(code: &str, message: &str) -> Reply {
    error(400, "ValidationException", code, message)
}

/// An `AccessDeniedException`.
pub fn denied(code: &str, message: &str) -> Reply {
    error(403, "AccessDeniedException", code, message)
}

/// An error in rest-json: the class in a header, the code in the body.
pub fn error(status: u16, class: &str, code: &str, message: &str) -> Reply {
    Reply::of(status, json!({ "error": code, "message": message }).to_string())
        .with("content-type", "application/json")
        .with("x-amzn-errortype", class)
}

/// A file of the login cache as `aws login` writes it.
pub fn cached(access_key_id: &str, expires: &str, refresh_token: &str) -> String {
    json!({
        "accessToken": {
            "accessKeyId": access_key_id,
            "secretAccessKey": "hush-secret",
            "sessionToken": format!("hush-session-of-{access_key_id}"),
            "accountId": "123456789012",
            "expiresAt": expires,
        },
        "tokenType": "aws_sigv4",
        "refreshToken": refresh_token,
        "idToken": "hush-id",
        "clientId": CLIENT,
        "dpopKey": KEY,
        "signInRegion": "eu-west-1",
    })
    .to_string()
}
