//! Logs in when a command needs it, and lets the command go on: for a person at a terminal, who is asked first.

use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use crate::cli::control::ControlInputs;
use crate::cli::control::mfa::mfa;
use crate::cli::daemon_client::DaemonClient;
use crate::cli::daemon_client::address::credentials_path;
use crate::cli::error::CommandError;
use crate::cli::login::browser::{trusted_path, trusted_program};
use crate::cli::login::needed::NeededLogin;
use crate::cli::login::targets::LoginTarget;
use crate::cli::login::{LoginRequest, LoginResult, login};
use crate::context::Context;
use crate::model::error::ErrorKind;
use crate::model::identity_name::IdentityName;
use crate::model::text::Escaped;
use crate::os::signals;
use crate::os::signals::Signals;
use crate::os::tty::read_line;
use crate::shared_config::locate::NamedPaths;

/// The variable of `login --no-browser`.
const NO_BROWSER: &str = "CREDENZA_NO_BROWSER";

/// The time for a daemon to notice a login, and the pause between two looks. It watches the cache of logins.
const NOTICE_TIMEOUT: Duration = Duration::from_secs(10);
const NOTICE_PAUSE: Duration = Duration::from_millis(200);

/// The person who may log in for a command.
#[derive(Debug)]
pub(crate) struct LoginOffer<'a> {
    context: &'a Context,
    shared_files: &'a NamedPaths,
    /// Logs in without a question: `--login`.
    without_asking: bool,
}

impl<'a> LoginOffer<'a> {
    /// Returns an offer to the person at the terminal. `None` if standard input or standard error is none: a program
    /// waits for no answer.
    pub(crate) fn at_the_terminal(
        context: &'a Context,
        shared_files: &'a NamedPaths,
        without_asking: bool,
    ) -> Option<Self> {
        let is_terminal = io::stdin().is_terminal() && io::stderr().is_terminal();
        is_terminal.then_some(Self { context, shared_files, without_asking })
    }

    /// Logs in if an error asks for it and the person agrees. Returns true if the command can go on.
    ///
    /// # Errors
    /// If the login fails or is interrupted.
    pub(crate) async fn accepted(&self, failed: &CommandError) -> Result<bool, CommandError> {
        match failed.needed_login() {
            Some((reason, login)) => self.log_in(&reason, login).await,
            None => Ok(false),
        }
    }

    /// Logs in if a daemon needs it for an identity and the person agrees, and waits until the daemon has noticed. The
    /// code of an MFA device is asked for and handed to the daemon.
    ///
    /// # Errors
    /// If the login fails or is interrupted. Other errors of the daemon are left to the command.
    pub(crate) async fn for_daemon(&self, inputs: &ControlInputs, identity: &IdentityName) -> Result<(), CommandError> {
        let Ok(daemon) = DaemonClient::find(&inputs.config.server, self.context) else { return Ok(()) };
        let path = credentials_path(identity);
        let Ok(Err(refusal)) = daemon.try_get(&path).await else { return Ok(()) };
        match refusal.needed() {
            Some(ErrorKind::LoginRequired) => {
                let Some(login) = NeededLogin::in_message(refusal.message()) else { return Ok(()) };
                let reason = refusal.message().split("; run: ").next().unwrap_or_default();
                let reason = Escaped(reason).to_string();
                if !self.log_in(&reason, login).await? {
                    return Ok(());
                }
            }
            Some(ErrorKind::MfaRequired) => {
                interruptible(mfa(inputs, identity, None, false)).await??;
            }
            _ => return Ok(()),
        }
        let noticed = async {
            while matches!(daemon.try_get(&path).await, Ok(Err(refusal)) if refusal.needed().is_some()) {
                tokio::time::sleep(NOTICE_PAUSE).await;
            }
        };
        // The command reports what is still missing.
        let _ = tokio::time::timeout(NOTICE_TIMEOUT, noticed).await;
        Ok(())
    }

    async fn log_in(&self, reason: &str, needed: NeededLogin) -> Result<bool, CommandError> {
        if !self.without_asking && !agrees(reason).await? {
            return Ok(false);
        }
        match needed {
            NeededLogin::Sso(target) => self.at_sso(target).await,
            NeededLogin::Aws { profile } => self.by_the_aws_cli(profile.as_deref()).await,
        }
    }

    async fn at_sso(&self, target: LoginTarget) -> Result<bool, CommandError> {
        let NamedPaths { credentials, config } = self.shared_files.clone();
        let no_browser = self.context.environment.get(NO_BROWSER).is_some_and(|value| {
            !["", "0", "n", "no", "f", "false", "off"].contains(&value.trim().to_ascii_lowercase().as_str())
        });
        let request =
            LoginRequest { target, open_browser: !no_browser, credentials_file: credentials, config_file: config };
        match login(self.context, &request, &mut io::stderr(), true).await? {
            LoginResult::Done => Ok(true),
            LoginResult::Interrupted(signal) => {
                let error = CommandError::new("the command was not run: the login was cancelled");
                Err(error.with_code(signals::exit_code(signal)))
            }
        }
    }

    /// Runs `aws login`. Its output goes to standard error: standard output is that of the command.
    async fn by_the_aws_cli(&self, profile: Option<&str>) -> Result<bool, CommandError> {
        let Context { environment, trust, .. } = self.context;
        let shown = profile.map_or_else(|| "aws login".into(), |profile| format!("aws login --profile {profile}"));
        let failed = |why: &str| CommandError::new(format!("{shown}: {why}. Run it in another terminal"));
        let path = trusted_program(environment, "aws", trust).map_err(|why| failed(&why))?;
        let mut command = Command::new(path);
        command.arg("login").args(profile.into_iter().flat_map(|profile| ["--profile", profile]));
        command.env("PATH", trusted_path(environment, trust)).kill_on_drop(true);
        for name in environment.names().filter(|name| name.starts_with("CREDENZA_")) {
            command.env_remove(name);
        }
        command.stdout(Stdio::from(
            io::stderr().as_fd().try_clone_to_owned().map_err(|error| failed(&error.to_string()))?,
        ));
        let mut child = command.spawn().map_err(|error| failed(&error.to_string()))?;
        match interruptible(child.wait()).await? {
            Ok(status) if status.success() => Ok(true),
            Ok(status) => Err(failed(&format!("it failed ({status})"))),
            Err(error) => Err(failed(&error.to_string())),
        }
    }
}

/// Asks the person at the terminal. An empty answer agrees; the end of the input does not.
async fn agrees(reason: &str) -> Result<bool, CommandError> {
    // Ignore errors: a person who sees no question gives no answer.
    let _ = write!(io::stderr(), "credenza: {reason}\nLog in now? [Y/n] ").and_then(|()| io::stderr().flush());
    let answer = interruptible(read_line()).await?;
    let answer = answer.map_err(|error| CommandError::new(format!("there is no terminal to ask at: {error}")))?;
    Ok(answer.is_some_and(|line| ["", "y", "yes"].contains(&line.trim().to_ascii_lowercase().as_str())))
}

/// Waits for work of a person, until a signal ends the program.
async fn interruptible<T>(work: impl Future<Output = T>) -> Result<T, CommandError> {
    let signals = Signals::listen(signals::ENDING);
    let mut signals = signals.map_err(|error| CommandError::new(format!("cannot listen to signals: {error}")))?;
    signals.unless_ended(work).await.map_err(|signal| {
        CommandError::new("the command was not run: interrupted").with_code(signals::exit_code(signal))
    })
}

/// Runs a command, and once more after a login that it needed.
///
/// # Errors
/// The error of the command, or of the login.
pub(crate) async fn with_login<T>(
    offer: Option<&LoginOffer<'_>>,
    mut run: impl AsyncFnMut() -> Result<T, CommandError>,
) -> Result<T, CommandError> {
    let failed = match run().await {
        Ok(done) => return Ok(done),
        Err(failed) => failed,
    };
    match offer {
        Some(offer) if offer.accepted(&failed).await? => run().await,
        _ => Err(failed),
    }
}

/// Logs in before a command that uses a running daemon, if the daemon needs it and a person at the terminal agrees.
///
/// # Errors
/// If the login fails or is interrupted.
pub(crate) async fn log_in_for_daemon(
    inputs: &ControlInputs,
    shared_files: &NamedPaths,
    without_asking: bool,
    identity: &IdentityName,
) -> Result<(), CommandError> {
    match LoginOffer::at_the_terminal(&inputs.context, shared_files, without_asking) {
        Some(offer) => offer.for_daemon(inputs, identity).await,
        None => Ok(()),
    }
}
