//! Credentials from the container endpoint of ECS, EKS, or another broker.

use std::path::Path;
use std::time::Duration;

use http::header::{ACCEPT, AUTHORIZATION, HeaderValue};
use http::{Method, StatusCode};

use crate::cache::credentials::CachePolicy;
use crate::cache::key::CacheKeyBuilder;
use crate::context::Context;
use crate::http::address_policy::AddressPolicy;
use crate::http::message::{Request, Response};
use crate::http::url::Url;
use crate::model::credentials::Credentials;
use crate::model::error::{ErrorKind, SourceError};
use crate::model::outcome::Lookup;
use crate::model::secret::Secret;
use crate::model::text::Escaped;
use crate::os::environment::Environment;
use crate::source::document;
use crate::source::document::SuccessCode;
use crate::source::endpoint::EndpointHints;
use crate::source::web_identity::MEND_THE_FILE;
use crate::source::{BoxFuture, Source};

const RELATIVE: &str = "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI";
const FULL: &str = "AWS_CONTAINER_CREDENTIALS_FULL_URI";
const TOKEN: &str = "AWS_CONTAINER_AUTHORIZATION_TOKEN";
const TOKEN_FILE: &str = "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE";

/// Where the ECS agent listens; the relative URI is a path on it.
const ECS_AGENT: &str = "http://169.254.170.2";

const ADVICE: EndpointHints = EndpointHints {
    silent: "see that what gives this container its credentials is running, and that we reach it at this address",
    denied: "see that AWS_CONTAINER_AUTHORIZATION_TOKEN, or the file that AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE names, \
             holds the token that it wants, and that it has a role for this container",
    other: "see what answers at this address, and whether AWS_CONTAINER_CREDENTIALS_RELATIVE_URI or \
            AWS_CONTAINER_CREDENTIALS_FULL_URI names the right one",
};

/// For one attempt. Three of them and the pauses between stay below the 10 s that a load has.
const PATIENCE: Duration = Duration::from_millis(2500);

/// The longest pauses before the second and the third attempt; there are as many attempts as pauses, and one.
const PAUSES: [Duration; 2] = [Duration::from_millis(100), Duration::from_millis(300)];

/// Asks the endpoint that `AWS_CONTAINER_CREDENTIALS_RELATIVE_URI` names (a path on 169.254.170.2) or, when that is not
/// set, `AWS_CONTAINER_CREDENTIALS_FULL_URI`. The `Authorization` comes from the file that
/// `AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE` names, read anew at each load, else from `AWS_CONTAINER_AUTHORIZATION_TOKEN`.
///
/// `https` may go to any host, `http` to loopback, to the endpoints of ECS and EKS, and to names all of whose addresses
/// are loopback; another host is misconfigured. It is *not configured* only when neither URI is set. What has already
/// expired is handed on as it is: who keeps the lease judges that. Those who ask the same URL with the same token within
/// a minute share what it gives.
///
/// ```
/// use credenza::{ContainerCredentials, Context, Lookup, Source};
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// // The default context has no variables, so that the source is not configured.
/// let lookup = ContainerCredentials::new().load(&Context::default()).await;
/// assert!(matches!(lookup, Lookup::NotConfigured(_)));
/// # });
/// ```
#[derive(Clone, Copy, Debug)]
pub struct ContainerCredentials {
    patience: Duration,
}

impl ContainerCredentials {
    /// With 2.5 s for each of its three attempts.
    #[must_use]
    pub fn new() -> Self {
        Self { patience: PATIENCE }
    }

    /// The same with another time for each attempt.
    #[must_use]
    pub fn with_patience(self, patience: Duration) -> Self {
        Self { patience }
    }

    /// What the endpoint gives to this token, or has just given to somebody else.
    async fn obtain(&self, context: &Context, url: &Url) -> Lookup {
        let token = match token(context).await {
            Ok(token) => token,
            Err(failure) => return failure.into(),
        };
        let token = token.as_ref();
        let of = CacheKeyBuilder::new("container endpoint")
            .with_value(url)
            .with_optional(token.map(Secret::expose))
            .with(self.patience.as_nanos().to_be_bytes());
        let ask = || async { Lookup::from_result(self.look(context, url, token).await) };
        context.credential_cache.share(&context.clock, of.cache_key(), CachePolicy::NEARBY, ask).await
    }

    async fn look(&self, context: &Context, url: &Url, token: Option<&Secret>) -> Result<Credentials, SourceError> {
        let tried = self.request(url, token)?.to_string();
        let response = self.ask(context, url, token).await?;
        if response.status != StatusCode::OK {
            return Err(ADVICE.refused(&response, &tried, &context.clock, token));
        }
        document::credentials(&response.body, SuccessCode::IfPresent, &tried, token)
            .map_err(|failure| ADVICE.useless(failure))
    }

    /// Tries again after a silence or a 5xx, unless upstream said when.
    async fn ask(&self, context: &Context, url: &Url, token: Option<&Secret>) -> Result<Response, SourceError> {
        for pause in PAUSES {
            match context.http_client.send(self.request(url, token)?).await {
                Ok(answer) if !answer.status.is_server_error() || answer.retry_after(&context.clock).is_some() => {
                    return Ok(answer);
                }
                Err(error) if !error.cause().is_silence() => return Err(ADVICE.unanswered(error)),
                Ok(_) | Err(_) => tokio::time::sleep(pause.mul_f64(0.5 + context.rng.draw() / 2.0)).await,
            }
        }
        context.http_client.send(self.request(url, token)?).await.map_err(|error| ADVICE.unanswered(error))
    }

    fn request(&self, url: &Url, token: Option<&Secret>) -> Result<Request, SourceError> {
        let reach = if url.is_https() { AddressPolicy::Anywhere } else { AddressPolicy::Container };
        let request = Request::new(Method::GET, url.clone(), reach, self.patience)
            .with_header(ACCEPT, HeaderValue::from_static("application/json"));
        Ok(match token {
            Some(token) => request.with_secret(AUTHORIZATION, "container authorization token", token)?,
            None => request,
        })
    }
}

impl Default for ContainerCredentials {
    fn default() -> Self {
        Self::new()
    }
}

impl Source for ContainerCredentials {
    fn name(&self) -> &str {
        "container"
    }

    fn load<'a>(&'a self, context: &'a Context) -> BoxFuture<'a, Lookup> {
        Box::pin(async move {
            match locate(&context.environment) {
                Ok(None) => Lookup::not_configured(format!("neither {RELATIVE} nor {FULL} is set")),
                Ok(Some(url)) => self.obtain(context, &url).await,
                Err(failure) => failure.into(),
            }
        })
    }

    fn region<'a>(&'a self, _: &'a Context) -> BoxFuture<'a, Option<Box<str>>> {
        Box::pin(std::future::ready(None))
    }
}

fn locate(environment: &Environment) -> Result<Option<Url>, SourceError> {
    let (variable, text) = match (environment.get(RELATIVE), environment.get(FULL)) {
        // Without its slash, `@host/` or `.host/` would lead elsewhere than to the agent.
        (Some(path), _) if !path.starts_with('/') => {
            return Err(SourceError::misconfigured(format!(
                "{RELATIVE} must be a path that begins with a slash; write one such as /v2/credentials, or unset it"
            )));
        }
        (Some(path), _) => (RELATIVE, format!("{ECS_AGENT}{path}")),
        (None, Some(url)) => (FULL, url.to_owned()),
        (None, None) => return Ok(None),
    };
    Url::parse(&text)
        .map(Some)
        .map_err(|bad| SourceError::misconfigured(format!("{variable} {bad}; correct it, or unset it")))
}

async fn token(context: &Context) -> Result<Option<Secret>, SourceError> {
    let Some(path) = context.environment.get(TOKEN_FILE) else {
        return context.environment.get(TOKEN).map(|text| checked(TOKEN, text)).transpose();
    };
    let path = context.environment.expand(Path::new(path));
    let shown = path.to_string_lossy();
    let failure = |kind, why: &str| {
        let message = format!("{TOKEN_FILE} ({}): {why}; {MEND_THE_FILE}, or unset {TOKEN_FILE}", Escaped(&shown));
        SourceError::new(kind, message)
    };
    let file =
        context.files.read(&path).await.map_err(|error| failure(ErrorKind::Unsettled, &error.reason().to_string()))?;
    let text = std::str::from_utf8(&file.bytes).map_err(|_| failure(ErrorKind::Misconfigured, "it is not text"))?;
    match text.trim_end_matches(['\r', '\n']) {
        "" => Err(failure(ErrorKind::Unsettled, "the file is empty")),
        text => checked(&format!("{TOKEN_FILE} ({})", Escaped(&shown)), text).map(Some),
    }
}

/// A token is sent as it stands or not at all.
fn checked(origin: &str, text: &str) -> Result<Secret, SourceError> {
    if text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return Ok(Secret::new(text));
    }
    Err(SourceError::misconfigured(format!(
        "{origin} holds a control character or another that no header can carry; have it hold the token alone, in one line"
    )))
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::sync::{Arc, OnceLock};

    use super::*;
    use crate::http::client::HttpClient;
    use crate::os::clock::Clock;
    use testkit::document as body;
    use testkit::ecs::Ecs;
    use testkit::server::{Reply, Server, nobody};
    use testkit::tls::{Authority, Tls};

    const LATER: &str = "2026-11-23T16:00:00Z";

    fn context(variables: &[(&str, &str)]) -> Context {
        Context {
            clock: Clock::system(),
            environment: Environment::new(variables.iter().copied()),
            http_client: HttpClient::system(Arc::default()),
            files: crate::os::files::Files::unwatched(),
            ..Context::default()
        }
    }

    async fn load(variables: &[(&str, &str)]) -> Lookup {
        ContainerCredentials::new().load(&context(variables)).await
    }

    async fn failure(variables: &[(&str, &str)]) -> SourceError {
        let Lookup::Failed(failure) = load(variables).await else { panic!("{variables:?}") };
        assert!(!failure.to_string().contains("hush"), "{failure}");
        failure
    }

    #[tokio::test]
    async fn no_proxy_is_asked_whatever_the_environment_names() {
        let (ecs, proxy) = (Ecs::start(None, &body("ASIA1", LATER)), Server::start(|_| Reply::of(502, "")));
        let authority = Authority::new("a");
        let tls = Tls::before(ecs.server().address(), authority.sign("agent.example.com"));
        let folder = tempfile::tempdir().unwrap();
        let bundle = folder.path().join("ca.pem");
        std::fs::write(&bundle, authority.pem()).unwrap();
        let (named, ports) = (proxy.url(""), (ecs.server().address().port(), tls.address().port()));
        let proxies =
            ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY"].map(|name| (name, &*named));
        for url in [format!("http://agent.example.com:{}", ports.0), format!("https://agent.example.com:{}", ports.1)] {
            let full = url + Ecs::TARGET;
            let own = [(FULL, &*full), ("SSL_CERT_FILE", bundle.to_str().unwrap())];
            let context = context(&[&proxies[..], &own].concat());
            let names = HashMap::from([("agent.example.com".into(), vec![tls.address().ip()])]);
            let upstream = HttpClient::with_names(Arc::default(), names).with_environment(&context.environment);
            let answer = ContainerCredentials::new().load(&Context { http_client: upstream, ..context }).await;
            assert!(matches!(answer, Lookup::Found(_)), "{full}: {answer:?}");
        }
        assert!(proxy.lines().is_empty());
    }

    #[tokio::test]
    async fn unset_or_blank_is_not_configured() {
        for variables in [&[][..], &[(FULL, " "), (RELATIVE, "")], &[(TOKEN, "hush")]] {
            assert!(matches!(load(variables).await, Lookup::NotConfigured(_)), "{variables:?}");
        }
    }

    #[test]
    fn the_relative_uri_wins() {
        for (variables, url) in [
            (&[(RELATIVE, "/v2/x?y")][..], Ok("http://169.254.170.2/v2/x")),
            (&[(RELATIVE, "/a"), (FULL, "http://127.0.0.1/b")], Ok("http://169.254.170.2/a")),
            (&[(FULL, "http://localhost:80/b")], Ok("http://localhost/b")),
            (&[(RELATIVE, "@evil.example/"), (FULL, "http://127.0.0.1/b")], Err(RELATIVE)),
            (&[(RELATIVE, "/a b")], Err(RELATIVE)),
            (&[(FULL, "/b")], Err(FULL)),
            (&[(FULL, "http://user:hush@127.0.0.1/")], Err(FULL)),
        ] {
            match (locate(&Environment::new(variables.iter().copied())), url) {
                (Ok(Some(found)), Ok(url)) => assert_eq!(found.to_string(), url),
                (Err(failure), Err(variable)) => {
                    assert!(
                        failure.to_string().starts_with(variable) && !failure.to_string().contains("hush"),
                        "{failure}"
                    );
                    assert!(failure.to_string().ends_with(", or unset it"), "{failure}");
                    assert_eq!(failure.kind, ErrorKind::Misconfigured);
                }
                other => panic!("{variables:?}: {other:?}"),
            }
        }
    }

    #[tokio::test]
    async fn credentials_are_found_and_rotate() {
        let ecs = Ecs::start(Some("hush token"), &body("ASIA1", LATER));
        let context = context(&[(FULL, &ecs.url()), (TOKEN, "hush token")]);
        let source = ContainerCredentials::new();
        for key in ["ASIA1", "ASIA2"] {
            ecs.set_document(&body(key, LATER));
            context.credential_cache.forget();
            let Lookup::Found(found) = source.load(&context).await else { panic!() };
            assert_eq!(&*found.access_key_id, key);
        }
        assert_eq!(ecs.server().lines(), ["GET /v2/credentials/task?a=b"; 2]);
        let seen = &ecs.server().seen()[0];
        assert_eq!(seen.header("accept"), Some("application/json"));
        assert_eq!(seen.header("authorization"), Some("hush token"));
        assert_eq!(source.region(&context).await, None);
    }

    #[tokio::test]
    async fn sources_that_ask_alike_share_and_others_do_not() {
        let server = Server::start(|_| Reply::ok(body("ASIA1", "2099-01-01T00:00:00Z")));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        std::fs::write(&path, "hush-1").unwrap();
        let (full, file) = (server.url("/a"), path.to_str().unwrap().to_owned());
        let here = context(&[(FULL, &full), (TOKEN_FILE, &file)]);
        let source = ContainerCredentials::new();
        let requests = || server.lines().len();
        let (one, two) = tokio::join!(source.load(&here), source.load(&here));
        assert!(one == two && matches!(one, Lookup::Found(_)));
        assert_eq!((source.load(&here).await, requests()), (one, 1));

        // Another token may be another principal, and so may be another query or another end of a long path.
        std::fs::write(&path, "hush-2").unwrap();
        source.load(&here).await;
        assert_eq!(requests(), 2);
        let long = server.url(&format!("/{}", "x".repeat(300)));
        for (number, full) in [format!("{full}?b"), format!("{long}a"), format!("{long}b")].into_iter().enumerate() {
            let environment = Environment::new([(FULL, &*full), (TOKEN_FILE, &file)]);
            source.load(&Context { environment, ..here.clone() }).await;
            assert_eq!(requests(), 3 + number, "{full}");
        }
        source.with_patience(Duration::from_secs(1)).load(&here).await;
        assert_eq!(requests(), 6);
    }

    #[tokio::test]
    async fn without_a_token_there_is_no_header_and_expired_ones_are_found() {
        let ecs = Ecs::start(None, &body("ASIA1", "2001-09-09T01:46:40Z"));
        assert!(matches!(load(&[(FULL, &ecs.url())]).await, Lookup::Found(keys) if keys.expiration.is_some()));
        assert_eq!(ecs.server().seen()[0].header("authorization"), None);
    }

    #[tokio::test]
    async fn tokens_that_no_header_carries_are_misconfigured() {
        let ecs = Ecs::start(None, "");
        for token in ["hu\nsh", "hu\tsh", "hu\u{7f}sh", "hush\u{e9}"] {
            let failure = failure(&[(FULL, &ecs.url()), (TOKEN, token)]).await;
            assert!(failure.kind == ErrorKind::Misconfigured && failure.to_string().starts_with(TOKEN), "{failure}");
            assert!(failure.to_string().ends_with("the token alone, in one line"), "{failure}");
        }
        assert!(ecs.server().lines().is_empty());
    }

    #[tokio::test]
    async fn a_token_file_that_cannot_be_read_is_unsettled_and_nothing_is_sent() {
        let ecs = Ecs::start(Some("hush"), "");
        let failure = failure(&[(FULL, &ecs.url()), (TOKEN, "hush"), (TOKEN_FILE, "/nowhere/to\nken")]).await;
        assert_eq!(failure.kind, ErrorKind::Unsettled);
        assert!(failure.to_string().starts_with(r"AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE (/nowhere/to\nken): "));
        let advice = "and that we may read it, or unset AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE";
        assert!(failure.to_string().ends_with(advice), "{failure}");
        assert!(ecs.server().lines().is_empty());
    }

    #[tokio::test]
    async fn a_token_file_is_read_anew_at_each_load() {
        let ecs = Ecs::start(Some("hush-1"), &body("ASIA1", LATER));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let context = context(&[(FULL, &ecs.url()), (TOKEN, "other"), (TOKEN_FILE, path.to_str().unwrap())]);
        for (content, token) in [("hush-1", "hush-1"), ("hush-2\r\n", "hush-2"), ("hush-3\n\n", "hush-3")] {
            std::fs::write(&path, content).unwrap();
            ecs.set_token(Some(token));
            assert!(matches!(ContainerCredentials::new().load(&context).await, Lookup::Found(_)), "{content:?}");
        }
        for (content, kind) in [
            (&b""[..], ErrorKind::Unsettled),
            (b"\n", ErrorKind::Unsettled),
            (b"hu\nsh", ErrorKind::Misconfigured),
            (b"hush\xff", ErrorKind::Misconfigured),
        ] {
            std::fs::write(&path, content).unwrap();
            let Lookup::Failed(failure) = ContainerCredentials::new().load(&context).await else { panic!() };
            assert!(failure.kind == kind && !failure.to_string().contains("hush"), "{failure}");
        }
    }

    #[tokio::test]
    async fn forbidden_hosts_are_misconfigured() {
        for url in ["http://192.0.2.1/x", "http://169.254.169.254/", "http://0.0.0.0/x", "http://[fd00:ec2::254]/"] {
            let failure = failure(&[(FULL, url), (TOKEN, "hush")]).await;
            assert!(failure.kind == ErrorKind::Misconfigured && failure.to_string().contains("use https"), "{failure}");
        }
    }

    #[tokio::test]
    async fn our_own_listener_is_misconfigured() {
        let ecs = Ecs::start(None, "");
        let own = Arc::new(OnceLock::from(vec![ecs.server().address()]));
        let context = Context { http_client: HttpClient::system(own), ..context(&[(FULL, &ecs.url())]) };
        let Lookup::Failed(failure) = ContainerCredentials::new().load(&context).await else { panic!() };
        assert_eq!(failure.kind, ErrorKind::Misconfigured);
        assert!(failure.to_string().contains("would ask itself"), "{failure}");
    }

    #[tokio::test]
    async fn what_passes_is_tried_three_times() {
        let ecs = Ecs::start(None, &body("ASIA1", LATER));
        for (replies, requests) in [
            (vec![Reply::of(500, "")], 2),
            (vec![Reply::Raw(Vec::new()), Reply::of(503, "")], 3),
            (vec![Reply::Hang, Reply::Drip], 3),
        ] {
            let before = ecs.server().lines().len();
            ecs.script(replies);
            let source = ContainerCredentials::new().with_patience(Duration::from_millis(150));
            let answer = source.load(&context(&[(FULL, &ecs.url())])).await;
            assert!(matches!(answer, Lookup::Found(_)), "{answer:?}");
            assert_eq!(ecs.server().lines().len() - before, requests);
        }
    }

    #[tokio::test]
    async fn what_does_not_pass_is_tried_once() {
        let ecs = Ecs::start(Some("hush"), "");
        let location = ecs.url();
        for (reply, kind, retry_after) in [
            (Reply::of(400, ""), ErrorKind::Misconfigured, None),
            (Reply::of(401, r#"{"code":"X","message":"hush is wrong"}"#), ErrorKind::Denied, None),
            (Reply::of(403, ""), ErrorKind::Denied, None),
            (Reply::of(404, "<html>hush"), ErrorKind::Misconfigured, None),
            (Reply::of(429, "").with("retry-after", "3"), ErrorKind::Unavailable, Some(3)),
            (Reply::of(503, "").with("retry-after", "30"), ErrorKind::Unavailable, Some(30)),
            (Reply::of(302, "").with("location", location.clone()), ErrorKind::Misconfigured, None),
            (Reply::ok("<html>hush"), ErrorKind::Unavailable, None),
            (Reply::Flood, ErrorKind::Unavailable, None),
        ] {
            let before = ecs.server().lines().len();
            ecs.script([reply.clone()]);
            let failure = failure(&[(FULL, &location), (TOKEN, "hush")]).await;
            assert_eq!((failure.kind, failure.retry_after.map(|pause| pause.as_secs())), (kind, retry_after));
            assert!(
                failure.to_string().contains("; see ")
                    || failure.to_string().ends_with("; it may recover by itself: ask again in a while"),
                "{failure}"
            );
            assert_eq!(ecs.server().lines().len() - before, 1, "{reply:.100?}");
        }
    }

    #[tokio::test]
    async fn a_failure_that_stays_is_told_after_three_attempts() {
        let server = Server::start(|_| Reply::of(500, r#"{"code":"Internal","message":"oh"}"#));
        let of_server = failure(&[(FULL, &server.url("/x?hush"))]).await;
        let told = format!(
            "GET {}: status 500 Internal Server Error: Internal: oh; it may recover by itself: ask again in a while",
            server.url("/x")
        );
        assert_eq!((of_server.kind, &*of_server.to_string()), (ErrorKind::Unavailable, &*told));
        assert_eq!(server.lines().len(), 3);
        let of_nobody = failure(&[(FULL, &format!("http://{}/", nobody()))]).await;
        assert_eq!(of_nobody.kind, ErrorKind::Unavailable);
        assert!(
            of_nobody.to_string().contains("refused") && of_nobody.to_string().ends_with(ADVICE.silent),
            "{of_nobody}"
        );
    }
}
