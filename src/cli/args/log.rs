//! How logs are written, and what is.

use clap::ValueEnum;
use tracing_subscriber::filter::{LevelFilter, Targets};

/// How logs are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
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
pub(crate) fn parse_log_level(text: &str) -> Result<Targets, String> {
    const WRONG: &str = "write off, error, warn, info, debug, trace, or TARGET=LEVEL with commas between them";
    let is_level = |directive: &str| directive.contains('=') || directive.parse::<LevelFilter>().is_ok();
    if !text.split(',').map(str::trim).all(is_level) {
        return Err(WRONG.into());
    }
    text.parse().map_err(|_| WRONG.into())
}
