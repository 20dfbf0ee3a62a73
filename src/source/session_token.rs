//! Long-lived keys of another source, exchanged for temporary ones (`long_lived_keys = "session"`).

use std::time::Duration;

use super::{Answer, Boxed, Failure, Hop, Source};
use crate::aws::settings::Settings;
use crate::aws::sts;
use crate::credentials::Credentials;
use crate::sessions::{Parts, Terms};
use crate::world::World;

/// Hands on what its source gives, but exchanges long-lived keys through STS GetSessionToken, so that only temporary
/// ones ever leave the broker: the one form with which every SDK can sign on AWS.
#[derive(Debug)]
pub struct SessionToken {
    source: Box<dyn Source>,
    duration: Duration,
}

impl SessionToken {
    /// The keys of this source, each session lasting so long.
    #[must_use]
    pub fn new(source: Box<dyn Source>, duration: Duration) -> Self {
        Self { source, duration }
    }

    async fn exchanged(&self, world: &World, answer: Answer) -> Answer {
        match answer {
            Answer::Found(keys) if keys.is_long_lived() => Answer::from_result(self.exchange(world, keys).await),
            answer => answer,
        }
    }

    async fn exchange(&self, world: &World, keys: Credentials) -> Result<Credentials, Failure> {
        let settings = self.source.settings(world).await;
        // Keys for a store of somebody's own are none of Amazon's business.
        if let Some(endpoint) = keys.endpoint.as_deref().filter(|_| settings.endpoints.sts.is_none()) {
            return Err(Failure::misconfigured(format!(
                "these keys are for {endpoint}, which is not AWS, and cannot be exchanged for a session there; set \
                 long_lived_keys = \"direct\" for this identity, or AWS_ENDPOINT_URL_STS"
            )));
        }
        let of = Parts::new("session token")
            .with_caller(&keys)
            .with(self.duration.as_secs().to_be_bytes())
            .with_value(&settings)
            .fingerprint();
        let ask = || sts::get_session_token(world, &settings, &keys, self.duration);
        let session = world.sessions.obtain(&world.clock, of, Terms::ISSUED, ask).await;
        let session = session.map_err(|failure| settings.locate(failure, keys.origin.place()))?;
        // Nor does a session outlive the keys, where somebody says when they end.
        let expiration = keys.expiration.into_iter().chain(session.expiration).min();
        Ok(Credentials {
            account_id: session.account_id.or(keys.account_id),
            expiration,
            origin: keys.origin,
            ..session
        })
    }
}

impl Source for SessionToken {
    fn name(&self) -> &str {
        self.source.name()
    }

    fn load<'a>(&'a self, world: &'a World) -> Boxed<'a, Answer> {
        Box::pin(async move {
            match self.source.load(world).await {
                Answer::Found(keys) if keys.is_long_lived() => Answer::from_result(self.exchange(world, keys).await),
                answer => answer,
            }
        })
    }

    fn region<'a>(&'a self, world: &'a World) -> Boxed<'a, Option<Box<str>>> {
        self.source.region(world)
    }

    fn settings<'a>(&'a self, world: &'a World) -> Boxed<'a, Settings> {
        self.source.settings(world)
    }

    fn trace<'a>(&'a self, world: &'a World) -> Boxed<'a, (Vec<Hop>, Answer)> {
        Box::pin(async move {
            let (mut hops, keys) = self.source.trace(world).await;
            let is_exchanged = matches!(&keys, Answer::Found(keys) if keys.is_long_lived());
            if is_exchanged && hops.is_empty() {
                hops.push(Hop::new(self.name(), &keys));
            }
            let answer = self.exchanged(world, keys).await;
            if is_exchanged {
                hops.push(Hop::new("session of these long-lived keys", &answer));
            }
            (hops, answer)
        })
    }
}
