//! What everything is held against: hyper on one thread, answering every request with the same bytes, without a door,
//! a path or a limit. Usage: `bare BODY [ADDRESS]`; it says where it listens as the broker does.

use std::convert::Infallible;
use std::process::ExitCode;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, body::Incoming};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

fn main() -> ExitCode {
    let body = Bytes::from(std::env::args().nth(1).unwrap_or_default());
    let address = std::env::args().nth(2).unwrap_or_else(|| "127.0.0.1:0".into());
    let serving = || tokio::runtime::Builder::new_current_thread().enable_io().build()?.block_on(serve(body, &address));
    match serving() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bare: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(body: Bytes, address: &str) -> std::io::Result<()> {
    let listener = TcpListener::bind(address).await?;
    eprintln!("listening on http://{}", listener.local_addr()?);
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let body = body.clone();
        let answer = move |_: Request<Incoming>| std::future::ready(Ok::<_, Infallible>(answer(body.clone())));
        let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(answer));
        connections.spawn(connection);
        while connections.try_join_next().is_some() {}
    }
}

fn answer(body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
