//! The session with MFA that stands in for a code: GetSessionToken with the code, once for all roles over the keys.

use std::sync::Arc;
use std::time::Duration;

use crate::aws::settings::Settings;
use crate::aws::sts;
use crate::cache::key::CacheKeyBuilder;
use crate::context::Context;
use crate::model::credentials::{Credentials, LoginEnd};
use crate::model::error::SourceError;
use crate::model::identity_name::IdentityName;
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
    let key = CacheKeyBuilder::new("MFA session").with_caller(keys).with(serial.as_bytes()).cache_key();
    if !context.mfa.has_session_code() {
        return Ok(context.mfa_sessions.get(&key, context.clock.now()));
    }
    let code = context.mfa.code(serial, context.identity.as_ref(), &context.deadline).await?;
    let mfa = sts::MfaCode { serial: serial.into(), code };
    let session = sts::get_session_token(context, settings, keys, DURATION, Some(&mfa)).await?;
    let name = context.identity.clone().unwrap_or_default();
    let login_ends = session.expiration.map(|at| Arc::new(LoginEnd { at, remedy: remedy(&name).into() }));
    let session = Credentials { login_ends, ..session };
    context.mfa_sessions.insert(key, session.clone());
    Ok(Some(session))
}

/// Returns the command for the next session.
fn remedy(identity: &IdentityName) -> String {
    format!("credenza mfa {}", Quoted(identity.as_str()))
}
