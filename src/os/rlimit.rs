//! The limit of open files that this process was started with.
//!
//! The daemon raises its own limit ([`room`]). Programs that it starts get the original limit, because some close every
//! descriptor up to the limit or use `select`.

pub(crate) mod room;

use std::io;

use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit, setrlimit};
use tokio::process::Child;

/// The number of descriptors that the start of a program may need: its pipes, and files that other threads open
/// meanwhile.
const FOR_A_START: u64 = 64;

/// The original limit. The default value holds no limit, and changes nothing.
#[derive(Clone, Debug, Default)]
pub(crate) struct OpenFileLimit(Option<Rlimit>);

impl OpenFileLimit {
    /// Returns the current limit. Call it before the limit is raised.
    pub(crate) fn of_this_process() -> Self {
        Self(Some(getrlimit(Resource::Nofile)))
    }

    /// Starts a program with this limit.
    ///
    /// # Errors
    /// The error of `start`.
    pub(crate) fn start_limited(&self, start: impl FnOnce() -> io::Result<Child>) -> io::Result<Child> {
        let now = getrlimit(Resource::Nofile);
        let Some(before) = self.0.as_ref().filter(|before| before.current != now.current) else { return start() };
        let lent = Rlimit { current: before.current, maximum: now.maximum };
        // Lower the limit of this process: the program inherits it. If too many files are open for that, set the limit
        // of the program after its start.
        if has_room(&lent) && setrlimit(Resource::Nofile, lent).is_ok() {
            let _raised = LimitGuard(now);
            return start();
        }
        let child = start()?;
        if let Some(pid) = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw) {
            let _ = prlimit(Some(pid), Resource::Nofile, lent);
        }
        Ok(child)
    }
}

/// Restores the limit of this process, also after a failed start.
struct LimitGuard(Rlimit);

impl Drop for LimitGuard {
    fn drop(&mut self) {
        let _ = setrlimit(Resource::Nofile, self.0);
    }
}

/// Returns true if enough descriptors below the limit are free. The next file gets the lowest free number.
fn has_room(limit: &Rlimit) -> bool {
    use std::os::fd::AsRawFd;
    let Ok(next) = std::fs::File::open("/dev/null") else { return false };
    let next = u64::try_from(next.as_raw_fd()).unwrap_or(u64::MAX);
    limit.current.is_none_or(|limit| next.saturating_add(FOR_A_START) < limit)
}
