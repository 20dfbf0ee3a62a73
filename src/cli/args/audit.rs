//! The arguments of `audit`.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::BoolishValueParser;

use crate::cli::audit::AuditRequest;
use crate::cli::command_options::flag_duration;

const TIMES: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(10 * 365 * 24 * 3600);

#[derive(clap::Args)]
pub(crate) struct AuditArguments {
    /// The log; - is standard input [default: that of the configuration, with its rotated files]
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,

    /// Show the last time of this length, such as 30m, 24h or 7d
    #[arg(long, env = "CREDENZA_SINCE", value_name = "TIME", default_value = "24h", value_parser = times)]
    since: Duration,

    /// Show events of this client or grant only
    #[arg(long, env = "CREDENZA_CLIENT", value_name = "NAME")]
    client: Option<String>,

    /// Show events of this identity only
    #[arg(long, env = "CREDENZA_IDENTITY", value_name = "NAME")]
    identity: Option<String>,

    /// Show further events as they come
    #[arg(long, short, env = "CREDENZA_FOLLOW", value_parser = BoolishValueParser::new())]
    follow: bool,

    /// Print JSON
    #[arg(long, env = "CREDENZA_JSON", value_parser = BoolishValueParser::new())]
    json: bool,
}

impl From<AuditArguments> for AuditRequest {
    fn from(arguments: AuditArguments) -> Self {
        let AuditArguments { file, since, client, identity, follow, json } = arguments;
        Self { file, since, client, identity, follow, json }
    }
}

fn times(text: &str) -> Result<Duration, String> {
    flag_duration(&TIMES, text)
}
