//! Why there are no credentials: the kinds decide what becomes of it, the message what a person can do.

use std::fmt;
use std::time::Duration;

use crate::model::text::InvalidText;

/// Why a configured source gives nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceError {
    /// Decides the status code and the backoff.
    pub kind: ErrorKind,
    /// What was tried, on what, what came of it and what to do. Never a secret; foreign text is escaped in it.
    pub message: Box<str>,
    /// What a program said about it. It goes to whoever asks and, since nobody knows what is in it, into no log above
    /// debug.
    pub detail: Option<Box<str>>,
    /// The earliest moment from now at which upstream wants to be asked again.
    pub retry_after: Option<Duration>,
    /// Whether it may be the region that is wrong, which somebody wrote in a place of its own.
    pub is_of_region: bool,
}

/// Kinds of failure. The first two pass by themselves, the others last until an input changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// Time-out, 5xx, throttling, connection refused, an answer that has already expired.
    Unavailable,
    /// A named file that is missing, unreadable or does not parse: somebody may be writing it this very moment. Once it
    /// has stayed so for 5 s the keeper takes it for [`ErrorKind::Misconfigured`].
    Unsettled,
    /// Asking again cannot mend it: half a key pair, a host that is not allowed, an unsupported setting.
    Misconfigured,
    /// Upstream refused us.
    Denied,
    /// A person has to log in.
    LoginRequired,
}

impl ErrorKind {
    /// Whether it may pass without a change of any input.
    #[must_use]
    pub fn passes(self) -> bool {
        matches!(self, Self::Unavailable | Self::Unsettled)
    }
}

impl SourceError {
    /// A failure of this kind with a message.
    pub fn new(kind: ErrorKind, message: impl Into<Box<str>>) -> Self {
        Self { kind, message: message.into(), detail: None, retry_after: None, is_of_region: false }
    }

    /// A failure that may pass.
    pub fn unavailable(message: impl Into<Box<str>>) -> Self {
        Self::new(ErrorKind::Unavailable, message)
    }

    /// The same failure with a message before its own.
    #[must_use]
    pub fn behind(self, place: &str) -> Self {
        Self { message: format!("{place}: {}", self.message).into(), ..self }
    }

    /// A failure that lasts until an input changes.
    pub fn misconfigured(message: impl Into<Box<str>>) -> Self {
        Self::new(ErrorKind::Misconfigured, message)
    }
}

impl fmt::Display for SourceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        self.detail.as_ref().map_or(Ok(()), |detail| write!(f, "; it said: {detail}"))
    }
}

impl std::error::Error for SourceError {}

impl From<InvalidText> for SourceError {
    fn from(unusable: InvalidText) -> Self {
        Self::misconfigured(unusable.to_string())
    }
}
