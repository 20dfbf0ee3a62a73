//! Assumes a role with the credentials of another source.

use std::time::Duration;

use crate::aws::arn::DisplayArn;
use crate::aws::settings::Settings;
use crate::aws::sts;
use crate::cache::credentials::CachePolicy;
use crate::context::Context;
use crate::model::credentials::Credentials;
use crate::model::error::{ErrorKind, SourceError};
use crate::model::location::Location;
use crate::model::outcome::{Lookup, TraceStep};
use crate::model::policy::SessionPolicy;
use crate::model::session_limits::MAX_CHAINED_DURATION;
use crate::model::time::timestamp;
use crate::source::mfa_session::mfa_session;
use crate::source::policy_file::policy_of;
use crate::source::role_session::{cache_key, session_name};
use crate::source::spec::RoleSpec;
use crate::source::store::check_store;
use crate::source::{BoxFuture, Source};

/// The maximum number of times that a load starts again from the base after a refusal. Each role of a chain may have
/// used cached credentials that AWS no longer accepts.
const MAX_REFUSALS: usize = 3;

/// Requests the credentials of a role from STS. Equal requests by one caller share one session in this process.
///
/// An error of the base is returned as it is. If the base is *not configured*, the role is misconfigured, because the
/// configuration names the base.
#[derive(Debug)]
pub struct AssumeRole {
    name: Box<str>,
    location: Option<Location>,
    role: RoleSpec,
    base: RoleBase,
    settings: Option<Settings>,
    region: Option<Box<str>>,
    is_chained: bool,
    is_base_optional: bool,
}

/// The base credentials of a role.
#[derive(Debug)]
enum RoleBase {
    Role(Box<AssumeRole>),
    Other(Box<dyn Source>),
}

impl RoleBase {
    fn source(&self) -> &dyn Source {
        match self {
            Self::Role(role) => &**role,
            Self::Other(source) => &**source,
        }
    }
}

impl AssumeRole {
    /// Makes a role with the base `base`. The settings of `base` are used for STS.
    #[must_use]
    pub fn new(role: RoleSpec, base: Box<dyn Source>) -> Self {
        Self::with_base(role, RoleBase::Other(base))
    }

    /// Makes a role that is assumed with the credentials of another role. The roles of a chain are loaded in a loop, so
    /// a long chain takes no more stack than one role.
    #[must_use]
    pub fn over_role(role: RoleSpec, base: Self) -> Self {
        Self::with_base(role, RoleBase::Role(Box::new(base)))
    }

    fn with_base(role: RoleSpec, base: RoleBase) -> Self {
        let name = format!("role {}", DisplayArn(&role.arn)).into();
        let (settings, region) = (None, None);
        Self { name, location: None, role, base, settings, region, is_chained: false, is_base_optional: false }
    }

    /// Returns this role with a location for its errors. Errors of the base have their own location.
    #[must_use]
    pub fn at(self, location: Location) -> Self {
        Self { location: Some(location), ..self }
    }

    /// Returns this role with these settings for STS.
    pub(crate) fn with_settings(self, settings: Settings) -> Self {
        Self { settings: Some(settings), ..self }
    }

    /// Returns this role with this region for STS. `None` keeps the region of the settings.
    #[must_use]
    pub fn with_region(self, region: Option<Box<str>>) -> Self {
        Self { region, ..self }
    }

    /// Sets if the base credentials belong to a role. STS then limits the duration to one hour.
    #[must_use]
    pub fn chained(self, is_chained: bool) -> Self {
        Self { is_chained, ..self }
    }

    /// Makes this role *not configured* if its base is. The base is then one of several sources of an identity.
    pub(crate) fn with_optional_base(self) -> Self {
        Self { is_base_optional: true, ..self }
    }

    /// Returns the roles from this one down to the base, and the source of the base credentials.
    fn chain(&self) -> (Vec<&Self>, &dyn Source) {
        let mut roles = vec![self];
        let mut base = &self.base;
        loop {
            match base {
                RoleBase::Role(role) => {
                    roles.push(role);
                    base = &role.base;
                }
                RoleBase::Other(source) => return (roles, &**source),
            }
        }
    }

    /// Assumes the role with the credentials of the base.
    async fn assume(&self, context: &Context, base: Lookup) -> Lookup {
        if self.is_base_optional && matches!(base, Lookup::NotConfigured(_)) {
            return base;
        }
        let settings = self.settings(context).await;
        let located = |error| settings.locate(error, self.location.as_ref());
        let session = async { self.request(context, &settings, &self.caller(context, base)?).await.map_err(located) };
        Lookup::from_result(session.await)
    }

    async fn request(
        &self,
        context: &Context,
        settings: &Settings,
        caller: &Credentials,
    ) -> Result<Credentials, SourceError> {
        check_store(caller, settings, &format!("cannot assume {}", DisplayArn(&self.role.arn)))?;
        // A session with MFA proves the user like a code.
        let session = match &self.role.mfa_serial {
            Some(serial) if caller.is_long_lived() => mfa_session(context, settings, caller, serial).await?,
            _ => None,
        };
        let mfa_serial = self.role.mfa_serial.as_ref().filter(|_| session.is_none());
        let caller = session.as_ref().unwrap_or(caller);
        let policy = policy_of(context, &self.role).await?;
        let sent = policy.as_ref().map(SessionPolicy::as_str);
        let key = cache_key("assume role", &self.role, sent, settings, |parts| parts.with_caller(caller));
        let request = || async {
            let mfa = match mfa_serial {
                Some(serial) => {
                    let code = context.mfa.code(serial, context.identity.as_ref(), &context.deadline).await?;
                    Some(sts::MfaCode { serial: serial.clone(), code })
                }
                None => None,
            };
            let request = sts::AssumeRoleRequest {
                role_arn: self.role.arn.clone(),
                session_name: session_name(&self.role, context.clock.now()),
                external_id: self.role.external_id.clone(),
                duration: self.duration(),
                mfa,
                policy: policy.clone(),
                policy_arns: self.role.policy_arns.clone(),
                tags: self.role.tags.clone(),
                source_identity: self.role.source_identity.clone(),
            };
            sts::assume_role(context, settings, caller, &request).await
        };
        let cache_policy = if mfa_serial.is_some() { CachePolicy::ASKED } else { CachePolicy::ISSUED };
        let session = context.credential_cache.obtain(&context.clock, key, cache_policy, request).await?;
        // The credentials depend on the login of their base, and belong to the store of their base.
        let (login_ends, endpoint) = (caller.login_ends.clone(), caller.endpoint.clone());
        Ok(Credentials { login_ends, endpoint, location: self.location.clone(), ..session })
    }

    fn caller(&self, context: &Context, base: Lookup) -> Result<Credentials, SourceError> {
        let (arn, source) = (DisplayArn(&self.role.arn), self.base.source().name());
        match base {
            Lookup::Found(caller) => match caller.expiration.filter(|end| *end <= context.clock.now()) {
                None => Ok(caller),
                Some(end) => {
                    let message =
                        format!("{source}: the base credentials to assume {arn} expired at {}", timestamp(end));
                    Err(SourceError::unavailable(message).with_hint("renew them").at(self.location.clone()))
                }
            },
            Lookup::NotConfigured(reason) => {
                let message = format!("there are no base credentials to assume {arn}: {source}: {reason}");
                let hint = "provide these credentials, or name another source to assume the role";
                Err(SourceError::misconfigured(message).with_hint(hint).at(self.location.clone()))
            }
            Lookup::Failed(error) => Err(error),
        }
    }

    fn duration(&self) -> Option<Duration> {
        let requested = self.role.duration?;
        if self.is_chained && requested > MAX_CHAINED_DURATION {
            tracing::info!(
                role_arn = %DisplayArn(&self.role.arn), asked_s = requested.as_secs(), given_s = MAX_CHAINED_DURATION.as_secs(),
                "a session in a role chain lasts an hour at most"
            );
            return Some(MAX_CHAINED_DURATION);
        }
        Some(requested)
    }
}

/// A request that STS has refused: its position in the chain, its caller, and the error.
struct RefusedCall {
    step: usize,
    caller: Credentials,
    error: SourceError,
}

/// Loads a role chain from the base up. Stops with the error of `before` instead of repeating that request.
///
/// # Errors
/// The refused request, if its caller had cached credentials. The cache has dropped them, so another attempt may succeed.
async fn load_role_chain(
    context: &Context,
    roles: &[&AssumeRole],
    base: &dyn Source,
    before: Option<RefusedCall>,
) -> Result<Lookup, RefusedCall> {
    let mut lookup = base.load(context).await;
    for (step, role) in roles.iter().rev().enumerate() {
        let Lookup::Found(caller) = lookup.clone() else { return Ok(role.assume(context, lookup).await) };
        if let Some(before) = before.as_ref().filter(|before| before.step == step && before.caller == caller) {
            return Ok(before.error.clone().into());
        }
        lookup = role.assume(context, lookup).await;
        if let Lookup::Failed(error) = &lookup
            && error.kind == ErrorKind::Denied
        {
            // AWS may no longer accept cached credentials: the instance has another role, or its sessions were revoked.
            if context.credential_cache.invalidate(&caller) {
                return Err(RefusedCall { step, caller, error: error.clone() });
            }
            return Ok(lookup);
        }
    }
    Ok(lookup)
}

impl Source for AssumeRole {
    fn name(&self) -> &str {
        &self.name
    }

    fn load<'a>(&'a self, context: &'a Context) -> BoxFuture<'a, Lookup> {
        Box::pin(async move {
            let (roles, base) = self.chain();
            let mut refused = None;
            // Limit the number of attempts: the base may give different credentials at every load.
            for _ in 0..roles.len().min(MAX_REFUSALS) {
                match load_role_chain(context, &roles, base, refused).await {
                    Ok(lookup) => return lookup,
                    Err(refusal) => refused = Some(refusal),
                }
            }
            load_role_chain(context, &roles, base, refused).await.unwrap_or_else(|refusal| refusal.error.into())
        })
    }

    fn region<'a>(&'a self, context: &'a Context) -> BoxFuture<'a, Option<Box<str>>> {
        match &self.region {
            Some(region) => Box::pin(std::future::ready(Some(region.clone()))),
            None => self.base.source().region(context),
        }
    }

    fn settings<'a>(&'a self, context: &'a Context) -> BoxFuture<'a, Settings> {
        Box::pin(async move {
            let settings = match &self.settings {
                Some(settings) => settings.clone(),
                None => self.base.source().settings(context).await,
            };
            settings.with_region(self.region.clone())
        })
    }

    fn trace<'a>(&'a self, context: &'a Context) -> BoxFuture<'a, (Vec<TraceStep>, Lookup)> {
        Box::pin(async move {
            let (roles, base) = self.chain();
            let (mut steps, mut lookup) = base.trace(context).await;
            if steps.is_empty() {
                steps.push(TraceStep::new(base.name(), &lookup));
            }
            for role in roles.into_iter().rev() {
                let is_tried = matches!(lookup, Lookup::Found(_));
                lookup = role.assume(context, lookup).await;
                let name = &role.name;
                let step = role.location.as_ref().map_or_else(|| name.to_string(), |at| format!("{at}: {name}"));
                steps.push(if is_tried { TraceStep::new(step, &lookup) } else { TraceStep::not_tried(step) });
            }
            (steps, lookup)
        })
    }
}

#[cfg(test)]
mod tests;
