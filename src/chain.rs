//! The sources of one identity in order of precedence, asked in turn and merged into one unit.

use std::borrow::Cow;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use crate::clock::timestamp;
use crate::credentials::Credentials;
use crate::source::{Answer, Failure, Hop, Source};
use crate::world::World;

/// A source that was not reached before the deadline still gets this long, enough for anything that is at hand.
const AT_HAND: Duration = Duration::from_millis(50);

/// What happens when a configured source fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnFailure {
    /// The chain stops: another source would be another principal.
    #[default]
    Stop,
    /// The chain goes on to the next source (`on_failure = "next"`).
    Next,
}

/// Sources in order of precedence.
#[derive(Debug)]
pub struct Chain {
    sources: Vec<(Arc<str>, Box<dyn Source>)>,
    on_failure: OnFailure,
}

/// What came of asking a chain.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Every source of the chain in order, and what it said.
    pub steps: Vec<Step>,
    /// What it comes to.
    pub verdict: Verdict,
}

/// One source of a chain and what it said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The source's name.
    pub source: Arc<str>,
    /// What it said; no credentials.
    pub said: Said,
    /// What that stands on, where it was asked for.
    pub hops: Vec<Hop>,
}

/// What a source said, without the credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// It won.
    Found,
    /// It is not configured here, and why.
    NotConfigured(Cow<'static, str>),
    /// It is configured and fails.
    Failing(Failure),
    /// A source before it ended the search.
    NotAsked,
}

/// What the answers of a chain come to. Positions count from 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The first source with a complete key pair.
    Found {
        /// Its position.
        winner: usize,
        /// All it gave, as one unit.
        credentials: Credentials,
    },
    /// A source stands in the way.
    Failing {
        /// Its position.
        source: usize,
        /// Why.
        failure: Failure,
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

/// Puts sources into one chain: the first with a complete key pair supplies access key, secret, session token,
/// expiration, account and endpoint as one unit, and a failing one stops the search.
///
/// ```
/// use credenza::chain::{Verdict, merge_credentials};
/// use credenza::source::environment::EnvironmentCredentials;
/// use credenza::source::keys::StaticCredentials;
/// use credenza::world::{Environment, World};
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// let chain = merge_credentials([
///     Box::new(EnvironmentCredentials::new()) as _,
///     Box::new(StaticCredentials::new("AKIAEXAMPLE", "secret")) as _,
/// ]);
/// let world = World { environment: Environment::new([("AWS_REGION", "eu-central-1")]), ..World::default() };
/// let outcome = chain.load(&world, None, std::time::Duration::from_secs(10)).await;
/// let Verdict::Found { winner, credentials } = outcome.verdict else { panic!("{outcome:?}") };
/// assert_eq!((winner, &*credentials.access_key_id), (1, "AKIAEXAMPLE"));
/// assert_eq!(chain.region(&world, Some(winner)).await.as_deref(), Some("eu-central-1"));
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
    pub async fn load(&self, world: &World, supplier: Option<usize>, limit: Duration) -> Outcome {
        self.ask(world, supplier, limit, false).await
    }

    /// Asks every source, each for at most `limit`, also those that the search would not reach: for `check`. The verdict
    /// is that of a load.
    pub async fn survey(&self, world: &World, limit: Duration) -> Outcome {
        self.ask(world, None, limit, true).await
    }

    async fn ask(&self, world: &World, supplier: Option<usize>, limit: Duration, all: bool) -> Outcome {
        let began = Instant::now();
        let mut steps = Vec::with_capacity(self.sources.len());
        let mut verdict = None;
        for (position, (name, source)) in self.sources.iter().enumerate() {
            let ended = verdict.as_ref().is_some_and(|verdict| self.ends_the_search(verdict));
            if ended && !all {
                steps.push(Step { source: Arc::clone(name), said: Said::NotAsked, hops: Vec::new() });
                continue;
            }
            let share = if all { limit } else { self.share(limit.saturating_sub(began.elapsed()), position) };
            let asked = async { if all { source.trace(world).await } else { (Vec::new(), source.load(world).await) } };
            let (hops, answer) = within(share, world, asked).await.unwrap_or_else(|time| {
                let time = if time > share { time } else { limit };
                let late = Failure::unavailable(format!("no answer within {} s", time.as_secs_f32()));
                (Vec::new(), late.into())
            });
            let (said, means) = match self.unless_expired(answer, world) {
                Answer::Found(credentials) => (Said::Found, Some(Verdict::Found { winner: position, credentials })),
                Answer::NotConfigured(reason) => {
                    let vanished = Verdict::Vanished { source: position, reason: reason.clone() };
                    (Said::NotConfigured(reason), (supplier == Some(position)).then_some(vanished))
                }
                Answer::Failing(failure) => {
                    (Said::Failing(failure.clone()), Some(Verdict::Failing { source: position, failure }))
                }
            };
            steps.push(Step { source: Arc::clone(name), said, hops });
            // With several failures the first counts: it has precedence, as its credentials would have had.
            verdict = match (verdict, means) {
                (Some(first), _) if ended => Some(first),
                (Some(first @ Verdict::Failing { .. }), Some(Verdict::Failing { .. }) | None) => Some(first),
                (first, means) => means.or(first),
            };
        }
        Outcome { steps, verdict: verdict.unwrap_or(Verdict::NotConfigured) }
    }

    /// The region of the winner, else that of the first source in order that has one.
    pub async fn region(&self, world: &World, winner: Option<usize>) -> Option<Box<str>> {
        let first = winner.and_then(|winner| self.sources.get(winner));
        let others = self.sources.iter().enumerate().filter(|(position, _)| Some(*position) != winner);
        for (_, source) in first.into_iter().chain(others.map(|(_, source)| source)) {
            let region = source.region(world).await;
            // A region ends up in variables and host names.
            if let Some(region) = region.filter(|region| crate::credentials::usable("region", region).is_ok()) {
                return Some(region);
            }
        }
        None
    }

    /// Where failures let the search go on, credentials that have expired do too: they are a failure that passes. Where
    /// they end it, whoever holds the lease judges them.
    fn unless_expired(&self, answer: Answer, world: &World) -> Answer {
        match answer {
            Answer::Found(Credentials { expiration: Some(end), origin, .. })
                if self.on_failure == OnFailure::Next && end <= world.clock.now() =>
            {
                let expired = timestamp(end);
                let message = format!("it gave credentials that had already expired at {expired}; renew them there");
                Failure::unavailable(origin.before(&message)).into()
            }
            answer => answer,
        }
    }

    fn ends_the_search(&self, verdict: &Verdict) -> bool {
        !matches!((verdict, self.on_failure), (Verdict::Failing { .. }, OnFailure::Next))
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
async fn within<T>(time: Duration, world: &World, load: impl Future<Output = T>) -> Result<T, Duration> {
    let began = Instant::now();
    world.patience.begin();
    let mut load = pin!(load);
    let mut limit = time;
    loop {
        match timeout_at(began + limit, &mut load).await {
            Ok(answer) => return Ok(answer),
            Err(_) if world.patience.granted() > limit => limit = world.patience.granted(),
            Err(_) => return Err(limit),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::source::{Boxed, Kind};

    #[derive(Clone, Debug)]
    struct Fixed {
        answer: Answer,
        delay: Duration,
        region: Option<&'static str>,
    }

    impl Source for Fixed {
        fn name(&self) -> &str {
            "fixed"
        }

        fn load<'a>(&'a self, _: &'a World) -> Boxed<'a, Answer> {
            Box::pin(async move {
                tokio::time::sleep(self.delay).await;
                self.answer.clone()
            })
        }

        fn region<'a>(&'a self, _: &'a World) -> Boxed<'a, Option<Box<str>>> {
            Box::pin(std::future::ready(self.region.map(Into::into)))
        }
    }

    fn fixed(answer: Answer) -> Fixed {
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

    fn absent() -> Answer {
        Answer::not_configured("absent")
    }

    fn failing() -> Answer {
        Failure::unavailable("down").into()
    }

    fn found(number: usize) -> Answer {
        Answer::Found(numbered(number))
    }

    async fn load(answers: Vec<Answer>, on_failure: OnFailure, supplier: Option<usize>) -> Outcome {
        let chain =
            merge_credentials(answers.into_iter().map(|answer| Box::new(fixed(answer)) as _)).on_failure(on_failure);
        chain.load(&World::default(), supplier, Duration::from_secs(10)).await
    }

    fn said(outcome: &Outcome) -> String {
        let letter = |step: &Step| match step.said {
            Said::Found => 'F',
            Said::NotConfigured(_) => 'n',
            Said::Failing(_) => 'x',
            Said::NotAsked => '-',
        };
        outcome.steps.iter().map(letter).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn three_answers_and_what_they_do_to_a_chain() {
        use OnFailure::{Next, Stop};
        type Case = (Vec<Answer>, OnFailure, Option<usize>, &'static str, &'static str);
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
                Verdict::Found { winner, credentials } => {
                    assert_eq!(credentials, numbered(winner + 1));
                    format!("found {winner}")
                }
                Verdict::Failing { source, .. } => format!("failing {source}"),
                Verdict::Vanished { source, .. } => format!("vanished {source}"),
                Verdict::NotConfigured => "not configured".into(),
            };
            assert_eq!(came_to, verdict);
        }
    }

    #[tokio::test]
    async fn expired_credentials_let_the_search_go_on_where_failures_do() {
        let now = std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(1000);
        let expired = Answer::Found(numbered(1).with_expiration(Some(now)));
        for (on_failure, steps) in [(OnFailure::Next, "xF"), (OnFailure::Stop, "F-")] {
            let answers = [expired.clone(), found(2)];
            let chain = merge_credentials(answers.map(|answer| Box::new(fixed(answer)) as _)).on_failure(on_failure);
            let world = World { clock: crate::clock::Clock::injected(now), ..World::default() };
            assert_eq!(said(&chain.load(&world, None, Duration::from_secs(10)).await), steps);
        }
    }

    #[tokio::test]
    async fn a_survey_asks_everybody_and_comes_to_the_same() {
        for answers in [vec![absent(), found(2), failing(), found(4)], vec![failing(), found(2)], vec![absent()]] {
            let chain = merge_credentials(answers.clone().into_iter().map(|answer| Box::new(fixed(answer)) as _));
            let outcome = chain.survey(&World::default(), Duration::from_secs(10)).await;
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
        let outcome = chain(OnFailure::Stop).load(&World::default(), None, Duration::from_secs(10)).await;
        assert!(
            matches!(&outcome.verdict, Verdict::Failing { source: 0, failure } if failure.kind == Kind::Unavailable)
        );
        assert_eq!(began.elapsed().as_secs(), 10);
        let outcome = chain(OnFailure::Next).load(&World::default(), None, Duration::from_secs(10)).await;
        assert!(matches!(outcome.verdict, Verdict::Found { winner: 1, .. }), "{outcome:?}");
        assert_eq!(began.elapsed().as_secs(), 15);
    }

    #[tokio::test]
    async fn the_region_is_the_winners_else_the_first_that_can_travel() {
        let of = |regions: &[Option<&'static str>]| {
            merge_credentials(regions.iter().map(|region| Box::new(Fixed { region: *region, ..fixed(absent()) }) as _))
        };
        let world = World::default();
        assert_eq!(of(&[Some("a"), Some("b")]).region(&world, Some(1)).await.as_deref(), Some("b"));
        assert_eq!(of(&[Some("a"), None]).region(&world, Some(1)).await.as_deref(), Some("a"));
        assert_eq!(
            of(&[
                Some(
                    "a
b"
                ),
                Some("c")
            ])
            .region(&world, None)
            .await
            .as_deref(),
            Some("c")
        );
        assert_eq!(of(&[None, None]).region(&world, Some(7)).await, None);
    }

    proptest! {
        /// One source's key is never served with another's secret, token, account or endpoint.
        #[test]
        fn credentials_are_one_unit(kinds in prop::collection::vec(0..3u8, 0..8), next: bool, supplier in prop::option::of(0..8usize)) {
            let answers: Vec<Answer> = kinds
                .iter()
                .enumerate()
                .map(|(number, kind)| match kind { 0 => absent(), 1 => failing(), _ => found(number) })
                .collect();
            let on_failure = if next { OnFailure::Next } else { OnFailure::Stop };
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
            let outcome = runtime.block_on(load(answers, on_failure, supplier));
            if let Verdict::Found { winner, credentials } = &outcome.verdict {
                prop_assert_eq!(credentials, &numbered(*winner));
                let passed_over = &kinds[..*winner];
                prop_assert!(passed_over.iter().all(|kind| *kind == 0 || (next && *kind == 1)));
            }
            prop_assert_eq!(outcome.steps.len(), kinds.len());
        }
    }
}
