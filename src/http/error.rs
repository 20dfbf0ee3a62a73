//! The reasons why a request has no complete response.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use http::StatusCode;
use tokio_rustls::rustls::pki_types::UnixTime;
use tokio_rustls::rustls::{self, CertificateError};

use crate::model::text::Escaped;

/// A request without a complete response. It names method and URL, without the query, and the cause.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{tried}: {cause}")]
pub(crate) struct HttpError {
    tried: Box<str>,
    cause: HttpErrorCause,
}

/// The cause. It may quote a server; that text is escaped.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum HttpErrorCause {
    /// The default [`HttpClient`](crate::http::client::HttpClient) reaches no address.
    #[error("this context has no HTTP client")]
    NoClient,
    #[error("no complete response within {} s", .0.as_secs_f32())]
    TimedOut(Duration),
    #[error("cannot resolve the name: {0}")]
    Unresolved(Box<str>),
    #[error("the name has no address")]
    NoAddress,
    /// No connection, or a broken one.
    #[error("{0}")]
    Unreachable(Box<str>),
    #[error("{0} is a listener of this process, which must not send requests to itself")]
    OwnListener(SocketAddr),
    /// An address that the [`AddressPolicy`](crate::http::address_policy::AddressPolicy) does not allow.
    #[error(
        "plain http is sent to loopback, 169.254.170.2, 169.254.170.23 and [fd00:ec2::23] only, and to names that resolve to \
         loopback only; {0} is another address, so use https"
    )]
    Forbidden(IpAddr),
    #[error("the response is larger than {} kB", .0 / 1024)]
    TooLarge(usize),
    #[error("TLS failed: {0}")]
    Tls(Box<str>),
    #[error("TLS failed: no certificate authority that is trusted here has signed the certificate of the host")]
    Untrusted,
    /// The files that the environment names hold no certificate authorities.
    #[error("no certificate authorities: {0}")]
    NoRoots(Box<str>),
    /// The value of a proxy variable is not usable.
    #[error("{0}")]
    BadProxy(Box<str>),
    #[error("it refused with status {status}{}", hint(*status, variable))]
    ProxyRefused { status: StatusCode, variable: &'static str },
    /// An error on the way through a proxy.
    #[error("proxy {proxy}: {cause}")]
    Proxy {
        /// The address of the proxy and the variable that names it.
        proxy: Box<str>,
        cause: Box<HttpErrorCause>,
    },
    #[error("no certificate can be valid for this host")]
    NoCertificateFor,
    #[error("the response is not HTTP: {0}")]
    Protocol(Box<str>),
}

impl HttpError {
    pub(crate) fn new(tried: impl Into<Box<str>>, cause: HttpErrorCause) -> Self {
        Self { tried: tried.into(), cause }
    }

    pub(crate) fn cause(&self) -> &HttpErrorCause {
        &self.cause
    }
}

impl HttpErrorCause {
    /// Returns true if no server responded: no address, no connection or a timeout.
    pub(crate) fn is_silence(&self) -> bool {
        match self {
            Self::Proxy { cause, .. } => cause.is_silence(),
            _ => matches!(self, Self::TimedOut(_) | Self::Unresolved(_) | Self::NoAddress | Self::Unreachable(_)),
        }
    }

    pub(crate) fn is_unresolved(&self) -> bool {
        matches!(self, Self::Unresolved(_) | Self::NoAddress)
    }

    /// Returns true if other certificate authorities might help.
    pub(crate) fn is_untrusted(&self) -> bool {
        match self {
            Self::Proxy { cause, .. } => cause.is_untrusted(),
            _ => matches!(self, Self::Untrusted),
        }
    }

    /// Returns true if the error is transient, so that a retry may succeed.
    pub(crate) fn passes(&self) -> bool {
        match self {
            Self::Proxy { cause, .. } => cause.passes(),
            Self::ProxyRefused { status, .. } => status.is_server_error() || *status == StatusCode::TOO_MANY_REQUESTS,
            _ => self.is_silence() || matches!(self, Self::TooLarge(_) | Self::Protocol(_)),
        }
    }

    fn text(error: &dyn std::error::Error) -> Box<str> {
        let mut text = error.to_string();
        let mut source = error.source();
        while let Some(error) = source {
            text = format!("{text}: {error}");
            source = error.source();
        }
        Escaped(&text).to_string().into()
    }
}

impl From<rustls::Error> for HttpErrorCause {
    fn from(error: rustls::Error) -> Self {
        Self::from(&error)
    }
}

impl From<&rustls::Error> for HttpErrorCause {
    fn from(error: &rustls::Error) -> Self {
        let rustls::Error::InvalidCertificate(invalid) = error else { return Self::Tls(Self::text(error)) };
        let days = |from: UnixTime, to: UnixTime| to.as_secs().saturating_sub(from.as_secs()) / (24 * 60 * 60);
        Self::Tls(match invalid {
            CertificateError::UnknownIssuer => return Self::Untrusted,
            CertificateError::ExpiredContext { time, not_after } => format!(
                "by the clock of this machine the certificate of the host has expired {} days ago",
                days(*not_after, *time)
            )
            .into(),
            CertificateError::NotValidYetContext { time, not_before } => format!(
                "by the clock of this machine the certificate of the host is valid only in {} days",
                days(*time, *not_before)
            )
            .into(),
            CertificateError::Other(other) if other.to_string().contains("CaUsedAsEndEntity") => {
                "the certificate of the host is that of an authority (CA:TRUE); issue one for the host".into()
            }
            _ => Self::text(error),
        })
    }
}

fn hint(status: StatusCode, variable: &str) -> String {
    match status {
        StatusCode::PROXY_AUTHENTICATION_REQUIRED => {
            format!(": set a user name and a password that it accepts, {variable}=http://user:password@host:port")
        }
        _ if status.is_client_error() => ": allow this host at the proxy, or list the host in NO_PROXY".into(),
        _ => String::new(),
    }
}

/// Returns the TLS error inside an I/O error. Without a TLS error the connection is broken.
impl From<io::Error> for HttpErrorCause {
    fn from(error: io::Error) -> Self {
        match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            Some(tls) => Self::from(tls),
            None => Self::Unreachable(Self::text(&error)),
        }
    }
}

impl From<hyper::Error> for HttpErrorCause {
    fn from(error: hyper::Error) -> Self {
        if error.is_parse_too_large() {
            Self::TooLarge(crate::http::stream::LARGEST_HEAD)
        } else if error.is_parse() {
            Self::Protocol(Self::text(&error))
        } else {
            Self::Unreachable(Self::text(&error))
        }
    }
}
