//! Certificate authorities that are trusted.

use std::collections::HashSet;
use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use openssl_probe::ProbeResult;
use ring::digest::{SHA256, digest};
use rustls_native_certs::{CertificateResult, ErrorKind, load_certs_from_paths};
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject as _};
use tokio_rustls::rustls::{self, ClientConfig, RootCertStore};

use crate::http::error::HttpErrorCause;
use crate::model::text::Escaped;
use crate::os::environment::Environment;
use crate::os::files::trust::TrustPolicy;
use crate::os::files::walk::walk;

/// The maximum number of parsed bundles. A process uses one bundle, or one for each of a few companies. Further bundles
/// are parsed at each use.
const MAX_BUNDLES: usize = 8;

/// The authorities of a bundle, for requests that do not trust those of the system.
#[derive(Clone)]
pub(crate) struct TrustRoots(pub(super) Arc<ClientConfig>);

/// The reason why a bundle is not usable. It never shows the content of the file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TrustRootsError {
    /// The bundle has no PEM. It may be in DER.
    #[error("holds no certificate in PEM (-----BEGIN CERTIFICATE----- …); convert DER with openssl x509 -inform der")]
    Empty,
    /// The lines around a certificate or its base64 are wrong.
    #[error("is broken at certificate {number}: {why}")]
    Broken {
        /// The number of the certificate, counted from 1.
        number: usize,
        why: &'static str,
    },
    #[error("holds no certificate that can be used")]
    Unusable,
    #[error("cannot be used: {0}")]
    Tls(Box<str>),
}

/// The parsed bundles, by a digest of their content.
#[derive(Default)]
pub(crate) struct CaBundles(Mutex<Vec<(Vec<u8>, TrustRoots)>>);

/// The authorities of this machine, read at the first use and again after a server was not trusted.
#[derive(Default)]
pub(crate) struct SystemRoots {
    named: Option<Result<RootLocations, Box<str>>>,
    config: Mutex<Option<Arc<ClientConfig>>>,
}

/// Files and directories with authorities.
#[derive(Clone, Debug, Default)]
pub(crate) struct RootLocations {
    pub(crate) files: Vec<PathBuf>,
    pub(crate) directories: Vec<PathBuf>,
}

impl CaBundles {
    /// Returns the authorities of a bundle in PEM. The first time takes a few milliseconds.
    pub(crate) fn roots(&self, pem: &[u8]) -> Result<TrustRoots, TrustRootsError> {
        let key = digest(&SHA256, pem).as_ref().to_vec();
        let known = self.known().iter().find(|(known, _)| *known == key).map(|(_, roots)| roots.clone());
        if let Some(roots) = known {
            return Ok(roots);
        }
        let roots = TrustRoots(Arc::new(parse(pem)?));
        let mut known = self.known();
        if known.len() == MAX_BUNDLES {
            known.remove(0);
        }
        known.push((key, roots.clone()));
        Ok(roots)
    }

    fn known(&self) -> MutexGuard<'_, Vec<(Vec<u8>, TrustRoots)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn parse(pem: &[u8]) -> Result<ClientConfig, TrustRootsError> {
    let mut certificates = Vec::new();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let number = certificates.len() + 1;
        certificates.push(certificate.map_err(|error| TrustRootsError::Broken { number, why: why(&error) })?);
    }
    if certificates.is_empty() {
        return Err(TrustRootsError::Empty);
    }
    let mut roots = RootCertStore::empty();
    // Skip a certificate that rustls does not accept: bundles often hold all certificates of a system.
    let (usable, _) = roots.add_parsable_certificates(certificates);
    if usable == 0 {
        return Err(TrustRootsError::Unusable);
    }
    config(roots).map_err(|error| TrustRootsError::Tls(Escaped(&error.to_string()).to_string().into()))
}

fn why(error: &pem::Error) -> &'static str {
    match error {
        pem::Error::MissingSectionEnd { .. } => "its END line is missing",
        pem::Error::IllegalSectionStart { .. } => "its BEGIN line is malformed",
        pem::Error::Base64Decode(_) => "it is not base64",
        _ => "it is not PEM",
    }
}

impl SystemRoots {
    /// Uses `SSL_CERT_FILE` and `SSL_CERT_DIR`, a list with colons, instead of the authorities of the system, as
    /// OpenSSL does.
    pub(crate) fn of(environment: &Environment) -> Self {
        let split = |list| std::env::split_paths(list).filter(|path| !path.as_os_str().is_empty()).collect();
        let files = environment.get("SSL_CERT_FILE").map(PathBuf::from).into_iter().collect();
        let directories = environment.get("SSL_CERT_DIR").map_or_else(Vec::new, split);
        let named = RootLocations { files, directories };
        let is_named = !named.files.is_empty() || !named.directories.is_empty();
        let named = match environment.check_text(&["SSL_CERT_FILE", "SSL_CERT_DIR"]) {
            Ok(()) => is_named.then_some(Ok(named)),
            Err(error) => Some(Err(error.to_string().into())),
        };
        Self { named, config: Mutex::default() }
    }

    pub(crate) async fn config(&self) -> Result<Arc<ClientConfig>, HttpErrorCause> {
        if let Some(config) = &*self.held() {
            return Ok(Arc::clone(config));
        }
        let named = self.named.clone();
        let reading = tokio::task::spawn_blocking(move || match named {
            Some(locations) => locations.map_err(HttpErrorCause::NoRoots)?.all(),
            None => Ok(RootLocations::of_system().first()),
        });
        let Ok(roots) = reading.await else { return Err(HttpErrorCause::NoRoots("the process stops".into())) };
        let config = Arc::new(config(roots?)?);
        *self.held() = Some(Arc::clone(&config));
        Ok(config)
    }

    /// Forgets the authorities, so that the next use reads them again: the user may have added an authority.
    pub(crate) fn forget(&self) {
        *self.held() = None;
    }

    fn held(&self) -> MutexGuard<'_, Option<Arc<ClientConfig>>> {
        self.config.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RootLocations {
    /// Returns the places where this system has its authorities.
    fn of_system() -> Self {
        let ProbeResult { cert_file, cert_dir } = openssl_probe::probe();
        Self { files: cert_file.into_iter().collect(), directories: cert_dir }
    }

    fn all(&self) -> Result<RootCertStore, HttpErrorCause> {
        let (mut roots, mut problem) = (RootCertStore::empty(), None);
        for path in &self.files {
            if let Err(error) = check_trust(path).and_then(|()| add_file(&mut roots, path)) {
                problem.get_or_insert(format!("SSL_CERT_FILE, {}: {error}", Escaped(&path.to_string_lossy())));
            }
        }
        for path in &self.directories {
            if let Err(error) = check_trust(path).and_then(|()| add_trusted_files(&mut roots, path)) {
                problem.get_or_insert(format!("SSL_CERT_DIR, {}: {error}", Escaped(&path.to_string_lossy())));
            }
        }
        if roots.is_empty() {
            let none = || "there is no certificate in PEM in SSL_CERT_FILE or SSL_CERT_DIR".to_owned();
            return Err(HttpErrorCause::NoRoots(problem.unwrap_or_else(none).into()));
        }
        tracing::debug!(authorities = roots.len(), problem, "read SSL_CERT_FILE and SSL_CERT_DIR");
        Ok(roots)
    }

    /// Reads the first file or directory that holds certificates. Directories come last, because a directory takes ten
    /// times as long as a file with equal certificates. Slim container images have neither; then the built-in
    /// authorities are used.
    pub(crate) fn first(&self) -> RootCertStore {
        let files = self.files.iter().map(|path| (path, false));
        let directories = self.directories.iter().map(|path| (path, true));
        for (path, is_directory) in files.chain(directories) {
            let mut roots = RootCertStore::empty();
            let added = if is_directory { add_directory(&mut roots, path) } else { add_file(&mut roots, path) };
            if added.is_ok() && !roots.is_empty() {
                tracing::debug!(authorities = roots.len(), ?path, "read the authorities of the system");
                return roots;
            }
        }
        tracing::debug!("the system has no certificate authorities; the built-in ones are used");
        RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() }
    }
}

/// Refuses authorities of another user: after `su` or `sudo -E` the variables may be that user's, and its authority could
/// read all that is sent.
fn check_trust(path: &Path) -> io::Result<()> {
    let found = walk(path)?;
    found.facts.trusted(&TrustPolicy::default()).map_err(|distrust| io::Error::other(distrust.about(path)))
}

/// Adds the usable certificates of a file, and skips broken certificates.
fn add_file(roots: &mut RootCertStore, path: &Path) -> io::Result<()> {
    // Opening a FIFO would wait for a writer.
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    add(roots, load_certs_from_paths(Some(path), None), path)
}

/// Adds the certificates of all regular files of a directory, which may hold other files and dangling links, too.
fn add_directory(roots: &mut RootCertStore, path: &Path) -> io::Result<()> {
    add(roots, load_certs_from_paths(None, Some(path)), path)
}

/// Adds the certificates of the trusted regular files of a directory. In a directory with the sticky bit, such as `/tmp`,
/// another user may have put a file beside ours. Fails if a file is not trusted, after the other files are added.
fn add_trusted_files(roots: &mut RootCertStore, directory: &Path) -> io::Result<()> {
    let (mut seen, mut refused) = (HashSet::new(), Ok(()));
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        // `openssl rehash` adds a symlink to each file.
        let Ok(metadata) = fs::metadata(&path) else { continue };
        if !metadata.is_file() || !seen.insert((metadata.dev(), metadata.ino())) {
            continue;
        }
        if let Err(error) = check_trust(&path) {
            let name = Escaped(&path.file_name().unwrap_or_default().to_string_lossy()).to_string();
            refused = refused.and(Err(io::Error::other(format!("{name}: {error}"))));
        } else if let Err(error) = add_file(roots, &path) {
            tracing::debug!(%error, "a file of SSL_CERT_DIR cannot be read");
        }
    }
    refused
}

/// Adds the usable certificates. Fails only if `path` itself could not be read.
fn add(roots: &mut RootCertStore, loaded: CertificateResult, path: &Path) -> io::Result<()> {
    roots.add_parsable_certificates(loaded.certs);
    let unread = loaded.errors.into_iter().find_map(|error| match error.kind {
        ErrorKind::Io { inner, path: unread } if unread == path => Some(inner),
        _ => None,
    });
    unread.map_or(Ok(()), Err)
}

fn config(roots: RootCertStore) -> Result<ClientConfig, rustls::Error> {
    Ok(ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth())
}

impl fmt::Debug for TrustRoots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TrustRoots")
    }
}
