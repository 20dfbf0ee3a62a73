//! A tunnel through a proxy.

use std::pin::pin;

use http::header::{HOST, HeaderValue, PROXY_AUTHORIZATION, USER_AGENT};
use http::{Method, Uri};
use http_body_util::Empty;
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;

use crate::http::error::HttpErrorCause;
use crate::http::message::AGENT;
use crate::http::proxy::Proxy;
use crate::http::stream::{ByteStream, LARGEST_HEAD};
use crate::http::url::{Url, UrlHost};

/// Requests a connection to the host from the proxy.
pub(crate) async fn open(
    stream: Box<dyn ByteStream>,
    proxy: &Proxy,
    url: &Url,
) -> Result<Box<dyn ByteStream>, HttpErrorCause> {
    let mut http = http1::Builder::new();
    http.max_buf_size(LARGEST_HEAD);
    let (mut sender, connection) = http.handshake::<_, Empty<Bytes>>(TokioIo::new(stream)).await?;
    let request = connect(proxy, url)?;
    let mut exchange = pin!(async {
        let response = sender.send_request(request).await?;
        if !response.status().is_success() {
            // The rest of the response is not shown: it may echo the password.
            return Err(HttpErrorCause::ProxyRefused { status: response.status(), variable: proxy.variable });
        }
        Ok(hyper::upgrade::on(response).await?)
    });
    let mut connection = pin!(connection.with_upgrades());
    let mut open = true;
    loop {
        tokio::select! {
            biased;
            outcome = &mut exchange => return Ok(Box::new(TokioIo::new(outcome?))),
            _ = &mut connection, if open => open = false,
        }
    }
}

/// Builds the request `CONNECT host:port`. The port is required, even if it is the default port.
fn connect(proxy: &Proxy, url: &Url) -> Result<http::Request<Empty<Bytes>>, HttpErrorCause> {
    let host = match url.host() {
        UrlHost::Address(ip) if ip.is_ipv6() => format!("[{ip}]:{}", url.port()),
        UrlHost::Address(ip) => format!("{ip}:{}", url.port()),
        UrlHost::Name(name) => format!("{name}:{}", url.port()),
    };
    let impossible = |_| HttpErrorCause::Protocol("CONNECT cannot carry this host".into());
    let mut request = http::Request::new(Empty::new());
    *request.method_mut() = Method::CONNECT;
    *request.uri_mut() = host.parse::<Uri>().map_err(|_| impossible(()))?;
    let headers = request.headers_mut();
    headers.insert(HOST, HeaderValue::try_from(host).map_err(|_| impossible(()))?);
    headers.insert(USER_AGENT, AGENT);
    if let Some(authorization) = &proxy.authorization {
        headers.insert(PROXY_AUTHORIZATION, authorization.clone());
    }
    Ok(request)
}
