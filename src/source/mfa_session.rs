//! The session with MFA that stands in for a code: GetSessionToken with the code, once for all roles over the keys.
//!
//! A daemon obtains it with the code that `credenza mfa` hands over. The commands `exec`, `get` and `check` use the
//! session of a running daemon.

use std::sync::Arc;
use std::time::Duration;

use crate::aws::settings::Settings;
use crate::aws::sts;
use crate::cache::key::CacheKeyBuilder;
use crate::context::Context;
use crate::context::mfa::PROMPT_TIMEOUT;
use crate::model::credentials::{Credentials, LoginEnd};
use crate::model::error::SourceError;
use crate::model::text::Quoted;

/// The duration of a session: the default of GetSessionToken, a day of work. A person types a code once for it.
const DURATION: Duration = Duration::from_secs(12 * 3600);

/// Returns the session with MFA of these keys. `None` if there is none, and no code for one.
///
/// # Errors
/// The error of STS, for example for a wrong code.
pub(crate) async fn mfa_session(
    context: &Context,
    settings: &Settings,
    keys: &Credentials,
    serial: &str,
) -> Result<Option<Credentials>, SourceError> {
    // A session of one STS serves all regions, but not another service in its place.
    let endpoint = settings.endpoints.sts.as_ref().and_then(|endpoint| endpoint.as_ref().ok()).map(ToString::to_string);
    let key = CacheKeyBuilder::new("MFA session").with_caller(keys).with(serial.as_bytes());
    let key = key.with_optional(endpoint.as_deref()).cache_key();
    if !context.mfa.has_session_code() {
        // A code on the command line is meant to be used.
        let now = context.clock.now();
        let session = match context.mfa.has_given_code() {
            true => context.mfa_sessions.get(key, now),
            false => context.mfa_sessions.find(key, now).await,
        };
        let session = match session {
            None if context.mfa.may_ask() => {
                // A daemon keeps the session of the code for a day, and this process for one command.
                context.deadline.extend(PROMPT_TIMEOUT);
                context.mfa_sessions.obtain(key, now, serial).await?
            }
            session => session,
        };
        return Ok(session.map(|session| with_end(context, session)));
    }
    let code = context.mfa.code(serial, context.identity.as_ref(), &context.deadline).await?;
    let mfa = sts::MfaCode { serial: serial.into(), code };
    let session = sts::get_session_token(context, settings, keys, DURATION, Some(&mfa)).await?;
    let session = with_end(context, session);
    context.mfa_sessions.insert(key, session.clone());
    Ok(Some(session))
}

/// Returns the session with its end as that of a login, and with the command for the next session.
fn with_end(context: &Context, session: Credentials) -> Credentials {
    let name = context.identity.clone().unwrap_or_default();
    let remedy = format!("credenza mfa {}", Quoted(name.as_str()));
    let login_ends = session.expiration.map(|at| Arc::new(LoginEnd { at, remedy: remedy.into(), is_mfa: true }));
    Credentials { login_ends, ..session }
}
