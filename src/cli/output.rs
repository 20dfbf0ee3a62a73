//! Output formats: credentials as JSON, variables in the language of each shell, and times as text.

pub(crate) mod dotenv;
pub(crate) mod fish;
pub(crate) mod formats;
pub(crate) mod posix;
pub(crate) mod powershell;
#[cfg(test)]
mod tests;

use std::time::{Duration, SystemTime};

use zeroize::Zeroizing;

use crate::cli::output::formats::ShellDialect;
use crate::cli::region_endpoint;
use crate::cli::region_endpoint::RegionEndpoint;
use crate::model::credentials::Credentials;
use crate::model::secret::Secret;
use crate::model::time::timestamp;
use crate::os::environment::Environment;

#[derive(Debug)]
pub(crate) struct CredentialsOutput<'a> {
    pub(crate) credentials: &'a Credentials,
    pub(crate) region_endpoint: RegionEndpoint<'a>,
}

impl CredentialsOutput<'_> {
    /// Returns the JSON of a `credential_process` (version 1, as the AWS CLI documents it).
    pub(crate) fn process(&self) -> Zeroizing<String> {
        #[derive(serde::Serialize)]
        #[serde(rename_all = "PascalCase")]
        struct ProcessDocument<'a> {
            version: u8,
            access_key_id: &'a str,
            secret_access_key: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            session_token: Option<&'a str>,
            #[serde(skip_serializing_if = "Option::is_none")]
            expiration: Option<String>,
            #[serde(skip_serializing_if = "Option::is_none")]
            account_id: Option<&'a str>,
        }
        let credentials = self.credentials;
        let document = ProcessDocument {
            version: 1,
            access_key_id: &credentials.access_key_id,
            secret_access_key: credentials.secret_access_key.expose(),
            session_token: credentials.session_token.as_ref().map(Secret::expose),
            expiration: credentials.expiration.map(timestamp),
            account_id: credentials.account_id.as_deref(),
        };
        let mut text = Zeroizing::new(Vec::with_capacity(16 * 1024));
        let _ = serde_json::to_writer_pretty(&mut *text, &document);
        text.push(b'\n');
        Zeroizing::new(String::from_utf8_lossy(&text).into_owned())
    }

    /// Returns lines for a shell with this environment.
    ///
    /// The lines unset the variables that these credentials do not have, so that no value of earlier credentials
    /// remains. They unset a region or an endpoint only if Credenza has set it.
    ///
    /// # Errors
    /// If a format has no unambiguous form for a value.
    pub(crate) fn lines(
        &self,
        dialect: ShellDialect,
        before: &Environment,
    ) -> Result<Zeroizing<String>, UnwritableValue> {
        let variables = self.variables();
        let variables: Vec<_> =
            variables.into_iter().chain(region_endpoint_variables(self.region_endpoint, before, dialect)).collect();
        lines(dialect, &variables)
    }

    /// Returns the variables of the credentials without region and endpoint.
    fn variables(&self) -> [Variable; 5] {
        let credentials = self.credentials;
        let text = |text: &str| Some(Zeroizing::new(text.to_owned()));
        [
            ("AWS_ACCESS_KEY_ID", text(&credentials.access_key_id)),
            ("AWS_SECRET_ACCESS_KEY", text(credentials.secret_access_key.expose())),
            ("AWS_SESSION_TOKEN", credentials.session_token.as_ref().and_then(|token| text(token.expose()))),
            ("AWS_CREDENTIAL_EXPIRATION", credentials.expiration.and_then(|end| text(&timestamp(end)))),
            ("AWS_ACCOUNT_ID", credentials.account_id.as_deref().and_then(text)),
        ]
    }
}

/// Returns the changes of the region and endpoint variables.
///
/// A `.env` file gets only the values. It cannot unset a variable, and nothing reads the list of variables that
/// Credenza has set from it.
pub(crate) fn region_endpoint_variables(
    region_endpoint: RegionEndpoint<'_>,
    before: &Environment,
    dialect: ShellDialect,
) -> impl Iterator<Item = Variable> {
    let is_written =
        move |name, is_set| dialect != ShellDialect::Dotenv || (is_set && name != region_endpoint::OWN_VARIABLES);
    let changes = region_endpoint.changes(before).into_iter();
    changes
        .filter(move |(name, value)| is_written(*name, value.is_some()))
        .map(|(name, value)| (name, value.map(Zeroizing::new)))
}

/// A variable and its value; `None` unsets the variable.
pub(crate) type Variable = (&'static str, Option<Zeroizing<String>>);

/// A value without an unambiguous form in a `.env` file. The error does not show the value.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name} cannot be written for a .env file: {reason}; choose another --format")]
pub(crate) struct UnwritableValue {
    pub(crate) name: &'static str,
    pub(crate) reason: &'static str,
}

/// Writes variables in the language of a shell, first those to unset. The exit code of the lines is 0.
///
/// # Errors
/// If a format has no unambiguous form for a value.
pub(crate) fn lines(dialect: ShellDialect, variables: &[Variable]) -> Result<Zeroizing<String>, UnwritableValue> {
    // Reserve enough for every kind of quoting. A reallocation would leave a copy of a secret in freed memory.
    let max_len: usize = variables.iter().flat_map(|(_, value)| value).map(|value| 4 * value.len()).sum();
    let mut text = Zeroizing::new(String::with_capacity(max_len + 512 * variables.len() + 16));
    for (name, _) in variables.iter().filter(|(_, value)| value.is_none()) {
        match dialect {
            ShellDialect::Env => posix::unset(&mut text, name),
            ShellDialect::Dotenv => dotenv::unset(&mut text, name),
            ShellDialect::Fish => fish::unset(&mut text, name),
            ShellDialect::Powershell => powershell::unset(&mut text, name),
        }
    }
    for (name, value) in variables.iter().filter_map(|(name, value)| Some((*name, value.as_ref()?))) {
        match dialect {
            ShellDialect::Env => posix::set(&mut text, name, value),
            ShellDialect::Dotenv => dotenv::set(&mut text, name, value)?,
            ShellDialect::Fish => fish::set(&mut text, name, value),
            ShellDialect::Powershell => powershell::set(&mut text, name, value),
        }
    }
    if dialect == ShellDialect::Fish {
        fish::end(&mut text);
    }
    Ok(text)
}

/// Formats a duration in its two largest units: `2 h 5 min`, `45 s`.
pub(crate) fn duration_text(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let parts = [(seconds / 86_400, "d"), (seconds / 3600 % 24, "h"), (seconds / 60 % 60, "min"), (seconds % 60, "s")];
    let first = parts.iter().position(|(count, _)| *count > 0).unwrap_or(parts.len() - 1);
    let nonzero = parts.iter().skip(first).take(2).filter(|(count, unit)| *count > 0 || *unit == "s" && first == 3);
    nonzero.map(|(count, unit)| format!("{count} {unit}")).collect::<Vec<_>>().join(" ")
}

/// Formats a time relative to another: `in 5 min`, `now`, `2 h ago`.
pub(crate) fn relative_time(at: SystemTime, now: SystemTime) -> String {
    match at.duration_since(now) {
        Ok(left) if left.as_secs() == 0 => "now".into(),
        Ok(left) => format!("in {}", duration_text(left)),
        Err(since) => format!("{} ago", duration_text(since.duration())),
    }
}
