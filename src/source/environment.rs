//! Credentials from the `AWS_…` variables.

use crate::context::Context;
use crate::model::credentials::Credentials;
use crate::model::error::SourceError;
use crate::model::outcome::Lookup;
use crate::model::time::parse_timestamp;
use crate::os::environment::Environment;
use crate::source::web_identity::WebIdentityCredentials;
use crate::source::{BoxFuture, Source};

const KEY: &str = "AWS_ACCESS_KEY_ID";
const SECRET: &str = "AWS_SECRET_ACCESS_KEY";
/// The name that the token had first; botocore still prefers it, the other SDKs do not know it.
const LEGACY_TOKEN: &str = "AWS_SECURITY_TOKEN";
const EXPIRATION: &str = "AWS_CREDENTIAL_EXPIRATION";

/// Reads `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN` (else `AWS_SECURITY_TOKEN`),
/// `AWS_CREDENTIAL_EXPIRATION` and `AWS_ACCOUNT_ID`; the region is `AWS_REGION`, else `AWS_DEFAULT_REGION`. A blank
/// variable counts as unset.
///
/// Without a key pair it is the role of `AWS_WEB_IDENTITY_TOKEN_FILE` and `AWS_ROLE_ARN`, as in the SDKs for Go and Java
/// before any profile.
///
/// Neither half of the key pair and no token file is *not configured*; one half alone, or an expiration that is no timestamp, is
/// misconfigured.
///
/// ```
/// use credenza::{Context, EnvironmentCredentials, Lookup, Source};
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// // The default context has no variables; `Context::from_environment()` has those of the process.
/// let lookup = EnvironmentCredentials::new().load(&Context::default()).await;
/// assert!(matches!(lookup, Lookup::NotConfigured(_)));
/// # });
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct EnvironmentCredentials {
    keys_only: bool,
}

impl EnvironmentCredentials {
    /// The one there is: which variables are read is not configurable.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A key pair alone, as `credential_source = Environment` means it (`EnvProvider` of botocore, and the SDK for Go).
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
            match answer(&context.environment) {
                Lookup::NotConfigured(why) if !self.keys_only => {
                    match WebIdentityCredentials::of_environment(&context.environment) {
                        Ok(None) => Lookup::not_configured(format!("{why}, nor is AWS_WEB_IDENTITY_TOKEN_FILE")),
                        Ok(Some(role)) => Lookup::from_result(role.assume(context).await),
                        Err(failure) => failure.into(),
                    }
                }
                answer => answer,
            }
        })
    }

    fn region<'a>(&'a self, context: &'a Context) -> BoxFuture<'a, Option<Box<str>>> {
        let region = context.environment.get("AWS_REGION").or_else(|| context.environment.get("AWS_DEFAULT_REGION"));
        Box::pin(std::future::ready(region.map(Into::into)))
    }
}

fn answer(environment: &Environment) -> Lookup {
    let half = |set: &str, unset: &str| {
        SourceError::misconfigured(format!("{set} is set and {unset} is not; set both, or unset both")).into()
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
    Ok(Credentials::new(key, secret)?
        .with_session_token(environment.get("AWS_SESSION_TOKEN").or_else(|| environment.get(LEGACY_TOKEN)))?
        .with_account_id(environment.get("AWS_ACCOUNT_ID"))
        .with_expiration(expiration))
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;
    use crate::model::error::ErrorKind;

    const PAIR: [(&str, &str); 2] = [(KEY, "AKIA1"), (SECRET, "hunter2")];

    fn answer_of(variables: &[(&str, &str)]) -> Lookup {
        answer(&Environment::new(variables.iter().copied()))
    }

    #[test]
    fn everything_that_belongs_to_a_key_pair() {
        let mut variables = PAIR.to_vec();
        variables.extend([
            ("AWS_SESSION_TOKEN", "tok-en"),
            (EXPIRATION, "2026-11-23T16:00:00Z"),
            ("AWS_ACCOUNT_ID", "123456789012"),
        ]);
        let Lookup::Found(found) = answer_of(&variables) else { panic!("not found") };
        let expiration = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_449_600);
        let expected = Credentials::new("AKIA1", "hunter2").unwrap();
        let expected = expected.with_session_token(Some("tok-en")).unwrap().with_account_id(Some("123456789012"));
        assert_eq!(found, expected.with_expiration(Some(expiration)));
    }

    #[test]
    fn blank_means_unset() {
        let legacy = [PAIR[0], PAIR[1], (LEGACY_TOKEN, "old")];
        for (more, token) in [(&[][..], "old"), (&[("AWS_SESSION_TOKEN", "new")], "new")] {
            let Lookup::Found(found) = answer_of(&[&legacy[..], more].concat()) else { panic!() };
            assert_eq!(found.session_token.unwrap().expose(), token);
        }
        let blank = [(KEY, " "), (SECRET, ""), ("AWS_SESSION_TOKEN", "t"), (EXPIRATION, "x")];
        let Lookup::NotConfigured(reason) = answer_of(&blank) else { panic!("configured") };
        assert!(reason.contains(KEY), "{reason}");
        let long_lived = [PAIR[0], PAIR[1], ("AWS_SESSION_TOKEN", " "), (EXPIRATION, ""), ("AWS_ACCOUNT_ID", "")];
        assert_eq!(answer_of(&long_lived), Lookup::Found(Credentials::new("AKIA1", "hunter2").unwrap()));
    }

    #[tokio::test]
    async fn keys_only_means_no_token_of_an_identity_provider() {
        let variables = [("AWS_WEB_IDENTITY_TOKEN_FILE", "/nowhere"), ("AWS_ROLE_ARN", "arn:aws:iam::1:role/r")];
        let context = Context { environment: Environment::new(variables), ..Context::default() };
        let told = "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are not set";
        assert_eq!(EnvironmentCredentials::keys_only().load(&context).await, Lookup::not_configured(told));
        assert!(matches!(EnvironmentCredentials::new().load(&context).await, Lookup::Failed(_)));
        let nothing = EnvironmentCredentials::new().load(&Context::default()).await;
        assert_eq!(nothing, Lookup::not_configured(format!("{told}, nor is AWS_WEB_IDENTITY_TOKEN_FILE")));
    }

    #[test]
    fn what_is_set_and_wrong_is_misconfigured() {
        let cases: [(&[(&str, &str)], &str); 5] = [
            (&[PAIR[0]], "AWS_SECRET_ACCESS_KEY is not"),
            (&[PAIR[1], (KEY, " ")], "AWS_ACCESS_KEY_ID is not"),
            (&[PAIR[0], PAIR[1], (EXPIRATION, "tomorrow")], "AWS_CREDENTIAL_EXPIRATION is not a timestamp"),
            (&[PAIR[0], PAIR[1], (EXPIRATION, "2026-11-23T16:00:00")], "has no time zone"),
            (&[PAIR[0], (SECRET, "hunter2\nx")], "secret access key contains a control character"),
        ];
        for (variables, expected) in cases {
            let Lookup::Failed(failure) = answer_of(variables) else { panic!("{variables:?} does not fail") };
            assert_eq!(failure.kind, ErrorKind::Misconfigured);
            assert!(failure.to_string().contains(expected), "{failure}");
            assert!(!failure.to_string().contains("hunter2"), "{failure}");
        }
    }

    #[tokio::test]
    async fn the_region_is_aws_region_first() {
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
