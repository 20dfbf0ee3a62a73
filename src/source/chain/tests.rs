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

/// Makes credentials with this number in all parts.
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

fn letters(outcome: &ChainLoad) -> String {
    let letter = |step: &Attempt| match step.said {
        AttemptResult::Found => 'F',
        AttemptResult::NotConfigured(_) => 'n',
        AttemptResult::Failed(_) => 'x',
        AttemptResult::NotAsked => '-',
    };
    outcome.steps.iter().map(letter).collect()
}

#[tokio::test(start_paused = true)]
async fn follows_each_lookup_by_its_rule() {
    use OnFailure::{Next, Stop};
    type ChainCase = (Vec<Lookup>, OnFailure, Option<usize>, &'static str, &'static str);
    let table: Vec<ChainCase> = vec![
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
        assert_eq!(letters(&outcome), steps, "{outcome:?}");
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
async fn passes_over_expired_keys_with_next() {
    let now = std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(1000);
    let expired = Lookup::Found(numbered(1).with_expiration(Some(now)));
    for (on_failure, steps) in [(OnFailure::Next, "xF"), (OnFailure::Stop, "F-")] {
        let answers = [expired.clone(), found(2)];
        let chain = merge_credentials(answers.map(|answer| Box::new(fixed(answer)) as _)).on_failure(on_failure);
        let context = Context { clock: crate::os::clock::Clock::injected(now), ..Context::default() };
        assert_eq!(letters(&chain.load(&context, None, Duration::from_secs(10)).await), steps);
    }
}

#[tokio::test]
async fn survey_asks_all_and_has_the_same_outcome() {
    for answers in [vec![absent(), found(2), failing(), found(4)], vec![failing(), found(2)], vec![absent()]] {
        let chain = merge_credentials(answers.clone().into_iter().map(|answer| Box::new(fixed(answer)) as _));
        let outcome = chain.survey(&Context::default(), Duration::from_secs(10)).await;
        assert!(!letters(&outcome).contains('-'), "{outcome:?}");
        assert_eq!(outcome.verdict, load(answers, OnFailure::Stop, None).await.verdict);
    }
}

#[tokio::test(start_paused = true)]
async fn shares_the_deadline_among_sources_with_next() {
    let hanging = Fixed { delay: Duration::from_secs(3600), ..fixed(found(1)) };
    let chain = |on_failure| {
        merge_credentials([Box::new(hanging.clone()) as _, Box::new(fixed(found(2))) as _]).on_failure(on_failure)
    };
    let began = Instant::now();
    let outcome = chain(OnFailure::Stop).load(&Context::default(), None, Duration::from_secs(10)).await;
    assert!(matches!(&outcome.verdict, Outcome::Failed { source: 0, error } if error.kind == ErrorKind::Unavailable));
    assert_eq!(began.elapsed().as_secs(), 10);
    let outcome = chain(OnFailure::Next).load(&Context::default(), None, Duration::from_secs(10)).await;
    assert!(matches!(outcome.verdict, Outcome::Found { winner: 1, .. }), "{outcome:?}");
    assert_eq!(began.elapsed().as_secs(), 15);
}

#[tokio::test]
async fn takes_region_of_winner_or_first_usable() {
    let of = |regions: &[Option<&'static str>]| {
        merge_credentials(regions.iter().map(|region| Box::new(Fixed { region: *region, ..fixed(absent()) }) as _))
    };
    let context = Context::default();
    assert_eq!(of(&[Some("a"), Some("b")]).region(&context, Some(1)).await.as_deref(), Some("b"));
    assert_eq!(of(&[Some("a"), None]).region(&context, Some(1)).await.as_deref(), Some("a"));
    assert_eq!(of(&[Some("a\nb"), Some("c")]).region(&context, None).await.as_deref(), Some("c"));
    assert_eq!(of(&[None, None]).region(&context, Some(7)).await, None);
}

proptest! {
    /// The key of one source is never combined with the secret, token, account or endpoint of another.
    #[test]
    fn keeps_credentials_of_one_source_together(kinds in prop::collection::vec(0..3u8, 0..8), next: bool, supplier in prop::option::of(0..8usize)) {
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
