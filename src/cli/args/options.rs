//! The global flags with their variables and help.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::BoolishValueParser;
use clap::{Args, Parser};
use tracing_subscriber::filter::Targets;

use crate::cli::args::control::socket_path;
use crate::cli::args::subcommands::Subcommand;
use crate::cli::logging::{LogFormat, parse_log_level};
use crate::config::listen::ListenAddress;
use crate::config::users::Account;
use crate::config::value;
use crate::model::identity_name::IdentityName;
use crate::model::name_pattern::NamePattern;
use crate::model::secret::Secret;
use crate::model::session_limits::ROLE_DURATION;
use crate::source::spec::RoleSpec;

const KEYS: &[&str] = &[
    "access_key_id",
    "access_key_id_file",
    "secret_access_key",
    "secret_access_key_file",
    "session_token",
    "session_token_file",
    "url",
    "url_file",
];

const REGION: &[&str] = &["region"];

pub(crate) const SOURCES: &[&[&str]] = &[KEYS, &["profile", "credentials_file", "config_file"], REGION];

/// The flags that the HTTP clients of a daemon do not use.
pub(crate) const UNUSED_BY_CLIENTS: &[&[&str]] = &[SOURCES[0], SOURCES[1], SOURCES[2], CONTROL_SOCKET];

pub(crate) const UNUSED_BY_LOGIN: &[&[&str]] = &[KEYS, REGION, SERVER[0], CONTROL_SOCKET];

/// `logout --all` asks a running daemon.
pub(crate) const UNUSED_BY_LOGOUT: &[&[&str]] = &[KEYS, REGION, SERVER[0]];

pub(crate) const SERVER: &[&[&str]] =
    &[&["listen", "allow_remote", "token_file", "token_group", "auth_token", "auth_token_file"], CONTROL_SOCKET];

/// The flags that `exec` and `get` do not use. They ask a running daemon for a session with MFA.
pub(crate) const LISTENING: &[&[&str]] = &[SERVER[0]];

/// The flags that the commands of the control socket do not use. The token file says where the socket is.
pub(crate) const UNUSED_BY_CONTROL: &[&[&str]] = &[
    KEYS,
    &["profile", "credentials_file", "config_file", "serve_profiles"],
    REGION,
    &["listen", "allow_remote", "token_group", "auth_token", "auth_token_file"],
];

/// The control socket, for `serve` and the commands that ask a daemon.
const CONTROL_SOCKET: &[&str] = &["control_socket"];

/// The flags of the IMDS server. Only `serve` and `check` use them.
pub(crate) const IMDS: [&str; 3] = ["imds_listen", "imds_identity", "imds_allow_v1"];

const EXAMPLES: &str = "\
Examples:
  credenza                                        serve the AWS credentials found on this host
  credenza --profile dev                          serve a profile of ~/.aws
  credenza exec --profile dev -- aws s3 ls        run one command with it
  credenza exec --url-file minio.url -- ./job     with http://KEY:SECRET@HOST:9000 from a file
  pass s3/dev | credenza --access-key-id AKIA… --secret-access-key-file - get --format env
  credenza check                                  explain which source gives the credentials, or why none does
  credenza login --all                            log in to every SSO session of ~/.aws/config

Without configuration Credenza serves the first configured source of: keys or a URL from flags, the environment \
(AWS_ACCESS_KEY_ID …), the AWS shared files, the container endpoint, the instance metadata service (IMDS). --profile, \
--credentials-file and --config-file skip the environment.

Each flag has a variable of the same name. Flags take precedence over variables, variables over credenza.toml \
(--config), that over the defaults. Exit codes: 0 success, 1 error, 2 wrong usage, 78 bad configuration.";

/// A local credential broker for AWS and S3: finds credentials, keeps them fresh, serves them on localhost.
#[derive(Parser)]
#[command(name = "credenza", version, after_help = EXAMPLES, max_term_width = 120)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Option<Subcommand>,

    /// Read only this credenza.toml
    #[arg(long, env = "CREDENZA_CONFIG", value_name = "FILE", value_parser = value::path)]
    pub(crate) config: Option<PathBuf>,

    /// Write logs as text or as one JSON object a line
    #[arg(long, env = "CREDENZA_LOG_FORMAT", value_name = "FORMAT")]
    #[arg(value_enum, default_value_t, hide_possible_values = true)]
    pub(crate) log_format: LogFormat,

    /// Log level: off, error, warn, info, debug, trace, or TARGET=LEVEL,… [default: RUST_LOG, else info]
    #[arg(long, env = "CREDENZA_LOG_LEVEL", value_name = "LEVEL", value_parser = parse_log_level)]
    pub(crate) log_level: Option<Targets>,

    #[command(flatten)]
    pub(crate) sources: SourceOptions,

    #[command(flatten)]
    pub(crate) server: ServerOptions,

    #[command(flatten)]
    pub(crate) imds: ImdsOptions,
}

/// The sources of the identity `default`.
#[derive(Args)]
#[command(next_help_heading = "Sources of the identity default")]
pub(crate) struct SourceOptions {
    /// Serve a key pair: the access key id
    #[arg(long, env = "CREDENZA_ACCESS_KEY_ID", value_name = "ID")]
    access_key_id: Option<Secret>,

    /// Read the access key id from a file (- is standard input)
    #[arg(long, env = "CREDENZA_ACCESS_KEY_ID_FILE", value_name = "FILE", value_parser = value::path)]
    access_key_id_file: Option<PathBuf>,

    /// Serve a key pair: the secret access key; other users see it in the process list
    #[arg(long, env = "CREDENZA_SECRET_ACCESS_KEY", value_name = "SECRET")]
    secret_access_key: Option<Secret>,

    /// Read the secret access key from a file (- is standard input)
    #[arg(long, env = "CREDENZA_SECRET_ACCESS_KEY_FILE", value_name = "FILE", value_parser = value::path)]
    secret_access_key_file: Option<PathBuf>,

    /// The session token, if the key pair is temporary; other users see it in the process list
    #[arg(long, env = "CREDENZA_SESSION_TOKEN", value_name = "TOKEN")]
    session_token: Option<Secret>,

    /// Read the session token from a file (- is standard input)
    #[arg(long, env = "CREDENZA_SESSION_TOKEN_FILE", value_name = "FILE", value_parser = value::path)]
    session_token_file: Option<PathBuf>,

    /// Serve the key pair in a URL, http://KEY:SECRET@HOST:PORT; other users see it in the process list
    #[arg(long, env = "CREDENZA_URL", value_name = "URL")]
    url: Option<Secret>,

    /// Read the URL from a file (- is standard input)
    #[arg(long, env = "CREDENZA_URL_FILE", value_name = "FILE", value_parser = value::path)]
    url_file: Option<PathBuf>,

    /// Serve this profile of the AWS shared files
    #[arg(long, env = "CREDENZA_PROFILE", value_name = "NAME", value_parser = value::profile)]
    pub(crate) profile: Option<Box<str>>,

    /// Read this file instead of ~/.aws/credentials
    #[arg(long, env = "CREDENZA_CREDENTIALS_FILE", value_name = "FILE", value_parser = value::path)]
    pub(crate) credentials_file: Option<PathBuf>,

    /// Read this file instead of ~/.aws/config
    #[arg(long, env = "CREDENZA_CONFIG_FILE", value_name = "FILE", value_parser = value::path)]
    pub(crate) config_file: Option<PathBuf>,

    /// Serve every profile with a matching name as an identity, from its first request on
    #[arg(
        long,
        env = "CREDENZA_SERVE_PROFILES",
        value_name = "PATTERN,…",
        value_parser = NamePattern::new,
        value_delimiter = ','
    )]
    pub(crate) serve_profiles: Vec<NamePattern>,

    /// Use this region instead of the sources' regions
    #[arg(long, env = "CREDENZA_REGION", value_name = "REGION", value_parser = value::region)]
    pub(crate) region: Option<Box<str>>,
}

/// The flags of the HTTP server.
#[derive(Args)]
#[command(next_help_heading = "Daemon (serve, check, and the commands that ask a running daemon)")]
pub(crate) struct ServerOptions {
    #[arg(
        help = "Listen on this address; repeat for more [default: 127.0.0.1:9733 and [::1]:9733]",
        long,
        env = "CREDENZA_LISTEN",
        value_name = "ADDRESS:PORT|unix:PATH",
        value_parser = value::listen_address,
        value_delimiter = ','
    )]
    pub(crate) listen: Vec<ListenAddress>,

    /// Allow addresses that other hosts can reach
    #[arg(long, env = "CREDENZA_ALLOW_REMOTE", value_parser = BoolishValueParser::new())]
    pub(crate) allow_remote: bool,

    /// Keep the auth token in this file; generated if missing
    #[arg(long, env = "CREDENZA_TOKEN_FILE", value_name = "FILE", value_parser = value::path)]
    pub(crate) token_file: Option<PathBuf>,

    /// Let this group (name or number) read the token file
    #[arg(long, env = "CREDENZA_TOKEN_GROUP", value_name = "GROUP", value_parser = value::account)]
    pub(crate) token_group: Option<Account>,

    /// The socket for grants and the other commands of the owner [default: control.sock beside the token file]
    #[arg(long, env = "CREDENZA_CONTROL_SOCKET", value_name = "PATH", value_parser = socket_path)]
    pub(crate) control_socket: Option<PathBuf>,

    /// Use this auth token and write no file; other users see it in the process list
    #[arg(long, env = "CREDENZA_AUTH_TOKEN", value_name = "TOKEN")]
    auth_token: Option<Secret>,

    /// Read the auth token from a file and write none (- is standard input)
    #[arg(long, env = "CREDENZA_AUTH_TOKEN_FILE", value_name = "FILE", value_parser = value::path)]
    auth_token_file: Option<PathBuf>,
}

/// The times that `--fail-within` accepts: up to the longest session.
const FAIL_WITHIN_ALLOWED: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(36 * 3600);

/// Parses the time of `--fail-within`.
pub(crate) fn fail_within(text: &str) -> Result<Duration, String> {
    value::duration(&FAIL_WITHIN_ALLOWED)(text)
}

/// The times that `--for` accepts: any that STS could give, and seconds for tests of a program.
const FOR_ALLOWED: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(36 * 3600);

/// Parses the time of `--for`.
pub(crate) fn lifetime(text: &str) -> Result<Duration, String> {
    value::duration(&FOR_ALLOWED)(text)
}

/// The identity of one command.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct NameOptions {
    /// The identity, or else the profile
    #[arg(value_name = "NAME", num_args = 0.., value_parser = value::identity)]
    pub(crate) names: Vec<IdentityName>,

    /// The identity; without it NAME, without that the default
    #[arg(long, env = "CREDENZA_IDENTITY", value_name = "NAME", value_parser = value::identity)]
    pub(crate) identity: Option<IdentityName>,
}

fn role_duration(text: &str) -> Result<Duration, String> {
    value::duration(&ROLE_DURATION)(text)
}

/// The flags that narrow the session of one command.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PolicyOptions {
    /// Allow only what this session policy (JSON) allows as well
    #[arg(long, env = "CREDENZA_POLICY", value_name = "FILE", value_parser = value::path)]
    pub(crate) policy: Option<PathBuf>,

    /// Allow only what this managed policy allows as well; repeat for more
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

/// The flags of the IMDS server.
#[derive(Args)]
#[command(next_help_heading = "IMDS server (serve, check), for programs that support only IMDS")]
pub(crate) struct ImdsOptions {
    #[arg(
        help = "Serve one identity on this address to every program that reaches it; repeat for more [default: none]",
        long,
        env = "CREDENZA_IMDS_LISTEN",
        value_name = "ADDRESS:PORT",
        value_parser = value::imds_address,
        value_delimiter = ','
    )]
    pub(crate) imds_listen: Vec<SocketAddr>,

    /// Serve this identity there, if its credentials have a session token [default: default]
    #[arg(long, env = "CREDENZA_IMDS_IDENTITY", value_name = "NAME", value_parser = value::identity)]
    pub(crate) imds_identity: Option<IdentityName>,

    /// Answer requests without an IMDS session token, too (IMDSv1)
    #[arg(long, env = "CREDENZA_IMDS_ALLOW_V1", value_parser = BoolishValueParser::new())]
    pub(crate) imds_allow_v1: bool,
}
