//! Parses the command line and the `CREDENZA_…` variables: the command, and the overrides of `credenza.toml`.

pub(crate) mod command;
pub(crate) mod completions;
pub(crate) mod control;
pub(crate) mod options;
pub(crate) mod sources;
pub(crate) mod subcommands;
#[cfg(test)]
mod tests;
pub(crate) mod values;

use std::ffi::OsString;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use clap::builder::Resettable;
use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{ArgMatches, CommandFactory, FromArgMatches};
use tracing_subscriber::filter::Targets;

use crate::cli::args::command::{Command, login_target};
use crate::cli::args::options::Arguments;
use crate::cli::args::sources::{sources, token};
use crate::cli::args::subcommands::Subcommand;
use crate::cli::args::values::ArgumentValues;
use crate::cli::control::ControlCommand;
use crate::cli::logging::LogFormat;
use crate::cli::login::LoginRequest;
use crate::config::Overrides;
use crate::model::identity_name::IdentityName;

/// A valid command line.
#[derive(Clone, Debug)]
pub(crate) struct Invocation {
    pub(crate) command: Command,
    /// The file that `--config` or `CREDENZA_CONFIG` names.
    pub(crate) config: Option<PathBuf>,
    pub(crate) log_format: LogFormat,
    /// The log level. `None` if neither `--log-level` nor its variable is set.
    pub(crate) log_level: Option<Targets>,
    pub(crate) overrides: Overrides,
    pub(crate) warnings: Vec<String>,
}

/// Parses a command line, which begins with the program's name, and the variables of this process.
///
/// Reads `stdin` if a `…-file` flag is `-`.
///
/// # Errors
/// The errors of clap, which include help and version. [`clap::Error::exit`] prints them and exits with 2; after help
/// or version with 0.
pub(crate) fn parse<I>(arguments: I, stdin: &mut dyn Read) -> Result<Invocation, clap::Error>
where
    I: IntoIterator,
    I::Item: Into<OsString> + Clone,
{
    let matches = command().try_get_matches_from(arguments)?;
    let arguments = Arguments::from_arg_matches(&matches)?;
    invocation(arguments, &matches, stdin).map_err(|usage| command().error(ErrorKind::ArgumentConflict, usage))
}

/// Writes the manual pages, one for each command, into a folder.
///
/// # Errors
/// If the folder or a file in it cannot be created.
pub(crate) fn write_manual(folder: &Path) -> io::Result<()> {
    std::fs::create_dir_all(folder)?;
    // A fixed width makes the pages independent of the terminal.
    let command = command().disable_help_subcommand(true).term_width(100);
    clap_mangen::generate_to(command, folder)
}

/// Returns clap's definition of the command line. The help shows no values of variables. A blank variable counts as
/// unset.
fn command() -> clap::Command {
    fn adapt(arg: clap::Arg) -> clap::Arg {
        let value = arg.get_env().and_then(std::env::var_os);
        let is_blank = value.is_some_and(|value| value.to_str().is_some_and(|value| value.trim().is_empty()));
        let arg = if is_blank { arg.env(Resettable::Reset) } else { arg };
        arg.hide_env_values(true)
    }
    fn adapt_all(command: clap::Command) -> clap::Command {
        command.mut_args(adapt).mut_subcommands(adapt_all)
    }
    Arguments::command().mut_args(|arg| adapt(arg).global(true)).mut_subcommands(adapt_all)
}

fn invocation(arguments: Arguments, matches: &ArgMatches, stdin: &mut dyn Read) -> Result<Invocation, String> {
    let mut values = ArgumentValues::new(matches, stdin);
    let command = match arguments.command {
        None | Some(Subcommand::Serve) => Command::Serve,
        Some(Subcommand::Get { identity, format, from_daemon, mfa_code, policies }) => {
            let code = matches.subcommand_matches("get").and_then(|get| get.value_source("mfa_code"));
            if from_daemon && code == Some(ValueSource::CommandLine) {
                return Err("--mfa-code has no meaning with --from-daemon; remove one of them".into());
            }
            if from_daemon && !policies.is_empty() {
                let message = "--policy and --policy-arn (or their variables) have no meaning with --from-daemon: the \
                               daemon narrows by its configuration; remove them";
                return Err(message.into());
            }
            Command::Get { identity, format, from_daemon, mfa_code, policies }
        }
        Some(Subcommand::Env { identity, format }) => Command::Env { identity, format },
        Some(Subcommand::Exec { identity, mfa_code, keep_profiles, policies, lifetime, command }) => {
            Command::Exec { identity, mfa_code, keep_profiles, policies, lifetime, command }
        }
        Some(Subcommand::Check) => Command::Check,
        Some(Subcommand::Profiles { json }) => Command::Profiles { json },
        Some(Subcommand::Status { ready, json, watch }) => Command::Status { ready, json, watch },
        Some(Subcommand::Login { sso_session, all, no_browser }) => Command::Login(LoginRequest {
            target: login_target(sso_session, all, arguments.sources.profile.clone(), matches)?,
            open_browser: !no_browser,
            credentials_file: arguments.sources.credentials_file.clone(),
            config_file: arguments.sources.config_file.clone(),
        }),
        Some(Subcommand::Grant(grant)) => Command::Control(grant.command(matches)?),
        Some(Subcommand::Grants(output)) => Command::Control(output.grants()),
        Some(Subcommand::Revoke(revoke)) => Command::Control(revoke.command()),
        Some(Subcommand::Use(choice)) => Command::Control(choice.command()),
        Some(Subcommand::Whoami(whoami)) => Command::Control(whoami.command()),
        Some(Subcommand::Reload(output)) => Command::Control(output.reload()),
        Some(Subcommand::Token(token)) => Command::Control(token.command()),
        Some(Subcommand::Mfa(mfa)) => Command::Control(mfa.command(&mut values)?),
        Some(Subcommand::CompleteNames { kind }) => Command::Control(ControlCommand::CompleteNames(kind)),
        Some(Subcommand::Completions { shell }) => Command::Completions(shell),
        Some(Subcommand::Manual { folder }) => Command::Manual(folder),
    };
    command.refuse_unused_flags(&values)?;
    let sources = sources(&mut values, &arguments.sources)?;
    let region = arguments.sources.region;
    if let Command::Get { identity, from_daemon: false, .. } | Command::Exec { identity, .. } = &command
        && identity.as_str() != IdentityName::DEFAULT
        && (sources.is_some() || region.is_some())
    {
        let flags = values.names(&options::SOURCES.concat()).join(", ");
        return Err(format!(
            "{flags} would configure the identity default, and --identity names {identity}; remove one of them"
        ));
    }
    let overrides = Overrides {
        listen: Some(arguments.server.listen).filter(|listen| !listen.is_empty()),
        allow_remote: values.rank("allow_remote").map(|_| arguments.server.allow_remote),
        imds_listen: Some(arguments.imds.imds_listen).filter(|listen| !listen.is_empty()),
        imds_identity: arguments.imds.imds_identity,
        imds_allow_v1: values.rank("imds_allow_v1").map(|_| arguments.imds.imds_allow_v1),
        token: token(&mut values, arguments.server.token_file)?,
        token_group: arguments.server.token_group,
        control_socket: arguments.server.control_socket,
        sources,
        region,
        serve_profiles: Some(arguments.sources.serve_profiles).filter(|patterns| !patterns.is_empty()),
        credentials_file: arguments.sources.credentials_file,
        config_file: arguments.sources.config_file,
    };
    Ok(Invocation {
        command,
        config: arguments.config,
        log_format: arguments.log_format,
        log_level: arguments.log_level,
        overrides,
        warnings: values.warnings,
    })
}
