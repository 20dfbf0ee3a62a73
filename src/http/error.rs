//! Why there was no whole answer.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use http::StatusCode;
use tokio_rustls::rustls::pki_types::UnixTime;
use tokio_rustls::rustls::{self, CertificateError};

use crate::model::text::Escaped;

/// A request without a whole answer: what was tried (method and URL without its query), and what came of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{tried}: {cause}")]
pub(crate) struct HttpError {
    tried: Box<str>,
    cause: HttpErrorCause,
}

/// What came of a request instead of an answer. Foreign text in it is escaped.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum HttpErrorCause {
    /// This is the default `Upstream`.
    #[error("no upstream in this World")]
    NoUpstream,
    /// The whole answer did not come in time.
    #[error("no whole answer within {} s", .0.as_secs_f32())]
    TimedOut(Duration),
    /// The name look-up failed.
    #[error("cannot look the name up: {0}")]
    Unresolved(Box<str>),
    /// The name has no address.
    #[error("the name has no address")]
    NoAddress,
    /// No connection, or one that broke.
    #[error("{0}")]
    Unreachable(Box<str>),
    /// The request would have come back to this process.
    #[error("{0} points at one of our own listeners, it would ask itself")]
    OwnListener(SocketAddr),
    /// An address that such a request must not go to.
    #[error(
        "plain http is sent to loopback, 169.254.170.2, 169.254.170.23 and [fd00:ec2::23], and to names all of whose \
         addresses are loopback; {0} is none of them: use https"
    )]
    Forbidden(IpAddr),
    /// More than a credential endpoint ever has to say.
    #[error("the answer is larger than {} kB", .0 / 1024)]
    TooLarge(usize),
    /// TLS came to no agreement, above all on the certificate.
    #[error("TLS failed: {0}")]
    Tls(Box<str>),
    /// Nobody who is believed here has signed the certificate.
    #[error("TLS failed: no certificate authority that is trusted here has signed the certificate of the host")]
    Untrusted,
    /// The authorities that somebody named are none.
    #[error("no certificate authorities: {0}")]
    NoRoots(Box<str>),
    /// A variable that should name a proxy does not.
    #[error("{0}")]
    BadProxy(Box<str>),
    /// The proxy does not let us through.
    #[error("it refused with status {status}{}", advice(*status, variable))]
    ProxyRefused {
        /// What it answered.
        status: StatusCode,
        /// What names the proxy.
        variable: &'static str,
    },
    /// What went wrong on the way through a proxy.
    #[error("proxy {proxy}: {cause}")]
    Proxy {
        /// Its address and the variable that names it.
        proxy: Box<str>,
        /// What came of asking it.
        cause: Box<HttpErrorCause>,
    },
    /// The host of the URL is nothing a certificate could be issued for.
    #[error("no certificate can be valid for this host")]
    NoCertificateFor,
    /// Something answered, and not in HTTP.
    #[error("the answer is not HTTP: {0}")]
    Protocol(Box<str>),
}

impl HttpError {
    pub(crate) fn new(tried: impl Into<Box<str>>, cause: HttpErrorCause) -> Self {
        Self { tried: tried.into(), cause }
    }

    /// What came of it.
    #[must_use]
    pub(crate) fn cause(&self) -> &HttpErrorCause {
        &self.cause
    }
}

impl HttpErrorCause {
    /// Whether nobody answered: no address, no connection, or nothing in time.
    #[must_use]
    pub(crate) fn is_silence(&self) -> bool {
        match self {
            Self::Proxy { cause, .. } => cause.is_silence(),
            _ => matches!(self, Self::TimedOut(_) | Self::Unresolved(_) | Self::NoAddress | Self::Unreachable(_)),
        }
    }

    /// Whether the name has led nowhere.
    #[must_use]
    pub(crate) fn is_unresolved(&self) -> bool {
        matches!(self, Self::Unresolved(_) | Self::NoAddress)
    }

    /// Whether another set of authorities might mend it.
    #[must_use]
    pub(crate) fn is_untrusted(&self) -> bool {
        match self {
            Self::Proxy { cause, .. } => cause.is_untrusted(),
            _ => matches!(self, Self::Untrusted),
        }
    }

    /// Whether asking again may mend it.
    #[must_use]
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
        let rustls::Error::InvalidCertificate(wrong) = error else { return Self::Tls(Self::text(error)) };
        let days = |from: UnixTime, to: UnixTime| to.as_secs().saturating_sub(from.as_secs()) / (24 * 60 * 60);
        Self::Tls(match wrong {
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

fn advice(status: StatusCode, variable: &str) -> String {
    match status {
        StatusCode::PROXY_AUTHENTICATION_REQUIRED => {
            format!(": give it a user name and a password that it takes, {variable}=http://user:password@host:port")
        }
        _ if status.is_client_error() => ": see that it admits this host, or list the host in NO_PROXY".into(),
        _ => String::new(),
    }
}

/// What a TLS handshake ends with: its own error inside of one of input and output, or a connection that broke.
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
