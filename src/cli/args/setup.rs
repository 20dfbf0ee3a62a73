//! The arguments of the commands that write profiles: `setup profile` and `profiles --from-sso`.

use clap::builder::BoolishValueParser;

use crate::cli::args::arguments::Arguments;
use crate::cli::args::command::Command;
use crate::cli::profiles::from_sso::{FromSsoRequest, NameTemplate};
use crate::cli::setup::SetupRequest;
use crate::config::value;
use crate::model::identity_name::IdentityName;

/// The template that gives each role a name of its own in nearly all organisations.
const DEFAULT_TEMPLATE: &str = "{account_name}-{role}";

#[derive(clap::Subcommand)]
pub(crate) enum SetupSubcommand {
    /// Write a profile whose credential_process is Credenza, for programs that are not started from a shell
    #[command(after_help = "\
Examples:
  credenza setup profile ide --identity dev
  credenza setup profile cron --profile admin --yes
  credenza setup profile ide --identity prod --from-daemon --replace
IDEs, cron, launchers and systemd user units know neither your PATH nor your variables, so that the line names this program \
and its files by their full paths. The profile is shown first, and written into the config file (~/.aws/config, \
AWS_CONFIG_FILE or --config-file), whose other lines stay as they are. A profile of that name is refused unless this \
command has written it and --replace is given. So is a profile that would lead back to itself.")]
    Profile(SetupProfileArguments),
}

#[derive(clap::Args)]
pub(crate) struct SetupProfileArguments {
    /// The name of the new profile
    #[arg(value_name = "NAME", value_parser = value::profile)]
    new_profile: Box<str>,

    /// Get the credentials of this identity [default: those of --profile]
    #[arg(long, env = "CREDENZA_IDENTITY", value_name = "NAME", value_parser = value::identity)]
    identity: Option<IdentityName>,

    /// Get the credentials from the running daemon, not from the sources
    #[arg(long, env = "CREDENZA_FROM_DAEMON", value_parser = BoolishValueParser::new())]
    from_daemon: bool,

    /// Replace a profile that this command has written
    #[arg(long, env = "CREDENZA_REPLACE", value_parser = BoolishValueParser::new())]
    replace: bool,

    /// Write without asking
    #[arg(long, env = "CREDENZA_YES", value_parser = BoolishValueParser::new())]
    yes: bool,
}

impl SetupSubcommand {
    /// Returns the command. The shared options `--profile` and `--region` are about the new profile here.
    pub(crate) fn command(self, shared: &mut Arguments) -> Result<Command, String> {
        let Self::Profile(SetupProfileArguments { new_profile: name, identity, from_daemon, replace, yes }) = self;
        let profile = shared.sources.profile.take();
        match (&identity, &profile) {
            (None, None) => {
                return Err("the sources of the new profile are missing; add --identity or --profile".into());
            }
            (Some(_), Some(_)) => {
                return Err("--identity and --profile (or their variables) are both given; remove one of them".into());
            }
            (None, Some(_)) if from_daemon => {
                return Err("--from-daemon needs an identity; add --identity in place of --profile".into());
            }
            _ => {}
        }
        let region = shared.sources.region.take();
        let token_file = shared.server.token_file.clone();
        Ok(Command::Setup(SetupRequest { name, identity, profile, from_daemon, region, token_file, replace, yes }))
    }
}

#[derive(clap::Args)]
pub(crate) struct FromSsoArguments {
    /// List the accounts and roles of a login at IAM Identity Center (SSO) as new profiles
    #[arg(long, env = "CREDENZA_FROM_SSO", value_parser = BoolishValueParser::new())]
    from_sso: bool,

    /// The login: this [sso-session NAME] of the config file [default: the only one]
    #[arg(id = "sso_session", long = "session", alias = "sso-session", env = "CREDENZA_SESSION", value_name = "NAME")]
    #[arg(value_parser = value::sso_session, requires = "from_sso")]
    session: Option<Box<str>>,

    /// The names of the profiles, from {account_name}, {account_id}, {role} and {session}
    #[arg(long, env = "CREDENZA_TEMPLATE", value_name = "TEMPLATE", default_value = DEFAULT_TEMPLATE)]
    #[arg(value_parser = NameTemplate::parse)]
    template: NameTemplate,

    /// Write the new profiles into the config file
    #[arg(long, env = "CREDENZA_WRITE", value_parser = BoolishValueParser::new(), requires = "from_sso")]
    write: bool,

    /// Write without asking
    #[arg(long, env = "CREDENZA_YES", value_parser = BoolishValueParser::new(), requires = "write")]
    yes: bool,
}

impl FromSsoArguments {
    /// Returns the request. `None` without `--from-sso`.
    pub(crate) fn request(self, shared: &mut Arguments) -> Option<FromSsoRequest> {
        let Self { from_sso, session, template, write, yes } = self;
        from_sso.then(|| FromSsoRequest { session, template, region: shared.sources.region.take(), write, yes })
    }
}
