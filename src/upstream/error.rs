//! Why there was no whole answer.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio_rustls::rustls;

use crate::credentials::Escaped;

/// A request without a whole answer: what was tried (method and URL without its query), and what came of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{tried}: {cause}")]
pub struct SendError {
    tried: Box<str>,
    cause: Cause,
}

/// What came of a request instead of an answer. Foreign text in it is escaped.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Cause {
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
    /// The host of the URL is nothing a certificate could be issued for.
    #[error("no certificate can be valid for this host")]
    NoCertificateFor,
    /// Something answered, and not in HTTP.
    #[error("the answer is not HTTP: {0}")]
    Protocol(Box<str>),
}

impl SendError {
    pub(super) fn new(tried: impl Into<Box<str>>, cause: Cause) -> Self {
        Self { tried: tried.into(), cause }
    }

    /// What came of it.
    #[must_use]
    pub fn cause(&self) -> &Cause {
        &self.cause
    }
}

impl Cause {
    /// Whether nobody answered: no address, no connection, or nothing in time.
    #[must_use]
    pub fn is_silence(&self) -> bool {
        matches!(self, Self::TimedOut(_) | Self::Unresolved(_) | Self::NoAddress | Self::Unreachable(_))
    }

    /// Whether asking again may mend it.
    #[must_use]
    pub fn passes(&self) -> bool {
        self.is_silence() || matches!(self, Self::TooLarge(_) | Self::Protocol(_))
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

impl From<rustls::Error> for Cause {
    fn from(error: rustls::Error) -> Self {
        Self::Tls(Self::text(&error))
    }
}

/// What a TLS handshake ends with: its own error inside of one of input and output, or a connection that broke.
impl From<io::Error> for Cause {
    fn from(error: io::Error) -> Self {
        match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            Some(tls) => Self::Tls(Self::text(tls)),
            None => Self::Unreachable(Self::text(&error)),
        }
    }
}

impl From<hyper::Error> for Cause {
    fn from(error: hyper::Error) -> Self {
        if error.is_parse_too_large() {
            Self::TooLarge(super::LARGEST_HEAD)
        } else if error.is_parse() {
            Self::Protocol(Self::text(&error))
        } else {
            Self::Unreachable(Self::text(&error))
        }
    }
}
