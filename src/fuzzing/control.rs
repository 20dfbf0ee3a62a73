//! The control socket: the path, the query and the JSON body of a request, up to the command that it becomes.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::body::{Body, to_bytes};
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use http_body_util::Full;
use percent_encoding::percent_decode_str;
use serde_json::Value;
use tokio::sync::{mpsc, watch};

use crate::context::mfa_sessions::MfaSessions;
use crate::fuzzing::{broker, request_head};
use crate::lease::supervisor::SupervisorCommand;
use crate::model::client_name::ClientName;
use crate::model::secret::Secret;
use crate::server::access::{AllowedHosts, check_addressed};
use crate::server::client_table::commands::{ClientCommand, CurrentToken, RotatedToken, TokenError};
use crate::server::client_table::grants::{GrantError, GrantOrder, GrantState};
use crate::server::control::{ControlServer, ReloadRequest};

const OWNER: u32 = 1000;
const STRANGER: u32 = 1001;

/// The token in answers. It is in no other part of an answer.
const TOKEN: &str = "hush-0123456789abcdef";

/// The longest time of a grant and of a switch, in seconds.
const LONGEST: u64 = 30 * 24 * 3600;

/// A command that a request became.
#[derive(Debug)]
enum OwnerCommand {
    Grant(GrantOrder),
    Revoke(ClientName),
    ListGrants,
    Use(Option<(Box<str>, Option<Duration>)>),
    Token(ClientName),
    Rotate(ClientName),
    Reload,
    Mfa(Box<str>, Secret),
    Caller(Box<str>),
}

/// Sends one request to the control socket and checks its answer. The input is a head as [`request_head::parse`] reads it,
/// an empty line, and a body. If its length is a multiple of eight, the sender is not the owner.
pub fn check(data: &[u8]) {
    let at = data.windows(2).position(|two| two == b"\n\n");
    let (head, body) = at.map_or((data, &[][..]), |at| (&data[..at], &data[at + 2..]));
    let Some(request) = request_head::parse(head, <[u8]>::to_vec) else { return };
    let user = if data.len().is_multiple_of(8) { STRANGER } else { OWNER };
    let (status, headers, answer, commands) = respond(&request, body, user);
    let text = String::from_utf8(answer).expect("answers are text");
    let value: Value = serde_json::from_str(&text).expect("answers are JSON");
    assert_eq!(headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes), Some(&b"application/json"[..]));
    assert!(headers.get(header::CACHE_CONTROL).is_some_and(|value| value == "no-store"));
    assert!([200, 400, 403, 404, 409].contains(&status.as_u16()), "{status} {text}");
    if status != StatusCode::OK {
        let message = value["message"].as_str().expect("an error has a message");
        assert!(value["code"].is_string() && !message.is_empty() && message.len() <= 2_100, "{message:?}");
        assert!(!message.chars().any(char::is_control), "{message:?}");
        assert!(!text.contains(TOKEN) || contains(data, TOKEN), "{text}");
    }
    if user != OWNER || check_addressed(&request, &AllowedHosts::default()).is_err() {
        assert!(status == StatusCode::FORBIDDEN && commands.is_empty(), "{status} {commands:?}");
        return;
    }
    check_commands(&request, body, status, &commands);
    let sent: Value = serde_json::from_slice(body).unwrap_or_default();
    let code = sent["code"].as_str().map_or_else(|| sent["code"].to_string(), str::to_owned);
    let is_code = code.len() >= 6 && code.bytes().all(|byte| byte.is_ascii_digit());
    // Other parts of the request may hold the same digits.
    assert!(!is_code || !text.contains(&code) || count(data, &code) != 1, "a code is repeated: {text}");
}

/// Panics unless the commands are those that the request means, by another reading of its parts.
fn check_commands(request: &Parts, body: &[u8], status: StatusCode, commands: &[OwnerCommand]) {
    let (method, path) = (&request.method, request.uri.path());
    let value: Option<Value> = serde_json::from_slice(body).ok();
    let text = |key: &str| value.as_ref().and_then(|value| value[key].as_str()).expect("the text of a command");
    let seconds = || {
        let seconds = value.as_ref().and_then(|value| value["seconds"].as_u64());
        assert!(seconds.is_none_or(|seconds| (1..=LONGEST).contains(&seconds)), "{seconds:?}");
        seconds.map(Duration::from_secs)
    };
    let query = |key: &str| {
        let parts = request.uri.query().unwrap_or_default().split('&');
        let pairs = parts.map(|part| part.split_once('=').unwrap_or((part, "")));
        let decode = |text: &str| percent_decode_str(text).decode_utf8().expect("a query is text").into_owned();
        let mut found = pairs.map(|(key, value)| (decode(key), decode(value))).filter(|(name, _)| name == key);
        let first = found.next().map(|(_, value)| value).filter(|value| !value.is_empty());
        assert!(found.next().is_none(), "{key} occurs twice");
        first
    };
    let is = |expected: &Method, at: &str| method == *expected && path == at;
    // A grant that would take a name in use is refused before anything else.
    let commands = match commands {
        [OwnerCommand::ListGrants, rest @ ..] if is(&Method::POST, "/grants") => rest,
        all => all,
    };
    match commands {
        [] => {
            let needs_none = is(&Method::GET, "/whoami") || is(&Method::DELETE, "/mfa/sessions");
            assert!(status != StatusCode::OK || needs_none, "{method} {path}");
        }
        [OwnerCommand::Grant(order)] => {
            assert!(is(&Method::POST, "/grants"));
            assert_eq!((order.name.as_str(), order.identity.as_str()), (text("name"), text("identity")));
            assert!(ClientName::parse(order.name.as_str()).is_ok() && broker::NAMES.contains(&order.identity.as_str()));
            assert_eq!(Some(order.lifetime), seconds());
            let sent = |key: &str| value.as_ref().map(|value| value[key].clone()).unwrap_or_default();
            assert_eq!(order.replace, sent("replace") == true);
            let policy =
                order.policy.as_ref().map(|policy| serde_json::from_str::<Value>(policy.as_str()).expect("JSON"));
            assert_eq!(policy.unwrap_or_default(), sent("policy"));
            let arns: Vec<Value> = order.policy_arns.iter().map(|arn| Value::from(&**arn)).collect();
            assert_eq!(&arns, sent("policy_arns").as_array().unwrap_or(&Vec::new()));
            // A grant that cannot be narrowed is never made. Here no narrowed lease can be loaded.
            assert!(order.policy.is_none() && arns.is_empty());
        }
        [OwnerCommand::Revoke(name)] => {
            assert_eq!(method, Method::DELETE);
            let written = path.strip_prefix("/grants/").expect("the path of a grant");
            assert_eq!(percent_decode_str(written).decode_utf8_lossy(), name.as_str());
            assert!(ClientName::parse(name.as_str()).is_ok());
        }
        [OwnerCommand::ListGrants] => assert!(is(&Method::GET, "/grants") || is(&Method::GET, "/status")),
        [OwnerCommand::Use(order)] => {
            assert!(is(&Method::POST, "/use"));
            match order {
                Some((identity, lifetime)) => {
                    assert_eq!((&**identity, *lifetime), (text("identity"), seconds()));
                    assert!(broker::NAMES.contains(&&**identity) && &**identity != "default");
                }
                None => assert_eq!(text("identity"), "default"),
            }
        }
        [OwnerCommand::Token(client)] => {
            assert!(is(&Method::GET, "/token"));
            assert_eq!(client.as_str(), query("client").as_deref().unwrap_or("owner"));
        }
        [OwnerCommand::Rotate(client)] => {
            assert!(is(&Method::POST, "/token/rotate"));
            let named = value.as_ref().and_then(|value| value["client"].as_str());
            assert_eq!(client.as_str(), named.unwrap_or("owner"));
        }
        [OwnerCommand::Reload] => assert!(is(&Method::POST, "/reload") && status == StatusCode::OK),
        [OwnerCommand::Mfa(identity, code)] => {
            assert!(is(&Method::POST, "/mfa"));
            assert_eq!((&**identity, code.expose()), (text("identity"), text("code")));
        }
        [OwnerCommand::Caller(identity)] => {
            assert!(is(&Method::GET, "/whoami") && query("verify").as_deref() == Some("true"));
            assert_eq!(&**identity, query("identity").as_deref().unwrap_or("default"));
        }
        others => panic!("{method} {path} became {others:?}"),
    }
}

fn contains(all: &[u8], part: &str) -> bool {
    count(all, part) > 0
}

fn count(all: &[u8], part: &str) -> usize {
    String::from_utf8_lossy(all).matches(part).count()
}

/// Returns the answer, and the commands behind it.
fn respond(request: &Parts, body: &[u8], user: u32) -> (StatusCode, HeaderMap, Vec<u8>, Vec<OwnerCommand>) {
    let (commands, mut client_commands) = mpsc::channel(1);
    let (reloads, mut asked_reloads) = mpsc::channel(1);
    let (supervisor, mut supervisor_commands) = mpsc::channel(1);
    let leases = broker::leases(broker::lease);
    let started = leases.now();
    let server = Arc::new(ControlServer {
        leases,
        started,
        clients: watch::Sender::default().subscribe(),
        commands,
        reloads,
        supervisor,
        mfa_sessions: MfaSessions::default(),
        addresses: vec![([127, 0, 0, 1], 9733).into()],
        sockets: vec!["/run/credenza/credenza.sock".into()],
        owner: OWNER,
        log: Default::default(),
    });
    let mut sent = http::Request::new(Full::new(Bytes::copy_from_slice(body)));
    *sent.method_mut() = request.method.clone();
    *sent.uri_mut() = request.uri.clone();
    *sent.headers_mut() = request.headers.clone();
    let mut seen = Vec::new();
    let answer = broker::run(async {
        let mut answer = std::pin::pin!(server.answer(sent, &Some(user).into(), || ()).wait());
        loop {
            tokio::select! {
                biased;
                Some(command) = client_commands.recv() => seen.push(reply(command, started)),
                Some(reload) = asked_reloads.recv() => seen.push(reply_to_reload(reload)),
                Some(command) = supervisor_commands.recv() => seen.extend(reply_of_supervisor(command)),
                Ok(answer) = &mut answer => {
                    let (head, body) = answer.into_parts();
                    let body = to_bytes(Body::new(body), 1 << 20).await.expect("the body is in memory");
                    return (head.status, head.headers, body.to_vec());
                }
            }
        }
    });
    (answer.0, answer.1, answer.2, seen)
}

/// Replies as a client table with the grant `taken`, and the client `web` with a token.
fn reply(command: ClientCommand, now: SystemTime) -> OwnerCommand {
    let grant = |name: &ClientName| GrantState {
        name: name.clone(),
        identity: "default".into(),
        ends: now,
        policy_sha256: None,
        narrowing: None,
    };
    match command {
        ClientCommand::Grant(order, reply) => {
            let ends = order.ends;
            let given = match order.name.as_str() == "taken" && !order.replace {
                true => Err(GrantError::NameInUse(order.name.clone())),
                false => {
                    let narrowing = order.narrowing().map(Arc::new);
                    let identity = order.identity.clone();
                    Ok((GrantState { ends, identity, narrowing, ..grant(&order.name) }, TOKEN.into()))
                }
            };
            drop(reply.send(given));
            OwnerCommand::Grant(order)
        }
        ClientCommand::Revoke(name, reply) => {
            let revoked = match name.as_str() {
                "taken" => Ok(grant(&name)),
                _ => Err(GrantError::Unknown(name.clone())),
            };
            drop(reply.send(revoked));
            OwnerCommand::Revoke(name)
        }
        ClientCommand::ListGrants(reply) => {
            drop(reply.send(vec![grant(&"taken".into())]));
            OwnerCommand::ListGrants
        }
        ClientCommand::Use(order, reply) => {
            let _ = reply.send(order.as_ref().and_then(|(_, lifetime)| Some(now + (*lifetime)?)));
            OwnerCommand::Use(order.map(|(identity, lifetime)| (identity.as_str().into(), lifetime)))
        }
        ClientCommand::Token(client, reply) => {
            let current = match client.as_str() {
                "web" | "owner" => Ok(CurrentToken { token: TOKEN.into(), file: None }),
                _ => Err(TokenError::UnknownClient(client.clone())),
            };
            drop(reply.send(current));
            OwnerCommand::Token(client)
        }
        ClientCommand::Rotate(client, reply) => {
            let rotated = match client.as_str() {
                "web" | "owner" => Ok(RotatedToken { file: "/run/credenza/token".into(), old_until: now }),
                _ => Err(TokenError::UnknownClient(client.clone())),
            };
            drop(reply.send(rotated));
            OwnerCommand::Rotate(client)
        }
        ClientCommand::Prepare(..) | ClientCommand::Replace(..) => panic!("no request replaces the clients"),
    }
}

fn reply_to_reload(reload: ReloadRequest) -> OwnerCommand {
    drop(reload.send(Ok(())));
    OwnerCommand::Reload
}

/// Replies as a supervisor without identities.
fn reply_of_supervisor(command: SupervisorCommand) -> Option<OwnerCommand> {
    match command {
        SupervisorCommand::Mfa { identity, code, reply } => {
            drop(reply.send(None));
            Some(OwnerCommand::Mfa(identity.as_str().into(), code))
        }
        SupervisorCommand::Caller { identity, reply } => {
            drop(reply.send(None));
            Some(OwnerCommand::Caller(identity.as_str().into()))
        }
        // A revocation and a refused grant have this effect.
        SupervisorCommand::DropSessions(_) => None,
        SupervisorCommand::Replace(_)
        | SupervisorCommand::Refused(_)
        | SupervisorCommand::Reload
        | SupervisorCommand::Applied(_) => {
            panic!("no request sends this command to the supervisor")
        }
    }
}
