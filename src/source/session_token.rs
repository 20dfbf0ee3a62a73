//! Exchanges the long-lived keys of another source for a session (`long_lived_keys = "session"`).

use std::time::Duration;

use crate::aws::settings::Settings;
use crate::aws::sts;
use crate::cache::credentials::CachePolicy;
use crate::cache::key::CacheKeyBuilder;
use crate::context::Context;
use crate::model::credentials::Credentials;
use crate::model::error::SourceError;
use crate::source::exchange::SessionExchange;
use crate::source::mfa_session::mfa_session;
use crate::source::store::check_store;

/// The exchange of long-lived keys through STS GetSessionToken. So only temporary credentials leave the broker, which
/// every SDK can use on AWS. Other credentials are returned unchanged.
#[derive(Debug)]
pub(crate) struct SessionTokenExchange {
    pub(crate) duration: Duration,
}

impl SessionExchange for SessionTokenExchange {
    const STEP: &str = "session of these long-lived keys";

    fn is_needed(&self, keys: &Credentials) -> bool {
        keys.is_long_lived()
    }

    /// Requests the session, with an MFA code if the profile has `mfa_serial`.
    ///
    /// # Errors
    /// As the trait says, and if the profile has `mfa_serial` and there is neither a session with MFA nor a code.
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
            // Clients ask again after the configured duration, whatever the session of the code has.
            let end = context.clock.now() + self.duration;
            let expiration = Some(session.expiration.map_or(end, |own| own.min(end)));
            return Ok(Credentials { expiration, ..session });
        }
        // A daemon has no code before `credenza mfa`, and serves no session without one in the meantime.
        let serial = settings.mfa_serial.as_ref();
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
