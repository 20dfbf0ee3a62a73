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
use crate::source::mfa_session::mfa_session;
use crate::source::store::check_store;
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
        let session = self.session(context, &settings, &keys).await;
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

impl SessionTokenSource {
    /// Requests the session, with an MFA code if the profile has `mfa_serial` and there is a user to ask.
    async fn session(
        &self,
        context: &Context,
        settings: &Settings,
        keys: &Credentials,
    ) -> Result<Credentials, SourceError> {
        check_store(keys, settings, "cannot be exchanged for a session")?;
        if let Some(serial) = &settings.mfa_serial
            && let Some(session) = mfa_session(context, settings, keys, serial).await?
        {
            return Ok(session);
        }
        let serial = settings.mfa_serial.as_ref().filter(|_| context.mfa.has_user());
        if serial.is_none() && settings.mfa_serial.is_some() {
            tracing::warn!(
                "mfa_serial of the profile is not used: there is no user to ask for a code, so the session has no MFA"
            );
        }
        let key = CacheKeyBuilder::new("session token")
            .with_caller(keys)
            .with(self.duration.as_secs().to_be_bytes())
            .with_optional(serial.map(|serial| serial.as_bytes()))
            .with_value(&settings.cache_parts())
            .cache_key();
        let request = || async {
            let mfa = match serial {
                Some(serial) => {
                    let code = context.mfa.code(serial, context.identity.as_ref(), &context.deadline).await?;
                    Some(sts::MfaCode { serial: serial.clone(), code })
                }
                None => None,
            };
            sts::get_session_token(context, settings, keys, self.duration, mfa.as_ref()).await
        };
        let policy = if serial.is_some() { CachePolicy::ASKED } else { CachePolicy::ISSUED };
        context.credential_cache.obtain(&context.clock, key, policy, request).await
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
