//! Narrows the sessions of an identity: by a session policy, by a duration, by the names of a client.
//!
//! A role and a web identity are narrowed in their own request to STS, and the long-lived keys of an IAM user by
//! GetFederationToken. All other credentials are refused: a narrowed identity never gives more than was asked for.

use std::sync::Arc;

use crate::aws::settings::Settings;
use crate::aws::sts;
use crate::aws::sts::limits::is_key_of_iam_user;
use crate::cache::credentials::CachePolicy;
use crate::cache::key::CacheKeyBuilder;
use crate::context::Context;
use crate::model::credentials::Credentials;
use crate::model::error::SourceError;
use crate::model::narrowing::Narrowing;
use crate::model::outcome::Lookup;
use crate::model::policy::SessionPolicy;
use crate::model::session_limits::FEDERATION_DURATION;
use crate::model::session_name::{SessionNames, SessionTextKind, fill};
use crate::source::environment::EnvironmentCredentials;
use crate::source::exchange::SessionExchange;
use crate::source::role_narrowing::{DEFAULT_DURATION, RoleNarrowing};
use crate::source::spec::{RoleSpec, SourceKind, SourceSpec};
use crate::source::store::other_store;
use crate::source::web_identity::WebIdentityCredentials;
use crate::source::{BoxFuture, Source};

/// The hint for credentials that cannot be narrowed.
const ASSUME_ANOTHER_ROLE: &str = "add assume = { role_arn = \"…\" } to the identity in credenza.toml: that role is \
                                   assumed with these credentials, and narrowed";

/// Returns the source with its placeholders filled.
///
/// # Errors
/// If a placeholder has no value.
pub(crate) fn filled(spec: &SourceSpec, names: &SessionNames) -> Result<SourceSpec, SourceError> {
    let kind = match &spec.kind {
        SourceKind::AssumeRole { role, base } => {
            SourceKind::AssumeRole { role: filled_role(role, names)?, base: Box::new(filled(base, names)?) }
        }
        SourceKind::WebIdentity { role, token_file } => {
            SourceKind::WebIdentity { role: filled_role(role, names)?, token_file: token_file.clone() }
        }
        kind => kind.clone(),
    };
    Ok(SourceSpec { kind, region: spec.region.clone() })
}

/// Returns the role with its placeholders filled.
///
/// # Errors
/// If a placeholder has no value.
pub(crate) fn filled_role(role: &RoleSpec, names: &SessionNames) -> Result<RoleSpec, SourceError> {
    let fill = |what: &str, text: &str, kind| {
        fill(text, names, kind).map_err(|why| SourceError::misconfigured(format!("{what}: {why}")))
    };
    let optional =
        |what, text: &Option<Box<str>>| text.as_deref().map(|text| fill(what, text, SessionTextKind::Name)).transpose();
    let tags = role.tags.iter().map(|(key, value)| Ok((key.clone(), fill("tags", value, SessionTextKind::TagValue)?)));
    Ok(RoleSpec {
        session_name: optional("session_name", &role.session_name)?,
        source_identity: optional("source_identity", &role.source_identity)?,
        tags: tags.collect::<Result<_, SourceError>>()?,
        ..role.clone()
    })
}

/// The exchange for a session with the policies of a narrowing. The source below has narrowed its own requests for roles.
#[derive(Debug)]
pub(crate) struct NarrowingExchange(pub(crate) Arc<RoleNarrowing>);

impl SessionExchange for NarrowingExchange {
    const STEP: &str = "session with the session policy";

    /// Returns true unless STS has narrowed the session already.
    fn is_needed(&self, keys: &Credentials) -> bool {
        !self.0.is_applied(keys)
    }

    /// Exchanges the long-lived keys of an IAM user for the session of a federated user.
    async fn session(
        &self,
        context: &Context,
        settings: &Settings,
        keys: &Credentials,
    ) -> Result<Credentials, SourceError> {
        let Self(narrowing) = self;
        check_keys(keys)?;
        let Narrowing { policy, policy_arns, duration, .. } = &narrowing.narrowing;
        let duration = duration.unwrap_or(DEFAULT_DURATION);
        let user = sts::FederationTokenRequest {
            name: narrowing.name(SessionTextKind::FederatedName)?,
            duration: Some(duration.clamp(*FEDERATION_DURATION.start(), *FEDERATION_DURATION.end())),
            policy: policy.clone(),
            policy_arns: policy_arns.clone(),
            tags: Vec::new(),
        };
        let mut key = CacheKeyBuilder::new("federation token")
            .with_caller(keys)
            .with(user.name.as_bytes())
            .with(duration.as_secs().to_be_bytes())
            .with_optional(policy.as_ref().map(SessionPolicy::as_str))
            .with_value(&settings.cache_parts());
        for arn in policy_arns {
            key = key.with(arn.as_bytes());
        }
        let request = || async {
            let caller = sts::get_caller_identity(context, settings, keys).await?;
            if caller.is_root() {
                let message = "these are keys of the root user of their account, which are not narrowed";
                return Err(SourceError::misconfigured(message).with_hint("use the keys of an IAM user, or a role"));
            }
            sts::get_federation_token(context, settings, keys, &user).await
        };
        context.credential_cache.obtain(&context.clock, key.cache_key(), CachePolicy::ISSUED, request).await
    }
}

/// Refuses all but the long-lived keys of an IAM user.
fn check_keys(keys: &Credentials) -> Result<(), SourceError> {
    let why = if let Some(endpoint) = other_store(keys) {
        format!("the keys belong to {endpoint}, which is not AWS")
    } else if is_key_of_iam_user(keys) {
        return Ok(());
    } else if keys.is_long_lived() {
        "the keys are not those of an IAM user (AKIA…)".into()
    } else {
        "the credentials are already a session, of IAM Identity Center, a container, an instance or a program, and \
         a session cannot narrow itself"
            .into()
    };
    Err(SourceError::misconfigured(format!("no session policy can be applied: {why}")).with_hint(ASSUME_ANOTHER_ROLE))
}

/// The `AWS_…` variables, with the role of their web identity narrowed.
#[derive(Debug)]
pub(crate) struct NarrowedEnvironment(pub(crate) Arc<RoleNarrowing>);

impl Source for NarrowedEnvironment {
    fn name(&self) -> &str {
        "environment"
    }

    fn load<'a>(&'a self, context: &'a Context) -> BoxFuture<'a, Lookup> {
        Box::pin(async move {
            match EnvironmentCredentials::keys_only().load(context).await {
                Lookup::NotConfigured(_) => {}
                lookup => return lookup,
            }
            match WebIdentityCredentials::of_environment(&context.environment) {
                Ok(Some(role)) => match role.narrowed(&self.0) {
                    Ok(role) => Lookup::from_result(role.assume(context).await),
                    Err(error) => error.into(),
                },
                Ok(None) => EnvironmentCredentials::new().load(context).await,
                Err(error) => error.into(),
            }
        })
    }

    fn region<'a>(&'a self, context: &'a Context) -> BoxFuture<'a, Option<Box<str>>> {
        Box::pin(async move { EnvironmentCredentials::new().region(context).await })
    }
}

/// A source that was not built, because its identity cannot be narrowed as configured.
#[derive(Debug)]
pub(crate) struct RefusedSource {
    pub(crate) name: Box<str>,
    pub(crate) error: SourceError,
}

impl Source for RefusedSource {
    fn name(&self) -> &str {
        &self.name
    }

    fn load<'a>(&'a self, _: &'a Context) -> BoxFuture<'a, Lookup> {
        Box::pin(std::future::ready(Lookup::Failed(self.error.clone())))
    }
}

#[cfg(test)]
mod tests;
