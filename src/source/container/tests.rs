use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use super::*;
use crate::http::client::HttpClient;
use testkit::document as body;
use testkit::ecs::Ecs;
use testkit::server::{Reply, Server, nobody};
use testkit::tls::{Authority, Tls};

const LATER: &str = "2026-11-23T16:00:00Z";

async fn load(variables: &[(&str, &str)]) -> Lookup {
    ContainerCredentials::new().load(&Context::of(variables)).await
}

async fn error(variables: &[(&str, &str)]) -> SourceError {
    let Lookup::Failed(error) = load(variables).await else { panic!("{variables:?}") };
    assert!(!error.to_string().contains("hush"), "{error}");
    error
}

#[tokio::test]
async fn uses_no_proxy() {
    let (ecs, proxy) = (Ecs::start(None, &body("ASIA1", LATER)), Server::start(|_| Reply::of(502, "")));
    let authority = Authority::new("a");
    let tls = Tls::before(ecs.server().address(), authority.sign("agent.example.com"));
    let folder = tempfile::tempdir().unwrap();
    let bundle = folder.path().join("ca.pem");
    std::fs::write(&bundle, authority.pem()).unwrap();
    let (named, ports) = (proxy.url(""), (ecs.server().address().port(), tls.address().port()));
    let proxies = ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY"].map(|name| (name, &*named));
    for url in [format!("http://agent.example.com:{}", ports.0), format!("https://agent.example.com:{}", ports.1)] {
        let full = url + Ecs::TARGET;
        let own = [(FULL, &*full), ("SSL_CERT_FILE", bundle.to_str().unwrap())];
        let context = Context::of(&[&proxies[..], &own].concat());
        let names = HashMap::from([("agent.example.com".into(), vec![tls.address().ip()])]);
        let upstream = HttpClient::with_names(Arc::default(), names).with_environment(&context.environment);
        let answer = ContainerCredentials::new().load(&Context { http_client: upstream, ..context }).await;
        assert!(matches!(answer, Lookup::Found(_)), "{full}: {answer:?}");
    }
    assert!(proxy.lines().is_empty());
}

#[tokio::test]
async fn is_not_configured_without_variables() {
    for variables in [&[][..], &[(FULL, " "), (RELATIVE, "")], &[(TOKEN, "hush")]] {
        assert!(matches!(load(variables).await, Lookup::NotConfigured(_)), "{variables:?}");
    }
}

#[test]
fn prefers_relative_uri() {
    for (variables, url) in [
        (&[(RELATIVE, "/v2/x?y")][..], Ok("http://169.254.170.2/v2/x")),
        (&[(RELATIVE, "/a"), (FULL, "http://127.0.0.1/b")], Ok("http://169.254.170.2/a")),
        (&[(FULL, "http://localhost:80/b")], Ok("http://localhost/b")),
        (&[(RELATIVE, "@evil.example/"), (FULL, "http://127.0.0.1/b")], Err(RELATIVE)),
        (&[(RELATIVE, "/a b")], Err(RELATIVE)),
        (&[(FULL, "/b")], Err(FULL)),
        (&[(FULL, "http://user:hush@127.0.0.1/")], Err(FULL)),
    ] {
        match (endpoint(&Environment::new(variables.iter().copied())), url) {
            (Ok(Some(found)), Ok(url)) => assert_eq!(found.to_string(), url),
            (Err(error), Err(variable)) => {
                assert!(error.to_string().starts_with(variable) && !error.to_string().contains("hush"), "{error}");
                assert!(error.to_string().ends_with(", or unset it"), "{error}");
                assert_eq!(error.kind, ErrorKind::Misconfigured);
            }
            other => panic!("{variables:?}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn finds_credentials_and_follows_rotation() {
    let ecs = Ecs::start(Some("hush token"), &body("ASIA1", LATER));
    let context = Context::of(&[(FULL, &ecs.url()), (TOKEN, "hush token")]);
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
async fn shares_responses_of_equal_requests_only() {
    let server = Server::start(|_| Reply::ok(body("ASIA1", "2099-01-01T00:00:00Z")));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token");
    std::fs::write(&path, "hush-1").unwrap();
    let (full, file) = (server.url("/a"), path.to_str().unwrap().to_owned());
    let here = Context::of(&[(FULL, &full), (TOKEN_FILE, &file)]);
    let source = ContainerCredentials::new();
    let requests = || server.lines().len();
    let (one, two) = tokio::join!(source.load(&here), source.load(&here));
    assert!(one == two && matches!(one, Lookup::Found(_)));
    assert_eq!((source.load(&here).await, requests()), (one, 1));

    // Another token, another query or another end of a long path may give another principal.
    std::fs::write(&path, "hush-2").unwrap();
    source.load(&here).await;
    assert_eq!(requests(), 2);
    let long = server.url(&format!("/{}", "x".repeat(300)));
    for (number, full) in [format!("{full}?b"), format!("{long}a"), format!("{long}b")].into_iter().enumerate() {
        let environment = Environment::new([(FULL, &*full), (TOKEN_FILE, &file)]);
        source.load(&Context { environment, ..here.clone() }).await;
        assert_eq!(requests(), 3 + number, "{full}");
    }
    source.with_timeout(Duration::from_secs(1)).load(&here).await;
    assert_eq!(requests(), 6);
}

#[tokio::test]
async fn sends_no_header_without_token_and_finds_expired_keys() {
    let ecs = Ecs::start(None, &body("ASIA1", "2001-09-09T01:46:40Z"));
    assert!(matches!(load(&[(FULL, &ecs.url())]).await, Lookup::Found(keys) if keys.expiration.is_some()));
    assert_eq!(ecs.server().seen()[0].header("authorization"), None);
}

#[tokio::test]
async fn refuses_tokens_that_no_header_can_carry() {
    let ecs = Ecs::start(None, "");
    for token in ["hu\nsh", "hu\tsh", "hu\u{7f}sh", "hush\u{e9}"] {
        let error = error(&[(FULL, &ecs.url()), (TOKEN, token)]).await;
        assert!(error.kind == ErrorKind::Misconfigured && error.to_string().starts_with(TOKEN), "{error}");
        assert!(error.to_string().ends_with("; write the token alone, in one line"), "{error}");
    }
    assert!(ecs.server().lines().is_empty());
}

#[tokio::test]
async fn sends_nothing_when_token_file_is_unreadable() {
    let ecs = Ecs::start(Some("hush"), "");
    let error = error(&[(FULL, &ecs.url()), (TOKEN, "hush"), (TOKEN_FILE, "/nowhere/to\nken")]).await;
    assert_eq!(error.kind, ErrorKind::Unsettled);
    assert!(error.to_string().starts_with(r"AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE (/nowhere/to\nken): "));
    let hint = "and that this user may read it, or unset AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE";
    assert!(error.to_string().ends_with(hint), "{error}");
    assert!(ecs.server().lines().is_empty());
}

#[tokio::test]
async fn reads_token_file_at_each_load() {
    let ecs = Ecs::start(Some("hush-1"), &body("ASIA1", LATER));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token");
    let context = Context::of(&[(FULL, &ecs.url()), (TOKEN, "other"), (TOKEN_FILE, path.to_str().unwrap())]);
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
        let Lookup::Failed(error) = ContainerCredentials::new().load(&context).await else { panic!() };
        assert!(error.kind == kind && !error.to_string().contains("hush"), "{error}");
    }
}

#[tokio::test]
async fn reports_forbidden_hosts_as_misconfigured() {
    for url in ["http://192.0.2.1/x", "http://169.254.169.254/", "http://0.0.0.0/x", "http://[fd00:ec2::254]/"] {
        let error = error(&[(FULL, url), (TOKEN, "hush")]).await;
        assert!(error.kind == ErrorKind::Misconfigured && error.to_string().contains("use https"), "{error}");
    }
}

#[tokio::test]
async fn reports_own_listener_as_misconfigured() {
    let ecs = Ecs::start(None, "");
    let own = Arc::new(OnceLock::from(vec![ecs.server().address()]));
    let context = Context { http_client: HttpClient::system(own), ..Context::of(&[(FULL, &ecs.url())]) };
    let Lookup::Failed(error) = ContainerCredentials::new().load(&context).await else { panic!() };
    assert_eq!(error.kind, ErrorKind::Misconfigured);
    assert!(error.to_string().contains("is a listener of this process"), "{error}");
}

#[tokio::test]
async fn tries_transient_errors_three_times() {
    let ecs = Ecs::start(None, &body("ASIA1", LATER));
    for (replies, requests) in [
        (vec![Reply::of(500, "")], 2),
        (vec![Reply::Raw(Vec::new()), Reply::of(503, "")], 3),
        (vec![Reply::of(503, "").with("retry-after", "1"), Reply::of(429, "")], 3),
        (vec![Reply::Hang, Reply::Drip], 3),
    ] {
        let before = ecs.server().lines().len();
        ecs.script(replies);
        let source = ContainerCredentials::new().with_timeout(Duration::from_millis(150));
        let answer = source.load(&Context::of(&[(FULL, &ecs.url())])).await;
        assert!(matches!(answer, Lookup::Found(_)), "{answer:?}");
        assert_eq!(ecs.server().lines().len() - before, requests);
    }
}

#[tokio::test]
async fn tries_other_errors_once() {
    let ecs = Ecs::start(Some("hush"), "");
    let location = ecs.url();
    for (reply, kind, retry_after) in [
        (Reply::of(400, ""), ErrorKind::Misconfigured, None),
        (Reply::of(401, r#"{"code":"X","message":"hush is wrong"}"#), ErrorKind::Denied, None),
        (Reply::of(403, ""), ErrorKind::Denied, None),
        (Reply::of(404, "<html>hush"), ErrorKind::Misconfigured, None),
        (Reply::of(429, "").with("retry-after", "6"), ErrorKind::Unavailable, Some(6)),
        (Reply::of(503, "").with("retry-after", "30"), ErrorKind::Unavailable, Some(30)),
        (Reply::of(302, "").with("location", location.clone()), ErrorKind::Misconfigured, None),
        (Reply::ok("<html>hush"), ErrorKind::Unavailable, None),
        (Reply::Flood, ErrorKind::Unavailable, None),
    ] {
        let before = ecs.server().lines().len();
        ecs.script([reply.clone()]);
        let error = error(&[(FULL, &location), (TOKEN, "hush")]).await;
        assert_eq!((error.kind, error.retry_after.map(|pause| pause.as_secs())), (kind, retry_after));
        assert!(
            error.to_string().contains("; check ")
                || error.to_string().ends_with("; it may recover by itself: try again later"),
            "{error}"
        );
        assert_eq!(ecs.server().lines().len() - before, 1, "{reply:.100?}");
    }
}

#[tokio::test]
async fn reports_the_error_after_three_attempts() {
    let server = Server::start(|_| Reply::of(500, r#"{"code":"Internal","message":"oh"}"#));
    let of_server = error(&[(FULL, &server.url("/x?hush"))]).await;
    let expected = format!(
        "GET {}: status 500 Internal Server Error: Internal: oh; it may recover by itself: try again later",
        server.url("/x")
    );
    assert_eq!((of_server.kind, &*of_server.to_string()), (ErrorKind::Unavailable, &*expected));
    assert_eq!(server.lines().len(), 3);
    let of_nobody = error(&[(FULL, &format!("http://{}/", nobody()))]).await;
    assert_eq!(of_nobody.kind, ErrorKind::Unavailable);
    assert!(of_nobody.to_string().contains("refused") && of_nobody.to_string().ends_with(HINTS.silent), "{of_nobody}");
}
