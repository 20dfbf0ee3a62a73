//! The error of a source. Its kind decides what happens next; its other parts explain the error to the user.

use std::borrow::Cow;
use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::model::location::Location;
use crate::model::text::{Escaped, InvalidText};

/// The reason why a configured source gives no credentials.
///
/// It prints as one line: `LOCATION: MESSAGE: SAID; HINT`. No part of it holds a secret, and foreign text in it is escaped.
/// Two errors are equal if all parts except the cause are equal.
#[derive(Clone, Debug)]
pub struct SourceError {
    /// Decides the HTTP status and the pause before the next attempt.
    pub kind: ErrorKind,
    /// The location of the setting that the error is about, if known.
    pub location: Option<Location>,
    /// The operation that failed and the reason, without the location and the hint.
    pub message: Box<str>,
    /// The answer of the service: its error code and message.
    pub said: Option<Box<str>>,
    /// The sentence that says what a person can do about it.
    pub hint: Option<Box<str>>,
    /// The error of a lower layer that led to this one.
    pub cause: Option<Arc<dyn Error + Send + Sync>>,
    /// The standard error of a program. It may hold secrets, so that `Display` leaves it out. Only the terminal of a
    /// command shows it, and the log at debug level.
    pub detail: Option<Box<str>>,
    /// The minimum pause before the next request, as the service demands it.
    pub retry_after: Option<Duration>,
    /// True if a wrong region may be the cause. The error then gets the location of the region setting.
    pub is_of_region: bool,
}

/// The kinds of a source error. `Unavailable` and `Unsettled` are transient; the others are permanent until an input
/// changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// A time-out, a 5xx status, throttling, a refused connection, or an answer that had already expired.
    Unavailable,
    /// A named file is missing, cannot be read or does not parse. Another program may be writing it. After 5 s the
    /// refresher treats the error as [`ErrorKind::Misconfigured`].
    Unsettled,
    /// A setting is wrong, so a retry cannot help: half a key pair, a forbidden host, an unsupported setting.
    Misconfigured,
    /// The service refused the request.
    Denied,
    /// A person has to log in.
    LoginRequired,
    /// A person has to give a code of an MFA device.
    MfaRequired,
}

impl ErrorKind {
    /// Returns true if a person has to do something.
    #[must_use]
    pub fn needs_person(self) -> bool {
        matches!(self, Self::LoginRequired | Self::MfaRequired)
    }

    /// Returns true if the error may go away without a change of any input.
    #[must_use]
    pub fn is_transient(self) -> bool {
        matches!(self, Self::Unavailable | Self::Unsettled)
    }
}

impl SourceError {
    /// Makes an error of this kind.
    pub fn new(kind: ErrorKind, message: impl Into<Box<str>>) -> Self {
        Self {
            kind,
            location: None,
            message: message.into(),
            said: None,
            hint: None,
            cause: None,
            detail: None,
            retry_after: None,
            is_of_region: false,
        }
    }

    /// Makes a transient error.
    pub fn unavailable(message: impl Into<Box<str>>) -> Self {
        Self::new(ErrorKind::Unavailable, message)
    }

    /// Makes an error that is permanent until an input changes.
    pub fn misconfigured(message: impl Into<Box<str>>) -> Self {
        Self::new(ErrorKind::Misconfigured, message)
    }

    /// Returns the error with this location. If the error already has a location, that one stays, because it is more
    /// exact; only the name of the profile is added to it.
    #[must_use]
    pub fn at(self, location: impl Into<Option<Location>>) -> Self {
        let location = match (self.location, location.into()) {
            (Some(inner), Some(outer)) => match (inner.profile(), outer.profile()) {
                (None, Some(profile)) => Some(inner.in_profile(profile)),
                _ => Some(inner),
            },
            (inner, outer) => inner.or(outer),
        };
        Self { location, ..self }
    }

    /// Returns the error with a hint, unless the error has a hint already.
    #[must_use]
    pub fn with_hint(self, hint: impl Into<Box<str>>) -> Self {
        Self { hint: self.hint.or_else(|| Some(hint.into())), ..self }
    }

    /// Returns the error with the error of a lower layer as its cause.
    #[must_use]
    pub fn caused_by(self, cause: impl Error + Send + Sync + 'static) -> Self {
        Self { cause: Some(Arc::new(cause)), ..self }
    }

    /// Returns the message with the answer of the service, without location and hint.
    #[must_use]
    pub fn reason(&self) -> Cow<'_, str> {
        match &self.said {
            Some(said) => format!("{}: {said}", self.message).into(),
            None => (&*self.message).into(),
        }
    }

    /// Returns the error in one line, behind the name of its source. The profile is named once.
    #[must_use]
    pub(crate) fn of_source(&self, source: &str) -> String {
        format!("{source}: {}", self.below_source(source))
    }

    /// Returns the error in one line, for a text that names the source already.
    #[must_use]
    pub(crate) fn below_source(&self, source: &str) -> String {
        let location = self.location.as_ref().map(|location| match location.profile() {
            Some(profile) if source.strip_prefix("profile ") == Some(&*Escaped(profile).to_string()) => {
                format!("{}: ", location.without_profile())
            }
            _ => format!("{location}: "),
        });
        let hint = self.hint.as_deref().map(|hint| format!("; {hint}")).unwrap_or_default();
        format!("{}{}{hint}", location.unwrap_or_default(), self.reason())
    }

    /// Returns the error with the attempted action before its message: `CONTEXT: MESSAGE`.
    #[must_use]
    pub fn while_trying(self, what: impl fmt::Display) -> Self {
        Self { message: format!("{what}: {}", self.message).into(), ..self }
    }
}

impl fmt::Display for SourceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(location) = &self.location {
            write!(f, "{location}: ")?;
        }
        f.write_str(&self.reason())?;
        if let Some(hint) = &self.hint {
            write!(f, "; {hint}")?;
        }
        Ok(())
    }
}

impl Error for SourceError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.cause.as_deref().map(|cause| cause as _)
    }
}

impl PartialEq for SourceError {
    fn eq(&self, other: &Self) -> bool {
        self.kind == other.kind
            && self.location == other.location
            && self.message == other.message
            && self.said == other.said
            && self.hint == other.hint
            && self.detail == other.detail
            && self.retry_after == other.retry_after
            && self.is_of_region == other.is_of_region
    }
}

impl Eq for SourceError {}

impl From<InvalidText> for SourceError {
    fn from(error: InvalidText) -> Self {
        Self::misconfigured(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn prints_location_message_and_hint() {
        let error = SourceError::misconfigured("it names no role").with_hint("add role_arn");
        assert_eq!(error.to_string(), "it names no role; add role_arn");
        let error = error.at(Location::line(Path::new("/c"), 3)).at(Location::variable("OUTER")).with_hint("outer");
        assert_eq!(error.to_string(), "/c, line 3: it names no role; add role_arn");
        let error = SourceError { detail: Some("bad flag".into()), ..error.while_trying("role r") };
        assert_eq!(error.to_string(), "/c, line 3: role r: it names no role; add role_arn");
    }

    #[test]
    fn returns_cause_as_source() {
        let error = SourceError::unavailable("no answer").caused_by(std::io::Error::other("reset"));
        assert_eq!(error.source().map(ToString::to_string).as_deref(), Some("reset"));
        assert_eq!(error, SourceError::unavailable("no answer"));
    }
}
