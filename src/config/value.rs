//! Parses values of the configuration. The rules are equal in `credenza.toml`, flags and variables.
//!
//! No message shows the text: it may be a secret in the wrong place.

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use crate::config::listen::{ListenAddress, MAX_SOCKET_PATH_LEN, UNIX, is_local};
use crate::config::users::Account;
use crate::model::auth_token::check;
use crate::model::identity_name::IdentityName;
use crate::model::secret::Secret;
use crate::model::session_limits::check_policy_arn;
use crate::model::session_name::{self, SessionTextKind};
use crate::model::text::usable;
use crate::source::spec::{is_sendable_role, looks_like_arn};

/// The maximum length of a host, user or group name in bytes. It is the maximum of DNS; user and group names are
/// shorter.
const MAX_NAME_LEN: usize = 253;

/// The maximum length of an identity name in bytes: a name is part of request paths and log lines.
const MAX_IDENTITY_LEN: usize = 256;

pub(crate) fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| "not an address with a port; write it like 127.0.0.1:9733 or [::1]:9733".into())
}

/// Parses an address with a port, or the path of a Unix socket after `unix:`.
pub(crate) fn listen_address(text: &str) -> Result<ListenAddress, String> {
    match text.strip_prefix(UNIX) {
        Some(path) => socket_path(path).map(ListenAddress::Unix),
        None => text.parse().map(ListenAddress::Tcp).map_err(|_| {
            "not an address with a port; write it like 127.0.0.1:9733, [::1]:9733 or unix:/run/credenza/credenza.sock"
                .into()
        }),
    }
}

/// Parses the path of a Unix socket. Clients have to write it, so that it is no longer than the kernel allows.
fn socket_path(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    if text.chars().any(char::is_control) {
        return Err("the path of a Unix socket has no control characters; remove them".into());
    }
    if !(path.is_absolute() || text.starts_with("~/")) || path.file_name().is_none() || text.ends_with('/') {
        return Err(
            "not the absolute path of a Unix socket; write it like unix:/run/credenza/credenza.sock or unix:~/s".into(),
        );
    }
    if text.len() > MAX_SOCKET_PATH_LEN {
        return Err(format!("a Unix socket has a path of at most {MAX_SOCKET_PATH_LEN} bytes; choose a shorter one"));
    }
    Ok(path)
}

/// Parses an address for the IMDS server: loopback, or an address that SDKs know.
pub(crate) fn imds_address(text: &str) -> Result<SocketAddr, String> {
    let address = address(text)?;
    if is_local(address.ip()) {
        return Ok(address);
    }
    Err(format!(
        "{address}: IMDS cannot tell clients apart, so other hosts must not reach it; use a loopback address, \
         169.254.169.254, fd00:ec2::254, 169.254.170.2, 169.254.170.23 or fd00:ec2::23"
    ))
}

/// Parses a host name or an address without a port. A name becomes lower case.
pub(crate) fn host(text: &str) -> Result<Box<str>, String> {
    let address = text.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    let name = (1..=MAX_NAME_LEN).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'));
    match address {
        Ok(address) => Ok(address.to_string().into()),
        Err(_) if name => Ok(text.to_ascii_lowercase().into()),
        Err(_) => Err("not a host name; write it without scheme, port and path, like broker.internal".into()),
    }
}

pub(crate) fn identity(text: &str) -> Result<IdentityName, String> {
    if text.is_empty() || text.len() > MAX_IDENTITY_LEN || text.chars().any(char::is_control) {
        return Err("not the name of an identity; use 1 to 256 bytes without control characters".into());
    }
    Ok(IdentityName::new(text))
}

pub(crate) fn path(text: &str) -> Result<PathBuf, String> {
    match text {
        "" => Err("empty; write the path of a file".into()),
        text if text.contains('\0') => Err("not a path: it contains a NUL character; remove it".into()),
        text => Ok(text.into()),
    }
}

/// Parses the path of a folder. It does not depend on the folder in which the program starts.
pub(crate) fn folder(text: &str) -> Result<PathBuf, String> {
    match path(text)? {
        path if path.is_absolute() || text == "~" || text.starts_with("~/") => Ok(path),
        _ => Err("not an absolute path; write it like /mnt/c or ~/work".into()),
    }
}

/// Parses a user or a group: an id if the text has digits only, else a name.
pub(crate) fn account(text: &str) -> Result<Account, String> {
    if let Ok(id) = text.parse() {
        return Ok(Account::Id(id));
    }
    let name = (1..=MAX_NAME_LEN).contains(&text.len())
        && !text.contains(|c: char| c.is_control() || c.is_whitespace() || c == ':')
        && !text.bytes().all(|b| b.is_ascii_digit() || b == b'-' || b == b'+');
    if name {
        Ok(Account::Name(text.into()))
    } else {
        Err("neither a name nor a number of a user or group; write it like www-data or 1000".into())
    }
}

/// Parses the ARN of a role.
pub(crate) fn role_arn(text: &str) -> Result<Box<str>, String> {
    let text = usable("role ARN", text).map_err(|error| error.to_string())?;
    if looks_like_arn(text) && is_sendable_role(text) {
        Ok(text.into())
    } else {
        Err("not the ARN of a role; write it like arn:aws:iam::123456789012:role/NAME".into())
    }
}

/// Parses the name of a session or a source identity, with or without placeholders.
pub(crate) fn session_name(text: &str) -> Result<Box<str>, String> {
    let text = usable("text", text).map_err(|error| error.to_string())?;
    session_name::check(text, SessionTextKind::Name).map(|()| text.into())
}

/// Parses the ARN of a managed policy.
pub(crate) fn policy_arn(text: &str) -> Result<Box<str>, String> {
    let text = usable("ARN", text).map_err(|error| error.to_string())?;
    check_policy_arn(text).map(|()| text.into())
}

pub(crate) fn region(text: &str) -> Result<Box<str>, String> {
    Ok(usable("region", text).map_err(|error| error.to_string())?.into())
}

pub(crate) fn profile(text: &str) -> Result<Box<str>, String> {
    Ok(usable("profile name", text).map_err(|error| error.to_string())?.into())
}

pub(crate) fn sso_session(text: &str) -> Result<Box<str>, String> {
    Ok(usable("session name", text).map_err(|error| error.to_string())?.into())
}

/// Parses a part of credentials. `part` is its name in messages.
pub(crate) fn credential_part(part: &'static str) -> impl Fn(&str) -> Result<Secret, String> {
    move |text| Ok(usable(part, text).map_err(|error| error.to_string())?.into())
}

/// Parses a URL with a key pair as user info.
pub(crate) fn url(text: &str) -> Result<Secret, String> {
    match crate::source::spec::parse_url(text) {
        Ok(_) => Ok(text.trim().into()),
        Err(error) => Err(crate::model::error::SourceError::from(error).to_string()),
    }
}

pub(crate) fn auth_token(text: &str) -> Result<Secret, String> {
    match check(text) {
        Ok(()) => Ok(text.into()),
        Err(reason) => Err(format!("not a usable auth token: {reason}; use 32 to 4096 visible ASCII characters")),
    }
}

/// Parses a duration such as `90s`, `15m`, `1h30m` or `12h`: whole numbers with units, the larger units first.
pub(crate) fn duration(allowed: &RangeInclusive<Duration>) -> impl Fn(&str) -> Result<Duration, String> {
    move |text| {
        let duration = parse_seconds(text).map(Duration::from_secs);
        let duration = duration.ok_or("not a duration; write it like 90s, 15m, 1h30m or 12h, in quotes")?;
        if allowed.contains(&duration) {
            return Ok(duration);
        }
        Err(format!("must lie between {} and {}", format_duration(*allowed.start()), format_duration(*allowed.end())))
    }
}

fn parse_seconds(text: &str) -> Option<u64> {
    let (mut rest, mut total) = (text, None);
    for (unit, unit_seconds) in [('h', 3600), ('m', 60), ('s', 1)] {
        if let Some((number, after)) = rest.split_once(unit) {
            if number.is_empty() || !number.bytes().all(|b| b.is_ascii_digit()) {
                return None;
            }
            total = Some(number.parse::<u64>().ok()?.checked_mul(unit_seconds)?.checked_add(total.unwrap_or(0))?);
            rest = after;
        }
    }
    total.filter(|_| rest.is_empty())
}

fn format_duration(duration: Duration) -> String {
    match duration.as_secs() {
        0 => "0s".to_owned(),
        seconds if seconds % 3600 == 0 => format!("{}h", seconds / 3600),
        seconds if seconds % 60 == 0 => format!("{}m", seconds / 60),
        seconds => format!("{seconds}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_durations_with_units() {
        for (text, expected) in [
            ("90s", Some(90)),
            ("15m", Some(900)),
            ("1h30m", Some(5400)),
            ("1h0m1s", Some(3601)),
            ("12h", Some(43200)),
            ("0s", Some(0)),
            ("", None),
            ("90", None),
            ("1d", None),
            ("30m1h", None),
            ("1m1m", None),
            ("1.5h", None),
            ("-1m", None),
            ("+1m", None),
            ("1h ", None),
            (" 1h", None),
            ("h", None),
            ("99999999999999999999h", None),
            ("18446744073709551615h", None),
        ] {
            assert_eq!(parse_seconds(text), expected, "{text}");
        }
        let allowed = Duration::from_secs(60)..=Duration::from_secs(43200);
        assert_eq!(duration(&allowed)("1m"), Ok(Duration::from_secs(60)));
        assert_eq!(duration(&allowed)("59s").unwrap_err(), "must lie between 1m and 12h");
    }

    #[test]
    fn parses_listen_addresses() {
        let unix = |path: &str| Ok(ListenAddress::Unix(path.into()));
        let long = format!("/{}", "x".repeat(MAX_SOCKET_PATH_LEN - 1));
        for (text, expected) in [
            ("127.0.0.1:9733", Ok(ListenAddress::Tcp(([127, 0, 0, 1], 9733).into()))),
            ("unix:/run/credenza/credenza.sock", unix("/run/credenza/credenza.sock")),
            ("unix:///run/s", unix("/run/s")),
            ("unix:~/s", unix("~/s")),
            (&format!("unix:{long}"), unix(&long)),
            (&format!("unix:{long}x"), Err("at most 107 bytes")),
            (&format!("unix:/{}", "é".repeat(54)), Err("at most 107 bytes")),
            ("unix:/a\0", Err("control characters")),
            ("unix:/a\n", Err("control characters")),
            ("unix:", Err("absolute path")),
            ("unix:s", Err("absolute path")),
            ("unix:@s", Err("absolute path")),
            ("unix:~", Err("absolute path")),
            ("unix:~s/s", Err("absolute path")),
            ("unix:/", Err("absolute path")),
            ("unix:/a/", Err("absolute path")),
            ("unix:/a/..", Err("absolute path")),
            ("/run/s", Err("unix:/run/credenza/credenza.sock")),
            ("Unix:/s", Err("unix:/run/credenza/credenza.sock")),
        ] {
            match (listen_address(text), expected) {
                (Ok(address), Ok(expected)) => assert_eq!(address, expected),
                (Err(error), Err(words)) => assert!(error.contains(words), "{text:?}: {error}"),
                (parsed, _) => panic!("{text:?}: {parsed:?}"),
            }
        }
        assert!(imds_address("unix:/s").is_err());
    }

    #[test]
    fn parses_hosts_and_accounts() {
        for (text, expected) in
            [("Broker.Internal", Some("broker.internal")), ("[::1]", Some("::1")), ("10.0.0.1", Some("10.0.0.1"))]
        {
            assert_eq!(host(text).ok().as_deref(), expected, "{text}");
        }
        for bad in ["", "a:80", "http://a", "a/b", "*", "a b", "é"] {
            assert!(host(bad).is_err(), "{bad}");
        }
        assert_eq!(account("1000"), Ok(Account::Id(1000)));
        assert_eq!(account("www-data"), Ok(Account::Name("www-data".into())));
        for bad in ["", "-1", "4294967296", "a b", "a:b", "a\n"] {
            assert!(account(bad).is_err(), "{bad}");
        }
    }
}
