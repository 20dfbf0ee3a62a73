//! The source chain: looks credentials up in the sources of one identity, in order of precedence.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};
use tracing::Instrument;

use crate::aws::endpoint::check_region;
use crate::aws::settings::Settings;
use crate::context::Context;
use crate::model::credentials::{Credentials, LACKS_SESSION_TOKEN};
use crate::model::error::SourceError;
use crate::model::outcome::{Attempt, AttemptResult, ChainLoad, Lookup, Outcome};
use crate::model::time::timestamp;
use crate::source::Source;
use crate::source::spec::OnFailure;

/// The minimum time for each source, even after the deadline. It is enough for sources that send no request, such as
/// static keys.
const MIN_SHARE: Duration = Duration::from_millis(50);

/// Sources in order of precedence.
#[derive(Debug)]
pub struct Chain {
    sources: Vec<(Arc<str>, Box<dyn Source>)>,
    on_failure: OnFailure,
}

/// Merges sources into one chain. The first source with a complete key pair supplies access key, secret, session token,
/// expiration, account and endpoint as one unit. An error of a source stops the search.
///
/// ```
/// use credenza::{Context, EnvironmentCredentials, Outcome, StaticCredentials, merge_credentials};
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// let chain = merge_credentials([
///     Box::new(EnvironmentCredentials::new()) as _,
///     Box::new(StaticCredentials::new("AKIAEXAMPLE", "secret")) as _,
/// ]);
/// let load = chain.load(&Context::default(), None, std::time::Duration::from_secs(10)).await;
/// let Outcome::Found { winner, credentials } = load.verdict else { panic!() };
/// assert_eq!((winner, &*credentials.access_key_id), (1, "AKIAEXAMPLE"));
/// # });
/// ```
pub fn merge_credentials(sources: impl IntoIterator<Item = Box<dyn Source>>) -> Chain {
    let sources = sources.into_iter().map(|source| (Arc::from(source.name()), source)).collect();
    Chain { sources, on_failure: OnFailure::default() }
}

impl Chain {
    /// Returns this chain with this rule for errors of a source.
    #[must_use]
    pub fn on_failure(mut self, on_failure: OnFailure) -> Self {
        self.on_failure = on_failure;
        self
    }

    /// Returns the name of the source at this position.
    #[must_use]
    pub fn source_name(&self, position: usize) -> Arc<str> {
        self.sources.get(position).map_or_else(|| "".into(), |(name, _)| Arc::clone(name))
    }

    /// Loads the sources in order, for at most `limit` in total. `supplier` is the position of the source that gave the
    /// present lease. If that source is now *not configured*, the search ends there.
    pub async fn load(&self, context: &Context, supplier: Option<usize>, limit: Duration) -> ChainLoad {
        self.ask(context, supplier, limit, false).await
    }

    /// Loads every source for `check`, each for at most `limit`. It does not stop where the search ends, but returns
    /// the outcome of [`Chain::load`].
    pub(crate) async fn survey(&self, context: &Context, limit: Duration) -> ChainLoad {
        self.ask(context, None, limit, true).await
    }

    async fn ask(&self, context: &Context, supplier: Option<usize>, limit: Duration, all: bool) -> ChainLoad {
        let began = Instant::now();
        let mut steps = Vec::with_capacity(self.sources.len());
        let mut verdict = None;
        for (position, (name, source)) in self.sources.iter().enumerate() {
            let ended = verdict.as_ref().is_some_and(|verdict| self.ends_the_search(verdict));
            if ended && !all {
                steps.push(Attempt { source: Arc::clone(name), said: AttemptResult::NotAsked, links: Vec::new() });
                continue;
            }
            let share = if all { limit } else { self.share(limit.saturating_sub(began.elapsed()), position) };
            // Make the span at level error, so that every log line has the source at any log level.
            let span = tracing::error_span!("source", source = %name);
            let asked =
                async { if all { source.trace(context).await } else { (Vec::new(), source.load(context).await) } }
                    .instrument(span);
            let (links, lookup) = within(share, context, asked).await.unwrap_or_else(|time| {
                let time = if time > share { time } else { limit };
                let late = SourceError::unavailable(format!("no answer within {} s", time.as_secs_f32()));
                (Vec::new(), late.into())
            });
            let (said, means) = match self.unless_expired(lookup, context) {
                Lookup::Found(credentials) => {
                    // `check` says it in its report.
                    if !all && credentials.lacks_session_token() {
                        tracing::warn!(source = %name, "{LACKS_SESSION_TOKEN}");
                    }
                    (AttemptResult::Found, Some(Outcome::Found { winner: position, credentials }))
                }
                Lookup::NotConfigured(reason) => {
                    let vanished = Outcome::Vanished { source: position, reason: reason.clone() };
                    (AttemptResult::NotConfigured(reason), (supplier == Some(position)).then_some(vanished))
                }
                Lookup::Failed(error) => {
                    (AttemptResult::Failed(error.clone()), Some(Outcome::Failed { source: position, error }))
                }
            };
            steps.push(Attempt { source: Arc::clone(name), said, links });
            // Return the first of several errors, because its source has precedence.
            verdict = match (verdict, means) {
                (Some(first), _) if ended => Some(first),
                (Some(first @ Outcome::Failed { .. }), Some(Outcome::Failed { .. }) | None) => Some(first),
                (first, means) => means.or(first),
            };
        }
        ChainLoad { steps, verdict: verdict.unwrap_or(Outcome::NotConfigured) }
    }

    /// Returns the settings of the source that supplied the credentials.
    pub(crate) async fn settings(&self, context: &Context, winner: usize) -> Settings {
        match self.sources.get(winner) {
            Some((_, source)) => source.settings(context).await,
            None => Settings::default(),
        }
    }

    /// Returns the region of the winner, else that of the first source with a region.
    pub async fn region(&self, context: &Context, winner: Option<usize>) -> Option<Box<str>> {
        let first = winner.and_then(|winner| self.sources.get(winner));
        let others = self.sources.iter().enumerate().filter(|(position, _)| Some(*position) != winner);
        for (_, source) in first.into_iter().chain(others.map(|(_, source)| source)) {
            let region = source.region(context).await;
            // Accept only a host label: SDKs make host names of it, and `x@evil.example/` would lead to another host.
            let Some(region) = region else { continue };
            match check_region(&region).map(drop) {
                Ok(()) => return Some(region),
                Err(error) => tracing::warn!(source = source.name(), "no region is passed on: {error}"),
            }
        }
        None
    }

    /// Converts expired credentials to a transient error if the search goes on after errors. Otherwise the refresher
    /// decides about expired credentials.
    fn unless_expired(&self, lookup: Lookup, context: &Context) -> Lookup {
        match lookup {
            Lookup::Found(Credentials { expiration: Some(end), location, .. })
                if self.on_failure == OnFailure::Next && end <= context.clock.now() =>
            {
                let expired = timestamp(end);
                SourceError::unavailable(format!(
                    "the source returned credentials that had already expired at {expired}"
                ))
                .with_hint("renew the credentials in this source")
                .at(location)
                .into()
            }
            lookup => lookup,
        }
    }

    fn ends_the_search(&self, verdict: &Outcome) -> bool {
        !matches!((verdict, self.on_failure), (Outcome::Failed { .. }, OnFailure::Next))
    }

    /// Returns the time for the source at `position`. It gets all the remaining time if an error ends the search, else
    /// an equal share.
    fn share(&self, remaining: Duration, position: usize) -> Duration {
        match self.on_failure {
            OnFailure::Stop => remaining,
            OnFailure::Next => remaining / u32::try_from(self.sources.len() - position).unwrap_or(u32::MAX),
        }
        .max(MIN_SHARE)
    }
}

/// Awaits a lookup for at most `time`. The source may extend this limit while it loads.
///
/// # Errors
/// The time that has passed without a result.
async fn within<T>(time: Duration, context: &Context, load: impl Future<Output = T>) -> Result<T, Duration> {
    let began = Instant::now();
    let _load = context.deadline.begin(time);
    let mut load = pin!(load);
    let mut limit = time;
    loop {
        match timeout_at(began + limit, &mut load).await {
            Ok(lookup) => return Ok(lookup),
            Err(_) if context.deadline.extension() > limit => limit = context.deadline.extension(),
            Err(_) => return Err(limit),
        }
    }
}

#[cfg(test)]
mod tests;
