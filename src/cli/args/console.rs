//! The arguments of `credenza console`.

use std::time::Duration;

use clap::ArgMatches;
use clap::builder::BoolishValueParser;

use crate::aws::federation::ConsoleService;
use crate::cli::args::choice;
use crate::cli::args::command::Command;
use crate::cli::command_options::{NameOptions, PolicyOptions, console_duration};
use crate::cli::console::ConsoleRequest;
use crate::config::value;
use crate::source::spec::RoleSpec;

#[derive(clap::Args)]
pub(crate) struct ConsoleArguments {
    #[command(flatten)]
    name: NameOptions,

    /// Open the page of this service, named as in the URLs of the console [default: the start page]
    #[arg(long, env = "CREDENZA_SERVICE", value_name = "SERVICE", value_parser = ConsoleService::parse)]
    service: Option<ConsoleService>,

    /// Print the login URL, a secret, and open no browser
    #[arg(long, env = "CREDENZA_PRINT", value_parser = BoolishValueParser::new())]
    print: bool,

    /// The duration of the console session, from 15m to 12h [default: until the credentials expire]
    #[arg(long, env = "CREDENZA_DURATION", value_name = "TIME", value_parser = console_duration)]
    duration: Option<Duration>,

    /// Assume this role with the credentials
    #[arg(long, env = "CREDENZA_ROLE_ARN", value_name = "ARN", value_parser = value::role_arn)]
    role_arn: Option<Box<str>>,

    #[command(flatten)]
    policies: PolicyOptions,
}

impl ConsoleArguments {
    pub(crate) fn command(self, matches: &ArgMatches) -> Result<Command, String> {
        let Self { name, service, print, duration, role_arn, policies } = self;
        let role = role_arn.map(|arn| RoleSpec { arn, ..RoleSpec::default() });
        let identity = choice(name, "console", matches)?;
        Ok(Command::Console(ConsoleRequest { identity, service, print, duration, role, policies }))
    }
}
