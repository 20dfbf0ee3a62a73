//! The service manager that may have started us: the sockets it hands over, and what it is told.
//!
//! Sockets come as in sd_listen_fds(3), so that nobody else can take the port while the daemon is down and no client
//! is refused while it restarts. State goes up as in sd_notify(3). Where no service manager asked for it, nothing
//! happens.

use std::io;
use std::net::TcpListener;
use std::time::Duration;

use listenfd::ListenFd;
use rustix::io::{FdFlags, fcntl_setfd};
use sd_notify::NotifyState;

/// A socket that was handed over and is of no use.
#[derive(Debug, thiserror::Error)]
#[error("socket {number} that the service manager handed over (LISTEN_FDS) is not a listening TCP socket: {error}")]
pub(crate) struct SocketError {
    number: usize,
    #[source]
    error: io::Error,
}

/// Takes the sockets that were handed over; empty when there are none. They are taken once: the variables that tell of
/// them are gone afterwards, so this belongs before the first thread.
///
/// # Errors
/// When one of them is anything else than a listening TCP socket.
pub(crate) fn sockets() -> Result<Vec<TcpListener>, SocketError> {
    let mut handed_over = ListenFd::from_env();
    let mut sockets = Vec::with_capacity(handed_over.len());
    for number in 0..handed_over.len() {
        let wrong = |error| SocketError { number, error };
        let Some(socket) = handed_over.take_tcp_listener(number).map_err(wrong)? else { continue };
        // What a source runs must not hold the port.
        fcntl_setfd(&socket, FdFlags::CLOEXEC).map_err(|error| wrong(error.into()))?;
        socket.set_nonblocking(true).map_err(wrong)?;
        sockets.push(socket);
    }
    Ok(sockets)
}

/// The one who may want to hear how we are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ServiceManager {
    listens: bool,
    watchdog: Option<Duration>,
}

impl ServiceManager {
    /// Who started us: listens when there is a `NOTIFY_SOCKET`, watches when there is a `WATCHDOG_USEC` for this process.
    #[must_use]
    pub(crate) fn of_this_process() -> Self {
        let listens = std::env::var_os("NOTIFY_SOCKET").is_some_and(|socket| !socket.is_empty());
        Self { listens, watchdog: sd_notify::watchdog_enabled().filter(|_| listens) }
    }

    /// Whether anybody hears what is told.
    #[must_use]
    pub(crate) fn listens(&self) -> bool {
        self.listens
    }

    /// How often a sign of life is expected at least.
    #[must_use]
    pub(crate) fn watchdog(&self) -> Option<Duration> {
        self.watchdog
    }

    /// The start, or a reload, is over.
    pub(crate) fn ready(&self) {
        self.tell(&[NotifyState::Ready]);
    }

    /// One line for `systemctl status`.
    pub(crate) fn status(&self, line: &str) {
        // A line break would begin another assignment (sd_notify(3)).
        self.tell(&[NotifyState::Status(&line.replace(['\n', '\r'], " "))]);
    }

    /// A reload begins; [`ServiceManager::ready`] ends it.
    pub(crate) fn reloading(&self) {
        match NotifyState::monotonic_usec_now() {
            Ok(now) => self.tell(&[NotifyState::Reloading, now]),
            Err(_) => self.tell(&[NotifyState::Reloading]),
        }
    }

    /// The end has begun.
    pub(crate) fn stopping(&self) {
        self.tell(&[NotifyState::Stopping]);
    }

    /// A sign of life.
    pub(crate) fn alive(&self) {
        self.tell(&[NotifyState::Watchdog]);
    }

    fn tell(&self, state: &[NotifyState<'_>]) {
        if !self.listens {
            return;
        }
        if let Err(error) = sd_notify::notify(state) {
            tracing::debug!(%error, "the service manager cannot be told");
        }
    }
}
