//! Proxies, as the environment names them.

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

/// Which proxy a request goes through that asks for one.
///
/// `https_proxy`, `HTTPS_PROXY` for https and `http_proxy`, `HTTP_PROXY` for http, then `all_proxy`, `ALL_PROXY`. The
/// first of them that exists decides, even blank, which is no proxy: lower case wins, as in curl and botocore. Where
/// `REQUEST_METHOD` is set a stranger may have written `HTTP_PROXY` (it is a CGI's name for the header `Proxy`): it does
/// not count, as in Go and botocore. `no_proxy`, `NO_PROXY` list what is reached directly.
/// `localhost` and loopback addresses always are, as in Go: to the proxy they would be itself.
#[derive(Default)]
pub(crate) struct ProxySettings {
    https: ChosenProxy,
    http: ChosenProxy,
    exceptions: NoProxy,
}

/// What is wrong with a proxy fails the request that needs it.
type ChosenProxy = Option<Result<Arc<Proxy>, Box<str>>>;

/// It prints as its address and the variable that names it; user and password are never shown.
pub(crate) struct Proxy {
    variable: &'static str,
    url: Url,
    authorization: Option<HeaderValue>,
}

impl ProxySettings {
    pub(crate) fn of(environment: &Environment) -> Self {
        let is_cgi = environment.get("REQUEST_METHOD").is_some();
        let upper = if is_cgi { "http_proxy" } else { "HTTP_PROXY" };
        let exceptions = first(environment, &["no_proxy", "NO_PROXY"]).map(|(_, text)| NoProxy::parse(text));
        Self {
            https: chosen(environment, &["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"]),
            http: chosen(environment, &["http_proxy", upper, "all_proxy", "ALL_PROXY"]),
            exceptions: exceptions.unwrap_or_default(),
        }
    }

    /// The proxy on the way there; `None` is the direct way.
    pub(crate) fn towards(&self, url: &Url) -> Result<Option<Arc<Proxy>>, HttpErrorCause> {
        let chosen = if url.is_https() { &self.https } else { &self.http };
        let Some(chosen) = chosen else { return Ok(None) };
        let is_here = match url.host() {
            UrlHost::Address(ip) => ip.to_canonical().is_loopback(),
            UrlHost::Name(name) => matches!(&**name, "localhost" | "localhost."),
        };
        if is_here || self.exceptions.contain(url.host(), url.port()) {
            return Ok(None);
        }
        chosen.clone().map(Some).map_err(HttpErrorCause::BadProxy)
    }
}

fn first<'e>(environment: &'e Environment, names: &[&'static str]) -> Option<(&'static str, &'e str)> {
    names.iter().find_map(|name| Some((*name, environment.variables().get(*name)?.trim())))
}

fn chosen(environment: &Environment, names: &[&'static str]) -> ChosenProxy {
    let (variable, text) = first(environment, names).filter(|(_, text)| !text.is_empty())?;
    // The SDKs do not know ALL_PROXY, and people name SOCKS proxies there that are meant for others.
    if variable.eq_ignore_ascii_case("ALL_PROXY") && text.to_ascii_lowercase().starts_with("socks") {
        tracing::debug!(variable, "names a SOCKS proxy, which is not used");
        return None;
    }
    Some(Proxy::parse(variable, text).map(Arc::new).map_err(|why| format!("{variable} {why}").into()))
}

impl Proxy {
    /// Reads `http://user:password@host:port`, as curl does: without a scheme it is http, and a path means nothing.
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

    pub(crate) fn url(&self) -> &Url {
        &self.url
    }

    pub(crate) fn variable(&self) -> &'static str {
        self.variable
    }

    pub(crate) fn authorization(&self) -> Option<&HeaderValue> {
        self.authorization.as_ref()
    }

    /// Something that went wrong on the way through this proxy.
    pub(crate) fn blamed(&self, cause: HttpErrorCause) -> HttpErrorCause {
        HttpErrorCause::Proxy { proxy: self.to_string().into(), cause: Box::new(cause) }
    }
}

/// `Basic` of user and password, each percent-decoded (RFC 7617).
fn basic(user: &str) -> Result<HeaderValue, Cow<'static, str>> {
    let (user, password) = user.split_once(':').unwrap_or((user, ""));
    let mut pair = Zeroizing::new(Vec::with_capacity(user.len() + password.len() + 1));
    pair.extend(percent_decode_str(user));
    if pair.contains(&b':') {
        return Err("has a user name with a colon, which no proxy can be told".into());
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

    /// The proxy and what it is told, `-` for the direct way, `!` and the reason.
    fn way(variables: &[(&str, &str)], url: &str) -> String {
        match ProxySettings::of(&Environment::new(variables.iter().copied())).towards(&Url::parse(url).unwrap()) {
            Ok(None) => "-".into(),
            Ok(Some(proxy)) => {
                let told = proxy.authorization().map_or("", |value| value.to_str().unwrap());
                assert!(proxy.authorization().is_none_or(HeaderValue::is_sensitive));
                format!("{proxy} {told}").trim_end().to_owned()
            }
            Err(cause) => format!("!{cause}"),
        }
    }

    #[test]
    fn variables_by_scheme_lower_case_first() {
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
            assert_eq!(way(variables, "https://h"), https, "{variables:?}");
            assert_eq!(way(variables, "http://h"), http, "{variables:?}");
        }
    }

    #[test]
    fn no_proxy_and_loopback_are_direct() {
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
            assert_eq!(way(&[proxy, list], url) == "-", direct, "{list:?} {url}");
        }
        assert_eq!(way(&[proxy, ("no_proxy", ""), ("NO_PROXY", "*")], "https://h"), "http://p:1 (ALL_PROXY)");
    }

    #[test]
    fn a_user_is_told_to_the_proxy_and_nobody_else() {
        for (text, expected) in [
            ("http://me:hush@p:3128", "http://p:3128 (HTTPS_PROXY) Basic bWU6aHVzaA=="),
            ("me:hush@p:3128/x?y#z", "http://p:3128 (HTTPS_PROXY) Basic bWU6aHVzaA=="),
            ("https://me:hu%3Ash%40%2f@p", "https://p (HTTPS_PROXY) Basic bWU6aHU6c2hALw=="),
            ("http://me:hu@sh@[fd00::1]:3128", "http://[fd00::1]:3128 (HTTPS_PROXY) Basic bWU6aHVAc2g="),
            ("http://me@p", "http://p (HTTPS_PROXY) Basic bWU6"),
            ("http://@p", "http://p (HTTPS_PROXY) Basic Og=="),
        ] {
            assert_eq!(way(&[("HTTPS_PROXY", text)], "https://h"), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_proxy_is_named_by_its_variable_and_not_shown() {
        for (text, expected) in [
            ("socks5://me:hush@p:1080", "begins neither with http:// nor with https://"),
            ("http://", "is not a URL of the form http://host:port/path"),
            ("me:hush/1@p:3128", "has a / or ? or # in its user name or password: write %2F, %3F or %23"),
            ("http://me:hush#@p", "has a / or ? or # in its user name or password: write %2F, %3F or %23"),
            ("http://m%3ae:hush@p", "has a user name with a colon, which no proxy can be told"),
            ("http://p:hush", "has a port that is not a number from 1 to 65535"),
            ("http://me:hush@a b", "is not a URL of the form http://host:port/path"),
        ] {
            assert_eq!(way(&[("https_proxy", text)], "https://h"), format!("!https_proxy {expected}"));
            assert_eq!(way(&[("https_proxy", text), ("NO_PROXY", "h")], "https://h"), "-");
        }
    }
}
