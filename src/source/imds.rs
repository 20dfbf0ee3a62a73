//! Credentials of the role of this EC2 instance, from its metadata service.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use http::{HeaderName, HeaderValue, Method, StatusCode};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde::Deserialize;

use super::document::{self, Code};
use super::endpoint::refused;
use super::{Answer, Boxed, Failure, Kind, Source};
use crate::credentials::{Credentials, Escaped, usable};
use crate::secret::Secret;
use crate::upstream::{Reach, Request, Response, SendError, Url};
use crate::world::{Environment, World};

const ENDPOINT: &str = "AWS_EC2_METADATA_SERVICE_ENDPOINT";
const MODE: &str = "AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE";
const DISABLED: &str = "AWS_EC2_METADATA_DISABLED";
const V1_DISABLED: &str = "AWS_EC2_METADATA_V1_DISABLED";

const IPV4: &str = "http://169.254.169.254/";
const IPV6: &str = "http://[fd00:ec2::254]/";

const TOKEN: &str = "/latest/api/token";
const ROLES: &str = "/latest/meta-data/iam/security-credentials/";
const IDENTITY: &str = "/latest/dynamic/instance-identity/document";

const TTL_HEADER: HeaderName = HeaderName::from_static("x-aws-ec2-metadata-token-ttl-seconds");
const TOKEN_HEADER: HeaderName = HeaderName::from_static("x-aws-ec2-metadata-token");

/// The longest life that a session token can have, in seconds.
const TTL: &str = "21600";

/// A session token is renewed this long before its end.
const MARGIN: Duration = Duration::from_secs(60);

/// The service is on the host itself and answers in milliseconds, or there is none.
const PATIENCE: Duration = Duration::from_secs(1);

/// Attempts of the token call; the SDKs make one to four.
const ATTEMPTS: u32 = 2;

/// For the other calls, of a service that has answered.
const LONGER_PATIENCE: Duration = Duration::from_secs(2);

/// What cannot stand in one segment of a path as it is.
const SEGMENT: &AsciiSet =
    &CONTROLS.add(b' ').add(b'"').add(b'#').add(b'%').add(b'/').add(b'<').add(b'>').add(b'?').add(b'\\');

/// Asks the instance metadata service, version 2: a session token first, then the role, then its credentials. The
/// session token is kept and renewed when the service refuses it. Region and account come from the identity document.
///
/// It is *not configured* when `AWS_EC2_METADATA_DISABLED` is `true`, when the instance has no role, or when nothing
/// answers the token call within 2 × 1 s, nothing ever has, and the chain has other sources. Once it has answered,
/// silence is a failure that passes. It is never asked through a proxy.
///
/// ```
/// use credenza::source::imds::MetadataCredentials;
/// use credenza::source::{Answer, Source};
/// use credenza::world::{Environment, World};
///
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let disabled = [("AWS_EC2_METADATA_DISABLED", "true")];
/// let world = World { environment: Environment::new(disabled), ..World::default() };
/// assert!(matches!(MetadataCredentials::new(false, false).load(&world).await, Answer::NotConfigured(_)));
/// # });
/// ```
#[derive(Debug)]
pub struct MetadataCredentials {
    allow_v1: bool,
    only_source: bool,
    patience: Duration,
    learned: Mutex<Learned>,
}

/// What one call taught for the next ones. It is never held across an await.
#[derive(Debug, Default)]
struct Learned {
    session: Option<Session>,
    identity: Option<Identity>,
}

#[derive(Clone, Debug)]
struct Session {
    token: Secret,
    until: SystemTime,
}

/// What of the identity document counts.
#[derive(Clone, Debug, Default, Deserialize)]
struct Identity {
    region: Option<Box<str>>,
    #[serde(rename = "accountId")]
    account_id: Option<Box<str>>,
}

/// How a request proves itself.
#[derive(Clone, Debug)]
enum Proof {
    Session(Secret),
    /// IMDSv1, which proves nothing.
    None,
}

/// Why there are no credentials.
enum Stop {
    NotConfigured(String),
    Failing(Failure),
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Failing(failure)
    }
}

impl From<SendError> for Stop {
    fn from(error: SendError) -> Self {
        Self::Failing(error.into())
    }
}

impl MetadataCredentials {
    /// `allow_v1` lets IMDSv1 be tried where version 2 is not offered; `only_source` says that the chain has no other
    /// source, so that silence is a failure.
    #[must_use]
    pub fn new(allow_v1: bool, only_source: bool) -> Self {
        Self { allow_v1, only_source, patience: PATIENCE, learned: Mutex::default() }
    }

    /// The same with another time for the token call.
    #[must_use]
    pub fn with_patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    async fn look(&self, world: &World) -> Result<Credentials, Stop> {
        let service = locate(&world.environment)?;
        let mut proof = self.proof(world, &service).await?;
        let roles = self.get(world, &service, ROLES, &mut proof).await?;
        if roles.status == StatusCode::NOT_FOUND {
            return Err(Stop::NotConfigured(format!("{service}: this instance has no role")));
        }
        let role = role(&checked(roles, &tried("GET", &service, ROLES), world)?)?;
        let path = format!("{ROLES}{}", utf8_percent_encode(&role, SEGMENT));
        let tried = tried("GET", &service, &path);
        let answer = self.get(world, &service, &path, &mut proof).await?;
        let body = checked(answer, &tried, world)?;
        let credentials = document::credentials(&body.body, Code::Required, &tried, None)?;
        // The account is a courtesy: the credentials do not wait for it long, and only once.
        let account = match credentials.account_id.is_some() {
            true => None,
            false => self.identity(world, &service, &mut proof).await.and_then(|identity| identity.account_id),
        };
        Ok(match account {
            Some(account) => credentials.with_account_id(Some(&account)),
            None => credentials,
        })
    }

    /// A session token, kept or new; none where only IMDSv1 is offered and allowed.
    async fn proof(&self, world: &World, service: &Url) -> Result<Proof, Stop> {
        let now = world.clock.now();
        if let Some(session) = self.learned().session.as_ref().filter(|session| session.until > now + MARGIN) {
            return Ok(Proof::Session(session.token.clone()));
        }
        let mut silence = None;
        for _ in 0..ATTEMPTS {
            let request = request(Method::PUT, service, TOKEN, self.patience)?
                .with_header(TTL_HEADER, HeaderValue::from_static(TTL));
            match world.upstream.send(request).await {
                Ok(answer) => return self.session(answer, service, world),
                Err(error) if error.cause().is_silence() => silence = Some(error),
                Err(error) => return Err(error.into()),
            }
        }
        let error = silence.map_or_else(String::new, |error| error.to_string());
        if self.v1(&world.environment) {
            return Ok(Proof::None);
        }
        if self.has_to_answer(world, service) {
            let hint = "in a container the answer to this call may not come back: raise HttpPutResponseHopLimit to 2";
            return Err(Failure::unavailable(format!("{error} ({hint})")).into());
        }
        Err(Stop::NotConfigured(format!("no metadata service answers: {error}")))
    }

    fn session(&self, answer: Response, service: &Url, world: &World) -> Result<Proof, Stop> {
        let refuses =
            matches!(answer.status, StatusCode::FORBIDDEN | StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED);
        if refuses && self.v1(&world.environment) {
            return Ok(Proof::None);
        }
        let tried = tried("PUT", service, TOKEN);
        let lives = answer.headers.get(TTL_HEADER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
        let body = checked(answer, &tried, world)?;
        let token = std::str::from_utf8(&body.body).ok().and_then(|text| usable("session token", text).ok());
        let Some(token) = token.filter(|token| token.is_ascii()) else {
            return Err(Failure::unavailable(format!("{tried}: the answer is no session token")).into());
        };
        let token = Secret::from(token);
        // Without a word about its life it is used once.
        let until = world.clock.now() + Duration::from_secs(lives.unwrap_or(0).min(21_600));
        self.learned().session = Some(Session { token: token.clone(), until });
        Ok(Proof::Session(token))
    }

    /// Asks with what proves us, and once more with a new session token when the service refuses the old one.
    async fn get(&self, world: &World, service: &Url, path: &str, proof: &mut Proof) -> Result<Response, Stop> {
        let answer = self.ask(world, service, path, proof).await?;
        if answer.status != StatusCode::UNAUTHORIZED || matches!(proof, Proof::None) {
            return Ok(answer);
        }
        self.learned().session = None;
        *proof = self.proof(world, service).await?;
        self.ask(world, service, path, proof).await
    }

    async fn ask(&self, world: &World, service: &Url, path: &str, proof: &Proof) -> Result<Response, Stop> {
        let request = request(Method::GET, service, path, LONGER_PATIENCE)?;
        let request = match proof {
            Proof::Session(token) => {
                request.with_secret(TOKEN_HEADER, "session token", token).map_err(Failure::from)?
            }
            Proof::None => request,
        };
        match world.upstream.send(request).await {
            // With version 1 this is the first call: nobody has answered yet.
            Err(error) if error.cause().is_silence() && !self.has_to_answer(world, service) => {
                Err(Stop::NotConfigured(format!("no metadata service answers: {error}")))
            }
            answer => Ok(answer?),
        }
    }

    /// Whether silence is a failure: there is a service, or there is nothing else to ask.
    fn has_to_answer(&self, world: &World, service: &Url) -> bool {
        self.only_source || world.upstream.has_answered(service)
    }

    /// The identity document, asked once: an instance does not move.
    async fn identity(&self, world: &World, service: &Url, proof: &mut Proof) -> Option<Identity> {
        if let Some(identity) = self.learned().identity.clone() {
            return Some(identity);
        }
        let answer = self.get(world, service, IDENTITY, proof).await.ok()?;
        let identity: Identity = match answer.status {
            StatusCode::OK => serde_json::from_slice(&answer.body).ok()?,
            StatusCode::NOT_FOUND => Identity::default(),
            _ => return None,
        };
        self.learned().identity = Some(identity.clone());
        Some(identity)
    }

    fn v1(&self, environment: &Environment) -> bool {
        self.allow_v1 && !environment.is_true(V1_DISABLED)
    }

    fn learned(&self) -> MutexGuard<'_, Learned> {
        self.learned.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Source for MetadataCredentials {
    fn name(&self) -> &str {
        "imds"
    }

    fn load<'a>(&'a self, world: &'a World) -> Boxed<'a, Answer> {
        Box::pin(async move {
            if world.environment.is_true(DISABLED) {
                return Answer::not_configured(format!("{DISABLED} is true"));
            }
            match self.look(world).await {
                Ok(credentials) => Answer::Found(credentials),
                Err(Stop::NotConfigured(reason)) => Answer::not_configured(reason),
                Err(Stop::Failing(failure)) => Answer::Failing(failure),
            }
        })
    }

    fn region<'a>(&'a self, world: &'a World) -> Boxed<'a, Option<Box<str>>> {
        Box::pin(async move {
            if world.environment.is_true(DISABLED) {
                return None;
            }
            let service = locate(&world.environment).ok()?;
            let mut proof = self.proof(world, &service).await.ok()?;
            self.identity(world, &service, &mut proof).await?.region
        })
    }
}

/// Where the service is: the endpoint that is named, else the address of the mode.
fn locate(environment: &Environment) -> Result<Url, Failure> {
    let (variable, text) = match (environment.get(ENDPOINT), environment.get(MODE)) {
        (Some(endpoint), _) => (ENDPOINT, format!("{}/", endpoint.trim_end_matches('/'))),
        (None, Some(mode)) if mode.eq_ignore_ascii_case("ipv6") => (MODE, IPV6.to_owned()),
        (None, Some(mode)) if mode.eq_ignore_ascii_case("ipv4") => (MODE, IPV4.to_owned()),
        (None, Some(mode)) => {
            return Err(Failure::misconfigured(format!("{MODE} is {}; it is IPv4 or IPv6", Escaped(mode))));
        }
        (None, None) => (ENDPOINT, IPV4.to_owned()),
    };
    Url::parse(&text).map_err(|error| Failure::misconfigured(format!("{variable} {error}")))
}

fn request(method: Method, service: &Url, path: &str, patience: Duration) -> Result<Request, Failure> {
    let url = service.join(path).map_err(|error| Failure::misconfigured(format!("{ENDPOINT} {error}")))?;
    Ok(Request::new(method, url, Reach::Anywhere, patience))
}

/// A request as errors show it.
fn tried(method: &str, service: &Url, path: &str) -> String {
    service.join(path).map_or_else(|_| path.to_owned(), |url| format!("{method} {url}"))
}

/// The answer, if it is one.
fn checked(answer: Response, tried: &str, world: &World) -> Result<Response, Failure> {
    if answer.status == StatusCode::OK {
        return Ok(answer);
    }
    let mut failure = refused(&answer, tried, &world.clock, None);
    // A service of the host that refuses what it offered a moment ago is a service in trouble.
    if answer.status == StatusCode::NOT_FOUND {
        failure.kind = Kind::Unavailable;
    }
    Err(failure)
}

/// The first role of the list; instances have one.
fn role(list: &Response) -> Result<String, Failure> {
    let text = std::str::from_utf8(&list.body).unwrap_or_default();
    let first = text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
    // IAM allows letters, digits and +=,.@_- in the name of a role; HTML has others.
    let is_name = |c: char| c.is_ascii_alphanumeric() || "+=,.@_-".contains(c);
    if first.is_empty() || first.len() > 128 || !first.chars().all(is_name) || first.starts_with("..") {
        return Err(Failure::unavailable("the metadata service names no role that there could be"));
    }
    Ok(first.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::fakes::document;
    use crate::fakes::imds::{IDENTITY, Imds, ROLES, TOKEN};
    use crate::fakes::server::{Reply, nobody};
    use crate::upstream::Upstream;

    const END: &str = "2099-01-01T00:00:00Z";
    const SHORT: Duration = Duration::from_millis(150);

    fn world(endpoint: &str, more: &[(&str, &str)]) -> World {
        World {
            clock: Clock::injected(SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_449_600)),
            environment: Environment::new(more.iter().copied().chain([(super::ENDPOINT, endpoint)])),
            upstream: Upstream::system(std::sync::Arc::default()),
            ..World::default()
        }
    }

    fn source(allow_v1: bool, only_source: bool) -> MetadataCredentials {
        MetadataCredentials::new(allow_v1, only_source).with_patience(SHORT)
    }

    fn key(answer: &Answer) -> String {
        match answer {
            Answer::Found(credentials) => credentials.access_key_id.to_string(),
            Answer::NotConfigured(reason) => format!("not configured: {reason}"),
            Answer::Failing(failure) => format!("{:?}: {failure}", failure.kind),
        }
    }

    #[tokio::test]
    async fn the_whole_conversation() {
        let imds = Imds::start("my-role", &document("ASIA1", END));
        let (source, world) = (source(false, false), world(&imds.endpoint(), &[]));
        let Answer::Found(found) = source.load(&world).await else { panic!() };
        assert_eq!((&*found.access_key_id, found.account_id.as_deref()), ("ASIA1", Some("123456789012")));
        assert_eq!(source.region(&world).await.as_deref(), Some("eu-west-3"));
        let role = format!("GET {ROLES}my-role");
        let asked = [format!("PUT {TOKEN}"), format!("GET {ROLES}"), role.clone(), format!("GET {IDENTITY}")];
        assert_eq!(imds.server().lines(), asked);
        // The token is kept, the identity too; only what can change is asked again.
        imds.set(|state| state.document = document("ASIA2", END));
        assert_eq!(key(&source.load(&world).await), "ASIA2");
        assert_eq!(imds.server().lines()[4..], [format!("GET {ROLES}"), role]);
        for seen in imds.server().seen() {
            let proven = seen.header("x-aws-ec2-metadata-token").is_some();
            assert_eq!(proven, seen.method == "GET", "{seen:?}");
        }
    }

    #[tokio::test]
    async fn a_session_that_ended_is_renewed_once() {
        let imds = Imds::start("r", &document("ASIA1", END));
        let (source, world) = (source(false, false), world(&imds.endpoint(), &[]));
        source.load(&world).await;
        imds.end_sessions();
        assert_eq!(key(&source.load(&world).await), "ASIA1");
        assert_eq!(imds.server().lines().iter().filter(|line| line.starts_with("PUT")).count(), 2);
        world.clock.step(21_600_000);
        assert_eq!(key(&source.load(&world).await), "ASIA1");
        assert_eq!(
            imds.server().lines().iter().filter(|line| line.starts_with("PUT")).count(),
            3,
            "and before its end"
        );
    }

    #[tokio::test]
    async fn silence_is_an_answer_of_its_own_until_somebody_has_spoken() {
        let silent = Imds::start("r", &document("ASIA1", END));
        silent.set(|state| state.token = Some(Reply::Hang));
        let refused = format!("http://{}/", nobody());
        for endpoint in [silent.endpoint(), refused] {
            let world = world(&endpoint, &[]);
            assert!(key(&source(false, false).load(&world).await).starts_with("not configured"), "{endpoint}");
            let alone = key(&source(false, true).load(&world).await);
            assert!(alone.starts_with("Unavailable") && alone.contains("HttpPutResponseHopLimit"), "{alone}");
        }
        let (source, world) = (source(false, false), world(&silent.endpoint(), &[]));
        silent.set(|state| state.token = None);
        assert_eq!(key(&source.load(&world).await), "ASIA1");
        silent.set(|state| state.token = Some(Reply::Hang));
        silent.end_sessions();
        assert!(key(&source.load(&world).await).starts_with("Unavailable"));
    }

    #[tokio::test]
    async fn no_role_and_disabled_are_not_configured() {
        let imds = Imds::start("r", &document("ASIA1", END));
        let disabled = world(&imds.endpoint(), &[(super::DISABLED, "True")]);
        assert!(key(&source(false, true).load(&disabled).await).starts_with("not configured"));
        assert_eq!(source(false, true).region(&disabled).await, None);
        assert!(imds.server().lines().is_empty());
        imds.set(|state| state.role = None);
        let answer = key(&source(false, true).load(&world(&imds.endpoint(), &[])).await);
        assert!(answer.starts_with("not configured") && answer.contains("no role"), "{answer}");
    }

    #[tokio::test]
    async fn version_1_only_when_it_is_allowed() {
        let imds = Imds::start("r", &document("ASIA1", END));
        imds.set(|state| (state.v1, state.token) = (true, Some(Reply::of(404, ""))));
        let open = world(&imds.endpoint(), &[]);
        assert!(key(&source(false, false).load(&open).await).starts_with("Unavailable"));
        assert_eq!(key(&source(true, false).load(&open).await), "ASIA1");
        let closed = world(&imds.endpoint(), &[(super::V1_DISABLED, "true")]);
        assert!(key(&source(true, false).load(&closed).await).starts_with("Unavailable"));
        imds.set(|state| state.token = Some(Reply::Hang));
        assert_eq!(key(&source(true, false).load(&open).await), "ASIA1");
    }

    #[tokio::test]
    async fn whatever_else_comes_is_a_failure_that_shows_no_secret() {
        let role: &'static str = "/latest/meta-data/iam/security-credentials/r";
        let failed = r#"{"Code":"AssumeRoleUnauthorizedAccess","Message":"no trust"}"#;
        let table: Vec<(&'static str, Reply, &str)> = vec![
            (TOKEN, Reply::of(400, ""), "400"),
            (TOKEN, Reply::of(500, ""), "500"),
            (TOKEN, Reply::ok("a\nb"), "no session token"),
            (TOKEN, Reply::ok(""), "no session token"),
            (ROLES, Reply::ok("<html>"), "no role that there could be"),
            (ROLES, Reply::ok(""), "no role that there could be"),
            (ROLES, Reply::ok("../../x"), "no role that there could be"),
            (ROLES, Reply::of(503, ""), "503"),
            (role, Reply::of(404, ""), "404"),
            (role, Reply::ok(failed), "no trust"),
            (role, Reply::ok("<html>hush"), "JSON"),
            (role, Reply::ok("{\"AccessKeyId\":\"hush"), "JSON"),
            (role, Reply::Flood, "larger than"),
            (role, Reply::of(302, "").with("location", "http://127.0.0.1:1/"), "not followed"),
        ];
        for (path, reply, said) in table {
            let imds = Imds::start("r", &document("ASIA1", END));
            imds.script(path, reply.clone());
            let answer = key(&source(false, false).load(&world(&imds.endpoint(), &[])).await);
            assert!(answer.contains(said) && !answer.contains("hush"), "{path} {reply:?}: {answer}");
            assert!(!answer.starts_with("not configured"), "{answer}");
        }
    }

    #[test]
    fn where_it_is() {
        let at = |variables: &[(&str, &str)]| {
            locate(&Environment::new(variables.iter().copied())).map(|url| url.to_string())
        };
        assert_eq!(at(&[]).unwrap(), "http://169.254.169.254/");
        assert_eq!(at(&[(super::MODE, "ipv6")]).unwrap(), "http://[fd00:ec2::254]/");
        assert_eq!(at(&[(super::MODE, "IPv4")]).unwrap(), "http://169.254.169.254/");
        assert!(at(&[(super::MODE, "IPv5")]).unwrap_err().message.contains("IPv5"));
        for endpoint in ["http://127.0.0.1:1338", "http://127.0.0.1:1338/", "http://127.0.0.1:1338//"] {
            assert_eq!(at(&[(super::ENDPOINT, endpoint), (super::MODE, "IPv5")]).unwrap(), "http://127.0.0.1:1338/");
        }
        assert!(at(&[(super::ENDPOINT, "127.0.0.1")]).is_err());
    }
}
