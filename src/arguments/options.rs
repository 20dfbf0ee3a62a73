//! What clap parses: every flag, its variable and its line of help.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::builder::BoolishValueParser;
use clap::{Args, Parser, ValueEnum};
use clap_complete::Shell;
use tracing_subscriber::filter::{LevelFilter, Targets};

use crate::config::{Account, Pattern, value};
use crate::credentials::Name;
use crate::secret::Secret;

/// Source flags, for commands that read none and for messages.
pub(super) const SOURCES: [&str; 12] = [
    "access_key_id",
    "access_key_id_file",
    "secret_access_key",
    "secret_access_key_file",
    "session_token",
    "session_token_file",
    "url",
    "url_file",
    "profile",
    "credentials_file",
    "config_file",
    "region",
];

/// Flags that say nothing about where to log in.
pub(super) const NOT_FOR_LOGIN: [&str; 15] = [
    "access_key_id",
    "access_key_id_file",
    "secret_access_key",
    "secret_access_key_file",
    "session_token",
    "session_token_file",
    "url",
    "url_file",
    "region",
    "listen",
    "allow_remote",
    "token_file",
    "token_group",
    "auth_token",
    "auth_token_file",
];

/// Server flags, for commands that read none.
pub(super) const SERVER: [&str; 6] =
    ["listen", "allow_remote", "token_file", "token_group", "auth_token", "auth_token_file"];

/// Flags of the metadata service, which only those read who run a daemon or try its configuration.
pub(super) const METADATA: [&str; 3] = ["imds_listen", "imds_identity", "imds_allow_v1"];

const EXAMPLES: &str = "\
Examples:
  credenza                                        serve the AWS credentials found on this host
  credenza --profile dev                          serve a profile of ~/.aws
  credenza exec --profile dev -- aws s3 ls        run one command with it
  credenza exec --url-file minio.url -- ./job     with http://KEY:SECRET@HOST:9000 from a file
  pass s3/dev | credenza --access-key-id AKIA… --secret-access-key-file - get --format env
  credenza check                                  why these credentials, or why none
  credenza login --all                            log in at every SSO session of ~/.aws/config

Without configuration the first of these that is set up here is served: the keys and the URL given by flags, the \
environment (AWS_ACCESS_KEY_ID …), the AWS shared files, the container endpoint, the instance metadata service. \
--profile, --credentials-file and --config-file leave the environment out.

Each flag has the variable shown beside it. Flags go before variables, variables before credenza.toml (--config), \
that before the defaults. Exit codes: 0 clean, 1 failed, 2 wrong usage, 78 bad configuration.";

/// A local credential broker for AWS and S3: finds credentials, keeps them fresh, serves them on localhost.
#[derive(Parser)]
#[command(name = "credenza", version, after_help = EXAMPLES, max_term_width = 120)]
pub(super) struct Arguments {
    #[command(subcommand)]
    pub(super) command: Option<Subcommand>,

    /// Read this credenza.toml, and no other
    #[arg(long, env = "CREDENZA_CONFIG", value_name = "FILE", value_parser = value::path, global = true)]
    pub(super) config: Option<PathBuf>,

    /// Write logs as text or as one JSON object a line
    #[arg(
        long,
        env = "CREDENZA_LOG_FORMAT",
        value_name = "FORMAT",
        value_enum,
        default_value_t,
        hide_possible_values = true,
        global = true
    )]
    pub(super) log_format: LogFormat,

    /// Log this much: off, error, warn, info, debug, trace, or TARGET=LEVEL,… [else RUST_LOG, else info]
    #[arg(long, env = "CREDENZA_LOG_LEVEL", value_name = "LEVEL", value_parser = parse_log_level, global = true)]
    pub(super) log_level: Option<Targets>,

    #[command(flatten)]
    pub(super) sources: Sources,

    #[command(flatten)]
    pub(super) server: Server,

    #[command(flatten)]
    pub(super) metadata: Metadata,
}

/// Where the credentials of `default` come from.
#[derive(Args)]
#[command(next_help_heading = "Sources of the identity default")]
pub(super) struct Sources {
    /// Serve this key pair: its access key id
    #[arg(long, env = "CREDENZA_ACCESS_KEY_ID", value_name = "ID", global = true)]
    access_key_id: Option<Secret>,

    /// The same, from a file (- is standard input)
    #[arg(long, env = "CREDENZA_ACCESS_KEY_ID_FILE", value_name = "FILE", value_parser = value::path, global = true)]
    access_key_id_file: Option<PathBuf>,

    /// Serve this key pair: its secret; other users see it in the process list
    #[arg(long, env = "CREDENZA_SECRET_ACCESS_KEY", value_name = "SECRET", global = true)]
    secret_access_key: Option<Secret>,

    /// The same, from a file (- is standard input)
    #[arg(
        long,
        env = "CREDENZA_SECRET_ACCESS_KEY_FILE",
        value_name = "FILE",
        value_parser = value::path,
        global = true
    )]
    secret_access_key_file: Option<PathBuf>,

    /// The session token, if the key pair is temporary; other users see it in the process list
    #[arg(long, env = "CREDENZA_SESSION_TOKEN", value_name = "TOKEN", global = true)]
    session_token: Option<Secret>,

    /// The same, from a file (- is standard input)
    #[arg(long, env = "CREDENZA_SESSION_TOKEN_FILE", value_name = "FILE", value_parser = value::path, global = true)]
    session_token_file: Option<PathBuf>,

    /// Serve the key pair in a URL, http://KEY:SECRET@HOST:PORT; other users see it in the process list
    #[arg(long, env = "CREDENZA_URL", value_name = "URL", global = true)]
    url: Option<Secret>,

    /// The same, from a file (- is standard input)
    #[arg(long, env = "CREDENZA_URL_FILE", value_name = "FILE", value_parser = value::path, global = true)]
    url_file: Option<PathBuf>,

    /// Serve this profile of the AWS shared files
    #[arg(long, env = "CREDENZA_PROFILE", value_name = "NAME", value_parser = value::profile, global = true)]
    pub(super) profile: Option<Box<str>>,

    /// Read this file instead of ~/.aws/credentials
    #[arg(long, env = "CREDENZA_CREDENTIALS_FILE", value_name = "FILE", value_parser = value::path, global = true)]
    pub(super) credentials_file: Option<PathBuf>,

    /// Read this file instead of ~/.aws/config
    #[arg(long, env = "CREDENZA_CONFIG_FILE", value_name = "FILE", value_parser = value::path, global = true)]
    pub(super) config_file: Option<PathBuf>,

    /// Serve every profile whose name matches, as an identity of that name, once somebody asks for it
    #[arg(
        long,
        env = "CREDENZA_SERVE_PROFILES",
        value_name = "PATTERN,…",
        value_parser = Pattern::new,
        value_delimiter = ',',
        global = true
    )]
    pub(super) serve_profiles: Vec<Pattern>,

    /// Use this region, whatever the sources say
    #[arg(long, env = "CREDENZA_REGION", value_name = "REGION", value_parser = value::region, global = true)]
    pub(super) region: Option<Box<str>>,
}

/// The daemon.
#[derive(Args)]
#[command(next_help_heading = "Daemon (serve, check, status, env, get --from-daemon)")]
pub(super) struct Server {
    /// Where to listen.
    #[arg(
        help = "Listen here; again for more [default: 127.0.0.1:9733 and [::1]:9733]",
        long,
        env = "CREDENZA_LISTEN",
        value_name = "ADDRESS:PORT",
        value_parser = value::address,
        value_delimiter = ',',
        global = true
    )]
    pub(super) listen: Vec<SocketAddr>,

    /// Allow addresses that other hosts can reach
    #[arg(long, env = "CREDENZA_ALLOW_REMOTE", value_parser = BoolishValueParser::new(), global = true)]
    pub(super) allow_remote: bool,

    /// Keep the daemon's own token here; made when missing
    #[arg(long, env = "CREDENZA_TOKEN_FILE", value_name = "FILE", value_parser = value::path, global = true)]
    pub(super) token_file: Option<PathBuf>,

    /// Let this group (name or number) read the token file
    #[arg(long, env = "CREDENZA_TOKEN_GROUP", value_name = "GROUP", value_parser = value::account, global = true)]
    pub(super) token_group: Option<Account>,

    /// Use this token and keep none; other users see it in the process list
    #[arg(long, env = "CREDENZA_AUTH_TOKEN", value_name = "TOKEN", global = true)]
    auth_token: Option<Secret>,

    /// The same, from a file that is only read (- is standard input)
    #[arg(long, env = "CREDENZA_AUTH_TOKEN_FILE", value_name = "FILE", value_parser = value::path, global = true)]
    auth_token_file: Option<PathBuf>,
}

/// The metadata service beside the daemon's own protocol.
#[derive(Args)]
#[command(next_help_heading = "Metadata service (serve, check), for programs that know only IMDSv2")]
pub(super) struct Metadata {
    /// Where to listen.
    #[arg(
        help = "Serve one identity here as well, to every program that reaches it; again for more [default: nowhere]",
        long,
        env = "CREDENZA_IMDS_LISTEN",
        value_name = "ADDRESS:PORT",
        value_parser = value::metadata_address,
        value_delimiter = ',',
        global = true
    )]
    pub(super) imds_listen: Vec<SocketAddr>,

    /// Serve this identity there; only credentials with a session token are [default: default]
    #[arg(long, env = "CREDENZA_IMDS_IDENTITY", value_name = "NAME", value_parser = value::identity, global = true)]
    pub(super) imds_identity: Option<Name>,

    /// Answer requests without a token of the protocol, too (IMDSv1)
    #[arg(long, env = "CREDENZA_IMDS_ALLOW_V1", value_parser = BoolishValueParser::new(), global = true)]
    pub(super) imds_allow_v1: bool,
}

/// What to do.
#[derive(clap::Subcommand)]
pub(super) enum Subcommand {
    /// Serve credentials on localhost (what happens without a command)
    #[command(after_help = "\
Example, in a shell:
  credenza serve --profile dev &
  export AWS_CONTAINER_CREDENTIALS_FULL_URI=http://127.0.0.1:9733/credentials
  export AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE=$XDG_RUNTIME_DIR/credenza/token
  aws sts get-caller-identity")]
    Serve,

    /// Find credentials once and print them, without a daemon or from a running one
    #[command(after_help = "\
Examples:
  eval \"$(credenza get --format env)\"
  credenza get --format fish | source
  credenza get --format powershell | Out-String | Invoke-Expression
  credenza get --identity minio --format ecs
In ~/.aws/config, for programs that know no container endpoint:
  [profile broker]
  credential_process = credenza get --from-daemon --identity minio
A daemon is asked where the configuration, --listen and --token-file say that it is, and gets the token only if its \
listener belongs to root or the owner of the token file.")]
    Get {
        /// Print the credentials of this identity
        #[arg(long, env = "CREDENZA_IDENTITY", value_name = "NAME", value_parser = value::identity, default_value = Name::DEFAULT)]
        identity: Name,

        /// Print for credential_process, as variables for a shell, or as the HTTP answer
        #[arg(long, env = "CREDENZA_FORMAT", value_enum, default_value_t)]
        format: Format,

        /// Ask a running daemon instead of the sources
        #[arg(long, env = "CREDENZA_FROM_DAEMON", value_parser = BoolishValueParser::new())]
        from_daemon: bool,

        /// The code of the multi-factor device, where a profile has mfa_serial [else asked for at the terminal]
        #[arg(long, env = "CREDENZA_MFA_CODE", value_name = "CODE")]
        mfa_code: Option<Secret>,
    },

    /// Print the variables that lead AWS SDKs to a running daemon, and unset those that would win over it
    #[command(after_help = "\
Examples:
  eval \"$(credenza env)\"
  credenza env --identity minio --format fish | source
  credenza env --format powershell | Out-String | Invoke-Expression
They name the daemon's token file; neither the token nor a key is printed. Where a proxy is set, NO_PROXY and no_proxy get \
loopback beside what they have, for no proxy is to see the token.")]
    Env {
        /// Lead to the credentials of this identity
        #[arg(long, env = "CREDENZA_IDENTITY", value_name = "NAME", value_parser = value::identity, default_value = Name::DEFAULT)]
        identity: Name,

        /// Print for this shell
        #[arg(long, env = "CREDENZA_FORMAT", value_enum, default_value_t)]
        format: Dialect,
    },

    /// Run one command with a broker of its own, so that every AWS SDK in it finds the credentials
    #[command(after_help = "\
Examples:
  credenza exec -- aws s3 ls
  credenza exec --identity minio -- rclone ls :s3,env_auth:bucket
The command starts when there are credentials, and its exit code is ours.")]
    Exec {
        /// Serve the credentials of this identity
        #[arg(long, env = "CREDENZA_IDENTITY", value_name = "NAME", value_parser = value::identity, default_value = Name::DEFAULT)]
        identity: Name,

        /// The code of the multi-factor device, where a profile has mfa_serial [else asked for at the terminal]
        #[arg(long, env = "CREDENZA_MFA_CODE", value_name = "CODE")]
        mfa_code: Option<Secret>,

        /// The command and its arguments, behind --
        #[arg(last = true, required = true, num_args = 1.., value_name = "CMD")]
        command: Vec<OsString>,
    },

    /// Try the configuration, the files and every source, and explain the outcome line by line
    Check,

    /// List the profiles of the AWS shared files and what each of them uses; no secret is shown
    #[command(after_help = "\
Examples:
  credenza profiles
  credenza profiles --config-file ./config --json | jq '.profiles.dev'")]
    Profiles {
        /// Print all properties as JSON: {"profiles": {NAME: {PROPERTY: VALUE}}}
        #[arg(long, env = "CREDENZA_JSON", value_parser = BoolishValueParser::new())]
        json: bool,
    },

    /// Ask a running daemon for its identities, their sources and expirations
    #[command(after_help = "\
Examples:
  credenza status
  credenza status --ready || echo not yet
  credenza status --watch
  credenza status --watch --json | jq -c '.identities.default.state'
It asks where the configuration, --listen and --token-file say that the daemon is.")]
    Status {
        /// Only exit with 0 when every identity is ready, else with 1; needs no token
        #[arg(long, env = "CREDENZA_READY", value_parser = BoolishValueParser::new())]
        ready: bool,

        /// Print the daemon's JSON as it is
        #[arg(long, env = "CREDENZA_JSON", value_parser = BoolishValueParser::new())]
        json: bool,

        /// Keep the picture on the screen until Ctrl-C; elsewhere than on a terminal, print what is new
        #[arg(long, env = "CREDENZA_WATCH", value_parser = BoolishValueParser::new(), conflicts_with = "ready")]
        watch: bool,
    },

    /// Log in at IAM Identity Center (SSO), so that profiles with sso_session or sso_start_url work
    #[command(after_help = "\
Examples:
  credenza login                        where the profile default, or AWS_PROFILE, says
  credenza login --profile dev          where this profile says
  credenza login --sso-session work     at this [sso-session work] of ~/.aws/config
  credenza login --all                  at every session of ~/.aws/config, once each
It shows a page and a code, opens the page in a browser ($BROWSER, else the desktop's), and waits until somebody agreed \
there. The token goes into ~/.aws/sso/cache, where the AWS CLI and the SDKs find it, too; a running daemon sees it at once.")]
    Login {
        /// Log in at this [sso-session NAME] of the config file
        #[arg(long, env = "CREDENZA_SSO_SESSION", value_name = "NAME", value_parser = value::sso_session)]
        sso_session: Option<Box<str>>,

        /// Log in at every session that the shared files know
        #[arg(long, env = "CREDENZA_ALL", value_parser = BoolishValueParser::new())]
        all: bool,

        /// Open no browser, only print where to go
        #[arg(long, env = "CREDENZA_NO_BROWSER", value_parser = BoolishValueParser::new())]
        no_browser: bool,
    },

    /// Print a completion script
    #[command(after_help = "\
Example:
  credenza completions bash > ~/.local/share/bash-completion/completions/credenza")]
    Completions {
        /// For this shell
        #[arg(value_enum)]
        shell: Shell,
    },

    /// Write the manual pages into a folder
    #[command(hide = true)]
    Manual {
        /// The folder; made when missing
        #[arg(value_name = "FOLDER")]
        folder: PathBuf,
    },
}

/// How `get` prints credentials.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// The JSON of `credential_process`
    #[default]
    Process,
    /// Lines for a POSIX shell: `export AWS_ACCESS_KEY_ID=…`
    Env,
    /// Lines of a .env file, as python-dotenv and Compose read it: `AWS_ACCESS_KEY_ID=…`
    Dotenv,
    /// Lines for fish: `set -gx AWS_ACCESS_KEY_ID …`
    Fish,
    /// Lines for PowerShell: `$env:AWS_ACCESS_KEY_ID = …`
    Powershell,
    /// The JSON of the HTTP endpoint
    Ecs,
}

impl Format {
    /// Whose language its lines are in; `None` where it is a document.
    #[must_use]
    pub fn dialect(self) -> Option<Dialect> {
        match self {
            Self::Env => Some(Dialect::Env),
            Self::Dotenv => Some(Dialect::Dotenv),
            Self::Fish => Some(Dialect::Fish),
            Self::Powershell => Some(Dialect::Powershell),
            Self::Process | Self::Ecs => None,
        }
    }
}

/// The language in which variables are set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Dialect {
    /// For a POSIX shell: `export NAME=…`
    #[default]
    Env,
    /// For a .env file: `NAME=…`
    Dotenv,
    /// For fish: `set -gx NAME …`
    Fish,
    /// For PowerShell: `$env:NAME = …`
    Powershell,
}

/// How logs are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One object a line.
    Json,
}

/// What `--log-level` or `RUST_LOG` wants logged: `info`, or `info,credenza=debug`. tracing alone would take a misspelt
/// level for the name of a target.
///
/// # Errors
/// Says what to write, without the text.
pub fn parse_log_level(text: &str) -> Result<Targets, String> {
    const WRONG: &str = "write off, error, warn, info, debug, trace, or TARGET=LEVEL with commas between them";
    let is_level = |directive: &str| directive.contains('=') || directive.parse::<LevelFilter>().is_ok();
    if !text.split(',').map(str::trim).all(is_level) {
        return Err(WRONG.into());
    }
    text.parse().map_err(|_| WRONG.into())
}
