//! Reloads the configuration on a change or a signal, and ends the daemon on other signals.

use std::time::Duration;

use signal_hook::consts::SIGHUP;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::audit::event::AuditKind;
use crate::cli::exit_code;
use crate::cli::serve::clients;
use crate::config::Config;
use crate::config::load::{ConfigLoader, LoadError};
use crate::config::server::ServerConfig;
use crate::context::Context;
use crate::lease::supervisor::{Generation, SupervisorCommand};
use crate::model::text::Escaped;
use crate::os::signals::Signals;
use crate::os::systemd::ServiceManager;
use crate::server::answer_log::AnswerLog;
use crate::server::client_table::commands::ClientCommand;
use crate::server::control::ReloadRequest;
use crate::server::origin::RequestOrigin;

/// The pause before an unreadable configuration is read again. No event reports, for example, a free file descriptor.
const RETRY_INTERVAL: Duration = Duration::from_secs(10);

/// The parts of the daemon that a reload needs.
#[derive(Debug)]
pub(crate) struct Reloader {
    pub(crate) loader: ConfigLoader,
    pub(crate) context: Context,
    /// The configuration in use.
    pub(crate) config: Config,
    /// Its number.
    pub(crate) generation: u64,
    pub(crate) supervisor: mpsc::Sender<SupervisorCommand>,
    pub(crate) clients: mpsc::Sender<ClientCommand>,
    /// The requests of the control socket.
    pub(crate) reloads: mpsc::Receiver<ReloadRequest>,
    pub(crate) manager: ServiceManager,
    pub(crate) log: AnswerLog,
}

/// The reason why the configuration in use stays.
struct RefusedConfig {
    message: String,
    /// True if another attempt may succeed without a change of the file.
    may_pass: bool,
}

impl Reloader {
    /// Turns signals and changes of the configuration into commands, until the daemon stops.
    pub(crate) async fn run(mut self, mut signals: Signals, stop: CancellationToken) {
        let mut refused: Option<RefusedConfig> = None;
        loop {
            let is_retried = refused.as_ref().is_some_and(|refused| refused.may_pass);
            let mut asker: Option<ReloadRequest> = None;
            let is_sighup = tokio::select! {
                Some(request) = self.reloads.recv() => {
                    asker = Some(request);
                    true
                }
                arrived = signals.next() => {
                    if arrived.signal != SIGHUP {
                        tracing::info!(signal = arrived.signal, "stopping; a second signal ends the daemon at once");
                        self.manager.stopping();
                        stop.cancel();
                        signals.next().await;
                        std::process::exit(exit_code::SECOND_SIGNAL);
                    }
                    true
                }
                () = self.loader.changed() => false,
                () = tokio::time::sleep(RETRY_INTERVAL), if is_retried => false,
            };
            self.manager.reloading();
            if is_sighup {
                // logrotate sends the signal after it has renamed the file.
                self.log.reopen();
            }
            let command = match self.load().await {
                Ok(generation) => {
                    refused = None;
                    SupervisorCommand::Replace(generation)
                }
                Err(now) => {
                    if refused.as_ref().is_none_or(|before| before.message != now.message) || is_sighup {
                        let message = &now.message;
                        tracing::error!(
                            "the new configuration has an error, and the earlier one stays in use: {message}"
                        );
                    }
                    SupervisorCommand::Refused(refused.insert(now).message.as_str().into())
                }
            };
            if self.supervisor.send(command).await.is_err() {
                return;
            }
            if refused.is_none() {
                self.replace_clients().await;
            }
            // The sessions of clients that are gone are dropped before, so that nothing renews them.
            if is_sighup && self.supervisor.send(SupervisorCommand::Reload).await.is_err() {
                return;
            }
            if asker.is_none() {
                // The control socket records a reload that a user asked for.
                let result = if refused.is_none() { "applied" } else { "refused" };
                self.log
                    .record_change(AuditKind::Reload, &RequestOrigin::default(), |event| event.result = Some(result));
            }
            if let Some(asker) = asker {
                // The asker may have gone.
                let _ = asker.send(refused.as_ref().map_or(Ok(()), |refused| Err(refused.message.clone())));
            }
            self.manager.ready();
        }
    }

    /// Replaces the clients as soon as the new identities are in use. Requests in between wait: a client of the earlier table
    /// must not get an identity of the new configuration, nor a new client the credentials that an identity had before.
    async fn replace_clients(&self) {
        let (reply, applied) = oneshot::channel();
        if self.supervisor.send(SupervisorCommand::Applied(reply)).await.is_err() || applied.await.is_err() {
            return;
        }
        let (reply, replaced) = oneshot::channel();
        if self.clients.send(ClientCommand::Replace(self.generation, reply)).await.is_ok() {
            let _ = replaced.await;
        }
    }

    /// Loads the configuration, and prepares its clients. Returns the new identities.
    async fn load(&mut self) -> Result<Generation, RefusedConfig> {
        let loaded = self.loader.load_for_daemon().await;
        let new = loaded.map_err(|error| RefusedConfig {
            message: error.to_string(),
            may_pass: matches!(error, LoadError::File(_)),
        })?;
        let refused = |message: String| RefusedConfig { message, may_pass: false };
        if let Some(file) = self.config.file.as_ref().filter(|file| new.file.as_ref() != Some(*file))
            && self.context.files.read(file).await.is_err_and(|error| error.is_missing())
        {
            // An editor, or a file system that is mounted again, may take a file away for a moment. Without it every program
            // would get every identity.
            let file = Escaped(&file.to_string_lossy()).to_string();
            return Err(refused(format!("{file}: there is no such file; restart the daemon to run without it")));
        }
        let (settings, _) = clients::settings(&new, &self.context).map_err(|error| refused(error.to_string()))?;
        let (reply, prepared) = oneshot::channel();
        if self.clients.send(ClientCommand::Prepare(settings, reply)).await.is_ok() {
            prepared.await.unwrap_or(Ok(())).map_err(|error| refused(error.to_string()))?;
        }
        let config = &mut self.config;
        // These settings are part of the clients.
        let ServerConfig { token_overlap, switchable, switch_lifetime, .. } = config.server;
        let server = ServerConfig { token_overlap, switchable, switch_lifetime, ..new.server.clone() };
        if server != config.server
            || new.imds != config.imds
            || new.audit != config.audit
            || new.trusted_files != config.trusted_files
        {
            tracing::warn!("[server], [imds], [files] or [audit] has changed: restart the daemon to apply it");
        }
        tracing::info!(identities = new.identities.len(), "configuration loaded");
        (config.identities, config.profiles, config.clients) = (new.identities, new.profiles, new.clients);
        config.file = new.file;
        self.generation += 1;
        Ok(Generation { number: self.generation, ..Generation::of(&self.config) })
    }
}
