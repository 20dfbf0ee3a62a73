//! The answers of one source and of a source chain.

use std::borrow::Cow;
use std::sync::Arc;

use crate::model::credentials::Credentials;
use crate::model::error::SourceError;

/// The answer of a source. A chain continues with its next source after `NotConfigured` only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// A complete key pair. It may have expired: the caller has to check.
    Found(Credentials),
    /// No setting names this source. The reason is for `credenza check`: `AWS_ACCESS_KEY_ID is not set`.
    NotConfigured(Cow<'static, str>),
    /// A setting names this source, but the source has no credentials.
    Failed(SourceError),
}

impl From<SourceError> for Lookup {
    fn from(error: SourceError) -> Self {
        Self::Failed(error)
    }
}

impl Lookup {
    /// Makes [`Lookup::NotConfigured`] with this reason.
    pub fn not_configured(reason: impl Into<Cow<'static, str>>) -> Self {
        Self::NotConfigured(reason.into())
    }

    /// Converts a result to [`Lookup::Found`] or [`Lookup::Failed`].
    pub fn from_result(result: Result<Credentials, SourceError>) -> Self {
        result.map_or_else(Self::Failed, Self::Found)
    }
}

/// One load of a source chain.
#[derive(Clone, Debug)]
pub struct ChainLoad {
    /// One attempt for each source of the chain, in order.
    pub steps: Vec<Attempt>,
    /// The result of the load.
    pub verdict: Outcome,
}

/// One source's part in a load of its chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// The name of the source.
    pub source: Arc<str>,
    /// The answer of the source, without credentials.
    pub said: AttemptResult,
    /// The steps that led to the answer. Empty unless the caller requested them.
    pub(crate) links: Vec<TraceStep>,
}

/// The answer of a source in a chain, without credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AttemptResult {
    /// The source has credentials.
    Found,
    /// The source is not configured, for this reason.
    NotConfigured(Cow<'static, str>),
    /// The source is configured and fails.
    Failed(SourceError),
    /// The source was not asked, because the search ended at an earlier source.
    NotAsked,
}

/// The result of a load of a source chain. Positions count from 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A source has a complete key pair.
    Found {
        /// The position of the source.
        winner: usize,
        /// The credentials of the source, as one unit.
        credentials: Credentials,
    },
    /// A configured source fails, and the chain stops there.
    Failed {
        /// The position of the failed source in the chain.
        source: usize,
        /// The error of the source.
        error: SourceError,
    },
    /// The source that supplied the lease is not configured any more. The chain stops there.
    Vanished {
        /// The position of the source.
        source: usize,
        /// The reason from the source.
        reason: Cow<'static, str>,
    },
    /// No source of the chain is configured.
    NotConfigured,
}

/// One step towards credentials, for `credenza check`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceStep {
    /// The step, with the location of its setting.
    pub what: Box<str>,
    /// The access key id that the step gave, or the reason why it gave none. `None` if the step was not tried, because
    /// an earlier step gave no credentials.
    pub gave: Option<Result<Box<str>, Box<str>>>,
}

impl TraceStep {
    /// Makes a step that was tried, with its answer.
    pub fn new(what: impl Into<Box<str>>, lookup: &Lookup) -> Self {
        let gave = match lookup {
            Lookup::Found(credentials) => Ok(credentials.access_key_id.clone()),
            Lookup::NotConfigured(reason) => Err(reason.to_string().into()),
            Lookup::Failed(error) => Err(error.to_string().into()),
        };
        Self { what: what.into(), gave: Some(gave) }
    }

    /// Makes a step that was not tried.
    pub fn not_tried(what: impl Into<Box<str>>) -> Self {
        Self { what: what.into(), gave: None }
    }
}
