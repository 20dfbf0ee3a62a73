//! The values of `--format` of `get` and `env`.

use clap::ValueEnum;

/// The output format of `get`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum OutputFormat {
    /// The JSON of `credential_process`
    #[default]
    Process,
    /// Variables for a POSIX shell: `export AWS_ACCESS_KEY_ID=…`
    Env,
    /// Variables of a .env file for python-dotenv and Compose: `AWS_ACCESS_KEY_ID=…`
    Dotenv,
    /// Variables for fish: `set -gx AWS_ACCESS_KEY_ID …`
    Fish,
    /// Variables for PowerShell: `$env:AWS_ACCESS_KEY_ID = …`
    Powershell,
    /// The JSON of the HTTP endpoint
    Ecs,
}

impl OutputFormat {
    /// Returns the language of the variables; `None` for a JSON document.
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

impl From<ShellDialect> for OutputFormat {
    fn from(dialect: ShellDialect) -> Self {
        match dialect {
            ShellDialect::Env => Self::Env,
            ShellDialect::Dotenv => Self::Dotenv,
            ShellDialect::Fish => Self::Fish,
            ShellDialect::Powershell => Self::Powershell,
        }
    }
}

/// The syntax in which variables are printed.
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
