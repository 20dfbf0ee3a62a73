//! Reads the session policy of a grant.

use std::path::Path;

use serde_json::Value;

use crate::cli::control::socket::shown;
use crate::cli::error::CommandError;
use crate::context::Context;

/// Reads a policy file. Only its syntax is checked: IAM checks the rest.
///
/// # Errors
/// If the file cannot be read, another user may have written it, or it is not a JSON object. The error names file, line
/// and column.
pub(crate) async fn read_policy(context: &Context, path: &Path) -> Result<Value, CommandError> {
    let path = context.environment.expand(path);
    let contents = context.files.read(&path).await;
    let contents = contents.map_err(|error| CommandError::new(format!("policy file {error}")))?;
    // The policy decides what the client of the grant may do.
    contents.facts.trusted(&context.trust).map_err(|distrust| {
        let reason = distrust.about(&path);
        CommandError::new(format!(
            "policy file {}: {reason}. Copy it to a folder that only you can write",
            shown(&path)
        ))
    })?;
    parse(&contents.bytes).map_err(|reason| CommandError::new(format!("policy file {}{reason}", shown(&path))))
}

fn parse(bytes: &[u8]) -> Result<Value, String> {
    let policy: Value = serde_json::from_slice(bytes).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        let reason = error.to_string();
        let reason = reason.rsplit_once(" at line ").map_or(&*reason, |(reason, _)| reason);
        format!(", line {line}, column {column}: it is not JSON: {reason}. Correct it there")
    })?;
    if policy.is_object() {
        return Ok(policy);
    }
    Err(", line 1, column 1: it is not a JSON object. A policy begins with {\"Version\": \"2012-10-17\", \"Statement\": […]".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_line_and_column() {
        assert_eq!(parse(b"{\"Version\": \"2012-10-17\"}").unwrap()["Version"], "2012-10-17");
        for (text, expected) in [
            ("{\n  \"a\": 1,\n}", ", line 3, column 1: it is not JSON: trailing comma. Correct it there"),
            ("", ", line 1, column 0: it is not JSON: EOF while parsing a value. Correct it there"),
            ("[1]", ", line 1, column 1: it is not a JSON object"),
            ("{} x", ", line 1, column 4: it is not JSON: trailing characters"),
        ] {
            let error = parse(text.as_bytes()).unwrap_err();
            assert!(error.starts_with(expected), "{text}: {error}");
        }
    }
}
