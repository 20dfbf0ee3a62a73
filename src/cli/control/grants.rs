//! `credenza grants`: lists the grants of a running daemon.

use serde::{Deserialize, Serialize};

use crate::cli::control::answer::{json, time_text};
use crate::cli::control::client::{ControlRequest, ask};
use crate::cli::control::{CommandOutput, ControlInputs};
use crate::cli::error::CommandError;
use crate::model::text::Escaped;

/// A grant without its token.
#[derive(Deserialize, Serialize)]
pub(crate) struct ListedGrant {
    pub(crate) name: Box<str>,
    identity: Box<str>,
    expires: Box<str>,
    policy_sha256: Option<Box<str>>,
    #[serde(default)]
    policy_arns: Vec<Box<str>>,
}

impl ListedGrant {
    /// Returns the policies that limit the grant: the hash of its own one, and the ARNs of managed ones.
    fn policies(&self) -> String {
        let all: Vec<_> =
            self.policy_sha256.iter().chain(&self.policy_arns).map(|text| Escaped(text).to_string()).collect();
        if all.is_empty() { "none".into() } else { all.join(", ") }
    }
}

/// Lists the grants as a table or as JSON.
///
/// # Errors
/// If no daemon answers, or it refuses.
pub(crate) async fn grants(inputs: &ControlInputs, is_json: bool) -> Result<CommandOutput, CommandError> {
    let grants: Vec<ListedGrant> = ask(inputs, "cannot list the grants", ControlRequest::get("/grants")).await?;
    if is_json {
        return Ok(json(&grants));
    }
    if grants.is_empty() {
        return Ok("there are no grants; make one with `credenza grant`\n".to_owned().into());
    }
    let now = inputs.context.clock.now();
    let head = ["NAME", "IDENTITY", "ENDS", "POLICIES (SHA-256, ARN)"].map(str::to_owned);
    let rows = grants.iter().map(|grant| {
        [
            Escaped(&grant.name).to_string(),
            Escaped(&grant.identity).to_string(),
            time_text(&grant.expires, now),
            grant.policies(),
        ]
    });
    Ok(table(&std::iter::once(head).chain(rows).collect::<Vec<_>>()).into())
}

/// Returns a table with columns as wide as their longest text.
fn table<const N: usize>(rows: &[[String; N]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
    let widths: [usize; N] = std::array::from_fn(width);
    let line = |row: &[String; N]| {
        let cells: Vec<String> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        format!("{}\n", cells.join("  ").trim_end())
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_all_policies_of_a_grant() {
        for (text, expected) in [
            (r#"{"name":"a","identity":"i","expires":"","policy_sha256":null}"#, "none"),
            (r#"{"name":"a","identity":"i","expires":"","policy_sha256":"5e88","policy_arns":[]}"#, "5e88"),
            (
                r#"{"name":"a","identity":"i","expires":"","policy_sha256":null,"policy_arns":["arn:a","arn:\u0007"]}"#,
                "arn:a, arn:\\u{7}",
            ),
            (
                r#"{"name":"a","identity":"i","expires":"","policy_sha256":"5e88","policy_arns":["arn:a"]}"#,
                "5e88, arn:a",
            ),
        ] {
            assert_eq!(serde_json::from_str::<ListedGrant>(text).unwrap().policies(), expected, "{text}");
        }
    }

    #[test]
    fn aligns_columns() {
        let rows = [["NAME", "ENDS"], ["a", "now"], ["äöü-long", "x"]].map(|row| row.map(str::to_owned));
        assert_eq!(table(&rows), "NAME      ENDS\na         now\näöü-long  x\n");
    }
}
