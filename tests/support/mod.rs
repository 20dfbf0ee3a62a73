//! A broker as a black box: its own home, port 0, every log line at trace level, and no secret in any of them.

#![allow(dead_code, reason = "every test binary uses its own part")]
#![allow(clippy::unwrap_used, clippy::missing_panics_doc, missing_docs, unreachable_pub, reason = "tests")]

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// Every secret of these tests contains this word, and no log line, status or error may.
pub const HUSH: &str = "hush";

/// Nothing on a loopback takes longer.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A home directory with nothing in it, not writable by others.
pub struct Home(TempDir);

impl Home {
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Writes a file below the home directory, making its folders.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path
    }

    pub fn token(&self) -> String {
        fs::read_to_string(self.path().join("run/token")).unwrap()
    }

    /// The command in this home, with nothing of the environment of the test.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_credenza"));
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.path())
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .env("CREDENZA_TOKEN_FILE", self.path().join("run/token"))
            .env("RUST_LOG", "trace")
            .current_dir(self.path())
            .args(arguments)
            .stdin(Stdio::null());
        command
    }

    /// Runs a command to its end.
    pub fn run(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Ended {
        let output = self.command(arguments).envs(variables.iter().copied()).output().unwrap();
        Ended {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Starts a daemon here and waits until it listens.
    pub fn serve(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Broker {
        let mut command = self.command(&["serve"]);
        command.args(arguments).envs(variables.iter().copied());
        if !arguments.contains(&"--listen") && !variables.iter().any(|(name, _)| *name == "CREDENZA_LISTEN") {
            command.args(["--listen", "127.0.0.1:0"]);
        }
        Broker::start(command)
    }
}

/// A command that has ended.
#[derive(Debug)]
pub struct Ended {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

/// A running daemon. Dropping it kills it and looks through all it ever logged.
pub struct Broker {
    pub child: Child,
    pub addresses: Vec<SocketAddr>,
    log: Arc<Mutex<String>>,
}

impl Broker {
    pub fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let log = Arc::new(Mutex::new(String::new()));
        let pipes: [Box<dyn Read + Send>; 2] =
            [Box::new(child.stdout.take().unwrap()), Box::new(child.stderr.take().unwrap())];
        for pipe in pipes {
            let log = Arc::clone(&log);
            std::thread::spawn(move || {
                for line in BufReader::new(pipe).split(b'\n') {
                    let Ok(line) = line else { return };
                    let mut log = log.lock().unwrap();
                    log.push_str(&String::from_utf8_lossy(&line));
                    log.push('\n');
                }
            });
        }
        let mut broker = Self { child, addresses: Vec::new(), log };
        broker.wait_for_log("ready to answer");
        let log = broker.log();
        let listening = log.lines().filter(|line| line.contains("listening on http://"));
        broker.addresses = listening
            .map(|line| {
                let address = line.split("listening on http://").nth(1).unwrap();
                let end = address.find(|c: char| c.is_whitespace() || c == '"').unwrap_or(address.len());
                address[..end].parse().unwrap()
            })
            .collect();
        broker
    }

    pub fn address(&self) -> SocketAddr {
        self.addresses[0]
    }

    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    pub fn wait_for_log(&mut self, what: &str) {
        let deadline = Instant::now() + PATIENCE;
        while !self.log().contains(what) {
            let ended = self.child.try_wait().unwrap();
            if ended.is_some() {
                std::thread::sleep(Duration::from_millis(50));
            }
            assert!(ended.is_none() || self.log().contains(what), "it ended ({ended:?}):\n{}", self.log());
            assert!(Instant::now() < deadline, "{what:?} never came:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// One request with the headers that an SDK sends.
    pub fn get(&self, path: &str, token: &str) -> Answer {
        self.ask(&format!("GET {path} HTTP/1.1\r\nHost: {}\r\nAuthorization: {token}\r\n", self.address()))
    }

    /// One request as it is written here, without the empty line at its end, over a connection of its own.
    pub fn ask(&self, head: &str) -> Answer {
        self.send(format!("{head}Connection: close\r\n\r\n").as_bytes())
    }

    /// Whatever bytes, and all that comes back until the connection ends.
    pub fn send(&self, bytes: &[u8]) -> Answer {
        let mut stream = TcpStream::connect(self.address()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        // A daemon that has seen enough may close before all is written.
        let _ = stream.write_all(bytes);
        let mut all = Vec::new();
        let _ = stream.read_to_end(&mut all);
        Answer::parse(&all)
    }

    /// Asks until the answer is as wanted, and says what it took.
    pub fn until(&self, path: &str, token: &str, wanted: impl Fn(&Answer) -> bool) -> (Answer, Duration) {
        let began = Instant::now();
        loop {
            let answer = self.get(path, token);
            if wanted(&answer) {
                return (answer, began.elapsed());
            }
            assert!(began.elapsed() < PATIENCE, "never as wanted, last {answer:?}\n{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Asks until `default` is served with this access key.
    pub fn until_key(&self, token: &str, key: &str) -> Duration {
        self.until("/credentials", token, |answer| answer.key() == Some(key.into())).1
    }

    /// Asks until this identity is served.
    pub fn until_identity(&self, token: &str, name: &str) {
        self.until(&format!("/credentials/{name}"), token, |answer| answer.status == 200);
    }

    pub fn signal(&self, signal: rustix::process::Signal) {
        rustix::process::kill_process(rustix::process::Pid::from_child(&self.child), signal).unwrap();
    }

    pub fn wait(&mut self) -> ExitStatus {
        wait(&mut self.child)
    }

    /// The most memory it has ever had resident, in kB.
    pub fn peak_memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }
}

/// Whether something that not every machine can do is left out here, which is said. On the build machine it is a failure.
pub fn is_left_out(reason: &str) -> bool {
    assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "this has to run here, and cannot: {reason}");
    // Past the test harness, which keeps what a passed test says to itself.
    let _ = writeln!(std::io::stderr(), "!!! a test does NOT run: {reason}");
    true
}

/// Lets this process have so many open files; `false` when it cannot.
pub fn may_open(files: u64) -> bool {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current.is_none_or(|current| current >= files) {
        return true;
    }
    maximum.is_none_or(|maximum| maximum >= files)
        && setrlimit(Resource::Nofile, Rlimit { current: Some(files), maximum }).is_ok()
}

/// A connection that stays open between requests.
pub struct KeptAlive {
    stream: BufReader<TcpStream>,
    head: String,
}

impl KeptAlive {
    pub fn to(broker: &Broker, token: &str) -> Self {
        let stream = TcpStream::connect(broker.address()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let head = format!("GET /credentials HTTP/1.1\r\nHost: localhost\r\nAuthorization: {token}\r\n\r\n");
        Self { stream: BufReader::new(stream), head }
    }

    /// One more request for `default`: its status.
    pub fn ask(&mut self) -> u16 {
        self.stream.get_mut().write_all(self.head.as_bytes()).unwrap();
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert_ne!(self.stream.read_line(&mut head).unwrap(), 0, "the connection has ended: {head:?}");
        }
        let answer = Answer::parse(head.as_bytes());
        let mut body = vec![0; answer.header("content-length").unwrap().parse().unwrap()];
        self.stream.read_exact(&mut body).unwrap();
        answer.status
    }
}

/// Waits for a child, but not for ever.
pub fn wait(child: &mut Child) -> ExitStatus {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        assert!(Instant::now() < deadline, "it does not end");
        std::thread::sleep(Duration::from_millis(5));
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let log = self.log();
        if !std::thread::panicking() {
            assert!(!log.contains(HUSH), "a secret in the log:\n{log}");
        }
    }
}

/// What came back.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Answer {
    fn parse(all: &[u8]) -> Self {
        let text = String::from_utf8_lossy(all);
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_default();
        Self { status, head: head.to_owned(), body: body.to_owned() }
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The access key that was served.
    pub fn key(&self) -> Option<String> {
        let body: serde_json::Value = serde_json::from_str(&self.body).ok()?;
        body["AccessKeyId"].as_str().map(ToOwned::to_owned)
    }

    pub fn code(&self) -> String {
        self.json()["code"].as_str().unwrap_or_default().to_owned()
    }

    pub fn message(&self) -> String {
        self.json()["message"].as_str().unwrap_or_default().to_owned()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }
}

/// The text of a shared credentials file with one default profile.
pub fn keys_file(key: &str) -> String {
    profile("default", key)
}

/// A profile as it stands in the credentials file.
pub fn profile(name: &str, key: &str) -> String {
    let mut text = String::new();
    let _ = writeln!(text, "[{name}]\naws_access_key_id = {key}\naws_secret_access_key = {HUSH}-{key}");
    text
}
