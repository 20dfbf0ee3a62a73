//! Parses the command line and the `CREDENZA_…` variables: the command, and the overrides of `credenza.toml`.

pub(crate) mod arguments;
pub(crate) mod audit;
pub(crate) mod command;
pub(crate) mod complete;
pub(crate) mod completions;
pub(crate) mod console;
pub(crate) mod control;
pub(crate) mod help;
pub(crate) mod manual;
pub(crate) mod options;
pub(crate) mod setup;
pub(crate) mod sources;
pub(crate) mod subcommands;
#[cfg(test)]
mod tests;
pub(crate) mod values;

use std::ffi::OsString;
use std::io::Read;
use std::path::PathBuf;

use clap::builder::Resettable;
use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{ArgMatches, CommandFactory, FromArgMatches};
use tracing_subscriber::filter::Targets;

use crate::cli::args::arguments::Arguments;
use crate::cli::args::command::{Command, ExecRequest, StatusRequest, login_target};
use crate::cli::args::complete::{CompletionForm, complete, words_of_line};
use crate::cli::args::help::with_help;
use crate::cli::args::manual::ManualRequest;
use crate::cli::args::sources::{sources, token};
use crate::cli::args::subcommands::Subcommand;
use crate::cli::args::values::{ArgumentValues, argument_name};
use crate::cli::command_options::{NameOptions, PolicyOptions, RoleOptions};
use crate::cli::console::ConsoleRequest;
use crate::cli::control::ControlCommand;
use crate::cli::env::EnvRequest;
use crate::cli::find_identity::IdentityChoice;
use crate::cli::logging::LogFormat;
use crate::cli::login::LoginRequest;
use crate::cli::output::formats::ShellDialect;
use crate::cli::terminal::{ColorChoice, Verbosity};
use crate::config::Overrides;
use crate::model::identity_name::IdentityName;
use crate::source::spec::RoleSpec;

/// A valid command line.
#[derive(Clone, Debug)]
pub(crate) struct Invocation {
    pub(crate) command: Command,
    /// The file that `--config` or `CREDENZA_CONFIG` names.
    pub(crate) config: Option<PathBuf>,
    pub(crate) log_format: LogFormat,
    /// The log level. `None` if neither `--log-level` nor its variable is set.
    pub(crate) log_level: Option<Targets>,
    pub(crate) verbosity: Verbosity,
    pub(crate) color: ColorChoice,
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
    if let Some(Subcommand::Help(help)) = &arguments.command {
        return Err(help.answer());
    }
    invocation(arguments, &matches, stdin).map_err(|usage| command().error(ErrorKind::ArgumentConflict, usage))
}

/// Returns clap's definition of the command line. The help shows no values of variables, and the shared options only on
/// request. A blank variable counts as unset.
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
    let command = Arguments::command().mut_args(|arg| adapt(arg).global(true).hide_short_help(true));
    with_help(command.mut_subcommands(adapt_all))
}

/// Returns the amount of output. A flag takes precedence over a variable.
fn verbosity(quiet: bool, verbose: bool, matches: &ArgMatches) -> Verbosity {
    let is_flag = |id| matches.value_source(id) == Some(ValueSource::CommandLine);
    match (quiet, verbose) {
        (true, true) if is_flag("verbose") => Verbosity::Verbose,
        (true, _) => Verbosity::Quiet,
        (false, true) => Verbosity::Verbose,
        (false, false) => Verbosity::Normal,
    }
}

/// Returns the identity that a command names.
pub(crate) fn choice(options: NameOptions, command: &str, matches: &ArgMatches) -> Result<IdentityChoice, String> {
    let flag = matches.subcommand_matches(command).and_then(|command| command.value_source("identity"));
    match (&options.names[..], options.identity) {
        ([], identity) => Ok(IdentityChoice::Identity(identity.unwrap_or_default())),
        ([name], Some(identity)) if flag == Some(ValueSource::CommandLine) => {
            Err(format!("{name} and --identity {identity} both name an identity; remove one of them"))
        }
        ([name], _) => Ok(IdentityChoice::IdentityOrProfile(name.clone())),
        ([name, word, ..], _) if command == "exec" => Err(format!(
            "write the command after --: credenza exec -- {name} {word} …, or credenza exec {name} -- {word} …"
        )),
        ([_, other, ..], _) => Err(format!("{other} is a second name; remove it")),
    }
}

/// Refuses flags that change credentials, which a daemon gives as they are.
fn refuse_for_daemon(matches: &ArgMatches, command: &str, policies: &PolicyOptions) -> Result<(), String> {
    let given = matches.subcommand_matches(command);
    let is_flag = |id: &&str| {
        given.is_some_and(|given| {
            given.try_contains_id(id).is_ok() && given.value_source(id) == Some(ValueSource::CommandLine)
        })
    };
    if let Some(id) = ["mfa_code", "role_arn", "session_name", "duration", "lifetime"].iter().find(|id| is_flag(id)) {
        let flag = argument_name(if *id == "lifetime" { "for" } else { id }, ValueSource::CommandLine);
        return Err(format!("{flag} has no meaning with --from-daemon; remove one of them"));
    }
    if !policies.is_empty() {
        let message = "--policy and --policy-arn (or their variables) have no meaning with --from-daemon: the daemon \
                       narrows by its configuration, or for a grant (credenza grant --policy); remove them";
        return Err(message.into());
    }
    Ok(())
}

/// Returns the role that a command assumes.
fn role_of(options: RoleOptions, matches: &ArgMatches, command: &str) -> Result<Option<RoleSpec>, String> {
    let given = matches.subcommand_matches(command);
    let is_flag = |id: &&str| given.is_some_and(|given| given.value_source(id) == Some(ValueSource::CommandLine));
    if options.role_arn.is_none()
        && let Some(id) = ["session_name", "duration"].iter().find(|id| is_flag(id))
    {
        let flag = argument_name(id, ValueSource::CommandLine);
        return Err(format!("{flag} is about the role of --role-arn; add --role-arn, or remove {flag}"));
    }
    Ok(options.role())
}

/// Completes a line. The options of that line that say where names come from take effect.
fn complete_command(arguments: &mut Arguments, words: &[OsString], form: CompletionForm) -> Command {
    let completion = complete(words, form);
    for (option, path) in &completion.sources {
        let path = Some(PathBuf::from(path));
        match *option {
            "config" => arguments.config = path,
            "token_file" => arguments.server.token_file = path,
            _ => arguments.server.control_socket = path,
        }
    }
    Command::Control(ControlCommand::Complete(completion))
}

fn invocation(mut arguments: Arguments, matches: &ArgMatches, stdin: &mut dyn Read) -> Result<Invocation, String> {
    let mut values = ArgumentValues::new(matches, stdin);
    let command = match arguments.command.take() {
        None | Some(Subcommand::Serve) => Command::Serve,
        Some(Subcommand::Get { name, format, from_daemon, login, mfa_code, role, policies }) => {
            if from_daemon {
                refuse_for_daemon(matches, "get", &policies)?;
            }
            let role = role_of(role, matches, "get")?;
            let identity = choice(name, "get", matches)?;
            Command::Get { identity, format, from_daemon, login, mfa_code, role, policies }
        }
        Some(Subcommand::Env { unset: true, format: ShellDialect::Dotenv, .. }) => {
            return Err("a .env file cannot unset variables; --unset prints lines for env, fish and powershell".into());
        }
        Some(Subcommand::Env { unset: true, format, .. }) => Command::EnvUnset(format),
        Some(Subcommand::Env { name, format: dialect, shadow, login, .. }) => {
            let identity = choice(name, "env", matches)?.name().clone();
            Command::Env(EnvRequest { identity, dialect, shadow, login })
        }
        Some(Subcommand::Exec {
            name,
            from_daemon,
            login,
            mfa_code,
            keep_profiles,
            role,
            policies,
            lifetime,
            command,
        }) => {
            if from_daemon {
                refuse_for_daemon(matches, "exec", &policies)?;
            }
            Command::Exec(ExecRequest {
                identity: choice(name, "exec", matches)?,
                from_daemon,
                login,
                mfa_code,
                keep_profiles,
                role: role_of(role, matches, "exec")?,
                policies,
                lifetime,
                command,
            })
        }
        Some(Subcommand::Console(console)) => console.command(matches)?,
        Some(Subcommand::Check { verify }) => Command::Check { verify },
        Some(Subcommand::Audit(arguments)) => Command::Audit(arguments.into()),
        Some(Subcommand::Profiles { json, strict, from_sso }) => match from_sso.request(&mut arguments) {
            Some(request) => Command::ProfilesFromSso(request),
            None => Command::Profiles { json, strict },
        },
        Some(Subcommand::Setup(setup)) => setup.command(&mut arguments)?,
        Some(Subcommand::Status { fail_within: Some(within), .. }) => Command::StatusWarnings(within),
        Some(Subcommand::Status { name, ready, json, watch, .. }) => {
            Command::Status(StatusRequest { name, ready, json, watch })
        }
        Some(Subcommand::Login { sso_session, all, no_browser }) => Command::Login(LoginRequest {
            target: login_target("login", sso_session, all, arguments.sources.profile.clone(), matches)?,
            open_browser: !no_browser,
            credentials_file: arguments.sources.credentials_file.clone(),
            config_file: arguments.sources.config_file.clone(),
        }),
        Some(Subcommand::Logout { sso_session, all }) => Command::Logout(LoginRequest {
            target: login_target("logout", sso_session, all, arguments.sources.profile.clone(), matches)?,
            open_browser: false,
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
        Some(Subcommand::PickName) => Command::Control(ControlCommand::PickName),
        Some(Subcommand::ShellInit { shell }) => Command::ShellInit(shell),
        Some(Subcommand::ShellSwitch { identity, format }) => Command::ShellSwitch { identity, dialect: format },
        Some(Subcommand::Completions { shell }) => Command::Completions(shell),
        Some(Subcommand::Complete { words }) => complete_command(&mut arguments, &words, CompletionForm::Lines),
        Some(Subcommand::CompleteLine) => {
            let line = std::env::var_os("COMMAND_LINE").unwrap_or_default();
            complete_command(&mut arguments, &words_of_line(&line.to_string_lossy()), CompletionForm::Tcsh)
        }
        Some(Subcommand::Man(manual)) => Command::Manual(manual.request()),
        Some(Subcommand::Manual { folder }) => Command::Manual(ManualRequest::Write(folder)),
        Some(Subcommand::Help(_)) => return Err("help is printed before".into()),
    };
    command.refuse_unused_flags(&values)?;
    let sources = sources(&mut values, &arguments.sources)?;
    let region = arguments.sources.region;
    if let Command::Get { identity, from_daemon: false, .. }
    | Command::Exec(ExecRequest { identity, .. })
    | Command::Console(ConsoleRequest { identity, .. }) = &command
        && identity.name().as_str() != IdentityName::DEFAULT
        && sources.is_some()
    {
        let flags = values.names(&options::SOURCES.concat()).join(", ");
        let (name, other) = match identity {
            IdentityChoice::Identity(name) => (name, "--identity names"),
            IdentityChoice::IdentityOrProfile(name) => (name, "the first argument names"),
        };
        return Err(format!("{flags} would configure the identity default, and {other} {name}; remove one of them"));
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
        verbosity: verbosity(arguments.quiet, arguments.verbose, matches),
        color: arguments.color,
        overrides,
        warnings: values.warnings,
    })
}
