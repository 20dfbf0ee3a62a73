//! The environment of a child of `exec`, in which every SDK uses the child's own broker.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::time::SystemTime;

use crate::cli::exec::files::WrittenFiles;
use crate::cli::preferred_credentials::BOTO_CONFIG;
use crate::cli::region_endpoint::RegionEndpoint;
use crate::model::identity_name::IdentityName;
use crate::model::secret::Secret;
use crate::model::time::timestamp;
use crate::os::environment::{Environment, is_ours};

/// The variables that some SDK prefers to the broker, or that belong to other credentials than those of the broker.
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

/// The variables that list the hosts reached without a proxy.
pub(crate) const NO_PROXY: [&str; 2] = ["NO_PROXY", "no_proxy"];

/// The variables from which a program may take a proxy.
const PROXIES: [&str; 6] = ["http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"];

pub(crate) fn has_proxy(parent: &Environment) -> bool {
    PROXIES.iter().any(|name| parent.get(name).is_some())
}

/// An auth token, for clients that cannot read it from a file and for clients that read only a file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ChildToken<'a> {
    pub(crate) text: &'a Secret,
    pub(crate) file: &'a Path,
}

#[derive(Debug)]
pub(crate) struct ChildSettings<'a> {
    /// The URL of the credentials at the broker: `http://127.0.0.1:PORT/credentials`.
    pub(crate) uri: &'a str,
    /// The auth token and its file; `None` if the broker knows the child by its user alone.
    pub(crate) token: Option<ChildToken<'a>>,
    pub(crate) files: &'a WrittenFiles,
    pub(crate) region_endpoint: RegionEndpoint<'a>,
    /// The value of [`ACTIVE`].
    pub(crate) active: &'a str,
}

/// The variables with the auth token and with its file.
pub(crate) const TOKEN: &str = "AWS_CONTAINER_AUTHORIZATION_TOKEN";
pub(crate) const TOKEN_FILE: &str = "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE";

/// The variable that names the identity, for the prompt of a shell. No flag reads it.
pub(crate) const ACTIVE: &str = "CREDENZA_ACTIVE";

/// The identity of a command or a shell. It prints as the name, then the expiration if it is known.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ActiveIdentity<'a> {
    pub(crate) name: &'a IdentityName,
    pub(crate) expiration: Option<SystemTime>,
}

impl fmt::Display for ActiveIdentity<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name.as_str())?;
        self.expiration.map_or(Ok(()), |end| write!(f, " {}", timestamp(end)))
    }
}

/// Changes of variables: a new value, or `None` to unset the variable.
pub(crate) type EnvironmentChanges = BTreeMap<String, Option<String>>;

/// Returns the differences between the child's and the parent's variables. The child inherits all other variables
/// unchanged, in any encoding.
pub(crate) fn changes(parent: &Environment, settings: &ChildSettings<'_>) -> EnvironmentChanges {
    let removed = parent.names().filter(|name| is_ours(name) || CLEARED.contains(name));
    let mut child: EnvironmentChanges = removed.map(|name| (name.to_owned(), None)).collect();
    if settings.token.is_none() {
        // A token of the parent would be refused.
        let names = [TOKEN, TOKEN_FILE].into_iter().filter(|name| parent.get(name).is_some());
        child.extend(names.map(|name| (name.to_owned(), None)));
    }
    let mut set = |name: &str, value: &str| child.insert(name.to_owned(), Some(value.to_owned()));
    set("AWS_CONTAINER_CREDENTIALS_FULL_URI", settings.uri);
    // Set both: older SDKs support only the first of the two variables, and object_store only the second.
    if let Some(ChildToken { text, file }) = settings.token {
        set(TOKEN, text.expose());
        set(TOKEN_FILE, &file.to_string_lossy());
    }
    set("AWS_CONFIG_FILE", &settings.files.config.to_string_lossy());
    set("AWS_SHARED_CONFIG_FILE", &settings.files.config.to_string_lossy());
    set("AWS_SHARED_CREDENTIALS_FILE", &settings.files.credentials.to_string_lossy());
    set(BOTO_CONFIG, &settings.files.boto_config.to_string_lossy());
    set(ACTIVE, settings.active);
    // The variables of Credenza itself are for shells: the child does not inherit them.
    let changes = settings.region_endpoint.changes(parent).into_iter().filter(|(name, _)| !is_ours(name));
    child.extend(changes.map(|(name, value)| (name.to_owned(), value)));
    // Two libraries send the credential request, with the token, to a proxy unless NO_PROXY excludes loopback. Some
    // programs read `NO_PROXY`, others `no_proxy`, so both variables get all hosts of both.
    let no_proxy = no_proxy(parent, Ipv4Addr::LOCALHOST.into());
    for name in NO_PROXY {
        child.insert(name.to_owned(), Some(no_proxy.clone()));
    }
    child
}

/// Returns the hosts reached without a proxy, with loopback and the broker's address added. `*` already means all
/// hosts.
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

    fn child_changes(parent: &Environment, region_endpoint: RegionEndpoint<'_>) -> EnvironmentChanges {
        let files = WrittenFiles::at(Path::new("/d"));
        let (uri, token) = ("http://127.0.0.1:1/credentials", &"t".into());
        let token = Some(ChildToken { text: token, file: Path::new("/d/token") });
        let settings = ChildSettings { uri, token, files: &files, region_endpoint, active: "dev" };
        changes(parent, &settings)
    }

    #[test]
    fn child_gets_broker_variables_and_no_overriding_ones() {
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
        let region = RegionEndpoint { region: Some("eu-west-1"), endpoint: None, disables_imds: true };
        let mut child = child_changes(&parent, region);
        for name in CLEARED.iter().chain(&["CREDENZA_URL", "NOTIFY_SOCKET", "LISTEN_FDS", "WATCHDOG_USEC"]) {
            assert_eq!(child.remove(*name), Some(None), "{name}");
        }
        let expected = [
            ("AWS_CONFIG_FILE", "/d/config"),
            ("AWS_CONTAINER_AUTHORIZATION_TOKEN", "t"),
            ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "/d/token"),
            ("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://127.0.0.1:1/credentials"),
            ("AWS_DEFAULT_REGION", "eu-west-1"),
            ("AWS_EC2_METADATA_DISABLED", "true"),
            ("AWS_REGION", "eu-west-1"),
            ("AWS_SHARED_CONFIG_FILE", "/d/config"),
            ("AWS_SHARED_CREDENTIALS_FILE", "/d/credentials"),
            ("BOTO_CONFIG", "/d/boto"),
            ("CREDENZA_ACTIVE", "dev"),
            ("NO_PROXY", "example,127.0.0.1,localhost"),
            ("no_proxy", "example,127.0.0.1,localhost"),
        ];
        assert_eq!(child, expected.map(|(name, value)| (name.to_owned(), Some(value.to_owned()))).into());
    }

    #[test]
    fn keeps_no_proxy_hosts_and_adds_loopback() {
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
    fn unknown_region_keeps_the_users_region() {
        let parent = Environment::new([("AWS_REGION", "before")]);
        let region_endpoint = RegionEndpoint { endpoint: Some("http://h"), ..RegionEndpoint::default() };
        let child = child_changes(&parent, region_endpoint);
        assert!(!child.contains_key("AWS_REGION"));
        let parent = Environment::new([("AWS_REGION", "before"), ("CREDENZA_SET", "AWS_REGION")]);
        assert_eq!(child_changes(&parent, region_endpoint)["AWS_REGION"], None, "the region of other credentials");
        assert_eq!(child["AWS_ENDPOINT_URL_S3"].as_deref(), Some("http://h"));
    }
}
