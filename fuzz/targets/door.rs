//! The door: request heads, one part a line, against what the door promises.
#![cfg_attr(fuzzing, no_main)]

use std::sync::LazyLock;

use credenza::server::guard::{Admitted, Client, Clients, Hosts, admit};
use http::request::Parts;
use http::{HeaderName, HeaderValue, Method, Uri, header};

const TOKENS: [&str; 2] = ["a-token+/=~of-at-least-32-characters", "another-token-of-at-least-32-characters"];

static CLIENTS: LazyLock<Clients> = LazyLock::new(|| {
    let clients = TOKENS.map(|token| (token.into(), Client { name: token[..7].into(), identities: None }));
    Clients::new(clients)
});

/// The first line is `METHOD TARGET`, the others are headers; what is none is left out.
pub fn check(data: &[u8]) {
    let Some(request) = parts(data) else { return };
    let hosts = Hosts::new(["169.254.170.2:80".parse().expect("an address")], ["broker.internal".into()]);
    let tokens: Vec<&[u8]> = request.headers.get_all(header::AUTHORIZATION).iter().map(HeaderValue::as_bytes).collect();
    let owner = TOKENS.iter().find(|token| tokens == [token.as_bytes()]);
    let path = request.uri.path();
    let health = ["/healthz", "/readyz"].contains(&path) && [Method::GET, Method::HEAD].contains(&request.method);
    match admit(&request, &hosts, &CLIENTS) {
        Ok(Admitted::Client(client)) => {
            let owner = owner.unwrap_or_else(|| panic!("{} was let in without its token", client.name));
            assert_eq!(client.name.as_str(), &owner[..7]);
            addressed_to_us(&request);
        }
        Ok(Admitted::Anyone) => {
            assert!(health && owner.is_none(), "{path}");
            addressed_to_us(&request);
        }
        Err(refusal) => {
            let plain = request.uri.authority().is_none() && request.headers.len() == 2;
            let ours = request.headers.get(header::HOST).is_some_and(|host| host == "localhost");
            assert!(!(plain && ours && owner.is_some()), "{refusal:?}");
        }
    }
}

fn parts(data: &[u8]) -> Option<Parts> {
    let mut lines = data.split(|byte| *byte == b'\n');
    let (method, target) = std::str::from_utf8(lines.next()?).ok()?.split_once(' ')?;
    let (mut request, ()) = http::Request::new(()).into_parts();
    (request.method, request.uri) = (method.parse().ok()?, target.parse::<Uri>().ok()?);
    for line in lines.take(100) {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let name = HeaderName::from_bytes(&line[..colon]);
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(line[colon + 1..].trim_ascii())) {
            request.headers.append(name, value);
        }
    }
    Some(request)
}

/// No proxy, no browser, one `Host`, and that and the target are names of ours.
fn addressed_to_us(request: &Parts) {
    let foreign = ["x-forwarded-for", "forwarded", "via", "origin", "referer"];
    for name in request.headers.keys() {
        assert!(!foreign.contains(&name.as_str()) && !name.as_str().starts_with("sec-fetch-"), "{name}");
    }
    let hosts: Vec<_> = request.headers.get_all(header::HOST).iter().collect();
    let [host] = hosts[..] else { panic!("{} hosts", hosts.len()) };
    ours(host.to_str().expect("a host is text"));
    request.uri.authority().inspect(|authority| ours(authority.as_str()));
}

fn ours(host: &str) {
    let lower = host.to_ascii_lowercase();
    let digits = |text: &str| text.trim_end_matches(|c: char| c.is_ascii_digit()).to_owned();
    let bare = match digits(&lower) {
        cut if cut.ends_with(':')
            && cut.len() < lower.len()
            && (cut.matches(':').count() == 1 || cut.ends_with("]:")) =>
        {
            cut[..cut.len() - 1].to_owned()
        }
        _ => lower.clone(),
    };
    let bare = bare.trim_start_matches('[').trim_end_matches([']', '.']);
    let address = bare.parse::<std::net::IpAddr>().ok().map(|address| address.to_canonical());
    let known = match address {
        Some(address) => address.is_loopback() || address.to_string() == "169.254.170.2",
        None => ["localhost", "broker.internal"].contains(&bare),
    };
    assert!(known, "{host:?} is no name of ours");
}

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| check(data));
