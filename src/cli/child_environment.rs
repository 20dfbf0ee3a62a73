//! The environment of a program that runs under a broker of its own, so that every SDK in it uses that broker.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use crate::cli::store_variables::StoreVariables;
use crate::model::secret::Secret;
use crate::os::environment::{Environment, is_ours};

/// Variables that would win over the broker in one SDK or another, or belong to credentials that are not the lease's.
pub(crate) const CLEARED: &[&str] = &[
    "AWS_ACCESS_KEY_ID",
    "AWS_ACCESS_KEY",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SECRET_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_SECURITY_TOKEN",
    "AWS_CREDENTIAL_EXPIRATION",
    "AWS_ACCOUNT_ID",
    "AWS_PROFILE",
    "AWS_DEFAULT_PROFILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_ROLE_ARN",
    "AWS_ROLE_SESSION_NAME",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CREDENTIAL_FILE",
];

/// Which hosts are reached without a proxy.
pub(crate) const NO_PROXY: [&str; 2] = ["NO_PROXY", "no_proxy"];

/// Variables that name a proxy, in one program or another.
const PROXIES: [&str; 6] = ["http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"];

/// Whether a program may ask through a proxy.
pub(crate) fn has_proxy(parent: &Environment) -> bool {
    PROXIES.iter().any(|name| parent.get(name).is_some())
}

/// What the child has to know.
#[derive(Debug)]
pub(crate) struct ChildSettings<'a> {
    /// `http://127.0.0.1:PORT/credentials`.
    pub(crate) uri: &'a str,
    /// The broker's token, for the clients that read no file.
    pub(crate) token: &'a Secret,
    /// The same token, for the clients that read nothing else.
    pub(crate) token_file: &'a Path,
    /// A config file without credentials.
    pub(crate) config_file: &'a Path,
    /// A credentials file without any.
    pub(crate) credentials_file: &'a Path,
    /// Where the lease is good.
    pub(crate) place: StoreVariables<'a>,
}

/// How variables differ from others: a new value, or `None` for one that is taken away.
pub(crate) type EnvironmentChanges = BTreeMap<String, Option<String>>;

/// How the child's variables differ from its parent's. All others, whatever their encoding, are handed down as they are.
#[must_use]
pub(crate) fn changes(parent: &Environment, lent: &ChildSettings<'_>) -> EnvironmentChanges {
    let taken = parent.variables().keys().filter(|name| is_ours(name) || CLEARED.contains(&name.as_str()));
    let mut child: EnvironmentChanges = taken.map(|name| (name.clone(), None)).collect();
    let mut set = |name: &str, value: &str| child.insert(name.to_owned(), Some(value.to_owned()));
    set("AWS_CONTAINER_CREDENTIALS_FULL_URI", lent.uri);
    // Both, with the same value: older SDKs know only the first, object_store only the second.
    set("AWS_CONTAINER_AUTHORIZATION_TOKEN", lent.token.expose());
    set("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", &lent.token_file.to_string_lossy());
    set("AWS_CONFIG_FILE", &lent.config_file.to_string_lossy());
    set("AWS_SHARED_CONFIG_FILE", &lent.config_file.to_string_lossy());
    set("AWS_SHARED_CREDENTIALS_FILE", &lent.credentials_file.to_string_lossy());
    // What is ours is told to shells alone: no child inherits a word of it.
    let place = lent.place.changes(parent).into_iter().filter(|(name, _)| !is_ours(name));
    child.extend(place.map(|(name, value)| (name.to_owned(), value)));
    // Two libraries send the credential request, and the token with it, to a proxy unless they are told not to.
    // Programs read one of the two or the other: both get what stands in either.
    let exceptions = no_proxy(parent, Ipv4Addr::LOCALHOST.into());
    for name in NO_PROXY {
        child.insert(name.to_owned(), Some(exceptions.clone()));
    }
    child
}

/// The hosts that are reached without a proxy, loopback, and where the broker listens; `*` is all of them already.
pub(crate) fn no_proxy(parent: &Environment, broker: IpAddr) -> String {
    let mut hosts: Vec<&str> = Vec::new();
    let broker = broker.to_string();
    let before = NO_PROXY.iter().filter_map(|name| parent.get(name)).flat_map(|list| list.split(','));
    for host in before.chain(["127.0.0.1", "localhost", &broker]).map(str::trim).filter(|host| !host.is_empty()) {
        if host == "*" {
            return host.to_owned();
        }
        if !hosts.contains(&host) {
            hosts.push(host);
        }
    }
    hosts.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_win_is_gone_and_what_leads_to_the_broker_is_there() {
        let parent = Environment::new(
            CLEARED
                .iter()
                .chain(&["CREDENZA_URL", "NOTIFY_SOCKET", "LISTEN_FDS", "WATCHDOG_USEC"])
                .map(|name| (*name, "x"))
                .chain([
                    ("PATH", "/bin"),
                    ("NO_PROXY", "example"),
                    ("AWS_REGION", "before"),
                    ("AWS_CA_BUNDLE", "/ca"),
                    ("AWS_CONTAINER_AUTHORIZATION_TOKEN", "before"),
                    ("LISTENING", "yes"),
                ]),
        );
        let lent = ChildSettings {
            uri: "http://127.0.0.1:1/credentials",
            token: &"t".into(),
            token_file: Path::new("/d/token"),
            config_file: Path::new("/d/config"),
            credentials_file: Path::new("/d/credentials"),
            place: StoreVariables { region: Some("eu-west-1"), endpoint: None },
        };
        let mut child = changes(&parent, &lent);
        for name in CLEARED.iter().chain(&["CREDENZA_URL", "NOTIFY_SOCKET", "LISTEN_FDS", "WATCHDOG_USEC"]) {
            assert_eq!(child.remove(*name), Some(None), "{name}");
        }
        let expected = [
            ("AWS_CONFIG_FILE", "/d/config"),
            ("AWS_CONTAINER_AUTHORIZATION_TOKEN", "t"),
            ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "/d/token"),
            ("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://127.0.0.1:1/credentials"),
            ("AWS_DEFAULT_REGION", "eu-west-1"),
            ("AWS_REGION", "eu-west-1"),
            ("AWS_SHARED_CONFIG_FILE", "/d/config"),
            ("AWS_SHARED_CREDENTIALS_FILE", "/d/credentials"),
            ("NO_PROXY", "example,127.0.0.1,localhost"),
            ("no_proxy", "example,127.0.0.1,localhost"),
        ];
        assert_eq!(child, expected.map(|(name, value)| (name.to_owned(), Some(value.to_owned()))).into());
    }

    #[test]
    fn exceptions_from_proxies_are_kept() {
        let at = |broker: &str, variables: &[(&str, &str)]| {
            no_proxy(&Environment::new(variables.iter().copied()), broker.parse().unwrap())
        };
        let of = |variables: &[(&str, &str)]| at("127.0.0.1", variables);
        assert_eq!(of(&[]), "127.0.0.1,localhost");
        assert_eq!(of(&[("no_proxy", "a, b"), ("NO_PROXY", "b,c,localhost")]), "b,c,localhost,a,127.0.0.1");
        assert_eq!(of(&[("no_proxy", "*")]), "*");
        assert_eq!(at("::1", &[("no_proxy", "a")]), "a,127.0.0.1,localhost,::1");
        assert_eq!(at("169.254.170.2", &[("no_proxy", "169.254.170.2")]), "169.254.170.2,127.0.0.1,localhost");
    }

    #[test]
    fn an_unknown_region_leaves_the_childs_own() {
        let parent = Environment::new([("AWS_REGION", "before")]);
        let nowhere = Path::new("/");
        let lent = ChildSettings {
            uri: "",
            token: &"".into(),
            token_file: nowhere,
            config_file: nowhere,
            credentials_file: nowhere,
            place: StoreVariables { region: None, endpoint: Some("http://h") },
        };
        let child = changes(&parent, &lent);
        assert!(!child.contains_key("AWS_REGION"));
        let parent = Environment::new([("AWS_REGION", "before"), ("CREDENZA_SET", "AWS_REGION")]);
        assert_eq!(changes(&parent, &lent)["AWS_REGION"], None, "it came with other credentials");
        assert_eq!(child["AWS_ENDPOINT_URL_S3"].as_deref(), Some("http://h"));
    }
}
