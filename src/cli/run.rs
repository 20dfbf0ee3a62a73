//! The `credenza` command: arguments → a command → an exit code.

use std::io::{self, IsTerminal, Write};
use std::net::TcpListener;
use std::process::ExitCode;

use crate::cli::args;
use crate::cli::args::{Command, Invocation};
use crate::cli::command::CommandError;
use crate::cli::logging;
use crate::cli::login::LoginResult;
use crate::cli::login::targets::LoginTarget;
use crate::cli::serve::ServeInputs;
use crate::cli::{check, daemon_client, env, exec, get, login, profiles, serve, status};
use crate::config::Config;
use crate::config::identity::Identity;
use crate::config::load;
use crate::config::load::ConfigLocation;
use crate::config::load::{ConfigLoader, LoadError};
use crate::context::Context;
use crate::context::mfa::Mfa;
use crate::model::identity_name::IdentityName;
use crate::os::environment::Environment;
use crate::os::files::Files;
use crate::os::files::watcher::Watcher;
use crate::os::signals;
use crate::os::signals::Signals;
use crate::os::systemd;
use crate::os::systemd::ServiceManager;
use crate::os::tty::Terminal;
use crate::shared_config::locate::NamedPaths;

/// A configuration that cannot be used (EX_CONFIG of sysexits(3)); systemd does not start such a service again.
const BAD_CONFIGURATION: u8 = 78;

/// A command line that makes no sense, as clap's own.
const BAD_USAGE: u8 = 2;

/// Runs the program: reads the command line, runs the command and returns the exit code.
pub fn main() -> ExitCode {
    let environment = Environment::of_process();
    let invocation = match args::parse(std::env::args_os(), &mut io::stdin()) {
        Ok(invocation) => invocation,
        Err(error) => error.exit(),
    };
    if let Command::Completions(shell) = invocation.command {
        args::write_completions(shell, &mut io::stdout());
        return ExitCode::SUCCESS;
    }
    if let Command::Manual(folder) = &invocation.command {
        return match args::write_manual(folder) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => failed(&format!("cannot write manual pages into {}: {error}", folder.display()), 1),
        };
    }
    harden(&invocation.command);
    start_logging(&invocation, &environment);
    let service = match ServiceInputs::of(&invocation.command) {
        Ok(service) => service,
        Err(error) => return failed(&error.to_string(), 1),
    };
    // One thread: a request takes microseconds, files are read and parsed on blocking threads. These are made when they
    // are needed; enough of them that some dead file systems or name servers do not stop the others.
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(64).build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&format!("cannot start: {error}"), 1),
    };
    let code = runtime.block_on(run(invocation, environment, service));
    // A thread that hangs in a dead file system must not keep the process.
    runtime.shutdown_background();
    code
}

/// What a daemon has from the one who started it.
struct ServiceInputs {
    manager: ServiceManager,
    sockets: Vec<TcpListener>,
}

impl ServiceInputs {
    /// Only the daemon listens. To be called before the first thread: it takes variables out of the environment.
    fn of(command: &Command) -> Result<Self, systemd::SocketError> {
        let sockets = if matches!(command, Command::Serve) { systemd::sockets()? } else { Vec::new() };
        Ok(Self { manager: ServiceManager::of_this_process(), sockets })
    }
}

/// Whether `AWS_PROFILE` or `AWS_DEFAULT_PROFILE` says something about what this command does. `check` tells it itself.
fn asks_for_the_environments_profile(command: &Command, config: &Config) -> bool {
    match command {
        Command::Login(wish) => wish.of == LoginTarget::Default,
        Command::Serve | Command::Exec { .. } | Command::Get { from_daemon: false, .. } => {
            config.identities.values().any(Identity::asks_for_the_environments_profile)
        }
        _ => false,
    }
}

async fn run(invocation: Invocation, environment: Environment, service: ServiceInputs) -> ExitCode {
    for warning in &invocation.warnings {
        tracing::warn!("{warning}");
    }
    let (files, watcher) = match invocation.command {
        Command::Serve | Command::Exec { .. } => Files::watched(),
        _ => (Files::unwatched(), Watcher::none()),
    };
    let named = NamedPaths {
        credentials: invocation.overrides.credentials_file.clone(),
        config: invocation.overrides.config_file.clone(),
    };
    let place = ConfigLocation::new(invocation.config.as_deref(), &environment);
    let loader = ConfigLoader::new(place, invocation.overrides, files.fresh());
    let loaded = match invocation.command {
        Command::Serve | Command::Check => loader.load_for_daemon().await,
        _ => loader.load().await,
    };
    let config = match loaded {
        Ok(config) => config,
        Err(error) => {
            service.manager.status(&format!("bad configuration: {error}"));
            let code = if matches!(error, LoadError::Usage(_)) { BAD_USAGE } else { BAD_CONFIGURATION };
            return failed(&error.to_string(), code);
        }
    };
    let two_profiles =
        environment.two_profiles().filter(|_| asks_for_the_environments_profile(&invocation.command, &config));
    for warning in config.warnings.iter().chain(&two_profiles) {
        tracing::warn!("{warning}");
    }
    let trusted_owners = match load::resolve(&config) {
        Ok(numbers) => numbers.trusted_owners.into(),
        Err(error) => return failed(&error.to_string(), BAD_CONFIGURATION),
    };
    // The file's own addresses have been checked with it: this one came by flag or variable.
    if let Some(remote) = config.server.remote_address() {
        return failed(&remote.to_string(), BAD_USAGE);
    }
    let context = Context { trusted_owners, ..Context::new(environment, files) };
    if let Command::Profiles { json } = invocation.command {
        return match profiles::profiles(&context, &named, json).await.and_then(|text| print(&text)) {
            Ok(code) => code,
            Err(error) => failed(&error.to_string(), 1),
        };
    }
    match obey(invocation.command, context, watcher, loader, config, service).await {
        Ok(code) => code,
        Err(error) => failed(&error.to_string(), 1),
    }
}

async fn obey(
    command: Command,
    mut context: Context,
    watcher: Watcher,
    loader: ConfigLoader,
    config: Config,
    service: ServiceInputs,
) -> Result<ExitCode, CommandError> {
    if matches!(command, Command::Get { .. } | Command::Check | Command::Exec { .. }) && io::stdin().is_terminal() {
        context.terminal = Terminal::ours();
    }
    match command {
        Command::Serve => {
            let ServiceInputs { manager, sockets } = service;
            serve::serve(ServeInputs { context, watcher, loader, config, manager, sockets }).await?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Get { identity, format, from_daemon: true, .. } => {
            let text = get::from_daemon(&config.server, &context, &identity, format).await?;
            print(&text)
        }
        Command::Get { identity, format, from_daemon: false, mfa_code } => {
            context.mfa = mfa_code.map_or_else(Mfa::at_the_terminal, Mfa::given);
            let identity = find(&config, &identity)?;
            match unless_ended(get::get(&context, &identity, format)).await? {
                Ok(text) => print(&text?),
                Err(code) => Ok(code),
            }
        }
        Command::Env { identity, format } => print(&env::env(&config.server, &context, &identity, format).await?),
        Command::Exec { identity, mfa_code, command } => {
            context.mfa = mfa_code.map_or_else(Mfa::at_the_terminal, Mfa::given);
            let identity = find(&config, &identity)?;
            Ok(ExitCode::from(exec::exec(context, watcher, identity, &command).await?))
        }
        Command::Check => {
            context.mfa = Mfa::at_the_terminal();
            let report = match unless_ended(check::check(&context, &config)).await? {
                Ok(report) => report,
                Err(code) => return Ok(code),
            };
            print(&report.text)?;
            Ok(if report.is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        Command::Status { ready, json, watch } => {
            let address = daemon_client::address(&config.server.listen);
            if ready {
                let ready = status::ready(address).await?;
                return Ok(if ready { ExitCode::SUCCESS } else { ExitCode::FAILURE });
            }
            let ask = async || status::document(&config.server, &context).await;
            if watch {
                let show = if json { status::as_line } else { status::as_picture };
                status::watch::watch(ask, show).await?;
                return Ok(ExitCode::SUCCESS);
            }
            let document = ask().await?;
            print(&if json { format!("{document:#}\n") } else { status::for_people(&document) })
        }
        Command::Login(wish) => {
            let mut screen = io::stderr();
            let is_terminal = screen.is_terminal();
            Ok(match login::login(&context, &wish, &mut screen, is_terminal).await? {
                LoginResult::Done => ExitCode::SUCCESS,
                LoginResult::Interrupted(signal) => ExitCode::from(signals::exit_code(signal)),
            })
        }
        Command::Completions(_) | Command::Manual(_) | Command::Profiles { .. } => Ok(ExitCode::SUCCESS),
    }
}

/// What the command comes to, or the exit code of one that a signal ended.
async fn unless_ended<T>(work: impl Future<Output = T>) -> Result<Result<T, ExitCode>, CommandError> {
    let signals = Signals::listen(signals::ENDING);
    let mut signals = signals.map_err(|error| CommandError::because(format!("cannot listen to signals: {error}")))?;
    Ok(signals.unless_ended(work).await.map_err(|signal| ExitCode::from(signals::exit_code(signal))))
}

fn find(config: &Config, name: &IdentityName) -> Result<Identity, CommandError> {
    config.identity(name).ok_or_else(|| CommandError::because(config.missing(name).unwrap_or_default()))
}

/// No core file, no debugger of the same user, no `/proc/PID/mem`.
fn harden(command: &Command) {
    use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
    // Where the kernel refuses, the program works as well as without.
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    // A limit, other than that, is inherited: what `exec` runs keeps its own.
    if matches!(command, Command::Exec { .. }) {
        return;
    }
    let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
}

fn start_logging(invocation: &Invocation, environment: &Environment) {
    // One-shot commands speak when something is wrong; the daemon tells what it does.
    let default = if matches!(invocation.command, Command::Serve) { "info" } else { "warn" };
    let written = environment.get("RUST_LOG").unwrap_or(default);
    let (targets, wrong) = match (&invocation.log_level, args::parse_log_level(written)) {
        (Some(level), _) => (level.clone(), None),
        (None, Ok(targets)) => (targets, None),
        (None, Err(error)) => (args::parse_log_level(default).unwrap_or_default(), Some(error)),
    };
    logging::start(invocation.log_format, targets, environment.get("JOURNAL_STREAM").is_some());
    if let Some(error) = wrong {
        tracing::warn!("RUST_LOG: {error}");
    }
}

fn print(text: &str) -> Result<ExitCode, CommandError> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(ExitCode::SUCCESS),
        // Whoever read it has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(ExitCode::SUCCESS),
        Err(error) => Err(CommandError::because(format!("cannot write to standard output: {error}"))),
    }
}

#[allow(clippy::print_stderr, reason = "the last word of a command that failed, whatever is logged")]
fn failed(message: &str, code: u8) -> ExitCode {
    eprintln!("credenza: {message}");
    ExitCode::from(code)
}
