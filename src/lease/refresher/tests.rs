use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::lease::notify::Notifier;
use crate::model::outcome::Lookup;
use crate::os::clock::Clock;
use crate::source::chain::merge_credentials;
use crate::source::{BoxFuture, Source};

const HOUR: Duration = Duration::from_secs(3600);
const SECOND: Duration = Duration::from_secs(1);

/// Returns the replies of a script, each after a delay; the last one repeats.
#[derive(Debug)]
struct Scripted {
    name: &'static str,
    script: Arc<Mutex<VecDeque<(Duration, Reply)>>>,
    loads: Arc<AtomicUsize>,
}

#[derive(Clone, Debug)]
enum Reply {
    /// A temporary key that expires this long after the load.
    Temporary(&'static str, Duration),
    /// A temporary key that expires at this moment.
    Fixed(&'static str, SystemTime),
    LongLived(&'static str),
    Absent,
    Fails(ErrorKind),
    Panics,
}

impl Source for Scripted {
    fn name(&self) -> &str {
        self.name
    }

    fn load<'a>(&'a self, context: &'a Context) -> BoxFuture<'a, Lookup> {
        self.loads.fetch_add(1, Ordering::SeqCst);
        let mut script = self.script.lock().unwrap();
        let (delay, reply) = if script.len() > 1 { script.pop_front().unwrap() } else { script[0].clone() };
        drop(script);
        Box::pin(async move {
            tokio::time::sleep(delay).await;
            let token = |key: &str, end| {
                let keys = Credentials::new(key, "secret").unwrap().with_session_token(Some("token")).unwrap();
                Lookup::Found(keys.with_expiration(Some(end)))
            };
            match reply {
                Reply::Temporary(key, lifetime) => token(key, context.clock.now() + lifetime),
                Reply::Fixed(key, end) => token(key, end),
                Reply::LongLived(key) => Lookup::Found(Credentials::new(key, "secret").unwrap()),
                Reply::Absent => Lookup::not_configured("as scripted"),
                Reply::Fails(kind) => SourceError::new(kind, "the script fails").into(),
                Reply::Panics => panic!("the script panics"),
            }
        })
    }

    fn region<'a>(&'a self, _: &'a Context) -> BoxFuture<'a, Option<Box<str>>> {
        Box::pin(std::future::ready(Some("eu-north-1".into())))
    }
}

struct Fixture {
    handle: LeaseHandle,
    clock: Clock,
    loads: Arc<AtomicUsize>,
    script: Arc<Mutex<VecDeque<(Duration, Reply)>>>,
    task: tokio::task::JoinHandle<std::convert::Infallible>,
}

impl Drop for Fixture {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn start() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_449_600)
}

fn policy() -> RefreshPolicy {
    RefreshPolicy { limits: HOUR.into(), load_timeout: SECOND * 10, eager: true, is_profile: false }
}

#[allow(clippy::disallowed_methods, reason = "the fixture aborts its task when it is dropped")]
fn fixture_of(
    policy: RefreshPolicy,
    inherited: Option<Arc<Lease>>,
    script: Vec<(Duration, Reply)>,
    second: Reply,
) -> Fixture {
    let (script, loads) = (Arc::new(Mutex::new(VecDeque::from(script))), Arc::default());
    let first = Scripted { name: "first", script: Arc::clone(&script), loads: Arc::clone(&loads) };
    let second = Scripted {
        name: "second",
        script: Arc::new(Mutex::new(VecDeque::from([(Duration::ZERO, second)]))),
        loads: Arc::default(),
    };
    let clock = Clock::injected(start());
    let context = Context { clock: clock.clone(), ..Context::default() };
    let chain = merge_credentials([Box::new(first) as _, Box::new(second) as _]);
    let (refresher, handle) = Refresher::new(LeaseKey::Identity("i".into()), chain, context, policy, inherited);
    Fixture { handle, clock, loads, script, task: tokio::spawn(refresher.run()) }
}

fn fixture(script: impl IntoIterator<Item = Reply>) -> Fixture {
    fixture_of(policy(), None, script.into_iter().map(|reply| (Duration::ZERO, reply)).collect(), Reply::Absent)
}

impl Fixture {
    /// Returns the access key that a client would get now.
    fn serves(&self) -> Option<String> {
        self.handle.state().usable(self.clock.now()).map(|lease| lease.access_key_id.to_string())
    }

    fn loads(&self) -> usize {
        self.loads.load(Ordering::SeqCst)
    }

    fn kind(&self) -> Option<ErrorKind> {
        match self.handle.state().error.as_ref()? {
            LeaseError::Failed { error, .. } => Some(error.kind),
            LeaseError::NotConfigured => None,
        }
    }

    fn rewrite(&self, reply: Reply) {
        *self.script.lock().unwrap() = VecDeque::from([(Duration::ZERO, reply)]);
    }

    fn reload(&self, reply: Reply) {
        self.rewrite(reply);
        self.handle.wake(WakeReason::Reload);
    }
}

async fn pass(time: Duration) {
    tokio::time::sleep(time).await;
    // Timers that are due at this moment run first.
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn renews_lease_ahead_of_its_expiration() {
    let fixture = fixture([Reply::Temporary("A1", HOUR), Reply::Temporary("A2", HOUR)]);
    pass(SECOND).await;
    assert_eq!((fixture.serves().as_deref(), fixture.loads()), (Some("A1"), 1));
    pass(SECOND * 37 * 60).await;
    assert_eq!(fixture.loads(), 1, "not before 38 minutes");
    pass(SECOND * 3 * 60).await;
    assert_eq!((fixture.serves().as_deref(), fixture.loads()), (Some("A2"), 2));
}

#[tokio::test(start_paused = true)]
async fn keeps_lease_until_it_expires_when_refresh_fails() {
    let fixture = fixture([Reply::Temporary("A1", HOUR), Reply::Fails(ErrorKind::Unavailable)]);
    pass(HOUR - SECOND).await;
    assert_eq!(fixture.serves().as_deref(), Some("A1"));
    assert_eq!(fixture.kind(), Some(ErrorKind::Unavailable));
    pass(SECOND).await;
    assert_eq!(fixture.serves(), None);
    let before = fixture.loads();
    pass(HOUR).await;
    let tries = fixture.loads() - before;
    assert!((60..=3600).contains(&tries), "retries without end, at most once a second: {tries}");
    fixture.rewrite(Reply::Temporary("A3", HOUR));
    pass(SECOND * 61).await;
    assert_eq!((fixture.serves().as_deref(), fixture.kind()), (Some("A3"), None), "success clears the error");
}

#[tokio::test(start_paused = true)]
async fn keeps_lease_over_older_credentials_but_takes_another_key() {
    let fixture = fixture([Reply::Fixed("A1", start() + HOUR), Reply::Fixed("A1", start() + HOUR / 2)]);
    pass(SECOND * 45 * 60).await;
    assert_eq!(fixture.serves().as_deref(), Some("A1"), "the older credentials would have expired");
    assert!(fixture.loads() >= 3, "it loads again within a minute");
    fixture.rewrite(Reply::Fixed("A1", start()));
    pass(SECOND * 60).await;
    assert_eq!((fixture.serves().as_deref(), fixture.kind()), (Some("A1"), Some(ErrorKind::Unavailable)));
    fixture.rewrite(Reply::Fixed("B1", start() + SECOND * 50 * 60));
    pass(SECOND * 61).await;
    assert_eq!(fixture.serves().as_deref(), Some("B1"), "though it expires earlier");
}

#[tokio::test(start_paused = true)]
async fn reload_before_due_time_keeps_the_schedule() {
    let fixture = fixture([Reply::Fixed("A1", start() + HOUR), Reply::Fixed("A1", start() + HOUR)]);
    pass(SECOND).await;
    fixture.handle.wake(WakeReason::Reload);
    pass(SECOND * 30 * 60).await;
    assert_eq!(fixture.loads(), 2, "the first load and the reload");
    pass(SECOND * 10 * 60).await;
    assert!(fixture.loads() > 2, "and again at the due time");
}

#[tokio::test(start_paused = true)]
async fn reloads_long_lived_keys_before_they_run_out() {
    let fixture = fixture([Reply::LongLived("A1"), Reply::LongLived("A2")]);
    pass(SECOND * 37 * 60).await;
    assert_eq!(fixture.serves().as_deref(), Some("A1"));
    pass(SECOND * 4 * 60).await;
    assert_eq!(fixture.serves().as_deref(), Some("A2"));
    pass(HOUR * 24).await;
    let served_for =
        fixture.handle.state().lease.as_ref().unwrap().serve_until.duration_since(fixture.clock.now()).unwrap();
    assert!(served_for > SECOND * 19 * 60, "{served_for:?}");
}

#[tokio::test(start_paused = true)]
async fn hanging_source_fails_at_deadline_and_stops_the_chain() {
    let script = vec![(HOUR, Reply::LongLived("A1"))];
    let fixture = fixture_of(policy(), None, script, Reply::LongLived("B1"));
    pass(SECOND * 9).await;
    assert!(matches!(fixture.handle.state().refresh, RefreshState::Loading { .. }));
    pass(SECOND * 2).await;
    assert_eq!((fixture.serves(), fixture.kind()), (None, Some(ErrorKind::Unavailable)));
}

#[tokio::test(start_paused = true)]
async fn vanished_supplier_keeps_lease_for_five_seconds() {
    let script = vec![(Duration::ZERO, Reply::LongLived("A1"))];
    let fixture = fixture_of(policy(), None, script, Reply::LongLived("B1"));
    pass(SECOND).await;
    fixture.reload(Reply::Absent);
    pass(SECOND * 2).await;
    assert_eq!((fixture.serves().as_deref(), fixture.kind()), (Some("A1"), Some(ErrorKind::Unsettled)));
    fixture.handle.wake(WakeReason::Reload);
    pass(SECOND * 2).await;
    assert_eq!(fixture.serves().as_deref(), Some("A1"), "a reload does not restart the settling time");
    pass(SECOND * 2).await;
    assert_eq!(fixture.serves().as_deref(), Some("B1"), "then the next source supplies");
}

#[tokio::test(start_paused = true)]
async fn returning_supplier_keeps_lease_and_last_vanished_drops_it() {
    let fixture = fixture([Reply::LongLived("A1")]);
    pass(SECOND).await;
    fixture.reload(Reply::Absent);
    pass(SECOND * 3).await;
    fixture.reload(Reply::LongLived("A1"));
    pass(SECOND).await;
    assert_eq!((fixture.serves().as_deref(), fixture.kind()), (Some("A1"), None));
    fixture.reload(Reply::Absent);
    pass(SECOND * 6).await;
    assert_eq!(fixture.serves(), None);
    assert!(matches!(fixture.handle.state().error, Some(LeaseError::NotConfigured)));
}

#[tokio::test(start_paused = true)]
async fn expired_reply_restarts_settling_of_vanished_supplier() {
    let fixture = fixture([Reply::Temporary("A1", HOUR)]);
    pass(SECOND).await;
    for reply in [Reply::Absent, Reply::Fixed("A1", start()), Reply::Absent] {
        fixture.reload(reply);
        pass(SECOND * 3).await;
        assert_eq!(fixture.serves().as_deref(), Some("A1"), "{:?}", fixture.kind());
    }
    pass(SECOND * 3).await;
    assert_eq!(fixture.serves(), None);
}

#[tokio::test(start_paused = true)]
async fn unsettled_error_is_permanent_after_five_seconds() {
    let fixture = fixture([Reply::Fails(ErrorKind::Unsettled)]);
    pass(SECOND * 4).await;
    assert_eq!(fixture.kind(), Some(ErrorKind::Unsettled));
    pass(SECOND * 2).await;
    assert_eq!(fixture.kind(), Some(ErrorKind::Misconfigured));
    let before = fixture.loads();
    pass(SECOND * 600).await;
    assert_eq!(fixture.loads() - before, 10, "a permanent error is retried every 60 s");
}

#[tokio::test(start_paused = true)]
async fn request_starts_first_load_but_not_during_backoff() {
    let fixture = fixture_of(
        RefreshPolicy { eager: false, ..policy() },
        None,
        vec![(Duration::ZERO, Reply::Fails(ErrorKind::Denied)), (Duration::ZERO, Reply::LongLived("A1"))],
        Reply::Absent,
    );
    pass(HOUR).await;
    assert_eq!((fixture.loads(), fixture.handle.state().refresh), (0, RefreshState::NotLoaded));
    for _ in 0..50 {
        fixture.handle.wake(WakeReason::LeaseWanted);
        pass(Duration::from_millis(10)).await;
    }
    assert_eq!((fixture.loads(), fixture.kind()), (1, Some(ErrorKind::Denied)));
    pass(SECOND * 60).await;
    assert_eq!(fixture.serves().as_deref(), Some("A1"));
}

#[tokio::test(start_paused = true)]
async fn loads_region_only_on_request() {
    let fixture = fixture([Reply::LongLived("A1")]);
    pass(SECOND).await;
    assert_eq!(fixture.handle.state().region, None);
    fixture.handle.wake(WakeReason::RegionWanted);
    pass(SECOND).await;
    assert_eq!(fixture.handle.state().region, Some(Some("eu-north-1".into())));
    assert_eq!(fixture.loads(), 1);
}

#[tokio::test(start_paused = true)]
#[allow(clippy::disallowed_methods, reason = "aborted below")]
async fn loads_again_when_clock_steps() {
    let fixture = fixture([Reply::Temporary("A1", HOUR), Reply::Temporary("A2", HOUR), Reply::Temporary("A3", HOUR)]);
    let clock = fixture.clock.clone();
    let ticker = tokio::spawn(async move { clock.watch_for_steps().await });
    pass(SECOND).await;
    fixture.clock.step(2 * 3600 * 1000);
    assert_eq!(fixture.serves(), None, "an expired lease is not served, even before the refresher notices");
    pass(SECOND * 6).await;
    assert_eq!(fixture.serves().as_deref(), Some("A2"));
    fixture.clock.step(-4 * 3600 * 1000);
    pass(SECOND * 6).await;
    assert_eq!(fixture.serves().as_deref(), Some("A3"));
    ticker.abort();
}

#[tokio::test(start_paused = true)]
async fn serves_inherited_lease_until_first_load_ends() {
    let credentials = Credentials::new("OLD", "secret").unwrap();
    let inherited = Arc::new(Lease::new(&credentials, "before".into(), start(), HOUR));
    let script = vec![(SECOND * 3, Reply::Fails(ErrorKind::Denied))];
    let fixture = fixture_of(policy(), Some(inherited), script, Reply::Absent);
    pass(SECOND * 2).await;
    assert_eq!(fixture.serves().as_deref(), Some("OLD"));
    pass(SECOND * 2).await;
    assert_eq!((fixture.serves(), fixture.kind()), (None, Some(ErrorKind::Denied)), "the inherited lease is dropped");
}

#[tokio::test(start_paused = true)]
async fn warns_an_hour_and_ten_minutes_before_login_ends() {
    const MINUTE: Duration = Duration::from_secs(60);
    let clock = Clock::injected(start());
    let context = Context { clock: clock.clone(), ..Context::default() };
    let mut notifier = Notifier::default();
    let (refresher, _handle) =
        Refresher::new(LeaseKey::Identity("i".into()), merge_credentials([]), context, policy(), None);
    let mut refresher = refresher.with_notices(notifier.sender.clone());
    assert_eq!(refresher.warn_of_login_end(), Duration::MAX, "there is no login");
    let mut hold = |ends| {
        let ends = LoginEnd { at: ends, remedy: "credenza login --sso-session work".into(), is_mfa: false };
        let credentials = Credentials { login_ends: Some(Arc::new(ends)), ..Credentials::new("A", "s").unwrap() };
        refresher.lease = Some(Arc::new(Lease::new(&credentials, "sso".into(), start(), HOUR)));
        let next = refresher.warn_of_login_end();
        assert_eq!(refresher.warn_of_login_end(), next, "a second look gives no second warning");
        let mut told = Vec::new();
        while let Some(notice) = notifier.try_next() {
            told.push((notice.login.at, notice.ahead));
        }
        (next, told)
    };
    let ends = start() + HOUR * 3;
    let step = |time: Duration| clock.step(i64::try_from(time.as_millis()).unwrap());
    assert_eq!(hold(ends), (HOUR * 2, vec![]), "the warning is due in two hours");
    step(HOUR * 2);
    assert_eq!(hold(ends), (MINUTE * 50, vec![(ends, HOUR)]));
    step(MINUTE * 50);
    assert_eq!(hold(ends), (Duration::MAX, vec![(ends, MINUTE * 10)]));
    assert_eq!(hold(ends + HOUR), (MINUTE * 10, vec![]), "a new login has a later end");
    step(MINUTE * 65);
    assert_eq!(hold(ends + HOUR), (Duration::MAX, vec![(ends + HOUR, MINUTE * 10)]), "one warning after a suspend");
    step(HOUR * 9);
    assert_eq!(hold(ends + HOUR * 2), (Duration::MAX, vec![]), "an ended login is only logged");
}

#[tokio::test(start_paused = true)]
async fn takes_end_of_new_login_with_unchanged_credentials() {
    let context = Context { clock: Clock::injected(start()), ..Context::default() };
    let chain = merge_credentials([Box::new(crate::source::static_keys::StaticCredentials::new("A", "s")) as _]);
    let (mut refresher, _handle) = Refresher::new(LeaseKey::Identity("i".into()), chain, context, policy(), None);
    let mut accept = |login: u32| {
        let ends = LoginEnd { at: start() + HOUR * login, remedy: "credenza login".into(), is_mfa: false };
        let keys = Credentials::new("A", "s").unwrap().with_expiration(Some(start() + HOUR * 4));
        refresher.accept(0, &Credentials { login_ends: Some(Arc::new(ends)), ..keys }, start()).unwrap();
        let held = refresher.lease.clone().unwrap();
        (held.login_ends.as_ref().unwrap().at, held.body.as_ptr())
    };
    let (first, second, third) = (accept(1), accept(8), accept(2));
    assert_eq!([first.0, second.0, third.0], [1, 8, 2].map(|hours| start() + HOUR * hours));
    assert!(first.1 == second.1 && first.1 == third.1, "the rendered body is unchanged");
}

#[tokio::test(start_paused = true)]
async fn panic_of_a_source_ends_the_task() {
    let mut fixture = fixture([Reply::Panics]);
    assert!((&mut fixture.task).await.unwrap_err().is_panic());
}

#[tokio::test(start_paused = true)]
async fn ends_with_its_narrowing() {
    let limits = LeaseLimits { until: Some(start() + SECOND * 90), ..HOUR.into() };
    let script = vec![(Duration::ZERO, Reply::Temporary("A1", HOUR))];
    let fixture = fixture_of(RefreshPolicy { limits, ..policy() }, None, script, Reply::Absent);
    pass(SECOND * 89).await;
    assert_eq!((fixture.serves().as_deref(), fixture.loads()), (Some("A1"), 1));
    let told = fixture.handle.state().lease.as_ref().unwrap().serve_until;
    assert_eq!(told, start() + SECOND * 90);
    pass(SECOND * 2).await;
    assert_eq!((fixture.serves(), fixture.kind()), (None, Some(ErrorKind::Denied)));
    pass(HOUR).await;
    assert_eq!(fixture.loads(), 1, "nothing is loaded afterwards");
    assert!(fixture.handle.state().lease.is_none());
}

#[tokio::test(start_paused = true)]
async fn tells_the_longest_lifetime_and_renews_before_it() {
    let limits = LeaseLimits { max_lifetime: Some(HOUR / 2), ..HOUR.into() };
    let script = vec![(Duration::ZERO, Reply::Fixed("A1", start() + HOUR * 12))];
    let fixture = fixture_of(RefreshPolicy { limits, ..policy() }, None, script, Reply::Absent);
    for _ in 0..(8 * 60) {
        pass(SECOND * 60).await;
        let state = fixture.handle.state();
        let lease = state.usable(fixture.clock.now()).expect("it is always usable");
        assert!(lease.serve_until <= fixture.clock.now() + HOUR / 2);
        assert!(lease.serve_until >= fixture.clock.now() + SECOND * 300, "SDKs renew five minutes ahead");
    }
}
