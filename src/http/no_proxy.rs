//! Hosts that are reached directly although there is a proxy: `NO_PROXY`.

use std::net::IpAddr;

use crate::http::url::UrlHost;

/// What `NO_PROXY` lists, separated by commas or white space.
///
/// `*` is every host; `example.com` and `.example.com` are this domain and all below it, as in botocore and curl;
/// `*.example.com` is only what is below it, as in Go; `10.1.2.3`, `fd00::1` and `[fd00::1]` are addresses; `10.0.0.0/8`
/// and `fd00::/8` are networks. All but `*` and networks may end in `:port`. Names are not looked up: a network matches
/// hosts that are written as addresses. What is none of these matches nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct NoProxy(Vec<NoProxyRule>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct NoProxyRule {
    hosts: NoProxyHosts,
    port: Option<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum NoProxyHosts {
    All,
    Network { base: IpAddr, bits: u32 },
    Domain { name: Box<str>, itself: bool },
}

impl NoProxy {
    pub(crate) fn parse(text: &str) -> Self {
        let entries = text.split(|c: char| c == ',' || c.is_whitespace());
        Self(entries.filter_map(|entry| NoProxyRule::parse(&entry.to_ascii_lowercase())).collect())
    }

    pub(crate) fn contain(&self, host: &UrlHost, port: u16) -> bool {
        self.0.iter().any(|exception| exception.port.is_none_or(|own| own == port) && exception.hosts.contain(host))
    }
}

impl NoProxyRule {
    fn parse(entry: &str) -> Option<Self> {
        if entry == "*" {
            return Some(Self { hosts: NoProxyHosts::All, port: None });
        }
        if let Some((base, bits)) = entry.split_once('/') {
            let (base, bits): (IpAddr, u32) = (base.parse().ok()?, bits.parse().ok()?);
            return (bits <= width(base)).then_some(Self { hosts: NoProxyHosts::Network { base, bits }, port: None });
        }
        if let Some(address) = address(entry) {
            return Some(Self { hosts: address, port: None });
        }
        let (host, port) = match entry.rsplit_once(':') {
            Some((host, port)) => (host, Some(port.parse().ok()?)),
            None => (entry, None),
        };
        Some(Self { hosts: address(host).or_else(|| domain(host))?, port })
    }
}

impl NoProxyHosts {
    fn contain(&self, host: &UrlHost) -> bool {
        match (self, host) {
            (Self::All, _) => true,
            (Self::Network { base, bits }, UrlHost::Address(ip)) => {
                let (base, ip) = (*base, ip.to_canonical());
                // Nothing is left of an address that is shifted by all its bits.
                let network = |ip: IpAddr| number(ip).checked_shr(width(ip) - bits).unwrap_or_default();
                base.is_ipv4() == ip.is_ipv4() && network(base) == network(ip)
            }
            (Self::Domain { name, itself }, UrlHost::Name(host)) => {
                let host = host.strip_suffix('.').unwrap_or(host);
                match host.strip_suffix(&**name) {
                    Some("") => *itself,
                    Some(above) => above.ends_with('.'),
                    None => false,
                }
            }
            _ => false,
        }
    }
}

fn address(text: &str) -> Option<NoProxyHosts> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let base = bare.parse::<IpAddr>().ok()?.to_canonical();
    Some(NoProxyHosts::Network { base, bits: width(base) })
}

fn domain(text: &str) -> Option<NoProxyHosts> {
    let (name, itself) = match text.strip_prefix("*.") {
        Some(name) => (name, false),
        None => (text.strip_prefix('.').unwrap_or(text), true),
    };
    let name = name.strip_suffix('.').unwrap_or(name);
    (!name.is_empty() && !name.contains(':')).then(|| NoProxyHosts::Domain { name: name.into(), itself })
}

fn width(ip: IpAddr) -> u32 {
    if ip.is_ipv4() { 32 } else { 128 }
}

fn number(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(ip) => ip.to_bits().into(),
        IpAddr::V6(ip) => ip.to_bits(),
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use proptest::prelude::*;

    use super::*;
    use crate::http::url::Url;

    fn excepted(list: &str, url: &str) -> bool {
        let url = Url::parse(url).unwrap();
        NoProxy::parse(list).contain(url.host(), url.port())
    }

    #[test]
    fn hosts_domains_addresses_networks_and_ports() {
        for (list, url, expected) in [
            ("", "https://h", false),
            (" , ", "https://h", false),
            ("*", "https://h", true),
            ("a, *", "https://10.0.0.1", true),
            ("example.com", "https://example.com", true),
            ("EXAMPLE.com.", "https://Example.COM", true),
            ("example.com", "https://example.com./", true),
            ("example.com", "https://sts.eu.example.com", true),
            (".example.com", "https://sts.example.com", true),
            (".example.com", "https://example.com", true),
            ("*.example.com", "https://sts.example.com", true),
            ("*.example.com", "https://example.com", false),
            ("example.com", "https://badexample.com", false),
            (".example.com", "https://badexample.com", false),
            ("example.com", "https://example.com.evil", false),
            ("sts.example.com", "https://example.com", false),
            ("a,example.com", "https://example.com", true),
            ("a example.com\tb", "https://example.com", true),
            ("example.com:443", "https://example.com", true),
            ("example.com:443", "https://example.com:8443", false),
            (".example.com:8443", "https://sts.example.com:8443", true),
            ("example.com:x", "https://example.com", false),
            ("10.1.2.3", "https://10.1.2.3", true),
            ("10.1.2.3", "https://10.1.2.30", false),
            ("10.1.2.3:80", "http://10.1.2.3", true),
            ("10.1.2.3:80", "https://10.1.2.3", false),
            ("::ffff:10.1.2.3", "https://10.1.2.3", true),
            ("10.1.2.3", "https://[::ffff:10.1.2.3]", true),
            ("fd00::1", "https://[fd00:0::1]", true),
            ("[fd00::1]", "https://[fd00::1]:8443", true),
            ("[fd00::1]:443", "https://[fd00::1]", true),
            ("[fd00::1]:443", "https://[fd00::1]:8443", false),
            ("10.0.0.0/8", "https://10.255.0.1", true),
            ("10.9.9.9/8", "https://10.255.0.1", true),
            ("10.0.0.0/8", "https://11.0.0.1", false),
            ("10.0.0.0/8", "https://[::ffff:10.0.0.1]", true),
            ("10.0.0.1/32", "https://10.0.0.1", true),
            ("10.0.0.1/32", "https://10.0.0.2", false),
            ("0.0.0.0/0", "https://1.2.3.4", true),
            ("0.0.0.0/0", "https://[fd00::1]", false),
            ("fd00::/8", "https://[fdff::1]", true),
            ("fd00::/8", "https://[fe80::1]", false),
            ("::/0", "https://[fe80::1]", true),
            ("10.0.0.0/33", "https://10.0.0.0", false),
            ("10.0.0.0/", "https://10.0.0.0", false),
            ("10.0.0.0/8", "https://h", false),
            (".", "https://h", false),
            ("*.", "https://h", false),
            ("fd00::1::2", "https://h", false),
        ] {
            assert_eq!(excepted(list, url), expected, "{list:?} {url}");
        }
    }

    proptest! {
        #[test]
        fn a_domain_contains_itself_and_what_is_below_it(
            domain in "[a-z]{1,5}(\\.[a-z]{1,5}){0,2}", below in "[a-z0-9-]{1,5}", dot in "\\.?", port in 1u16..,
        ) {
            let list = NoProxy::parse(&format!("x.invalid,{dot}{domain}"));
            for (host, expected) in [
                (domain.clone(), true),
                (format!("{below}.{domain}"), true),
                (format!("{below}{domain}"), false),
                (format!("{domain}.{below}"), format!("{domain}.{below}").ends_with(&format!(".{domain}"))),
            ] {
                prop_assert_eq!(list.contain(&UrlHost::Name(host.clone().into()), port), expected, "{}", host);
            }
            let other = NoProxy::parse(&format!("{dot}{domain}:{port}"));
            prop_assert!(other.contain(&UrlHost::Name(domain.clone().into()), port));
            prop_assert!(!other.contain(&UrlHost::Name(domain.into()), port ^ 1));
        }

        #[test]
        fn a_network_contains_what_shares_its_first_bits(base: u32, other: u32, bits in 0u32..=32) {
            let list = NoProxy::parse(&format!("{}/{bits}", Ipv4Addr::from_bits(base)));
            let same = (0..bits).all(|bit| (base ^ other) >> (31 - bit) & 1 == 0);
            prop_assert_eq!(list.contain(&UrlHost::Address(Ipv4Addr::from_bits(other).into()), 443), same);
        }

        #[test]
        fn so_it_does_with_128_bits(base: u128, change in 0u32..128, bits in 0u32..=128) {
            let list = NoProxy::parse(&format!("{}/{bits}", Ipv6Addr::from_bits(base)));
            let other = Ipv6Addr::from_bits(base ^ (1 << (127 - change)));
            prop_assume!(other.to_ipv4_mapped().is_none());
            prop_assert!(list.contain(&UrlHost::Address(Ipv6Addr::from_bits(base).into()), 443) || base >> 32 == 0xffff);
            prop_assert_eq!(list.contain(&UrlHost::Address(other.into()), 443), change >= bits);
        }

        #[test]
        fn no_list_is_too_strange(list in "[-a-z0-9.:/*,\\[\\] \u{e4}]{0,40}", host in "[a-z.]{1,9}") {
            let direct = NoProxy::parse(&list).contain(&UrlHost::Name(host.into()), 443);
            prop_assert!(!direct || list.contains('*') || list.contains(char::is_alphabetic));
        }
    }
}
