//! The proxies of the environment.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use base64_simd::STANDARD;
use http::header::HeaderValue;
use percent_encoding::percent_decode_str;
use zeroize::Zeroizing;

use crate::http::error::HttpErrorCause;
use crate::http::no_proxy::NoProxy;
use crate::http::url::{Url, UrlHost};
use crate::model::text::Escaped;
use crate::os::environment::Environment;

/// The proxies for requests that ask for one.
///
/// - https uses `https_proxy`, `HTTPS_PROXY`, `all_proxy` or `ALL_PROXY`; http uses `http_proxy`, `HTTP_PROXY`,
///   `all_proxy` or `ALL_PROXY`. The first of these variables that exists is used, so lower case wins, as in curl and
///   botocore. A blank variable means no proxy.
/// - `HTTP_PROXY` is ignored if `REQUEST_METHOD` is set, as in Go and botocore: the process is then a CGI program, and
///   any client can set `HTTP_PROXY` with the header `Proxy`.
/// - `no_proxy` or `NO_PROXY` lists hosts without a proxy. `localhost` and loopback addresses never use a proxy, as in
///   Go: a proxy would connect to its own host.
///
/// hyper-util reads these variables by other rules, so they are read here. There upper case wins, a value that is not a
/// URL counts as unset, and CGI disables all proxies.
#[derive(Default)]
pub(crate) struct ProxySettings {
    https: ChosenProxy,
    http: ChosenProxy,
    no_proxy: NoProxy,
}

/// A proxy, or the error of an unusable value. A request then fails, because it must not be sent directly.
type ChosenProxy = Option<Result<Arc<Proxy>, Box<str>>>;

/// A proxy. It prints as its address and the variable that names it. User name and password are never printed.
pub(crate) struct Proxy {
    pub(super) variable: &'static str,
    pub(super) url: Url,
    pub(super) authorization: Option<HeaderValue>,
}

impl ProxySettings {
    pub(crate) fn of(environment: &Environment) -> Self {
        let is_cgi = environment.get("REQUEST_METHOD").is_some();
        let upper = if is_cgi { "http_proxy" } else { "HTTP_PROXY" };
        let chosen = |names: [&'static str; 4]| chosen(environment, &names);
        let https = chosen(["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"]);
        let http = chosen(["http_proxy", upper, "all_proxy", "ALL_PROXY"]);
        match first(environment, &["no_proxy", "NO_PROXY"]) {
            None => Self { https, http, no_proxy: NoProxy::default() },
            Some((_, Ok(text))) => Self { https, http, no_proxy: NoProxy::parse(text) },
            // Some hosts must not be reached through the proxy, and it is unknown which.
            Some((_, Err(why))) => {
                let refused = |proxy: ChosenProxy| proxy.map(|_| Err(why.clone()));
                Self { https: refused(https), http: refused(http), no_proxy: NoProxy::default() }
            }
        }
    }

    /// Returns the proxy for a URL, or `None` for a direct connection.
    pub(crate) fn proxy_for(&self, url: &Url) -> Result<Option<Arc<Proxy>>, HttpErrorCause> {
        let chosen = if url.is_https() { &self.https } else { &self.http };
        let Some(chosen) = chosen else { return Ok(None) };
        let is_here = match url.host() {
            UrlHost::Address(ip) => ip.to_canonical().is_loopback(),
            UrlHost::Name(name) => matches!(&**name, "localhost" | "localhost."),
        };
        if is_here || self.no_proxy.matches(url.host(), url.port()) {
            return Ok(None);
        }
        chosen.clone().map(Some).map_err(HttpErrorCause::BadProxy)
    }
}

/// Returns the first of these variables that exists, or an error if its value is not UTF-8.
fn first<'e>(
    environment: &'e Environment,
    names: &[&'static str],
) -> Option<(&'static str, Result<&'e str, Box<str>>)> {
    names.iter().find_map(|name| {
        Some((
            *name,
            match environment.check_text(&[name]) {
                Ok(()) => Ok(environment.variables().get(*name)?.trim()),
                Err(error) => Err(error.to_string().into()),
            },
        ))
    })
}

fn chosen(environment: &Environment, names: &[&'static str]) -> ChosenProxy {
    let (variable, text) = match first(environment, names)? {
        (_, Err(why)) => return Some(Err(why)),
        (_, Ok("")) => return None,
        (variable, Ok(text)) => (variable, text),
    };
    // Ignore a SOCKS proxy in ALL_PROXY: users set it for other programs, and the SDKs do not read it.
    if variable.eq_ignore_ascii_case("ALL_PROXY") && text.to_ascii_lowercase().starts_with("socks") {
        tracing::debug!(variable, "names a SOCKS proxy, which is not used");
        return None;
    }
    Some(Proxy::parse(variable, text).map(Arc::new).map_err(|why| format!("{variable} {why}").into()))
}

impl Proxy {
    /// Parses `http://user:password@host:port` as curl does: the default scheme is http, and the path is ignored.
    fn parse(variable: &'static str, text: &str) -> Result<Self, Cow<'static, str>> {
        let (scheme, rest) = text.split_once("://").unwrap_or(("http", text));
        let (authority, beyond) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        if beyond.contains('@') {
            return Err("has a / or ? or # in its user name or password: write %2F, %3F or %23".into());
        }
        let (user, host) = match authority.rsplit_once('@') {
            Some((user, host)) => (Some(user), host),
            None => (None, authority),
        };
        let url = Url::parse(&format!("{scheme}://{host}")).map_err(|bad| bad.to_string())?;
        Ok(Self { variable, url, authorization: user.map(basic).transpose()? })
    }

    /// Adds this proxy to the error of a request that was sent through it.
    pub(crate) fn wrap(&self, cause: HttpErrorCause) -> HttpErrorCause {
        HttpErrorCause::Proxy { proxy: self.to_string().into(), cause: Box::new(cause) }
    }
}

/// Returns `Basic` of user name and password, each percent-decoded (RFC 7617).
fn basic(user: &str) -> Result<HeaderValue, Cow<'static, str>> {
    let (user, password) = user.split_once(':').unwrap_or((user, ""));
    let mut pair = Zeroizing::new(Vec::with_capacity(user.len() + password.len() + 1));
    pair.extend(percent_decode_str(user));
    if pair.contains(&b':') {
        return Err("has a user name with a colon, which HTTP cannot send".into());
    }
    pair.push(b':');
    pair.extend(percent_decode_str(password));
    let text = Zeroizing::new(format!("Basic {}", *Zeroizing::new(STANDARD.encode_to_string(&*pair))));
    let mut value = HeaderValue::from_str(&text).map_err(|_| "has a user name that cannot be sent")?;
    value.set_sensitive(true);
    Ok(value)
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", Escaped(&self.url.origin()), self.variable)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the proxy and its authorization, `-` for a direct connection, or `!` and the error.
    fn proxy_for(variables: &[(&str, &str)], url: &str) -> String {
        match ProxySettings::of(&Environment::new(variables.iter().copied())).proxy_for(&Url::parse(url).unwrap()) {
            Ok(None) => "-".into(),
            Ok(Some(proxy)) => {
                let authorization = proxy.authorization.as_ref().map_or("", |value| value.to_str().unwrap());
                assert!(proxy.authorization.as_ref().is_none_or(HeaderValue::is_sensitive));
                format!("{proxy} {authorization}").trim_end().to_owned()
            }
            Err(cause) => format!("!{cause}"),
        }
    }

    #[test]
    fn chooses_by_scheme_and_lower_case_first() {
        let (a, b, c, d) =
            (("https_proxy", "http://a:1"), ("HTTPS_PROXY", "http://b:2"), ("all_proxy", "c:3"), ("ALL_PROXY", "d:4"));
        let (e, f) = (("http_proxy", "http://e"), ("HTTP_PROXY", "https://f"));
        for (variables, https, http) in [
            (&[][..], "-", "-"),
            (&[a, b, c, d, e, f], "http://a:1 (https_proxy)", "http://e (http_proxy)"),
            (&[b, c, d, f], "http://b:2 (HTTPS_PROXY)", "https://f (HTTP_PROXY)"),
            (&[c, d], "http://c:3 (all_proxy)", "http://c:3 (all_proxy)"),
            (&[d], "http://d:4 (ALL_PROXY)", "http://d:4 (ALL_PROXY)"),
            (&[("https_proxy", " "), b, d], "-", "http://d:4 (ALL_PROXY)"),
            (&[("HTTPS_PROXY", ""), d], "-", "http://d:4 (ALL_PROXY)"),
            (&[f, ("REQUEST_METHOD", "GET")], "-", "-"),
            (&[e, f, ("REQUEST_METHOD", "GET")], "-", "http://e (http_proxy)"),
            (&[("ALL_PROXY", "socks5h://s:1080")], "-", "-"),
        ] {
            assert_eq!(proxy_for(variables, "https://h"), https, "{variables:?}");
            assert_eq!(proxy_for(variables, "http://h"), http, "{variables:?}");
        }
    }

    #[test]
    fn no_proxy_and_loopback_are_reached_directly() {
        let proxy = ("ALL_PROXY", "p:1");
        for (list, url, direct) in [
            (("NO_PROXY", "example.com"), "https://sts.example.com", true),
            (("NO_PROXY", "example.com"), "https://sts.example.org", false),
            (("no_proxy", "*"), "http://10.0.0.1", true),
            (("X", ""), "https://localhost:8443", true),
            (("X", ""), "http://LOCALHOST./", true),
            (("X", ""), "http://127.9.9.9", true),
            (("X", ""), "http://[::1]:80", true),
            (("X", ""), "http://[::ffff:127.0.0.1]", true),
            (("X", ""), "http://localhost.example.com", false),
        ] {
            assert_eq!(proxy_for(&[proxy, list], url) == "-", direct, "{list:?} {url}");
        }
        assert_eq!(proxy_for(&[proxy, ("no_proxy", ""), ("NO_PROXY", "*")], "https://h"), "http://p:1 (ALL_PROXY)");
    }

    #[test]
    fn sends_user_and_password_to_the_proxy_only() {
        for (text, expected) in [
            ("http://me:hush@p:3128", "http://p:3128 (HTTPS_PROXY) Basic bWU6aHVzaA=="),
            ("me:hush@p:3128/x?y#z", "http://p:3128 (HTTPS_PROXY) Basic bWU6aHVzaA=="),
            ("https://me:hu%3Ash%40%2f@p", "https://p (HTTPS_PROXY) Basic bWU6aHU6c2hALw=="),
            ("http://me:hu@sh@[fd00::1]:3128", "http://[fd00::1]:3128 (HTTPS_PROXY) Basic bWU6aHVAc2g="),
            ("http://me@p", "http://p (HTTPS_PROXY) Basic bWU6"),
            ("http://@p", "http://p (HTTPS_PROXY) Basic Og=="),
        ] {
            assert_eq!(proxy_for(&[("HTTPS_PROXY", text)], "https://h"), expected, "{text}");
        }
    }

    #[test]
    fn unusable_proxy_is_named_by_its_variable_only() {
        for (text, expected) in [
            ("socks5://me:hush@p:1080", "begins neither with http:// nor with https://"),
            ("http://", "is not a URL of the form http://host:port/path"),
            ("me:hush/1@p:3128", "has a / or ? or # in its user name or password: write %2F, %3F or %23"),
            ("http://me:hush#@p", "has a / or ? or # in its user name or password: write %2F, %3F or %23"),
            ("http://m%3ae:hush@p", "has a user name with a colon, which HTTP cannot send"),
            ("http://p:hush", "has a port that is not a number from 1 to 65535"),
            ("http://me:hush@a b", "is not a URL of the form http://host:port/path"),
        ] {
            assert_eq!(proxy_for(&[("https_proxy", text)], "https://h"), format!("!https_proxy {expected}"));
            assert_eq!(proxy_for(&[("https_proxy", text), ("NO_PROXY", "h")], "https://h"), "-");
        }
    }
}
