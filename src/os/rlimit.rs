//! The limit of open files that this process was started with. The daemon raises its own (`server/descriptors.rs`); what it
//! starts has that of everybody, for there are programs that close every descriptor up to the limit, or use `select`.

pub(crate) mod room;

use std::io;

use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit, setrlimit};
use tokio::process::Child;

/// So many descriptors a start takes at most: pipes, and what other threads open meanwhile.
const FOR_A_START: u64 = 64;

/// The limit as it was; the default is that of no moment, and changes nothing.
#[derive(Clone, Debug, Default)]
pub(crate) struct OpenFileLimit(Option<Rlimit>);

impl OpenFileLimit {
    /// That of this process now: to be called before somebody raises it.
    #[must_use]
    pub(crate) fn of_this_process() -> Self {
        Self(Some(getrlimit(Resource::Nofile)))
    }

    /// Starts a program that has this limit.
    ///
    /// # Errors
    /// When it cannot be started.
    pub(crate) fn start_limited(&self, start: impl FnOnce() -> io::Result<Child>) -> io::Result<Child> {
        let now = getrlimit(Resource::Nofile);
        let Some(before) = self.0.as_ref().filter(|before| before.current != now.current) else { return start() };
        let lent = Rlimit { current: before.current, maximum: now.maximum };
        // What is started inherits it. Where so many files are open that none could be opened below it, it is set once the
        // program is there.
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

/// Sets our own limit again, whatever came of the start.
struct LimitGuard(Rlimit);

impl Drop for LimitGuard {
    fn drop(&mut self) {
        let _ = setrlimit(Resource::Nofile, self.0);
    }
}

/// Whether descriptors below the limit are free: the next one has the lowest number that is.
fn has_room(limit: &Rlimit) -> bool {
    use std::os::fd::AsRawFd;
    let Ok(next) = std::fs::File::open("/dev/null") else { return false };
    let next = u64::try_from(next.as_raw_fd()).unwrap_or(u64::MAX);
    limit.current.is_none_or(|limit| next.saturating_add(FOR_A_START) < limit)
}
