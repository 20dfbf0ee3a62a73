//! One run: a daemon, its upstream and its client over simulated days.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::config::{Config, Overrides};
use crate::context::Context;
use crate::daemon::soak::dice::Dice;
use crate::daemon::soak::journal::{HUSH, Journal};
use crate::daemon::soak::ledger::ClientResponse;
use crate::daemon::soak::service::Service;
use crate::daemon::{Daemon, DaemonParts};
use crate::http::client::HttpClient;
use crate::lease::supervisor::Generation;
use crate::os::clock::Clock;
use crate::os::environment::Environment;
use crate::os::files::watcher::Watcher;
use crate::os::rng::Rng;
use crate::server::answer_log::AnswerLog;
use crate::server::clients::{Client, Clients};
use crate::server::connection_limit::Peer;
use crate::server::connections::StreamListener;

/// Memory is compared with its size after this many hours, when buffers have grown to their sizes.
const WARM: u64 = 12;

/// The allowed growth in bytes. The heap varies by a few pages; a leak of 16 bytes a request would be 3.4 MB in three days.
const MOST_GROWTH: usize = 2 << 20;

/// The allowed mean of upstream calls an hour: a load every 30 s, the mean of a long backoff, with two calls each.
const MOST_AN_HOUR: usize = 240;

/// The number of requests on one connection: the client reuses connections, and replaces them at times.
const MOST_REQUESTS: u32 = 500;

/// The client drops connections that are idle for longer. The daemon closes them after 15 s, and a request that crosses
/// the close would fail.
const IDLE: Duration = Duration::from_secs(10);

const TOKEN: &str = "hush-0123456789abcdef0123456789abcdef";

const CONFIGURATION: &str = "[identities.default]\nsources = [\"imds\"]\n";

pub(crate) struct Days {
    seed: u64,
    lifetime: Duration,
    hours: u64,
}

impl Days {
    pub(crate) fn new(seed: u64, lifetime: Duration) -> Self {
        Self { seed, lifetime, hours: 24 }
    }

    pub(crate) fn for_hours(self, hours: u64) -> Self {
        Self { hours, ..self }
    }

    /// Returns the numbers of the run, or the violation with its time and the events before it.
    pub(crate) fn run(self) -> Result<String, String> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let journal = Journal::new();
            let log = tracing_subscriber::fmt()
                .with_ansi(false)
                .with_max_level(tracing::Level::INFO)
                .with_timer(journal.clone())
                .with_writer(journal.clone())
                .finish();
            let _log = tracing::subscriber::set_default(log);
            let outcome = self.simulate(&journal).await;
            outcome.map_err(|violation| {
                format!(
                    "{}SEED={}, leases of {} h, at {}: {violation}\n  (make soak SEED={} repeats it; above are the last minutes)",
                    journal.text(),
                    self.seed,
                    self.lifetime.as_secs() / 3600,
                    journal.moment(),
                    self.seed
                )
            })
        })
    }

    async fn simulate(&self, journal: &Journal) -> Result<String, String> {
        let clock = Clock::injected(SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_449_600));
        let service = Service::new(Dice::new(self.seed), self.lifetime, clock.clone(), journal.clone());
        let (dial, speaking) = service.open();
        let (line, calls) = mpsc::unbounded_channel();
        let parts = DaemonParts {
            context: Context {
                clock,
                rng: Rng::seeded(self.seed),
                environment: Environment::new([("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://169.254.169.254")]),
                http_client: HttpClient::injected(dial),
                ..Context::default()
            },
            watcher: Watcher::none(),
            generation: Generation::of(&Config::parse(CONFIGURATION.as_bytes(), &Overrides::default()).unwrap()),
            listeners: vec![DuplexListener(calls)],
            allowed_hosts: Vec::new(),
            clients: Clients::fixed([(TOKEN.into(), Client::of_all("soak"))]),
            max_connections: 64,
            imds: None,
            control: None,
            log: AnswerLog::default(),
        };
        let daemon = Daemon::new(parts, CancellationToken::new());
        let registry = daemon.registry();
        let (_orders, receiver) = mpsc::channel(1);
        let clockwork = async {
            let mut stuck = false;
            let mut client = SoakClient { service: service.clone(), line, idle: Vec::new(), requests: JoinSet::new() };
            let (start, mut warm) = (Instant::now(), None);
            for second in 1..=self.hours * 3600 {
                sleep_until(start + Duration::from_secs(second)).await;
                service.state().tick();
                client.send(if second % 600 == 0 { "/status" } else { "/credentials" });
                if second % 10 == 0 {
                    let health = registry.health(service.state().ours.now(), Instant::now());
                    if std::mem::replace(&mut stuck, health.stuck.is_some()) && stuck {
                        return Err(format!("the watchdog would not be fed: {health:?}"));
                    }
                }
                if second >= WARM * 3600 && second % 3600 == 0 {
                    let (now, warm) = (resident(), *warm.get_or_insert_with(resident));
                    if now > warm + MOST_GROWTH {
                        return Err(format!("memory has grown from {} to {} kB", warm >> 10, now >> 10));
                    }
                }
                if let Some(violation) = service.state().violation.take() {
                    return Err(violation);
                }
            }
            Ok(())
        };
        tokio::select! {
            biased;
            ended = daemon.run(receiver) => return Err(format!("the daemon ended: {ended:?}")),
            () = speaking => return Err("the service ended".into()),
            result = clockwork => result?,
        }
        let state = service.state();
        let most = MOST_AN_HOUR * usize::try_from(self.hours).unwrap();
        if state.calls_in_total > most {
            return Err(format!("{} upstream calls in {} hours", state.calls_in_total, self.hours));
        }
        let (served, refused) = (state.ledger.served, state.ledger.refused);
        if served < refused || state.issues.len() < 2 {
            return Err(format!(
                "{served} served, {refused} refused, {} issues: this shows nothing",
                state.issues.len()
            ));
        }
        Ok(format!(
            "{} h of leases of {} h: {served} served, {refused} rightly refused, {} credentials in {} calls",
            self.hours,
            self.lifetime.as_secs() / 3600,
            state.issues.len(),
            state.calls_in_total
        ))
    }
}

/// A listener that accepts in-memory connections.
struct DuplexListener(mpsc::UnboundedReceiver<DuplexStream>);

impl StreamListener for DuplexListener {
    type Stream = DuplexStream;

    fn address(&self) -> Option<SocketAddr> {
        None
    }

    async fn accept(&mut self) -> io::Result<(DuplexStream, Peer)> {
        match self.0.recv().await {
            Some(stream) => Ok((stream, Peer::at(None))),
            None => std::future::pending().await,
        }
    }
}

/// Sends a request every second, even if the last response is still missing.
struct SoakClient {
    service: Service,
    line: mpsc::UnboundedSender<DuplexStream>,
    idle: Vec<Idle>,
    requests: JoinSet<Option<Idle>>,
}

struct Idle {
    stream: DuplexStream,
    requests: u32,
    since: Instant,
}

impl SoakClient {
    fn send(&mut self, path: &'static str) {
        while let Some(ended) = self.requests.try_join_next() {
            self.idle.extend(ended.unwrap());
        }
        self.idle.retain(|idle| idle.requests < MOST_REQUESTS && idle.since.elapsed() < IDLE);
        let Idle { stream, requests, .. } = self.idle.pop().unwrap_or_else(|| {
            let (stream, far) = tokio::io::duplex(16 * 1024);
            let _ = self.line.send(far);
            Idle { stream, requests: 0, since: Instant::now() }
        });
        let service = self.service.clone();
        self.requests.spawn(async move {
            match exchange(&service, stream, path).await {
                Ok(stream) => Some(Idle { stream, requests: requests + 1, since: Instant::now() }),
                Err(violation) => {
                    service.state().violation.get_or_insert(violation);
                    None
                }
            }
        });
    }
}

/// Sends one request and judges its response at once.
async fn exchange(service: &Service, mut stream: DuplexStream, path: &str) -> Result<DuplexStream, String> {
    let (sent, must_serve) = {
        let mut state = service.state();
        let wall = state.ours.now();
        (Instant::now(), state.ledger.must_serve(wall))
    };
    let head = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: {TOKEN}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.map_err(|error| format!("cannot send {path}: {error}"))?;
    let response = receive(&mut stream).await.map_err(|error| format!("no response to {path}: {error}"))?;
    let mut state = service.state();
    let state = &mut *state;
    if path == "/status" {
        let text = String::from_utf8_lossy(&response.body);
        let right = response.status == 200 && text.contains("\"default\"") && !text.contains(HUSH);
        return if right { Ok(stream) } else { Err(format!("/status returned {}: {text}", response.status)) };
    }
    let key = String::from_utf8_lossy(&response.body).split('"').nth(15).unwrap_or_default().to_owned();
    let now = if response.status == 200 { key } else { response.status.to_string() };
    if now != state.ledger.last {
        state.journal.record(format_args!("the client gets {now}"));
        state.ledger.last = now;
    }
    let wall = state.ours.now();
    state.ledger.judge(&response, sent, must_serve, wall, &state.issues)?;
    Ok(stream)
}

async fn receive(stream: &mut DuplexStream) -> io::Result<ClientResponse> {
    let mut bytes = Vec::with_capacity(2048);
    loop {
        if stream.read_buf(&mut bytes).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
        let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok()).unwrap_or(0);
        while bytes.len() < end + 4 + length {
            if stream.read_buf(&mut bytes).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_default();
        return Ok(ClientResponse { status, body: bytes.split_off(end + 4) });
    }
}

/// Returns the resident memory of this process in bytes.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.split_whitespace().next().unwrap().parse::<usize>().unwrap() << 10
}
