//! What a program that asks a daemon is held against: one process, one connection, one request, its answer printed as it
//! came. Usage: `ask ADDRESS TOKEN-FILE`.

use std::io::{Error, Read, Result, Write};
use std::net::TcpStream;
use std::process::ExitCode;

fn main() -> ExitCode {
    match ask() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ask: {error}");
            ExitCode::FAILURE
        }
    }
}

fn ask() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let (Some(address), Some(token_file)) = (arguments.next(), arguments.next()) else {
        return Err(Error::other("usage: ask ADDRESS TOKEN-FILE"));
    };
    let token = std::fs::read_to_string(token_file)?;
    let mut stream = TcpStream::connect(&address)?;
    write!(
        stream,
        "GET /credentials HTTP/1.1\r\nHost: {address}\r\nAuthorization: {}\r\nConnection: close\r\n\r\n",
        token.trim()
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    match answer.split_once("\r\n\r\n") {
        Some((head, body)) if head.starts_with("HTTP/1.1 200 ") => std::io::stdout().write_all(body.as_bytes()),
        _ => Err(Error::other(format!("no credentials: {answer}"))),
    }
}
