//! What comes of looking for credentials in one place.

use std::borrow::Cow;
use std::sync::Arc;

use crate::model::credentials::Credentials;
use crate::model::error::SourceError;

/// The three answers of a source. Only the second lets a chain go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// A complete key pair, perhaps one that has expired: who uses it judges that.
    Found(Credentials),
    /// Nobody set this source up here; the reason, for `check`: `AWS_ACCESS_KEY_ID is not set`.
    NotConfigured(Cow<'static, str>),
    /// Somebody did, and it does not work.
    Failed(SourceError),
}

impl From<SourceError> for Lookup {
    fn from(failure: SourceError) -> Self {
        Self::Failed(failure)
    }
}

impl Lookup {
    /// Not configured here, and why.
    pub fn not_configured(reason: impl Into<Cow<'static, str>>) -> Self {
        Self::NotConfigured(reason.into())
    }

    /// Credentials, or the failure that stood in their way.
    pub fn from_result(result: Result<Credentials, SourceError>) -> Self {
        result.map_or_else(Self::Failed, Self::Found)
    }
}

/// What came of asking a chain.
#[derive(Clone, Debug)]
pub struct ChainLoad {
    /// Every source of the chain in order, and what it said.
    pub steps: Vec<Attempt>,
    /// What it comes to.
    pub verdict: Outcome,
}

/// One source of a chain and what it said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// The source's name.
    pub source: Arc<str>,
    /// What it said; no credentials.
    pub said: AttemptResult,
    /// What that stands on, where it was asked for.
    pub(crate) links: Vec<TraceStep>,
}

/// What a source said, without the credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AttemptResult {
    /// It won.
    Found,
    /// It is not configured here, and why.
    NotConfigured(Cow<'static, str>),
    /// It is configured and fails.
    Failed(SourceError),
    /// A source before it ended the search.
    NotAsked,
}

/// What the answers of a chain come to. Positions count from 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The first source with a complete key pair.
    Found {
        /// Its position.
        winner: usize,
        /// All it gave, as one unit.
        credentials: Credentials,
    },
    /// A source stands in the way.
    Failed {
        /// Its position.
        source: usize,
        /// Why.
        failure: SourceError,
    },
    /// The source that supplied the lease says that it is not configured any more; the chain waits there.
    Vanished {
        /// Its position.
        source: usize,
        /// What it said.
        reason: Cow<'static, str>,
    },
    /// No source of the chain is configured.
    NotConfigured,
}

/// One step on the way to credentials, and what came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceStep {
    /// What was done, where it is written.
    pub what: Box<str>,
    /// The access key that it gave, or why it gave none; `None` when it was not tried, for a step below it gave none.
    pub gave: Option<Result<Box<str>, Box<str>>>,
}

impl TraceStep {
    /// What was done, and the answer.
    pub fn new(what: impl Into<Box<str>>, answer: &Lookup) -> Self {
        let gave = match answer {
            Lookup::Found(credentials) => Ok(credentials.access_key_id.clone()),
            Lookup::NotConfigured(why) => Err(why.to_string().into()),
            Lookup::Failed(failure) => Err(failure.to_string().into()),
        };
        Self { what: what.into(), gave: Some(gave) }
    }

    /// What was not even tried.
    pub fn not_tried(what: impl Into<Box<str>>) -> Self {
        Self { what: what.into(), gave: None }
    }
}
