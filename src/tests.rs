//! Tests of the whole crate: properties that every type must have. Shared parts of other tests.

use std::fmt::Debug;
use std::fs::Permissions;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use tracing::subscriber::DefaultGuard;

use crate::cli::args;
use crate::config::{Config, Overrides};
use crate::context::Context;
use crate::lease::Lease;
use crate::model::credentials::Credentials;
use crate::model::outcome::Lookup;
use crate::model::secret::Secret;
use crate::os::environment::Environment;
use crate::os::files::Files;
use crate::server::clients::{Client, Clients};
use crate::shared_config::{FileContent, SharedConfig};
use crate::source::build;
use crate::source::static_keys::StaticCredentials;
use crate::source::url::UrlCredentials;

/// Every secret of this test contains this word.
const MARK: &str = "hush";

/// Writes a file that only its owner can read, in a new folder if necessary.
pub(crate) fn write_private(path: &Path, content: &str) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, content).unwrap();
    std::fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
}

/// The log of this thread, at every level.
#[derive(Clone, Default)]
pub(crate) struct CapturedLog(Arc<Mutex<Vec<u8>>>);

impl CapturedLog {
    /// Captures the log until the guard is dropped.
    pub(crate) fn start() -> (Self, DefaultGuard) {
        let log = Self::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt().with_ansi(false).with_max_level(tracing::Level::TRACE);
        (log, tracing::subscriber::set_default(subscriber.with_writer(move || writer.clone()).finish()))
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl io::Write for CapturedLog {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn debug_output_shows_no_secret() {
    let credentials = Credentials::new("AKIA1", "hush-key").unwrap().with_session_token(Some("hush-token")).unwrap();
    let toml = "[server]\nauth_token = \"hush-0123456789abcdef0123456789abcdef\"\n[identities.a]\n\
                sources = [{ access_key_id = \"A\", secret_access_key = \"hush\" }, \"http://A:hush@h\"]\n";
    let config = Config::parse(toml.as_bytes(), &Overrides::default()).unwrap();
    let wrong =
        "[identities.a]\nsources = [{ access_key_id = \"A\", secret_access_key = 7, hush = \"hush\" }, \"hush\"]\n";
    let errors =
        Config::parse(wrong.replace(", hush =", ", nonsense =").as_bytes(), &Overrides::default()).unwrap_err();
    let text = b"[default]\naws_secret_access_key = hush\n[p]\nhush\n";
    let shared = |bytes| SharedConfig::parse(None, Some(FileContent { path: "/f".as_ref(), bytes }));
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("f"), "hush").unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let files = Files::unwatched();
    let contents = runtime.block_on(files.read(&folder.path().join("f"))).unwrap();
    let arguments = ["credenza", "--access-key-id", "A", "--secret-access-key", "hush", "--url", "http://A:hush@h"];
    let identity = &config.identities["a"];
    let shown: Vec<Box<dyn Debug>> = vec![
        Box::new(Secret::from("hush")),
        Box::new(Lease::new(&credentials, "s".into(), SystemTime::UNIX_EPOCH, Duration::from_secs(3600))),
        Box::new(Lookup::Found(credentials.clone())),
        Box::new(credentials),
        Box::new(StaticCredentials::new("A", "hush")),
        Box::new(UrlCredentials::new("http://A:hush@h")),
        Box::new(build::chain(&identity.chain())),
        Box::new(config),
        Box::new(errors),
        Box::new(shared(&text[..40])),
        Box::new(shared(text)),
        Box::new(contents),
        Box::new(Clients::fixed([(Secret::from("hush"), Client::of_all("c"))])),
        Box::new(Context { environment: Environment::new([("AWS_SECRET_ACCESS_KEY", "hush")]), ..Context::default() }),
        Box::new(args::parse(arguments, &mut std::io::empty()).unwrap()),
    ];
    for shown in shown {
        let shown = format!("{shown:?} {shown:#?}");
        assert!(!shown.contains(MARK) && !shown.contains("104, 117, 115, 104"), "{shown}");
    }
}
