//! Properties of access: random clients, identities and requests, through access control and the router.

use std::collections::BTreeSet;

use http::{Uri, header};
use http_body_util::Full;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::lease::registry::{LeaseHandles, LeaseRegistry};
use crate::lease::{Lease, LeaseLimits};
use crate::model::credentials::Credentials;
use crate::model::name_pattern::NamePattern;
use crate::model::narrowing::Narrowing;
use crate::model::time::{end_after, parse_timestamp};
use crate::os::clock::Clock;
use crate::server::client_table::grants::{GrantOrder, Grants};
use crate::server::clients::{AllowedIdentities, ClientProof, DefaultIdentity};

/// Names that differ only by an escape, a slash, a case or an end.
const NAMES: [&str; 9] = ["default", "a", "b", "a/b", "a%2Fb", "ab", "A", "ä ?#", "a/../b"];

/// The present of all properties.
fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(1_795_449_600_300)
}

const HOUR: Duration = Duration::from_secs(3600);

/// A client of a random table, as its configuration would be.
#[derive(Clone, Debug)]
struct GivenClient {
    has_token: bool,
    /// Users beside a token. A client without a token has one user of its own.
    users: Option<Vec<u32>>,
    patterns: Vec<String>,
}

/// A random table, the identities with a lease, and the identity in the place of `default`.
#[derive(Clone, Debug)]
struct GivenTable {
    clients: Vec<GivenClient>,
    leases: Vec<bool>,
    switched: Option<&'static str>,
}

#[derive(Clone, Debug)]
struct GivenRequest {
    method: &'static str,
    target: String,
    authorization: Vec<String>,
    user: Option<u32>,
    further: Option<(&'static str, String)>,
}

fn token(number: usize) -> String {
    format!("Token-of-at-least-32-characters-{number}")
}

/// The user of a client without a token.
fn own_user(number: usize) -> u32 {
    100 + number as u32
}

fn key(name: &str) -> String {
    format!("AKIA{}Z", NAMES.iter().position(|known| *known == name).unwrap())
}

impl GivenTable {
    fn exists(&self, name: &str) -> bool {
        NAMES.iter().zip(&self.leases).any(|(known, exists)| *known == name && (*exists || name == "default"))
    }

    /// Returns the clients for the server.
    fn clients(&self) -> Clients {
        let proofs = self.clients.iter().enumerate().map(|(number, client)| {
            let patterns: Vec<_> = client.patterns.iter().map(|text| NamePattern::new(text).unwrap()).collect();
            let identities = AllowedIdentities::of_patterns(&patterns);
            let users = if client.has_token { client.users.clone() } else { Some(vec![own_user(number)]) };
            ClientProof {
                token: client.has_token.then(|| token(number).as_str().into()),
                users: users.map(Into::into),
                client: Arc::new(Client::new(format!("c{number}").as_str().into(), identities)),
            }
        });
        let switched = self.switched.map(|name| (name.into(), None));
        let default_identity =
            switched.is_some().then_some(DefaultIdentity { switched, lifetime: Duration::from_secs(1200) });
        let mut clients = Clients::new(proofs);
        clients.default_identity = default_identity;
        clients
    }

    /// Returns the client that a request proves to come from.
    fn sender(&self, request: &GivenRequest) -> Option<&GivenClient> {
        let mut clients = self.clients.iter().enumerate();
        let found = match &request.authorization[..] {
            [] => clients.find(|(number, client)| !client.has_token && request.user == Some(own_user(*number))),
            [none] if none.is_empty() => {
                clients.find(|(number, client)| !client.has_token && request.user == Some(own_user(*number)))
            }
            [given] => clients.find(|(number, client)| {
                let is_user = |users: &Vec<u32>| request.user.is_some_and(|user| users.contains(&user));
                client.has_token && *given == token(*number) && client.users.as_ref().is_none_or(is_user)
            }),
            _ => None,
        };
        found.map(|(_, client)| client)
    }
}

impl GivenClient {
    fn may_have(&self, name: &str) -> bool {
        self.patterns.iter().any(|pattern| matches(pattern.as_bytes(), name.as_bytes()))
    }

    /// The name of the only identity, if the client has exactly one.
    fn only(&self) -> Option<&str> {
        match &self.patterns[..] {
            [only] if !only.contains('*') => Some(only),
            _ => None,
        }
    }
}

/// Matches a pattern letter by letter, unlike the program.
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    match (pattern, name) {
        ([], []) => true,
        ([b'*', rest @ ..], _) => matches(rest, name) || !name.is_empty() && matches(pattern, &name[1..]),
        ([first, pattern @ ..], [letter, name @ ..]) => first == letter && matches(pattern, name),
        _ => false,
    }
}

/// Decodes each escape once. Bytes that are no escape stay.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = text.bytes().collect::<Vec<_>>();
    let mut at = 0;
    while at + 2 < bytes.len() {
        let digits = str::from_utf8(&bytes[at + 1..at + 3]).ok().filter(|_| bytes[at] == b'%');
        let digits = digits.filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
        if let Some(byte) = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            bytes.splice(at..at + 3, [byte]);
        }
        at += 1;
    }
    String::from_utf8(bytes).ok()
}

fn lease(name: &str) -> Lease {
    let credentials = Credentials::new(&key(name), "secret").unwrap();
    Lease::new(&credentials, "test".into(), now(), HOUR)
}

/// Makes the routes of these clients and leases. Nothing is behind them, so that no request waits.
fn routes(clients: Clients, leases: impl IntoIterator<Item = (LeaseKey, Lease)>) -> Routes {
    let handles: LeaseHandles = leases
        .into_iter()
        .map(|(key, lease)| {
            let state = LeaseState { lease: Some(Arc::new(lease)), eager: true, ..LeaseState::default() };
            // The region is loaded: the status waits for it otherwise.
            let (_, _, handle) = LeaseHandle::new(LeaseState { region: Some(None), ..state });
            (key, handle)
        })
        .collect();
    let registry = LeaseRegistry {
        handles: watch::Sender::new(Arc::new(handles)).subscribe(),
        config_error: watch::Sender::default().subscribe(),
        known_profiles: watch::Sender::new(Some(Arc::default())).subscribe(),
        profile_demand: mpsc::channel(1).0,
    };
    let leases = LeaseLookup { registry, clock: Clock::injected(now()), stopping: CancellationToken::new() };
    let clients = watch::Sender::new(Arc::new(clients)).subscribe();
    Routes::new(Arc::new(RouteState {
        leases,
        clients,
        hosts: AllowedHosts::default(),
        started: now(),
        log: AnswerLog::default(),
    }))
}

/// Runs a future in a time that stands still.
fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(future)
}

/// Returns the status and the body.
async fn answer(routes: &Routes, request: http::Request<Full<Bytes>>, user: Option<u32>) -> (u16, String) {
    let Ok(answer) = routes.answer(request, &user.into(), |_| ()).wait().await;
    let (parts, body) = answer.into_parts();
    let body = axum::body::to_bytes(Body::new(body), 1 << 20).await.unwrap();
    (parts.status.as_u16(), String::from_utf8(body.to_vec()).unwrap())
}

/// A reload replaces the identities first, and the clients a moment later.
#[test]
fn request_amid_a_reload_is_judged_by_the_new_clients() {
    let client = |number: usize, pattern: &str| ClientProof {
        token: Some(token(number).as_str().into()),
        users: None,
        client: Arc::new(Client::new(
            format!("c{number}").as_str().into(),
            AllowedIdentities::of_patterns(&[NamePattern::new(pattern).unwrap()]),
        )),
    };
    let table = |generation, proofs: Vec<ClientProof>| {
        let mut clients = Clients::new(proofs);
        clients.generation = generation;
        Arc::new(clients)
    };
    let leased = |generation| {
        let state = LeaseState { lease: Some(Arc::new(lease("a"))), region: Some(None), ..LeaseState::default() };
        let handles = LeaseHandles::from_iter([(LeaseKey::Identity("a".into()), LeaseHandle::new(state).2)]);
        Arc::new(LeaseHandles { generation, ..handles })
    };
    run(async {
        let (handles, clients) = (
            watch::Sender::new(leased(0)),
            watch::Sender::new(table(0, vec![client(0, "*"), client(1, "*"), client(2, "*")])),
        );
        let registry = LeaseRegistry {
            handles: handles.subscribe(),
            config_error: watch::Sender::default().subscribe(),
            known_profiles: watch::Sender::new(Some(Arc::default())).subscribe(),
            profile_demand: mpsc::channel(1).0,
        };
        let leases = LeaseLookup { registry, clock: Clock::injected(now()), stopping: CancellationToken::new() };
        let (hosts, started) = (AllowedHosts::default(), now());
        let routes = Routes::new(Arc::new(RouteState {
            leases,
            clients: clients.subscribe(),
            hosts,
            started,
            log: AnswerLog::default(),
        }));
        let ask = |number: usize, target: &str| {
            let request = http::Request::get(target).header("host", "localhost");
            let request = request.header("authorization", token(number)).body(Full::<Bytes>::default()).unwrap();
            let routes = routes.clone();
            async move { answer(&routes, request, None).await }
        };
        assert_eq!(ask(0, "/credentials/a").await.0, 200);
        handles.send_replace(leased(1));
        let targets = ["/credentials/a", "/status", "/v2/credentials/%61"];
        let mut waiting: Vec<_> =
            (0..3).flat_map(|number| targets.map(|target| Box::pin(ask(number, target)))).collect();
        for request in &mut waiting {
            let early = tokio::time::timeout(Duration::from_secs(1), request.as_mut()).await;
            assert!(early.is_err(), "no answer before the clients are known: {early:?}");
        }
        clients.send_replace(table(1, vec![client(0, "*"), client(1, "b")]));
        let mut answers = Vec::new();
        for request in waiting {
            answers.push(request.await.0);
        }
        assert_eq!(answers, [200, 200, 200, 403, 200, 403, 401, 401, 401]);
        // When the daemon stops, the sender of clients ends first. Connections of that moment have seen nothing yet.
        drop(clients);
        assert_eq!(ask(0, "/credentials/a").await.0, 200);
        // Clients that never come open nothing.
        handles.send_replace(leased(2));
        assert_eq!(ask(0, "/credentials/a").await.0, 503);
        assert_eq!(ask(3, "/credentials/a").await.0, 401);
    });
}

fn pattern() -> impl Strategy<Value = String> {
    let wild = select(vec!["*", "a*", "*b", "a*b", "a/*", "*%2F*", "d*t", "**", "*a*", "A*", "a%*", "*default"]);
    let random = "[aAbä/%2F*]{1,4}";
    prop_oneof![3 => select(NAMES.to_vec()).prop_map(str::to_owned), 3 => wild.prop_map(str::to_owned), 1 => random]
}

fn table() -> impl Strategy<Value = GivenTable> {
    let users = proptest::option::weighted(0.4, prop::collection::vec(0..6_u32, 0..4));
    let patterns = prop::collection::vec(pattern(), 0..4);
    let client = (prop::bool::weighted(0.7), users, patterns).prop_map(|(has_token, users, patterns)| GivenClient {
        has_token,
        users,
        patterns,
    });
    let switched = proptest::option::weighted(0.3, select(NAMES.to_vec()));
    let leases = prop::collection::vec(prop::bool::weighted(0.8), NAMES.len());
    (prop::collection::vec(client, 1..9), leases, switched).prop_map(|(clients, leases, switched)| GivenTable {
        clients,
        leases,
        switched,
    })
}

/// Writes a name with escapes: one style for each byte.
fn escaped(name: &str, styles: &[u8]) -> String {
    let styles = styles.iter().cycle();
    let write = |(byte, style): (u8, &u8)| match style {
        1 => format!("%{byte:02x}"),
        2 => format!("%{byte:02X}"),
        3 => format!("%25{byte:02X}"),
        _ if byte.is_ascii_alphanumeric() || b"/.-*".contains(&byte) => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    name.bytes().zip(styles).map(write).collect()
}

fn target() -> impl Strategy<Value = String> {
    let name = prop_oneof![6 => select(NAMES.to_vec()).prop_map(str::to_owned), 1 => "[aAb/.%2Fä]{0,5}"];
    let styles = prop_oneof![Just(vec![0]), prop::collection::vec(0..4_u8, 1..5)];
    let before =
        select(vec!["/credentials/", "/credentials/", "/v2/credentials/", "/v2/v2/credentials/", "/credentials//"]);
    let after =
        select(vec!["", "", "", "", "/", "?identity=a", "#b", "%00", "/..", "/../b", "%2F..%2Fb", ";b", "%FF", "*"]);
    let named = (before, name, styles, after)
        .prop_map(|(before, name, styles, after)| format!("{before}{}{after}", escaped(&name, &styles)));
    let fixed = select(vec![
        "/credentials",
        "/v2/credentials",
        "/credentials?identity=b",
        "/status",
        "/readyz",
        "/healthz",
        "/nothing",
        "/",
        "/status?client=c0",
        "/%63redentials",
        "//credentials",
        "/credentials/../credentials/a",
        "/CREDENTIALS/a",
    ]);
    prop_oneof![4 => named, 2 => fixed.prop_map(str::to_owned)]
}

/// A change to the token of a client.
fn changed(token: &str, change: u8, other: &str) -> Vec<String> {
    match change {
        0 => vec![],
        1 => vec![String::new()],
        2 => vec![token[..token.len() - 1].to_owned()],
        3 => vec![format!("{token}0")],
        4 => vec![format!("Bearer {token}")],
        5 => vec![token.to_ascii_uppercase()],
        6 => vec![token.to_owned(), other.to_owned()],
        7 => vec![format!("{token},{other}")],
        8 => vec![String::new(), token.to_owned()],
        _ => vec![token.to_owned()],
    }
}

fn request() -> impl Strategy<Value = GivenRequest> {
    let method = select(vec!["GET", "GET", "GET", "GET", "GET", "HEAD", "POST", "PUT", "OPTIONS"]);
    let authorization = (any::<Index>(), any::<Index>(), 0..30_u8).prop_map(|(one, other, change)| {
        let number = |index: Index| index.index(10);
        changed(&token(number(one)), change, &token(number(other)))
    });
    let user = prop_oneof![Just(None), (0..6_u32).prop_map(Some), (0..9_u32).prop_map(|number| Some(100 + number))];
    let further = proptest::option::weighted(
        0.3,
        (
            select(vec![
                "x-identity",
                "x-client",
                "cookie",
                "x-aws-ec2-metadata-token",
                "authorization2",
                "proxy-authorization",
            ]),
            (0..10_usize).prop_map(token),
        ),
    );
    (method, target(), authorization, user, further).prop_map(|(method, target, authorization, user, further)| {
        GivenRequest { method, target, authorization, user, further }
    })
}

/// Returns the expected answer of a path with credentials: the status, and the name of the identity that answers. `None`
/// for every other path.
fn expected(table: &GivenTable, client: &GivenClient, path: &str) -> Option<(u16, Option<String>)> {
    let below = path.strip_prefix("/v2").unwrap_or(path).strip_prefix("/credentials")?;
    let name = match below.strip_prefix('/') {
        None if below.is_empty() => client.only().unwrap_or("default").to_owned(),
        Some(name) if !name.is_empty() => match decoded(name) {
            Some(name) => name,
            None => return Some((404, None)),
        },
        _ => return None,
    };
    let name = match table.switched {
        Some(switched) if name == "default" && client.only().is_none() => switched.to_owned(),
        _ => name,
    };
    Some(match (client.may_have(&name), table.exists(&name)) {
        (false, _) => (403, None),
        (true, false) => (404, None),
        (true, true) => (200, Some(name)),
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]

    /// Neither a token nor the spelling of a path nor a header gives a client more than its patterns.
    #[test]
    fn client_gets_what_its_patterns_match(table in table(), requests in prop::collection::vec(request(), 1..12)) {
        let leases = NAMES.iter().filter(|name| table.exists(name));
        let leases = leases.map(|name| (LeaseKey::Identity((*name).into()), lease(name)));
        run(async {
            let routes = routes(table.clients(), leases);
            for given in &requests {
                let Ok(uri) = given.target.parse::<Uri>() else { continue };
                let mut request = http::Request::builder().method(given.method).uri(uri.clone()).header("host", "localhost");
                for value in &given.authorization {
                    request = request.header(header::AUTHORIZATION, value);
                }
                if let Some((name, value)) = &given.further {
                    request = request.header(*name, value);
                }
                let request = request.body(Full::default()).unwrap();
                let (status, body) = answer(&routes, request, given.user).await;
                check(&table, given, uri.path(), status, &body)?;
            }
            Ok::<_, TestCaseError>(())
        })?;
    }

    /// No bound of the time for which credentials are given is passed, and no answer is over when it comes.
    #[test]
    fn told_expiration_is_within_every_bound(times in times()) {
        let loaded = now() - times.age;
        let credentials = Credentials::new(&key("a"), "secret").unwrap();
        let credentials = credentials.with_expiration(times.credentials_left.map(|left| after(now(), left)));
        let until = times.narrowed_left.map(|left| after(now(), left));
        let limits = LeaseLimits { long_lived: times.long_lived, max_lifetime: times.max_lifetime, until };
        let lease = Lease::new(&credentials, "test".into(), loaded, limits);
        let switch_end = times.switch.flatten().map(|given| end_after(now() - given.age, given.lifetime));
        let is_switched = times.switch.is_some() && switch_end.is_none_or(|end| now() < end);
        let switched = times.switch.map(|_| ("a".into(), switch_end));
        let default_identity =
            times.is_switchable.then_some(DefaultIdentity { switched, lifetime: times.switch_lifetime });
        let is_switched = is_switched && times.is_switchable;
        let (client, name, grant_end) = match times.grant {
            Some(given) => {
                let (client, end) = granted(given);
                (client, "b", Some(end))
            }
            None => (Client::of_all("c"), if is_switched { "a" } else { "default" }, None),
        };
        let narrowing = until.map(|until| Arc::new(Narrowing { until: Some(until), ..Narrowing::default() }));
        let client = Arc::new(Client { narrowing: narrowing.clone(), ..client });
        let proof = ClientProof { token: Some(token(0).as_str().into()), users: None, client };
        let lease_key = LeaseKey::Identity(name.into());
        let lease_key = narrowing.map_or(lease_key.clone(), |narrowing| lease_key.narrowed_further(&narrowing));
        let is_usable = lease.is_usable(now());
        let (status, body) = run(async {
            let mut clients = Clients::new([proof]);
            clients.default_identity = default_identity;
            let routes = routes(clients, [(lease_key, lease)]);
            let request = http::Request::get("/credentials").header("host", "localhost").header("authorization", token(0));
            // A lease that is over is not renewed here, so that its request waits for nothing.
            let answered = answer(&routes, request.body(Full::default()).unwrap(), None);
            tokio::time::timeout(Duration::ZERO, answered).await.unwrap_or_default()
        });
        let bounds = [
            ("the credentials", credentials.expiration.filter(|end| *end < loaded + HOUR * 24 * 3650)),
            ("long-lived keys", credentials.expiration.is_none().then(|| loaded + times.long_lived)),
            ("max_lifetime", times.max_lifetime.map(|longest| loaded + longest)),
            ("the narrowing", until),
            ("the grant", grant_end),
            ("the time of `use`", switch_end.filter(|_| is_switched && grant_end.is_none())),
            ("switch_lifetime", default_identity_lifetime(&times).map(|lifetime| now() + lifetime)),
        ];
        let is_over = bounds.iter().any(|(_, end)| end.is_some_and(|end| end <= now()));
        if status != 200 {
            prop_assert!(is_over || !is_usable, "{} {}", status, body);
            return Ok(());
        }
        prop_assert!(!is_over, "{}", body);
        let body: Value = serde_json::from_str(&body).unwrap();
        let told = parse_timestamp(body["Expiration"].as_str().unwrap()).unwrap();
        for (what, end) in bounds {
            prop_assert!(end.is_none_or(|end| told <= end), "{}: {:?}", what, body);
        }
        prop_assert!(told > now(), "{:?} is not in the future", body);
    }
}

fn check(table: &GivenTable, given: &GivenRequest, path: &str, status: u16, body: &str) -> Result<(), TestCaseError> {
    let value: Value = serde_json::from_str(body).unwrap_or_default();
    let names = |value: &Value| -> Option<BTreeSet<String>> {
        let listed = value.as_array().map(|names| names.iter().map(|name| name.as_str().unwrap().to_owned()).collect());
        listed.or_else(|| value.as_object().map(|names| names.keys().cloned().collect()))
    };
    let shown = names(&value["identities"]);
    let served = value["AccessKeyId"].as_str().map(ToOwned::to_owned);
    prop_assert!(served.is_some() || !body.contains("secret") && !body.contains("AKIA") || path == "/status", "{body}");
    let is_read = matches!(given.method, "GET" | "HEAD");
    let Some(client) = table.sender(given) else {
        prop_assert!(served.is_none() && shown.is_none(), "{given:?}: {body}");
        let is_health = is_read && matches!(path, "/healthz" | "/readyz");
        prop_assert_eq!(status, if is_health { 200 } else { 401 }, "{:?}: {}", given, body);
        return Ok(());
    };
    if let Some(shown) = shown {
        let own = NAMES.iter().filter(|name| table.exists(name) && client.may_have(name));
        let own: BTreeSet<String> = own.map(|name| (*name).to_owned()).collect();
        prop_assert_eq!(shown, own, "{:?}", given);
    }
    match expected(table, client, path) {
        Some(_) if !is_read => prop_assert_eq!(status, 405, "{:?}", given),
        Some((status_expected, name)) => {
            prop_assert_eq!(status, status_expected, "{:?}: {}", given, body);
            let expected_key = name.filter(|_| given.method == "GET").map(|name| key(&name));
            if given.method == "GET" {
                prop_assert_eq!(served, expected_key, "{:?}", given);
            }
        }
        None => prop_assert!(served.is_none(), "{:?}: {}", given, body),
    }
    Ok(())
}

/// The times of one request. What is left of a bound is in milliseconds, and may be over.
#[derive(Clone, Debug)]
struct Times {
    age: Duration,
    credentials_left: Option<i64>,
    long_lived: Duration,
    max_lifetime: Option<Duration>,
    narrowed_left: Option<i64>,
    grant: Option<GivenTime>,
    is_switchable: bool,
    /// The inner `None` has no end.
    switch: Option<Option<GivenTime>>,
    switch_lifetime: Duration,
}

/// A time that the owner has given some time ago.
#[derive(Clone, Copy, Debug)]
struct GivenTime {
    age: Duration,
    lifetime: Duration,
}

/// Returns a client that is a grant, with its end.
fn granted(given: GivenTime) -> (Client, SystemTime) {
    let order = GrantOrder {
        name: "grant".into(),
        identity: "b".into(),
        lifetime: given.lifetime,
        ends: end_after(now() - given.age, given.lifetime),
        replace: false,
        policy: None,
        policy_arns: Vec::new(),
    };
    let mut grants = Grants::default();
    let state = grants.add(order, "t".into(), now() - given.age, Instant::now()).unwrap();
    let client = Client::clone(&grants.proofs().next().unwrap().client);
    (client, state.ends)
}

/// Returns the lifetime that an answer for `default` tells at most. A grant has one identity, which `use` does not concern.
fn default_identity_lifetime(times: &Times) -> Option<Duration> {
    (times.is_switchable && times.grant.is_none()).then_some(times.switch_lifetime)
}

fn after(now: SystemTime, milliseconds: i64) -> SystemTime {
    let by = Duration::from_millis(milliseconds.unsigned_abs());
    if milliseconds < 0 { now - by } else { now + by }
}

fn times() -> impl Strategy<Value = Times> {
    let left = || prop_oneof![-2_000..3_000_i64, 0..100_000_000_i64];
    let optional = |weight| proptest::option::weighted(weight, left());
    let seconds = |range: std::ops::Range<u64>| range.prop_map(Duration::from_secs);
    let given = || {
        let short = ((0..5_000_u64), (1..5_u64));
        let long = ((0..100_000_000_u64), (1..2_592_000_u64));
        prop_oneof![short, long].prop_map(|(age, lifetime)| GivenTime {
            age: Duration::from_millis(age),
            lifetime: Duration::from_secs(lifetime),
        })
    };
    let lease = (
        (0..4_000_000_u64).prop_map(Duration::from_millis),
        optional(0.7),
        seconds(60..43_200),
        proptest::option::of(seconds(1800..129_600)),
        optional(0.3),
    );
    let switch = (any::<bool>(), proptest::option::of(proptest::option::weighted(0.8, given())), seconds(60..43_200));
    (lease, proptest::option::of(given()), switch).prop_map(|(lease, grant, switch)| {
        let (age, credentials_left, long_lived, max_lifetime, narrowed_left) = lease;
        let (is_switchable, switch, switch_lifetime) = switch;
        Times {
            age,
            credentials_left,
            long_lived,
            max_lifetime,
            narrowed_left,
            grant,
            is_switchable,
            switch,
            switch_lifetime,
        }
    })
}
