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

fn context_with(variables: &[(&str, &str)]) -> Context {
    let now = std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_446_000);
    Context { clock: Clock::injected(now), ..Context::of(variables) }
}

fn context(endpoint: &str) -> Context {
    context_with(&[("AWS_EC2_METADATA_SERVICE_ENDPOINT", endpoint)])
}

fn source() -> MetadataCredentials {
    MetadataCredentials::new(false, false).with_timeout(SHORT)
}

fn only_source() -> MetadataCredentials {
    MetadataCredentials::new(false, true).with_timeout(SHORT)
}

fn with_v1(only_source: bool) -> MetadataCredentials {
    MetadataCredentials::new(true, only_source).with_timeout(SHORT)
}

/// Loads with an empty credential cache.
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

async fn error(source: &MetadataCredentials, context: &Context) -> SourceError {
    let Lookup::Failed(error) = load(source, context).await else { panic!() };
    assert!(!error.to_string().contains("hush"), "{error}");
    error
}

async fn reason(source: &MetadataCredentials, context: &Context) -> String {
    match load(source, context).await {
        Lookup::NotConfigured(reason) => reason.into(),
        other => panic!("{other:?}"),
    }
}

/// Returns the requests since the last call, one letter each.
fn requests(imds: &Imds, seen: &mut usize) -> String {
    let lines = imds.server().lines();
    let short = |line: &String| match line.as_str() {
        "PUT /latest/api/token" => 'T',
        "GET /latest/meta-data/iam/security-credentials/" => 'L',
        "GET /latest/dynamic/instance-identity/document" => 'I',
        line if line.ends_with(ROLE) => 'C',
        line => panic!("{line}"),
    };
    let letters = lines[*seen..].iter().map(short).collect();
    *seen = lines.len();
    letters
}

#[tokio::test]
async fn uses_no_proxy() {
    let (imds, proxy) = (imds(), Server::start(|_| Reply::of(502, "")));
    let address = imds.server().address();
    let endpoint = format!("http://metadata.example.com:{}/", address.port());
    let named = proxy.url("");
    let variables = [("AWS_EC2_METADATA_SERVICE_ENDPOINT", &*endpoint), ("HTTP_PROXY", &named), ("http_proxy", &named)];
    let context = context_with(&[&variables[..], &[("ALL_PROXY", &named)]].concat());
    let names = HashMap::from([("metadata.example.com".into(), vec![address.ip()])]);
    let http_client = HttpClient::with_names(Arc::default(), names).with_environment(&context.environment);
    let context = Context { http_client, ..context };
    assert_eq!(&*found(&source(), &context).await.access_key_id, "ASIA1");
    assert!(proxy.lines().is_empty());
}

#[tokio::test]
async fn keeps_session_and_identity_document() {
    let (imds, source) = (imds(), source());
    let (context, mut seen) = (context(&imds.endpoint()), 0);
    let credentials = found(&source, &context).await;
    assert_eq!(&*credentials.access_key_id, "ASIA1");
    assert_eq!((credentials.account_id, &*requests(&imds, &mut seen)), (None, "TLC"), "no client asks for the account");
    assert_eq!(source.region(&context).await.as_deref(), Some("eu-west-3"));
    assert_eq!(requests(&imds, &mut seen), "I");
    imds.set(|state| state.document = body("ASIA2", "2026-11-23T17:00:00Z"));
    let credentials = found(&source, &context).await;
    assert_eq!((&*credentials.access_key_id, credentials.account_id.as_deref()), ("ASIA2", Some("123456789012")));
    assert_eq!(source.region(&context).await.as_deref(), Some("eu-west-3"));
    assert_eq!(requests(&imds, &mut seen), "LC");
    let first = &imds.server().seen()[0];
    assert_eq!(first.header("x-aws-ec2-metadata-token-ttl-seconds"), Some("21600"));
    assert_eq!(first.header("content-length"), Some("0"));
    assert!(!format!("{source:?}").contains("hush"));
}

#[tokio::test]
async fn shares_responses_of_equal_requests_only() {
    let (imds, other) = (imds(), imds());
    let (context, mut seen) = (context(&imds.endpoint()), 0);
    let (first, second, third) = (source(), source(), source());
    let at_once = tokio::join!(first.load(&context), second.load(&context), third.load(&context));
    assert!(matches!(&at_once.0, Lookup::Found(found) if &*found.access_key_id == "ASIA1"));
    assert!(at_once.0 == at_once.1 && at_once.1 == at_once.2);
    assert_eq!(requests(&imds, &mut seen), "TLC");
    assert_eq!(source().load(&context).await, at_once.0);
    assert_eq!(requests(&imds, &mut seen), "", "they need no renewal yet");

    other.set(|state| state.document = body("ASIA2", "2026-11-23T16:00:00Z"));
    let endpoint = other.endpoint();
    let elsewhere = Environment::new([("AWS_EC2_METADATA_SERVICE_ENDPOINT", &*endpoint)]);
    let elsewhere = Context { environment: elsewhere, ..context.clone() };
    let answer = source().load(&elsewhere).await;
    assert!(matches!(&answer, Lookup::Found(found) if &*found.access_key_id == "ASIA2"), "{answer:?}");
    for unlike in [with_v1(false), only_source(), MetadataCredentials::new(false, false)] {
        assert_eq!(unlike.load(&context).await, at_once.0);
        assert_eq!(requests(&imds, &mut seen), "TLC", "{unlike:?}");
    }
}

#[tokio::test]
async fn keeps_state_of_services_apart() {
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
    assert_eq!(source.region(&context).await.as_deref(), Some("eu-west-3"));
    assert_eq!(found(&source, &context).await.account_id.as_deref(), Some("123456789012"));
    *there.0.lock().unwrap() = second.endpoint();
    assert_eq!(found(&source, &context).await.account_id, None);
    assert_eq!(source.region(&context).await.as_deref(), Some("us-west-2"));
    assert_eq!((requests(&first, &mut seen), requests(&second, &mut seen_by_second)), ("TILC".into(), "TLCI".into()));
}

#[tokio::test]
async fn shares_the_missing_role_with_waiting_loads() {
    let imds = imds();
    imds.set(|state| state.role = None);
    let (context, mut seen) = (context(&imds.endpoint()), 0);
    let (first, second) = (source(), source());
    let (one, two) = tokio::join!(first.load(&context), second.load(&context));
    assert!(one == two && matches!(one, Lookup::NotConfigured(_)));
    assert_eq!(requests(&imds, &mut seen), "TL");
    imds.set(|state| state.role = Some("web".into()));
    assert!(matches!(second.load(&context).await, Lookup::Found(_)), "it is requested again");
}

#[tokio::test]
async fn renews_session_before_its_end_and_after_refusal() {
    let (imds, source) = (imds(), source());
    let (context, mut seen) = (context(&imds.endpoint()), 0);
    found(&source, &context).await;
    context.clock.step(21_600_000 - 61_000);
    found(&source, &context).await;
    assert_eq!(requests(&imds, &mut seen), "TLCLC");
    context.clock.step(2_000);
    found(&source, &context).await;
    found(&source, &context).await;
    assert_eq!(requests(&imds, &mut seen), "TLCLC");
    imds.end_sessions();
    found(&source, &context).await;
    assert_eq!(requests(&imds, &mut seen), "LTLC");
    let refused = Reply::of(401, r#"{"code":"X","message":"hush-metadata-2== is bad"}"#);
    imds.script(testkit::imds::ROLES, refused.clone());
    imds.script(testkit::imds::ROLES, refused);
    assert_eq!(error(&source, &context).await.kind, ErrorKind::Denied);
    assert_eq!(requests(&imds, &mut seen), "LTL");
}

#[tokio::test]
async fn uses_token_without_lifetime_until_refused() {
    let (imds, source) = (imds(), source());
    let (context, mut seen) = (context(&imds.endpoint()), 0);
    imds.script(TOKEN, Reply::ok("hush-metadata-1==\n"));
    found(&source, &context).await;
    found(&source, &context).await;
    assert_eq!(requests(&imds, &mut seen), "TLCLC");
}

#[tokio::test]
async fn is_not_configured_when_disabled_or_without_role() {
    let imds = imds();
    imds.set(|state| state.role = None);
    assert!(reason(&source(), &context(&imds.endpoint())).await.starts_with("no role is attached"));
    let context = context_with(&[("AWS_EC2_METADATA_DISABLED", "TRUE")]);
    assert_eq!(reason(&source(), &context).await, "AWS_EC2_METADATA_DISABLED is true");
    assert_eq!(source().region(&context).await, None);
}

#[tokio::test]
async fn silent_service_is_not_configured_beside_other_sources() {
    let hanging = Server::start(|_| Reply::Hang);
    for (url, hint) in [(format!("http://{}", nobody()), false), (hanging.url(""), true)] {
        let context = context(&url);
        let reason = reason(&source(), &context).await;
        assert!(reason.starts_with("no metadata service answers here (PUT http://127.0.0.1:"), "{reason}");
        assert_eq!(reason.contains("HttpPutResponseHopLimit"), hint, "{reason}");
        let error = error(&only_source(), &context).await;
        assert_eq!((error.kind, error.to_string().contains("HttpPutResponseHopLimit")), (ErrorKind::Unavailable, hint));
    }
    assert_eq!(hanging.lines().len(), 2 + 3, "two probes, and three attempts of the only source");
}

#[tokio::test]
async fn silence_is_an_error_after_an_earlier_response() {
    let imds = imds();
    let context = context(&imds.endpoint());
    found(&source(), &context).await;
    imds.set(|state| state.token = Some(Reply::Hang));
    let error = error(&source(), &context).await;
    assert_eq!(error.kind, ErrorKind::Unavailable);
    assert!(error.to_string().contains("no complete response within"), "{error}");
}

#[tokio::test]
async fn waits_for_a_slow_service_until_the_deadline() {
    let imds = imds();
    let slow = |delay| Reply::ok(body("ASIA1", "2026-11-23T16:00:00Z")).after(Duration::from_millis(delay));
    let context = context(&imds.endpoint());
    let load = context.deadline.begin(Duration::from_secs(10));
    imds.script(ROLE, slow(2_500));
    let mut seen = 0;
    found(&MetadataCredentials::new(false, false), &context).await;
    assert_eq!(requests(&imds, &mut seen), "TLC", "the first answer is waited for");
    drop(load);
    let _load = context.deadline.begin(Duration::from_millis(600));
    imds.script(ROLE, slow(2_500));
    let began = std::time::Instant::now();
    let error = error(&MetadataCredentials::new(false, false), &context).await;
    assert!(began.elapsed() < Duration::from_millis(600), "the source reports it before the chain gives up");
    assert!(error.to_string().contains("check that this machine is an instance"), "{error}");
}

#[tokio::test]
async fn retries_transient_errors_of_a_load() {
    let (imds, source) = (imds(), source());
    let (context, mut seen) = (context(&imds.endpoint()), 0);
    imds.script(TOKEN, Reply::of(503, ""));
    imds.script(ROLE, Reply::Hang);
    imds.script(ROLE, Reply::of(503, "").with("retry-after", "1"));
    found(&source, &context).await;
    assert_eq!(requests(&imds, &mut seen), "TTLCCC");
    for _ in 0..3 {
        imds.script(ROLE, Reply::of(500, ""));
    }
    assert_eq!(error(&source, &context).await.kind, ErrorKind::Unavailable);
    assert_eq!(requests(&imds, &mut seen), "LCCC");
}

#[tokio::test]
async fn uses_v1_only_where_allowed() {
    let imds = imds();
    imds.set(|state| state.v1 = true);
    for (token, kind) in [
        (Reply::of(403, ""), Some(ErrorKind::Denied)),
        (Reply::of(400, ""), None),
        (Reply::of(404, ""), None),
        (Reply::of(405, ""), None),
        (Reply::Hang, Some(ErrorKind::Unavailable)),
    ] {
        imds.set(|state| state.token = Some(token));
        let context = context(&imds.endpoint());
        match kind {
            Some(kind) => assert_eq!(error(&only_source(), &context).await.kind, kind),
            // As on GCE, OpenStack and Azure.
            None => {
                let reason = reason(&only_source(), &context).await;
                assert!(reason.contains("is not the instance metadata service of AWS"), "{reason}");
            }
        }
        let mut seen = imds.server().lines().len();
        let allowed = with_v1(false);
        found(&allowed, &context).await;
        found(&allowed, &context).await;
        let letters = requests(&imds, &mut seen);
        assert!(matches!(letters.as_str(), "TLCLC" | "TTLCLC"), "{letters}: version 1 is kept");
    }
    let variables = [("AWS_EC2_METADATA_V1_DISABLED", "true")];
    let endpoint = imds.endpoint();
    let disabled = context_with(&[variables[0], ("AWS_EC2_METADATA_SERVICE_ENDPOINT", &endpoint)]);
    assert_eq!(error(&with_v1(true), &disabled).await.kind, ErrorKind::Unavailable);
}

#[tokio::test]
async fn other_service_is_not_configured_where_v1_is_allowed() {
    let imds = imds();
    imds.set(|state| state.token = Some(Reply::of(405, "")));
    for status in [400, 405] {
        imds.script(testkit::imds::ROLES, Reply::of(status, ""));
        let reason = reason(&with_v1(true), &context(&imds.endpoint())).await;
        assert!(reason.contains("is not the instance metadata service of AWS"), "{reason}");
    }
}

#[tokio::test]
async fn silence_of_both_versions_is_not_configured() {
    let hanging = Server::start(|_| Reply::Hang);
    let reason = reason(&with_v1(false), &context(&hanging.url("/"))).await;
    assert!(reason.starts_with("no metadata service answers here (GET "), "{reason}");
}

#[tokio::test]
async fn reports_other_responses_as_errors() {
    for (path, reply, kind, expected) in [
        (TOKEN, Reply::of(429, "").with("retry-after", "9"), ErrorKind::Unavailable, "status 429"),
        (TOKEN, Reply::of(307, "").with("location", "http://127.0.0.1/"), ErrorKind::Misconfigured, "not followed"),
        (TOKEN, Reply::ok(""), ErrorKind::Unavailable, "not a token"),
        (TOKEN, Reply::ok("<html> hush"), ErrorKind::Unavailable, "not a token"),
        (TOKEN, Reply::Raw(b"hush".to_vec()), ErrorKind::Unavailable, "not HTTP"),
        (ROLES, Reply::ok(""), ErrorKind::Unavailable, "no valid role name"),
        (ROLES, Reply::ok("<html>"), ErrorKind::Unavailable, "no valid role name"),
        (ROLES, Reply::ok("unknown"), ErrorKind::Unavailable, "status 404"),
        (ROLES, Reply::of(403, ""), ErrorKind::Denied, "status 403"),
        (ROLE, Reply::ok("<html>hush"), ErrorKind::Unavailable, "HTML"),
        (ROLE, Reply::ok(r#"{"AccessKeyId":"A","SecretAccessKey":"hush"}"#), ErrorKind::Unavailable, "no Code"),
        (ROLE, Reply::ok(r#"{"Code":"Failed","Message":"hush-metadata-1== no"}"#), ErrorKind::Unavailable, "Failed"),
        (ROLE, Reply::ok(r#"{"Code":"Success","AccessKeyId":"A"}"#), ErrorKind::Misconfigured, "secret access key"),
        (ROLE, Reply::Flood, ErrorKind::Unavailable, "larger than 64 kB"),
    ] {
        let imds = imds();
        imds.script(path, reply);
        let source = MetadataCredentials::new(false, false);
        let error = error(&source, &context(&imds.endpoint())).await;
        assert!(error.kind == kind && error.to_string().contains(expected), "{path} {error:?}");
        let hints = ["; check that ", "; check which ", "try again later"];
        assert!(hints.iter().any(|hint| error.to_string().contains(hint)), "{path} {error:?}");
        assert_eq!(error.retry_after.is_some(), expected == "status 429");
    }
}

#[tokio::test]
async fn reports_own_listener_as_misconfigured() {
    let imds = imds();
    let own = Arc::new(OnceLock::from(vec![imds.server().address()]));
    let context = Context { http_client: HttpClient::system(own), ..context(&imds.endpoint()) };
    let error = error(&source(), &context).await;
    assert_eq!(error.kind, ErrorKind::Misconfigured);
    assert!(error.to_string().contains("is a listener of this process"), "{error}");
}

#[tokio::test]
async fn requests_identity_document_until_it_responds() {
    let (imds, source) = (imds(), source());
    let (context, mut seen) = (context(&imds.endpoint()), 0);
    for _ in 0..3 {
        imds.script(IDENTITY, Reply::of(500, ""));
    }
    assert_eq!(source.region(&context).await, None);
    assert_eq!(requests(&imds, &mut seen), "TIII");
    assert_eq!(source.region(&context).await.as_deref(), Some("eu-west-3"));
    assert_eq!(requests(&imds, &mut seen), "I");
    imds.set(|state| state.identity = None);
    let other = MetadataCredentials::new(false, false);
    assert_eq!((other.region(&context).await, other.region(&context).await), (None, None));
    assert_eq!(requests(&imds, &mut seen), "TI");
}

#[test]
fn reads_identity_documents() {
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
