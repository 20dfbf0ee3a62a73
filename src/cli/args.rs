//! The command line and the `CREDENZA_…` variables: what to do, and what goes before `credenza.toml`.

pub(crate) mod log;
pub(crate) mod options;
pub(crate) mod sources;
pub(crate) mod subcommands;
#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use clap::builder::Resettable;
use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{ArgMatches, CommandFactory, FromArgMatches};
pub(crate) use clap_complete::Shell;
use tracing_subscriber::filter::Targets;

pub(crate) use crate::cli::args::log::{LogFormat, parse_log_level};
use crate::cli::args::options::Arguments;
use crate::cli::args::sources::SourceArguments;
use crate::cli::args::subcommands::Subcommand;
use crate::cli::login::LoginRequest;
use crate::cli::login::targets::LoginTarget;
use crate::cli::output::formats::{OutputFormat, ShellDialect};
use crate::config::server::AuthTokenConfig;
use crate::config::sources::built_in_chain;
use crate::config::{Overrides, value};
use crate::model::identity_name::IdentityName;
use crate::model::secret::Secret;
use crate::source::spec::{SourceKind, SourceSpec};

/// A command line that makes sense.
#[derive(Clone, Debug)]
pub(crate) struct Invocation {
    /// What to do.
    pub(crate) command: Command,
    /// The file that `--config` or `CREDENZA_CONFIG` names.
    pub(crate) config: Option<PathBuf>,
    /// How logs are written.
    pub(crate) log_format: LogFormat,
    /// What is logged, when somebody said so.
    pub(crate) log_level: Option<Targets>,
    /// What goes before `credenza.toml`.
    pub(crate) overrides: Overrides,
    /// What works and should not be done, for the log.
    pub(crate) warnings: Vec<String>,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    /// Run the daemon.
    Serve,
    /// Print credentials.
    Get {
        /// Whose.
        identity: IdentityName,
        /// In which form.
        format: OutputFormat,
        /// Those that a running daemon holds.
        from_daemon: bool,
        /// The code of a multi-factor device.
        mfa_code: Option<Secret>,
    },
    /// Print the variables that lead to a running daemon.
    Env {
        /// To whose credentials.
        identity: IdentityName,
        /// For which shell.
        format: ShellDialect,
    },
    /// Run a command that is served by a broker of its own.
    Exec {
        /// With whose credentials.
        identity: IdentityName,
        /// The code of a multi-factor device.
        mfa_code: Option<Secret>,
        /// The command and its arguments; never empty.
        command: Vec<OsString>,
    },
    /// Try the configuration.
    Check,
    /// List the profiles of the shared files.
    Profiles {
        /// All that they say, in JSON.
        json: bool,
    },
    /// Ask a running daemon.
    Status {
        /// Only whether it is ready.
        ready: bool,
        /// The answer as it came.
        json: bool,
        /// Again and again.
        watch: bool,
    },
    /// Log in at IAM Identity Center.
    Login(LoginRequest),
    /// Print a completion script.
    Completions(Shell),
    /// Write the manual pages.
    Manual(PathBuf),
}

/// Reads a command line, with the program's name before it, and the variables of this process.
///
/// `stdin` is read when a `…-file` flag says `-`.
///
/// # Errors
/// What clap has to say, help and version too: [`clap::Error::exit`] prints it and ends with 2 or, for those, 0.
pub(crate) fn parse<I>(arguments: I, stdin: &mut dyn Read) -> Result<Invocation, clap::Error>
where
    I: IntoIterator,
    I::Item: Into<OsString> + Clone,
{
    let matches = command().try_get_matches_from(arguments)?;
    let arguments = Arguments::from_arg_matches(&matches)?;
    invocation(arguments, &matches, stdin).map_err(|usage| command().error(ErrorKind::ArgumentConflict, usage))
}

/// Writes the completion script for a shell.
pub(crate) fn write_completions(shell: Shell, out: &mut dyn io::Write) {
    clap_complete::generate(shell, &mut command(), "credenza", out);
}

/// Writes the manual pages, one for each command, into a folder.
///
/// # Errors
/// When the folder or a file in it cannot be made.
pub(crate) fn write_manual(folder: &Path) -> io::Result<()> {
    std::fs::create_dir_all(folder)?;
    // The pages are the same wherever they are made.
    let command = command().disable_help_subcommand(true).term_width(100);
    clap_mangen::generate_to(command, folder)
}

/// The command line as clap knows it: no variable shows its value in the help, and a blank one counts as unset.
fn command() -> clap::Command {
    fn adapt(arg: clap::Arg) -> clap::Arg {
        let value = arg.get_env().and_then(std::env::var_os);
        let is_blank = value.is_some_and(|value| value.to_str().is_some_and(|value| value.trim().is_empty()));
        let arg = if is_blank { arg.env(Resettable::Reset) } else { arg };
        arg.hide_env_values(true)
    }
    Arguments::command().mut_args(adapt).mut_subcommands(|subcommand| subcommand.mut_args(adapt))
}

fn invocation(arguments: Arguments, matches: &ArgMatches, stdin: &mut dyn Read) -> Result<Invocation, String> {
    let command = match arguments.command {
        None | Some(Subcommand::Serve) => Command::Serve,
        Some(Subcommand::Get { identity, format, from_daemon, mfa_code }) => {
            let code = matches.subcommand_matches("get").and_then(|get| get.value_source("mfa_code"));
            if from_daemon && code == Some(ValueSource::CommandLine) {
                return Err("--mfa-code has no meaning with --from-daemon; leave out one of them".into());
            }
            Command::Get { identity, format, from_daemon, mfa_code }
        }
        Some(Subcommand::Env { identity, format }) => Command::Env { identity, format },
        Some(Subcommand::Exec { identity, mfa_code, command }) => Command::Exec { identity, mfa_code, command },
        Some(Subcommand::Check) => Command::Check,
        Some(Subcommand::Profiles { json }) => Command::Profiles { json },
        Some(Subcommand::Status { ready, json, watch }) => Command::Status { ready, json, watch },
        Some(Subcommand::Login { sso_session, all, no_browser }) => Command::Login(LoginRequest {
            of: wanted(sso_session, all, arguments.sources.profile.clone(), matches)?,
            browser: !no_browser,
            credentials_file: arguments.sources.credentials_file.clone(),
            config_file: arguments.sources.config_file.clone(),
        }),
        Some(Subcommand::Completions { shell }) => Command::Completions(shell),
        Some(Subcommand::Manual { folder }) => Command::Manual(folder),
    };
    let mut given = SourceArguments::new(matches, stdin);
    command.refuse_what_it_does_not_read(&given)?;
    let sources = sources(&mut given, &arguments.sources)?;
    let region = arguments.sources.region;
    if let Command::Get { identity, from_daemon: false, .. } | Command::Exec { identity, .. } = &command
        && identity.as_str() != IdentityName::DEFAULT
        && (sources.is_some() || region.is_some())
    {
        let said = given.said(&options::SOURCES).join(", ");
        return Err(format!(
            "{said} would make the identity default, and --identity asks for {identity}; leave out one of them"
        ));
    }
    let overrides = Overrides {
        listen: Some(arguments.server.listen).filter(|listen| !listen.is_empty()),
        allow_remote: given.rank("allow_remote").map(|_| arguments.server.allow_remote),
        imds_listen: Some(arguments.metadata.imds_listen).filter(|listen| !listen.is_empty()),
        imds_identity: arguments.metadata.imds_identity,
        imds_allow_v1: given.rank("imds_allow_v1").map(|_| arguments.metadata.imds_allow_v1),
        token: token(&mut given, arguments.server.token_file)?,
        token_group: arguments.server.token_group,
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
        warnings: given.warnings,
    })
}

impl Command {
    /// A flag that would do nothing is a mistake; a variable may be there for another command.
    fn refuse_what_it_does_not_read(&self, given: &SourceArguments<'_>) -> Result<(), String> {
        let (name, unread) = match self {
            Self::Get { from_daemon: false, .. } => ("get", &options::SERVER[..]),
            Self::Get { from_daemon: true, .. } => ("get --from-daemon", &options::SOURCES[..]),
            Self::Env { .. } => ("env", &options::SOURCES[..]),
            Self::Exec { .. } => ("exec", &options::SERVER[..]),
            Self::Status { .. } => ("status", &options::SOURCES[..]),
            Self::Login(_) => ("login", &options::NOT_FOR_LOGIN[..]),
            Self::Profiles { .. } => ("profiles", &options::SERVER[..]),
            Self::Serve | Self::Check | Self::Completions(_) | Self::Manual(_) => return Ok(()),
        };
        match given.flags(unread).into_iter().chain(given.flags(&options::METADATA)).next() {
            Some(flag) => Err(format!("{flag} has no meaning for `credenza {name}`; leave it out")),
            None => Ok(()),
        }
    }
}

/// Where to log in. Of several that were given, flags go before variables.
fn wanted(
    sso_session: Option<Box<str>>,
    all: bool,
    profile: Option<Box<str>>,
    matches: &ArgMatches,
) -> Result<LoginTarget, String> {
    let given = |id| matches.subcommand_matches("login").and_then(|login| login.value_source(id));
    let mut wanted: Vec<_> = [
        ("sso_session", sso_session.map(LoginTarget::Session)),
        ("all", all.then_some(LoginTarget::All)),
        ("profile", profile.map(LoginTarget::Profile)),
    ]
    .into_iter()
    .filter_map(|(id, of)| Some((given(id)?, sources::written(id, given(id)?), of?)))
    .collect();
    wanted.sort_by_key(|(source, ..)| std::cmp::Reverse(*source));
    if let [(first, one, _), (second, other, _), ..] = &wanted[..]
        && first == second
    {
        return Err(format!("{one} and {other} name different log-ins; leave out one of them"));
    }
    Ok(wanted.into_iter().next().map_or(LoginTarget::Default, |(.., of)| of))
}

/// The chain that source flags and variables make, if there are any.
fn sources(
    given: &mut SourceArguments<'_>,
    arguments: &options::SourceOptions,
) -> Result<Option<Vec<SourceSpec>>, String> {
    let keys = keys(given)?;
    let url = given.text("url", value::url)?.map(SourceKind::Url);
    let profile = SourceKind::Profile {
        name: arguments.profile.clone(),
        credentials_file: arguments.credentials_file.clone(),
        config_file: arguments.config_file.clone(),
    };
    let names_profile = !given.said(&["profile", "credentials_file", "config_file"]).is_empty();
    if keys.is_none() && url.is_none() && !names_profile {
        return Ok(None);
    }
    let rest = built_in_chain().into_iter().filter_map(|source| match source.kind {
        SourceKind::Profile { .. } => Some(SourceSpec { kind: profile.clone(), region: None }),
        // As in the AWS CLI: who names a profile does not mean the keys that happen to be in the environment.
        SourceKind::Environment if names_profile => None,
        _ => Some(source),
    });
    Ok(Some(keys.into_iter().chain(url).map(SourceSpec::from).chain(rest).collect()))
}

fn keys(given: &mut SourceArguments<'_>) -> Result<Option<SourceKind>, String> {
    let access_key_id = given.text("access_key_id", value::part("access key id"))?;
    let secret_access_key = given.text("secret_access_key", value::part("secret access key"))?;
    let session_token = given.text("session_token", value::part("session token"))?;
    match (access_key_id, secret_access_key, session_token) {
        (None, None, None) => Ok(None),
        (Some(access_key_id), Some(secret_access_key), session_token) => {
            Ok(Some(SourceKind::Static { access_key_id, secret_access_key, session_token }))
        }
        (Some(_), None, _) => Err("an access key id without its secret access key is half a key pair; add \
                                   --secret-access-key-file (or CREDENZA_SECRET_ACCESS_KEY)"
            .into()),
        (None, Some(_), _) => Err("a secret access key without its access key id is half a key pair; add \
                                   --access-key-id (or CREDENZA_ACCESS_KEY_ID)"
            .into()),
        (None, None, Some(_)) => Err("a session token without its key pair; add --access-key-id and \
                                      --secret-access-key-file (or their variables)"
            .into()),
    }
}

fn token(given: &mut SourceArguments<'_>, token_file: Option<PathBuf>) -> Result<Option<AuthTokenConfig>, String> {
    let rank = given.rank("auth_token").max(given.rank("auth_token_file"));
    let auth_token = given.text("auth_token", value::auth_token)?.map(AuthTokenConfig::Given);
    match (auth_token, token_file) {
        (Some(_), Some(_)) if rank == given.rank("token_file") => {
            Err("a token that is given is not kept in a file: leave out --token-file, or --auth-token and \
                 --auth-token-file (or their variables)"
                .into())
        }
        (Some(auth_token), Some(token_file)) => {
            Ok(Some(if rank > given.rank("token_file") { auth_token } else { AuthTokenConfig::Kept(Some(token_file)) }))
        }
        (auth_token, token_file) => Ok(auth_token.or_else(|| token_file.map(|file| AuthTokenConfig::Kept(Some(file))))),
    }
}
