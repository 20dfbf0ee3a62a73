//! What `get` and `env` can be asked for.

use clap::ValueEnum;

/// How `get` prints credentials.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum OutputFormat {
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

impl OutputFormat {
    /// Whose language its lines are in; `None` where it is a document.
    #[must_use]
    pub(crate) fn dialect(self) -> Option<ShellDialect> {
        match self {
            Self::Env => Some(ShellDialect::Env),
            Self::Dotenv => Some(ShellDialect::Dotenv),
            Self::Fish => Some(ShellDialect::Fish),
            Self::Powershell => Some(ShellDialect::Powershell),
            Self::Process | Self::Ecs => None,
        }
    }
}

/// The language in which variables are set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum ShellDialect {
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
