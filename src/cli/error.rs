//! The error of a command.

use std::fmt;

use crate::cli::login::needed::NeededLogin;
use crate::model::error::{ErrorKind, SourceError};
use crate::model::identity_name::IdentityName;
use crate::model::outcome::Attempt;

/// The reason why a command failed. The program prints it to standard error and exits with 1, or with the given code.
#[derive(Debug)]
pub(crate) struct CommandError {
    message: Box<str>,
    /// The name of the source that failed, printed after the message.
    source: Option<Box<str>>,
    /// The error of a source, printed after the message.
    source_error: Option<Box<SourceError>>,
    /// A further hint, printed after the hint of the source.
    hint: Option<&'static str>,
    /// The exit code of the program.
    pub(crate) code: u8,
    /// True if the daemon does not know a name of the request.
    pub(crate) is_unknown_name: bool,
}

impl CommandError {
    #[allow(clippy::needless_pass_by_value, reason = "map_err passes errors by value")]
    pub(crate) fn new(message: impl ToString) -> Self {
        Self {
            message: message.to_string().into(),
            source: None,
            source_error: None,
            hint: None,
            code: 1,
            is_unknown_name: false,
        }
    }

    pub(crate) fn not_configured(name: &IdentityName, attempts: &[Attempt]) -> Self {
        let tried: Vec<&str> = attempts.iter().map(|attempt| &*attempt.source).collect();
        Self::new(format!(
            "identity {name}: no credentials are configured; tried {}; `credenza check` explains each source",
            tried.join(", ")
        ))
    }

    pub(crate) fn source_failed(name: &IdentityName, source: &str, error: SourceError) -> Self {
        let failed = Self::new(format!("identity {name}"));
        Self { source: Some(source.into()), ..failed }.with_source_error(error)
    }

    /// Returns the message without the error of a source and without the hint.
    pub(crate) fn message(&self) -> String {
        match &self.source {
            Some(source) => format!("{}: {source}", self.message),
            None => self.message.to_string(),
        }
    }

    pub(crate) fn source_error(&self) -> Option<&SourceError> {
        self.source_error.as_deref()
    }

    pub(crate) fn hint(&self) -> Option<&'static str> {
        self.hint
    }

    pub(crate) fn with_source_error(self, error: SourceError) -> Self {
        Self { source_error: Some(Box::new(error)), ..self }
    }

    /// Returns the login that the command needs, and the reason in one line.
    pub(crate) fn needed_login(&self) -> Option<(String, NeededLogin)> {
        let error = self.source_error.as_ref().filter(|error| error.kind == ErrorKind::LoginRequired)?;
        let login = NeededLogin::in_message(error.hint.as_deref()?)?;
        Some((format!("{}: {}", self.message, error.message), login))
    }

    pub(crate) fn with_hint(self, hint: &'static str) -> Self {
        Self { hint: Some(hint), ..self }
    }

    pub(crate) fn of_unknown_name(self) -> Self {
        Self { is_unknown_name: true, ..self }
    }

    pub(crate) fn with_code(self, code: u8) -> Self {
        Self { code, ..self }
    }
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if let Some(error) = &self.source_error {
            match &self.source {
                Some(source) => write!(f, ": {}", error.of_source(source))?,
                None => write!(f, ": {error}")?,
            }
            if let Some(output) = &error.detail {
                write!(f, "; it said: {output}")?;
            }
        }
        self.hint.map_or(Ok(()), |hint| write!(f, "; {hint}"))
    }
}

impl std::error::Error for CommandError {}
