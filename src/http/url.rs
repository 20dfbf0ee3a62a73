//! The URL of a request.

use std::fmt;
use std::net::IpAddr;

use http::Uri;
use http::uri::Scheme;

use crate::model::text::Escaped;

/// The maximum length of a printed path, in characters. A longer path would make messages hard to read.
const LONGEST_PATH: usize = 200;

/// An absolute `http` or `https` URL without user info. It prints without its query, which may hold a token.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct Url {
    uri: Uri,
    host: UrlHost,
    port: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum UrlHost {
    Address(IpAddr),
    Name(Box<str>),
}

/// The reason why a text is not a usable URL. It never shows the text, which may hold a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum UrlSyntaxError {
    /// The text is empty, or has a space or a control character.
    #[error("is not a URL of the form http://host:port/path")]
    Malformed,
    /// The scheme is missing, or is neither `http` nor `https`.
    #[error("begins neither with http:// nor with https://")]
    Scheme,
    #[error("contains a user name, which is not allowed here")]
    UserInfo,
    #[error("has a port that is not a number from 1 to 65535")]
    Port,
}

impl Url {
    /// Parses a URL and drops its fragment.
    ///
    /// # Errors
    /// If it is not absolute, not `http` or `https`, or has user info.
    pub(crate) fn parse(text: &str) -> Result<Self, UrlSyntaxError> {
        let uri = uri(text.trim())?;
        let default = match uri.scheme() {
            Some(scheme) if *scheme == Scheme::HTTP => 80,
            Some(scheme) if *scheme == Scheme::HTTPS => 443,
            _ => return Err(UrlSyntaxError::Scheme),
        };
        let authority = uri.authority().ok_or(UrlSyntaxError::Malformed)?;
        if authority.as_str().contains('@') {
            return Err(UrlSyntaxError::UserInfo);
        }
        let host = host(authority.host())?;
        let port = match authority.as_str()[authority.host().len()..].strip_prefix(':') {
            None | Some("") => default,
            Some(port) => port.parse().ok().filter(|port| *port != 0).ok_or(UrlSyntaxError::Port)?,
        };
        Ok(Self { uri, host, port })
    }

    /// Returns the URL of a path below this one. `path` begins with a slash. A slash at the end of this URL is not
    /// doubled.
    ///
    /// # Errors
    /// If `path` holds a character that a URL cannot.
    pub(crate) fn join(&self, path: &str) -> Result<Self, UrlSyntaxError> {
        let text = format!("{}{}{path}", self.origin(), self.uri.path().trim_end_matches('/'));
        Ok(Self { uri: uri(&text)?, ..self.clone() })
    }

    pub(crate) fn is_https(&self) -> bool {
        self.uri.scheme() == Some(&Scheme::HTTPS)
    }

    /// Returns true if there is a query, even an empty one.
    pub(crate) fn has_query(&self) -> bool {
        self.uri.query().is_some()
    }

    pub(crate) fn host(&self) -> &UrlHost {
        &self.host
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Returns the URL up to its query, as a DPoP proof must name it.
    pub(crate) fn without_query(&self) -> String {
        format!("{}{}", self.origin(), self.uri.path())
    }

    /// Returns scheme, host and port.
    pub(crate) fn origin(&self) -> Box<str> {
        format!("{}://{}", self.uri.scheme_str().unwrap_or("http"), self.authority()).into()
    }

    /// Returns host and port as in the `Host` header.
    pub(crate) fn authority(&self) -> String {
        let default = if self.is_https() { 443 } else { 80 };
        let host = self.uri.host().unwrap_or_default().to_ascii_lowercase();
        if self.port == default { host } else { format!("{host}:{}", self.port) }
    }

    /// Returns path and query as in the request line.
    pub(crate) fn target(&self) -> Uri {
        self.uri.path_and_query().cloned().map_or_else(|| Uri::from_static("/"), Uri::from)
    }
}

/// Parses the URI. The crate `http` accepts all characters beyond ASCII. Control characters among them are refused
/// here.
fn uri(text: &str) -> Result<Uri, UrlSyntaxError> {
    text.parse().ok().filter(|_| !text.chars().any(char::is_control)).ok_or(UrlSyntaxError::Malformed)
}

fn host(text: &str) -> Result<UrlHost, UrlSyntaxError> {
    if let Some(address) = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')) {
        return address.parse().map(|ip| UrlHost::Address(IpAddr::V6(ip))).map_err(|_| UrlSyntaxError::Malformed);
    }
    match text.parse() {
        Ok(ip) => Ok(UrlHost::Address(IpAddr::V4(ip))),
        Err(_) if text.is_empty() => Err(UrlSyntaxError::Malformed),
        Err(_) => Ok(UrlHost::Name(text.to_ascii_lowercase().into())),
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.uri.path();
        match path.char_indices().nth(LONGEST_PATH) {
            None => write!(f, "{}{}", Escaped(&self.origin()), Escaped(path)),
            Some((end, _)) => write!(f, "{}{}…", Escaped(&self.origin()), Escaped(&path[..end])),
        }
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_without_query_and_fragment() {
        for (text, shown, target) in [
            ("http://127.0.0.1", "http://127.0.0.1/", "/"),
            (" HTTP://LocalHost:80/a?token=hush ", "http://localhost/a", "/a?token=hush"),
            ("https://h:443/x#y", "https://h/x", "/x"),
            ("https://h:/x", "https://h/x", "/x"),
            ("http://[fd00:ec2::23]:8080/v1", "http://[fd00:ec2::23]:8080/v1", "/v1"),
            ("http://h?q=hush", "http://h/", "/?q=hush"),
        ] {
            let url = Url::parse(text).unwrap();
            assert_eq!((url.to_string().as_str(), url.target().to_string().as_str()), (shown, target), "{text}");
            assert!(!format!("{url:?}").contains("hush"));
        }
        assert!(Url::parse(&format!("http://h/{}", "a".repeat(999))).unwrap().to_string().len() < 300);
    }

    #[test]
    fn refuses_other_texts_without_showing_them() {
        for (text, why) in [
            ("", UrlSyntaxError::Malformed),
            ("http://", UrlSyntaxError::Malformed),
            ("http:///x", UrlSyntaxError::Malformed),
            ("http://a b/", UrlSyntaxError::Malformed),
            ("http://a\n/", UrlSyntaxError::Malformed),
            ("http://a/\u{8e}", UrlSyntaxError::Malformed),
            ("http://[fe80::1%25eth0]/", UrlSyntaxError::Malformed),
            ("http://[127.0.0.1]/", UrlSyntaxError::Malformed),
            ("/x", UrlSyntaxError::Scheme),
            ("127.0.0.1:80", UrlSyntaxError::Scheme),
            ("ftp://h/", UrlSyntaxError::Scheme),
            ("http://user:hush@h/", UrlSyntaxError::UserInfo),
            ("http://user@h/", UrlSyntaxError::UserInfo),
            ("http://h:0/", UrlSyntaxError::Port),
            ("http://h:65536/", UrlSyntaxError::Port),
        ] {
            assert_eq!(Url::parse(text), Err(why), "{text:?}");
            assert!(!why.to_string().contains("hush"));
        }
    }

    #[test]
    fn join_keeps_the_path_and_drops_the_query() {
        for (base, joined) in [
            ("http://h:8080", "http://h:8080/a/"),
            ("http://h:8080/", "http://h:8080/a/"),
            ("https://h/p/?q", "https://h/p/a/"),
        ] {
            assert_eq!(Url::parse(base).unwrap().join("/a/").unwrap().to_string(), joined);
        }
        assert_eq!(Url::parse("http://h").unwrap().join("/a b"), Err(UrlSyntaxError::Malformed));
    }
}
