//! IMDS (version 2) in memory, which fails as the weather says.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime};

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::daemon::soak::dice::Dice;
use crate::daemon::soak::journal::{HUSH, Journal};
use crate::daemon::soak::ledger::{Issue, Ledger};
use crate::daemon::soak::weather::{FAULTS, Sky, Weather};
use crate::http::stream::{ByteStream, Connecting};
use crate::model::time::timestamp;
use crate::os::clock::Clock;

const TOKEN: &str = "/latest/api/token";
const ROLES: &str = "/latest/meta-data/iam/security-credentials/";
const IDENTITY: &str = "/latest/dynamic/instance-identity/document";
const ROLE: &str = "soaked";

const SESSION: Duration = Duration::from_secs(6 * 3600);
const MINUTE: Duration = Duration::from_secs(60);

/// The allowed calls a minute: a refresher retries after 1, 2, 4, … s with jitter, each time with at most eight
/// requests.
const MOST_A_MINUTE: usize = 120;

/// The pause between two 404 responses of the role list. After 5 s of them the daemon treats the role as removed.
const ROLE_MISSED: Duration = Duration::from_secs(30);

/// The state that the daemon's connections, the client and the clock loop share.
#[derive(Clone)]
pub(crate) struct Service(Arc<Mutex<State>>);

pub(crate) struct State {
    lifetime: Duration,
    start: SystemTime,
    began: Instant,
    pub(crate) ours: Clock,
    pub(crate) dice: Dice,
    pub(crate) weather: Weather,
    pub(crate) ledger: Ledger,
    pub(crate) journal: Journal,
    pub(crate) issues: Vec<Arc<Issue>>,
    session: (u64, Instant),
    role_missed: Option<Instant>,
    calls: VecDeque<Instant>,
    pub(crate) calls_in_total: usize,
    pub(crate) violation: Option<String>,
}

enum Reply {
    Whole { status: u16, headers: String, body: Vec<u8>, gives: Option<Arc<Issue>> },
    Raw(Vec<u8>),
    Hang,
    Drip,
}

impl Reply {
    fn of(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self::Whole { status, headers: String::new(), body: body.into(), gives: None }
    }

    fn with(status: u16, headers: String, body: impl Into<Vec<u8>>) -> Self {
        Self::Whole { status, headers, body: body.into(), gives: None }
    }
}

impl Service {
    pub(crate) fn new(mut dice: Dice, lifetime: Duration, ours: Clock, journal: Journal) -> Self {
        let weather = Weather::new(&mut dice);
        Self(Arc::new(Mutex::new(State {
            lifetime,
            start: ours.now(),
            began: Instant::now(),
            ours,
            dice,
            weather,
            ledger: Ledger::default(),
            journal,
            issues: Vec::new(),
            session: (0, Instant::now()),
            role_missed: None,
            calls: VecDeque::new(),
            calls_in_total: 0,
            violation: None,
        })))
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// Returns the function that opens connections to the service, and the loop that serves them.
    pub(crate) fn open(
        &self,
    ) -> (impl Fn(std::net::SocketAddr) -> Connecting + use<>, impl Future<Output = ()> + use<>) {
        let (line, mut calls) = mpsc::unbounded_channel();
        let (dialling, speaking) = (self.clone(), self.clone());
        let dial = move |_| -> Connecting {
            let sky = dialling.state().sky();
            let line = line.clone();
            Box::pin(async move {
                match sky {
                    Sky::Refused => Err(io::ErrorKind::ConnectionRefused.into()),
                    Sky::Unreachable => std::future::pending().await,
                    _ => {
                        let (near, far) = tokio::io::duplex(64 * 1024);
                        let _ = line.send((far, sky));
                        Ok(Box::new(near) as Box<dyn ByteStream>)
                    }
                }
            })
        };
        let speak = async move {
            let mut speakers = JoinSet::new();
            loop {
                tokio::select! {
                    biased;
                    Some((stream, sky)) = calls.recv() => {
                        speakers.spawn(speaking.clone().speak(stream, sky));
                    }
                    Some(_) = speakers.join_next() => {}
                }
            }
        };
        (dial, speak)
    }

    /// Serves one request on a connection.
    async fn speak(self, mut stream: DuplexStream, sky: Sky) {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut piece = [0; 1024];
            match stream.read(&mut piece).await {
                Ok(0) | Err(_) => return,
                Ok(read) => head.extend_from_slice(&piece[..read]),
            }
        }
        let (reply, delay) = self.state().answer(&String::from_utf8_lossy(&head), sky);
        sleep(delay).await;
        match reply {
            Reply::Whole { status, headers, body, gives } => {
                let head = format!("HTTP/1.1 {status} -\r\n{headers}content-length: {}\r\n\r\n", body.len());
                let written = stream.write_all(&[head.as_bytes(), &body].concat()).await;
                if let (Ok(()), Some(issue)) = (written, gives) {
                    let mut state = self.state();
                    let wall = state.ours.now();
                    state.ledger.give(&issue, wall);
                    let line = format!("upstream gave {} until {}", issue.key, timestamp(issue.expiration));
                    state.journal.record(line);
                }
            }
            Reply::Raw(bytes) => drop(stream.write_all(&bytes).await),
            Reply::Hang => drop(stream.read(&mut [0; 64]).await),
            Reply::Drip => {
                while stream.write_all(b"HTTP/1.1 200 OK\r\nx: y\r\n").await.is_ok() {
                    sleep(Duration::from_millis(300)).await;
                }
            }
        }
    }
}

impl State {
    /// Returns the weather for one request.
    fn sky(&mut self) -> Sky {
        match self.weather.sky {
            Sky::Flaky if self.dice.one_in(2) => Sky::Clear,
            Sky::Flaky => self.dice.pick(&FAULTS),
            sky => sky,
        }
    }

    /// Returns the time by the upstream's clock.
    fn theirs(&self) -> SystemTime {
        let (now, by) = (self.start + self.began.elapsed(), self.weather.upstream);
        let skew = Duration::from_millis(by.unsigned_abs());
        if by < 0 { now - skew } else { now + skew }
    }

    /// Changes the weather and the clocks; called once a second.
    pub(crate) fn tick(&mut self) {
        let judging = self.ledger.is_judging();
        let change = self.weather.tick(&mut self.dice, judging);
        if change.sky {
            self.journal.record(format_args!("the weather is {:?}", self.weather.sky));
        }
        if change.clocks {
            self.ours.step(change.step);
            let (upstream, ours) = (self.weather.upstream, self.weather.ours);
            self.journal.record(format_args!("clocks: upstream's {upstream} ms ahead, ours {ours} ms"));
        }
        let well = self.weather.sky == Sky::Clear && self.would_give() > self.ours.now();
        let since = self.ledger.well_since.filter(|_| well && !change.clocks);
        self.ledger.well_since = since.or_else(|| well.then(Instant::now));
        self.ledger.clocks_right = self.weather.clocks_are_right();
    }

    fn is_due(&self) -> bool {
        self.issues.last().is_none_or(|last| self.theirs() + last.margin >= last.expiration)
    }

    /// Returns the expiration of the credentials that a request would get now.
    fn would_give(&self) -> SystemTime {
        match self.issues.last() {
            Some(last) if !self.is_due() => last.expiration,
            _ => self.theirs() + self.lifetime,
        }
    }

    fn current(&mut self) -> Arc<Issue> {
        if self.is_due() {
            let number = self.issues.len();
            let end = (self.theirs() + self.lifetime).duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
            self.issues.push(Arc::new(Issue {
                number,
                key: format!("ASIA{number:06}"),
                secret: format!("{HUSH}-secret-{number}"),
                token: format!("{HUSH}-token-{number}"),
                expiration: SystemTime::UNIX_EPOCH + Duration::from_secs(end.as_secs()),
                margin: self.dice.span(MINUTE * 5, self.lifetime / 2),
                timely: self.weather.upstream == 0,
            }));
        }
        Arc::clone(self.issues.last().unwrap())
    }

    fn answer(&mut self, head: &str, sky: Sky) -> (Reply, Duration) {
        self.count();
        let mut words = head.split(' ');
        let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let (method, path) = (method.to_owned(), path.to_owned());
        let reply = match sky {
            Sky::Mute => Reply::Hang,
            Sky::Dripping => Reply::Drip,
            Sky::Throttling => {
                let after =
                    self.dice.pick(&["", "retry-after: 1\r\n", "retry-after: 30\r\n", "retry-after: 86400\r\n"]);
                Reply::with(self.dice.pick(&[429, 503]), after.into(), "slow down")
            }
            Sky::Broken => Reply::of(self.dice.pick(&[500, 502, 503, 504]), "<html>"),
            Sky::Nonsense => self.nonsense(&path),
            Sky::Denying => Reply::of(self.dice.pick(&[401, 403]), ""),
            _ => {
                if sky == Sky::Forgetful && self.dice.one_in(2) {
                    self.session.1 = Instant::now();
                }
                self.proper(&method, &path, head, sky == Sky::Stale)
            }
        };
        let longest = if sky == Sky::Slow { 900 } else { 50 };
        let delay = Duration::from_millis(self.dice.below(longest));
        let what = match &reply {
            Reply::Whole { status, body, .. } => format!("{status}, {} bytes", body.len()),
            Reply::Raw(bytes) => format!("{} raw bytes", bytes.len()),
            Reply::Hang => "nothing".into(),
            Reply::Drip => "drops".into(),
        };
        self.journal.record(format_args!("upstream: {method} {path} gets {what} after {delay:?} ({sky:?})"));
        (reply, delay)
    }

    fn count(&mut self) {
        let now = Instant::now();
        self.calls_in_total += 1;
        while self.calls.front().is_some_and(|at| now - *at >= MINUTE) {
            self.calls.pop_front();
        }
        self.calls.push_back(now);
        if self.calls.len() > MOST_A_MINUTE {
            self.violation.get_or_insert_with(|| format!("more than {MOST_A_MINUTE} calls within a minute"));
        }
    }

    fn proper(&mut self, method: &str, path: &str, head: &str, stale: bool) -> Reply {
        let session = |number: u64| format!("{HUSH}-session-{number}==");
        if (method, path) == ("PUT", TOKEN) {
            self.session = (self.session.0 + 1, Instant::now() + SESSION);
            let ttl = format!("x-aws-ec2-metadata-token-ttl-seconds: {}\r\n", SESSION.as_secs());
            return Reply::with(200, ttl, session(self.session.0));
        }
        let shown = head.lines().find_map(|line| line.strip_prefix("x-aws-ec2-metadata-token: "));
        if shown != Some(&session(self.session.0)) || self.session.1 <= Instant::now() {
            return Reply::of(401, "");
        }
        match path.strip_prefix(ROLES) {
            _ if method != "GET" => Reply::of(405, ""),
            Some("") => Reply::of(200, ROLE),
            Some(ROLE) => {
                let current = self.current();
                let before = current.number.checked_sub(1).filter(|_| stale).map(|at| Arc::clone(&self.issues[at]));
                let issue = before.unwrap_or(current);
                let body = document(&issue);
                Reply::Whole { status: 200, headers: String::new(), body: body.into(), gives: Some(issue) }
            }
            None if path == IDENTITY => Reply::of(200, r#"{"accountId":"123456789012","region":"eu-west-3"}"#),
            _ => Reply::of(404, "<html>"),
        }
    }

    fn nonsense(&mut self, path: &str) -> Reply {
        let missed = self.role_missed.is_none_or(|at| at.elapsed() > ROLE_MISSED);
        if path == ROLES && missed && self.dice.one_in(4) {
            self.role_missed = Some(Instant::now());
            return Reply::of(404, "<html>");
        }
        let kind = self.dice.below(16);
        let issue = self.current();
        let whole = document(&issue);
        let long_ago = timestamp(self.ours.now() - self.dice.span(Duration::from_secs(1), MINUTE * 6000));
        let cut = whole.len() / 2;
        match kind {
            0 => Reply::of(200, ""),
            1 => Reply::of(200, "<html>sign in</html>"),
            2 => Reply::of(200, &whole.as_bytes()[..cut]),
            3 => Reply::of(200, "null"),
            4 => Reply::of(200, r#"{"Code":"Failed","Message":"not now"}"#),
            5 => Reply::of(200, whole.replace(&issue.secret, "")),
            6 => Reply::of(200, whole.replace(&timestamp(issue.expiration), "soon")),
            7 => Reply::of(200, whole.replace(&timestamp(issue.expiration), &long_ago)),
            8 => Reply::of(200, whole.replace(&issue.token, "two\\nlines")),
            9 => Reply::of(200, vec![b' '; 1 << 17]),
            10 => Reply::Raw(b"SSH-2.0-OpenSSH_9.2\r\n".into()),
            11 => Reply::Raw(format!("HTTP/1.1 200 OK\r\ncontent-length: 9999\r\n\r\n{whole}").into()),
            12 => Reply::Raw(format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "y".repeat(20_000)).into()),
            13 => Reply::Raw(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n".into()),
            14 => Reply::with(307, "location: http://169.254.169.254/\r\n".into(), ""),
            _ => Reply::of(200, [0xff, 0xfe, 0, 1, 27]),
        }
    }
}

fn document(issue: &Issue) -> String {
    let Issue { key, secret, token, expiration, .. } = issue;
    let end = timestamp(*expiration);
    format!(
        r#"{{"Code":"Success","Type":"AWS-HMAC","AccessKeyId":"{key}","SecretAccessKey":"{secret}","Token":"{token}","Expiration":"{end}"}}"#
    )
}
