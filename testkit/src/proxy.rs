//! An HTTP proxy that accepts only `CONNECT`, and records the requests.

use std::io::{self, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use crate::server::{Listening, Reply, Seen, lock, read, write};

/// The answer to a request.
#[derive(Clone, Debug)]
pub enum Verdict {
    /// These bytes, then a connection to this address instead of the requested host.
    Connect(&'static str, SocketAddr),
    /// A response of the proxy.
    Answer(Reply),
}

impl Verdict {
    pub fn to(address: SocketAddr) -> Self {
        Self::Connect("HTTP/1.1 200 Connection established\r\n\r\n", address)
    }
}

/// Stops when it is dropped.
pub struct Proxy {
    listening: Listening,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Proxy {
    pub fn start(verdict: Verdict) -> Self {
        let seen = Arc::<Mutex<Vec<Seen>>>::default();
        let requests = Arc::clone(&seen);
        let listening = Listening::on_any_port(move |stream| {
            let Some(request) = read(&stream) else { return };
            lock(&requests).push(request);
            drop(match &verdict {
                Verdict::Connect(head, address) => join(stream, head, *address),
                Verdict::Answer(reply) => write(&stream, reply.clone()),
            });
        });
        Self { listening, seen }
    }

    pub fn address(&self) -> SocketAddr {
        self.listening.address
    }

    pub fn seen(&self) -> Vec<Seen> {
        lock(&self.seen).clone()
    }
}

fn join(mut client: TcpStream, head: &str, address: SocketAddr) -> io::Result<()> {
    let mut server = TcpStream::connect(address)?;
    client.write_all(head.as_bytes())?;
    let (mut from_client, mut to_server) = (client.try_clone()?, server.try_clone()?);
    thread::spawn(move || {
        drop(io::copy(&mut from_client, &mut to_server));
        drop(to_server.shutdown(std::net::Shutdown::Both));
    });
    io::copy(&mut server, &mut client)?;
    client.shutdown(std::net::Shutdown::Both)
}
