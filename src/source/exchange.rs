//! A source that exchanges the credentials of another source for a session, before they leave the broker.

use std::fmt::Debug;
use std::future::Future;

use crate::aws::settings::Settings;
use crate::context::Context;
use crate::model::credentials::Credentials;
use crate::model::error::SourceError;
use crate::model::outcome::{Lookup, TraceStep};
use crate::source::{BoxFuture, Source};

/// The exchange of credentials for a session at STS.
pub(crate) trait SessionExchange: Debug + Send + Sync {
    /// The name of this step for `credenza check`.
    const STEP: &str;

    /// Returns true if these credentials must not leave the broker as they are.
    fn is_needed(&self, keys: &Credentials) -> bool;

    /// Requests the session.
    ///
    /// # Errors
    /// The error of STS, or the reason why these keys cannot be exchanged.
    fn session(
        &self,
        context: &Context,
        settings: &Settings,
        keys: &Credentials,
    ) -> impl Future<Output = Result<Credentials, SourceError>> + Send;
}

/// Exchanges the credentials of another source for a session. It has the name, the region and the settings of that source.
#[derive(Debug)]
pub(crate) struct ExchangedSource<E> {
    source: Box<dyn Source>,
    exchange: E,
}

impl<E: SessionExchange> ExchangedSource<E> {
    pub(crate) fn new(source: Box<dyn Source>, exchange: E) -> Self {
        Self { source, exchange }
    }

    async fn exchanged(&self, context: &Context, lookup: Lookup) -> Lookup {
        let Lookup::Found(keys) = &lookup else { return lookup };
        if !self.exchange.is_needed(keys) {
            return lookup;
        }
        let settings = self.source.settings(context).await;
        let located = |error| settings.locate(error, keys.location.as_ref());
        let session = self.exchange.session(context, &settings, keys).await.map_err(located);
        Lookup::from_result(session.map(|session| Credentials {
            account_id: session.account_id.or_else(|| keys.account_id.clone()),
            // A session must not outlive its keys, if they expire.
            expiration: keys.expiration.into_iter().chain(session.expiration).min(),
            location: keys.location.clone(),
            ..session
        }))
    }
}

impl<E: SessionExchange> Source for ExchangedSource<E> {
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
            let is_exchanged = matches!(&keys, Lookup::Found(keys) if self.exchange.is_needed(keys));
            if is_exchanged && steps.is_empty() {
                steps.push(TraceStep::new(self.name(), &keys));
            }
            let lookup = self.exchanged(context, keys).await;
            if is_exchanged {
                steps.push(TraceStep::new(E::STEP, &lookup));
            }
            (steps, lookup)
        })
    }
}
