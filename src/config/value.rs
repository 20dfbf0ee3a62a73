//! What texts of the configuration mean, the same in `credenza.toml`, in flags and in variables. No message shows the
//! text: it could be a secret in the wrong place.

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use crate::config::listen::is_local;
use crate::config::server::Account;
use crate::model::auth_token::check;
use crate::model::identity_name::IdentityName;
use crate::model::secret::Secret;
use crate::model::text::usable;

/// How long the longest name of a host, user or group may be.
const LONGEST_NAME: usize = 253;

/// A longer name would not fit into the paths and log lines that bear it.
const LONGEST_IDENTITY: usize = 256;

pub(crate) fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| "not an address with a port; write it like 127.0.0.1:9733 or [::1]:9733".into())
}

/// Where the metadata service may listen.
pub(crate) fn metadata_address(text: &str) -> Result<SocketAddr, String> {
    let address = address(text)?;
    if is_local(address.ip()) {
        return Ok(address);
    }
    Err(format!(
        "{address}: neither a loopback address nor 169.254.169.254, fd00:ec2::254, 169.254.170.2, 169.254.170.23 or \
         fd00:ec2::23: the protocol knows no clients, so other hosts must not reach it"
    ))
}

/// A host name or an address, without a port.
pub(crate) fn host(text: &str) -> Result<Box<str>, String> {
    let address = text.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    let name = (1..=LONGEST_NAME).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'));
    match address {
        Ok(address) => Ok(address.to_string().into()),
        Err(_) if name => Ok(text.to_ascii_lowercase().into()),
        Err(_) => Err("not a host name; write it without scheme, port and path, like broker.internal".into()),
    }
}

/// The name of an identity.
pub(crate) fn identity(text: &str) -> Result<IdentityName, String> {
    if text.is_empty() || text.len() > LONGEST_IDENTITY || text.chars().any(char::is_control) {
        return Err("not the name of an identity: that has 1 to 256 bytes and no control characters".into());
    }
    Ok(IdentityName::new(text))
}

pub(crate) fn path(text: &str) -> Result<PathBuf, String> {
    match text {
        "" => Err("empty; it must be the path of a file".into()),
        text if text.contains('\0') => Err("not a path: it contains a NUL character".into()),
        text => Ok(text.into()),
    }
}

/// A user or a group: digits are its number.
pub(crate) fn account(text: &str) -> Result<Account, String> {
    if let Ok(id) = text.parse() {
        return Ok(Account::Id(id));
    }
    let name = (1..=LONGEST_NAME).contains(&text.len())
        && !text.contains(|c: char| c.is_control() || c.is_whitespace() || c == ':')
        && !text.bytes().all(|b| b.is_ascii_digit() || b == b'-' || b == b'+');
    if name { Ok(Account::Name(text.into())) } else { Err("neither a name nor a number".into()) }
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

/// A part of credentials.
pub(crate) fn part(part: &'static str) -> impl Fn(&str) -> Result<Secret, String> {
    move |text| Ok(usable(part, text).map_err(|error| error.to_string())?.into())
}

/// A URL with user info.
pub(crate) fn url(text: &str) -> Result<Secret, String> {
    match crate::source::spec::parse_url(text) {
        Ok(_) => Ok(text.trim().into()),
        Err(error) => Err(crate::model::error::SourceError::from(error).to_string()),
    }
}

/// The broker's own token.
pub(crate) fn auth_token(text: &str) -> Result<Secret, String> {
    match check(text) {
        Ok(()) => Ok(text.into()),
        Err(reason) => Err(format!("the token given: {reason}")),
    }
}

/// A duration such as `90s`, `15m`, `1h30m` or `12h`: whole numbers with a unit, the larger units first.
pub(crate) fn duration(allowed: &RangeInclusive<Duration>) -> impl Fn(&str) -> Result<Duration, String> {
    move |text| {
        let duration = seconds(text).map(Duration::from_secs);
        let duration = duration.ok_or("not a duration; write it like 90s, 15m, 1h30m or 12h, in quotes")?;
        if allowed.contains(&duration) {
            return Ok(duration);
        }
        Err(format!("must lie between {} and {}", written(*allowed.start()), written(*allowed.end())))
    }
}

fn seconds(text: &str) -> Option<u64> {
    let (mut rest, mut total) = (text, None);
    for (unit, worth) in [('h', 3600), ('m', 60), ('s', 1)] {
        if let Some((number, after)) = rest.split_once(unit) {
            if number.is_empty() || !number.bytes().all(|b| b.is_ascii_digit()) {
                return None;
            }
            total = Some(number.parse::<u64>().ok()?.checked_mul(worth)?.checked_add(total.unwrap_or(0))?);
            rest = after;
        }
    }
    total.filter(|_| rest.is_empty())
}

fn written(duration: Duration) -> String {
    match duration.as_secs() {
        seconds if seconds % 3600 == 0 => format!("{}h", seconds / 3600),
        seconds if seconds % 60 == 0 => format!("{}m", seconds / 60),
        seconds => format!("{seconds}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
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
            assert_eq!(seconds(text), expected, "{text}");
        }
        let allowed = Duration::from_secs(60)..=Duration::from_secs(43200);
        assert_eq!(duration(&allowed)("1m"), Ok(Duration::from_secs(60)));
        assert_eq!(duration(&allowed)("59s").unwrap_err(), "must lie between 1m and 12h");
    }

    #[test]
    fn hosts_and_accounts() {
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
