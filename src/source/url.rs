//! Static keys and an endpoint in one URL: `http://KEY:SECRET@HOST:9000`, or `http://KEY:SECRET:TOKEN@HOST:9000`.

use std::path::PathBuf;

use http::uri::{Authority, PathAndQuery};
use percent_encoding::percent_decode_str;
use zeroize::Zeroizing;

use crate::context::Context;
use crate::model::credentials::Credentials;
use crate::model::error::SourceError;
use crate::model::outcome::Lookup;
use crate::model::text::InvalidText;
use crate::source::spec::TextSource;
use crate::source::static_keys::read;
use crate::source::{BoxFuture, Source};

/// A URL with a key pair as its user info. The rest is the S3 endpoint that accepts the pair. A third part of the user
/// info is the session token of the pair, as in MinIO's `MC_HOST_…`.
///
/// User info is percent-decoded, so `/`, `?`, `#`, `@`, `:` and `%` in a secret are written `%2F`, `%3F`, `%23`, `%40`,
/// `%3A` and `%25`. An invalid URL is misconfigured, and the error shows no part of it.
///
/// ```
/// use credenza::{Context, Lookup, Source, UrlCredentials};
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// let source = UrlCredentials::new("http://minio:se%2Fcret@localhost:9000/");
/// let Lookup::Found(credentials) = source.load(&Context::default()).await else { panic!() };
/// assert_eq!(credentials.secret_access_key.expose(), "se/cret");
/// assert_eq!(credentials.endpoint.as_deref(), Some("http://localhost:9000"));
/// # });
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UrlCredentials(TextSource);

impl UrlCredentials {
    /// Makes a source of this URL. [`Source::load`] reports errors in it.
    #[must_use]
    pub fn new(url: &str) -> Self {
        Self(TextSource::Literal(url.into()))
    }

    /// Makes a source of a file that holds the URL. Each load reads the file again.
    pub fn from_file(path: impl Into<PathBuf>) -> Self {
        Self(TextSource::File(path.into()))
    }

    /// Makes a source of a URL that is a literal or in a file.
    #[must_use]
    pub fn from_text(url: TextSource) -> Self {
        Self(url)
    }
}

impl Source for UrlCredentials {
    fn name(&self) -> &str {
        "url"
    }

    fn load<'a>(&'a self, context: &'a Context) -> BoxFuture<'a, Lookup> {
        Box::pin(async move {
            let text = read(context, &self.0).await;
            Lookup::from_result(text.and_then(|text| Ok(parse(&text)?)))
        })
    }
}

/// The reason why a URL is invalid. It shows no part of the URL.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum UrlError {
    #[error("the URL does not begin with http:// or https://")]
    Scheme,
    #[error("the URL has no user info")]
    NoUserInfo,
    /// One half of the pair is missing.
    #[error("the user info of the URL is half a key pair: {0}")]
    Half(&'static str),
    /// A colon separates the parts: the session token is empty, or there is a fourth part.
    #[error("the user info of the URL is not KEY:SECRET or KEY:SECRET:TOKEN")]
    Parts,
    #[error("the user info of the URL is not percent-encoded UTF-8")]
    Encoding,
    #[error("in the user info of the URL {0}")]
    InvalidText(#[from] InvalidText),
    #[error("the host or port of the URL is not valid")]
    Host,
    #[error("the path of the URL is not valid")]
    Path,
    #[error("the URL has a query or a fragment, which an endpoint cannot have")]
    Query,
}

impl UrlError {
    /// Returns a hint for the user, if the message does not suffice.
    pub(crate) fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NoUserInfo => Some(
                "write http://KEY:SECRET@HOST:PORT, with %2F for a slash in the secret (%3F for ?, %23 for #, %40 for @, %3A \
                 for :, %25 for %)",
            ),
            Self::Half(_) => Some("write http://KEY:SECRET@HOST:PORT"),
            Self::Parts => Some("write a colon in the secret or the session token as %3A"),
            Self::Encoding => Some("write a % in the secret as %25"),
            Self::Path => Some("write a slash in the secret as %2F"),
            Self::Query => Some("write ? in the secret as %3F, and # as %23"),
            Self::Scheme | Self::InvalidText(_) | Self::Host => None,
        }
    }
}

impl From<UrlError> for SourceError {
    fn from(error: UrlError) -> Self {
        let hint = error.hint();
        let error = Self::misconfigured(error.to_string());
        match hint {
            Some(hint) => error.with_hint(hint),
            None => error,
        }
    }
}

/// Returns the key pair, its session token if there is one, and the endpoint of a URL.
///
/// # Errors
/// The URL is invalid. The error shows no part of it.
pub(crate) fn parse(url: &str) -> Result<Credentials, UrlError> {
    let (scheme, rest) = url.trim().split_once("://").ok_or(UrlError::Scheme)?;
    let scheme = ["http", "https"].into_iter().find(|known| scheme.eq_ignore_ascii_case(known));
    let scheme = scheme.ok_or(UrlError::Scheme)?;
    let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let (user_info, host) = authority.rsplit_once('@').ok_or(UrlError::NoUserInfo)?;
    let (key, secret) = match user_info.split_once(':') {
        _ if user_info.is_empty() => return Err(UrlError::NoUserInfo),
        Some(("", _)) => return Err(UrlError::Half("there is no key before the colon")),
        None | Some((_, "")) => return Err(UrlError::Half("there is no secret after the key")),
        Some(pair) => pair,
    };
    let (secret, token) = match secret.split_once(':') {
        None => (secret, None),
        Some(("", _)) => return Err(UrlError::Half("there is no secret after the key")),
        Some((_, token)) if token.is_empty() || token.contains(':') => return Err(UrlError::Parts),
        Some((secret, token)) => (secret, Some(decode(token)?)),
    };
    if path.contains(['?', '#']) {
        return Err(UrlError::Query);
    }
    let credentials = Credentials::new(&decode(key)?, &decode(secret)?)?;
    let mut credentials = credentials.with_session_token(token.as_ref().map(|token| token.as_str()))?;
    credentials.endpoint = Some(format!("{scheme}://{}{}", checked_host(host)?, checked_path(path)?).into());
    Ok(credentials)
}

fn decode(text: &str) -> Result<Zeroizing<String>, UrlError> {
    let escapes_are_whole = text.split('%').skip(1).all(|after| {
        let digits = after.as_bytes();
        digits.len() >= 2 && digits[..2].iter().all(u8::is_ascii_hexdigit)
    });
    match String::from_utf8(percent_decode_str(text).collect()) {
        Ok(text) if escapes_are_whole => Ok(Zeroizing::new(text)),
        _ => Err(UrlError::Encoding),
    }
}

fn checked_host(host: &str) -> Result<&str, UrlError> {
    let authority: Authority = host.parse().map_err(|_| UrlError::Host)?;
    let name = authority.host();
    // Accept an IPv6 address only in brackets, and nothing else in brackets.
    let address = name.strip_prefix('[').and_then(|name| name.strip_suffix(']'));
    let named = match address {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => !name.is_empty() && !name.contains(['[', ']', ':']),
    };
    let rest = host.strip_prefix(name).ok_or(UrlError::Host)?;
    let port = rest.is_empty() || rest.strip_prefix(':').is_some_and(|port| port.parse::<u16>().is_ok_and(|p| p > 0));
    if named && port { Ok(host) } else { Err(UrlError::Host) }
}

fn checked_path(path: &str) -> Result<&str, UrlError> {
    match path {
        "" | "/" => Ok(""),
        // Check the endpoint, because it is printed in variables and headers. An `@` after a slash means that the
        // secret has an unescaped slash: then a part of the secret would be in the endpoint.
        path if !path.contains('@')
            && path.bytes().all(|b| b.is_ascii_graphic())
            && path.parse::<PathAndQuery>().is_ok() =>
        {
            Ok(path)
        }
        _ => Err(UrlError::Path),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::error::ErrorKind;

    #[test]
    fn splits_url_into_keys_and_endpoint() {
        for (url, key, secret, endpoint) in [
            ("http://key:secret@host:9000", "key", "secret", "http://host:9000"),
            (" HTTPS://key:secret@host/\n", "key", "secret", "https://host"),
            ("https://key:secret@host/a/b/", "key", "secret", "https://host/a/b/"),
            ("http://k:a+b=c%3Ad@host", "k", "a+b=c:d", "http://host"),
            ("http://k%40x:a%2Fb%25%3a@host", "k@x", "a/b%:", "http://host"),
            ("http://k:p@ss@host", "k", "p@ss", "http://host"),
            ("http://k:%C3%A9@host", "k", "é", "http://host"),
            ("http://k:s@[::1]:9000/", "k", "s", "http://[::1]:9000"),
            ("http://k:s@[fd00:ec2::23]", "k", "s", "http://[fd00:ec2::23]"),
            ("http://k:s@127.0.0.1:1", "k", "s", "http://127.0.0.1:1"),
        ] {
            let found = parse(url).unwrap_or_else(|error| panic!("{url}: {error}"));
            assert_eq!((&*found.access_key_id, found.secret_access_key.expose()), (key, secret), "{url}");
            assert_eq!(found.endpoint.as_deref(), Some(endpoint), "{url}");
            assert!(found.session_token.is_none(), "{url}");
        }
        let found = parse("http://k:s%3A:to%2Fken%3D@host").unwrap();
        assert_eq!((found.secret_access_key.expose(), found.session_token.unwrap().expose()), ("s:", "to/ken="));
    }

    #[test]
    fn reports_invalid_urls_without_showing_them() {
        let no_key = UrlError::Half("there is no key before the colon");
        let no_secret = UrlError::Half("there is no secret after the key");
        for (url, expected) in [
            ("", UrlError::Scheme),
            ("hunter2@host", UrlError::Scheme),
            ("s3://k:hunter2@host", UrlError::Scheme),
            ("http://host:9000", UrlError::NoUserInfo),
            ("http://k:hun/ter2@host", UrlError::NoUserInfo),
            ("http://k:hun?ter2@host", UrlError::NoUserInfo),
            ("http://k:hun#ter2@host", UrlError::NoUserInfo),
            ("http://@host", UrlError::NoUserInfo),
            ("http://hunter2@host", no_secret.clone()),
            ("http://hunter2:@host", no_secret),
            ("http://:hunter2@host", no_key),
            ("http://k::hunter2@host", UrlError::Half("there is no secret after the key")),
            ("http://k:hunter2:@host", UrlError::Parts),
            ("http://k:hunter2:hunter2:hunter2@host", UrlError::Parts),
            ("http://k:s:hunter2%0A2@host", UrlError::InvalidText(InvalidText::ControlCharacter("session token"))),
            ("http://k:hunter2%@host", UrlError::Encoding),
            ("http://k:hunter2%2@host", UrlError::Encoding),
            ("http://k:hunter2%zz@host", UrlError::Encoding),
            ("http://k:hunter2%FF@host", UrlError::Encoding),
            ("http://k:hunter2%0Ax@host", UrlError::InvalidText(InvalidText::ControlCharacter("secret access key"))),
            ("http://k:%20@host", UrlError::InvalidText(InvalidText::Empty("secret access key"))),
            ("http://k:hunter2@", UrlError::Host),
            ("http://k:hunter2@:9000", UrlError::Host),
            ("http://k:hunter2@host:", UrlError::Host),
            ("http://k:hunter2@host:99999", UrlError::Host),
            ("http://k:hunter2@host:x", UrlError::Host),
            ("http://k:hunter2@[::1", UrlError::Host),
            ("http://k:hunter2@[x]", UrlError::Host),
            ("http://k:hunter2@ho st", UrlError::Host),
            ("http://k:hunter2@host/a b", UrlError::Path),
            ("http://k:hunter2@host/é", UrlError::Path),
            ("http://k:hun@ter/2@host", UrlError::Path),
            ("http://k:hunter2@host?a=b", UrlError::Query),
            ("http://k:hunter2@host/#a", UrlError::Query),
        ] {
            let error = parse(url).expect_err(url);
            assert_eq!(error, expected, "{url}");
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
        assert!(
            SourceError::from(UrlError::NoUserInfo)
                .to_string()
                .contains("; write http://KEY:SECRET@HOST:PORT, with %2F")
        );
    }

    #[tokio::test]
    async fn reports_bad_url_and_missing_file_as_errors() {
        for (source, kind) in [
            (UrlCredentials::new("http://hunter2@host"), ErrorKind::Misconfigured),
            (UrlCredentials::from_file("/nowhere/url"), ErrorKind::Unsettled),
        ] {
            assert!(!format!("{source:?}").contains("hunter2"));
            let Lookup::Failed(error) = source.load(&Context::default()).await else { panic!("{source:?}") };
            assert_eq!(error.kind, kind, "{error}");
        }
    }

    proptest! {
        #[test]
        fn decodes_every_encoded_secret(secret in "[!-~]([ -~]{0,40}[!-~])?") {
            let encoded = percent_encoding::utf8_percent_encode(&secret, percent_encoding::NON_ALPHANUMERIC);
            let found = parse(&format!("http://key:{encoded}@host")).unwrap();
            prop_assert_eq!(found.secret_access_key.expose(), secret);
        }

        #[test]
        fn keeps_user_info_out_of_endpoints(url in "https?://[a-z:@/%?#\\[\\]]{0,30}") {
            if let Ok(found) = parse(&url) {
                prop_assert!(!found.endpoint.unwrap().contains('@'));
            }
        }

        #[test]
        fn parses_any_text_without_panic(url in ".*") {
            let _ = parse(&url);
        }
    }
}
