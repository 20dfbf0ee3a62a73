//! Options that have one of a few values.

use clap::ValueEnum;
use tracing_subscriber::filter::{LevelFilter, Targets};

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
