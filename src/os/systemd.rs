//! The service manager that may have started this process: the sockets that it passes, and the notifications that it
//! gets.
//!
//! Sockets come as in sd_listen_fds(3). The service manager keeps them open while the daemon restarts: no client is
//! refused, and no other program can take the port. Notifications go out as in sd_notify(3), if the service manager
//! asked for them.

use std::io;
use std::net::TcpListener;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixListener;
use std::time::Duration;

use listenfd::ListenFd;
use rustix::io::{FdFlags, fcntl_setfd};
use sd_notify::NotifyState;

use crate::os::accounts::overflow_user;

/// A listening socket from the service manager.
#[derive(Debug)]
pub(crate) enum PassedSocket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// A socket from the service manager that is not usable.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SocketError {
    #[error("socket {number} of the service manager (LISTEN_FDS) is not a listening TCP or Unix socket: {error}")]
    Unusable {
        number: usize,
        #[source]
        error: io::Error,
    },
    /// That user may hold the socket too, and take the requests of clients.
    #[error(
        "socket {number} of the service manager (LISTEN_FDS) belongs to user {uid}, not to this user ({ours}) or root; \
         unset LISTEN_FDS, or use `su -` or `sudo` for another user"
    )]
    Foreign { number: usize, uid: u32, ours: u32 },
}

/// Takes the sockets that the service manager passed. It removes their environment variables, so call it once and
/// before the first thread.
///
/// # Errors
/// If a socket is not a listening TCP or Unix socket, or another user has made it.
pub(crate) fn sockets() -> Result<Vec<PassedSocket>, SocketError> {
    let mut passed = ListenFd::from_env();
    let mut sockets = Vec::with_capacity(passed.len());
    for number in 0..passed.len() {
        let wrong = |error| SocketError::Unusable { number, error };
        let socket = match passed.take_unix_listener(number) {
            Ok(socket) => socket.map(PassedSocket::Unix),
            // Every other socket must be one of TCP.
            Err(_) => passed.take_tcp_listener(number).map_err(wrong)?.map(PassedSocket::Tcp),
        };
        let Some(socket) = socket else { continue };
        let uid = rustix::fs::fstat(socket.as_fd()).map_err(|error| wrong(error.into()))?.st_uid;
        let ours = rustix::process::geteuid().as_raw();
        if !may_pass(uid, ours, overflow_user()) {
            return Err(SocketError::Foreign { number, uid, ours });
        }
        // Close the socket in programs that sources start: they must not hold the port.
        fcntl_setfd(&socket, FdFlags::CLOEXEC).map_err(|error| wrong(error.into()))?;
        match &socket {
            PassedSocket::Tcp(socket) => socket.set_nonblocking(true),
            PassedSocket::Unix(socket) => socket.set_nonblocking(true),
        }
        .map_err(wrong)?;
        sockets.push(socket);
    }
    Ok(sockets)
}

impl AsFd for PassedSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(socket) => socket.as_fd(),
            Self::Unix(socket) => socket.as_fd(),
        }
    }
}

/// Returns true if a socket of this user may be of a service manager. In a user namespace, the service manager of the host
/// has no id of its own.
fn may_pass(uid: u32, ours: u32, overflow: Option<u32>) -> bool {
    uid == 0 || uid == ours || Some(uid) == overflow
}

/// The service manager as the receiver of notifications.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ServiceManager {
    listens: bool,
    watchdog: Option<Duration>,
}

impl ServiceManager {
    /// Finds the service manager. It accepts notifications if `NOTIFY_SOCKET` is set, and has a watchdog if
    /// `WATCHDOG_USEC` is set for this process.
    pub(crate) fn of_this_process() -> Self {
        let listens = std::env::var_os("NOTIFY_SOCKET").is_some_and(|socket| !socket.is_empty());
        Self { listens, watchdog: sd_notify::watchdog_enabled().filter(|_| listens) }
    }

    pub(crate) fn listens(&self) -> bool {
        self.listens
    }

    /// Returns the maximum time between two calls of [`ServiceManager::alive`].
    pub(crate) fn watchdog(&self) -> Option<Duration> {
        self.watchdog
    }

    /// Notifies that the start or a reload is done.
    pub(crate) fn ready(&self) {
        self.notify(&[NotifyState::Ready]);
    }

    /// Sets the line that `systemctl status` shows.
    pub(crate) fn status(&self, line: &str) {
        // Remove line breaks: each would begin another assignment (sd_notify(3)).
        self.notify(&[NotifyState::Status(&line.replace(['\n', '\r'], " "))]);
    }

    /// Notifies that a reload begins. [`ServiceManager::ready`] ends it.
    pub(crate) fn reloading(&self) {
        match NotifyState::monotonic_usec_now() {
            Ok(now) => self.notify(&[NotifyState::Reloading, now]),
            Err(_) => self.notify(&[NotifyState::Reloading]),
        }
    }

    pub(crate) fn stopping(&self) {
        self.notify(&[NotifyState::Stopping]);
    }

    /// Resets the watchdog.
    pub(crate) fn alive(&self) {
        self.notify(&[NotifyState::Watchdog]);
    }

    fn notify(&self, state: &[NotifyState<'_>]) {
        if !self.listens {
            return;
        }
        if let Err(error) = sd_notify::notify(state) {
            tracing::debug!(%error, "the service manager was not notified");
        }
    }
}
