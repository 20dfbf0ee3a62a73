//! The commands, one file each.

pub mod check;
pub mod child;
pub mod daemon;
pub mod env;
pub mod exec;
pub mod format;
pub mod get;
pub mod login;
pub mod place;
pub mod profiles;
pub mod serve;
pub mod status;

use std::fmt;
use std::sync::Arc;

use crate::chain::{Chain, Step, Verdict};
use crate::config::Identity;
use crate::credentials::{Credentials, Name};
use crate::identity;
use crate::source::Failure;
use crate::world::World;

/// Why a command did not do what it was asked; printed to standard error, exit code 1.
#[derive(Debug)]
pub struct Failed(Box<str>);

impl Failed {
    /// For this reason.
    #[allow(clippy::needless_pass_by_value, reason = "errors are handed over by map_err")]
    pub fn because(reason: impl ToString) -> Self {
        Self(reason.to_string().into())
    }

    fn nothing_configured(name: &Name, steps: &[Step]) -> Self {
        let tried: Vec<&str> = steps.iter().map(|step| &*step.source).collect();
        Self::because(format!(
            "identity {name}: no credentials are configured; tried {}; `credenza check` explains each source",
            tried.join(", ")
        ))
    }

    fn failing(name: &Name, source: &str, failure: &Failure) -> Self {
        Self::because(format!("identity {name}: {source}: {failure}"))
    }
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Failed {}

/// What one look at the chain of an identity gave.
struct Resolved {
    credentials: Credentials,
    source: Arc<str>,
    winner: usize,
    chain: Chain,
}

async fn resolve(world: &World, identity: &Identity) -> Result<Resolved, Failed> {
    let chain = identity::chain(identity);
    let outcome = chain.load(world, None, identity.load_timeout).await;
    match outcome.verdict {
        Verdict::Found { winner, credentials } => {
            Ok(Resolved { credentials, source: chain.source_name(winner), winner, chain })
        }
        Verdict::Failing { source, failure } => {
            Err(Failed::failing(&identity.name, &chain.source_name(source), &failure))
        }
        Verdict::NotConfigured | Verdict::Vanished { .. } => {
            Err(Failed::nothing_configured(&identity.name, &outcome.steps))
        }
    }
}
