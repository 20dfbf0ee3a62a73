//! One identity of the report of `credenza check`, as a row of the table.

use std::time::SystemTime;

use crate::cli::check::doubts::doubts;
use crate::cli::identity_table::{Problem, Rank, Row, short_time};
use crate::config::identity::Identity;
use crate::model::error::SourceError;
use crate::model::outcome::{ChainLoad, Outcome};

/// Returns the row of an identity after all its sources were tried.
pub(super) fn row(identity: &Identity, outcome: &ChainLoad, now: SystemTime) -> Row {
    let source = |position: usize| outcome.steps.get(position).map_or("", |step| &step.source).to_owned();
    let named = Row { name: identity.name.to_string(), ..Row::default() };
    match &outcome.verdict {
        Outcome::Found { winner, credentials } => {
            let left = credentials.expiration.map(|end| end.duration_since(now).unwrap_or_default());
            let has_expired = left.is_some_and(|left| left.is_zero());
            let problem = doubts(credentials).into_iter().next().map(|text| Problem { text, is_command: false });
            Row {
                state: if has_expired { "expired" } else { "available" }.into(),
                rank: match (has_expired, &problem) {
                    (true, _) => Rank::Failing,
                    (false, Some(_)) => Rank::Attention,
                    (false, None) => Rank::Available,
                },
                expires: left
                    .map_or_else(String::new, |left| if has_expired { "ended".into() } else { short_time(left) }),
                key: credentials.access_key_id.to_string(),
                source: source(*winner),
                problem,
                ..named
            }
        }
        Outcome::Failed { error, .. } => Row {
            state: if error.kind.needs_person() { "login required" } else { "failing" }.into(),
            rank: Rank::Failing,
            problem: Some(failure(error)),
            ..named
        },
        Outcome::NotConfigured | Outcome::Vanished { .. } => Row {
            state: "not configured".into(),
            rank: if identity.eager { Rank::Failing } else { Rank::Unused },
            ..named
        },
    }
}

/// Returns the command to run, or the error without its location.
fn failure(error: &SourceError) -> Problem {
    match error.hint.as_deref().filter(|hint| hint.starts_with("run: ")) {
        Some(hint) => Problem { text: hint.to_owned(), is_command: true },
        None => Problem { text: error.reason().into_owned(), is_command: false },
    }
}
