//! The address and the paths of a daemon, for requests of this program and for the variables of SDKs.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::config::listen::{Listen, ListenAddress, PORT};
use crate::model::identity_name::IdentityName;
use crate::os::environment::Environment;

/// The characters that are percent-encoded in a path segment (RFC 3986, section 2.3).
const PATH_SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Returns the address for requests to the daemon of this configuration: the listen address that most SDKs accept, or a
/// Unix socket if there is no other.
///
/// If the daemon listens on all addresses, it is the loopback address.
pub(crate) fn address(listen: &Listen, environment: &Environment) -> ListenAddress {
    let expanded = listen.expanded(|path| environment.expand(path));
    let addresses = match &expanded {
        Listen::Default => &[],
        Listen::Addresses(addresses) => &addresses[..],
    };
    let tcp: Vec<_> = addresses.iter().filter_map(ListenAddress::tcp).collect();
    let preferred = preferred_address(&tcp).map(ListenAddress::Tcp);
    preferred.or_else(|| addresses.first().cloned()).unwrap_or(SocketAddr::from((Ipv4Addr::LOCALHOST, PORT)).into())
}

/// Returns the listen address that most SDKs accept.
pub(crate) fn preferred_address(listen: &[SocketAddr]) -> Option<SocketAddr> {
    let reachable = listen.iter().map(|address| match address {
        SocketAddr::V4(all) if all.ip().is_unspecified() => (Ipv4Addr::LOCALHOST, all.port()).into(),
        SocketAddr::V6(all) if all.ip().is_unspecified() => (Ipv6Addr::LOCALHOST, all.port()).into(),
        address => *address,
    });
    reachable.min_by_key(|address| sdk_preference(address.ip()))
}

/// Returns the rank of an address. Rank 0 is `127.0.0.1`, which all SDKs accept. Some SDKs refuse other IPv4 loopback
/// addresses, and more SDKs refuse `[::1]`.
fn sdk_preference(ip: IpAddr) -> u8 {
    match ip {
        IpAddr::V4(Ipv4Addr::LOCALHOST) => 0,
        IpAddr::V4(ip) if ip.is_loopback() => 1,
        IpAddr::V6(Ipv6Addr::LOCALHOST) => 2,
        _ => 3,
    }
}

/// Returns the path of an identity's credentials.
pub(crate) fn credentials_path(identity: &IdentityName) -> String {
    if identity.as_str() == IdentityName::DEFAULT {
        return "/credentials".into();
    }
    format!("/credentials/{}", utf8_percent_encode(identity.as_str(), PATH_SEGMENT))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::value::listen_address;

    fn of(texts: &[&str]) -> String {
        let addresses = texts.iter().map(|text| listen_address(text).unwrap()).collect();
        address(&Listen::Addresses(addresses), &Environment::new([("HOME", "/h")])).to_string()
    }

    #[test]
    fn connects_to_loopback_if_daemon_listens_everywhere() {
        assert_eq!(address(&Listen::Default, &Environment::default()).to_string(), "127.0.0.1:9733");
        for (listens, expected) in [
            ("127.0.0.2:1", "127.0.0.2:1"),
            ("0.0.0.0:1", "127.0.0.1:1"),
            ("[::]:1", "[::1]:1"),
            ("[::1]:2", "[::1]:2"),
        ] {
            assert_eq!(of(&[listens]), expected);
        }
    }

    #[test]
    fn prefers_the_address_that_most_sdks_accept() {
        for (listens, expected) in [
            (&["[::1]:1", "169.254.170.2:80", "127.0.0.2:2", "127.0.0.1:3", "127.0.0.1:4"][..], "127.0.0.1:3"),
            (&["[::1]:1", "0.0.0.0:3"], "127.0.0.1:3"),
            (&["169.254.170.2:80", "[::1]:1", "127.0.0.2:2", "127.0.0.3:2"], "127.0.0.2:2"),
            (&["169.254.170.2:80", "[::]:1"], "[::1]:1"),
            (&["169.254.170.23:80", "169.254.170.2:80"], "169.254.170.23:80"),
            (&[], "127.0.0.1:9733"),
            (&["unix:/s", "169.254.170.2:80"], "169.254.170.2:80"),
            (&["unix:~/s", "unix:/s"], "unix:/h/s"),
        ] {
            assert_eq!(of(listens), expected, "{listens:?}");
        }
    }

    #[test]
    fn encodes_identity_names_in_paths() {
        assert_eq!(credentials_path(&IdentityName::default()), "/credentials");
        assert_eq!(credentials_path(&"team-a.b_c~".into()), "/credentials/team-a.b_c~");
        assert_eq!(credentials_path(&"a/b c?é".into()), "/credentials/a%2Fb%20c%3F%C3%A9");
    }
}
