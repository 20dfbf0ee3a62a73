//! A connection that a proxy makes for us.

use std::pin::pin;

use http::header::{HOST, HeaderValue, PROXY_AUTHORIZATION, USER_AGENT};
use http::{Method, Uri};
use http_body_util::Empty;
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;

use super::error::Cause;
use super::message::AGENT;
use super::proxy::Proxy;
use super::stream::{LARGEST_HEAD, Stream};
use super::url::{Host, Url};

/// Asks the proxy at the other end for a connection to the host, and gives that connection.
pub(super) async fn open(stream: Box<dyn Stream>, proxy: &Proxy, url: &Url) -> Result<Box<dyn Stream>, Cause> {
    let mut http = http1::Builder::new();
    http.max_buf_size(LARGEST_HEAD);
    let (mut sender, connection) = http.handshake::<_, Empty<Bytes>>(TokioIo::new(stream)).await?;
    let request = connect(proxy, url)?;
    let mut asked = pin!(async {
        let answer = sender.send_request(request).await?;
        if !answer.status().is_success() {
            // What else the proxy says is not shown: it may hold what it was told.
            return Err(Cause::ProxyRefused { status: answer.status(), variable: proxy.variable() });
        }
        Ok(hyper::upgrade::on(answer).await?)
    });
    let mut connection = pin!(connection.with_upgrades());
    let mut open = true;
    loop {
        tokio::select! {
            biased;
            outcome = &mut asked => return Ok(Box::new(TokioIo::new(outcome?))),
            _ = &mut connection, if open => open = false,
        }
    }
}

/// `CONNECT host:port`, with the port even if it is the usual one.
fn connect(proxy: &Proxy, url: &Url) -> Result<http::Request<Empty<Bytes>>, Cause> {
    let host = match url.host() {
        Host::Address(ip) if ip.is_ipv6() => format!("[{ip}]:{}", url.port()),
        Host::Address(ip) => format!("{ip}:{}", url.port()),
        Host::Name(name) => format!("{name}:{}", url.port()),
    };
    let impossible = |_| Cause::Protocol("no proxy can be asked for this host".into());
    let mut request = http::Request::new(Empty::new());
    *request.method_mut() = Method::CONNECT;
    *request.uri_mut() = host.parse::<Uri>().map_err(|_| impossible(()))?;
    let headers = request.headers_mut();
    headers.insert(HOST, HeaderValue::try_from(host).map_err(|_| impossible(()))?);
    headers.insert(USER_AGENT, AGENT);
    if let Some(authorization) = proxy.authorization() {
        headers.insert(PROXY_AUTHORIZATION, authorization.clone());
    }
    Ok(request)
}
