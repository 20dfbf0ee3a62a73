//! The whole command line: a command and the global flags.

use std::path::PathBuf;

use clap::Parser;
use clap::builder::BoolishValueParser;
use tracing_subscriber::filter::Targets;

use crate::cli::args::options::{ImdsOptions, ServerOptions, SourceOptions};
use crate::cli::args::subcommands::Subcommand;
use crate::cli::logging::{LogFormat, parse_log_level};
use crate::cli::terminal::ColorChoice;
use crate::config::value;

/// The heading of the options that concern neither sources nor the daemon.
const SHARED: &str = "Configuration and logs";

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
(--config), and that file over the defaults. Exit codes: 0 success, 1 error, 2 wrong usage, 78 bad configuration.";

/// A local credential broker for AWS and S3: finds credentials, keeps them fresh, serves them on localhost.
#[derive(Parser)]
#[command(name = "credenza", version, after_help = EXAMPLES, max_term_width = 120)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Option<Subcommand>,

    /// Read only this credenza.toml
    #[arg(help_heading = SHARED, long, env = "CREDENZA_CONFIG", value_name = "FILE", value_parser = value::path)]
    pub(crate) config: Option<PathBuf>,

    /// Write logs as text or as one JSON object a line
    #[arg(help_heading = SHARED, long, env = "CREDENZA_LOG_FORMAT", value_name = "FORMAT")]
    #[arg(value_enum, default_value_t, hide_possible_values = true)]
    pub(crate) log_format: LogFormat,

    /// Log level: off, error, warn, info, debug, trace, or TARGET=LEVEL,… [default: RUST_LOG, else info]
    #[arg(help_heading = SHARED, long, env = "CREDENZA_LOG_LEVEL", value_name = "LEVEL", value_parser = parse_log_level)]
    pub(crate) log_level: Option<Targets>,

    /// Print only errors, and what fails
    #[arg(short, long, env = "CREDENZA_QUIET", value_parser = BoolishValueParser::new(), overrides_with = "verbose")]
    pub(crate) quiet: bool,

    /// Print details, and more log lines
    #[arg(short, long, env = "CREDENZA_VERBOSE", value_parser = BoolishValueParser::new(), overrides_with = "quiet")]
    pub(crate) verbose: bool,

    /// Colours: auto (on a terminal, unless NO_COLOR or TERM=dumb), always, never
    #[arg(long, env = "CREDENZA_COLOR", value_name = "WHEN")]
    #[arg(value_enum, default_value_t, hide_possible_values = true)]
    pub(crate) color: ColorChoice,

    #[command(flatten)]
    pub(crate) sources: SourceOptions,

    #[command(flatten)]
    pub(crate) server: ServerOptions,

    #[command(flatten)]
    pub(crate) imds: ImdsOptions,
}
