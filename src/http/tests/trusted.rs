//! The certificates that are trusted.

use std::collections::HashMap;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::Duration;

use http::Method;
use testkit::server::{Reply, Server};
use testkit::tls::{Authority, Identity, Tls};

use crate::http::address_policy::AddressPolicy;
use crate::http::client::*;
use crate::http::error::HttpErrorCause;
use crate::http::message::{Request, Response};
use crate::http::trust_roots::{self, SystemRoots, TrustRootsError};
use crate::http::url::Url;
use crate::os::environment::Environment;

const LONG: Duration = Duration::from_secs(20);

fn get(url: &str) -> Request {
    Request::new(Method::GET, Url::parse(url).unwrap(), AddressPolicy::Anywhere, LONG)
}

/// Sends a request to a server with this certificate, under this host and with these authorities.
async fn asked(identity: Identity, host: &str, authority: &Authority) -> Result<Response, HttpErrorCause> {
    let server = Server::start(|_| Reply::ok("x"));
    let tls = Tls::before(server.address(), identity);
    let names = HashMap::from([("sts.example.com".into(), vec![tls.address().ip()])]);
    let client = HttpClient::with_names(Arc::default(), names);
    let roots = client.roots(authority.pem().to_owned()).await.unwrap();
    let request = get(&format!("https://{host}:{}/", tls.address().port())).with_roots(roots);
    let outcome = client.send(request).await.map_err(|error| error.cause().clone());
    assert_eq!(server.lines().is_empty(), outcome.is_err(), "without TLS nothing was sent");
    outcome
}

async fn error_of(identity: Identity, host: &str, authority: &Authority) -> String {
    let cause = asked(identity, host, authority).await.unwrap_err();
    assert!(!cause.passes() && !cause.is_silence(), "{cause}");
    cause.to_string()
}

#[tokio::test]
async fn trusts_hosts_that_a_trusted_authority_signed() {
    let (ours, other) = (Authority::new("ours"), Authority::new("other"));
    assert_eq!(asked(ours.sign("sts.example.com"), "sts.example.com", &ours).await.unwrap().status, 200);
    assert_eq!(asked(ours.sign("127.0.0.1"), "127.0.0.1", &ours).await.unwrap().status, 200);
    let untrusted = asked(other.sign("127.0.0.1"), "127.0.0.1", &ours).await.unwrap_err();
    assert_eq!(untrusted, HttpErrorCause::Untrusted);
    let name = error_of(ours.sign("iam.example.com"), "sts.example.com", &ours).await;
    assert!(name.contains("sts.example.com") && name.contains("iam.example.com"), "{name}");
    let expired = error_of(ours.sign_expired("127.0.0.1"), "127.0.0.1", &ours).await;
    assert!(expired.contains("by the clock of this machine") && expired.contains("expired"), "{expired}");
    let early = error_of(ours.sign_early("127.0.0.1"), "127.0.0.1", &ours).await;
    assert!(early.contains("is valid only in"), "{early}");
    let authority = error_of(ours.sign_authority("127.0.0.1"), "127.0.0.1", &ours).await;
    assert!(authority.contains("CA:TRUE"), "{authority}");
}

#[tokio::test]
async fn uses_system_authorities_without_a_bundle() {
    let ours = Authority::new("ours");
    let server = Server::start(|_| Reply::ok("x"));
    let tls = Tls::before(server.address(), ours.sign("127.0.0.1"));
    let client = HttpClient::system(Arc::default());
    assert_eq!(*client.send(get(&tls.url("/"))).await.unwrap_err().cause(), HttpErrorCause::Untrusted);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ca.pem");
    let environment = Environment::new([("SSL_CERT_FILE", path.to_str().unwrap())]);
    let client = client.with_environment(&environment);
    let missing = client.send(get(&tls.url("/"))).await.unwrap_err().to_string();
    assert!(missing.contains("SSL_CERT_FILE") && missing.contains("ca.pem"), "{missing}");
    std::fs::write(&path, Authority::new("other").pem()).unwrap();
    assert_eq!(*client.send(get(&tls.url("/"))).await.unwrap_err().cause(), HttpErrorCause::Untrusted);
    // The user adds the authority meanwhile.
    std::fs::write(&path, ours.pem()).unwrap();
    assert_eq!(client.send(get(&tls.url("/"))).await.unwrap().status, 200);
    assert_eq!(client.send(get(&tls.url("/"))).await.unwrap().status, 200);
    assert_eq!((tls.resumed(), server.lines().len()), (1, 2), "the TLS session is resumed");
}

#[test]
fn reads_first_file_then_directories_then_built_in_ones() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let (a, b) = (Authority::new("a"), Authority::new("b"));
    std::fs::create_dir(at("many")).unwrap();
    std::fs::create_dir(at("many/folder")).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, at("many/fifo"), 0o600.into()).unwrap();
    std::os::unix::fs::symlink("nowhere", at("many/dangling")).unwrap();
    let broken = "-----BEGIN CERTIFICATE-----\nno base64!\n-----END CERTIFICATE-----\n";
    for (name, pem) in [
        ("empty", String::new()),
        ("both", format!("# a\n{}{broken}{}", a.pem(), b.pem())),
        ("many/a.pem", a.pem().to_owned()),
        ("many/b.0", b.pem().to_owned()),
        ("many/readme", "hush".to_owned()),
    ] {
        std::fs::write(at(name), pem).unwrap();
    }
    let first = |files: &[&str], directories: &[&str]| {
        let paths = |names: &[&str]| names.iter().map(|name| at(name)).collect();
        trust_roots::RootLocations { files: paths(files), directories: paths(directories) }.first().len()
    };
    assert_eq!(first(&["absent", "empty", "both", "many/a.pem"], &["many"]), 2);
    assert_eq!(first(&["many/a.pem", "both"], &[]), 1);
    assert_eq!(first(&["many/fifo", "many"], &["absent", "many"]), 2);
    assert_eq!(first(&["absent", "empty"], &["many/folder"]), webpki_roots::TLS_SERVER_ROOTS.len());
}

#[tokio::test]
async fn unusable_named_authorities_are_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let (file, many) = (folder.path().join("ca.pem"), folder.path().join("many"));
    let authority = Authority::new("a");
    std::fs::write(&file, "hush").unwrap();
    std::fs::create_dir(&many).unwrap();
    let list = format!("/nowhere:{}", many.display());
    for (variables, expected) in [
        (&[("SSL_CERT_FILE", "/nowhere")][..], "SSL_CERT_FILE, /nowhere: No such file"),
        (&[("SSL_CERT_FILE", file.to_str().unwrap())], "there is no certificate in PEM in SSL_CERT_FILE"),
        (&[("SSL_CERT_FILE", many.to_str().unwrap())], "it is not a regular file"),
        (&[("SSL_CERT_DIR", &list)], "SSL_CERT_DIR, /nowhere: No such file"),
    ] {
        let cause = SystemRoots::of(&Environment::new(variables.iter().copied())).config().await.unwrap_err();
        assert!(matches!(&cause, HttpErrorCause::NoRoots(why) if why.contains(expected)), "{cause}");
        assert!(!cause.to_string().contains("hush"));
    }
    let bytes = std::os::unix::ffi::OsStringExt::from_vec(b"/x\xff".to_vec());
    let cause = SystemRoots::of(&Environment::of_os([("SSL_CERT_FILE".into(), bytes)])).config().await.unwrap_err();
    assert!(cause.to_string().contains("the value of SSL_CERT_FILE is not UTF-8 text"), "{cause}");
    std::fs::write(many.join("a.pem"), authority.pem()).unwrap();
    assert!(SystemRoots::of(&Environment::new([("SSL_CERT_DIR", &*list)])).config().await.is_ok());
    // The authority of another user could read all requests.
    std::fs::write(&file, authority.pem()).unwrap();
    for (variable, path) in [("SSL_CERT_FILE", &file), ("SSL_CERT_DIR", &many)] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o777)).unwrap();
        let variables = Environment::new([(variable, path.to_str().unwrap())]);
        let cause = SystemRoots::of(&variables).config().await.unwrap_err().to_string();
        assert!(cause.contains(variable) && cause.contains("it may be written by all users"), "{cause}");
    }
}

#[tokio::test]
async fn takes_no_authority_of_another_user_from_a_sticky_directory() {
    if !rustix::process::geteuid().is_root() {
        assert!(testkit::harness::skip("only root can give a file to another user"));
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o1777)).unwrap();
    let (ours, foreign) = (Authority::new("ours"), Authority::new("foreign"));
    let path = folder.path().join("f.0");
    std::fs::write(&path, foreign.pem()).unwrap();
    std::os::unix::fs::chown(&path, Some(64002), None).unwrap();
    let directory = folder.path().to_str().unwrap();
    let variables = Environment::new([("SSL_CERT_DIR", directory)]);
    let cause = SystemRoots::of(&variables).config().await.unwrap_err().to_string();
    assert!(cause.contains("f.0: it belongs to user 64002"), "{cause}");
    // The files of this user in it still count.
    std::fs::write(folder.path().join("o.0"), ours.pem()).unwrap();
    let client = HttpClient::system(Arc::default()).with_environment(&variables);
    let server = Server::start(|_| Reply::ok("x"));
    for (authority, is_trusted) in [(&ours, true), (&foreign, false)] {
        let tls = Tls::before(server.address(), authority.sign("127.0.0.1"));
        assert_eq!(client.send(get(&tls.url("/"))).await.is_ok(), is_trusted);
    }
}

#[tokio::test]
async fn parses_equal_bundles_once() {
    let client = HttpClient::system(Arc::default());
    let (a, b) = (Authority::new("a"), Authority::new("b"));
    let first = client.roots(a.pem().to_owned()).await.unwrap();
    let both = client.clone().roots(format!("{}{}", a.pem(), b.pem())).await.unwrap();
    assert!(Arc::ptr_eq(&first.0, &client.clone().roots(a.pem().to_owned()).await.unwrap().0));
    assert!(!Arc::ptr_eq(&first.0, &both.0));
    for number in 0..20 {
        client.roots(Authority::new(&number.to_string()).pem().to_owned()).await.unwrap();
    }
    assert!(!Arc::ptr_eq(&first.0, &client.roots(a.pem().to_owned()).await.unwrap().0), "the oldest bundle is dropped");
}

#[tokio::test]
async fn reports_unusable_bundles_without_content() {
    let client = HttpClient::default();
    let good = Authority::new("a").pem().to_owned();
    let key = "-----BEGIN PRIVATE KEY-----\naHVzaA==\n-----END PRIVATE KEY-----\n";
    for (pem, expected) in [
        (String::new(), Err(TrustRootsError::Empty)),
        ("hush".into(), Err(TrustRootsError::Empty)),
        (key.into(), Err(TrustRootsError::Empty)),
        (
            format!("{good}-----BEGIN CERTIFICATE-----\nhush!\n-----END CERTIFICATE-----\n"),
            Err(TrustRootsError::Broken { number: 2, why: "it is not base64" }),
        ),
        (
            good.lines().next().unwrap().into(),
            Err(TrustRootsError::Broken { number: 1, why: "its END line is missing" }),
        ),
        ("-----BEGIN CERTIFICATE-----\naHVzaA==\n-----END CERTIFICATE-----\n".into(), Err(TrustRootsError::Unusable)),
        (format!("-----BEGIN CERTIFICATE-----\naHVzaA==\n-----END CERTIFICATE-----\n# a\n{key}{good}"), Ok(())),
        (good.replace('\n', "\r\n"), Ok(())),
    ] {
        let outcome = client.roots(pem.clone()).await.map(drop);
        assert_eq!(outcome, expected, "{pem}");
        assert!(outcome.is_ok_and(|()| true) || !expected.unwrap_err().to_string().contains("hush"));
    }
}
