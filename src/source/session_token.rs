//! Exchanges the long-lived keys of another source for a session (`long_lived_keys = "session"`).

use std::time::Duration;

use crate::aws::settings::Settings;
use crate::aws::sts;
use crate::cache::credentials::CachePolicy;
use crate::cache::key::CacheKeyBuilder;
use crate::context::Context;
use crate::model::credentials::Credentials;
use crate::model::error::SourceError;
use crate::model::outcome::{Lookup, TraceStep};
use crate::source::{BoxFuture, Source};

/// A source that exchanges long-lived keys of another source through STS GetSessionToken. So only temporary credentials
/// leave the broker, which every SDK can use on AWS. Other credentials are returned unchanged.
#[derive(Debug)]
pub(crate) struct SessionTokenSource {
    source: Box<dyn Source>,
    duration: Duration,
}

impl SessionTokenSource {
    pub(crate) fn new(source: Box<dyn Source>, duration: Duration) -> Self {
        Self { source, duration }
    }

    async fn exchanged(&self, context: &Context, lookup: Lookup) -> Lookup {
        match lookup {
            Lookup::Found(keys) if keys.is_long_lived() => Lookup::from_result(self.exchange(context, keys).await),
            lookup => lookup,
        }
    }

    async fn exchange(&self, context: &Context, keys: Credentials) -> Result<Credentials, SourceError> {
        let settings = self.source.settings(context).await;
        // Do not send keys to AWS that belong to another store.
        if let Some(endpoint) = keys.endpoint.as_deref().filter(|_| settings.endpoints.sts.is_none()) {
            let message = format!("keys for {endpoint}, which is not AWS, cannot be exchanged for a session");
            let hint = "set long_lived_keys = \"direct\" for this identity, or AWS_ENDPOINT_URL_STS";
            return Err(SourceError::misconfigured(message).with_hint(hint));
        }
        let key = CacheKeyBuilder::new("session token")
            .with_caller(&keys)
            .with(self.duration.as_secs().to_be_bytes())
            .with_value(&settings.cache_parts())
            .cache_key();
        let request = || sts::get_session_token(context, &settings, &keys, self.duration);
        let session = context.credential_cache.obtain(&context.clock, key, CachePolicy::ISSUED, request).await;
        let session = session.map_err(|error| settings.locate(error, keys.location.as_ref()))?;
        // A session must not outlive its keys, if they expire.
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
            let lookup = self.source.load(context).await;
            self.exchanged(context, lookup).await
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
            let (mut steps, keys) = self.source.trace(context).await;
            let is_exchanged = matches!(&keys, Lookup::Found(keys) if keys.is_long_lived());
            if is_exchanged && steps.is_empty() {
                steps.push(TraceStep::new(self.name(), &keys));
            }
            let lookup = self.exchanged(context, keys).await;
            if is_exchanged {
                steps.push(TraceStep::new("session of these long-lived keys", &lookup));
            }
            (steps, lookup)
        })
    }
}
