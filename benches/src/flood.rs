//! Floods a server as fast as it can. Usage: `flood KIND ADDRESS TOKEN`; a signal ends it.

use std::io::{Error, Read, Result, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::ExitCode;
use std::time::Duration;

use rustix::net::sockopt::set_socket_linger;

/// Connections that are open at a time. Four such processes take all slots of the default connection limit.
const OPEN: usize = 200;

/// More than the socket buffers of a connection hold.
const PIPELINED: usize = 1000;

fn main() -> ExitCode {
    match flood() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("flood: {error}");
            ExitCode::FAILURE
        }
    }
}

fn flood() -> Result<()> {
    let usage = || Error::other("usage: flood connects|requests|heads|idle ADDRESS TOKEN");
    let mut arguments = std::env::args().skip(1);
    let (kind, address, token) =
        (arguments.next(), arguments.next().and_then(|address| address.parse().ok()), arguments.next());
    let (Some(kind), Some(address), Some(token)) = (kind, address, token) else { return Err(usage()) };
    let request = |token: &str| {
        format!("GET /credentials HTTP/1.1\r\nHost: {address}\r\nAuthorization: {token}\r\n\r\n").into_bytes()
    };
    match kind.as_str() {
        "connects" => loop {
            drop(connect(address));
        },
        // The oldest connection makes room for the next one.
        "requests" => in_turn(address, &request("wrong").repeat(PIPELINED), |_| false),
        "heads" => in_turn(address, b"GET /credentials HTTP/1.1\r\nX: ", |stream| stream.write_all(b"x").is_ok()),
        "idle" => in_turn(address, &request(&token), |stream| {
            let mut answer = [0; 4096];
            matches!(stream.read(&mut answer), Ok(1..) | Err(_))
                && stream.take_error().is_ok_and(|error| error.is_none())
        }),
        _ => Err(usage()),
    }
}

/// Opens [`OPEN`] connections that begin with these bytes, and replaces each that `keeps` gives up.
fn in_turn(address: SocketAddr, first: &[u8], keeps: impl Fn(&mut TcpStream) -> bool) -> Result<()> {
    let mut streams: Vec<Option<TcpStream>> = (0..OPEN).map(|_| None).collect();
    loop {
        for slot in &mut streams {
            if slot.as_mut().is_some_and(&keeps) {
                continue;
            }
            *slot = connect(address).inspect(|mut stream| {
                let _ = stream.write(first);
            });
        }
    }
}

/// Closing the connection resets it: otherwise the ports of this host are used up within a second.
fn connect(address: SocketAddr) -> Option<TcpStream> {
    let stream = TcpStream::connect(address).ok()?;
    set_socket_linger(&stream, Some(Duration::ZERO)).ok()?;
    stream.set_nonblocking(true).ok()?;
    Some(stream)
}
