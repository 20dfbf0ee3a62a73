//! Start-up: reads the arguments, starts logging and the runtime, loads the configuration, and runs the command.

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

use crate::cli::args;
use crate::cli::args::Invocation;
use crate::cli::args::command::{Command, ExecRequest};
use crate::cli::args::completions::completion_script;
use crate::cli::args::manual::{ManualRequest, page, write_manual};
use crate::cli::control::{ControlCommand, ControlInputs};
use crate::cli::dispatch::{Resources, ServiceInputs, dispatch, dispatch_control, print};
use crate::cli::error::CommandError;
use crate::cli::exit_code;
use crate::cli::logging;
use crate::cli::login::targets::LoginTarget;
use crate::cli::shell_init::shell_init;
use crate::cli::terminal::report::ErrorScreen;
use crate::cli::terminal::{ColorChoice, Screen, Verbosity, View, has_colours};
use crate::config::identity::Identity;
use crate::config::load;
use crate::config::load::{ConfigLoader, ConfigLocation, LoadError};
use crate::config::{Config, REPLACES_DEFAULT};
use crate::context::Context;
use crate::model::text::Escaped;
use crate::os::children::{own_orphans, wait_for_runs};
use crate::os::environment::Environment;
use crate::os::files::Files;
use crate::os::files::trust::TrustPolicy;
use crate::os::files::watcher::Watcher;
use crate::os::progress::Progress;
use crate::shared_config::locate::NamedPaths;

/// The maximum number of threads for file reads and name lookups. A few dead file systems or name servers must not block
/// the other sources.
const MAX_BLOCKING_THREADS: usize = 64;

/// The maximum time to kill the programs of sources before the exit. The search takes milliseconds, unless the kernel is
/// busy.
const KILL_TIMEOUT: Duration = Duration::from_secs(2);

/// The variables that name the folders of this program: those of its configuration and its auth token.
const FOLDER_VARIABLES: [&str; 4] = ["XDG_CONFIG_HOME", "RUNTIME_DIRECTORY", "XDG_RUNTIME_DIR", "XDG_STATE_HOME"];

/// Runs the program: reads the command line, runs the command and returns the exit code.
pub fn main() -> ExitCode {
    let environment = Environment::of_process();
    let errors = |color| ErrorScreen::new(Screen::of(&io::stderr(), &environment, color), &environment);
    let fail = |message: &str, code| fail(&errors(ColorChoice::Auto), &CommandError::new(message).with_code(code));
    let ours = environment.names().filter(|name| name.starts_with("CREDENZA_")).chain(FOLDER_VARIABLES);
    if let Err(error) = environment.check_text(&ours.collect::<Vec<_>>()) {
        return fail(&error.to_string(), exit_code::BAD_USAGE);
    }
    let invocation = match args::parse(std::env::args_os(), &mut io::stdin()) {
        Ok(invocation) => invocation,
        Err(error) => error.exit(),
    };
    if let Command::Completions(shell) = invocation.command {
        return print(&completion_script(shell)).unwrap_or_else(|error| fail(&error.to_string(), 1));
    }
    if let Command::ShellInit(shell) = invocation.command {
        return print(&shell_init(shell)).unwrap_or_else(|error| fail(&error.to_string(), 1));
    }
    if let Command::Manual(request) = &invocation.command {
        return manual(request).unwrap_or_else(|(message, code)| fail(&message, code));
    }
    harden(&invocation.command);
    own_orphans();
    let progress = progress(&invocation);
    start_logging(&invocation, &environment, progress.clone());
    let screen = errors(invocation.color);
    let service = match ServiceInputs::take(&invocation.command) {
        Ok(service) => service,
        Err(error) => return fail(&error.to_string(), 1),
    };
    // One thread is enough: a request takes microseconds, and blocking threads read and parse files.
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = match builder.enable_all().max_blocking_threads(MAX_BLOCKING_THREADS).build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&format!("cannot start the async runtime: {error}"), 1),
    };
    let code = runtime.block_on(run(invocation, environment.clone(), service, progress, &screen));
    // Do not wait for threads: a thread may hang in a dead file system.
    runtime.shutdown_background();
    wait_for_runs(KILL_TIMEOUT);
    code
}

/// Prints a manual page, or writes all of them.
///
/// # Errors
/// The message and the exit code.
fn manual(request: &ManualRequest) -> Result<ExitCode, (String, u8)> {
    match request {
        ManualRequest::Print(words) => {
            let page = page(words).map_err(|error| (error, exit_code::BAD_USAGE))?;
            print(&page).map_err(|error| (error.to_string(), 1))
        }
        ManualRequest::Write(folder) => {
            let shown = Escaped(&folder.to_string_lossy()).to_string();
            let written = write_manual(folder);
            written.map_err(|error| (format!("cannot write manual pages to {shown}: {error}"), 1))?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Returns true if the command uses `AWS_PROFILE` or `AWS_DEFAULT_PROFILE`. `check` reports a conflict of the two
/// itself.
fn uses_environment_profile(command: &Command, config: &Config) -> bool {
    match command {
        Command::Login(request) | Command::Logout(request) => request.target == LoginTarget::Default,
        Command::Serve
        | Command::Console(_)
        | Command::Exec(ExecRequest { from_daemon: false, .. })
        | Command::Get { from_daemon: false, .. } => config.identities.values().any(Identity::uses_environment_profile),
        _ => false,
    }
}

async fn run(
    invocation: Invocation,
    environment: Environment,
    service: ServiceInputs,
    progress: Progress,
    screen: &ErrorScreen,
) -> ExitCode {
    let failed = |message: String, code| fail(screen, &CommandError::new(message).with_code(code));
    for warning in &invocation.warnings {
        tracing::warn!("{warning}");
    }
    let (files, watcher) = match invocation.command {
        Command::Serve | Command::Exec(_) => Files::watched(),
        _ => (Files::unwatched(), Watcher::none()),
    };
    // A daemon reads its files again and again. Other commands read them once, as the AWS CLI does.
    let files = match invocation.command {
        Command::Serve => files,
        _ => files.with_fifos(),
    };
    let shared_files = NamedPaths {
        credentials: invocation.overrides.credentials_file.clone(),
        config: invocation.overrides.config_file.clone(),
    };
    let location = ConfigLocation::new(invocation.config.as_deref(), &environment);
    let control_socket = invocation.overrides.control_socket.clone();
    let loader = ConfigLoader::new(location, invocation.overrides, files.fresh());
    if let Command::Control(command) = invocation.command {
        let inputs = ControlInputs::load(&loader, environment, files, control_socket, progress);
        return dispatch_control(command, inputs).await.unwrap_or_else(|error| fail(screen, &error));
    }
    let loaded = match invocation.command {
        Command::Serve | Command::Check { .. } => loader.load_for_daemon().await,
        Command::Status(_)
        | Command::StatusWarnings(_)
        | Command::Env(_)
        | Command::EnvUnset(_)
        | Command::Get { from_daemon: true, .. }
        | Command::Exec(ExecRequest { from_daemon: true, .. }) => loader.load_for_client().await,
        _ => loader.load().await,
    };
    let config = match loaded {
        Ok(config) => config,
        Err(error) => {
            service.manager.status(&format!("bad configuration: {error}"));
            let code =
                if matches!(error, LoadError::Usage(_)) { exit_code::BAD_USAGE } else { exit_code::BAD_CONFIGURATION };
            return failed(error.to_string(), code);
        }
    };
    let two_profiles = environment.two_profiles().filter(|_| uses_environment_profile(&invocation.command, &config));
    let runs_once = !matches!(invocation.command, Command::Serve | Command::Check { .. });
    for warning in config.warnings.iter().chain(&two_profiles).filter(|text| !runs_once || *text != REPLACES_DEFAULT) {
        tracing::warn!("{warning}");
    }
    let owners = match load::resolve_accounts(&config) {
        Ok(accounts) => accounts.trusted_owners.into(),
        Err(error) => return failed(error.to_string(), exit_code::BAD_CONFIGURATION),
    };
    let folders = config.trusted_files.folders.iter().map(|folder| environment.expand(folder)).collect();
    let trust = TrustPolicy::of_process(owners, folders);
    // The parser has checked the addresses of the file, so this one comes from a flag or a variable.
    if let Some(remote) = config.server.remote_address() {
        return failed(remote.to_string(), exit_code::BAD_USAGE);
    }
    let context = Context { trust, ..Context::new(environment, files) }.with_progress(progress);
    let view = View { verbosity: invocation.verbosity, color: invocation.color };
    let resources = Resources { context, watcher, loader, config, service, shared_files, control_socket, view };
    match dispatch(invocation.command, resources).await {
        Ok(code) => code,
        Err(error) => fail(screen, &error),
    }
}

/// Protects secrets in memory: no core file, no debugger of the same user, no `/proc/PID/mem`.
fn harden(command: &Command) {
    use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
    // Ignore a refusal of the kernel: the program works without this protection.
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    // A child inherits an rlimit, unlike the flag above. So `exec` does not lower the rlimit: its command keeps the
    // original.
    if matches!(command, Command::Exec(_)) {
        return;
    }
    let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
}

/// Returns the line for waits: none for a daemon, for completions, and with `-q`.
fn progress(invocation: &Invocation) -> Progress {
    match &invocation.command {
        Command::Serve | Command::Control(ControlCommand::CompleteNames(_)) => Progress::default(),
        _ if invocation.verbosity == Verbosity::Quiet => Progress::default(),
        _ => Progress::at_terminal(),
    }
}

fn start_logging(invocation: &Invocation, environment: &Environment, progress: Progress) {
    // The daemon also logs normal changes of its state. Other commands log only problems.
    let is_daemon = matches!(invocation.command, Command::Serve);
    // `-v` of these commands means details of their report.
    let is_report = matches!(invocation.command, Command::Status(_) | Command::Check { .. } | Command::Profiles { .. });
    let default = match (invocation.verbosity, is_daemon) {
        (Verbosity::Quiet, _) => "error",
        (Verbosity::Verbose, _) if !is_report => "info,credenza=debug",
        (_, true) => "info",
        (_, false) => "warn",
    };
    let is_chosen = match invocation.verbosity {
        Verbosity::Quiet => true,
        Verbosity::Verbose => !is_report,
        Verbosity::Normal => false,
    };
    let rust_log = environment.get("RUST_LOG").filter(|_| !is_chosen).unwrap_or(default);
    let (targets, error) = match (&invocation.log_level, logging::parse_log_level(rust_log)) {
        (Some(level), _) => (level.clone(), None),
        (None, Ok(targets)) => (targets, None),
        (None, Err(error)) => (logging::parse_log_level(default).unwrap_or_default(), Some(error)),
    };
    let has_colours = has_colours(invocation.color, io::stderr().is_terminal(), environment);
    logging::start(invocation.log_format, targets, environment.get("JOURNAL_STREAM").is_some(), has_colours, progress);
    if let Some(error) = error {
        tracing::warn!("RUST_LOG: {error}");
    }
}

/// Shows the error of a command, at every log level. Returns its exit code.
fn fail(screen: &ErrorScreen, error: &CommandError) -> ExitCode {
    // Ignore errors: `eprintln!` would panic if the reader has closed the pipe.
    let _ = io::stderr().write_all(screen.text(error).as_bytes());
    ExitCode::from(error.code)
}
