//! Finds circles of programs: a `credential_process` starts Credenza, which starts the same program again.
//!
//! Each program gets a variable that lists the programs above it. Children inherit no other variable of ours.

use std::hash::Hasher;
use std::net::SocketAddr;
use std::path::PathBuf;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use crate::cache::key::CacheKeyBuilder;
use crate::context::Context;
use crate::http::address_policy::leads_to;
use crate::model::error::SourceError;
use crate::model::identity_name::IdentityName;
use crate::model::text::Escaped;
use crate::os::environment::{Environment, NESTING};

/// The maximum number of programs that start each other. Real nesting has two or three; the limit ends a circle in which
/// each program differs from the one before.
const MAX_DEPTH: usize = 8;

/// The words that all messages about a circle share. They tell the program above that its own program ends in a circle.
pub(crate) const STARTS_AGAIN: &str = "starts the same program again";

/// The hint for a circle.
pub(crate) const BREAK_CIRCLE: &str =
    "let the program name another profile or identity (credenza get --profile NAME), or replace it by keys";

/// The characters that are encoded in the variable: all that separate its parts.
const ENCODED: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b':').remove(b'[').remove(b']');

/// The beginning of a Unix socket, as in credenza.toml.
const UNIX: &str = "unix:";

/// One program above this process.
struct Level {
    /// A hash of the program and its profile.
    program: String,
    identity: String,
    /// The profile with the program. Empty for a program of `credenza.toml`.
    profile: String,
    /// The listeners of the daemon that started the program. Empty for a command.
    listeners: Vec<DaemonListener>,
}

/// A listener of a daemon, with its socket's path or its address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum DaemonListener {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl DaemonListener {
    /// Parses a listener of the variable. `None` if another program has written it.
    fn parse(text: &str) -> Option<Self> {
        match text.strip_prefix(UNIX) {
            Some(path) => percent_decode_str(path).decode_utf8().ok().map(|path| Self::Unix(path.as_ref().into())),
            None => text.parse().ok().map(Self::Tcp),
        }
    }

    /// Returns the text for the variable, in which a space separates listeners.
    fn encoded(&self) -> String {
        match self {
            Self::Tcp(address) => address.to_string(),
            Self::Unix(path) => format!("{UNIX}{}", utf8_percent_encode(&path.to_string_lossy(), ENCODED)),
        }
    }

    /// Returns true if a request to `self` may arrive at `listener`.
    fn leads_to(&self, listener: &Self) -> bool {
        match (self, listener) {
            (Self::Tcp(daemon), Self::Tcp(listener)) => leads_to(*daemon, *listener),
            (Self::Unix(daemon), Self::Unix(listener)) => daemon == listener,
            _ => false,
        }
    }
}

impl std::fmt::Display for DaemonListener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "{address}"),
            Self::Unix(path) => write!(f, "{UNIX}{}", Escaped(&path.to_string_lossy())),
        }
    }
}

impl Level {
    fn new(context: &Context, program: &[&[u8]], profile: &str) -> Self {
        let tcp = context.http_client.own_listeners().iter().copied().map(DaemonListener::Tcp);
        let key = CacheKeyBuilder::new("nested program").with(profile);
        let program = program.iter().fold(key, CacheKeyBuilder::with).finish();
        Self {
            program: format!("{program:016x}"),
            identity: context.identity.as_ref().map_or_else(String::new, |identity| identity.as_str().to_owned()),
            profile: profile.to_owned(),
            listeners: tcp.chain(context.own_sockets.iter().cloned().map(DaemonListener::Unix)).collect(),
        }
    }

    /// Reads one level. `None` if another program has written it.
    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('/').map(|part| percent_decode_str(part).decode_utf8_lossy().into_owned());
        let mut next = || parts.next();
        let (program, identity, profile, listeners) = (next()?, next()?, next()?, next()?);
        let listeners = listeners.split(' ').filter_map(DaemonListener::parse).collect();
        Some(Self { program, identity, profile, listeners })
    }

    fn name(&self) -> String {
        match &*self.profile {
            "" => format!("identity {}", Escaped(&self.identity)),
            profile => format!("profile {}", Escaped(profile)),
        }
    }
}

impl std::fmt::Display for Level {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let listeners: Vec<String> = self.listeners.iter().map(DaemonListener::encoded).collect();
        let parts = [&self.program, &self.identity, &self.profile, &listeners.join(" ")];
        for (number, part) in parts.into_iter().enumerate() {
            write!(f, "{}{}", if number == 0 { "" } else { "/" }, utf8_percent_encode(part, ENCODED))?;
        }
        Ok(())
    }
}

fn levels(environment: &Environment) -> Vec<Level> {
    environment.get(NESTING).into_iter().flat_map(|text| text.split(',')).filter_map(Level::parse).collect()
}

/// Returns the value of the variable for this program, which is about to start.
///
/// # Errors
/// The program is already running above this process, or too many programs have started each other.
pub(crate) fn enter(context: &Context, program: &[&[u8]], profile: &str) -> Result<String, SourceError> {
    let mut levels = levels(&context.environment);
    let level = Level::new(context, program, profile);
    let is_circle = levels.iter().any(|above| above.program == level.program);
    let is_too_deep = levels.len() >= MAX_DEPTH;
    levels.push(level);
    if is_circle || is_too_deep {
        let names: Vec<String> = levels.iter().map(Level::name).collect();
        let (name, path) = (names.last().map_or("", |name| name), names.join(" → "));
        let message = match is_circle {
            true => format!("the credential_process of {name} starts credenza, which {STARTS_AGAIN}: {path}"),
            false => format!("more than {MAX_DEPTH} programs of credential_process have started each other: {path}"),
        };
        return Err(SourceError::misconfigured(message).with_hint(BREAK_CIRCLE));
    }
    let written: Vec<String> = levels.iter().map(ToString::to_string).collect();
    Ok(written.join(","))
}

/// Checks that the daemon at this listener has not started this process to load `identity`. The daemon would wait for
/// this process, and this process for the daemon.
///
/// # Errors
/// The reason for the user.
pub(crate) fn check_daemon(
    environment: &Environment,
    daemon: &DaemonListener,
    identity: &IdentityName,
) -> Result<(), String> {
    let is_above = |level: &Level| {
        level.identity == identity.as_str() && level.listeners.iter().any(|listener| daemon.leads_to(listener))
    };
    match levels(environment).iter().find(|level| is_above(level)) {
        Some(level) => Err(format!(
            "identity {identity}: the daemon at {daemon} waits for this command, which the credential_process of {} \
             runs: a request to it {STARTS_AGAIN}; {BREAK_CIRCLE}",
            level.name()
        )),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn below(variable: &str, identity: &str) -> Context {
        let environment = Environment::new([(NESTING, variable)]);
        Context { environment, ..Context::default() }.for_identity(&identity.into())
    }

    #[test]
    fn finds_circles_and_allows_other_nesting() {
        let (get, other) = ([&b"credenza get"[..]], [&b"credenza get --profile b"[..]]);
        let first = enter(&below("", "default"), &get, "default").unwrap();
        let second = enter(&below(&first, "default"), &get, "my dev/ü,").unwrap();
        let third = enter(&below(&second, "b"), &other, "default").unwrap();
        for (again, profile) in [(&get, "default"), (&get, "my dev/ü,"), (&other, "default")] {
            let error = enter(&below(&third, "default"), again, profile).unwrap_err().to_string();
            let path = format!("profile default → profile my dev/ü, → profile default → profile {profile}; let the");
            let expected =
                format!("the credential_process of profile {profile} starts credenza, which {STARTS_AGAIN}: {path}");
            assert!(error.starts_with(&expected), "{error}");
        }
        // A list of words is not the line with the same text.
        assert!(enter(&below(&first, "default"), &[b"credenza", b"get"], "default").is_ok());
    }

    #[test]
    fn limits_the_depth_of_nesting() {
        let mut variable = String::new();
        for depth in 0..MAX_DEPTH {
            variable = enter(&below(&variable, ""), &[&[u8::try_from(depth).unwrap()]], "p").unwrap();
        }
        let error = enter(&below(&variable, ""), &[b"x"], "p").unwrap_err();
        assert!(error.to_string().starts_with("more than 8 programs of credential_process"), "{error}");
    }

    #[test]
    fn finds_the_daemon_that_waits_for_this_process() {
        let started = below("", "work");
        let own = std::sync::Arc::new(std::sync::OnceLock::from(vec!["127.0.0.1:9733".parse().unwrap()]));
        let http_client = crate::http::client::HttpClient::system(own);
        let own_sockets = ["/run/a b/ü.sock".into()].into();
        let variable = enter(&Context { http_client, own_sockets, ..started }, &[b"p"], "dev").unwrap();
        for (variable, daemon, identity, is_circle) in [
            (&*variable, "127.0.0.1:9733", "work", true),
            (&variable, "[::ffff:127.0.0.1]:9733", "work", true),
            (&variable, "127.0.0.1:9733", "other", false),
            (&variable, "127.0.0.1:9734", "work", false),
            ("", "127.0.0.1:9733", "work", false),
            ("foreign,/,//", "127.0.0.1:9733", "work", false),
            (&variable, "unix:/run/a b/ü.sock", "work", true),
            (&variable, "unix:/run/a b/ü.sock", "other", false),
            (&variable, "unix:/run/a", "work", false),
        ] {
            let environment = Environment::new([(NESTING, variable)]);
            let checked = check_daemon(&environment, &DaemonListener::parse(daemon).unwrap(), &identity.into());
            assert_eq!(checked.is_err(), is_circle, "{daemon} {identity}: {checked:?}");
        }
    }
}
