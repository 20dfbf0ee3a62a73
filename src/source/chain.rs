//! The sources of one identity in order of precedence, asked in turn and merged into one unit.

use crate::model::outcome::{Attempt, AttemptResult, ChainLoad, Outcome};
use crate::source::spec::OnFailure;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};
use tracing::Instrument;

use crate::context::Context;
use crate::model::credentials::Credentials;
use crate::model::error::SourceError;
use crate::model::outcome::Lookup;
use crate::model::time::timestamp;
use crate::source::Source;

/// A source that was not reached before the deadline still gets this long, enough for anything that is at hand.
const AT_HAND: Duration = Duration::from_millis(50);

/// Sources in order of precedence.
#[derive(Debug)]
pub struct Chain {
    sources: Vec<(Arc<str>, Box<dyn Source>)>,
    on_failure: OnFailure,
}

/// Puts sources into one chain: the first with a complete key pair supplies access key, secret, session token,
/// expiration, account and endpoint as one unit, and a failing one stops the search.
///
/// ```
/// use std::time::Duration;
///
/// use credenza::{Context, EnvironmentCredentials, Outcome, StaticCredentials, merge_credentials};
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// let chain = merge_credentials([
///     Box::new(EnvironmentCredentials::new()) as _,
///     Box::new(StaticCredentials::new("AKIAEXAMPLE", "secret")) as _,
/// ]);
/// let load = chain.load(&Context::default(), None, Duration::from_secs(10)).await;
/// let Outcome::Found { winner, credentials } = load.verdict else { panic!("{load:?}") };
/// assert_eq!((winner, &*credentials.access_key_id), (1, "AKIAEXAMPLE"));
/// # });
/// ```
pub fn merge_credentials(sources: impl IntoIterator<Item = Box<dyn Source>>) -> Chain {
    let sources = sources.into_iter().map(|source| (Arc::from(source.name()), source)).collect();
    Chain { sources, on_failure: OnFailure::default() }
}

impl Chain {
    /// The same chain with another way to treat failures.
    #[must_use]
    pub fn on_failure(mut self, on_failure: OnFailure) -> Self {
        self.on_failure = on_failure;
        self
    }

    /// The name of the source at this position.
    #[must_use]
    pub fn source_name(&self, position: usize) -> Arc<str> {
        self.sources.get(position).map_or_else(|| "".into(), |(name, _)| Arc::clone(name))
    }

    /// Asks the sources in order, for at most `limit` in all. The one at `supplier` gave the lease that is being held:
    /// when it says that it is not configured, the search ends there.
    pub async fn load(&self, context: &Context, supplier: Option<usize>, limit: Duration) -> ChainLoad {
        self.ask(context, supplier, limit, false).await
    }

    /// Asks every source, each for at most `limit`, also those that the search would not reach: for `check`. The verdict
    /// is that of a load.
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
            // The level of an error, so that no log level hides the source of a line.
            let span = tracing::error_span!("source", source = %name);
            let asked =
                async { if all { source.trace(context).await } else { (Vec::new(), source.load(context).await) } }
                    .instrument(span);
            let (links, answer) = within(share, context, asked).await.unwrap_or_else(|time| {
                let time = if time > share { time } else { limit };
                let late = SourceError::unavailable(format!("no answer within {} s", time.as_secs_f32()));
                (Vec::new(), late.into())
            });
            let (said, means) = match self.unless_expired(answer, context) {
                Lookup::Found(credentials) => {
                    (AttemptResult::Found, Some(Outcome::Found { winner: position, credentials }))
                }
                Lookup::NotConfigured(reason) => {
                    let vanished = Outcome::Vanished { source: position, reason: reason.clone() };
                    (AttemptResult::NotConfigured(reason), (supplier == Some(position)).then_some(vanished))
                }
                Lookup::Failed(failure) => {
                    (AttemptResult::Failed(failure.clone()), Some(Outcome::Failed { source: position, failure }))
                }
            };
            steps.push(Attempt { source: Arc::clone(name), said, links });
            // With several failures the first counts: it has precedence, as its credentials would have had.
            verdict = match (verdict, means) {
                (Some(first), _) if ended => Some(first),
                (Some(first @ Outcome::Failed { .. }), Some(Outcome::Failed { .. }) | None) => Some(first),
                (first, means) => means.or(first),
            };
        }
        ChainLoad { steps, verdict: verdict.unwrap_or(Outcome::NotConfigured) }
    }

    /// The region of the winner, else that of the first source in order that has one.
    pub async fn region(&self, context: &Context, winner: Option<usize>) -> Option<Box<str>> {
        let first = winner.and_then(|winner| self.sources.get(winner));
        let others = self.sources.iter().enumerate().filter(|(position, _)| Some(*position) != winner);
        for (_, source) in first.into_iter().chain(others.map(|(_, source)| source)) {
            let region = source.region(context).await;
            // A region ends up in variables and host names.
            if let Some(region) = region.filter(|region| crate::model::text::usable("region", region).is_ok()) {
                return Some(region);
            }
        }
        None
    }

    /// Where failures let the search go on, credentials that have expired do too: they are a failure that passes. Where
    /// they end it, whoever holds the lease judges them.
    fn unless_expired(&self, answer: Lookup, context: &Context) -> Lookup {
        match answer {
            Lookup::Found(Credentials { expiration: Some(end), location, .. })
                if self.on_failure == OnFailure::Next && end <= context.clock.now() =>
            {
                let expired = timestamp(end);
                SourceError::unavailable(format!("it gave credentials that had already expired at {expired}"))
                    .with_hint("renew them there")
                    .at(location)
                    .into()
            }
            answer => answer,
        }
    }

    fn ends_the_search(&self, verdict: &Outcome) -> bool {
        !matches!((verdict, self.on_failure), (Outcome::Failed { .. }, OnFailure::Next))
    }

    /// How much of the remaining time the source at `position` may use: all of it where its failure would end the
    /// search, a fair part where the next ones get their turn.
    fn share(&self, remaining: Duration, position: usize) -> Duration {
        match self.on_failure {
            OnFailure::Stop => remaining,
            OnFailure::Next => remaining / u32::try_from(self.sources.len() - position).unwrap_or(u32::MAX),
        }
        .max(AT_HAND)
    }
}

/// What a source says within this time, or within the time that it is granted while it loads.
///
/// # Errors
/// The time that has passed without an answer.
async fn within<T>(time: Duration, context: &Context, load: impl Future<Output = T>) -> Result<T, Duration> {
    let began = Instant::now();
    context.deadline.reset();
    let mut load = pin!(load);
    let mut limit = time;
    loop {
        match timeout_at(began + limit, &mut load).await {
            Ok(answer) => return Ok(answer),
            Err(_) if context.deadline.extension() > limit => limit = context.deadline.extension(),
            Err(_) => return Err(limit),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::error::ErrorKind;
    use crate::source::BoxFuture;

    #[derive(Clone, Debug)]
    struct Fixed {
        answer: Lookup,
        delay: Duration,
        region: Option<&'static str>,
    }

    impl Source for Fixed {
        fn name(&self) -> &str {
            "fixed"
        }

        fn load<'a>(&'a self, _: &'a Context) -> BoxFuture<'a, Lookup> {
            Box::pin(async move {
                tokio::time::sleep(self.delay).await;
                self.answer.clone()
            })
        }

        fn region<'a>(&'a self, _: &'a Context) -> BoxFuture<'a, Option<Box<str>>> {
            Box::pin(std::future::ready(self.region.map(Into::into)))
        }
    }

    fn fixed(answer: Lookup) -> Fixed {
        Fixed { answer, delay: Duration::ZERO, region: None }
    }

    /// Credentials all of whose parts bear the same number.
    fn numbered(number: usize) -> Credentials {
        let mut credentials = Credentials::new(&format!("key{number}"), &format!("secret{number}")).unwrap();
        if number.is_multiple_of(2) {
            credentials = credentials.with_session_token(Some(&format!("token{number}"))).unwrap();
        }
        if number.is_multiple_of(3) {
            credentials.endpoint = Some(format!("http://{number}").into());
        }
        credentials.with_account_id(Some(&format!("{number:012}")))
    }

    fn absent() -> Lookup {
        Lookup::not_configured("absent")
    }

    fn failing() -> Lookup {
        SourceError::unavailable("down").into()
    }

    fn found(number: usize) -> Lookup {
        Lookup::Found(numbered(number))
    }

    async fn load(answers: Vec<Lookup>, on_failure: OnFailure, supplier: Option<usize>) -> ChainLoad {
        let chain =
            merge_credentials(answers.into_iter().map(|answer| Box::new(fixed(answer)) as _)).on_failure(on_failure);
        chain.load(&Context::default(), supplier, Duration::from_secs(10)).await
    }

    fn said(outcome: &ChainLoad) -> String {
        let letter = |step: &Attempt| match step.said {
            AttemptResult::Found => 'F',
            AttemptResult::NotConfigured(_) => 'n',
            AttemptResult::Failed(_) => 'x',
            AttemptResult::NotAsked => '-',
        };
        outcome.steps.iter().map(letter).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn three_answers_and_what_they_do_to_a_chain() {
        use OnFailure::{Next, Stop};
        type Case = (Vec<Lookup>, OnFailure, Option<usize>, &'static str, &'static str);
        let table: Vec<Case> = vec![
            (vec![found(1), found(2)], Stop, None, "F-", "found 0"),
            (vec![absent(), found(2)], Stop, None, "nF", "found 1"),
            (vec![failing(), found(2)], Stop, None, "x-", "failing 0"),
            (vec![failing(), found(2)], Next, None, "xF", "found 1"),
            (vec![failing(), absent(), failing()], Next, None, "xnx", "failing 0"),
            (vec![absent(), absent()], Stop, None, "nn", "not configured"),
            (vec![], Stop, None, "", "not configured"),
            (vec![absent(), found(2)], Stop, Some(0), "n-", "vanished 0"),
            (vec![absent(), found(2)], Next, Some(0), "n-", "vanished 0"),
            (vec![found(1), absent()], Stop, Some(1), "F-", "found 0"),
            (vec![absent(), absent()], Stop, Some(1), "nn", "vanished 1"),
        ];
        for (answers, on_failure, supplier, steps, verdict) in table {
            let outcome = load(answers, on_failure, supplier).await;
            assert_eq!(said(&outcome), steps, "{outcome:?}");
            let came_to = match outcome.verdict {
                Outcome::Found { winner, credentials } => {
                    assert_eq!(credentials, numbered(winner + 1));
                    format!("found {winner}")
                }
                Outcome::Failed { source, .. } => format!("failing {source}"),
                Outcome::Vanished { source, .. } => format!("vanished {source}"),
                Outcome::NotConfigured => "not configured".into(),
            };
            assert_eq!(came_to, verdict);
        }
    }

    #[tokio::test]
    async fn expired_credentials_let_the_search_go_on_where_failures_do() {
        let now = std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(1000);
        let expired = Lookup::Found(numbered(1).with_expiration(Some(now)));
        for (on_failure, steps) in [(OnFailure::Next, "xF"), (OnFailure::Stop, "F-")] {
            let answers = [expired.clone(), found(2)];
            let chain = merge_credentials(answers.map(|answer| Box::new(fixed(answer)) as _)).on_failure(on_failure);
            let context = Context { clock: crate::os::clock::Clock::injected(now), ..Context::default() };
            assert_eq!(said(&chain.load(&context, None, Duration::from_secs(10)).await), steps);
        }
    }

    #[tokio::test]
    async fn a_survey_asks_everybody_and_comes_to_the_same() {
        for answers in [vec![absent(), found(2), failing(), found(4)], vec![failing(), found(2)], vec![absent()]] {
            let chain = merge_credentials(answers.clone().into_iter().map(|answer| Box::new(fixed(answer)) as _));
            let outcome = chain.survey(&Context::default(), Duration::from_secs(10)).await;
            assert!(!said(&outcome).contains('-'), "{outcome:?}");
            assert_eq!(outcome.verdict, load(answers, OnFailure::Stop, None).await.verdict);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_deadline_is_for_the_chain_and_with_next_each_source_has_its_share() {
        let hanging = Fixed { delay: Duration::from_secs(3600), ..fixed(found(1)) };
        let chain = |on_failure| {
            merge_credentials([Box::new(hanging.clone()) as _, Box::new(fixed(found(2))) as _]).on_failure(on_failure)
        };
        let began = Instant::now();
        let outcome = chain(OnFailure::Stop).load(&Context::default(), None, Duration::from_secs(10)).await;
        assert!(
            matches!(&outcome.verdict, Outcome::Failed { source: 0, failure } if failure.kind == ErrorKind::Unavailable)
        );
        assert_eq!(began.elapsed().as_secs(), 10);
        let outcome = chain(OnFailure::Next).load(&Context::default(), None, Duration::from_secs(10)).await;
        assert!(matches!(outcome.verdict, Outcome::Found { winner: 1, .. }), "{outcome:?}");
        assert_eq!(began.elapsed().as_secs(), 15);
    }

    #[tokio::test]
    async fn the_region_is_the_winners_else_the_first_that_can_travel() {
        let of = |regions: &[Option<&'static str>]| {
            merge_credentials(regions.iter().map(|region| Box::new(Fixed { region: *region, ..fixed(absent()) }) as _))
        };
        let context = Context::default();
        assert_eq!(of(&[Some("a"), Some("b")]).region(&context, Some(1)).await.as_deref(), Some("b"));
        assert_eq!(of(&[Some("a"), None]).region(&context, Some(1)).await.as_deref(), Some("a"));
        assert_eq!(
            of(&[
                Some(
                    "a
b"
                ),
                Some("c")
            ])
            .region(&context, None)
            .await
            .as_deref(),
            Some("c")
        );
        assert_eq!(of(&[None, None]).region(&context, Some(7)).await, None);
    }

    proptest! {
        /// One source's key is never served with another's secret, token, account or endpoint.
        #[test]
        fn credentials_are_one_unit(kinds in prop::collection::vec(0..3u8, 0..8), next: bool, supplier in prop::option::of(0..8usize)) {
            let answers: Vec<Lookup> = kinds
                .iter()
                .enumerate()
                .map(|(number, kind)| match kind { 0 => absent(), 1 => failing(), _ => found(number) })
                .collect();
            let on_failure = if next { OnFailure::Next } else { OnFailure::Stop };
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
            let outcome = runtime.block_on(load(answers, on_failure, supplier));
            if let Outcome::Found { winner, credentials } = &outcome.verdict {
                prop_assert_eq!(credentials, &numbered(*winner));
                let passed_over = &kinds[..*winner];
                prop_assert!(passed_over.iter().all(|kind| *kind == 0 || (next && *kind == 1)));
            }
            prop_assert_eq!(outcome.steps.len(), kinds.len());
        }
    }
}
