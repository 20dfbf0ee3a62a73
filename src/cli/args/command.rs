//! The parsed commands.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::ArgMatches;
use clap_complete::Shell;

use crate::cli::args::options;
use crate::cli::args::options::PolicyOptions;
use crate::cli::args::values::{ArgumentValues, argument_name};
use crate::cli::control::ControlCommand;
use crate::cli::login::LoginRequest;
use crate::cli::login::targets::LoginTarget;
use crate::cli::output::formats::{OutputFormat, ShellDialect};
use crate::model::identity_name::IdentityName;
use crate::model::secret::Secret;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    Serve,
    Get {
        identity: IdentityName,
        format: OutputFormat,
        from_daemon: bool,
        mfa_code: Option<Secret>,
        policies: PolicyOptions,
    },
    Env {
        identity: IdentityName,
        format: ShellDialect,
    },
    Exec {
        identity: IdentityName,
        mfa_code: Option<Secret>,
        /// Leaves the other profiles of the user readable.
        keep_profiles: bool,
        policies: PolicyOptions,
        /// The time after which the credentials end. `None` means with the program.
        lifetime: Option<Duration>,
        /// The program and its arguments; never empty.
        command: Vec<OsString>,
    },
    Check,
    Profiles {
        json: bool,
    },
    Status {
        ready: bool,
        json: bool,
        watch: bool,
    },
    Login(LoginRequest),
    Control(ControlCommand),
    Completions(Shell),
    Manual(PathBuf),
}

impl Command {
    /// Refuses flags that the command does not use. Variables are allowed: they may be set for another command.
    pub(crate) fn refuse_unused_flags(&self, values: &ArgumentValues<'_>) -> Result<(), String> {
        let (name, unused) = match self {
            Self::Get { from_daemon: false, .. } => ("get", options::LISTENING),
            Self::Get { from_daemon: true, .. } => ("get --from-daemon", options::UNUSED_BY_CLIENTS),
            Self::Env { .. } => ("env", options::UNUSED_BY_CLIENTS),
            Self::Exec { .. } => ("exec", options::LISTENING),
            Self::Status { .. } => ("status", options::SOURCES),
            Self::Login(_) => ("login", options::UNUSED_BY_LOGIN),
            Self::Profiles { .. } => ("profiles", options::SERVER),
            Self::Control(command) => (command.name(), options::UNUSED_BY_CONTROL),
            Self::Serve | Self::Check | Self::Completions(_) | Self::Manual(_) => return Ok(()),
        };
        match values.flags(unused.iter().copied().flatten().chain(&options::IMDS)).next() {
            Some(flag) => Err(format!("{flag} has no meaning for `credenza {name}`; remove it")),
            None => Ok(()),
        }
    }
}

/// Returns the target of `login`. Flags take precedence over variables.
pub(crate) fn login_target(
    sso_session: Option<Box<str>>,
    all: bool,
    profile: Option<Box<str>>,
    matches: &ArgMatches,
) -> Result<LoginTarget, String> {
    let source = |id| matches.subcommand_matches("login").and_then(|login| login.value_source(id));
    let mut targets: Vec<_> = [
        ("sso_session", sso_session.map(LoginTarget::Session)),
        ("all", all.then_some(LoginTarget::All)),
        ("profile", profile.map(LoginTarget::Profile)),
    ]
    .into_iter()
    .filter_map(|(id, target)| Some((source(id)?, argument_name(id, source(id)?), target?)))
    .collect();
    targets.sort_by_key(|(source, ..)| std::cmp::Reverse(*source));
    if let [(first, one, _), (second, other, _), ..] = &targets[..]
        && first == second
    {
        return Err(format!("{one} and {other} name different logins; remove one of them"));
    }
    Ok(targets.into_iter().next().map_or(LoginTarget::Default, |(.., target)| target))
}
