//! Access control: decides which client a request comes from and what it may have.
//!
//! All functions are pure. They run before the routes of every protocol; the IMDS protocol has no clients.

use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, LazyLock};

use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method};

use crate::model::identity_name::IdentityName;
use crate::model::secret::Secret;

/// The maximum number of client tokens that are compared one after another. With more clients a token is found by
/// digest; a digest costs more than four comparisons.
const FEW: usize = 4;

/// A program that may request credentials.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Client {
    /// The name in logs.
    pub(crate) name: IdentityName,
    /// The identities that the client may have. `None` means all.
    pub(crate) identities: Option<Vec<IdentityName>>,
}

impl Client {
    pub(crate) fn may_have(&self, identity: &IdentityName) -> bool {
        self.identities.as_ref().is_none_or(|identities| identities.contains(identity))
    }

    /// Returns the identity for a request that names no identity. It is the only identity that this client may have,
    /// else `default`.
    pub(crate) fn own_identity(&self) -> IdentityName {
        static DEFAULT: LazyLock<IdentityName> = LazyLock::new(IdentityName::default);
        match self.identities.as_deref() {
            Some([only]) => only.clone(),
            _ => DEFAULT.clone(),
        }
    }
}

/// Clients by token. A token is found by a keyed digest and then compared in constant time. So the time of a lookup
/// reveals nothing about other tokens.
///
/// The digest is SipHash with a key that is generated at the start. A client cannot predict the digest without the key,
/// which suffices for a lookup. SipHash costs a tenth of an HMAC.
pub(crate) struct Clients {
    key: RandomState,
    /// The clients, sorted by the digests of their tokens.
    by_digest: Vec<(u64, Secret, Arc<Client>)>,
}

impl Clients {
    pub(crate) fn new(clients: impl IntoIterator<Item = (Secret, Client)>) -> Self {
        let key = RandomState::new();
        let digested =
            |(token, client): (Secret, Client)| (key.hash_one(token.expose().as_bytes()), token, Arc::new(client));
        let mut by_digest: Vec<_> = clients.into_iter().map(digested).collect();
        by_digest.sort_by_key(|(digest, ..)| *digest);
        Self { key, by_digest }
    }

    fn find(&self, token: &[u8]) -> Option<&Arc<Client>> {
        let holds = |held: &Secret, client| held.is(token).then_some(client);
        if self.by_digest.len() <= FEW {
            return self.by_digest.iter().find_map(|(_, held, client)| holds(held, client));
        }
        let wanted = self.key.hash_one(token);
        let first = self.by_digest.partition_point(|(digest, ..)| *digest < wanted);
        let same = self.by_digest[first..].iter().take_while(|(digest, ..)| *digest == wanted);
        same.into_iter().find_map(|(_, held, client)| holds(held, client))
    }
}

impl std::fmt::Debug for Clients {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.by_digest.iter().map(|(.., client)| &client.name)).finish()
    }
}

/// The host names and addresses that a request may use.
#[derive(Clone, Debug, Default)]
pub(crate) struct AllowedHosts {
    /// The addresses and ports of the listeners, in the form that nearly all clients send.
    listening: Vec<Box<str>>,
    addresses: Vec<IpAddr>,
    names: Vec<Box<str>>,
}

impl AllowedHosts {
    /// Allows loopback and `localhost`, the addresses of the listeners, and further names.
    pub(crate) fn new(
        listening: impl IntoIterator<Item = SocketAddr>,
        names: impl IntoIterator<Item = Box<str>>,
    ) -> Self {
        let certain: Vec<_> = listening.into_iter().filter(|address| !address.ip().is_unspecified()).collect();
        let listening = certain.iter().map(|address| address.to_string().into()).collect();
        let addresses = certain.iter().map(SocketAddr::ip).collect();
        let names = names.into_iter().map(|name| name.to_ascii_lowercase().into()).collect();
        Self { listening, addresses, names }
    }

    /// Returns true if this is the address and port of a listener, as nearly all clients write it.
    fn is_listening_on(&self, host: &[u8]) -> bool {
        self.listening.iter().any(|ours| ours.as_bytes() == host)
    }

    /// Returns true if the value of a `Host` header is allowed, with or without a port. Every loopback address is
    /// allowed, also a bare `::1`, which the AWS CRT sends.
    fn allow(&self, host: &str) -> bool {
        if self.is_listening_on(host.as_bytes()) {
            return true;
        }
        let address = |text: &str| text.parse::<IpAddr>().ok().map(|address| address.to_canonical());
        let known = |ip: IpAddr| ip.is_loopback() || self.addresses.contains(&ip);
        if let Some(ip) = address(host) {
            return known(ip);
        }
        let name = match host.rsplit_once(':') {
            Some((name, port)) if !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) => name,
            _ => host,
        };
        if let Some(inner) = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')) {
            return inner.parse().is_ok_and(|ip: std::net::Ipv6Addr| known(IpAddr::V6(ip).to_canonical()));
        }
        match address(name) {
            // Accept IPv4 only: the last group of a bare IPv6 address was split off as a port.
            Some(ip) => ip.is_ipv4() && known(ip),
            None => {
                let name = name.strip_suffix('.').unwrap_or(name);
                name.eq_ignore_ascii_case("localhost") || self.names.iter().any(|ours| name.eq_ignore_ascii_case(ours))
            }
        }
    }
}

/// The sender of a request that was not refused.
#[derive(Clone, Debug)]
pub(crate) enum Authorized {
    /// A program without a valid token, which may only read the health paths.
    Anyone,
    Client(Arc<Client>),
}

/// Returns the client of a request. Health checks need no token.
///
/// # Errors
/// The reason why the request is refused.
pub(crate) fn authorize(request: &Parts, hosts: &AllowedHosts, clients: &Clients) -> Result<Authorized, Refusal> {
    let facts = check_headers(request, hosts)?;
    let path = request.uri.path();
    let health = matches!(path, "/healthz" | "/readyz") && matches!(request.method, Method::GET | Method::HEAD);
    let client = facts.token().and_then(|token| clients.find(token).ok_or(Refusal::WrongToken));
    match client {
        Ok(client) => Ok(Authorized::Client(Arc::clone(client))),
        Err(_) if health => Ok(Authorized::Anyone),
        Err(refusal) => Err(refusal),
    }
}

/// Checks a request of a protocol without clients. The host must be allowed, and the request must not come from a proxy
/// or a browser.
///
/// # Errors
/// The reason why the request is refused.
pub(crate) fn check_addressed(request: &Parts, hosts: &AllowedHosts) -> Result<(), Refusal> {
    check_headers(request, hosts).map(|_| ())
}

/// Checks the rules of all protocols and returns the headers that access control needs.
fn check_headers<'r>(request: &'r Parts, hosts: &AllowedHosts) -> Result<RequestFacts<'r>, Refusal> {
    let seen = RequestFacts::of(&request.headers);
    // A request line with a whole URL names a host, too. Check it, against proxies and DNS rebinding.
    let target = request.uri.authority().is_none_or(|authority| hosts.allow(authority.as_str()));
    let ours = |host: &HeaderValue| {
        hosts.is_listening_on(host.as_bytes()) || host.to_str().is_ok_and(|host| hosts.allow(host))
    };
    let host = seen.host.only().is_some_and(ours);
    if !host || !target {
        return Err(Refusal::ForeignHost);
    }
    if seen.foreign {
        return Err(Refusal::Forwarded);
    }
    Ok(seen)
}

/// Returns true for a header that only a proxy or a browser sends, and no SDK. Header names are in lower case.
fn is_foreign(name: &str) -> bool {
    match name.as_bytes() {
        // Browsers add `Sec-Fetch-…`, and pages cannot remove it.
        [b's', ..] => name.starts_with("sec-fetch-"),
        [b'x', ..] => {
            let prefixes = ["x-forwarded", "x-original-", "x-envoy-", "x-azure-", "x-appengine-"];
            prefixes.iter().any(|prefix| name.starts_with(prefix)) || names_client_address(name)
        }
        _ => matches!(name, "forwarded" | "via" | "origin" | "referer" | "cdn-loop") || names_client_address(name),
    }
}

/// Returns true for the headers in which proxies name the client: `X-Real-IP`, `True-Client-IP`, `CF-Connecting-IP`,
/// `X-Cluster-Client-IP` and many others.
fn names_client_address(name: &str) -> bool {
    name.ends_with("-ip") || name.ends_with("-ipv6")
}

/// The headers that access control needs, found in one pass.
struct RequestFacts<'r> {
    host: HeaderValues<'r>,
    token: HeaderValues<'r>,
    /// True if a proxy or a browser sent the request.
    foreign: bool,
}

/// The values of one header: zero, one or more.
#[derive(Clone, Copy)]
enum HeaderValues<'r> {
    None,
    One(&'r HeaderValue),
    Several,
}

impl<'r> RequestFacts<'r> {
    fn of(headers: &'r HeaderMap) -> Self {
        let mut seen = Self { host: HeaderValues::None, token: HeaderValues::None, foreign: false };
        for (name, value) in headers {
            match name.as_str() {
                "host" => seen.host.add(value),
                "authorization" => seen.token.add(value),
                name => seen.foreign |= is_foreign(name),
            }
        }
        seen
    }

    /// Returns the token from the `Authorization` header. The SDKs send it verbatim, without a scheme such as `Bearer`.
    /// An empty header counts as no token, and two headers count as a wrong token.
    fn token(&self) -> Result<&'r [u8], Refusal> {
        match self.token {
            HeaderValues::One(value) if !value.is_empty() => Ok(value.as_bytes()),
            HeaderValues::None | HeaderValues::One(_) => Err(Refusal::NoToken),
            HeaderValues::Several => Err(Refusal::WrongToken),
        }
    }
}

impl<'r> HeaderValues<'r> {
    fn add(&mut self, value: &'r HeaderValue) {
        *self = match self {
            Self::None => Self::One(value),
            Self::One(_) | Self::Several => Self::Several,
        };
    }

    fn only(self) -> Option<&'r HeaderValue> {
        match self {
            Self::One(value) => Some(value),
            Self::None | Self::Several => None,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The request has no `Authorization`, or an empty one.
    NoToken,
    WrongToken,
    /// The `Host` is missing, repeated or not allowed.
    ForeignHost,
    /// The request has headers of a proxy or a browser.
    Forwarded,
    /// The parser cannot read the request.
    Malformed,
    /// The request head is longer than the parser allows.
    HeadTooLarge,
    /// The request head did not arrive in time.
    HeadTooLate,
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "plain+/=~token-of-at-least-32-characters";

    fn clients() -> Clients {
        Clients::new([(Secret::from(TOKEN), Client { name: "all".into(), identities: None })])
    }

    fn hosts() -> AllowedHosts {
        let listening = ["169.254.170.2:80", "0.0.0.0:9733", "[::]:9733"].map(|address| address.parse().unwrap());
        AllowedHosts::new(listening, ["Broker.Internal".into()])
    }

    fn request(target: &str, headers: &[(&str, &str)]) -> Parts {
        let mut request = http::Request::builder().uri(target);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    fn ask(target: &str, headers: &[(&str, &str)]) -> Result<bool, Refusal> {
        authorize(&request(target, headers), &hosts(), &clients())
            .map(|authorized| matches!(authorized, Authorized::Client(_)))
    }

    #[test]
    fn allows_own_hosts_and_refuses_foreign_ones() {
        let ours = "127.0.0.1|127.0.0.1:9733|127.0.0.2:1|localhost|LOCALHOST:9733|localhost.|[::1]|[::1]:9733|::1|\
                    169.254.170.2|169.254.170.2:80|broker.internal|BROKER.internal:1|[::ffff:127.0.0.1]:80";
        let foreign = "|:9733|evil.example|evil.example:9733|127.0.0.1.evil.example|localhost.evil.example|10.0.0.1|\
                       169.254.170.23|[::2]|::2|localhost:|localhost:x|localhost:1:2|user@localhost|[::1|::1]|127.1|\
                       0.0.0.0|0.0.0.0:9733|[::]|[::]:9733|2130706433|localhost |localhost\t|[127.0.0.1]";
        for (list, held) in [(ours, true), (foreign, false)] {
            for host in list.split('|') {
                assert_eq!(hosts().allow(host), held, "{host:?}");
            }
        }
    }

    #[test]
    fn authorizes_by_token_host_and_headers() {
        const HOST: (&str, &str) = ("host", "127.0.0.1:9733");
        let good = ("authorization", TOKEN);
        type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], Result<bool, Refusal>);
        let table: &[Case<'_>] = &[
            ("/credentials", &[HOST, good], Ok(true)),
            ("/anything/else", &[HOST, good], Ok(true)),
            ("/credentials", &[HOST], Err(Refusal::NoToken)),
            ("/credentials", &[HOST, ("authorization", "")], Err(Refusal::NoToken)),
            ("/credentials", &[HOST, ("authorization", "wrong")], Err(Refusal::WrongToken)),
            (
                "/credentials",
                &[HOST, ("authorization", "Bearer plain+/=~token-of-at-least-32-characters")],
                Err(Refusal::WrongToken),
            ),
            ("/credentials", &[HOST, good, good], Err(Refusal::WrongToken)),
            ("/healthz", &[HOST], Ok(false)),
            ("/readyz", &[HOST], Ok(false)),
            ("/readyz", &[HOST, good], Ok(true)),
            ("/readyz", &[HOST, ("authorization", "wrong")], Ok(false)),
            ("/status", &[HOST], Err(Refusal::NoToken)),
            ("/healthz/", &[HOST], Err(Refusal::NoToken)),
            ("/credentials", &[good], Err(Refusal::ForeignHost)),
            ("/healthz", &[], Err(Refusal::ForeignHost)),
            ("/credentials", &[HOST, HOST, good], Err(Refusal::ForeignHost)),
            ("/credentials", &[("host", "evil.example"), good], Err(Refusal::ForeignHost)),
            ("http://127.0.0.1:9733/credentials", &[HOST, good], Ok(true)),
            ("http://evil.example/credentials", &[HOST, good], Err(Refusal::ForeignHost)),
            ("http://user@127.0.0.1/credentials", &[HOST, good], Err(Refusal::ForeignHost)),
            ("/credentials", &[HOST, good, ("x-forwarded-for", "1.2.3.4")], Err(Refusal::Forwarded)),
            ("/credentials", &[HOST, good, ("Forwarded", "for=1.2.3.4")], Err(Refusal::Forwarded)),
            ("/credentials", &[HOST, good, ("via", "1.1 proxy")], Err(Refusal::Forwarded)),
            ("/credentials", &[HOST, good, ("origin", "null")], Err(Refusal::Forwarded)),
            ("/credentials", &[HOST, good, ("referer", "")], Err(Refusal::Forwarded)),
            ("/healthz", &[HOST, ("sec-fetch-mode", "no-cors")], Err(Refusal::Forwarded)),
            ("/healthz", &[HOST, ("Sec-Fetch-Anything", "x")], Err(Refusal::Forwarded)),
        ];
        for (target, headers, expected) in table {
            assert_eq!(&ask(target, headers), expected, "{target} {headers:?}");
            let refused =
                expected.as_ref().err().filter(|refusal| !matches!(refusal, Refusal::NoToken | Refusal::WrongToken));
            assert_eq!(
                check_addressed(&request(target, headers), &hosts()).err().as_ref(),
                refused,
                "{target} {headers:?}"
            );
        }
    }

    #[test]
    fn refuses_headers_of_proxies_and_browsers() {
        let foreign = "X-Forwarded-For X-Forwarded-Host X-Forwarded-Proto X-Forwarded-Port X-Forwarded Forwarded Via \
            X-Real-IP True-Client-IP Client-IP X-Client-IP X-Cluster-Client-IP Fastly-Client-IP Fly-Client-IP \
            CF-Connecting-IP CF-Connecting-IPv6 DO-Connecting-IP X-ProxyUser-IP X-Appengine-User-IP X-Azure-ClientIP \
            X-Azure-SocketIP X-Envoy-External-Address X-Envoy-Internal X-Original-Forwarded-For X-Original-Host \
            X-Original-URL CDN-Loop Origin Referer Sec-Fetch-Site Sec-Fetch-Mode Sec-Fetch-Dest";
        let known = "Accept Accept-Encoding Amz-Sdk-Invocation-Id Amz-Sdk-Request Connection User-Agent X-Amz-User-Agent \
            X-Amzn-Trace-Id X-Aws-Ec2-Metadata-Token X-Aws-Ec2-Metadata-Token-Ttl-Seconds Sec-Ch-Ua X-Ip-Address";
        for (names, refused) in [(foreign, true), (known, false)] {
            for name in names.split_whitespace() {
                let request = request("/healthz", &[("host", "localhost"), (name, "1.2.3.4")]);
                let expected = if refused { Err(Refusal::Forwarded) } else { Ok(()) };
                assert_eq!(authorize(&request, &hosts(), &clients()).map(|_| ()), expected, "{name}");
                assert_eq!(check_addressed(&request, &hosts()), expected, "{name}");
            }
        }
    }

    #[test]
    fn finds_each_client_by_its_token() {
        let name = |number: usize| format!("client-{number}");
        let token = |number: usize| format!("token-of-client-number-{number:04}-and-no-other");
        let client =
            |number| (Secret::from(token(number)), Client { name: name(number).as_str().into(), identities: None });
        for count in [0, 1, FEW, FEW + 1, 200] {
            let clients = Clients::new((0..count).map(client));
            for number in 0..count {
                let found = clients.find(token(number).as_bytes()).map(|client| client.name.clone());
                assert_eq!(found, Some(name(number).as_str().into()));
            }
            assert!(clients.find(token(count).as_bytes()).is_none() && clients.find(b"").is_none());
        }
    }

    #[test]
    fn health_needs_no_token_for_reading_only() {
        let mut request = request("/healthz", &[("host", "localhost")]);
        request.method = Method::POST;
        assert_eq!(authorize(&request, &hosts(), &clients()).unwrap_err(), Refusal::NoToken);
    }

    #[test]
    fn client_of_one_identity_gets_it_by_default() {
        let one = Client { name: "c".into(), identities: Some(vec!["a".into()]) };
        assert_eq!(
            (one.own_identity(), one.may_have(&"a".into()), one.may_have(&"b".into())),
            ("a".into(), true, false)
        );
        let all = Client { name: "c".into(), identities: None };
        assert_eq!((all.own_identity(), all.may_have(&"b".into())), (IdentityName::default(), true));
    }
}
