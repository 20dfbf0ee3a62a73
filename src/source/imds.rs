//! Credentials, region and account from the instance metadata service (IMDS).

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

/// For one request. The service is a link-local address that answers within milliseconds or not at all, and a load has
/// 10 s for at most eight requests.
const PATIENCE: Duration = Duration::from_secs(1);

/// Asks the metadata service for the credentials of this instance's role, by version 2: with a session token that is
/// kept for as long as the service said and renewed when it is refused.
///
/// `AWS_EC2_METADATA_SERVICE_ENDPOINT` says where, else `AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE` (`IPv4` or `IPv6`), and of
/// each the profile where the variable says nothing, if there is a profile ([`MetadataCredentials::with_settings_of`]). It is
/// *not configured* when `AWS_EC2_METADATA_DISABLED` is `true`, when the instance has no role (404), and when nobody has
/// answered two requests for a session token, nor ever before in this process, unless the chain has no other source.
/// Those who ask the same service in the same way within a minute share what it gives.
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
    patience: Duration,
    settings: SettingsOwner,
    memory: Mutex<ImdsSessionState>,
}

/// Whose settings say where the service is.
#[derive(Debug)]
enum SettingsOwner {
    Environment,
    These(Box<Settings>),
    Those(Box<dyn Source>),
}

/// What makes the next look cheaper.
#[derive(Debug, Default)]
struct ImdsSessionState {
    /// Whose: what one service gave is shown to no other.
    endpoint: Option<Url>,
    session: Option<(ImdsSession, SystemTime)>,
    identity: Option<IdentityDocument>,
}

/// How requests show that they may ask.
#[derive(Clone, Debug)]
enum ImdsSession {
    V2(Secret),
    V1,
}

/// What the identity document says of this instance.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct IdentityDocument {
    /// Where it runs.
    pub(crate) region: Option<Box<str>>,
    /// Whose it is: twelve digits.
    pub(crate) account_id: Option<Box<str>>,
}

impl MetadataCredentials {
    /// `allow_v1` lets version 1 be tried where version 2 is not offered or its token call times out. It asks for no
    /// token, so whoever can make this host send a request can have the credentials; `AWS_EC2_METADATA_V1_DISABLED`
    /// forbids it. `only_source` says that the chain has no other source: then a service that does not answer is a
    /// failure.
    #[must_use]
    pub fn new(allow_v1: bool, only_source: bool) -> Self {
        Self {
            allow_v1,
            only_source,
            patience: PATIENCE,
            settings: SettingsOwner::Environment,
            memory: Mutex::default(),
        }
    }

    /// The same with another time for each request.
    #[must_use]
    pub fn with_patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// The same, with the service where these settings have it.
    #[must_use]
    pub(crate) fn with_settings(self, settings: Settings) -> Self {
        Self { settings: SettingsOwner::These(Box::new(settings)), ..self }
    }

    /// The same, with the service where the settings of this source have it: the profile of the chain.
    #[must_use]
    pub(crate) fn with_settings_of(self, source: Box<dyn Source>) -> Self {
        Self { settings: SettingsOwner::Those(source), ..self }
    }

    async fn visit<'v>(&'v self, context: &'v Context) -> Result<ImdsClient<'v>, Lookup> {
        if context.environment.is_true(endpoint::DISABLED) {
            return Err(Lookup::not_configured(format!("{} is true", endpoint::DISABLED)));
        }
        let configured = match &self.settings {
            SettingsOwner::Environment => Settings::of_environment(&context.environment).metadata_service,
            SettingsOwner::These(settings) => settings.metadata_service.clone(),
            SettingsOwner::Those(source) => source.settings(context).await.metadata_service,
        };
        let endpoint = endpoint::endpoint(configured)?;
        Ok(ImdsClient::new(self, context, endpoint))
    }

    /// What is known of this service; nothing of another that was asked before. Never held across an await.
    fn memory_of(&self, endpoint: &Url) -> MutexGuard<'_, ImdsSessionState> {
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        if memory.endpoint.as_ref() != Some(endpoint) {
            *memory = ImdsSessionState { endpoint: Some(endpoint.clone()), ..ImdsSessionState::default() };
        }
        memory
    }
}

impl Source for MetadataCredentials {
    fn name(&self) -> &str {
        "imds"
    }

    fn load<'a>(&'a self, context: &'a Context) -> BoxFuture<'a, Lookup> {
        Box::pin(async move {
            let visit = match self.visit(context).await {
                Ok(visit) => visit,
                Err(answer) => return answer,
            };
            context
                .credential_cache
                .share(&context.clock, visit.cache_key(), CachePolicy::NEARBY, || visit.answer())
                .await
        })
    }

    fn region<'a>(&'a self, context: &'a Context) -> BoxFuture<'a, Option<Box<str>>> {
        Box::pin(async move { self.visit(context).await.ok()?.identity().await.region })
    }
}
