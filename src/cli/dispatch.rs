//! Runs one command and turns its result into output and an exit code.

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use crate::cli::args::command::{Command, ExecRequest, StatusRequest};
use crate::cli::control::complete_names;
use crate::cli::control::complete_names::NameKind;
use crate::cli::control::mfa;
use crate::cli::control::mfa_session::DaemonMfaSessions;
use crate::cli::control::{CommandOutput, ControlCommand, ControlInputs, control};
use crate::cli::env::EnvRequest;
use crate::cli::error::CommandError;
use crate::cli::exit_code;
use crate::cli::find_identity::{IdentityChoice, find_identity};
use crate::cli::login::LoginResult;
use crate::cli::login::resume::{LoginOffer, log_in_for_daemon, with_login};
use crate::cli::login::targets;
use crate::cli::output::formats::OutputFormat;
use crate::cli::serve::ServeInputs;
use crate::cli::status::StatusView;
use crate::cli::terminal::View;
use crate::cli::{
    audit, check, console, daemon_client, env, exec, get, login, logout, narrow, profiles, region_endpoint, serve,
    setup, status,
};
use crate::config::Config;
use crate::config::load::{ConfigLoader, LoadError};
use crate::context::Context;
use crate::context::mfa::Mfa;
use crate::context::mfa_sessions::MfaSessions;
use crate::model::identity_name::IdentityName;
use crate::os::files::watcher::Watcher;
use crate::os::signals;
use crate::os::signals::Signals;
use crate::os::systemd;
use crate::os::systemd::{PassedSocket, ServiceManager};
use crate::os::tty::Terminal;
use crate::shared_config::locate::NamedPaths;

pub(crate) struct ServiceInputs {
    pub(crate) manager: ServiceManager,
    pub(crate) sockets: Vec<PassedSocket>,
}

impl ServiceInputs {
    /// Takes the variables of the service manager out of the environment. Call it before the first thread starts.
    pub(crate) fn take(command: &Command) -> Result<Self, systemd::SocketError> {
        // Only the daemon may keep the sockets of the service manager.
        let sockets = if matches!(command, Command::Serve) { systemd::sockets()? } else { Vec::new() };
        Ok(Self { manager: ServiceManager::of_this_process(), sockets })
    }
}

/// The inputs of a command, prepared at start-up.
pub(crate) struct Resources {
    pub(crate) context: Context,
    pub(crate) watcher: Watcher,
    pub(crate) loader: ConfigLoader,
    pub(crate) config: Config,
    pub(crate) service: ServiceInputs,
    /// The shared files that flags and variables name.
    pub(crate) shared_files: NamedPaths,
    /// The control socket that a flag or a variable names.
    pub(crate) control_socket: Option<PathBuf>,
    pub(crate) view: View,
}

/// Runs the command.
///
/// # Errors
/// The error of the command; the exit code is then 1.
pub(crate) async fn dispatch(command: Command, resources: Resources) -> Result<ExitCode, CommandError> {
    let Resources { mut context, watcher, loader, config, service, shared_files, control_socket, view } = resources;
    let loads = matches!(
        command,
        Command::Get { from_daemon: false, .. } | Command::Check { .. } | Command::Exec(_) | Command::Console(_)
    );
    if loads && io::stdin().is_terminal() {
        context.terminal = Terminal::ours();
    }
    // Programs call the other commands again and again, for one profile of many.
    context.warns_of_all_profiles = matches!(
        command,
        Command::Serve | Command::Check { .. } | Command::Profiles { .. } | Command::Login(_) | Command::Logout(_)
    );
    if matches!(command, Command::Serve | Command::Check { .. }) {
        context.environment = region_endpoint::with_imds(&context.environment);
    }
    if loads {
        let daemon = ControlInputs::new(context.clone(), config.clone(), control_socket.clone());
        context.mfa_sessions = MfaSessions::with_lender(Arc::new(DaemonMfaSessions::new(daemon)));
    }
    match command {
        Command::Serve => {
            let ServiceInputs { manager, sockets } = service;
            serve::serve(ServeInputs { context, watcher, loader, config, manager, sockets }).await?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Get { identity, format, from_daemon: true, login, .. } => {
            let inputs = ControlInputs::new(context.clone(), config.clone(), control_socket);
            log_in_for_daemon(&inputs, &shared_files, login, identity.name()).await?;
            print(&get::from_daemon(&config.server, &context, identity.name(), format).await?)
        }
        Command::Get { identity, format, from_daemon: false, login, mfa_code, role, policies } => {
            context.mfa = mfa_code.map_or_else(Mfa::at_the_terminal, Mfa::given);
            let identity = find_identity(&context, &config, &shared_files, &identity).await?;
            let identity = narrow::narrowed(&context, identity, role, policies, None).await?;
            let offer = LoginOffer::at_the_terminal(&context, &shared_files, login);
            let get = async || unless_ended(get::get(&context, &identity, format)).await;
            match with_login(offer.as_ref(), get).await? {
                Ok(text) => print(&text),
                Err(code) => Ok(code),
            }
        }
        Command::Env(request) => {
            let inputs = ControlInputs::new(context.clone(), config.clone(), control_socket);
            log_in_for_daemon(&inputs, &shared_files, request.login, &request.identity).await?;
            print(&env::env(&config.server, config.imds.as_ref(), &context, &request).await?)
        }
        Command::ShellSwitch { identity, dialect } => {
            let inputs = ControlInputs::new(context.clone(), config.clone(), control_socket);
            log_in_for_daemon(&inputs, &shared_files, false, &identity).await?;
            let shadowed = EnvRequest { identity: identity.clone(), dialect, shadow: true, login: false };
            let lines = env::env(&config.server, config.imds.as_ref(), &context, &shadowed).await;
            let failed = match lines {
                Ok(lines) => return print(&lines),
                Err(failed) => failed,
            };
            context.mfa = Mfa::at_the_terminal();
            let choice = IdentityChoice::IdentityOrProfile(identity);
            let Ok(identity) = find_identity(&context, &config, &shared_files, &choice).await else {
                return Err(failed);
            };
            let offer = LoginOffer::at_the_terminal(&context, &shared_files, false);
            let get = async || unless_ended(get::get(&context, &identity, OutputFormat::from(dialect))).await;
            let keys = match with_login(offer.as_ref(), get).await? {
                Ok(keys) => keys,
                Err(code) => return Ok(code),
            };
            tracing::warn!(
                "no daemon serves {}, so that this shell has its keys, which are not renewed: {failed}",
                identity.name
            );
            print(&keys)?;
            print(&env::beside_keys(&context.environment, &identity.name, dialect)?)
        }
        Command::EnvUnset(dialect) => print(&env::unset(&context, dialect)?),
        Command::Exec(request) if request.from_daemon => {
            let ExecRequest { identity, keep_profiles, login, command, .. } = request;
            let inputs = ControlInputs::new(context.clone(), config.clone(), control_socket);
            log_in_for_daemon(&inputs, &shared_files, login, identity.name()).await?;
            let code =
                exec::from_daemon::exec(&config.server, &context, identity.name(), keep_profiles, &command).await?;
            Ok(ExitCode::from(code))
        }
        Command::Exec(request) => {
            let ExecRequest { identity, login, mfa_code, keep_profiles, role, policies, lifetime, command, .. } =
                request;
            context.mfa = mfa_code.map_or_else(Mfa::at_the_terminal, Mfa::given);
            let identity = find_identity(&context, &config, &shared_files, &identity).await?;
            let identity = narrow::narrowed(&context, identity, role, policies, lifetime).await?;
            let offer = LoginOffer::at_the_terminal(&context, &shared_files, login);
            let mut first = Some((context.clone(), watcher));
            let exec = async || {
                let (context, watcher) = first.take().unwrap_or_else(|| exec::again(&context));
                exec::exec(context, watcher, identity.clone(), keep_profiles, &command).await
            };
            Ok(ExitCode::from(with_login(offer.as_ref(), exec).await?))
        }
        Command::Console(mut request) => {
            context.mfa = Mfa::at_the_terminal();
            let identity = find_identity(&context, &config, &shared_files, &request.identity).await?;
            let (role, policies) = (request.role.take(), std::mem::take(&mut request.policies));
            let mut identity = narrow::narrowed(&context, identity, role, policies, None).await?;
            if let Some(narrowing) = &mut identity.narrowing {
                narrowing.duration = request.duration;
            }
            let offer = LoginOffer::at_the_terminal(&context, &shared_files, false);
            let open = async || unless_ended(console::console(&context, &identity, &request)).await;
            match with_login(offer.as_ref(), open).await? {
                Ok(text) => print(&text),
                Err(code) => Ok(code),
            }
        }
        Command::Check { verify } => {
            context.mfa = Mfa::at_the_terminal();
            let report = match until_signal(check::check(&context, &config, view, verify)).await? {
                Ok(report) => report,
                Err(code) => return Ok(code),
            };
            print(&report.text)?;
            Ok(if report.is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        Command::Audit(request) => {
            let now = context.clock.now();
            match until_signal(audit::audit(&request, config.audit.as_ref(), &context.environment, now)).await? {
                Ok(text) => print(&text?),
                Err(_) if request.follow => Ok(ExitCode::SUCCESS),
                Err(code) => Ok(code),
            }
        }
        Command::Profiles { json, strict } => {
            let report = profiles::profiles(&context, &shared_files, json, view).await?;
            print(&report.text)?;
            Ok(if strict && report.fails { ExitCode::FAILURE } else { ExitCode::SUCCESS })
        }
        Command::ProfilesFromSso(request) => {
            print(&profiles::from_sso::from_sso(&context, &shared_files, &request).await?)
        }
        Command::Setup(request) => {
            let said = setup::setup_profile(&context, &config, &shared_files, &request).await?;
            // Ignore errors: the reader may have closed the pipe.
            let _ = writeln!(io::stderr(), "credenza: {said}");
            Ok(ExitCode::SUCCESS)
        }
        Command::Status(request) => {
            show_status(&ControlInputs::new(context, config, control_socket), &request, view).await
        }
        Command::StatusWarnings(within) => {
            let document = status::document(&ControlInputs::new(context, config, control_socket)).await?;
            let warnings = status::fail_within::warnings(&document, within);
            print(&warnings.iter().map(|warning| format!("{warning}\n")).collect::<String>())?;
            Ok(if warnings.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        Command::Login(request) => {
            if let Some(profile) = targets::mfa_profile(&context, &request).await {
                let other = config.identity_with_profile(&profile);
                let inputs = ControlInputs::new(context, config, control_socket);
                let served = complete_names::names(&inputs, NameKind::Identities).await;
                let identity = match served.contains(&*profile) {
                    true => IdentityName::new(&*profile),
                    false => other.unwrap_or_default(),
                };
                return match until_signal(mfa::mfa(&inputs, &identity, None, false)).await? {
                    Ok(output) => print(&output?.text),
                    Err(code) => Ok(code),
                };
            }
            let mut screen = io::stderr();
            let is_terminal = screen.is_terminal();
            Ok(match login::login(&context, &request, &mut screen, is_terminal).await? {
                LoginResult::Done => ExitCode::SUCCESS,
                LoginResult::Interrupted(signal) => ExitCode::from(signals::exit_code(signal)),
            })
        }
        Command::Logout(request) => {
            let daemon = ControlInputs::new(context.clone(), config, control_socket);
            print(&logout::logout(&context, &request, &daemon).await?)
        }
        // Start-up has run these commands: they need no configuration, or only a part of it.
        Command::Completions(_) | Command::ShellInit(_) | Command::Manual(_) | Command::Control(_) => {
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Runs a command of the control socket. The inputs load the configuration.
///
/// # Errors
/// The error of the command, with its exit code.
pub(crate) async fn dispatch_control(
    command: ControlCommand,
    inputs: impl Future<Output = Result<ControlInputs, LoadError>>,
) -> Result<ExitCode, CommandError> {
    // A completion offers no names after an error or a timeout: the user waits at the prompt.
    let without_names = match &command {
        ControlCommand::CompleteNames(_) => Some(String::new()),
        ControlCommand::Complete(completion) if completion.names.is_none() => return print(&completion.text([])),
        ControlCommand::Complete(completion) => Some(completion.text([])),
        _ => None,
    };
    let work = async {
        let inputs = inputs.await.map_err(|error| {
            let code = match error {
                LoadError::Usage(_) => exit_code::BAD_USAGE,
                _ => exit_code::BAD_CONFIGURATION,
            };
            CommandError::new(error).with_code(code)
        })?;
        control(command, &inputs).await
    };
    if let Some(without_names) = without_names {
        let completed = tokio::time::timeout(complete_names::TIMEOUT, work).await;
        let text = completed.ok().and_then(Result::ok).map(|output| output.text);
        return print(text.as_deref().unwrap_or(&without_names));
    }
    let CommandOutput { text, notes } = match until_signal(work).await? {
        Ok(output) => output?,
        Err(code) => return Ok(code),
    };
    let code = print(&text)?;
    for note in notes {
        // Ignore errors: the reader may have closed the pipe.
        let _ = writeln!(io::stderr(), "credenza: {note}");
    }
    Ok(code)
}

async fn show_status(inputs: &ControlInputs, request: &StatusRequest, view: View) -> Result<ExitCode, CommandError> {
    let StatusRequest { name, ready, json, watch } = request;
    if *ready {
        let ready =
            status::ready(&daemon_client::address::address(&inputs.config.server.listen, &inputs.context.environment))
                .await?;
        return Ok(if ready { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    let load = async || {
        let document = status::document(inputs).await?;
        match name {
            Some(name) => status::of_identity(document, name),
            None => Ok(document),
        }
    };
    let status_view = || StatusView {
        name: name.as_ref(),
        verbosity: view.verbosity,
        screen: view.screen(&io::stdout(), &inputs.context.environment),
    };
    if *watch {
        let show = |result: Result<&_, &_>| match *json {
            true => status::json_line(result),
            false => status::text_or_error(result, status_view()),
        };
        status::watch::watch(load, show).await?;
        return Ok(ExitCode::SUCCESS);
    }
    let document = load().await?;
    print(&if *json { format!("{document:#}\n") } else { status::text(&document, status_view()) })
}

/// Runs the work until a signal ends the program; then returns its exit code.
async fn until_signal<T>(work: impl Future<Output = T>) -> Result<Result<T, ExitCode>, CommandError> {
    let signals = Signals::listen(signals::ENDING);
    let mut signals = signals.map_err(|error| CommandError::new(format!("cannot listen to signals: {error}")))?;
    Ok(signals.unless_ended(work).await.map_err(|signal| ExitCode::from(signals::exit_code(signal))))
}

/// Runs work that may fail until a signal ends the program; then returns its exit code.
async fn unless_ended<T>(
    work: impl Future<Output = Result<T, CommandError>>,
) -> Result<Result<T, ExitCode>, CommandError> {
    match until_signal(work).await? {
        Ok(done) => done.map(Ok),
        Err(code) => Ok(Err(code)),
    }
}

/// Writes to standard output.
///
/// # Errors
/// If the output cannot be written. A closed pipe is not an error.
pub(crate) fn print(text: &str) -> Result<ExitCode, CommandError> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(ExitCode::SUCCESS),
        // The reader closed the pipe, as `head` does. This is not an error.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(ExitCode::SUCCESS),
        Err(error) => Err(CommandError::new(format!("cannot write to standard output: {error}"))),
    }
}
