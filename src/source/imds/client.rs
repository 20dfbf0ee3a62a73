//! One load: its session, its requests, and how often it may try again.

use std::time::Duration;

use http::header::{HeaderName, HeaderValue};
use http::{Method, StatusCode};
use serde::Deserialize;

use crate::cache::key::{CacheKey, CacheKeyBuilder};
use crate::context::Context;
use crate::http::address_policy::AddressPolicy;
use crate::http::error::{HttpError, HttpErrorCause};
use crate::http::message::{Request, Response};
use crate::http::url::Url;
use crate::model::credentials::Credentials;
use crate::model::error::ErrorKind;
use crate::model::error::SourceError;
use crate::model::outcome::Lookup;
use crate::model::secret::Secret;
use crate::model::text::usable;
use crate::source::document;
use crate::source::document::SuccessCode;
use crate::source::endpoint::EndpointHints;
use crate::source::imds::endpoint::{IDENTITY, ROLES, TOKEN, V1_DISABLED, role_path};
use crate::source::imds::{IdentityDocument, ImdsSession, MetadataCredentials};

const TOKEN_HEADER: HeaderName = HeaderName::from_static("x-aws-ec2-metadata-token");
const TTL_HEADER: HeaderName = HeaderName::from_static("x-aws-ec2-metadata-token-ttl-seconds");

/// Six hours, the longest that the service gives.
const TTL: u64 = 21_600;

/// A session ends this much earlier for us, so that none ends between two requests of one load.
const MARGIN: Duration = Duration::from_secs(60);

/// How often the token is asked for before nobody is there.
const TOKEN_CALLS: u32 = 2;

/// Between two tries, for a service that is just starting.
const PAUSE: Duration = Duration::from_millis(100);

const ADVICE: EndpointHints = EndpointHints {
    silent: "see that this machine is an instance whose metadata service is on, or that \
             AWS_EC2_METADATA_SERVICE_ENDPOINT or ec2_metadata_service_endpoint of the profile names one that runs",
    denied: "see that the metadata service of this instance is on (HttpEndpoint), lets us ask, and may assume the \
             instance's role",
    other: "see what answers there in the place of the metadata service (AWS_EC2_METADATA_SERVICE_ENDPOINT)",
};

/// The account is a courtesy: nobody waits long for it.
const IDENTITY_PATIENCE: Duration = Duration::from_millis(500);

pub(crate) struct ImdsClient<'v> {
    source: &'v MetadataCredentials,
    context: &'v Context,
    endpoint: Url,
    /// Whether a refused session has been renewed: once a visit.
    renewed: bool,
    /// Whether a request may still be sent a second time. Once a visit, so that all of them end before the deadline.
    spare: bool,
}

impl<'v> ImdsClient<'v> {
    pub(crate) fn new(source: &'v MetadataCredentials, context: &'v Context, endpoint: Url) -> Self {
        Self { source, context, endpoint, renewed: false, spare: true }
    }

    /// All that makes what this visit comes to.
    pub(crate) fn cache_key(&self) -> CacheKey {
        CacheKeyBuilder::new("metadata service")
            .with_value(&self.endpoint)
            .with([u8::from(self.v1()), u8::from(self.source.only_source)])
            .with(self.source.patience.as_nanos().to_be_bytes())
            .cache_key()
    }

    /// What it comes to.
    pub(crate) async fn answer(mut self) -> Lookup {
        self.credentials().await.map_or_else(|answer| answer, Lookup::Found)
    }

    /// The credentials of the first role, with the account of the instance when the document names none.
    async fn credentials(&mut self) -> Result<Credentials, Lookup> {
        let patience = self.source.patience;
        let (list, tried, session) = self.get(ROLES, patience).await?;
        match list.status {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND => {
                return Err(Lookup::not_configured(format!(
                    "no role is attached to this instance ({tried}: status 404)"
                )));
            }
            _ => return Err(self.refused(&list, &tried, &session).into()),
        }
        let role = role_path(&list.body, &tried).map_err(|failure| ADVICE.useless(failure))?;
        let (answer, tried, session) = self.get(&role, patience).await?;
        match answer.status {
            StatusCode::OK => {}
            // The role was on the list a moment ago: it is being exchanged for another.
            StatusCode::NOT_FOUND => {
                let why =
                    format!("{tried}: status 404 Not Found; if its role is being exchanged, ask again in a while");
                return Err(SourceError::unavailable(why).into());
            }
            _ => return Err(self.refused(&answer, &tried, &session).into()),
        }
        let found = document::credentials(&answer.body, SuccessCode::Required, &tried, session.token());
        let mut found = found.map_err(|failure| ADVICE.useless(failure))?;
        if found.account_id.is_none() {
            found.account_id = self.identity().await.account_id;
        }
        Ok(found)
    }

    /// What the identity document says, asked for until it has been answered once. A failure says nothing.
    pub(crate) async fn identity(&mut self) -> IdentityDocument {
        let known = self.source.memory_of(&self.endpoint).identity.clone();
        if let Some(identity) = known {
            return identity;
        }
        let patience = self.source.patience.min(IDENTITY_PATIENCE);
        let Ok((answer, ..)) = self.get(IDENTITY, patience).await else { return IdentityDocument::default() };
        let identity = match answer.status {
            StatusCode::OK => IdentityDocument::read(&answer.body),
            StatusCode::NOT_FOUND => IdentityDocument::default(),
            _ => return IdentityDocument::default(),
        };
        self.source.memory_of(&self.endpoint).identity = Some(identity.clone());
        identity
    }

    /// An answer, what it answers, and the session it was asked in.
    async fn get(&mut self, path: &str, patience: Duration) -> Result<(Response, String, ImdsSession), Lookup> {
        loop {
            let session = self.session().await?;
            let mut request = Request::new(Method::GET, self.at(path)?, AddressPolicy::Anywhere, patience);
            if let Some(token) = session.token() {
                request = request
                    .with_secret(TOKEN_HEADER, "session token of the metadata service", token)
                    .map_err(SourceError::from)?;
            }
            let tried = request.to_string();
            match self.context.http_client.send(request).await {
                Ok(answer) if answer.status == StatusCode::UNAUTHORIZED && !self.renewed => {
                    self.renewed = true;
                    self.source.memory_of(&self.endpoint).session = None;
                }
                Ok(answer) if answer.status.is_server_error() && self.spare => self.pause().await,
                Ok(answer) => {
                    if let ImdsSession::V1 = session {
                        self.remember(ImdsSession::V1, TTL);
                    }
                    return Ok((answer, tried, session));
                }
                Err(error) if error.cause().is_silence() && self.spare => self.pause().await,
                Err(error) => return Err(self.failed(error, "")),
            }
        }
    }

    async fn pause(&mut self) {
        self.spare = false;
        tokio::time::sleep(PAUSE).await;
    }

    /// The session of before, or a new one.
    async fn session(&mut self) -> Result<ImdsSession, Lookup> {
        if let Some(session) = self.remembered() {
            return Ok(session);
        }
        let mut calls = 0;
        loop {
            let request = Request::new(Method::PUT, self.at(TOKEN)?, AddressPolicy::Anywhere, self.source.patience)
                .with_header(TTL_HEADER, HeaderValue::from(TTL));
            let tried = request.to_string();
            calls += 1;
            match self.context.http_client.send(request).await {
                Ok(answer) if answer.status.is_server_error() && calls < TOKEN_CALLS => {}
                Ok(answer) => return Ok(self.open(&answer, &tried)?),
                Err(error) if error.cause().is_silence() && calls < TOKEN_CALLS => {}
                Err(error) => return self.unanswered(error),
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// The session that this answer to the token call opens.
    fn open(&self, answer: &Response, tried: &str) -> Result<ImdsSession, SourceError> {
        match answer.status.as_u16() {
            200 => {}
            403..=405 if self.v1() => {
                return Ok(ImdsSession::V1);
            }
            404 | 405 => {
                let why = format!(
                    "{tried}: status {}: only IMDSv1 is offered there; turn version 2 on, or allow version 1 by \
                     {{ source = \"imds\", allow_v1 = true }} in credenza.toml",
                    answer.status
                );
                return Err(SourceError::misconfigured(why));
            }
            403 => {
                let why = format!(
                    "{tried}: status {}: the metadata service is turned off for this instance; turn it on (HttpEndpoint), \
                     or set AWS_EC2_METADATA_DISABLED=true",
                    answer.status
                );
                return Err(SourceError::new(ErrorKind::Denied, why));
            }
            _ => return Err(ADVICE.refused(answer, tried, &self.context.clock, None)),
        }
        let token = std::str::from_utf8(&answer.body).ok().map(str::trim).filter(|token| is_token(token));
        let Some(token) = token else {
            return Err(ADVICE.useless(SourceError::unavailable(format!("{tried}: the answer is not a token"))));
        };
        // The SDKs insist on this header; without it the token serves until it is refused.
        let ttl = answer.headers.get(TTL_HEADER).and_then(|ttl| ttl.to_str().ok()?.trim().parse().ok()).unwrap_or(TTL);
        let session = ImdsSession::V2(Secret::new(token));
        self.remember(session.clone(), ttl);
        Ok(session)
    }

    /// The token call has not been answered; version 1 may be where version 2 has too many hops to go.
    fn unanswered(&self, error: HttpError) -> Result<ImdsSession, Lookup> {
        let timed_out = matches!(error.cause(), HttpErrorCause::TimedOut(_));
        if timed_out && self.v1() {
            return Ok(ImdsSession::V1);
        }
        let hint = "; inside a container this is what a hop limit of 1 looks like: set HttpPutResponseHopLimit to 2";
        Err(self.failed(error, if timed_out { hint } else { "" }))
    }

    /// Nobody there, who never was there, in a chain with other sources: that is how it is on most machines.
    fn failed(&self, error: HttpError, hint: &str) -> Lookup {
        let absent = error.cause().is_silence() && !self.source.only_source;
        if absent && !self.context.http_client.has_answered(&self.endpoint) {
            return Lookup::not_configured(format!("no metadata service answers here ({error}){hint}"));
        }
        if hint.is_empty() {
            return ADVICE.unanswered(error).into();
        }
        let mut failure = SourceError::from(error);
        failure.message = format!("{}{hint}", failure.message).into();
        failure.into()
    }

    /// The session of before, unless it has ended.
    fn remembered(&self) -> Option<ImdsSession> {
        let now = self.context.clock.now();
        let mut memory = self.source.memory_of(&self.endpoint);
        if memory.session.as_ref().is_some_and(|(_, end)| *end <= now) {
            memory.session = None;
        }
        memory.session.as_ref().map(|(session, _)| session.clone())
    }

    /// Keeps a session, unless one is kept: version 2 is looked for again when it ends, whichever it is.
    fn remember(&self, session: ImdsSession, ttl: u64) {
        let ttl = Duration::from_secs(ttl.min(TTL));
        let end = self.context.clock.now() + ttl.saturating_sub(MARGIN.min(ttl / 2));
        let mut memory = self.source.memory_of(&self.endpoint);
        if memory.session.is_none() {
            if let ImdsSession::V1 = session {
                tracing::warn!("no session token is to be had: IMDSv1 is used");
            }
            memory.session = Some((session, end));
        }
    }

    fn v1(&self) -> bool {
        self.source.allow_v1 && !self.context.environment.is_true(V1_DISABLED)
    }

    fn at(&self, path: &str) -> Result<Url, SourceError> {
        self.endpoint.join(path).map_err(|bad| SourceError::misconfigured(format!("{}: the path {bad}", self.endpoint)))
    }

    fn refused(&self, answer: &Response, tried: &str, session: &ImdsSession) -> SourceError {
        ADVICE.refused(answer, tried, &self.context.clock, session.token())
    }
}

impl ImdsSession {
    fn token(&self) -> Option<&Secret> {
        match self {
            Self::V2(token) => Some(token),
            Self::V1 => None,
        }
    }
}

impl IdentityDocument {
    /// Reads the document; what it does not say, or says in another form, is not known.
    #[must_use]
    pub(crate) fn read(body: &[u8]) -> Self {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct IdentityFields {
            region: Option<String>,
            account_id: Option<String>,
        }
        let Ok(document) = serde_json::from_slice::<IdentityFields>(body) else { return Self::default() };
        let is_account = |id: &String| id.len() == 12 && id.bytes().all(|byte| byte.is_ascii_digit());
        let region = document.region.as_deref().and_then(|region| usable("region", region).ok());
        Self { region: region.map(Into::into), account_id: document.account_id.filter(is_account).map(Into::into) }
    }
}

fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::sync::{Arc, Mutex, OnceLock};

    use super::*;
    use crate::aws::settings::Settings;
    use crate::http::client::HttpClient;
    use crate::os::clock::Clock;
    use crate::os::environment::Environment;
    use crate::source::{BoxFuture, Source};
    use testkit::document as body;
    use testkit::imds::Imds;
    use testkit::server::{Reply, Server, nobody};

    const SHORT: Duration = Duration::from_millis(150);
    const ROLE: &str = "/latest/meta-data/iam/security-credentials/web";

    fn imds() -> Imds {
        Imds::start("web", &body("ASIA1", "2026-11-23T16:00:00Z"))
    }

    fn world_with(variables: &[(&str, &str)]) -> Context {
        Context {
            clock: Clock::injected(std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_446_000)),
            environment: Environment::new(variables.iter().copied()),
            http_client: HttpClient::system(Arc::default()),
            ..Context::default()
        }
    }

    fn context(endpoint: &str) -> Context {
        world_with(&[("AWS_EC2_METADATA_SERVICE_ENDPOINT", endpoint)])
    }

    fn source() -> MetadataCredentials {
        MetadataCredentials::new(false, false).with_patience(SHORT)
    }

    fn only_source() -> MetadataCredentials {
        MetadataCredentials::new(false, true).with_patience(SHORT)
    }

    fn with_v1(only_source: bool) -> MetadataCredentials {
        MetadataCredentials::new(true, only_source).with_patience(SHORT)
    }

    /// As if nobody had asked before.
    async fn load(source: &MetadataCredentials, context: &Context) -> Lookup {
        context.credential_cache.forget();
        source.load(context).await
    }

    async fn found(source: &MetadataCredentials, context: &Context) -> Credentials {
        match load(source, context).await {
            Lookup::Found(credentials) => credentials,
            other => panic!("{other:?}"),
        }
    }

    async fn failure(source: &MetadataCredentials, context: &Context) -> SourceError {
        let Lookup::Failed(failure) = load(source, context).await else { panic!() };
        assert!(!failure.to_string().contains("hush"), "{failure}");
        failure
    }

    async fn reason(source: &MetadataCredentials, context: &Context) -> String {
        match load(source, context).await {
            Lookup::NotConfigured(reason) => reason.into(),
            other => panic!("{other:?}"),
        }
    }

    /// What was asked since the last time, in short.
    fn asked(imds: &Imds, seen: &mut usize) -> String {
        let lines = imds.server().lines();
        let short = |line: &String| match line.as_str() {
            "PUT /latest/api/token" => 'T',
            "GET /latest/meta-data/iam/security-credentials/" => 'L',
            "GET /latest/dynamic/instance-identity/document" => 'I',
            line if line.ends_with(ROLE) => 'C',
            line => panic!("{line}"),
        };
        let told = lines[*seen..].iter().map(short).collect();
        *seen = lines.len();
        told
    }

    #[tokio::test]
    async fn no_proxy_is_asked_whatever_the_environment_names() {
        let (imds, proxy) = (imds(), Server::start(|_| Reply::of(502, "")));
        let address = imds.server().address();
        let endpoint = format!("http://metadata.example.com:{}/", address.port());
        let named = proxy.url("");
        let variables =
            [("AWS_EC2_METADATA_SERVICE_ENDPOINT", &*endpoint), ("HTTP_PROXY", &named), ("http_proxy", &named)];
        let context = world_with(&[&variables[..], &[("ALL_PROXY", &named)]].concat());
        let names = HashMap::from([("metadata.example.com".into(), vec![address.ip()])]);
        let upstream = HttpClient::with_names(Arc::default(), names).with_environment(&context.environment);
        let context = Context { http_client: upstream, ..context };
        assert_eq!(&*found(&source(), &context).await.access_key_id, "ASIA1");
        assert!(proxy.lines().is_empty());
    }

    #[tokio::test]
    async fn a_session_and_the_identity_are_kept() {
        let (imds, source) = (imds(), source());
        let (context, mut seen) = (context(&imds.endpoint()), 0);
        let credentials = found(&source, &context).await;
        assert_eq!(&*credentials.access_key_id, "ASIA1");
        assert_eq!(credentials.account_id.as_deref(), Some("123456789012"));
        assert_eq!(asked(&imds, &mut seen), "TLCI");
        imds.set(|state| state.document = body("ASIA2", "2026-11-23T17:00:00Z"));
        assert_eq!(&*found(&source, &context).await.access_key_id, "ASIA2");
        assert_eq!(source.region(&context).await.as_deref(), Some("eu-west-3"));
        assert_eq!(asked(&imds, &mut seen), "LC");
        let first = &imds.server().seen()[0];
        assert_eq!(first.header("x-aws-ec2-metadata-token-ttl-seconds"), Some("21600"));
        assert_eq!(first.header("content-length"), Some("0"));
        assert!(!format!("{source:?}").contains("hush"));
    }

    #[tokio::test]
    async fn sources_that_ask_alike_share_and_others_do_not() {
        let (imds, other) = (imds(), imds());
        let (context, mut seen) = (context(&imds.endpoint()), 0);
        let (first, second, third) = (source(), source(), source());
        let at_once = tokio::join!(first.load(&context), second.load(&context), third.load(&context));
        assert!(matches!(&at_once.0, Lookup::Found(found) if &*found.access_key_id == "ASIA1"));
        assert!(at_once.0 == at_once.1 && at_once.1 == at_once.2);
        assert_eq!(asked(&imds, &mut seen), "TLCI");
        assert_eq!(source().load(&context).await, at_once.0);
        assert_eq!(asked(&imds, &mut seen), "", "nobody would renew them yet");

        other.set(|state| state.document = body("ASIA2", "2026-11-23T16:00:00Z"));
        let endpoint = other.endpoint();
        let elsewhere = Environment::new([("AWS_EC2_METADATA_SERVICE_ENDPOINT", &*endpoint)]);
        let elsewhere = Context { environment: elsewhere, ..context.clone() };
        let answer = source().load(&elsewhere).await;
        assert!(matches!(&answer, Lookup::Found(found) if &*found.access_key_id == "ASIA2"), "{answer:?}");
        for unlike in [with_v1(false), only_source(), MetadataCredentials::new(false, false)] {
            assert_eq!(unlike.load(&context).await, at_once.0);
            assert_eq!(asked(&imds, &mut seen), "TLCI", "{unlike:?}");
        }
    }

    #[tokio::test]
    async fn what_one_service_gave_is_shown_to_no_other() {
        struct There(Mutex<String>);
        impl std::fmt::Debug for There {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("There")
            }
        }
        impl Source for Arc<There> {
            fn name(&self) -> &str {
                "there"
            }
            fn load<'a>(&'a self, _: &'a Context) -> BoxFuture<'a, Lookup> {
                Box::pin(std::future::ready(Lookup::not_configured("no")))
            }
            fn region<'a>(&'a self, _: &'a Context) -> BoxFuture<'a, Option<Box<str>>> {
                Box::pin(std::future::ready(None))
            }
            fn settings<'a>(&'a self, _: &'a Context) -> BoxFuture<'a, Settings> {
                let metadata_service = Some(Ok(Url::parse(&self.0.lock().unwrap()).unwrap()));
                Box::pin(std::future::ready(Settings { metadata_service, ..Settings::default() }))
            }
        }
        let (first, second) = (imds(), imds());
        second.set(|state| state.identity = Some(r#"{"region":"us-west-2","accountId":"999999999999"}"#.into()));
        let there = Arc::new(There(Mutex::new(first.endpoint())));
        let source = source().with_settings_of(Box::new(Arc::clone(&there)));
        let context = context("http://127.0.0.1:1");
        let (mut seen, mut seen_by_second) = (0, 0);
        assert_eq!(found(&source, &context).await.account_id.as_deref(), Some("123456789012"));
        *there.0.lock().unwrap() = second.endpoint();
        assert_eq!(found(&source, &context).await.account_id.as_deref(), Some("999999999999"));
        assert_eq!(source.region(&context).await.as_deref(), Some("us-west-2"));
        assert_eq!((asked(&first, &mut seen), asked(&second, &mut seen_by_second)), ("TLCI".into(), "TLCI".into()));
    }

    #[tokio::test]
    async fn that_no_role_is_attached_is_shared_by_those_who_wait() {
        let imds = imds();
        imds.set(|state| state.role = None);
        let (context, mut seen) = (context(&imds.endpoint()), 0);
        let (first, second) = (source(), source());
        let (one, two) = tokio::join!(first.load(&context), second.load(&context));
        assert!(one == two && matches!(one, Lookup::NotConfigured(_)));
        assert_eq!(asked(&imds, &mut seen), "TL");
        imds.set(|state| state.role = Some("web".into()));
        assert!(matches!(second.load(&context).await, Lookup::Found(_)), "it is looked for again");
    }

    #[tokio::test]
    async fn a_session_is_renewed_before_it_ends_and_once_when_it_is_refused() {
        let (imds, source) = (imds(), source());
        let (context, mut seen) = (context(&imds.endpoint()), 0);
        found(&source, &context).await;
        context.clock.step(21_600_000 - 61_000);
        found(&source, &context).await;
        assert_eq!(asked(&imds, &mut seen), "TLCILC");
        context.clock.step(2_000);
        found(&source, &context).await;
        found(&source, &context).await;
        assert_eq!(asked(&imds, &mut seen), "TLCLC");
        imds.end_sessions();
        found(&source, &context).await;
        assert_eq!(asked(&imds, &mut seen), "LTLC");
        let refused = Reply::of(401, r#"{"code":"X","message":"hush-metadata-2== is bad"}"#);
        imds.script(testkit::imds::ROLES, refused.clone());
        imds.script(testkit::imds::ROLES, refused);
        assert_eq!(failure(&source, &context).await.kind, ErrorKind::Denied);
        assert_eq!(asked(&imds, &mut seen), "LTL");
    }

    #[tokio::test]
    async fn a_token_without_its_lifetime_serves_until_it_is_refused() {
        let (imds, source) = (imds(), source());
        let (context, mut seen) = (context(&imds.endpoint()), 0);
        imds.script(TOKEN, Reply::ok("hush-metadata-1==\n"));
        found(&source, &context).await;
        found(&source, &context).await;
        assert_eq!(asked(&imds, &mut seen), "TLCILC");
    }

    #[tokio::test]
    async fn not_configured_where_it_is_disabled_or_has_no_role() {
        let imds = imds();
        imds.set(|state| state.role = None);
        assert!(reason(&source(), &context(&imds.endpoint())).await.starts_with("no role is attached"));
        let context = world_with(&[("AWS_EC2_METADATA_DISABLED", "TRUE")]);
        assert_eq!(reason(&source(), &context).await, "AWS_EC2_METADATA_DISABLED is true");
        assert_eq!(source().region(&context).await, None);
    }

    #[tokio::test]
    async fn who_never_answered_is_not_configured_unless_it_is_the_only_source() {
        let hanging = Server::start(|_| Reply::Hang);
        for (url, hint) in [(format!("http://{}", nobody()), false), (hanging.url(""), true)] {
            let context = context(&url);
            let told = reason(&source(), &context).await;
            assert!(told.starts_with("no metadata service answers here (PUT http://127.0.0.1:"), "{told}");
            assert_eq!(told.contains("HttpPutResponseHopLimit"), hint, "{told}");
            let told = failure(&only_source(), &context).await;
            assert_eq!(
                (told.kind, told.to_string().contains("HttpPutResponseHopLimit")),
                (ErrorKind::Unavailable, hint)
            );
        }
        assert_eq!(hanging.lines().len(), 4, "two token calls for each load");
    }

    #[tokio::test]
    async fn who_has_answered_once_fails_when_silent_for_every_source_of_the_process() {
        let imds = imds();
        let context = context(&imds.endpoint());
        found(&source(), &context).await;
        imds.set(|state| state.token = Some(Reply::Hang));
        let told = failure(&source(), &context).await;
        assert!(told.kind == ErrorKind::Unavailable && told.to_string().contains("no whole answer within"), "{told}");
    }

    #[tokio::test]
    async fn one_hiccup_of_a_visit_is_forgiven() {
        let (imds, source) = (imds(), source());
        let (context, mut seen) = (context(&imds.endpoint()), 0);
        imds.script(TOKEN, Reply::of(503, ""));
        imds.script(ROLE, Reply::Hang);
        found(&source, &context).await;
        assert_eq!(asked(&imds, &mut seen), "TTLCCI");
        imds.script(ROLE, Reply::of(500, ""));
        imds.script(ROLE, Reply::of(500, ""));
        assert_eq!(failure(&source, &context).await.kind, ErrorKind::Unavailable);
        assert_eq!(asked(&imds, &mut seen), "LCC");
    }

    #[tokio::test]
    async fn version_1_is_used_only_where_it_is_allowed() {
        let imds = imds();
        imds.set(|state| state.v1 = true);
        for (token, kind) in [
            (Reply::of(403, ""), ErrorKind::Denied),
            (Reply::of(404, ""), ErrorKind::Misconfigured),
            (Reply::of(405, ""), ErrorKind::Misconfigured),
            (Reply::Hang, ErrorKind::Unavailable),
        ] {
            imds.set(|state| state.token = Some(token));
            let context = context(&imds.endpoint());
            assert_eq!(failure(&only_source(), &context).await.kind, kind);
            let mut seen = imds.server().lines().len();
            let allowed = with_v1(false);
            found(&allowed, &context).await;
            found(&allowed, &context).await;
            let told = asked(&imds, &mut seen);
            assert!(matches!(told.as_str(), "TLCILC" | "TTLCILC"), "{told}: version 1 is remembered");
        }
        let variables = [("AWS_EC2_METADATA_V1_DISABLED", "true")];
        let endpoint = imds.endpoint();
        let disabled = world_with(&[variables[0], ("AWS_EC2_METADATA_SERVICE_ENDPOINT", &endpoint)]);
        assert_eq!(failure(&with_v1(true), &disabled).await.kind, ErrorKind::Unavailable);
    }

    #[tokio::test]
    async fn silence_of_both_versions_is_not_configured() {
        let hanging = Server::start(|_| Reply::Hang);
        let told = reason(&with_v1(false), &context(&hanging.url("/"))).await;
        assert!(told.starts_with("no metadata service answers here (GET "), "{told}");
    }

    #[tokio::test]
    async fn other_answers_are_failures() {
        for (path, reply, kind, said) in [
            (TOKEN, Reply::of(400, ""), ErrorKind::Misconfigured, "status 400"),
            (TOKEN, Reply::of(429, "").with("retry-after", "9"), ErrorKind::Unavailable, "status 429"),
            (TOKEN, Reply::of(307, "").with("location", "http://127.0.0.1/"), ErrorKind::Misconfigured, "not followed"),
            (TOKEN, Reply::ok(""), ErrorKind::Unavailable, "not a token"),
            (TOKEN, Reply::ok("<html> hush"), ErrorKind::Unavailable, "not a token"),
            (TOKEN, Reply::Raw(b"hush".to_vec()), ErrorKind::Unavailable, "not HTTP"),
            (ROLES, Reply::ok(""), ErrorKind::Unavailable, "no role that there could be"),
            (ROLES, Reply::ok("<html>"), ErrorKind::Unavailable, "no role that there could be"),
            (ROLES, Reply::ok("unknown"), ErrorKind::Unavailable, "status 404"),
            (ROLES, Reply::of(403, ""), ErrorKind::Denied, "status 403"),
            (ROLE, Reply::ok("<html>hush"), ErrorKind::Unavailable, "HTML"),
            (ROLE, Reply::ok(r#"{"AccessKeyId":"A","SecretAccessKey":"hush"}"#), ErrorKind::Unavailable, "no Code"),
            (
                ROLE,
                Reply::ok(r#"{"Code":"Failed","Message":"hush-metadata-1== no"}"#),
                ErrorKind::Unavailable,
                "Failed",
            ),
            (ROLE, Reply::ok(r#"{"Code":"Success","AccessKeyId":"A"}"#), ErrorKind::Misconfigured, "secret access key"),
            (ROLE, Reply::Flood, ErrorKind::Unavailable, "larger than 64 kB"),
        ] {
            let imds = imds();
            imds.script(path, reply);
            let source = MetadataCredentials::new(false, false);
            let told = failure(&source, &context(&imds.endpoint())).await;
            assert!(told.kind == kind && told.to_string().contains(said), "{path} {told:?}");
            let advice = ["; see that ", "; see what ", "ask again in a while"];
            assert!(advice.iter().any(|advice| told.to_string().contains(advice)), "{path} {told:?}");
            assert_eq!(told.retry_after.is_some(), said == "status 429");
        }
    }

    #[tokio::test]
    async fn our_own_listener_is_misconfigured() {
        let imds = imds();
        let own = Arc::new(OnceLock::from(vec![imds.server().address()]));
        let context = Context { http_client: HttpClient::system(own), ..context(&imds.endpoint()) };
        let told = failure(&source(), &context).await;
        assert!(told.kind == ErrorKind::Misconfigured && told.to_string().contains("would ask itself"), "{told}");
    }

    #[tokio::test]
    async fn an_identity_that_fails_costs_nothing_and_is_asked_for_until_it_is_answered() {
        let (imds, source) = (imds(), source());
        let (context, mut seen) = (context(&imds.endpoint()), 0);
        imds.script(IDENTITY, Reply::Hang);
        imds.script(IDENTITY, Reply::of(500, ""));
        assert_eq!(found(&source, &context).await.account_id, None);
        assert_eq!(asked(&imds, &mut seen), "TLCII");
        assert_eq!(found(&source, &context).await.account_id.as_deref(), Some("123456789012"));
        assert_eq!(asked(&imds, &mut seen), "LCI");
        imds.set(|state| state.identity = None);
        let other = MetadataCredentials::new(false, false);
        assert_eq!((other.region(&context).await, other.region(&context).await), (None, None));
        assert_eq!(asked(&imds, &mut seen), "TI");
    }

    #[test]
    fn identities() {
        for (body, region, account) in [
            (r#"{"region":"eu-west-3","accountId":"123456789012","x":[1]}"#, Some("eu-west-3"), Some("123456789012")),
            (r#"{"region":"eu\nwest","accountId":"12"}"#, None, None),
            (r#"{"region":null}"#, None, None),
            (r#"{"region":1}"#, None, None),
            ("<html>", None, None),
        ] {
            let identity = IdentityDocument::read(body.as_bytes());
            assert_eq!((identity.region.as_deref(), identity.account_id.as_deref()), (region, account), "{body}");
        }
    }
}
