//! An HTTP/1.1 server that records every request and can misbehave.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// A request as it was received.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    pub method: String,
    /// Path and query.
    pub target: String,
    /// In the received order, names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Seen {
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut found = self.headers.iter().filter(|(n, _)| n == name).map(|(_, v)| v.as_str());
        let first = found.next();
        assert!(found.next().is_none(), "{name} came twice");
        first
    }

    /// Returns `GET /path`.
    pub fn line(&self) -> String {
        format!("{} {}", self.method, self.target)
    }
}

/// The answer to a request.
#[derive(Clone, Debug)]
pub enum Reply {
    Answer {
        status: u16,
        headers: Vec<(&'static str, String)>,
        body: Vec<u8>,
    },
    /// These bytes, then the end of the connection.
    Raw(Vec<u8>),
    /// Nothing, until the client closes the connection.
    Hang,
    /// A reply after this time.
    Late(Duration, Box<Reply>),
    /// A head, then a byte of the body every few milliseconds, forever.
    Drip,
    /// A head, then an endless body.
    Flood,
    /// A byte of the head every few milliseconds, forever.
    DripHead,
    /// An endless head.
    FloodHead,
}

impl Reply {
    pub fn of(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self::Answer { status, headers: Vec::new(), body: body.into() }
    }

    pub fn ok(body: impl Into<Vec<u8>>) -> Self {
        Self::of(200, body)
    }

    pub fn after(self, time: Duration) -> Self {
        Self::Late(time, Box::new(self))
    }

    pub fn with(self, name: &'static str, value: impl Into<String>) -> Self {
        match self {
            Self::Answer { status, mut headers, body } => {
                headers.push((name, value.into()));
                Self::Answer { status, headers, body }
            }
            other => other,
        }
    }
}

/// Accepts connections until it is dropped, and serves each in a thread.
pub(crate) struct Listening {
    pub(crate) address: SocketAddr,
    stop: Arc<AtomicBool>,
}

impl Listening {
    pub(crate) fn on(listener: TcpListener, serve: impl Fn(TcpStream) + Send + Sync + 'static) -> Self {
        let (address, stop) = (listener.local_addr().unwrap(), Arc::<AtomicBool>::default());
        let (stopped, serve) = (Arc::clone(&stop), Arc::new(serve));
        thread::spawn(move || {
            for stream in listener.incoming().take_while(|_| !stopped.load(Ordering::SeqCst)).flatten() {
                let serve = Arc::clone(&serve);
                thread::spawn(move || serve(stream));
            }
        });
        Self { address, stop }
    }

    pub(crate) fn on_any_port(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").unwrap(), serve)
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        drop(TcpStream::connect(self.address));
    }
}

/// Stops when it is dropped.
pub struct Server {
    listening: Listening,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Server {
    pub fn start(answer: impl FnMut(&Seen) -> Reply + Send + 'static) -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").unwrap(), answer)
    }

    pub fn on(listener: TcpListener, answer: impl FnMut(&Seen) -> Reply + Send + 'static) -> Self {
        let (seen, answer) = (Arc::<Mutex<Vec<Seen>>>::default(), Mutex::new(answer));
        let requests = Arc::clone(&seen);
        let listening = Listening::on(listener, move |stream| {
            let Some(request) = read(&stream) else { return };
            lock(&requests).push(request.clone());
            let reply = lock(&answer)(&request);
            // The client may close the connection before it has read all of the reply.
            drop(write(&stream, reply));
        });
        Self { listening, seen }
    }

    pub fn address(&self) -> SocketAddr {
        self.listening.address
    }

    /// Returns `http://127.0.0.1:PORT` and the target.
    pub fn url(&self, target: &str) -> String {
        format!("http://{}{target}", self.address())
    }

    pub fn seen(&self) -> Vec<Seen> {
        lock(&self.seen).clone()
    }

    /// Returns `GET /path` of every request.
    pub fn lines(&self) -> Vec<String> {
        self.seen().iter().map(Seen::line).collect()
    }
}

/// The contents and the behaviour of a service.
pub trait Service: Send + 'static {
    /// The path of its endpoint, as variables name it.
    const ROOT: &str = "";

    fn answer(&mut self, request: &Seen) -> Reply;
}

/// A running service, whose contents and behaviour can be changed.
pub struct Fake<S> {
    server: Server,
    state: Arc<Mutex<S>>,
}

impl<S: Service> Fake<S> {
    pub(crate) fn over(state: S) -> Self {
        let state = Arc::new(Mutex::new(state));
        let served = Arc::clone(&state);
        Self { server: Server::start(move |request| lock(&served).answer(request)), state }
    }

    /// The value of the variable that names the endpoint of the service.
    pub fn endpoint(&self) -> String {
        self.server.url(S::ROOT)
    }

    pub fn server(&self) -> &Server {
        &self.server
    }

    pub fn set<T>(&self, change: impl FnOnce(&mut S) -> T) -> T {
        change(&mut lock(&self.state))
    }
}

/// Returns an address without a listener.
pub fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) fn read(stream: impl Read) -> Option<Seen> {
    let mut reader = BufReader::new(stream);
    let mut line = || {
        let mut text = String::new();
        reader.read_line(&mut text).ok()?;
        text.ends_with("\r\n").then(|| text.trim_end().to_owned())
    };
    let first = line()?;
    let [method, target, "HTTP/1.1"] = *first.split(' ').collect::<Vec<_>>() else { return None };
    let mut seen = Seen { method: method.into(), target: target.into(), ..Seen::default() };
    loop {
        let text = line()?;
        if text.is_empty() {
            break;
        }
        let (name, value) = text.split_once(':')?;
        seen.headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let length = seen.header("content-length").map_or(0, |length| length.parse().unwrap());
    seen.body = vec![0; length];
    reader.read_exact(&mut seen.body).ok()?;
    Some(seen)
}

pub(crate) fn write(mut stream: impl Read + Write, reply: Reply) -> std::io::Result<()> {
    match reply {
        Reply::Answer { status, headers, body } => {
            let mut head = format!("HTTP/1.1 {status} -\r\n");
            for (name, value) in headers {
                head += &format!("{name}: {value}\r\n");
            }
            head += &format!("content-length: {}\r\n\r\n", body.len());
            stream.write_all(&[head.as_bytes(), &body].concat())
        }
        Reply::Raw(bytes) => stream.write_all(&bytes),
        Reply::Hang => stream.read(&mut [0; 64]).map(drop),
        Reply::Late(time, reply) => {
            thread::sleep(time);
            write(stream, *reply)
        }
        Reply::Drip => {
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 60000\r\n\r\n")?;
            loop {
                stream.write_all(b" ")?;
                thread::sleep(Duration::from_millis(5));
            }
        }
        Reply::DripHead => {
            stream.write_all(b"HTTP/1.1 200 OK\r\nx: ")?;
            loop {
                stream.write_all(b"y")?;
                thread::sleep(Duration::from_millis(5));
            }
        }
        Reply::FloodHead => {
            stream.write_all(b"HTTP/1.1 200 OK\r\n")?;
            loop {
                stream.write_all(
                    b"x: yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n",
                )?;
            }
        }
        Reply::Flood => {
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n")?;
            loop {
                stream.write_all(&[b' '; 8192])?;
            }
        }
    }
}
