//! Clients in a row on one thread: connections that stay open between turns, each with one request in flight at most.
//! The answers are read by httparse, as hyper does it.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

/// No answer for this long ends the run.
const PATIENCE: Duration = Duration::from_secs(20);

/// Room for one answer.
const ROOM: usize = 64 * 1024;

/// The clients of one server.
pub struct Load {
    poll: Poll,
    events: Events,
    connections: Vec<Connection>,
    /// Asked in turn.
    requests: Vec<Vec<u8>>,
    next: usize,
}

struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
    filled: usize,
    /// When the request in flight was due.
    asked: Option<Instant>,
}

/// What came of a turn without pauses.
#[derive(Clone, Copy, Debug)]
pub struct Turn {
    pub requests: u64,
    pub took: Duration,
}

/// How the time until the next request passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pause {
    /// Asleep. Latency counts from the moment a request is sent.
    Asleep,
    /// Awake, so that requests leave on time. Latency counts from the moment a request is due.
    Awake,
}

/// `GET target`, as the SDKs send it.
pub fn request(target: &str, address: SocketAddr, token: &str) -> Vec<u8> {
    format!(
        "GET {target} HTTP/1.1\r\nHost: {address}\r\nUser-Agent: aws-sdk\r\nAccept: application/json\r\n\
         Authorization: {token}\r\n\r\n"
    )
    .into_bytes()
}

impl Load {
    pub fn new(address: SocketAddr, count: usize, requests: Vec<Vec<u8>>) -> io::Result<Self> {
        let poll = Poll::new()?;
        let mut connections = Vec::with_capacity(count);
        for index in 0..count {
            let stream = std::net::TcpStream::connect(address)?;
            stream.set_nodelay(true)?;
            stream.set_nonblocking(true)?;
            let mut stream = TcpStream::from_std(stream);
            poll.registry().register(&mut stream, Token(index), Interest::READABLE)?;
            connections.push(Connection { stream, buffer: vec![0; ROOM], filled: 0, asked: None });
        }
        Ok(Self { poll, events: Events::with_capacity(256), connections, requests, next: 0 })
    }

    /// All connections ask again as soon as they are answered.
    pub fn without_pauses(&mut self, lasting: Duration) -> io::Result<Turn> {
        self.ask_while(|_, now, began| now - began < lasting)
    }

    /// The same for a number of requests.
    pub fn requests(&mut self, count: u64) -> io::Result<Turn> {
        self.ask_while(|sent, _, _| sent < count)
    }

    fn ask_while(&mut self, more: impl Fn(u64, Instant, Instant) -> bool) -> io::Result<Turn> {
        let began = Instant::now();
        let (mut sent, mut answered, mut last) = (0, 0, began);
        for index in 0..self.connections.len() {
            self.send(index, began)?;
            sent += 1;
        }
        while answered < sent {
            let ready = self.wait(Some(PATIENCE))?;
            last = Instant::now();
            if ready.is_empty() && last - began > PATIENCE {
                return Err(io::Error::new(ErrorKind::TimedOut, "no answer"));
            }
            for index in ready {
                if self.connections[index].receive()? {
                    answered += 1;
                    if more(sent, last, began) {
                        self.send(index, last)?;
                        sent += 1;
                    }
                }
            }
        }
        Ok(Turn { requests: answered, took: last - began })
    }

    /// One request on the first connection, and the answer as it came.
    pub fn one(&mut self) -> io::Result<&[u8]> {
        self.send(0, Instant::now())?;
        while !self.wait(Some(PATIENCE))?.contains(&0) {}
        while !self.connections[0].receive()? {
            self.wait(Some(PATIENCE))?;
        }
        Ok(&self.connections[0].buffer)
    }

    /// This many requests a second at even distances, on whichever connection is free; the latency of each.
    pub fn paced(&mut self, rate: f64, lasting: Duration, pause: Pause) -> io::Result<Vec<Duration>> {
        let distance = Duration::from_secs_f64(1.0 / rate);
        let began = Instant::now();
        let (end, mut due) = (began + lasting, began);
        // In turn: one that is never used is closed after 15 s.
        let mut free: VecDeque<usize> = (0..self.connections.len()).collect();
        let mut latencies = Vec::with_capacity((rate * lasting.as_secs_f64()) as usize + 1);
        loop {
            let now = Instant::now();
            while due <= now && due < end {
                let Some(index) = free.pop_front() else { break };
                self.send(index, if pause == Pause::Awake { due } else { Instant::now() })?;
                due += distance;
            }
            if due >= end && free.len() == self.connections.len() {
                return Ok(latencies);
            }
            if now > end + PATIENCE {
                return Err(io::Error::new(ErrorKind::TimedOut, "no answer"));
            }
            let timeout = match pause {
                Pause::Awake => Duration::ZERO,
                // Rounded up to a millisecond by the poll.
                Pause::Asleep => due.saturating_duration_since(now).min(PATIENCE).max(Duration::from_micros(1)),
            };
            for index in self.wait(Some(timeout))? {
                let connection = &mut self.connections[index];
                if connection.receive()? {
                    let asked = connection.asked.take().expect("an answer is the answer to a request");
                    latencies.push(asked.elapsed());
                    free.push_back(index);
                }
            }
        }
    }

    fn send(&mut self, index: usize, asked: Instant) -> io::Result<()> {
        let request = &self.requests[self.next];
        self.next = (self.next + 1) % self.requests.len();
        let connection = &mut self.connections[index];
        connection.asked = Some(asked);
        // A few hundred bytes always fit into the buffer of an idle connection.
        connection.stream.write_all(request)
    }

    fn wait(&mut self, timeout: Option<Duration>) -> io::Result<Vec<usize>> {
        match self.poll.poll(&mut self.events, timeout) {
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(Vec::new()),
            polled => polled?,
        }
        Ok(self.events.iter().map(|event| event.token().0).collect())
    }
}

impl Connection {
    /// Reads what has come; whether it completes an answer.
    fn receive(&mut self) -> io::Result<bool> {
        loop {
            match self.stream.read(&mut self.buffer[self.filled..]) {
                Ok(0) => return Err(io::Error::new(ErrorKind::UnexpectedEof, "the server closed the connection")),
                Ok(read) => self.filled += read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
            if let Some(length) = complete(&self.buffer[..self.filled])? {
                if length != self.filled {
                    return Err(io::Error::other("more came than was asked for"));
                }
                self.filled = 0;
                return Ok(true);
            }
        }
    }
}

/// The length of the answer, once it is all there. Anything but a 200 ends the run: it would not be comparable.
fn complete(bytes: &[u8]) -> io::Result<Option<usize>> {
    let mut headers = [httparse::EMPTY_HEADER; 16];
    let mut head = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(length) = head.parse(bytes).map_err(io::Error::other)? else { return Ok(None) };
    if head.code != Some(200) {
        return Err(io::Error::other(String::from_utf8_lossy(bytes).into_owned()));
    }
    let body = head.headers.iter().find(|header| header.name.eq_ignore_ascii_case("content-length"));
    let body: Option<usize> = body.and_then(|header| std::str::from_utf8(header.value).ok()?.parse().ok());
    let whole = length + body.ok_or_else(|| io::Error::other("an answer without a length"))?;
    Ok((bytes.len() >= whole).then_some(whole))
}

/// One request on a connection of its own: status and body. `None` while nobody listens.
pub fn ask(address: SocketAddr, request: &[u8]) -> io::Result<Option<(u16, Vec<u8>)>> {
    let mut stream = match std::net::TcpStream::connect(address) {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => return Ok(None),
        connected => connected?,
    };
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(request)?;
    let (mut bytes, mut piece) = (Vec::new(), [0; 4096]);
    loop {
        let mut headers = [httparse::EMPTY_HEADER; 16];
        let mut head = httparse::Response::new(&mut headers);
        if let httparse::Status::Complete(length) = head.parse(&bytes).map_err(io::Error::other)? {
            let body = head.headers.iter().find(|header| header.name.eq_ignore_ascii_case("content-length"));
            let body = body.and_then(|header| std::str::from_utf8(header.value).ok()?.parse().ok()).unwrap_or(0);
            if bytes.len() >= length + body {
                return Ok(Some((head.code.unwrap_or(0), bytes[length..length + body].to_vec())));
            }
        }
        match stream.read(&mut piece)? {
            0 => return Err(ErrorKind::UnexpectedEof.into()),
            read => bytes.extend_from_slice(&piece[..read]),
        }
    }
}
