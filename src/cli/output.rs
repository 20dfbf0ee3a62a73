//! The forms in which `get` prints credentials, and variables in the language of each shell.

pub(crate) mod dotenv;
pub(crate) mod fish;
pub(crate) mod formats;
pub(crate) mod posix;
pub(crate) mod powershell;
#[cfg(test)]
mod tests;

use std::time::{Duration, SystemTime};

use zeroize::Zeroizing;

pub(crate) use crate::cli::output::formats::ShellDialect;
use crate::cli::store_variables;
use crate::cli::store_variables::StoreVariables;
use crate::model::credentials::Credentials;
use crate::model::time::timestamp;
use crate::os::environment::Environment;

/// What `get` prints.
#[derive(Debug)]
pub(crate) struct ProcessOutput<'a> {
    /// The credentials.
    pub(crate) credentials: &'a Credentials,
    /// Where they are good.
    pub(crate) place: StoreVariables<'a>,
}

impl ProcessOutput<'_> {
    /// The document that a `credential_process` prints (version 1, as the AWS CLI documents it).
    #[must_use]
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
            session_token: credentials.session_token.as_ref().map(crate::model::secret::Secret::expose),
            expiration: credentials.expiration.map(timestamp),
            account_id: credentials.account_id.as_deref(),
        };
        let mut text = Zeroizing::new(Vec::with_capacity(16 * 1024));
        let _ = serde_json::to_writer_pretty(&mut *text, &document);
        text.push(b'\n');
        Zeroizing::new(String::from_utf8_lossy(&text).into_owned())
    }

    /// Lines for a shell with this environment. What these credentials lack is unset, so that nothing of others stays
    /// behind; a region or an endpoint only if we set it.
    ///
    /// # Errors
    /// When one of them cannot be written so that every reader reads the same.
    pub(crate) fn lines(
        &self,
        dialect: ShellDialect,
        before: &Environment,
    ) -> Result<Zeroizing<String>, UnwritableValue> {
        let variables: Vec<_> = self.variables().into_iter().chain(placed(self.place, before, dialect)).collect();
        lines(dialect, &variables)
    }

    /// The variables of the credentials alone; `None` for those that have to be unset.
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

/// What a place changes in an environment, as variables. A file is no environment: it takes nothing away, and what it sets
/// goes with it.
pub(crate) fn placed(
    place: StoreVariables<'_>,
    before: &Environment,
    dialect: ShellDialect,
) -> impl Iterator<Item = Variable> {
    let is_written =
        move |name, is_there| dialect != ShellDialect::Dotenv || (is_there && name != store_variables::SET);
    let changes = place.changes(before).into_iter();
    changes
        .filter(move |(name, value)| is_written(*name, value.is_some()))
        .map(|(name, value)| (name, value.map(Zeroizing::new)))
}

/// A variable and its value; `None` for one that has to be unset.
pub(crate) type Variable = (&'static str, Option<Zeroizing<String>>);

/// Why a value cannot be written; the value is not shown.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name} cannot be written for a .env file: {why}; choose another --format")]
pub(crate) struct UnwritableValue {
    /// The variable.
    pub(crate) name: &'static str,
    /// What is in the way.
    pub(crate) why: &'static str,
}

/// Variables in the language of a shell, to which reading them is a success. What is unset goes first.
///
/// # Errors
/// When a value cannot be written so that every reader reads the same.
pub(crate) fn lines(dialect: ShellDialect, variables: &[Variable]) -> Result<Zeroizing<String>, UnwritableValue> {
    // So large that it does not move while it grows and leaves no secret behind.
    let longest: usize = variables.iter().flat_map(|(_, value)| value).map(|value| 4 * value.len()).sum();
    let mut text = Zeroizing::new(String::with_capacity(longest + 512 * variables.len() + 16));
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

/// A duration in its two largest units: `2 h 5 min`, `45 s`.
#[must_use]
pub(crate) fn human(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let parts = [(seconds / 86_400, "d"), (seconds / 3600 % 24, "h"), (seconds / 60 % 60, "min"), (seconds % 60, "s")];
    let first = parts.iter().position(|(count, _)| *count > 0).unwrap_or(parts.len() - 1);
    let shown = parts.iter().skip(first).take(2).filter(|(count, unit)| *count > 0 || *unit == "s" && first == 3);
    shown.map(|(count, unit)| format!("{count} {unit}")).collect::<Vec<_>>().join(" ")
}

/// A moment as seen from another: `in 5 min`, `now`, `2 h ago`.
#[must_use]
pub(crate) fn instant(at: SystemTime, now: SystemTime) -> String {
    match at.duration_since(now) {
        Ok(left) if left.as_secs() == 0 => "now".into(),
        Ok(left) => format!("in {}", human(left)),
        Err(since) => format!("{} ago", human(since.duration())),
    }
}
