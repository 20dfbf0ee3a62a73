//! Access control: request heads against the rules of `authorize`.

use std::sync::{Arc, LazyLock};

use http::request::Parts;
use http::{HeaderValue, Method, header};

use crate::fuzzing::request_head;
use crate::server::access::{AllowedHosts, Authorized, authorize};
use crate::server::clients::{Client, ClientProof, Clients};

const TOKENS: [&str; 2] = ["a-token+/=~of-at-least-32-characters", "another-token-of-at-least-32-characters"];

/// The user that the second token needs, and that is a client without a token.
const USER: u32 = 1000;
const BY_USER: &str = "by-user";

static CLIENTS: LazyLock<Clients> = LazyLock::new(|| {
    let proof = |token: Option<&str>, users: Option<&[u32]>, name: &str| ClientProof {
        token: token.map(Into::into),
        users: users.map(Into::into),
        client: Arc::new(Client::of_all(name)),
    };
    let [first, second] = TOKENS;
    Clients::new([
        proof(Some(first), None, &first[..7]),
        proof(Some(second), Some(&[USER]), &second[..7]),
        proof(None, Some(&[USER]), BY_USER),
    ])
});

/// Checks the request head of [`request_head::parse`].
pub fn check(data: &[u8]) {
    let Some(request) = request_head::parse(data, <[u8]>::to_vec) else { return };
    let hosts = AllowedHosts::new(["169.254.170.2:80".parse().expect("an address")], ["broker.internal".into()]);
    let tokens: Vec<&[u8]> = request.headers.get_all(header::AUTHORIZATION).iter().map(HeaderValue::as_bytes).collect();
    let user = data.len().is_multiple_of(2).then_some(USER);
    let owner = match tokens[..] {
        [] | [b""] => user.map(|_| BY_USER),
        [token] if token == TOKENS[0].as_bytes() => Some(&TOKENS[0][..7]),
        [token] if token == TOKENS[1].as_bytes() => user.map(|_| &TOKENS[1][..7]),
        _ => None,
    };
    let path = request.uri.path();
    let health = ["/healthz", "/readyz"].contains(&path) && [Method::GET, Method::HEAD].contains(&request.method);
    match authorize(&request, &hosts, &CLIENTS, user) {
        Ok(Authorized::Client(client)) => {
            let owner = owner.unwrap_or_else(|| panic!("{} is authorized without its proof", client.name));
            assert_eq!(client.name.as_str(), owner);
            assert_addressed_to_us(&request);
        }
        Ok(Authorized::Anyone) => {
            assert!(health && owner.is_none(), "{path}");
            assert_addressed_to_us(&request);
        }
        Err(refusal) => {
            let plain = request.uri.authority().is_none()
                && request.headers.get_all(header::HOST).iter().count() == 1
                && request.headers.keys().all(|name| [header::HOST, header::AUTHORIZATION].contains(name));
            let is_localhost = request.headers.get(header::HOST).is_some_and(|host| host == "localhost");
            assert!(!(plain && is_localhost && owner.is_some()), "{refusal:?}");
        }
    }
}

/// Panics if a proxy or a browser sent the request, or if its only `Host` or its target is not ours.
fn assert_addressed_to_us(request: &Parts) {
    let foreign = ["x-forwarded-for", "forwarded", "via", "origin", "referer", "x-real-ip", "x-envoy-internal"];
    for name in request.headers.keys() {
        assert!(!foreign.contains(&name.as_str()) && !name.as_str().starts_with("sec-fetch-"), "{name}");
    }
    let hosts: Vec<_> = request.headers.get_all(header::HOST).iter().collect();
    let [host] = hosts[..] else { panic!("{} hosts", hosts.len()) };
    assert_ours(host.to_str().expect("a host is text"));
    request.uri.authority().inspect(|authority| assert_ours(authority.as_str()));
}

fn assert_ours(host: &str) {
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
    assert!(known, "{host:?} is not an allowed host");
}
