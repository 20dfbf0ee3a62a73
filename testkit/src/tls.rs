//! A certificate authority, and a TLS frontend for the other servers.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::crypto::ring::default_provider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::server::Listening;

/// Signs every certificate that a test asks for.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

/// The certificate and the key of a server.
pub struct Identity {
    certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
}

impl Authority {
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// The PEM file with which clients trust this authority.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// Issues a certificate for a host name or an address.
    pub fn sign(&self, host: &str) -> Identity {
        self.signed(&CertificateParams::new(vec![host.into()]).unwrap())
    }

    /// Issues a certificate that expired years ago.
    pub fn sign_expired(&self, host: &str) -> Identity {
        let mut params = CertificateParams::new(vec![host.into()]).unwrap();
        (params.not_before, params.not_after) = (date_time_ymd(2019, 1, 1), date_time_ymd(2020, 1, 1));
        self.signed(&params)
    }

    /// Issues a certificate that is not valid yet.
    pub fn sign_early(&self, host: &str) -> Identity {
        let mut params = CertificateParams::new(vec![host.into()]).unwrap();
        (params.not_before, params.not_after) = (date_time_ymd(2900, 1, 1), date_time_ymd(2901, 1, 1));
        self.signed(&params)
    }

    /// Issues a certificate that is an authority itself.
    pub fn sign_authority(&self, host: &str) -> Identity {
        let mut params = CertificateParams::new(vec![host.into()]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        self.signed(&params)
    }

    fn signed(&self, params: &CertificateParams) -> Identity {
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap().der().clone();
        Identity { certificate, key: PrivateKeyDer::try_from(key.serialize_der()).unwrap() }
    }
}

/// Accepts TLS and forwards each request to a plain HTTP server. Stops when it is dropped.
pub struct Tls {
    listening: Listening,
    resumed: Arc<AtomicUsize>,
}

impl Tls {
    pub fn before(backend: SocketAddr, identity: Identity) -> Self {
        let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![identity.certificate], identity.key)
            .unwrap();
        let (resumed, config) = (Arc::<AtomicUsize>::default(), Arc::new(config));
        let count = Arc::clone(&resumed);
        let listening = Listening::on_any_port(move |stream| {
            let connection = ServerConnection::new(Arc::clone(&config)).unwrap();
            // A client that distrusts the certificate closes the connection.
            drop(relay(StreamOwned::new(connection, stream), backend, &count));
        });
        Self { listening, resumed }
    }

    pub fn address(&self) -> SocketAddr {
        self.listening.address
    }

    /// Returns `https://127.0.0.1:PORT` and the target.
    pub fn url(&self, target: &str) -> String {
        format!("https://{}{target}", self.address())
    }

    /// Returns the number of resumed handshakes.
    pub fn resumed(&self) -> usize {
        self.resumed.load(Ordering::SeqCst)
    }
}

type Secured = StreamOwned<ServerConnection, TcpStream>;

/// Copies in both directions after the first request, because either side may send at any time.
fn relay(mut client: Secured, backend: SocketAddr, resumed: &AtomicUsize) -> std::io::Result<()> {
    let mut buffer = [0; 16384];
    let size = client.read(&mut buffer)?;
    if format!("{:?}", client.conn.handshake_kind()).contains("Resumed") {
        resumed.fetch_add(1, Ordering::SeqCst);
    }
    let mut server = TcpStream::connect(backend)?;
    server.write_all(&buffer[..size])?;
    let pause = Some(std::time::Duration::from_millis(2));
    client.sock.set_read_timeout(pause)?;
    server.set_read_timeout(pause)?;
    loop {
        match server.read(&mut buffer) {
            Ok(0) => {
                client.conn.send_close_notify();
                return client.flush();
            }
            Ok(size) => {
                client.write_all(&buffer[..size])?;
                client.flush()?;
            }
            Err(error) if is_pause(&error) => {}
            Err(error) => return Err(error),
        }
        match client.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(size) => server.write_all(&buffer[..size])?,
            Err(error) if is_pause(&error) => {}
            Err(error) => return Err(error),
        }
    }
}

fn is_pause(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut)
}
