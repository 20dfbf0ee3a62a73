//! Long-lived keys of another source, exchanged for temporary ones (`long_lived_keys = "session"`).

use std::time::Duration;

use crate::aws::settings::Settings;
use crate::aws::sts;
use crate::cache::credentials::CachePolicy;
use crate::cache::key::CacheKeyBuilder;
use crate::context::Context;
use crate::model::credentials::Credentials;
use crate::model::error::SourceError;
use crate::model::outcome::Lookup;
use crate::model::outcome::TraceStep;
use crate::source::{BoxFuture, Source};

/// Hands on what its source gives, but exchanges long-lived keys through STS GetSessionToken, so that only temporary
/// ones ever leave the broker: the one form with which every SDK can sign on AWS.
#[derive(Debug)]
pub(crate) struct SessionTokenSource {
    source: Box<dyn Source>,
    duration: Duration,
}

impl SessionTokenSource {
    /// The keys of this source, each session lasting so long.
    #[must_use]
    pub(crate) fn new(source: Box<dyn Source>, duration: Duration) -> Self {
        Self { source, duration }
    }

    async fn exchanged(&self, context: &Context, answer: Lookup) -> Lookup {
        match answer {
            Lookup::Found(keys) if keys.is_long_lived() => Lookup::from_result(self.exchange(context, keys).await),
            answer => answer,
        }
    }

    async fn exchange(&self, context: &Context, keys: Credentials) -> Result<Credentials, SourceError> {
        let settings = self.source.settings(context).await;
        // Keys for a store of somebody's own are none of Amazon's business.
        if let Some(endpoint) = keys.endpoint.as_deref().filter(|_| settings.endpoints.sts.is_none()) {
            return Err(SourceError::misconfigured(format!(
                "these keys are for {endpoint}, which is not AWS, and cannot be exchanged for a session there; set \
                 long_lived_keys = \"direct\" for this identity, or AWS_ENDPOINT_URL_STS"
            )));
        }
        let of = CacheKeyBuilder::new("session token")
            .with_caller(&keys)
            .with(self.duration.as_secs().to_be_bytes())
            .with_value(&settings.cache_parts())
            .cache_key();
        let ask = || sts::get_session_token(context, &settings, &keys, self.duration);
        let session = context.credential_cache.obtain(&context.clock, of, CachePolicy::ISSUED, ask).await;
        let session = session.map_err(|failure| settings.locate(failure, keys.location.as_ref()))?;
        // Nor does a session outlive the keys, where somebody says when they end.
        let expiration = keys.expiration.into_iter().chain(session.expiration).min();
        Ok(Credentials {
            account_id: session.account_id.or(keys.account_id),
            expiration,
            location: keys.location,
            ..session
        })
    }
}

impl Source for SessionTokenSource {
    fn name(&self) -> &str {
        self.source.name()
    }

    fn load<'a>(&'a self, context: &'a Context) -> BoxFuture<'a, Lookup> {
        Box::pin(async move {
            match self.source.load(context).await {
                Lookup::Found(keys) if keys.is_long_lived() => Lookup::from_result(self.exchange(context, keys).await),
                answer => answer,
            }
        })
    }

    fn region<'a>(&'a self, context: &'a Context) -> BoxFuture<'a, Option<Box<str>>> {
        self.source.region(context)
    }

    fn settings<'a>(&'a self, context: &'a Context) -> BoxFuture<'a, Settings> {
        self.source.settings(context)
    }

    fn trace<'a>(&'a self, context: &'a Context) -> BoxFuture<'a, (Vec<TraceStep>, Lookup)> {
        Box::pin(async move {
            let (mut links, keys) = self.source.trace(context).await;
            let is_exchanged = matches!(&keys, Lookup::Found(keys) if keys.is_long_lived());
            if is_exchanged && links.is_empty() {
                links.push(TraceStep::new(self.name(), &keys));
            }
            let answer = self.exchanged(context, keys).await;
            if is_exchanged {
                links.push(TraceStep::new("session of these long-lived keys", &answer));
            }
            (links, answer)
        })
    }
}
