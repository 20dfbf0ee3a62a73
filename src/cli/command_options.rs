//! The flags of commands that load credentials: the identity, a role, session policies and times.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::config::value;
use crate::model::identity_name::IdentityName;
use crate::model::session_limits::{FEDERATION_DURATION, ROLE_DURATION};
use crate::source::spec::RoleSpec;

/// Parses a time of a flag. Quotes are for credenza.toml.
pub(crate) fn flag_duration(allowed: &RangeInclusive<Duration>, text: &str) -> Result<Duration, String> {
    value::duration(allowed)(text).map_err(|reason| reason.replace(", in quotes", ""))
}

/// The times that `--fail-within` accepts: up to the longest session.
const FAIL_WITHIN_ALLOWED: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(36 * 3600);

/// Parses the time of `--fail-within`.
pub(crate) fn fail_within(text: &str) -> Result<Duration, String> {
    flag_duration(&FAIL_WITHIN_ALLOWED, text)
}

/// The times that `--for` accepts: any that STS could give, and seconds for tests of a program.
const FOR_ALLOWED: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(36 * 3600);

/// Parses the time of `--for`.
pub(crate) fn lifetime(text: &str) -> Result<Duration, String> {
    flag_duration(&FOR_ALLOWED, text)
}

/// The times that `console --duration` accepts: those of a federated user. The session of a role lasts 12 hours at most.
const CONSOLE_ALLOWED: RangeInclusive<Duration> = FEDERATION_DURATION;

/// Parses the time of `console --duration`.
pub(crate) fn console_duration(text: &str) -> Result<Duration, String> {
    flag_duration(&CONSOLE_ALLOWED, text)
}

/// The identity of one command.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct NameOptions {
    /// The identity, or else the profile
    #[arg(value_name = "NAME", num_args = 0.., value_parser = value::identity)]
    pub(crate) names: Vec<IdentityName>,

    /// The identity [default: NAME, else default]
    #[arg(long, env = "CREDENZA_IDENTITY", value_name = "NAME", value_parser = value::identity)]
    pub(crate) identity: Option<IdentityName>,
}

fn role_duration(text: &str) -> Result<Duration, String> {
    flag_duration(&ROLE_DURATION, text)
}

/// The flags that narrow the session of one command.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PolicyOptions {
    /// Limit the session also by this session policy (JSON)
    #[arg(long, env = "CREDENZA_POLICY", value_name = "FILE", value_parser = value::path)]
    pub(crate) policy: Option<PathBuf>,

    /// Limit the session also by this managed policy; repeat for more
    #[arg(long, env = "CREDENZA_POLICY_ARN", value_name = "ARN", value_parser = value::policy_arn, value_delimiter = ',')]
    pub(crate) policy_arn: Vec<Box<str>>,
}

impl PolicyOptions {
    pub(crate) fn is_empty(&self) -> bool {
        self.policy.is_none() && self.policy_arn.is_empty()
    }
}

/// The flags of a role that one command assumes with the credentials of its identity.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RoleOptions {
    /// Assume this role with the credentials
    #[arg(long, env = "CREDENZA_ROLE_ARN", value_name = "ARN", value_parser = value::role_arn)]
    pub(crate) role_arn: Option<Box<str>>,

    /// The name of that role's session, which CloudTrail shows
    #[arg(long, env = "CREDENZA_SESSION_NAME", value_name = "NAME", value_parser = value::session_name)]
    pub(crate) session_name: Option<Box<str>>,

    /// The duration of that role's session, from 15m to 12h [default: 1h]
    #[arg(long, env = "CREDENZA_DURATION", value_name = "TIME", value_parser = role_duration)]
    pub(crate) duration: Option<Duration>,
}

impl RoleOptions {
    /// Returns the role, if there is one.
    pub(crate) fn role(self) -> Option<RoleSpec> {
        let Self { role_arn, session_name, duration } = self;
        Some(RoleSpec { arn: role_arn?, session_name, duration, ..RoleSpec::default() })
    }
}
