//! One exchange at the control socket: connects to the daemon and to no other program, and limits time and size.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::net::UnixStream;
use zeroize::Zeroizing;

use crate::cli::control::ControlInputs;
use crate::cli::control::socket::{ControlSocket, FoundSockets, find, shown};
use crate::cli::error::CommandError;
use crate::model::text::Escaped;

/// The timeout of a request. The slowest one asks STS.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The maximum length of an answer in bytes. The longest is a list of grants, with a few hundred bytes for each.
const MAX_BODY_LEN: usize = 1 << 20;

/// The maximum length of the status in bytes. That of a thousand identities is a few megabytes long.
const MAX_STATUS_LEN: usize = 16 << 20;

/// The expected length of an answer with a token in bytes. A buffer of this length does not move, so that it leaves no
/// copy of the token.
const ANSWER_LEN: usize = 16 << 10;

/// A request to the daemon.
pub(crate) struct ControlRequest {
    method: Method,
    /// Path and query.
    target: String,
    /// The JSON document. It may contain a code.
    body: Option<Zeroizing<Vec<u8>>>,
    max_body_len: usize,
}

/// Leaves out the body, which may contain a code.
impl std::fmt::Debug for ControlRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ControlRequest")
            .field("method", &self.method)
            .field("target", &self.target)
            .finish_non_exhaustive()
    }
}

/// An error response of the daemon.
#[derive(Debug)]
pub(crate) struct ControlRefusal {
    pub(crate) status: StatusCode,
    pub(crate) code: Box<str>,
    message: Box<str>,
}

/// A body, or the refusal of the daemon.
type Answer = Result<Zeroizing<Vec<u8>>, ControlRefusal>;

impl ControlRequest {
    pub(crate) fn get(target: impl Into<String>) -> Self {
        Self { method: Method::GET, target: target.into(), body: None, max_body_len: MAX_BODY_LEN }
    }

    /// Requests the status of all identities.
    pub(crate) fn status() -> Self {
        Self { max_body_len: MAX_STATUS_LEN, ..Self::get("/status") }
    }

    pub(crate) fn delete(target: impl Into<String>) -> Self {
        Self { method: Method::DELETE, ..Self::get(target) }
    }

    pub(crate) fn post(target: impl Into<String>, body: &impl serde::Serialize) -> Self {
        let mut text = Zeroizing::new(Vec::with_capacity(ANSWER_LEN));
        let _ = serde_json::to_writer(&mut *text, body);
        Self { method: Method::POST, body: Some(text), ..Self::get(target) }
    }
}

impl ControlRefusal {
    /// Returns an error that begins with the request: *what failed*. The daemon's message says why, and what to do.
    #[must_use]
    pub(crate) fn of(&self, request: &str) -> CommandError {
        let Self { status, code, message } = self;
        // The message may quote foreign text, such as the name of a profile.
        let message: Vec<String> = message.lines().map(|line| Escaped(line).to_string()).collect();
        let message = message.join("\n");
        let is_unknown_name = matches!(&**code, "UnknownName" | "IdentityNotFound");
        let error = CommandError::new(format!("{request}: {message} ({} {})", status.as_u16(), Escaped(code)));
        if is_unknown_name { error.of_unknown_name() } else { error }
    }
}

/// Sends a request and reads its answer. `request` names it in errors, for example `grant web`.
///
/// # Errors
/// If no daemon answers, it refuses the request, or the answer is not a daemon's.
pub(crate) async fn ask<T: DeserializeOwned>(
    inputs: &ControlInputs,
    request: &str,
    sent: ControlRequest,
) -> Result<T, CommandError> {
    let (socket, answer) = exchange(inputs, sent).await?;
    let body = answer.map_err(|refusal| refusal.of(request))?;
    parse(&socket, &body)
}

/// Sends a request. Returns the socket with the answer.
///
/// # Errors
/// If no daemon answers, or the answer is not a daemon's.
pub(crate) async fn exchange(
    inputs: &ControlInputs,
    sent: ControlRequest,
) -> Result<(ControlSocket, Answer), CommandError> {
    let found = find(&inputs.config.server, inputs.named.as_deref(), &inputs.context);
    let (socket, stream) = connect(&found).await?;
    let whom = || format!("the daemon at {}", shown(&socket.path));
    let answered = inputs.context.progress.asking(whom, tokio::time::timeout(TIMEOUT, send(stream, sent))).await;
    let no_answer = |reason: String| {
        let path = shown(&socket.path);
        CommandError::new(format!(
            "the daemon at {path} gives no answer: {reason}. Look at its log; a restart ends its grants"
        ))
    };
    let (status, body) = match answered {
        Ok(Ok(answer)) => answer,
        Ok(Err(SendError::TooLong)) => return Err(not_a_daemon(&socket, "its answer is too long")),
        Ok(Err(SendError::Other(error))) => return Err(no_answer(error.to_string())),
        Err(_) => return Err(no_answer(format!("it took longer than {} s", TIMEOUT.as_secs()))),
    };
    if status == StatusCode::OK {
        return Ok((socket, Ok(body)));
    }
    let document: Value = parse(&socket, &body)?;
    match (document["code"].as_str(), document["message"].as_str()) {
        (Some(code), Some(message)) => {
            let refusal = ControlRefusal { status, code: code.into(), message: message.into() };
            Ok((socket, Err(refusal)))
        }
        _ => Err(not_a_daemon(&socket, &format!("it answers with {} and no reason", status.as_u16()))),
    }
}

/// Returns true if a daemon of this user or of root listens. Sockets that must not be used are logged.
pub(crate) async fn listens(inputs: &ControlInputs) -> bool {
    let found = find(&inputs.config.server, inputs.named.as_deref(), &inputs.context);
    for reason in &found.refused {
        tracing::warn!("no daemon is asked: {reason}");
    }
    for socket in &found.trusted {
        if UnixStream::connect(&socket.path).await.is_ok() {
            return true;
        }
    }
    false
}

/// Parses an answer. The error does not quote it: it may contain a token.
pub(crate) fn parse<T: DeserializeOwned>(socket: &ControlSocket, body: &[u8]) -> Result<T, CommandError> {
    serde_json::from_slice(body).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        not_a_daemon(socket, &format!("its answer has another form (line {line}, column {column})"))
    })
}

/// The program at the socket does not answer like a daemon of this version.
pub(crate) fn not_a_daemon(socket: &ControlSocket, reason: &str) -> CommandError {
    CommandError::new(format!(
        "{}: no Credenza daemon of this version: {reason}. Restart the daemon with this program, or name its socket with \
         --control-socket",
        shown(&socket.path)
    ))
}

/// Connects to the first daemon that listens.
async fn connect(found: &FoundSockets) -> Result<(ControlSocket, UnixStream), CommandError> {
    let mut silent = Vec::new();
    for socket in &found.trusted {
        match UnixStream::connect(&socket.path).await {
            Ok(stream) => {
                check_peer(socket, &stream)?;
                return Ok((socket.clone(), stream));
            }
            Err(error) => silent.push(format!("no daemon listens at {}: {error}", shown(&socket.path))),
        }
    }
    let mut reasons: Vec<String> = found.refused.iter().cloned().chain(silent).collect();
    if reasons.is_empty() {
        let tried: Vec<String> = found.tried.iter().map(|path| shown(path)).collect();
        reasons.push(format!("there is no control socket at {}", tried.join(" or ")));
    }
    Err(CommandError::new(format!(
        "no daemon to ask: {}. Start one with `credenza serve` or `systemctl [--user] start credenza`, or name its socket \
         with --control-socket",
        reasons.join("; ")
    )))
}

/// Refuses a listener of another user than the owner of the socket or root, before anything is sent.
fn check_peer(socket: &ControlSocket, stream: &UnixStream) -> Result<(), CommandError> {
    let refused = |reason: String| {
        CommandError::new(format!(
            "the control socket {} is not used: {reason}. Stop that program, or name another socket with --control-socket",
            shown(&socket.path)
        ))
    };
    let peer =
        stream.peer_cred().map_err(|error| refused(format!("the user that listens there is unknown: {error}")))?;
    if peer.uid() == 0 || peer.uid() == socket.owner {
        return Ok(());
    }
    Err(refused(format!("user {} listens there, and it belongs to user {}", peer.uid(), socket.owner)))
}

enum SendError {
    TooLong,
    Other(Box<dyn std::error::Error + Send + Sync>),
}

impl<E: Into<Box<dyn std::error::Error + Send + Sync>>> From<E> for SendError {
    fn from(error: E) -> Self {
        let error = error.into();
        if error.is::<LengthLimitError>() { Self::TooLong } else { Self::Other(error) }
    }
}

async fn send(stream: UnixStream, sent: ControlRequest) -> Result<(StatusCode, Zeroizing<Vec<u8>>), SendError> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let mut request = Request::builder().method(sent.method).uri(sent.target).header(header::HOST, "localhost");
    let body = match sent.body {
        Some(body) => {
            request = request.header(header::CONTENT_TYPE, "application/json");
            Bytes::from_owner(body)
        }
        None => Bytes::new(),
    };
    let exchange = async {
        let response = sender.send_request(request.body(Full::new(body))?).await?;
        let status = response.status();
        let mut body = Limited::new(response.into_body(), sent.max_body_len);
        let mut bytes = Zeroizing::new(Vec::with_capacity(ANSWER_LEN));
        while let Some(frame) = body.frame().await {
            if let Ok(data) = frame?.into_data() {
                bytes.extend_from_slice(&data);
            }
        }
        Ok((status, bytes))
    };
    let mut connection = std::pin::pin!(connection);
    let mut exchange = std::pin::pin!(exchange);
    tokio::select! {
        response = &mut exchange => response,
        ended = &mut connection => {
            ended.map_err(io::Error::other)?;
            exchange.await
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Overrides};
    use crate::context::Context;
    use crate::os::environment::Environment;
    use crate::os::files::Files;
    use std::os::unix::fs::PermissionsExt;

    #[tokio::test(start_paused = true)]
    async fn gives_up_on_a_daemon_that_hangs() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let listener = tokio::net::UnixListener::bind(&path).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        let inputs = ControlInputs {
            context: Context::new(Environment::default(), Files::unwatched()),
            config: Config::parse(b"", &Overrides::default()).unwrap(),
            named: Some(path.clone()),
            refused: None,
        };
        let asked = ask::<Value>(&inputs, "cannot", ControlRequest::get("/grants")).await;
        let error = asked.unwrap_err().to_string();
        assert!(error.contains("gives no answer: it took longer than 10 s"), "{error}");
        drop(listener);
        let refused = ask::<Value>(&inputs, "cannot", ControlRequest::get("/grants")).await.unwrap_err().to_string();
        assert!(refused.contains("no daemon listens at") && refused.contains("`credenza serve`"), "{refused}");
    }

    #[test]
    fn debug_shows_no_code() {
        let request = ControlRequest::post("/mfa", &serde_json::json!({ "code": "806317" }));
        let code: Vec<String> = b"806317".iter().map(u8::to_string).collect();
        assert!(!format!("{request:?}").contains(&code.join(", ")));
    }
}
