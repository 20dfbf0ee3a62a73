//! Credentials, region and account from the instance metadata service (IMDS).

mod service;
mod visit;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use super::{Answer, Boxed, Failure, Source};
use crate::aws::settings::Settings;
use crate::secret::Secret;
use crate::sessions::Terms;
use crate::upstream::Url;
use crate::world::World;
pub use service::role_path;
use visit::Visit;

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
/// ```
/// use credenza::source::imds::MetadataCredentials;
/// use credenza::source::{Answer, Source};
/// use credenza::world::{Environment, World};
///
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let source = MetadataCredentials::new(false, true);
/// let environment = Environment::new([("AWS_EC2_METADATA_DISABLED", "true")]);
/// let world = World { environment, ..World::default() };
/// assert!(matches!(source.load(&world).await, Answer::NotConfigured(_)));
/// # });
/// ```
#[derive(Debug)]
pub struct MetadataCredentials {
    allow_v1: bool,
    only_source: bool,
    patience: Duration,
    settings: Whose,
    memory: Mutex<Memory>,
}

/// Whose settings say where the service is.
#[derive(Debug)]
enum Whose {
    Environment,
    These(Box<Settings>),
    Those(Box<dyn Source>),
}

/// What makes the next look cheaper.
#[derive(Debug, Default)]
struct Memory {
    /// Whose: what one service gave is shown to no other.
    endpoint: Option<Url>,
    session: Option<(Session, SystemTime)>,
    identity: Option<Identity>,
}

/// How requests show that they may ask.
#[derive(Clone, Debug)]
enum Session {
    V2(Secret),
    V1,
}

/// What the identity document says of this instance.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// Where it runs.
    pub region: Option<Box<str>>,
    /// Whose it is: twelve digits.
    pub account_id: Option<Box<str>>,
}

impl MetadataCredentials {
    /// `allow_v1` lets version 1 be tried where version 2 is not offered or its token call times out. It asks for no
    /// token, so whoever can make this host send a request can have the credentials; `AWS_EC2_METADATA_V1_DISABLED`
    /// forbids it. `only_source` says that the chain has no other source: then a service that does not answer is a
    /// failure.
    #[must_use]
    pub fn new(allow_v1: bool, only_source: bool) -> Self {
        Self { allow_v1, only_source, patience: PATIENCE, settings: Whose::Environment, memory: Mutex::default() }
    }

    /// The same with another time for each request.
    #[must_use]
    pub fn with_patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// The same, with the service where these settings have it.
    #[must_use]
    pub fn with_settings(self, settings: Settings) -> Self {
        Self { settings: Whose::These(Box::new(settings)), ..self }
    }

    /// The same, with the service where the settings of this source have it: the profile of the chain.
    #[must_use]
    pub fn with_settings_of(self, source: Box<dyn Source>) -> Self {
        Self { settings: Whose::Those(source), ..self }
    }

    async fn visit<'v>(&'v self, world: &'v World) -> Result<Visit<'v>, Answer> {
        if world.environment.is_true(service::DISABLED) {
            return Err(Answer::not_configured(format!("{} is true", service::DISABLED)));
        }
        let configured = match &self.settings {
            Whose::Environment => Settings::of_environment(&world.environment).metadata_service,
            Whose::These(settings) => settings.metadata_service.clone(),
            Whose::Those(source) => source.settings(world).await.metadata_service,
        };
        let endpoint = service::endpoint(configured)?;
        Ok(Visit::new(self, world, endpoint))
    }

    /// What is known of this service; nothing of another that was asked before. Never held across an await.
    fn memory_of(&self, endpoint: &Url) -> MutexGuard<'_, Memory> {
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        if memory.endpoint.as_ref() != Some(endpoint) {
            *memory = Memory { endpoint: Some(endpoint.clone()), ..Memory::default() };
        }
        memory
    }
}

impl Source for MetadataCredentials {
    fn name(&self) -> &str {
        "imds"
    }

    fn load<'a>(&'a self, world: &'a World) -> Boxed<'a, Answer> {
        Box::pin(async move {
            let visit = match self.visit(world).await {
                Ok(visit) => visit,
                Err(answer) => return answer,
            };
            world.sessions.share(&world.clock, visit.fingerprint(), Terms::NEARBY, || visit.answer()).await
        })
    }

    fn region<'a>(&'a self, world: &'a World) -> Boxed<'a, Option<Box<str>>> {
        Box::pin(async move { self.visit(world).await.ok()?.identity().await.region })
    }
}
