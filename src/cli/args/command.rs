//! The parsed commands.

use std::ffi::OsString;
use std::time::Duration;

use clap::ArgMatches;

use crate::cli::args::completions::CompletionShell;
use crate::cli::args::manual::ManualRequest;
use crate::cli::args::options;
use crate::cli::args::values::{ArgumentValues, argument_name};
use crate::cli::audit::AuditRequest;
use crate::cli::command_options::PolicyOptions;
use crate::cli::console::ConsoleRequest;
use crate::cli::control::ControlCommand;
use crate::cli::env::EnvRequest;
use crate::cli::find_identity::IdentityChoice;
use crate::cli::login::LoginRequest;
use crate::cli::login::targets::LoginTarget;
use crate::cli::output::formats::{OutputFormat, ShellDialect};
use crate::cli::profiles::from_sso::FromSsoRequest;
use crate::cli::setup::SetupRequest;
use crate::cli::shell_init::InitShell;
use crate::model::identity_name::IdentityName;
use crate::model::secret::Secret;
use crate::source::spec::RoleSpec;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    Serve,
    Get {
        identity: IdentityChoice,
        format: OutputFormat,
        from_daemon: bool,
        /// Logs in without a question if a login has ended.
        login: bool,
        mfa_code: Option<Secret>,
        role: Option<RoleSpec>,
        policies: PolicyOptions,
    },
    Env(EnvRequest),
    EnvUnset(ShellDialect),
    /// Prints the lines of `env`, or keys if no daemon serves the name.
    ShellSwitch {
        identity: IdentityName,
        dialect: ShellDialect,
    },
    ShellInit(InitShell),
    Exec(ExecRequest),
    Console(ConsoleRequest),
    Audit(AuditRequest),
    Check {
        /// Asks STS with the keys of each identity.
        verify: bool,
    },
    Profiles {
        json: bool,
        strict: bool,
    },
    ProfilesFromSso(FromSsoRequest),
    Setup(SetupRequest),
    Status(StatusRequest),
    /// Prints what fails, or will fail within this time.
    StatusWarnings(Duration),
    Login(LoginRequest),
    /// Ends the logins that the request names.
    Logout(LoginRequest),
    Control(ControlCommand),
    Completions(CompletionShell),
    Manual(ManualRequest),
}

/// The request of `status`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StatusRequest {
    /// The only identity to show.
    pub(crate) name: Option<IdentityName>,
    /// Prints nothing, and tells by the exit code if the daemon is ready.
    pub(crate) ready: bool,
    pub(crate) json: bool,
    pub(crate) watch: bool,
}

/// The request of `exec`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ExecRequest {
    pub(crate) identity: IdentityChoice,
    /// Uses a running daemon instead of a broker of its own.
    pub(crate) from_daemon: bool,
    /// Logs in without a question if a login has ended.
    pub(crate) login: bool,
    pub(crate) mfa_code: Option<Secret>,
    /// Leaves the other profiles of the user readable.
    pub(crate) keep_profiles: bool,
    pub(crate) role: Option<RoleSpec>,
    pub(crate) policies: PolicyOptions,
    /// The time after which the credentials end. `None` means with the program.
    pub(crate) lifetime: Option<Duration>,
    /// The program and its arguments. Empty for a shell.
    pub(crate) command: Vec<OsString>,
}

impl Command {
    /// Refuses flags that the command does not use. Variables are allowed: they may be set for another command.
    pub(crate) fn refuse_unused_flags(&self, values: &ArgumentValues<'_>) -> Result<(), String> {
        let (name, unused) = match self {
            Self::Get { from_daemon: false, .. } => ("get", options::LISTENING),
            Self::Get { from_daemon: true, .. } => ("get --from-daemon", options::UNUSED_BY_CLIENTS),
            Self::ShellSwitch { .. } => ("shell-switch", options::LISTENING),
            Self::Env(_) | Self::EnvUnset(_) => ("env", options::UNUSED_BY_CLIENTS),
            Self::Exec(ExecRequest { from_daemon: true, .. }) => ("exec --from-daemon", options::UNUSED_BY_CLIENTS),
            Self::Exec(_) => ("exec", options::LISTENING),
            Self::Console(_) => ("console", options::LISTENING),
            Self::Status(_) | Self::StatusWarnings(_) => ("status", options::SOURCES),
            Self::Login(_) => ("login", options::UNUSED_BY_LOGIN),
            Self::Logout(_) => ("logout", options::UNUSED_BY_LOGOUT),
            Self::Audit(_) => ("audit", options::UNUSED_BY_CONTROL),
            Self::Profiles { .. } => ("profiles", options::SERVER),
            Self::ProfilesFromSso(_) => ("profiles --from-sso", options::UNUSED_BY_FROM_SSO),
            Self::Setup(_) => ("setup profile", options::UNUSED_BY_SETUP),
            Self::Control(command) => (command.name(), options::UNUSED_BY_CONTROL),
            Self::Serve | Self::Check { .. } | Self::ShellInit(_) | Self::Completions(_) | Self::Manual(_) => {
                return Ok(());
            }
        };
        match values.flags(unused.iter().copied().flatten().chain(&options::IMDS)).next() {
            Some(flag) => Err(format!("{flag} has no meaning for `credenza {name}`; remove it")),
            None => Ok(()),
        }
    }
}

/// Returns the target of `login` or `logout`. Flags take precedence over variables.
pub(crate) fn login_target(
    command: &str,
    sso_session: Option<Box<str>>,
    all: bool,
    profile: Option<Box<str>>,
    matches: &ArgMatches,
) -> Result<LoginTarget, String> {
    let source = |id| matches.subcommand_matches(command).and_then(|login| login.value_source(id));
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
