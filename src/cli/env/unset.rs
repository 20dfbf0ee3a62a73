//! `credenza env --unset`: gives a shell the variables back that it had before `env`.
//!
//! The first `env` of a shell saves the variables that it changes in [`BEFORE`], but for those with secrets.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use zeroize::Zeroizing;

use crate::cli::child_environment::{ACTIVE, CLEARED, NO_PROXY};
use crate::cli::env::shadow::FILE_VARIABLES;
use crate::cli::output::Variable;
use crate::cli::region_endpoint;
use crate::cli::region_endpoint::OWN_VARIABLES;
use crate::os::environment::Environment;

/// The variable with the saved variables: `NAME=VALUE`, percent-encoded, with commas between them. A name without a value
/// was a secret.
pub(crate) const BEFORE: &str = "CREDENZA_BEFORE";

/// The variable that is set while the keys of a shell are those of an identity.
pub(crate) const KEYS: &str = "CREDENZA_KEYS";

/// The variables with secrets, which are not saved.
const SECRETS: [&str; 6] = [
    "AWS_ACCESS_KEY_ID",
    "AWS_ACCESS_KEY",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SECRET_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_SECURITY_TOKEN",
];

/// The variables that lead SDKs to the daemon.
pub(crate) const LEADING: [&str; 3] = [
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN",
];

const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'/');

/// All variables that `env` may change, but for our own.
fn changed_names() -> impl Iterator<Item = &'static str> {
    CLEARED.iter().copied().chain(LEADING).chain(NO_PROXY).chain(FILE_VARIABLES).chain(region_endpoint::names())
}

/// Returns the value for [`BEFORE`]. Keeps an existing value, which describes the shell before the first `env`.
pub(crate) fn saved(environment: &Environment) -> String {
    if let Some(earlier) = environment.get(BEFORE) {
        return earlier.to_owned();
    }
    let own =
        |name: &&str| environment.get(OWN_VARIABLES).is_some_and(|own| own.split_whitespace().any(|own| own == *name));
    let has_keys = environment.get(KEYS).is_some();
    let own = |name: &&str| own(name) || has_keys && SECRETS.contains(name);
    let saved = changed_names().filter(|name| !own(name)).filter_map(|name| {
        let value = environment.variables().get(name)?;
        Some(match SECRETS.contains(&name) || name == "AWS_CONTAINER_AUTHORIZATION_TOKEN" {
            true => name.to_owned(),
            false => format!("{name}={}", utf8_percent_encode(value, ENCODED)),
        })
    });
    saved.collect::<Vec<_>>().join(",")
}

/// The variables to set or unset, and the names of variables with secrets, which cannot be given back.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct RestoredVariables {
    pub(crate) variables: Vec<Variable>,
    pub(crate) lost: Vec<&'static str>,
}

/// Returns the variables that undo `env`. `None` if this shell has not used it.
pub(crate) fn restored(environment: &Environment) -> Option<RestoredVariables> {
    let saved = environment.variables().get(BEFORE)?;
    let saved: Vec<(&str, Option<&str>)> = saved
        .split(',')
        .map(|entry| entry.split_once('=').map_or((entry, None), |(name, value)| (name, Some(value))))
        .collect();
    let mut taken = RestoredVariables::default();
    for name in changed_names() {
        let value = match saved.iter().find(|(known, _)| *known == name) {
            Some((_, Some(value))) => Some(percent_decode_str(value).decode_utf8_lossy().into_owned()),
            Some((_, None)) => {
                taken.lost.push(name);
                None
            }
            None => None,
        };
        // Another program may have written the variable.
        let value = value.filter(|value| !value.contains('\0'));
        // A variable that the user has set since then stays.
        let is_changed = value.is_some() || environment.variables().contains_key(name);
        let is_ours = environment.get(KEYS).is_some() && SECRETS.contains(&name);
        let is_users = CLEARED.contains(&name) && environment.variables().contains_key(name) && !is_ours;
        if is_changed && !is_users {
            taken.variables.push((name, value.map(Zeroizing::new)));
        }
    }
    let own =
        [OWN_VARIABLES, ACTIVE, BEFORE, KEYS].into_iter().filter(|name| environment.variables().contains_key(*name));
    taken.variables.extend(own.map(|name| (name, None)));
    Some(taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(taken: &RestoredVariables) -> Vec<(&str, Option<&str>)> {
        taken.variables.iter().map(|(name, value)| (*name, value.as_ref().map(|value| value.as_str()))).collect()
    }

    #[test]
    fn gives_back_what_the_shell_had() {
        let before = [
            ("AWS_PROFILE", "my dev,ü=1"),
            ("AWS_SECRET_ACCESS_KEY", "hush"),
            ("AWS_REGION", "eu-west-1"),
            ("AWS_DEFAULT_REGION", "own"),
            (OWN_VARIABLES, "AWS_DEFAULT_REGION"),
            ("PATH", "/bin"),
        ];
        let saved = saved(&Environment::new(before));
        assert!(!saved.contains("hush") && !saved.contains("own") && !saved.contains("PATH"), "{saved}");
        let during = Environment::new([
            ("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://127.0.0.1:9733/credentials"),
            ("AWS_REGION", "us-east-1"),
            ("AWS_DEFAULT_REGION", "us-east-1"),
            (OWN_VARIABLES, "AWS_REGION AWS_DEFAULT_REGION"),
            (ACTIVE, "dev"),
            (BEFORE, &saved),
        ]);
        assert_eq!(super::saved(&during), saved, "the first save stays");
        let taken = restored(&during).unwrap();
        assert_eq!(
            values(&taken),
            [
                ("AWS_PROFILE", Some("my dev,ü=1")),
                ("AWS_CONTAINER_CREDENTIALS_FULL_URI", None),
                ("AWS_REGION", Some("eu-west-1")),
                ("AWS_DEFAULT_REGION", None),
                (OWN_VARIABLES, None),
                (ACTIVE, None),
                (BEFORE, None),
            ]
        );
        assert_eq!(taken.lost, ["AWS_SECRET_ACCESS_KEY"]);
        assert_eq!(restored(&Environment::new(before)), None);
    }

    #[test]
    fn takes_keys_of_an_identity_back() {
        let keys =
            [("AWS_ACCESS_KEY_ID", "ASIA1"), ("AWS_SECRET_ACCESS_KEY", "hush"), (KEYS, "1"), (BEFORE, "AWS_PROFILE=a")];
        let during = Environment::new(keys);
        let taken = restored(&during).unwrap();
        assert_eq!(
            values(&taken),
            [
                ("AWS_ACCESS_KEY_ID", None),
                ("AWS_SECRET_ACCESS_KEY", None),
                ("AWS_PROFILE", Some("a")),
                (BEFORE, None),
                (KEYS, None)
            ]
        );
        assert!(taken.lost.is_empty());
        assert_eq!(saved(&Environment::new([keys[0], keys[1], keys[2]])), "", "keys of an identity are not the user's");
    }

    #[test]
    fn keeps_what_the_user_has_set_since() {
        let during = Environment::new([(BEFORE, ""), ("AWS_PROFILE", "later")]);
        assert_eq!(values(&restored(&during).unwrap()), [(BEFORE, None)]);
    }
}
