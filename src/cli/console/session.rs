//! The session with which a person enters the AWS console.
//!
//! AWS accepts the sessions of roles and of federated users. The long-lived keys of an IAM user are exchanged for those
//! of a federated user.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use crate::aws::federation::CONSOLE_DURATION;
use crate::aws::settings::Settings;
use crate::aws::sts::limits::is_key_of_iam_user;
use crate::config::identity::Identity;
use crate::context::Context;
use crate::model::credentials::Credentials;
use crate::model::error::SourceError;
use crate::model::narrowing::Narrowing;
use crate::model::policy::SessionPolicy;
use crate::model::session_limits::MAX_CHAINED_DURATION;
use crate::model::session_name::SessionNames;
use crate::model::text::Escaped;
use crate::model::time::timestamp;
use crate::source::exchange::SessionExchange;
use crate::source::narrow::NarrowingExchange;
use crate::source::role_narrowing::RoleNarrowing;
use crate::source::store::other_store;

/// A session policy that allows everything. A federated user may do what the IAM user and the policy both allow, and
/// nothing without a policy, so that this one leaves the rights of the IAM user as they are.
static ALL_RIGHTS: LazyLock<Option<SessionPolicy>> = LazyLock::new(|| {
    let text = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}"#;
    SessionPolicy::parse(text).ok()
});

/// A session for the console.
#[derive(Debug)]
pub(crate) struct ConsoleSession {
    pub(crate) credentials: Credentials,
    /// The duration of the console session for the federation endpoint. `None` where it accepts none.
    pub(crate) asked_duration: Option<Duration>,
}

/// Returns a session that the console accepts.
///
/// # Errors
/// If there is none for these credentials, with the way out.
pub(crate) async fn console_session(
    context: &Context,
    settings: &Settings,
    identity: &Identity,
    keys: &Credentials,
    duration: Option<Duration>,
) -> Result<ConsoleSession, SourceError> {
    if let Some(endpoint) = other_store(keys) {
        let message = format!("the keys belong to {}, which is not AWS", Escaped(endpoint));
        return Err(SourceError::misconfigured(message).with_hint("use the console of that store"));
    }
    if let Some(end) = keys.expiration.filter(|end| *end <= context.clock.now()) {
        let message = format!("the credentials have expired ({})", timestamp(end));
        return Err(SourceError::unavailable(message).with_hint("renew them in their source"));
    }
    if keys.is_long_lived() {
        let credentials = federated(context, settings, identity, keys, duration).await?;
        return Ok(ConsoleSession { credentials, asked_duration: None });
    }
    let asked_duration = asked_duration(keys, duration)?;
    Ok(ConsoleSession { credentials: keys.clone(), asked_duration })
}

/// Exchanges the long-lived keys of an IAM user for the session of a federated user (GetFederationToken).
async fn federated(
    context: &Context,
    settings: &Settings,
    identity: &Identity,
    keys: &Credentials,
    duration: Option<Duration>,
) -> Result<Credentials, SourceError> {
    if !is_key_of_iam_user(keys) {
        let message = "the keys have no session token, and are not those of an IAM user (AKIA…)";
        return Err(
            SourceError::misconfigured(message).with_hint("add the session token, or use the keys of an IAM user")
        );
    }
    let narrowing = Narrowing { policy: ALL_RIGHTS.clone(), duration, ..Narrowing::default() };
    let names = SessionNames { identity: identity.name.as_str().into(), ..SessionNames::default() };
    let exchange = NarrowingExchange(Arc::new(RoleNarrowing::new(narrowing, names)));
    exchange.session(context, settings, keys).await
}

/// Returns the duration that the federation endpoint accepts for this session.
fn asked_duration(session: &Credentials, duration: Option<Duration>) -> Result<Option<Duration>, SourceError> {
    let too_long = |what: &str, limit: &str| {
        let message = format!("--duration: the console session of {what} lasts {limit} at most");
        Err(SourceError::misconfigured(message).with_hint("name a shorter one, or leave --duration out"))
    };
    let Some(details) = session.session.as_deref() else {
        // The session of IAM Identity Center, of a program or of variables. AWS knows its kind.
        return match duration {
            Some(duration) if duration > *CONSOLE_DURATION.end() => too_long("a role", "12h"),
            duration => Ok(duration),
        };
    };
    match (details.is_of_role, duration) {
        // The name tells a federated user, whose own session has the duration.
        (false, _) if details.session_name.is_some() => Ok(None),
        (false, _) => {
            let message = "the console accepts no session of GetSessionToken";
            Err(SourceError::misconfigured(message).with_hint(
                "name a role with --role-arn, or serve the keys themselves (long_lived_keys = \"direct\"), which are then \
                 exchanged by GetFederationToken",
            ))
        }
        (true, Some(duration)) if details.is_chained => match duration > MAX_CHAINED_DURATION {
            true => too_long("a role that is assumed with the session of another role", "1h"),
            // AWS accepts no duration for it. The console session ends with the credentials.
            false => Ok(None),
        },
        (true, Some(duration)) if duration > *CONSOLE_DURATION.end() => too_long("a role", "12h"),
        (true, duration) => Ok(duration),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::credentials::SessionDetails;

    fn session(details: Option<SessionDetails>) -> Credentials {
        let keys = Credentials::new("ASIA1", "hush").unwrap().with_session_token(Some("t")).unwrap();
        Credentials { session: details.map(Arc::new), ..keys }
    }

    #[test]
    fn duration_depends_on_the_kind_of_session() {
        let role = SessionDetails { is_of_role: true, ..SessionDetails::default() };
        let chained = SessionDetails { is_chained: true, ..role.clone() };
        let federated = SessionDetails { session_name: Some("me".into()), ..SessionDetails::default() };
        let plain = SessionDetails::default();
        for (details, minutes, expected) in [
            (None, None, Ok(None)),
            (None, Some(720), Ok(Some(720))),
            (None, Some(721), Err("12h at most")),
            (Some(&role), None, Ok(None)),
            (Some(&role), Some(720), Ok(Some(720))),
            (Some(&role), Some(721), Err("12h at most")),
            (Some(&chained), None, Ok(None)),
            (Some(&chained), Some(60), Ok(None)),
            (Some(&chained), Some(61), Err("1h at most; name a shorter one")),
            (Some(&federated), None, Ok(None)),
            (Some(&federated), Some(2160), Ok(None)),
            (Some(&plain), None, Err("no session of GetSessionToken; name a role with --role-arn")),
            (Some(&plain), Some(60), Err("GetSessionToken")),
        ] {
            let duration = |minutes: u64| Duration::from_secs(60 * minutes);
            let asked = asked_duration(&session(details.cloned()), minutes.map(duration));
            match (asked, expected) {
                (Ok(asked), Ok(expected)) => assert_eq!(asked, expected.map(duration), "{details:?} {minutes:?}"),
                (Err(error), Err(expected)) => assert!(error.to_string().contains(expected), "{error}"),
                (asked, _) => panic!("{details:?} {minutes:?}: {asked:?}"),
            }
        }
    }

    #[test]
    fn policy_leaves_all_rights() {
        assert!(ALL_RIGHTS.is_some());
    }
}
