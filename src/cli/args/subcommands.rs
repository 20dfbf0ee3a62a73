//! What follows the program's name: a command with options of its own.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::builder::BoolishValueParser;
use clap_complete::Shell;

use crate::cli::output::formats::{OutputFormat, ShellDialect};
use crate::config::value;
use crate::model::identity_name::IdentityName;
use crate::model::secret::Secret;

/// What to do.
#[derive(clap::Subcommand)]
pub(crate) enum Subcommand {
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
listener belongs to root or the owner of the token file.
For a shell, CREDENZA_SET names the variables of the region and the endpoint that are ours: the next get or env unsets those \
that its identity does not have; your own stay.")]
    Get {
        /// Print the credentials of this identity
        #[arg(long, env = "CREDENZA_IDENTITY", value_name = "NAME", value_parser = value::identity, default_value = IdentityName::DEFAULT)]
        identity: IdentityName,

        /// Print for credential_process, as variables for a shell, or as the HTTP answer
        #[arg(long, env = "CREDENZA_FORMAT", value_enum, default_value_t)]
        format: OutputFormat,

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
They name the daemon's token file, and the region and the endpoint of the identity; neither the token nor a key is printed. Where a proxy is set, NO_PROXY and no_proxy get \
loopback beside what they have, for no proxy is to see the token.
CREDENZA_SET names the variables of the region and the endpoint that are ours: the next env or get unsets those that its \
identity does not have; your own stay.")]
    Env {
        /// Lead to the credentials of this identity
        #[arg(long, env = "CREDENZA_IDENTITY", value_name = "NAME", value_parser = value::identity, default_value = IdentityName::DEFAULT)]
        identity: IdentityName,

        /// Print for this shell
        #[arg(long, env = "CREDENZA_FORMAT", value_enum, default_value_t)]
        format: ShellDialect,
    },

    /// Run one command with a broker of its own, so that every AWS SDK in it finds the credentials
    #[command(after_help = "\
Examples:
  credenza exec -- aws s3 ls
  credenza exec --identity minio -- rclone ls :s3,env_auth:bucket
The command starts when there are credentials, and its exit code is ours.")]
    Exec {
        /// Serve the credentials of this identity
        #[arg(long, env = "CREDENZA_IDENTITY", value_name = "NAME", value_parser = value::identity, default_value = IdentityName::DEFAULT)]
        identity: IdentityName,

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
  credenza login                        where the profile of AWS_PROFILE or AWS_DEFAULT_PROFILE says, else default
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
