use std::sync::atomic::AtomicUsize;

use super::*;
use crate::model::error::ErrorKind;

const HOUR: Duration = Duration::from_secs(3600);

fn clock() -> Clock {
    Clock::injected(SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_449_600))
}

fn key_of(name: &str) -> CacheKey {
    CacheKeyBuilder::new("test").with(name).cache_key()
}

struct Service(AtomicUsize);

impl Service {
    async fn request(&self, outcome: Result<Option<SystemTime>, ErrorKind>) -> Result<Credentials, SourceError> {
        let calls = 1 + self.0.fetch_add(1, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(100)).await;
        match outcome {
            Ok(end) => Ok(Credentials::new(&format!("ASIA{calls}"), "secret").unwrap().with_expiration(end)),
            Err(kind) => Err(SourceError::new(kind, "no")),
        }
    }

    fn calls(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

#[tokio::test(start_paused = true)]
async fn concurrent_callers_share_one_request_and_its_failure() {
    for outcome in [Ok(Some(clock().now() + HOUR)), Ok(None), Err(ErrorKind::Denied), Err(ErrorKind::Unavailable)] {
        let (cache, clock, service) = (CredentialCache::default(), clock(), Service(AtomicUsize::new(0)));
        let callers =
            (0..100).map(|_| cache.obtain(&clock, key_of("a"), CachePolicy::ISSUED, || service.request(outcome)));
        let mut callers: Vec<_> = callers.map(Box::pin).collect();
        let mut outcomes = Vec::new();
        for caller in &mut callers {
            // All callers come before the service responds.
            assert!(poll_once(caller.as_mut()).await.is_none());
        }
        for caller in callers {
            outcomes.push(caller.await);
        }
        assert_eq!(service.calls(), 1, "{outcome:?}");
        assert!(outcomes.iter().all(|one| *one == outcomes[0]));
    }
}

async fn poll_once<F: Future>(mut future: std::pin::Pin<&mut F>) -> Option<F::Output> {
    std::future::poll_fn(|context| match future.as_mut().poll(context) {
        std::task::Poll::Ready(output) => std::task::Poll::Ready(Some(output)),
        std::task::Poll::Pending => std::task::Poll::Ready(None),
    })
    .await
}

#[tokio::test(start_paused = true)]
async fn serves_fresh_credentials_until_a_refresher_would_renew_them() {
    let (cache, clock, service) = (CredentialCache::default(), clock(), Service(AtomicUsize::new(0)));
    let end = clock.now() + HOUR;
    let key = async || {
        let held = cache.obtain(&clock, key_of("a"), CachePolicy::ISSUED, || service.request(Ok(Some(end)))).await;
        held.unwrap().access_key_id.to_string()
    };
    assert_eq!(key().await, "ASIA1");
    tokio::time::sleep(Duration::from_secs(37 * 60)).await;
    assert_eq!(key().await, "ASIA1");
    tokio::time::sleep(Duration::from_secs(2 * 60)).await;
    assert_eq!(key().await, "ASIA2", "after 38 minutes a refresher may renew");
    cache.forget();
    assert_eq!(key().await, "ASIA3");
}

#[tokio::test(start_paused = true)]
async fn does_not_keep_failures_or_credentials_without_expiry() {
    for (outcome, within_a_second) in [(Ok(None), 2), (Err(ErrorKind::Denied), 2), (Err(ErrorKind::Unavailable), 1)] {
        let (cache, clock, service) = (CredentialCache::default(), clock(), Service(AtomicUsize::new(0)));
        let ask =
            async || drop(cache.obtain(&clock, key_of("a"), CachePolicy::ISSUED, || service.request(outcome)).await);
        ask().await;
        tokio::time::sleep(Duration::from_millis(500)).await;
        ask().await;
        assert_eq!(service.calls(), within_a_second, "{outcome:?}");
        tokio::time::sleep(Duration::from_millis(1100)).await;
        ask().await;
        assert_eq!(service.calls(), within_a_second + 1, "{outcome:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn same_credentials_again_are_not_fresher() {
    let (cache, clock, calls) = (CredentialCache::default(), clock(), AtomicUsize::new(0));
    let (began, end) = (clock.now(), clock.now() + HOUR);
    let key = async |name: &str| {
        let ask = async || {
            calls.fetch_add(1, Ordering::SeqCst);
            match name {
                "" => return Err(SourceError::unavailable("no")),
                "OLD" => return Ok(Credentials::new(name, "secret").unwrap().with_expiration(Some(began))),
                _ => {}
            }
            Ok(Credentials::new(name, "secret").unwrap().with_expiration(Some(end)))
        };
        cache
            .obtain(&clock, key_of("a"), CachePolicy::ISSUED, ask)
            .await
            .map_or_else(|_| "".into(), |held| held.access_key_id.to_string())
    };
    key("ASIA1").await;
    tokio::time::sleep(Duration::from_secs(39 * 60)).await;
    // IMDS chooses the moment of new credentials: a refresher requests until they come. Another key, a failure, expired
    // credentials and a reload do not change that.
    for call in 2..5 {
        let other = cache
            .obtain(&clock, key_of("b"), CachePolicy::ISSUED, async || Ok(Credentials::new("B", "secret").unwrap()))
            .await;
        assert_eq!((key("ASIA1").await.as_str(), calls.load(Ordering::SeqCst)), ("ASIA1", call), "{other:?}");
        tokio::time::sleep(Duration::from_secs(60)).await;
    }
    assert_eq!((key("").await.as_str(), key("").await.as_str()), ("", ""));
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(key("OLD").await, "OLD");
    tokio::time::sleep(Duration::from_millis(100)).await;
    for call in [7, 8] {
        assert_eq!((key("ASIA1").await.as_str(), calls.load(Ordering::SeqCst)), ("ASIA1", call));
        tokio::time::sleep(Duration::from_secs(60)).await;
    }
    cache.forget();
    for call in [9, 10] {
        assert_eq!((key("ASIA1").await.as_str(), calls.load(Ordering::SeqCst)), ("ASIA1", call));
        tokio::time::sleep(Duration::from_secs(60)).await;
    }
    assert_eq!((key("ASIA2").await.as_str(), key("ASIA3").await.as_str()), ("ASIA2", "ASIA2"));

    // If the clock was ahead when the credentials came, their age is unknown.
    clock.step(-1_800_000);
    for call in [12, 12] {
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!((key("ASIA2").await.as_str(), calls.load(Ordering::SeqCst)), ("ASIA2", call));
    }
}

#[tokio::test(start_paused = true)]
async fn concurrent_callers_share_not_configured() {
    let (cache, clock, calls) = (CredentialCache::default(), clock(), AtomicUsize::new(0));
    let ask = async || {
        calls.fetch_add(1, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(100)).await;
        Lookup::not_configured("no metadata service here")
    };
    let share = || cache.share(&clock, key_of("a"), CachePolicy::ISSUED, ask);
    let (one, two) = tokio::join!(share(), share());
    assert_eq!((one, calls.load(Ordering::SeqCst)), (two, 1));
    tokio::time::sleep(Duration::from_millis(1)).await;
    share().await;
    assert_eq!(calls.load(Ordering::SeqCst), 2);
}

#[tokio::test(start_paused = true)]
async fn requests_again_when_cached_lookup_exceeds_maximum_age() {
    let (cache, clock, service) = (CredentialCache::default(), clock(), Service(AtomicUsize::new(0)));
    let end = clock.now() + 6 * HOUR;
    let share = async || {
        let ask = async || Lookup::from_result(service.request(Ok(Some(end))).await);
        drop(cache.share(&clock, key_of("a"), CachePolicy::NEARBY, ask).await);
        service.calls()
    };
    assert_eq!(share().await, 1);
    tokio::time::sleep(Duration::from_secs(59)).await;
    assert_eq!(share().await, 1);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(share().await, 2);
}

#[tokio::test(start_paused = true)]
async fn caller_requests_itself_after_its_maximum_wait() {
    let (cache, clock, calls) = (CredentialCache::default(), clock(), AtomicUsize::new(0));
    let share = async |policy| {
        let ask = async || {
            let is_first = calls.fetch_add(1, Ordering::SeqCst) == 0;
            tokio::time::sleep(Duration::from_secs(if is_first { 8 } else { 0 })).await;
            Lookup::not_configured(if is_first { "slow" } else { "quick" })
        };
        let began = Instant::now();
        (cache.share(&clock, key_of("a"), policy, ask).await, began.elapsed().as_secs())
    };
    let outcomes = tokio::join!(share(CachePolicy::ISSUED), share(CachePolicy::NEARBY), share(CachePolicy::ISSUED));
    let (slow, quick) = (Lookup::not_configured("slow"), Lookup::not_configured("quick"));
    assert_eq!(outcomes, ((slow.clone(), 8), (quick, 1), (slow, 8)));
}

#[tokio::test(start_paused = true)]
async fn keeps_credentials_with_typed_code_or_without_expiry() {
    let (cache, clock, service) = (CredentialCache::default(), clock(), Service(AtomicUsize::new(0)));
    for (name, policy, end) in
        [("a", CachePolicy::ASKED, Some(clock.now() + 6 * HOUR)), ("b", CachePolicy::ISSUED, None)]
    {
        let held = cache.obtain(&clock, key_of(name), policy, || service.request(Ok(end))).await.unwrap();
        tokio::time::sleep(SETTLE).await;
        assert!(!cache.invalidate(&held), "{name}");
        let again = cache.obtain(&clock, key_of(name), policy, || service.request(Ok(end))).await.unwrap();
        assert_eq!(again == held, end.is_some(), "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn one_request_for_all_callers_that_waited_too_long() {
    for seconds in [1, 2, 9] {
        let (cache, clock, calls) = (CredentialCache::default(), clock(), AtomicUsize::new(0));
        let ask = async || {
            calls.fetch_add(1, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(seconds * 1000 - 500)).await;
            Lookup::not_configured("slow")
        };
        let share = async || cache.share(&clock, key_of("a"), CachePolicy::NEARBY, ask).await;
        let many: [_; 8] = [(); 8].map(|()| share());
        let [a, b, c, d, e, f, g, h] = many;
        tokio::join!(a, b, c, d, e, f, g, h);
        assert_eq!(calls.load(Ordering::SeqCst), if seconds == 1 { 1 } else { 2 }, "{seconds}");
    }
}

#[tokio::test(start_paused = true)]
async fn invalidates_once_in_five_seconds() {
    let (cache, clock, service) = (CredentialCache::default(), clock(), Service(AtomicUsize::new(0)));
    let end = clock.now() + 6 * HOUR;
    let obtain = async |name| {
        cache.obtain(&clock, key_of(name), CachePolicy::ISSUED, || service.request(Ok(Some(end)))).await.unwrap()
    };
    let (first, other) = (obtain("a").await, obtain("b").await);
    cache.invalidate(&first);
    assert_eq!(obtain("a").await, first, "they are too young");
    tokio::time::sleep(SETTLE).await;
    cache.invalidate(&first);
    let second = obtain("a").await;
    assert_ne!(second, first);
    assert!(cache.invalidate(&first), "others came meanwhile");
    assert!(!cache.invalidate(&second), "they are too young");
    tokio::time::sleep(SETTLE).await;
    cache.invalidate(&first);
    assert_eq!((obtain("a").await, obtain("b").await), (second, other), "neither was rejected");
}

#[tokio::test(start_paused = true)]
async fn next_caller_requests_when_the_first_is_dropped() {
    let (cache, clock, service) = (CredentialCache::default(), clock(), Service(AtomicUsize::new(0)));
    let ask =
        || cache.obtain(&clock, key_of("a"), CachePolicy::ISSUED, || service.request(Ok(Some(clock.now() + HOUR))));
    let gone = tokio::time::timeout(Duration::from_millis(10), ask()).await;
    assert!(gone.is_err());
    assert_eq!(&*ask().await.unwrap().access_key_id, "ASIA2");
}

#[tokio::test(start_paused = true)]
async fn new_key_removes_expired_slots() {
    let (cache, clock, service) = (CredentialCache::default(), clock(), Service(AtomicUsize::new(0)));
    for number in 0..1000 {
        let outcome = Ok(Some(clock.now() + Duration::from_secs(60)));
        let _ =
            cache.obtain(&clock, key_of(&number.to_string()), CachePolicy::ISSUED, || service.request(outcome)).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert!(cache.flights.len() < 70, "{cache:?}");
}

#[test]
fn parts_of_a_key_never_run_together() {
    let caller = Credentials::new("A", "s").unwrap();
    let keys = [
        CacheKeyBuilder::new("method").with("ab").with("c"),
        CacheKeyBuilder::new("method").with("a").with("bc"),
        CacheKeyBuilder::new("method").with("abc"),
        CacheKeyBuilder::new("methodab").with("c"),
        CacheKeyBuilder::new("method").with("ab").with_optional(None::<&str>).with("c"),
        CacheKeyBuilder::new("method").with("ab").with_optional(Some("")).with("c"),
        CacheKeyBuilder::new("method").with_value(&("ab", "c")),
        CacheKeyBuilder::new("method").with_value(&("a", "bc")),
        CacheKeyBuilder::new("method").with_value(&"ab").with_value(&"c"),
        CacheKeyBuilder::new("method").with_caller(&caller),
        CacheKeyBuilder::new("method").with_caller(&caller.clone().with_session_token(Some("t")).unwrap()),
        CacheKeyBuilder::new("method").with_caller(&Credentials::new("A", "other").unwrap()),
    ]
    .map(CacheKeyBuilder::cache_key);
    let distinct: std::collections::HashSet<_> = keys.into_iter().collect();
    assert_eq!(distinct.len(), keys.len());
}
