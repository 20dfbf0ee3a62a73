//! The IMDS source: credentials, region and account from the instance metadata service.

pub(crate) mod client;
pub(crate) mod endpoint;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use crate::aws::settings::Settings;
use crate::cache::credentials::CachePolicy;
use crate::context::Context;
use crate::http::url::Url;
use crate::model::outcome::Lookup;
use crate::model::secret::Secret;
use crate::source::imds::client::ImdsClient;
use crate::source::{BoxFuture, Source};

/// Requests the credentials of this instance's role from the metadata service, by IMDSv2. The source keeps the IMDS
/// session token for the lifetime that the service gives, and renews the token after a refusal.
///
/// The endpoint is `AWS_EC2_METADATA_SERVICE_ENDPOINT`, else the one of `AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE`
/// (`IPv4` or `IPv6`). A profile may set both where the variables do not.
///
/// The source is *not configured* if `AWS_EC2_METADATA_DISABLED` is `true`, if the instance has no role (404), or if the
/// program at the address is not the instance metadata service of AWS (400, 404 or 405 to the token request). It is also
/// *not configured* if the service responds to neither of two token requests within a second each and has never
/// responded to this process. In a chain without other sources that is an error. A service that has responded is waited
/// for until the deadline of the load. Equal requests to one service within a minute share one response.
///
/// ```no_run
/// use credenza::{Context, MetadataCredentials, Source};
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// let source = MetadataCredentials::new(false, true);
/// println!("{:?}", source.load(&Context::from_environment()).await);
/// # });
/// ```
#[derive(Debug)]
pub struct MetadataCredentials {
    allow_v1: bool,
    only_source: bool,
    /// The timeout of each request. `None` is the deadline of the load.
    timeout: Option<Duration>,
    settings: ImdsSettings,
    state: Mutex<ImdsSessionState>,
}

/// The settings with the endpoint of the service.
#[derive(Debug)]
enum ImdsSettings {
    Environment,
    Given(Box<Settings>),
    OfSource(Box<dyn Source>),
}

/// The state that makes the next lookup cheaper.
#[derive(Debug, Default)]
struct ImdsSessionState {
    /// The service that this state belongs to. No other service may get the session token.
    endpoint: Option<Url>,
    session: Option<(ImdsSession, SystemTime)>,
    identity: Option<IdentityDocument>,
}

/// The IMDS session of a request: with a token (IMDSv2), or without (IMDSv1).
#[derive(Clone, Debug)]
enum ImdsSession {
    V2(Secret),
    V1,
}

/// The used parts of the instance identity document.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct IdentityDocument {
    pub(crate) region: Option<Box<str>>,
    /// The account of the instance: twelve digits.
    pub(crate) account_id: Option<Box<str>>,
}

impl MetadataCredentials {
    /// `allow_v1` allows IMDSv1 if the service does not offer IMDSv2 or the token request times out. IMDSv1 needs no
    /// token, so an attacker that can make this host send a request gets the credentials.
    /// `AWS_EC2_METADATA_V1_DISABLED` forbids it. `only_source` is true if the chain has no other source: then it is an
    /// error if the service does not respond.
    #[must_use]
    pub fn new(allow_v1: bool, only_source: bool) -> Self {
        Self { allow_v1, only_source, timeout: None, settings: ImdsSettings::Environment, state: Mutex::default() }
    }

    /// Returns this source with this timeout for each request.
    #[must_use]
    pub fn with_timeout(self, timeout: Duration) -> Self {
        Self { timeout: Some(timeout), ..self }
    }

    pub(crate) fn with_settings(self, settings: Settings) -> Self {
        Self { settings: ImdsSettings::Given(Box::new(settings)), ..self }
    }

    /// Returns this source with the endpoint of the settings of `source`, the profile of the chain.
    pub(crate) fn with_settings_of(self, source: Box<dyn Source>) -> Self {
        Self { settings: ImdsSettings::OfSource(source), ..self }
    }

    async fn client<'c>(&'c self, context: &'c Context) -> Result<ImdsClient<'c>, Lookup> {
        context.environment.check_text(&[endpoint::DISABLED, endpoint::V1_DISABLED])?;
        if context.environment.is_true(endpoint::DISABLED) {
            return Err(Lookup::not_configured(format!("{} is true", endpoint::DISABLED)));
        }
        let configured = match &self.settings {
            ImdsSettings::Environment => Settings::of_environment(&context.environment).metadata_service,
            ImdsSettings::Given(settings) => settings.metadata_service.clone(),
            ImdsSettings::OfSource(source) => source.settings(context).await.metadata_service,
        };
        let endpoint = endpoint::endpoint(configured)?;
        Ok(ImdsClient::new(self, context, endpoint))
    }

    /// Returns the state of this service. If the kept state is that of another service, it is dropped. The guard is
    /// never held across an await.
    fn state_of(&self, endpoint: &Url) -> MutexGuard<'_, ImdsSessionState> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.endpoint.as_ref() != Some(endpoint) {
            *state = ImdsSessionState { endpoint: Some(endpoint.clone()), ..ImdsSessionState::default() };
        }
        state
    }
}

impl Source for MetadataCredentials {
    fn name(&self) -> &str {
        "imds"
    }

    fn load<'a>(&'a self, context: &'a Context) -> BoxFuture<'a, Lookup> {
        Box::pin(async move {
            let client = match self.client(context).await {
                Ok(client) => client,
                Err(lookup) => return lookup,
            };
            let key = client.cache_key();
            context.credential_cache.share(&context.clock, key, CachePolicy::NEARBY, || client.load()).await
        })
    }

    fn region<'a>(&'a self, context: &'a Context) -> BoxFuture<'a, Option<Box<str>>> {
        Box::pin(async move { self.client(context).await.ok()?.identity().await.region })
    }
}
