//! The arguments of the commands of the control socket.

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::ArgMatches;
use clap::builder::BoolishValueParser;
use clap::parser::ValueSource;

use crate::cli::args::values::ArgumentValues;
use crate::cli::command_options::{PolicyOptions, flag_duration};
use crate::cli::control::ControlCommand;
use crate::cli::control::grant::GrantCommand;
use crate::cli::output::formats::ShellDialect;
use crate::config::value;
use crate::model::client_name::ClientName;
use crate::model::identity_name::IdentityName;
use crate::model::secret::Secret;

/// The periods of `--for`. The daemon limits a grant to 30 days.
const PERIODS: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(30 * 24 * 3600);

#[derive(clap::Args)]
pub(crate) struct GrantArguments {
    /// The name of the grant
    #[arg(value_name = "NAME", value_parser = client_name)]
    grant_name: ClientName,

    /// Serve this identity
    #[arg(long, env = "CREDENZA_IDENTITY", value_name = "NAME", value_parser = value::identity)]
    identity: IdentityName,

    /// End the grant after this period, like 90s, 30m or 8h
    #[arg(long = "for", env = "CREDENZA_FOR", value_name = "PERIOD", value_parser = period)]
    period: Duration,

    #[command(flatten)]
    policies: PolicyOptions,

    /// Write the token to this new file, and name the file instead of the token
    #[arg(long, env = "CREDENZA_CLIENT_FILE", value_name = "PATH", value_parser = value::path)]
    client_file: Option<PathBuf>,

    /// End an earlier grant of this name
    #[arg(long, env = "CREDENZA_REPLACE", value_parser = BoolishValueParser::new())]
    replace: bool,

    /// Print for this shell
    #[arg(long, env = "CREDENZA_FORMAT", value_enum, default_value_t)]
    format: ShellDialect,

    #[command(flatten)]
    output: JsonArguments,
}

#[derive(clap::Args)]
pub(crate) struct JsonArguments {
    /// Print JSON
    #[arg(long, env = "CREDENZA_JSON", value_parser = BoolishValueParser::new())]
    json: bool,
}

#[derive(clap::Args)]
pub(crate) struct RevokeArguments {
    /// The name of the grant
    #[arg(value_name = "NAME", value_parser = client_name)]
    grant_name: ClientName,

    #[command(flatten)]
    output: JsonArguments,
}

#[derive(clap::Args)]
pub(crate) struct UseArguments {
    /// The identity that default means from now on; default ends that
    #[arg(value_name = "IDENTITY", value_parser = value::identity)]
    identity_name: IdentityName,

    /// End it after this period, like 90s, 30m or 8h [default: with the daemon]
    #[arg(long = "for", env = "CREDENZA_FOR", value_name = "PERIOD", value_parser = period)]
    period: Option<Duration>,

    #[command(flatten)]
    output: JsonArguments,
}

#[derive(clap::Args)]
pub(crate) struct WhoamiArguments {
    /// The identity, or else the profile
    #[arg(value_name = "NAME", value_parser = value::identity, default_value = IdentityName::DEFAULT)]
    identity_name: IdentityName,

    /// Ask STS with the keys of the identity (GetCallerIdentity)
    #[arg(long, env = "CREDENZA_VERIFY", value_parser = BoolishValueParser::new())]
    verify: bool,

    #[command(flatten)]
    output: JsonArguments,
}

#[derive(clap::Args)]
pub(crate) struct MfaArguments {
    /// The identity that needs a code
    #[arg(value_name = "IDENTITY", value_parser = value::identity)]
    identity_name: IdentityName,

    /// The code (- is standard input) [default: prompt at the terminal]
    #[arg(long, env = "CREDENZA_MFA_CODE", value_name = "CODE")]
    mfa_code: Option<Secret>,

    #[command(flatten)]
    output: JsonArguments,
}

#[derive(clap::Subcommand)]
pub(crate) enum TokenSubcommand {
    /// Print the auth token, or the token of a client
    #[command(after_help = "\
Example:
  curl -H \"Authorization: $(credenza token show --client web)\" http://127.0.0.1:9733/credentials")]
    Show(TokenArguments),

    /// Replace a token by a new one; the old one holds for token_overlap
    #[command(after_help = "\
Example:
  credenza token rotate --client web")]
    Rotate(TokenArguments),
}

#[derive(clap::Args)]
pub(crate) struct TokenArguments {
    /// Use the token of this client [default: the auth token]
    #[arg(long, env = "CREDENZA_CLIENT", value_name = "NAME", value_parser = client_name)]
    client: Option<ClientName>,

    #[command(flatten)]
    output: JsonArguments,
}

impl GrantArguments {
    pub(crate) fn command(self, matches: &ArgMatches) -> Result<ControlCommand, String> {
        let flag = |id| matches.subcommand_matches("grant").and_then(|grant| grant.value_source(id));
        if self.output.json && [flag("json"), flag("format")] == [Some(ValueSource::CommandLine); 2] {
            return Err("--json and --format are both given; remove one of them".into());
        }
        Ok(ControlCommand::Grant(GrantCommand {
            name: self.grant_name,
            identity: self.identity,
            period: self.period,
            policies: self.policies,
            client_file: self.client_file,
            replace: self.replace,
            dialect: (!self.output.json).then_some(self.format),
        }))
    }
}

impl RevokeArguments {
    pub(crate) fn command(self) -> ControlCommand {
        ControlCommand::Revoke { name: self.grant_name, json: self.output.json }
    }
}

impl UseArguments {
    pub(crate) fn command(self) -> ControlCommand {
        ControlCommand::Use { identity: self.identity_name, period: self.period, json: self.output.json }
    }
}

impl WhoamiArguments {
    pub(crate) fn command(self) -> ControlCommand {
        ControlCommand::Whoami { identity: self.identity_name, verify: self.verify, json: self.output.json }
    }
}

impl MfaArguments {
    /// Reads the code from standard input if it is `-`.
    pub(crate) fn command(self, values: &mut ArgumentValues<'_>) -> Result<ControlCommand, String> {
        let code = match self.mfa_code {
            Some(code) if code.expose() == "-" => Some(values.read_stdin("--mfa-code")?),
            code => code,
        };
        Ok(ControlCommand::Mfa { identity: self.identity_name, code, json: self.output.json })
    }
}

impl TokenSubcommand {
    pub(crate) fn command(self) -> ControlCommand {
        match self {
            Self::Show(TokenArguments { client, output }) => ControlCommand::ShowToken { client, json: output.json },
            Self::Rotate(TokenArguments { client, output }) => {
                ControlCommand::RotateToken { client, json: output.json }
            }
        }
    }
}

impl JsonArguments {
    pub(crate) fn grants(self) -> ControlCommand {
        ControlCommand::Grants { json: self.json }
    }

    pub(crate) fn reload(self) -> ControlCommand {
        ControlCommand::Reload { json: self.json }
    }
}

/// Returns the path of the control socket, which a NUL character or an empty text cannot be.
pub(crate) fn socket_path(text: &str) -> Result<PathBuf, String> {
    let path = value::path(text)?;
    if path.file_name().is_none() || path == Path::new("/") {
        return Err("not the path of a socket; write it like /run/credenza/control.sock".into());
    }
    Ok(path)
}

fn period(text: &str) -> Result<Duration, String> {
    flag_duration(&PERIODS, text)
}

fn client_name(text: &str) -> Result<ClientName, &'static str> {
    ClientName::parse(text)
}
