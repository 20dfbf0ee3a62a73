use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::{HUSH, Response, TIMEOUT, wait};

/// A running daemon. Its drop kills it and fails the test if a secret is in its log.
pub struct Broker {
    pub child: Child,
    pub addresses: Vec<SocketAddr>,
    /// The file with its auth token.
    pub token_file: PathBuf,
    log: Arc<Mutex<String>>,
}

impl Broker {
    /// Runs the command, and waits until the daemon listens.
    pub fn start(mut command: Command) -> Self {
        let token_file = command.get_envs().find(|(name, _)| *name == "CREDENZA_TOKEN_FILE").unwrap().1.unwrap().into();
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
        let mut broker = Self { child, addresses: Vec::new(), token_file, log };
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

    pub fn wait_for_log(&mut self, text: &str) {
        let deadline = Instant::now() + TIMEOUT;
        while !self.log().contains(text) {
            let exited = self.child.try_wait().unwrap();
            if exited.is_some() {
                std::thread::sleep(Duration::from_millis(50));
            }
            assert!(exited.is_none() || self.log().contains(text), "it exited ({exited:?}):\n{}", self.log());
            assert!(Instant::now() < deadline, "{text:?} was never logged:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Returns the auth token.
    pub fn token(&self) -> String {
        fs::read_to_string(&self.token_file).unwrap()
    }

    /// Sends a GET request with the headers of an SDK.
    pub fn get(&self, path: &str) -> Response {
        self.get_with(path, &self.token())
    }

    /// Sends a GET request with this auth token.
    pub fn get_with(&self, path: &str, token: &str) -> Response {
        self.request(&format!("GET {path} HTTP/1.1\r\nHost: {}\r\nAuthorization: {token}\r\n", self.address()))
    }

    /// Begins a GET request over a new connection.
    pub fn begin(&self, path: &str) -> TcpStream {
        let token = self.token();
        send(self.address(), format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: {token}\r\n\r\n"))
    }

    /// Sends this request head over a new connection; the empty line at its end is added.
    pub fn request(&self, head: &str) -> Response {
        self.send(format!("{head}Connection: close\r\n\r\n").as_bytes())
    }

    /// Sends these bytes over a new connection, and reads until it ends.
    pub fn send(&self, bytes: &[u8]) -> Response {
        Response::read(&mut send(self.address(), bytes))
    }

    /// Repeats a GET request until the response is as wanted; returns it and the time it took.
    pub fn wait_for(&self, path: &str, wanted: impl Fn(&Response) -> bool) -> (Response, Duration) {
        let started = Instant::now();
        loop {
            let response = self.get(path);
            if wanted(&response) {
                return (response, started.elapsed());
            }
            assert!(started.elapsed() < TIMEOUT, "never as wanted, last {response:?}\n{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until the identity `default` has this access key.
    pub fn wait_for_key(&self, key: &str) -> Duration {
        self.wait_for("/credentials", |response| response.key() == Some(key.into())).1
    }

    /// Waits until this identity has credentials.
    pub fn wait_for_identity(&self, name: &str) {
        self.wait_for(&format!("/credentials/{name}"), |response| response.status == 200);
    }

    pub fn signal(&self, signal: rustix::process::Signal) {
        rustix::process::kill_process(rustix::process::Pid::from_child(&self.child), signal).unwrap();
    }

    pub fn wait(&mut self) -> ExitStatus {
        wait(&mut self.child)
    }

    /// Returns the peak of its resident memory in kB.
    pub fn peak_memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
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

/// Sends these bytes over a new connection.
pub fn send(address: SocketAddr, bytes: impl AsRef<[u8]>) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    // The server may refuse a request and close before all of it is written.
    let _ = stream.write_all(bytes.as_ref());
    stream
}

/// A client connection that stays open between requests.
pub struct KeepAlive {
    stream: BufReader<TcpStream>,
    head: String,
}

impl KeepAlive {
    pub fn to(broker: &Broker) -> Self {
        let stream = TcpStream::connect(broker.address()).unwrap();
        stream.set_read_timeout(Some(TIMEOUT)).unwrap();
        let head = format!("GET /credentials HTTP/1.1\r\nHost: localhost\r\nAuthorization: {}\r\n\r\n", broker.token());
        Self { stream: BufReader::new(stream), head }
    }

    /// Requests the identity `default` once more, and returns the status.
    pub fn request(&mut self) -> u16 {
        self.stream.get_mut().write_all(self.head.as_bytes()).unwrap();
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert_ne!(self.stream.read_line(&mut head).unwrap(), 0, "the connection has ended: {head:?}");
        }
        let response = Response::parse(head.as_bytes());
        let mut body = vec![0; response.header("content-length").unwrap().parse().unwrap()];
        self.stream.read_exact(&mut body).unwrap();
        response.status
    }
}
