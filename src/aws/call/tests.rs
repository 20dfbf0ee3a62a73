//! Calls through a proxy and with certificate authorities of the user's own.

use std::path::PathBuf;

use testkit::proxy::{Proxy, Verdict};
use testkit::server::{Reply, nobody};
use testkit::sts::{Role, Sts};
use testkit::tls::{Authority, Tls};

use crate::aws::call::*;
use crate::aws::settings::SettingError;
use crate::aws::sts::{AssumeRoleRequest, assume_role};
use crate::model::credentials::Credentials;
use crate::model::location::Location;
use crate::os::environment::Environment;
use crate::os::files::Files;
use crate::tests::CapturedLog;

const ROLE: &str = "arn:aws:iam::123456789012:role/demo";
const HOST: &str = "sts.eu-west-1.amazonaws.com";
const PASSWORD: &str = "hush-password";

/// An STS that TLS and the proxy reach at its real address.
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
    Context::new(Environment::new([("https_proxy", proxy)]), files)
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
    assert!(outcome.as_ref().err().is_none_or(|error| !error.to_string().contains("hush")), "{outcome:?}");
    outcome
}

#[tokio::test]
async fn reaches_sts_through_proxy_with_ca_bundle() {
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
async fn names_ca_bundle_setting_when_authority_is_missing() {
    let scene = Scene::new();
    let context = scene.context(Files::unwatched());
    let without = assume(&context, &trusting(None)).await.unwrap_err();
    assert_eq!(without.kind, ErrorKind::Misconfigured);
    let message = format!("AssumeRole {ROLE}: POST https://{HOST}/: TLS failed: no certificate authority");
    assert!(without.message.starts_with(&message), "{without}");
    let hint = without.hint.unwrap();
    assert!(hint.ends_with("in AWS_CA_BUNDLE or ca_bundle"), "{hint}");
    assert!(without.cause.is_some_and(|cause| cause.is::<HttpError>()));
    let other = scene.bundle(Authority::new("other").pem());
    let hint = assume(&context, &trusting(Some(&other))).await.unwrap_err().hint.unwrap();
    let expected = "ca.pem, which ca_bundle (/c line 3) names: only the authorities there are trusted";
    assert!(hint.starts_with("add the missing authority to /") && hint.ends_with(expected), "{hint}");
    assert!(scene.sts.actions().is_empty());
}

#[tokio::test]
async fn waits_for_usable_ca_bundle() {
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
            let error = assume(&context, &settings).await.unwrap_err();
            assert_eq!(error.kind, ErrorKind::Unsettled, "{error}");
            let start = format!("/c, line 3: the CA bundle of ca_bundle cannot be used: {}", path.display());
            assert!(error.to_string().starts_with(&start) && error.to_string().contains(expected), "{error}");
            let hint = "name a file with the certificates of authorities in ca_bundle, or remove it";
            assert_eq!(error.hint.as_deref(), Some(hint), "{error}");
        }
        scene.bundle(scene.authority.pem());
        // The change wakes the refresher, which loads again.
        tokio::time::timeout(Duration::from_secs(20), context.files.changed()).await.unwrap();
        assume(&context, &settings).await.unwrap();
    };
    tokio::select! {
        _ = watching => unreachable!("the watcher never ends"),
        () = work => {}
    }
}

#[tokio::test]
async fn plain_http_needs_no_ca_bundle() {
    let scene = Scene::new();
    for bundle in [Ok(Path::new("/nowhere").into()), Err(SettingError::new("not this file"))] {
        let mut settings = Settings { ca_bundle: Some(bundle), ..trusting(None) };
        settings.endpoints.sts = Some(Ok(crate::http::url::Url::parse(&scene.sts.url()).unwrap()));
        assume(&scene.context(Files::unwatched()), &settings).await.unwrap();
    }
    assert!(scene.proxy.seen().is_empty(), "requests to loopback use no proxy");
}

#[tokio::test]
async fn names_proxy_that_refuses_or_is_unreachable() {
    let closed = Proxy::start(Verdict::Answer(Reply::of(407, "")));
    let named = format!("http://me:{PASSWORD}@{}", closed.address());
    let error = assume(&within(&named, Files::unwatched()), &trusting(None)).await.unwrap_err();
    assert_eq!((error.kind, closed.seen().len()), (ErrorKind::Misconfigured, 1), "{error}");
    let message = format!("proxy http://{} (https_proxy): it refused with status 407", closed.address());
    assert!(error.to_string().contains(&message), "{error}");
    let busy = Proxy::start(Verdict::Answer(Reply::of(503, "")));
    let error = assume(&within(&busy.address().to_string(), Files::unwatched()), &trusting(None)).await.unwrap_err();
    assert_eq!((error.kind, busy.seen().len()), (ErrorKind::Unavailable, 3), "{error}");
    let error = assume(&within(&nobody().to_string(), Files::unwatched()), &trusting(None)).await.unwrap_err();
    assert!(error.kind == ErrorKind::Unavailable && error.to_string().contains("(https_proxy): "), "{error}");
}

#[tokio::test]
async fn no_log_level_shows_proxy_password() {
    let (log, guard) = CapturedLog::start();
    let scene = Scene::new();
    let bundle = scene.bundle(scene.authority.pem());
    let context = scene.context(Files::unwatched());
    assume(&context, &trusting(Some(&bundle))).await.unwrap();
    assume(&context, &trusting(None)).await.unwrap_err();
    drop(guard);
    let shown = log.text() + &format!("{context:?}");
    assert!(shown.contains(&format!("via=\"http://{} (https_proxy)\"", scene.proxy.address())), "{shown}");
    for secret in ["hush", "bWU6aHVzaC1wYXNzd29yZA", "104, 117, 115, 104"] {
        assert!(!shown.contains(secret), "{shown}");
    }
}
