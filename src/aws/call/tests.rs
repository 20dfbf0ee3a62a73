//! The way to AWS: through a proxy, and past an authority of one's own.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use crate::aws::call::*;
use crate::aws::sts::{AssumeRoleRequest, assume_role};
use crate::http::client::HttpClient;
use crate::model::credentials::Credentials;
use crate::model::location::Location;
use crate::os::environment::Environment;
use crate::os::files::Files;
use testkit::proxy::{Proxy, Verdict};
use testkit::server::{Reply, nobody};
use testkit::sts::{Role, Sts};
use testkit::tls::{Authority, Tls};

const ROLE: &str = "arn:aws:iam::123456789012:role/demo";
const HOST: &str = "sts.eu-west-1.amazonaws.com";
const PASSWORD: &str = "hush-password";

/// STS at its real address, as far as TLS and the proxy go.
struct Scene {
    sts: Sts,
    authority: Authority,
    proxy: Proxy,
    _tls: Tls,
    folder: tempfile::TempDir,
}

impl Scene {
    fn new() -> Self {
        let (sts, authority) = (Sts::start("eu-west-1"), Authority::new("Company Root"));
        sts.allow(ROLE, Role::default());
        let tls = Tls::before(sts.server().address(), authority.sign(HOST));
        let proxy = Proxy::start(Verdict::to(tls.address()));
        Self { sts, authority, proxy, _tls: tls, folder: tempfile::tempdir().unwrap() }
    }

    fn bundle(&self, pem: &str) -> PathBuf {
        let path = self.folder.path().join("ca.pem");
        std::fs::write(&path, pem).unwrap();
        path
    }

    fn context(&self, files: Files) -> Context {
        within(&format!("http://me:{PASSWORD}@{}", self.proxy.address()), files)
    }
}

fn within(proxy: &str, files: Files) -> Context {
    let environment = Environment::new([("https_proxy", proxy)]);
    let upstream = HttpClient::system(Arc::default()).with_environment(&environment);
    Context { clock: Clock::system(), environment, files, http_client: upstream, ..Context::default() }
}

fn trusting(bundle: Option<&Path>) -> Settings {
    let ca_bundle = bundle.map(|path| Ok(path.into()));
    let ca_bundle_location = Some(Location::line(Path::new("/c"), 3).with_property("ca_bundle"));
    Settings { region: Some("eu-west-1".into()), ca_bundle, ca_bundle_location, ..Settings::default() }
}

async fn assume(context: &Context, settings: &Settings) -> Result<Credentials, SourceError> {
    let caller = Credentials::new(Sts::ACCESS_KEY_ID, Sts::SECRET_ACCESS_KEY).unwrap();
    let role = AssumeRoleRequest { role_arn: ROLE.into(), session_name: "me".into(), ..AssumeRoleRequest::default() };
    let outcome = assume_role(context, settings, &caller, &role).await;
    assert!(outcome.as_ref().err().is_none_or(|failure| !failure.to_string().contains("hush")), "{outcome:?}");
    outcome
}

#[tokio::test]
async fn sts_is_asked_through_the_proxy_and_believed_by_the_bundle() {
    let scene = Scene::new();
    let bundle = scene.bundle(scene.authority.pem());
    let found = assume(&scene.context(Files::unwatched()), &trusting(Some(&bundle))).await.unwrap();
    assert_eq!(&*found.access_key_id, "ASIA1");
    let [seen] = &scene.proxy.seen()[..] else { panic!() };
    assert_eq!(seen.line(), "CONNECT sts.eu-west-1.amazonaws.com:443");
    assert_eq!(seen.header("proxy-authorization"), Some("Basic bWU6aHVzaC1wYXNzd29yZA=="));
    assert_eq!(scene.sts.server().seen()[0].header("host"), Some(HOST));
}

#[tokio::test]
async fn without_the_authority_the_message_says_where_to_name_it() {
    let scene = Scene::new();
    let context = scene.context(Files::unwatched());
    let without = assume(&context, &trusting(None)).await.unwrap_err();
    assert_eq!(without.kind, ErrorKind::Misconfigured);
    let told = format!("AssumeRole {ROLE}: POST https://{HOST}/: TLS failed: no certificate authority");
    assert!(without.message.starts_with(&told), "{without}");
    assert!(without.message.contains("in AWS_CA_BUNDLE or ca_bundle"), "{without}");
    let other = scene.bundle(Authority::new("other").pem());
    let other = assume(&context, &trusting(Some(&other))).await.unwrap_err();
    let told = "ca.pem, which ca_bundle (/c line 3) names, and no others: add the missing one";
    assert!(other.message.contains(told), "{other}");
    assert!(scene.sts.actions().is_empty());
}

#[tokio::test]
async fn a_bundle_that_is_none_is_named_and_waited_for() {
    let scene = Scene::new();
    let (files, watcher) = Files::watched();
    let context = scene.context(files);
    let path = scene.folder.path().join("ca.pem");
    let settings = trusting(Some(&path));
    let watching = watcher.run();
    let work = async {
        for (pem, expected) in [
            (None, "there is no such file"),
            (Some("hush"), "holds no certificate in PEM"),
            (Some("-----BEGIN CERTIFICATE-----\n"), "is broken at certificate 1: its END line is missing"),
        ] {
            if let Some(pem) = pem {
                scene.bundle(pem);
            }
            context.files.forget();
            let failure = assume(&context, &settings).await.unwrap_err();
            assert_eq!(failure.kind, ErrorKind::Unsettled, "{failure}");
            let told = format!("the CA bundle that ca_bundle (/c line 3) names, {}", path.display());
            assert!(failure.to_string().starts_with(&told) && failure.to_string().contains(expected), "{failure}");
            assert!(failure.to_string().ends_with("certificates of authorities there, or nothing"), "{failure}");
        }
        scene.bundle(scene.authority.pem());
        // The keeper hears of it, and tries again.
        tokio::time::timeout(Duration::from_secs(20), context.files.changed()).await.unwrap();
        assume(&context, &settings).await.unwrap();
    };
    tokio::select! {
        _ = watching => unreachable!("nobody stops it"),
        () = work => {}
    }
}

#[tokio::test]
async fn a_bundle_is_not_looked_at_where_nothing_is_proved() {
    let scene = Scene::new();
    for bundle in [Ok(Path::new("/nowhere").into()), Err("not this file".into())] {
        let mut settings = Settings { ca_bundle: Some(bundle), ..trusting(None) };
        settings.endpoints.sts = Some(Ok(crate::http::url::Url::parse(&scene.sts.url()).unwrap()));
        assume(&scene.context(Files::unwatched()), &settings).await.unwrap();
    }
    assert!(scene.proxy.seen().is_empty(), "nor is the proxy on the way to loopback");
}

#[tokio::test]
async fn a_proxy_that_refuses_or_is_not_there_is_the_one_that_is_named() {
    let closed = Proxy::start(Verdict::Answer(Reply::of(407, "")));
    let named = format!("http://me:{PASSWORD}@{}", closed.address());
    let failure = assume(&within(&named, Files::unwatched()), &trusting(None)).await.unwrap_err();
    assert_eq!((failure.kind, closed.seen().len()), (ErrorKind::Misconfigured, 1), "{failure}");
    let told = format!("proxy http://{} (https_proxy): it refused with status 407", closed.address());
    assert!(failure.to_string().contains(&told), "{failure}");
    let busy = Proxy::start(Verdict::Answer(Reply::of(503, "")));
    let failure = assume(&within(&busy.address().to_string(), Files::unwatched()), &trusting(None)).await.unwrap_err();
    assert_eq!((failure.kind, busy.seen().len()), (ErrorKind::Unavailable, 3), "{failure}");
    let failure = assume(&within(&nobody().to_string(), Files::unwatched()), &trusting(None)).await.unwrap_err();
    assert!(failure.kind == ErrorKind::Unavailable && failure.to_string().contains("(https_proxy): "), "{failure}");
}

#[tokio::test]
async fn no_level_of_logging_shows_what_a_proxy_is_told() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_ansi(false)
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || writer.clone())
        .finish();
    let guard = tracing::subscriber::set_default(subscriber);
    let scene = Scene::new();
    let bundle = scene.bundle(scene.authority.pem());
    let context = scene.context(Files::unwatched());
    assume(&context, &trusting(Some(&bundle))).await.unwrap();
    assume(&context, &trusting(None)).await.unwrap_err();
    drop(guard);
    let shown = String::from_utf8(log.0.lock().unwrap().clone()).unwrap() + &format!("{context:?}");
    assert!(shown.contains(&format!("via=\"http://{} (https_proxy)\"", scene.proxy.address())), "{shown}");
    for secret in ["hush", "bWU6aHVzaC1wYXNzd29yZA", "104, 117, 115, 104"] {
        assert!(!shown.contains(secret), "{shown}");
    }
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
