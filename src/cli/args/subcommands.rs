//! The subcommands with their flags and help.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::BoolishValueParser;

use crate::cli::args::audit::AuditArguments;
use crate::cli::args::completions::CompletionShell;
use crate::cli::args::console::ConsoleArguments;
use crate::cli::args::control::{
    GrantArguments, JsonArguments, MfaArguments, RevokeArguments, TokenSubcommand, UseArguments, WhoamiArguments,
};
use crate::cli::args::help::HelpArguments;
use crate::cli::args::manual::ManualArguments;
use crate::cli::args::setup::{FromSsoArguments, SetupSubcommand};
use crate::cli::command_options::{NameOptions, PolicyOptions, RoleOptions, fail_within, lifetime};
use crate::cli::control::complete_names::NameKind;
use crate::cli::output::formats::{OutputFormat, ShellDialect};
use crate::cli::shell_init::InitShell;
use crate::config::value;
use crate::model::identity_name::IdentityName;
use crate::model::secret::Secret;

#[derive(clap::Subcommand)]
pub(crate) enum Subcommand {
    /// Serve credentials on localhost (the default command)
    #[command(after_help = "\
Example, in a shell:
  credenza serve --profile dev &
  export AWS_CONTAINER_CREDENTIALS_FULL_URI=http://127.0.0.1:9733/credentials
  export AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE=$XDG_RUNTIME_DIR/credenza/token
  aws sts get-caller-identity")]
    Serve,

    /// Load credentials once and print them, without a daemon or from a running one
    #[command(after_help = "\
Examples:
  eval \"$(credenza get --format env)\"
  credenza get --format fish | source
  credenza get --format powershell | Out-String | Invoke-Expression
  credenza get --identity minio --format ecs
In ~/.aws/config, for programs that know no container endpoint:
  [profile broker]
  credential_process = credenza get --from-daemon --identity minio
--from-daemon requests them at the address of the configuration or --listen. It sends the auth token only if the \
listener belongs to root or to the owner of the token file.
At a terminal it asks to log in when a login has ended, and then goes on; --login does so without a question. Without a \
terminal it fails with the command that logs in.
For a shell, CREDENZA_SET lists the region and endpoint variables that Credenza has set. The next get or env unsets those \
that its identity does not have, and keeps your own.")]
    Get {
        #[command(flatten)]
        name: NameOptions,

        /// Print JSON for credential_process, variables for a shell, or the HTTP response
        #[arg(long, env = "CREDENZA_FORMAT", value_enum, default_value_t)]
        format: OutputFormat,

        /// Get the credentials from a running daemon, not from the sources
        #[arg(long, env = "CREDENZA_FROM_DAEMON", value_parser = BoolishValueParser::new())]
        from_daemon: bool,

        /// Log in without a question if a login has ended, at a terminal
        #[arg(long, env = "CREDENZA_LOGIN", value_parser = BoolishValueParser::new())]
        login: bool,

        /// The MFA code, if a profile has mfa_serial [default: prompt at the terminal]
        #[arg(long, env = "CREDENZA_MFA_CODE", value_name = "CODE")]
        mfa_code: Option<Secret>,

        #[command(flatten)]
        role: RoleOptions,

        #[command(flatten)]
        policies: PolicyOptions,
    },

    /// Print the variables that make AWS SDKs use a running daemon, and unset the variables that SDKs prefer to it
    #[command(after_help = "\
Examples:
  eval \"$(credenza env)\"
  eval \"$(credenza env minio --shadow)\"         without the default profile of your files
  eval \"$(credenza env --unset)\"                restores the variables from before
  credenza env minio --format fish | source
  credenza env --format powershell | Out-String | Invoke-Expression
The variables name the daemon's token file, and the region and endpoint of the identity. They contain neither the token \
nor a key. They turn instance metadata off, so that no SDK takes the role of the instance when the daemon has nothing. If a \
proxy is set, loopback is added to NO_PROXY and no_proxy, so that no proxy sees the token.
At a terminal env asks to log in when the login behind the identity has ended, or for the code of an MFA device.
A warning names credentials in files that SDKs prefer to the daemon; --shadow hides its credentials.
CREDENZA_ACTIVE is the name of the identity and the expiration of its credentials, for a prompt. CREDENZA_BEFORE keeps what \
--unset gives back; it has no secret.
CREDENZA_SET lists the variables of region, endpoint and instance metadata that Credenza has set. The next env or get unsets \
those that its identity does not have, and keeps your own.")]
    Env {
        #[command(flatten)]
        name: NameOptions,

        /// Print for this shell
        #[arg(long, env = "CREDENZA_FORMAT", value_enum, default_value_t)]
        format: ShellDialect,

        /// Name files without the credentials of your default profile, which SDKs prefer to the daemon
        #[arg(long, env = "CREDENZA_SHADOW", value_parser = BoolishValueParser::new(), conflicts_with = "unset")]
        shadow: bool,

        /// Log in without a question if a login has ended, at a terminal
        #[arg(long, env = "CREDENZA_LOGIN", value_parser = BoolishValueParser::new())]
        login: bool,

        /// Print the lines that restore the variables from before
        #[arg(long, env = "CREDENZA_UNSET", value_parser = BoolishValueParser::new())]
        unset: bool,
    },

    /// Run one command, or a shell, with its own broker, so that every AWS SDK in it finds the credentials
    #[command(
        override_usage = "credenza exec [NAME] [OPTIONS] [-- CMD...]",
        after_help = "\
Examples:
  credenza exec -- aws s3 ls
  credenza exec minio -- rclone ls :s3,env_auth:bucket
  credenza exec dev                               a shell
  credenza exec dev --role-arn arn:aws:iam::123456789012:role/admin --duration 1h -- terraform plan
  credenza exec --profile admin --keep-profiles -- terraform plan
  credenza exec dev --login -- ./deploy           logs in first if the login has ended
  credenza exec --identity prod --policy read-only.json --for 30m -- ./agent
NAME is an identity of credenza.toml, or else a profile. Without a command a shell of yours starts. \
The command starts when credentials are loaded. At a terminal exec asks to log in when a login has ended, and then goes on. \
CREDENZA_ACTIVE is the name of the identity, for the prompt of a shell. exec exits with the exit code of the command. The command sees none of your profiles \
and keys: [default] is the broker. With --keep-profiles it can use your other profiles by their names. With --policy it may do only what the identity and the policy both allow: \
a role and a web identity are narrowed by STS itself, the long-lived keys of an IAM user by GetFederationToken (whose \
sessions may call neither IAM nor STS), and anything else is refused."
    )]
    Exec {
        #[command(flatten)]
        name: NameOptions,

        /// Let the command use a running daemon, not a broker of its own
        #[arg(long, env = "CREDENZA_FROM_DAEMON", value_parser = BoolishValueParser::new())]
        from_daemon: bool,

        /// Log in without a question if a login has ended, at a terminal
        #[arg(long, env = "CREDENZA_LOGIN", value_parser = BoolishValueParser::new())]
        login: bool,

        /// The MFA code, if a profile has mfa_serial [default: prompt at the terminal]
        #[arg(long, env = "CREDENZA_MFA_CODE", value_name = "CODE")]
        mfa_code: Option<Secret>,

        /// Let the command read your other profiles, too
        #[arg(long, env = "CREDENZA_KEEP_PROFILES", value_parser = BoolishValueParser::new())]
        keep_profiles: bool,

        #[command(flatten)]
        role: RoleOptions,

        #[command(flatten)]
        policies: PolicyOptions,

        /// End the credentials after this time, such as 90s, 30m or 8h [default: with the command]
        #[arg(long = "for", env = "CREDENZA_FOR", value_name = "TIME", value_parser = lifetime)]
        lifetime: Option<Duration>,

        /// The command and its arguments, after -- [default: a shell]
        #[arg(last = true, num_args = 0.., value_name = "CMD")]
        command: Vec<OsString>,
    },

    /// Open the AWS console in a browser as an identity or a profile
    #[command(after_help = "\
Examples:
  credenza console
  credenza console prod --service s3
  credenza console dev --role-arn arn:aws:iam::123456789012:role/admin --duration 8h
  credenza console dev --policy-arn arn:aws:iam::aws:policy/ReadOnlyAccess
  credenza console prod --print | wl-copy           for a browser elsewhere
NAME is an identity of credenza.toml, or else a profile. Its session is exchanged for a sign-in token of the console. The \
session of a role enters as it is: also that of IAM Identity Center, whose access portal (sso_start_url) opens the same console. \
The long-lived keys of an IAM user are exchanged by GetFederationToken first, with a session policy that allows everything: the \
console session may do what the user may, without the rights that need MFA. --policy and --policy-arn limit it further. \
Sessions of GetSessionToken, keys of the root user and keys of another store than AWS cannot enter. \
The login URL works in every browser for 15 minutes. It is no argument of the browser: that gets a short URL on loopback, which \
leads one browser of yours to it, once. Without a browser the login URL is printed at the terminal.")]
    Console(ConsoleArguments),

    /// Try the configuration and every source, and explain each result
    #[command(after_help = "\
Examples:
  credenza check
  credenza check --profile dev
  credenza check -v                     every source of every identity, and each link of a chain
  credenza check --verify               find keys that were revoked, have expired or were mistyped
It prints a line for each identity, failures first, and explains those that fail.
Exit codes: 0 every identity can be served, 1 an identity cannot, 78 the configuration has an error. An identity with \
eager = false may be unconfigured. With --verify, 1 also if STS does not accept the keys of an identity. Keys of another store \
than AWS are verified only at an STS that is configured for them.")]
    Check {
        /// Ask STS with the keys of each identity (GetCallerIdentity)
        #[arg(long, env = "CREDENZA_VERIFY", value_parser = BoolishValueParser::new())]
        verify: bool,
    },

    /// List the profiles of the AWS shared files and how each gets credentials; shows no secret
    #[command(after_help = "\
Examples:
  credenza profiles
  credenza profiles --strict -q         only the profiles that fail; exit with 1 if any does
  credenza profiles --config-file ./config --json | jq '.profiles.dev'
  credenza profiles --from-sso
  credenza profiles --from-sso --session work --template '{account_name}-{role}' --write
--from-sso lists every account and role of a login at IAM Identity Center as new profiles. --write adds them to the config \
file; what stands there stays as it is, and a role that has a profile gets no second one.")]
    Profiles {
        /// Print all properties as JSON: {"profiles": {NAME: {PROPERTY: VALUE}}}
        #[arg(long, env = "CREDENZA_JSON", value_parser = BoolishValueParser::new(), conflicts_with = "from_sso")]
        json: bool,

        /// Exit with 1 if any profile fails
        #[arg(long, env = "CREDENZA_STRICT", value_parser = BoolishValueParser::new(), conflicts_with = "from_sso")]
        strict: bool,

        #[command(flatten)]
        from_sso: FromSsoArguments,
    },

    /// Prepare other programs for Credenza
    #[command(
        subcommand,
        after_help = "\
Example:
  credenza setup profile ide --identity dev"
    )]
    Setup(SetupSubcommand),

    /// Show the identities of a running daemon, their sources and expirations
    #[command(after_help = "\
Examples:
  credenza status
  credenza status prod                  all about one identity; -v for all of them
  credenza status --ready || echo not yet
  credenza status --watch
  credenza status --fail-within 1h || mail -s credentials ops
  credenza status --watch --json | jq -c '.identities.default.state'
It connects to the address of the configuration or --listen, with the auth token of --token-file or the default file. If \
there are [clients], or with --control-socket, it asks the control socket, which shows grants as well.")]
    Status {
        /// Show the details of this identity alone
        #[arg(value_name = "NAME", value_parser = value::identity, conflicts_with_all = ["ready", "fail_within"])]
        name: Option<IdentityName>,

        /// Print nothing; exit with 0 if every eager identity is ready, else with 1; needs no token
        #[arg(long, env = "CREDENZA_READY", value_parser = BoolishValueParser::new())]
        ready: bool,

        /// Print the daemon's JSON
        #[arg(long, env = "CREDENZA_JSON", value_parser = BoolishValueParser::new())]
        json: bool,

        /// Update the screen until Ctrl-C; without a terminal, print each change
        #[arg(long, env = "CREDENZA_WATCH", value_parser = BoolishValueParser::new(), conflicts_with = "ready")]
        watch: bool,

        /// Print only what fails, or will fail within this time, such as 30m, without a login; exit with 1 if anything does
        #[arg(long, env = "CREDENZA_FAIL_WITHIN", value_name = "TIME", value_parser = fail_within, conflicts_with_all = ["ready", "watch", "json"])]
        fail_within: Option<Duration>,
    },

    /// Log in at IAM Identity Center (SSO), so that profiles with sso_session or sso_start_url work
    #[command(after_help = "\
Examples:
  credenza login                        the session of AWS_PROFILE, AWS_DEFAULT_PROFILE or default
  credenza login --profile dev          the session of this profile
  credenza login --sso-session work     the session of [sso-session work] in ~/.aws/config
  credenza login --all                  every session of ~/.aws/config, once each
It shows a page and a code, opens the page in a browser ($BROWSER, else the desktop's), and waits until you confirm the \
code there. The token is written to ~/.aws/sso/cache, where the AWS CLI and the SDKs find it. A running daemon uses it at once. \
For a profile with mfa_serial it asks for the code, and hands it to the running daemon, as `credenza mfa` does.")]
    Login {
        /// Log in to this [sso-session NAME] of the config file
        #[arg(long, env = "CREDENZA_SSO_SESSION", value_name = "NAME", value_parser = value::sso_session)]
        sso_session: Option<Box<str>>,

        /// Log in to every session in the shared files
        #[arg(long, env = "CREDENZA_ALL", value_parser = BoolishValueParser::new())]
        all: bool,

        /// Print the page, and open no browser
        #[arg(long, env = "CREDENZA_NO_BROWSER", value_parser = BoolishValueParser::new())]
        no_browser: bool,
    },

    /// End a login at IAM Identity Center (SSO), or with --all every login and session with MFA
    #[command(after_help = "\
Examples:
  credenza logout                       the session of AWS_PROFILE, AWS_DEFAULT_PROFILE or default
  credenza logout --sso-session work    the session of [sso-session work] in ~/.aws/config
  credenza logout --all                 every session of ~/.aws/config, and the sessions with MFA of a running daemon
The access portal is told, and the token is removed from ~/.aws/sso/cache, where the AWS CLI and the SDKs find it too. \
Credentials that were handed out are valid until they expire.")]
    Logout {
        /// End the login of this [sso-session NAME] of the config file
        #[arg(long, env = "CREDENZA_SSO_SESSION", value_name = "NAME", value_parser = value::sso_session)]
        sso_session: Option<Box<str>>,

        /// End every login, and the sessions with MFA of a running daemon
        #[arg(long, env = "CREDENZA_ALL", value_parser = BoolishValueParser::new())]
        all: bool,
    },

    /// Give one task an identity for a time: make a client of a running daemon, and print the variables for it
    #[command(after_help = "\
Examples:
  credenza grant build --identity dev --for 30m --format dotenv > build.env
  credenza grant agent --identity prod --for 1h --policy read-only.json --client-file ./agent.token
  eval \"$(credenza grant me --identity dev --for 8h)\"
The output contains the token, or with --client-file its path. A grant ends after its period, by `credenza revoke`, and \
with the daemon. A policy narrows the session at AWS; it never adds rights.")]
    Grant(GrantArguments),

    /// List the grants of a running daemon; shows no token
    #[command(after_help = "\
Examples:
  credenza grants
  credenza grants --json | jq -r '.[].name'")]
    Grants(JsonArguments),

    /// End a grant of a running daemon, and say until when its keys are valid
    #[command(after_help = "\
Example:
  credenza revoke build
If the keys belong to a session, it prints the IAM policy that ends them at AWS.")]
    Revoke(RevokeArguments),

    /// Choose the identity that /credentials gives to clients of a running daemon
    #[command(after_help = "\
Examples:
  credenza use prod --for 1h
  credenza use default
The choice concerns clients that may have more than one identity, and ends with the daemon.")]
    Use(UseArguments),

    /// Show account, ARN, source and expiration of an identity or a profile
    #[command(after_help = "\
Examples:
  credenza whoami
  credenza whoami prod --verify
A running daemon tells what it knows. Without a daemon, and for a profile that it does not serve, the credentials are loaded here.")]
    Whoami(WhoamiArguments),

    /// Show the audit log: who holds which keys until when, who was refused, and what happened
    #[command(after_help = "\
Examples:
  credenza audit
  credenza audit --since 7d --client build
  credenza audit --follow
  credenza audit --json | jq -r 'select(.event == \"served\") | .access_key_id'
It reads the file of [audit] with its rotated and compressed predecessors, or the journal, and needs no daemon.")]
    Audit(AuditArguments),

    /// Make a running daemon read its configuration again
    #[command(after_help = "\
Example:
  credenza reload && credenza status")]
    Reload(JsonArguments),

    /// Show or rotate the auth token of a running daemon, or the token of a client
    #[command(
        subcommand,
        after_help = "\
Examples:
  credenza token show
  credenza token rotate --client web"
    )]
    Token(TokenSubcommand),

    /// Give a running daemon the code of an MFA device, for all roles that use the same keys
    #[command(after_help = "\
Examples:
  credenza mfa prod
  printf '%s' 123456 | credenza mfa prod --mfa-code -
The daemon uses the code once, for a session that it keeps until it expires.")]
    Mfa(MfaArguments),

    /// Print names of a running daemon for completion scripts
    #[command(hide = true)]
    CompleteNames {
        /// The kind of names
        #[arg(value_enum)]
        kind: NameKind,
    },

    /// Print a function for a shell: `cz NAME` switches the shell to an identity or a profile
    #[command(after_help = "\
Examples:
  echo 'eval \"$(credenza shell-init bash)\"' >> ~/.bashrc
  credenza shell-init fish > ~/.config/fish/conf.d/credenza.fish
Then `cz prod` makes every SDK of this shell use the identity prod of the running daemon. A profile that no daemon serves is \
exported as keys, which expire and are not renewed. `cz` alone asks for a name, and `cz -` restores the variables from before.")]
    ShellInit {
        /// The shell
        #[arg(value_enum)]
        shell: InitShell,
    },

    /// Print the lines of a shell that switches: those of `env`, or keys if no daemon serves the name
    #[command(hide = true)]
    ShellSwitch {
        /// The identity or the profile
        #[arg(long, env = "CREDENZA_IDENTITY", value_name = "NAME", value_parser = value::identity)]
        identity: IdentityName,

        /// Print for this shell
        #[arg(long, env = "CREDENZA_FORMAT", value_enum, default_value_t)]
        format: ShellDialect,
    },

    /// Ask at the terminal for an identity or a profile, and print it
    #[command(hide = true)]
    PickName,

    /// Print a completion script for a shell
    #[command(after_help = "\
Examples:
  credenza completions bash > ~/.local/share/bash-completion/completions/credenza
  credenza completions zsh > ~/.zfunc/_credenza          a folder of $fpath
  credenza completions fish > ~/.config/fish/completions/credenza.fish
  credenza completions nushell > ~/.config/nushell/autoload/credenza.nu
  credenza completions tcsh >> ~/.tcshrc
bash, zsh, fish, nushell and tcsh ask the program, which offers the names of the running daemon and of your files, too.")]
    Completions {
        /// The shell
        #[arg(value_enum)]
        shell: CompletionShell,
    },

    /// Print the words that continue a command line, for completion scripts
    #[command(hide = true)]
    Complete {
        /// The words after the name of the program; the last one is completed
        #[arg(last = true, num_args = 0.., value_name = "WORDS")]
        words: Vec<OsString>,
    },

    /// Print the words that continue the line in COMMAND_LINE, as tcsh asks
    #[command(hide = true)]
    CompleteLine,

    /// Print the manual page of credenza or of a command, or write all of them
    #[command(after_help = "\
Examples:
  credenza man | man -l -
  credenza man exec | man -l -
  credenza man --dir ~/.local/share/man/man1")]
    Man(ManualArguments),

    /// Write the manual pages into a folder
    #[command(hide = true)]
    Manual {
        /// The folder; created if missing
        #[arg(value_name = "FOLDER")]
        folder: PathBuf,
    },

    /// Print the help of a command
    #[command(after_help = "\
Examples:
  credenza help exec
  credenza help token rotate
  credenza help --all serve")]
    Help(HelpArguments),
}
