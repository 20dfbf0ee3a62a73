//! Credentials from the `AWS_…` variables of the environment.

use crate::context::Context;
use crate::model::credentials::Credentials;
use crate::model::error::SourceError;
use crate::model::outcome::Lookup;
use crate::model::text::usable;
use crate::model::time::parse_timestamp;
use crate::os::environment::Environment;
use crate::source::web_identity::WebIdentityCredentials;
use crate::source::{BoxFuture, Source};

const KEY: &str = "AWS_ACCESS_KEY_ID";
const SECRET: &str = "AWS_SECRET_ACCESS_KEY";
/// The old name of `AWS_SESSION_TOKEN`. botocore still prefers it, and the other SDKs do not know it.
const LEGACY_TOKEN: &str = "AWS_SECURITY_TOKEN";
const EXPIRATION: &str = "AWS_CREDENTIAL_EXPIRATION";
/// The S3 endpoint of the keys. It stands beside keys of other stores than AWS.
const ENDPOINT: &str = "AWS_ENDPOINT_URL_S3";

/// The variables of a key pair.
const VARIABLES: [&str; 7] = [KEY, SECRET, "AWS_SESSION_TOKEN", LEGACY_TOKEN, EXPIRATION, "AWS_ACCOUNT_ID", ENDPOINT];

/// Reads `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN` (else `AWS_SECURITY_TOKEN`),
/// `AWS_CREDENTIAL_EXPIRATION`, `AWS_ACCOUNT_ID` and `AWS_ENDPOINT_URL_S3`; the region is `AWS_REGION`, else `AWS_DEFAULT_REGION`. A blank
/// variable counts as unset.
///
/// Without a key pair it assumes the role of `AWS_WEB_IDENTITY_TOKEN_FILE` and `AWS_ROLE_ARN`, as the SDKs for Go and
/// Java do before any profile.
///
/// It is *not configured* without a key pair and a token file. Half a key pair, a value that is not UTF-8, or an
/// expiration that is not a timestamp, is misconfigured.
///
/// ```
/// use credenza::{Context, EnvironmentCredentials, Lookup, Source};
///
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// // The default context has no variables; `Context::from_environment()` has those of this process.
/// let lookup = EnvironmentCredentials::new().load(&Context::default()).await;
/// assert!(matches!(lookup, Lookup::NotConfigured(_)));
/// # });
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct EnvironmentCredentials {
    keys_only: bool,
}

impl EnvironmentCredentials {
    /// Makes a source that reads the variables of the context.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes a source that reads a key pair and no web identity, for `credential_source = Environment` (as
    /// `EnvProvider` of botocore and the SDK for Go).
    #[must_use]
    pub fn keys_only() -> Self {
        Self { keys_only: true }
    }
}

impl Source for EnvironmentCredentials {
    fn name(&self) -> &str {
        "environment"
    }

    fn load<'a>(&'a self, context: &'a Context) -> BoxFuture<'a, Lookup> {
        Box::pin(async move {
            if let Err(error) = context.environment.check_text(&VARIABLES) {
                return error.into();
            }
            match key_pair(&context.environment) {
                Lookup::NotConfigured(why) if !self.keys_only => {
                    match WebIdentityCredentials::of_environment(&context.environment) {
                        Ok(None) => Lookup::not_configured(format!("{why}, nor is AWS_WEB_IDENTITY_TOKEN_FILE")),
                        Ok(Some(role)) => Lookup::from_result(role.assume(context).await),
                        Err(error) => error.into(),
                    }
                }
                lookup => lookup,
            }
        })
    }

    fn region<'a>(&'a self, context: &'a Context) -> BoxFuture<'a, Option<Box<str>>> {
        let region = context.environment.get("AWS_REGION").or_else(|| context.environment.get("AWS_DEFAULT_REGION"));
        Box::pin(std::future::ready(region.map(Into::into)))
    }
}

fn key_pair(environment: &Environment) -> Lookup {
    let half = |set: &str, unset: &str| {
        let error = SourceError::misconfigured(format!("{set} is set and {unset} is not"));
        error.with_hint("set both, or unset both").into()
    };
    match (environment.get(KEY), environment.get(SECRET)) {
        (None, None) => Lookup::not_configured("AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are not set"),
        (Some(_), None) => half(KEY, SECRET),
        (None, Some(_)) => half(SECRET, KEY),
        (Some(key), Some(secret)) => Lookup::from_result(credentials(environment, key, secret)),
    }
}

fn credentials(environment: &Environment, key: &str, secret: &str) -> Result<Credentials, SourceError> {
    let expiration = environment.get(EXPIRATION).map(parse_timestamp).transpose();
    let expiration = expiration.map_err(|why| SourceError::misconfigured(format!("{EXPIRATION} {why}")))?;
    let credentials = Credentials::new(key, secret)?
        .with_session_token(environment.get("AWS_SESSION_TOKEN").or_else(|| environment.get(LEGACY_TOKEN)))?
        .with_account_id(environment.get("AWS_ACCOUNT_ID"))
        .with_expiration(expiration);
    let ignored = environment.is_true("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS");
    let endpoint = environment.get(ENDPOINT).filter(|_| !ignored);
    let endpoint = endpoint.map(|endpoint| usable("S3 endpoint", endpoint)).transpose()?;
    Ok(Credentials { endpoint: endpoint.map(Into::into), ..credentials })
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;
    use crate::model::error::ErrorKind;

    const PAIR: [(&str, &str); 2] = [(KEY, "AKIA1"), (SECRET, "hunter2")];

    fn lookup(variables: &[(&str, &str)]) -> Lookup {
        key_pair(&Environment::new(variables.iter().copied()))
    }

    #[test]
    fn reads_all_variables_of_a_key_pair() {
        let mut variables = PAIR.to_vec();
        variables.extend([
            ("AWS_SESSION_TOKEN", "tok-en"),
            (EXPIRATION, "2026-11-23T16:00:00Z"),
            ("AWS_ACCOUNT_ID", "123456789012"),
        ]);
        let Lookup::Found(found) = lookup(&variables) else { panic!("not found") };
        let expiration = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_449_600);
        let expected = Credentials::new("AKIA1", "hunter2").unwrap();
        let expected = expected.with_session_token(Some("tok-en")).unwrap().with_account_id(Some("123456789012"));
        assert_eq!(found, expected.with_expiration(Some(expiration)));
    }

    #[test]
    fn reads_blank_as_unset() {
        let legacy = [PAIR[0], PAIR[1], (LEGACY_TOKEN, "old")];
        for (more, token) in [(&[][..], "old"), (&[("AWS_SESSION_TOKEN", "new")], "new")] {
            let Lookup::Found(found) = lookup(&[&legacy[..], more].concat()) else { panic!() };
            assert_eq!(found.session_token.unwrap().expose(), token);
        }
        let blank = [(KEY, " "), (SECRET, ""), ("AWS_SESSION_TOKEN", "t"), (EXPIRATION, "x")];
        let Lookup::NotConfigured(reason) = lookup(&blank) else { panic!("configured") };
        assert!(reason.contains(KEY), "{reason}");
        let long_lived = [PAIR[0], PAIR[1], ("AWS_SESSION_TOKEN", " "), (EXPIRATION, ""), ("AWS_ACCOUNT_ID", "")];
        assert_eq!(lookup(&long_lived), Lookup::Found(Credentials::new("AKIA1", "hunter2").unwrap()));
    }

    #[tokio::test]
    async fn keys_only_ignores_web_identity() {
        let variables = [("AWS_WEB_IDENTITY_TOKEN_FILE", "/nowhere"), ("AWS_ROLE_ARN", "arn:aws:iam::1:role/r")];
        let context = Context { environment: Environment::new(variables), ..Context::default() };
        let reason = "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are not set";
        assert_eq!(EnvironmentCredentials::keys_only().load(&context).await, Lookup::not_configured(reason));
        assert!(matches!(EnvironmentCredentials::new().load(&context).await, Lookup::Failed(_)));
        let nothing = EnvironmentCredentials::new().load(&Context::default()).await;
        assert_eq!(nothing, Lookup::not_configured(format!("{reason}, nor is AWS_WEB_IDENTITY_TOKEN_FILE")));
    }

    #[test]
    fn reports_wrong_variables_as_misconfigured() {
        let cases: [(&[(&str, &str)], &str); 5] = [
            (&[PAIR[0]], "AWS_SECRET_ACCESS_KEY is not"),
            (&[PAIR[1], (KEY, " ")], "AWS_ACCESS_KEY_ID is not"),
            (&[PAIR[0], PAIR[1], (EXPIRATION, "tomorrow")], "AWS_CREDENTIAL_EXPIRATION is not a timestamp"),
            (&[PAIR[0], PAIR[1], (EXPIRATION, "2026-11-23T16:00:00")], "has no time zone"),
            (&[PAIR[0], (SECRET, "hunter2\nx")], "secret access key contains a control character"),
        ];
        for (variables, expected) in cases {
            let Lookup::Failed(error) = lookup(variables) else { panic!("{variables:?} does not fail") };
            assert_eq!(error.kind, ErrorKind::Misconfigured);
            assert!(error.to_string().contains(expected), "{error}");
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
    }

    #[tokio::test]
    async fn prefers_aws_region() {
        for (variables, expected) in [
            ([("AWS_REGION", "eu-west-1"), ("AWS_DEFAULT_REGION", "us-east-1")], Some("eu-west-1")),
            ([("AWS_REGION", " "), ("AWS_DEFAULT_REGION", "us-east-1")], Some("us-east-1")),
            ([("AWS_REGION", ""), ("AWS_DEFAULT_REGION", "")], None),
        ] {
            let context = Context { environment: Environment::new(variables), ..Context::default() };
            assert_eq!(EnvironmentCredentials::new().region(&context).await.as_deref(), expected);
        }
    }
}
