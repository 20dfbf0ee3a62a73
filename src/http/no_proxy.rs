//! Hosts that are reached without a proxy: `NO_PROXY`.

use std::net::IpAddr;

use http::Uri;
use hyper_util::client::proxy::matcher::Matcher;

use crate::http::url::UrlHost;

/// The entries of `NO_PROXY`, separated by commas or white space.
///
/// - `*` is every host.
/// - `example.com` and `.example.com` are this domain and all below it, as in botocore and curl.
/// - `*.example.com` is only the names below it, as in Go.
/// - `10.1.2.3`, `fd00::1` and `[fd00::1]` are addresses; `10.0.0.0/8` and `fd00::/8` are networks.
///
/// Each may end in `:port`. Names are not resolved, so a network matches only hosts that are written as addresses.
/// Other entries match nothing.
#[derive(Default)]
pub(crate) struct NoProxy(Vec<NoProxyRule>);

/// One entry. [`Matcher`] compares domains, addresses and networks. Port and apex are compared here.
struct NoProxyRule {
    /// Intercepts every host that the entry does *not* match.
    others: Matcher,
    port: Option<u16>,
    /// The domain itself, `example.com`, which `*.example.com` does not match.
    apex: Option<Box<str>>,
}

impl NoProxy {
    pub(crate) fn parse(text: &str) -> Self {
        Self(text.split(|c: char| c == ',' || c.is_whitespace()).filter_map(NoProxyRule::parse).collect())
    }

    pub(crate) fn matches(&self, host: &UrlHost, port: u16) -> bool {
        let host = match host {
            UrlHost::Address(ip) => bracketed(ip.to_canonical()),
            UrlHost::Name(name) => name.strip_suffix('.').unwrap_or(name).to_owned(),
        };
        let Ok(uri) = format!("http://{host}/").parse::<Uri>() else { return false };
        self.0.iter().any(|rule| {
            rule.port.is_none_or(|own| own == port)
                && rule.apex.as_ref().is_none_or(|apex| !apex.eq_ignore_ascii_case(&host))
                && rule.others.intercept(&uri).is_none()
        })
    }
}

impl NoProxyRule {
    fn parse(entry: &str) -> Option<Self> {
        let (hosts, port) = match entry.rsplit_once(':').map(|(hosts, port)| (hosts, port.parse())) {
            Some((hosts, Ok(port))) if address(entry).is_none() => (hosts, Some(port)),
            _ => (entry, None),
        };
        let apex = hosts.strip_prefix("*.").map(|apex| apex.trim_end_matches('.').into());
        let hosts = hosts.strip_prefix("*.").unwrap_or(hosts);
        let hosts = address(hosts).map_or_else(|| hosts.trim_end_matches('.').to_owned(), |ip| ip.to_string());
        let hosts = match &*hosts {
            "" => return None,
            // Add all networks: `Matcher` applies `*` to names only.
            "*" => "*,0.0.0.0/0,::/0".to_owned(),
            _ => hosts,
        };
        // `Matcher` needs some proxy. This one is never used.
        Some(Self { others: Matcher::builder().http("http://proxy").no(hosts).build(), port, apex })
    }
}

fn address(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    Some(bare.parse::<IpAddr>().ok()?.to_canonical())
}

fn bracketed(ip: IpAddr) -> String {
    if ip.is_ipv6() { format!("[{ip}]") } else { ip.to_string() }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use proptest::prelude::*;

    use super::*;
    use crate::http::url::Url;

    fn is_direct(list: &str, url: &str) -> bool {
        let url = Url::parse(url).unwrap();
        NoProxy::parse(list).matches(url.host(), url.port())
    }

    #[test]
    fn matches_domains_addresses_networks_and_ports() {
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
            ("10.0.0.0/8:443", "https://10.0.0.1", true),
            ("10.0.0.0/8:443", "https://10.0.0.1:8443", false),
            ("*:443", "https://10.0.0.1", true),
            ("*:443", "https://h:8443", false),
            (".", "https://h", false),
            ("*.", "https://h", false),
            ("fd00::1::2", "https://h", false),
        ] {
            assert_eq!(is_direct(list, url), expected, "{list:?} {url}");
        }
    }

    proptest! {
        #[test]
        fn domain_matches_itself_and_names_below_it(
            domain in "[a-z]{1,5}(\\.[a-z]{1,5}){0,2}", below in "[a-z0-9-]{1,5}", dot in "\\.?", port in 1u16..,
        ) {
            let list = NoProxy::parse(&format!("x.invalid,{dot}{domain}"));
            for (host, expected) in [
                (domain.clone(), true),
                (format!("{below}.{domain}"), true),
                (format!("{below}{domain}"), false),
                (format!("{domain}.{below}"), format!("{domain}.{below}").ends_with(&format!(".{domain}"))),
            ] {
                prop_assert_eq!(list.matches(&UrlHost::Name(host.clone().into()), port), expected, "{}", host);
            }
            let other = NoProxy::parse(&format!("{dot}{domain}:{port}"));
            prop_assert!(other.matches(&UrlHost::Name(domain.clone().into()), port));
            prop_assert!(!other.matches(&UrlHost::Name(domain.into()), port ^ 1));
        }

        #[test]
        fn network_matches_addresses_with_its_first_bits(base: u32, other: u32, bits in 0u32..=32) {
            let list = NoProxy::parse(&format!("{}/{bits}", Ipv4Addr::from_bits(base)));
            let same = (0..bits).all(|bit| (base ^ other) >> (31 - bit) & 1 == 0);
            prop_assert_eq!(list.matches(&UrlHost::Address(Ipv4Addr::from_bits(other).into()), 443), same);
        }

        #[test]
        fn ipv6_network_matches_addresses_with_its_first_bits(base: u128, change in 0u32..128, bits in 0u32..=128) {
            let list = NoProxy::parse(&format!("{}/{bits}", Ipv6Addr::from_bits(base)));
            let other = Ipv6Addr::from_bits(base ^ (1 << (127 - change)));
            prop_assume!(other.to_ipv4_mapped().is_none());
            prop_assert!(list.matches(&UrlHost::Address(Ipv6Addr::from_bits(base).into()), 443) || base >> 32 == 0xffff);
            prop_assert_eq!(list.matches(&UrlHost::Address(other.into()), 443), change >= bits);
        }

        #[test]
        fn strange_lists_match_no_host(list in "[-a-z0-9.:/*,\\[\\] \u{e4}]{0,40}", host in "[a-z.]{1,9}") {
            let direct = NoProxy::parse(&list).matches(&UrlHost::Name(host.into()), 443);
            prop_assert!(!direct || list.contains('*') || list.contains(char::is_alphabetic));
        }
    }
}
