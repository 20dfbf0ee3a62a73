//! A chain as a credentials provider of the AWS SDK for Rust.

use std::sync::Arc;
use std::time::Duration;

use aws_credential_types::Credentials as SdkCredentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{self, ProvideCredentials, future};

use crate::context::Context;
use crate::model::credentials::Credentials;
use crate::model::error::{ErrorKind, SourceError};
use crate::model::outcome::{AttemptResult, ChainLoad, Outcome};
use crate::model::time::timestamp;
use crate::source::chain::Chain;

/// The maximum time of a load. The identity cache of the SDK gives up after 5 s by default, and begins again at the next
/// request. A longer limit here would not help it.
const LIMIT: Duration = Duration::from_secs(5);

/// The name of the provider in the credentials and in the logs of the SDK.
const NAME: &str = "Credenza";

/// Gives the credentials of a [`Chain`] to the AWS SDK for Rust. It needs the cargo feature `aws-sdk`.
///
/// ```
/// use aws_credential_types::provider::ProvideCredentials;
/// use credenza::{ChainProvider, Context, EnvironmentCredentials, StaticCredentials, merge_credentials};
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// let chain = merge_credentials([
///     Box::new(EnvironmentCredentials::new()) as _,
///     Box::new(StaticCredentials::new("AKIAEXAMPLE", "secret")) as _,
/// ]);
/// // A program uses `Context::from_environment()`, and hands the provider to `aws_config::defaults(…)`.
/// let provider = ChainProvider::new(chain, Context::default());
/// let credentials = provider.provide_credentials().await.unwrap();
/// assert_eq!(credentials.access_key_id(), "AKIAEXAMPLE");
/// # });
/// ```
///
/// The SDK caches the credentials until shortly before their expiration, or for 15 minutes if they have none. Each load
/// asks the sources anew, so that rotated keys are found.
///
/// # Errors
/// An SDK that merges several providers goes on only after [`CredentialsError::CredentialsNotLoaded`], which means that no
/// source of the chain is configured. A source that is configured and fails is never skipped:
///
/// | error of the source | error of the SDK |
/// |---|---|
/// | [`ErrorKind::Misconfigured`] | [`CredentialsError::InvalidConfiguration`] |
/// | any other, and credentials that have expired | [`CredentialsError::ProviderError`] |
///
/// The cause of both is a [`SourceError`] without the standard error of a program, since the SDK prints all parts of a
/// cause.
#[derive(Clone, Debug)]
pub struct ChainProvider {
    chain: Arc<Chain>,
    context: Context,
    limit: Duration,
}

impl ChainProvider {
    /// Makes a provider that loads this chain in this context, for at most 5 s.
    #[must_use]
    pub fn new(chain: Chain, context: Context) -> Self {
        Self { chain: Arc::new(chain), context, limit: LIMIT }
    }

    /// Returns the provider with another maximum time of a load. The `load_timeout` of the SDK's identity cache, 5 s by
    /// default, has to be as long.
    #[must_use]
    pub fn with_limit(self, limit: Duration) -> Self {
        Self { limit, ..self }
    }

    /// Returns the URL of the S3 endpoint that accepts the keys, if they belong to one. The SDK does not get it from a
    /// provider: set it as `endpoint_url` of the S3 client, so that the keys go to their own store.
    ///
    /// # Errors
    /// As for the credentials.
    pub async fn endpoint(&self) -> Result<Option<Box<str>>, CredentialsError> {
        Ok(self.load().await?.endpoint)
    }

    /// Returns the region of the source that has credentials, else that of the first source with a region.
    pub async fn region(&self) -> Option<Box<str>> {
        let load = self.chain.load(&self.context, None, self.limit).await;
        let winner = match load.verdict {
            Outcome::Found { winner, .. } => Some(winner),
            _ => None,
        };
        self.chain.region(&self.context, winner).await
    }

    async fn load(&self) -> Result<Credentials, CredentialsError> {
        let ChainLoad { steps, verdict } = self.chain.load(&self.context, None, self.limit).await;
        match verdict {
            Outcome::Found { winner, credentials } => match credentials.expiration {
                Some(end) if end <= self.context.clock.now() => {
                    let source = self.chain.source_name(winner);
                    let expired = format!("source {source}: the credentials expired at {}", timestamp(end));
                    let error = SourceError::unavailable(expired).with_hint("renew the credentials in this source");
                    Err(sdk_error(error.at(credentials.location)))
                }
                _ => Ok(credentials),
            },
            Outcome::Failed { source, error } => {
                Err(sdk_error(error.while_trying(format_args!("source {}", self.chain.source_name(source)))))
            }
            Outcome::Vanished { .. } | Outcome::NotConfigured => {
                let reasons = steps.iter().filter_map(|step| match &step.said {
                    AttemptResult::NotConfigured(reason) => Some(format!("{}: {reason}", step.source)),
                    _ => None,
                });
                let reasons: Vec<_> = reasons.collect();
                Err(CredentialsError::not_loaded(format!("no source is configured: {}", reasons.join("; "))))
            }
        }
    }

    async fn load_for_sdk(&self) -> provider::Result {
        Ok(sdk_credentials(&self.load().await?))
    }
}

impl ProvideCredentials for ChainProvider {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(self.load_for_sdk())
    }
}

fn sdk_credentials(credentials: &Credentials) -> SdkCredentials {
    let mut sdk = SdkCredentials::builder()
        .access_key_id(&*credentials.access_key_id)
        .secret_access_key(credentials.secret_access_key.expose())
        .provider_name(NAME);
    sdk.set_session_token(credentials.session_token.as_ref().map(|token| token.expose().to_owned()));
    sdk.set_expiry(credentials.expiration);
    // The SDK makes host names of it, so that only an account of AWS may pass.
    let account =
        credentials.account_id.as_deref().filter(|id| id.len() == 12 && id.bytes().all(|b| b.is_ascii_digit()));
    sdk.set_account_id(account.map(Into::into));
    sdk.build()
}

/// Converts an error of a source. The standard error of a program may hold secrets, and the SDK prints a cause with all
/// its parts.
fn sdk_error(error: SourceError) -> CredentialsError {
    let is_misconfigured = error.kind == ErrorKind::Misconfigured;
    let error = SourceError { detail: None, ..error };
    if is_misconfigured {
        CredentialsError::invalid_configuration(error)
    } else {
        CredentialsError::provider_error(error)
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error;
    use std::time::SystemTime;

    use aws_credential_types::attributes::AccountId;

    use super::*;
    use crate::model::outcome::Lookup;
    use crate::os::clock::Clock;
    use crate::source::chain::merge_credentials;
    use crate::source::environment::EnvironmentCredentials;
    use crate::source::{BoxFuture, Source};

    #[derive(Debug)]
    struct Fixed(Lookup);

    impl Source for Fixed {
        fn name(&self) -> &'static str {
            "fixed"
        }

        fn load<'a>(&'a self, _: &'a Context) -> BoxFuture<'a, Lookup> {
            Box::pin(std::future::ready(self.0.clone()))
        }
    }

    async fn provided(lookup: impl Into<Lookup>) -> provider::Result {
        let chain = merge_credentials([Box::new(Fixed(lookup.into())) as _]);
        ChainProvider::new(chain, Context::of(&[])).provide_credentials().await
    }

    fn keys(ends: SystemTime, account: &str) -> Credentials {
        let keys = Credentials::new("ASIA1", "hush").unwrap().with_session_token(Some("hush-token")).unwrap();
        keys.with_expiration(Some(ends)).with_account_id(Some(account))
    }

    #[tokio::test]
    async fn gives_all_parts_of_credentials() {
        let end = Clock::system().now() + Duration::from_secs(60);
        let given = provided(Lookup::Found(keys(end, "123456789012"))).await.unwrap();
        assert_eq!(
            (given.access_key_id(), given.secret_access_key(), given.session_token(), given.expiry()),
            ("ASIA1", "hush", Some("hush-token"), Some(end))
        );
        assert_eq!(given.account_id().map(AccountId::as_str), Some("123456789012"));
        for foreign in ["evil.example/", "tenant-7", "12345678901"] {
            assert_eq!(provided(Lookup::Found(keys(end, foreign))).await.unwrap().account_id(), None, "{foreign}");
        }
        let long_lived = Credentials::new("AKIA1", "hush").unwrap();
        let given = provided(Lookup::Found(long_lived)).await.unwrap();
        assert_eq!((given.session_token(), given.expiry()), (None, None));
    }

    #[tokio::test]
    async fn maps_each_kind_of_error() {
        let kinds = [
            (ErrorKind::Misconfigured, "InvalidConfiguration"),
            (ErrorKind::Unavailable, "ProviderError"),
            (ErrorKind::Unsettled, "ProviderError"),
            (ErrorKind::Denied, "ProviderError"),
            (ErrorKind::LoginRequired, "ProviderError"),
            (ErrorKind::MfaRequired, "ProviderError"),
        ];
        for (kind, expected) in kinds {
            let detail = Some("hush on standard error".into());
            let error = provided(SourceError { detail, ..SourceError::new(kind, "no luck") }).await.unwrap_err();
            let (debug, cause) = (format!("{error:?}"), error.source().unwrap().to_string());
            assert!(debug.starts_with(expected) && !debug.contains("hush"), "{debug}");
            assert_eq!(cause, "source fixed: no luck");
        }
        let expired = Clock::system().now() - Duration::from_secs(1);
        let error = provided(Lookup::Found(keys(expired, ""))).await.unwrap_err();
        assert!(format!("{error:?}").starts_with("ProviderError"), "{error:?}");
    }

    #[tokio::test]
    async fn lets_sdk_go_on_only_if_no_source_is_configured() {
        let chain = merge_credentials([Box::new(EnvironmentCredentials::new()) as _]);
        let error = ChainProvider::new(chain, Context::of(&[])).provide_credentials().await.unwrap_err();
        assert!(matches!(error, CredentialsError::CredentialsNotLoaded(_)), "{error:?}");
        let cause = error.source().unwrap().to_string();
        assert!(cause.contains("environment: AWS_ACCESS_KEY_ID"), "{cause}");
    }
}
