//! Access control: decides which client a request comes from and what it may have.
//!
//! All functions are pure. They run before the routes of every protocol; the IMDS protocol has no clients.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, header};

use crate::server::clients::{Client, Clients};

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
pub(crate) enum Authorized<'c> {
    /// A program without a valid token, which may only read the health paths.
    Anyone,
    Client(&'c Arc<Client>),
}

/// Returns the client of a request. `user` is the proven user of the connection. A request with a token is judged by the
/// token; a client that is known by its user alone sends none. Health checks need no client.
///
/// # Errors
/// The reason why the request is refused.
#[inline]
pub(crate) fn authorize<'c>(
    request: &Parts,
    hosts: &AllowedHosts,
    clients: &'c Clients,
    user: Option<u32>,
) -> Result<Authorized<'c>, Refusal> {
    let facts = check_headers(request, hosts)?;
    let path = request.uri.path();
    let health = matches!(path, "/healthz" | "/readyz") && matches!(request.method, Method::GET | Method::HEAD);
    let client = match facts.token() {
        Ok(token) => clients.with_token(token, user).ok_or(Refusal::WrongToken),
        Err(Refusal::NoToken) => clients.of_user(user).ok_or(Refusal::NoToken),
        Err(refusal) => Err(refusal),
    };
    match client {
        Ok(client) => Ok(Authorized::Client(client)),
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
            if name == header::HOST {
                seen.host.add(value);
            } else if name == header::AUTHORIZATION {
                seen.token.add(value);
            } else {
                seen.foreign |= is_foreign(name.as_str());
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
    use crate::server::clients::ClientProof;

    const TOKEN: &str = "plain+/=~token-of-at-least-32-characters";
    const USER: u32 = 1000;

    /// A client with a token, and one that is known by its user.
    fn clients() -> Clients {
        let proof = |token: Option<&str>, users: Option<Arc<[u32]>>, name: &str| ClientProof {
            token: token.map(Into::into),
            users,
            client: Arc::new(Client::of_all(name)),
        };
        Clients::new([proof(Some(TOKEN), None, "all"), proof(None, Some([USER].into()), "job")])
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
        authorize(&request(target, headers), &hosts(), &clients(), None)
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
    fn health_needs_no_token_for_reading_only() {
        let mut request = request("/healthz", &[("host", "localhost")]);
        request.method = Method::POST;
        assert_eq!(authorize(&request, &hosts(), &clients(), None).unwrap_err(), Refusal::NoToken);
    }

    #[test]
    fn judges_token_alone_and_user_without_one() {
        let host = ("host", "localhost");
        let name = |headers: &[(&str, &str)], user: Option<u32>| {
            let mut all = vec![host];
            all.extend(headers);
            match authorize(&request("/credentials", &all), &hosts(), &clients(), user) {
                Ok(Authorized::Client(client)) => Ok(client.name.as_str().to_owned()),
                Ok(Authorized::Anyone) => Ok("anyone".to_owned()),
                Err(refusal) => Err(refusal),
            }
        };
        let (job, all) = (Ok("job".to_owned()), Ok("all".to_owned()));
        for (headers, user, expected) in [
            (&[][..], Some(USER), job.clone()),
            (&[("authorization", "")], Some(USER), job),
            (&[], Some(0), Err(Refusal::NoToken)),
            (&[], None, Err(Refusal::NoToken)),
            (&[("authorization", "wrong")], Some(USER), Err(Refusal::WrongToken)),
            (&[("authorization", ""), ("authorization", "")], Some(USER), Err(Refusal::WrongToken)),
            (&[("authorization", TOKEN)], Some(USER), all.clone()),
            (&[("authorization", TOKEN)], None, all),
            (&[("origin", "null")], Some(USER), Err(Refusal::Forwarded)),
        ] {
            assert_eq!(name(headers, user), expected, "{headers:?} {user:?}");
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
                assert_eq!(authorize(&request, &hosts(), &clients(), None).map(|_| ()), expected, "{name}");
                assert_eq!(check_addressed(&request, &hosts()), expected, "{name}");
            }
        }
    }
}
