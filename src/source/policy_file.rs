//! Reads the session policy of a role from its file.

use std::path::Path;

use crate::context::Context;
use crate::model::error::{ErrorKind, SourceError};
use crate::model::location::Location;
use crate::model::policy::{PolicyError, SessionPolicy};
use crate::model::text::Escaped;
use crate::source::spec::RoleSpec;

/// Returns the session policy of a role, from the specification or from its file.
pub(crate) async fn policy_of(context: &Context, role: &RoleSpec) -> Result<Option<SessionPolicy>, SourceError> {
    match (&role.policy, &role.policy_file) {
        (Some(policy), _) => Ok(Some(policy.clone())),
        (None, Some(path)) => read(context, path).await.map(Some),
        (None, None) => Ok(None),
    }
}

/// Reads a session policy from a file. The file is watched.
///
/// # Errors
/// If the file cannot be read, or holds no session policy. The error names file, line and column.
pub(crate) async fn read(context: &Context, path: &Path) -> Result<SessionPolicy, SourceError> {
    let path = context.environment.expand(path);
    let unreadable = |why: &str| {
        let message = format!("cannot use the session policy in {}: {why}", Escaped(&path.to_string_lossy()));
        SourceError::new(ErrorKind::Unsettled, message)
    };
    let contents = context.files.read(&path).await;
    let contents = contents.map_err(|error| unreadable(&error.reason().to_string()).caused_by(error))?;
    // The writer of the policy decides what the session may do.
    contents.facts.without_folders_above().trusted(&context.trust).map_err(|distrust| {
        let why = distrust.about(&path);
        SourceError::misconfigured(format!(
            "cannot use the session policy in {}: {why}",
            Escaped(&path.to_string_lossy())
        ))
    })?;
    let text = std::str::from_utf8(&contents.bytes).map_err(|_| unreadable("it is not UTF-8 text"))?;
    // Editors on Windows put a byte order mark before the text.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    SessionPolicy::parse(text).map_err(|error| located(&path, error))
}

/// Makes a source error of a policy that is no policy.
fn located(path: &Path, error: PolicyError) -> SourceError {
    // Another program may be writing a file that is no JSON yet.
    let kind = if error.is_syntax { ErrorKind::Unsettled } else { ErrorKind::Misconfigured };
    let message = format!("session policy, column {}: {}", error.column, error.message);
    SourceError::new(kind, message).at(Location::line(path, error.line)).caused_by(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_names_file_line_and_column() {
        for (text, kind, expected) in [
            (
                "{\n  \"Statement\": [",
                ErrorKind::Unsettled,
                "/p.json, line 2: session policy, column 17: the text ends here; a value is expected",
            ),
            (
                "{\n  \"Statement\": []}",
                ErrorKind::Misconfigured,
                "/p.json, line 2: session policy, column 16: Statement is empty; add one",
            ),
        ] {
            let error = located(Path::new("/p.json"), SessionPolicy::parse(text).unwrap_err());
            assert_eq!(error.kind, kind);
            assert!(error.to_string().starts_with(expected), "{error}");
        }
    }
}
