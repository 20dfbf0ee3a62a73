//! The programs that this process starts, and the orphans that the kernel makes children of this process.
//!
//! A process that leaves its group and loses its parent becomes a child of init, out of reach. While a program of a
//! source runs, this process is the *child subreaper*: it gets these orphans instead, and can find and reap them.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, Signal, WaitOptions, geteuid, getpid, kill_process, set_child_subreaper, waitpid};
use tokio::process::{Child, Command};
use zeroize::Zeroizing;

/// The variable that marks a program and all processes that inherit its environment. Its value differs for each run.
const MARK: &str = "CREDENZA_RUN";

/// The maximum number of times that [`ProgramRun::kill`] searches for processes. A process may start another one
/// between a search and its own end. Two searches suffice for a program that does not race against them.
const MAX_SEARCHES: usize = 5;

/// The maximum length of an environment that is searched for the mark, in bytes. An environment may have gigabytes.
const MAX_ENVIRONMENT: u64 = 256 << 10;

/// The children that this process knows.
struct Children {
    /// The programs that this process has started and not yet dropped.
    started: BTreeSet<u32>,
    /// The number of [`ProgramRun`]s.
    runs: usize,
    /// Counts all starts, so that a run notices starts beside it.
    starts: u64,
}

static CHILDREN: Mutex<Children> = Mutex::new(Children { started: BTreeSet::new(), runs: 0, starts: 0 });

/// Notified when a [`ProgramRun`] ends.
static RUN_ENDED: Condvar = Condvar::new();

/// True if all children of this process are its own or orphans: it is `credenza`, not a program that embeds the library.
static OWNS_ORPHANS: AtomicBool = AtomicBool::new(false);

fn children() -> MutexGuard<'static, Children> {
    CHILDREN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Lets this process adopt and reap orphans. A library must not do this: its program may have children of its own.
pub(crate) fn own_orphans() {
    OWNS_ORPHANS.store(true, Ordering::Relaxed);
}

/// A program that this process has started. [`reap_orphans`] leaves it to tokio, until it is dropped.
#[derive(Debug)]
pub(crate) struct StartedChild {
    pub(crate) child: Child,
    id: Option<u32>,
}

impl StartedChild {
    /// Starts a program.
    ///
    /// # Errors
    /// The error of `start`.
    pub(crate) fn start(start: impl FnOnce() -> io::Result<Child>) -> io::Result<Self> {
        // Hold the lock during the start, so that the new child is never taken for an orphan.
        let mut children = children();
        let child = start()?;
        children.starts += 1;
        children.started.extend(child.id());
        Ok(Self { id: child.id(), child })
    }
}

impl Drop for StartedChild {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            children().started.remove(&id);
        }
    }
}

/// One run of a program of a source. Until its drop, orphans become children of this process.
#[derive(Debug)]
pub(crate) struct ProgramRun {
    /// `CREDENZA_RUN=…`, as it stands in the environment of the program. `None` without random numbers.
    mark: Option<String>,
    /// The number of starts before this run, if no other program ran and this process had no orphans.
    alone_after: Option<u64>,
}

impl ProgramRun {
    /// Begins a run: marks the program, which is not started yet.
    pub(crate) fn begin(command: &mut Command) -> Self {
        let mark = getrandom::u64().ok().map(|random| format!("{random:016x}"));
        if let Some(mark) = &mark {
            command.env(MARK, mark);
        }
        let mut children = children();
        let is_alone = children.started.is_empty() && orphans(&children).is_empty();
        children.runs += 1;
        if OWNS_ORPHANS.load(Ordering::Relaxed) {
            // Ignore a refusal: marked processes are found without it.
            let _ = set_child_subreaper(Some(getpid()));
        }
        Self { mark: mark.map(|mark| format!("{MARK}={mark}")), alone_after: is_alone.then_some(children.starts) }
    }

    /// Kills the program with this id, its descendants, and all orphans of this run.
    ///
    /// An orphan of this run has its mark. An orphan without a mark is one of this run if this process has started
    /// nothing else meanwhile. Blocks: it reads the environment of each process of this user.
    pub(crate) fn kill(&self, program: u32) {
        for _ in 0..MAX_SEARCHES {
            let found = self.processes(program);
            for id in &found {
                let _ = pid(*id).map(|pid| kill_process(pid, Signal::KILL));
            }
            if found.is_empty() {
                break;
            }
        }
        reap_orphans();
    }

    /// Returns all processes of this run that live.
    fn processes(&self, program: u32) -> Vec<u32> {
        let mut found = vec![program];
        found.extend(self.mark.iter().flat_map(|mark| marked(mark, geteuid().as_raw())));
        if OWNS_ORPHANS.load(Ordering::Relaxed) {
            let children = children();
            let is_alone = self.alone_after.is_some_and(|starts| children.starts <= starts + 1);
            found.extend(if is_alone { orphans(&children) } else { Vec::new() });
        }
        let mut next = 0;
        while let Some(id) = found.get(next) {
            let below = children_of(*id);
            found.extend(below.into_iter().filter(|id| !found.contains(id)).collect::<Vec<_>>());
            next += 1;
        }
        found.retain(|id| state(*id).is_some_and(|state| !"ZX".contains(state)));
        found
    }
}

impl Drop for ProgramRun {
    fn drop(&mut self) {
        let mut children = children();
        children.runs -= 1;
        if children.runs == 0 && OWNS_ORPHANS.load(Ordering::Relaxed) {
            let _ = set_child_subreaper(None);
        }
        RUN_ENDED.notify_all();
    }
}

/// Waits until all runs have ended and their processes are killed, but not longer than `timeout`.
pub(crate) fn wait_for_runs(timeout: Duration) {
    let _ = RUN_ENDED.wait_timeout_while(children(), timeout, |children| children.runs > 0);
}

/// Reaps all orphans that have ended: as PID 1 of a container, or after a run, no other process does.
pub(crate) fn reap_orphans() {
    if !OWNS_ORPHANS.load(Ordering::Relaxed) {
        return;
    }
    let children = children();
    for orphan in orphans(&children).into_iter().filter(|id| state(*id) == Some('Z')) {
        let _ = waitpid(pid(orphan), WaitOptions::NOHANG);
    }
}

/// Returns the children of this process that it has not started.
fn orphans(children: &Children) -> Vec<u32> {
    children_of(std::process::id()).into_iter().filter(|id| !children.started.contains(id)).collect()
}

fn pid(id: u32) -> Option<Pid> {
    i32::try_from(id).ok().and_then(Pid::from_raw)
}

/// Returns the children of all threads of a process.
fn children_of(id: u32) -> Vec<u32> {
    let threads = fs::read_dir(format!("/proc/{id}/task")).into_iter().flatten().flatten();
    let lists = threads.filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
    lists.flat_map(|list| list.split_whitespace().filter_map(|id| id.parse().ok()).collect::<Vec<_>>()).collect()
}

/// Returns the processes of a user with this variable in their environment.
fn marked(variable: &str, uid: u32) -> Vec<u32> {
    let has_mark = |id: &u32| {
        let environment = environment(*id, uid).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|found| found == variable.as_bytes())
    };
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter(has_mark).collect()
}

/// Returns the start of a process's environment. Returns `None` if the process belongs to another user: root could read
/// it, but that user decides about its size.
fn environment(id: u32, uid: u32) -> Option<Zeroizing<Vec<u8>>> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let process = rustix::fs::open(format!("/proc/{id}"), flags, Mode::empty()).ok()?;
    if rustix::fs::fstat(&process).ok()?.st_uid != uid {
        return None;
    }
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::openat(&process, "environ", flags, Mode::empty()).ok()?);
    // It may hold secrets. A buffer that grows would leave copies of them in memory.
    let mut environment = Zeroizing::new(Vec::with_capacity(usize::try_from(MAX_ENVIRONMENT).unwrap_or_default() + 1));
    file.take(MAX_ENVIRONMENT).read_to_end(&mut environment).ok()?;
    Some(environment)
}

/// Returns the state of a process: `R`, `S`, … or `Z` if it has ended and is not reaped.
fn state(id: u32) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_marked_processes_of_this_user_only() {
        let mut child =
            std::process::Command::new("sleep").arg("1000").env_clear().env("MARKED", "here").spawn().unwrap();
        let found = |uid: u32| marked("MARKED=here", uid).contains(&child.id());
        let ours = geteuid().as_raw();
        let (own, foreign) = (found(ours), found(ours.wrapping_add(1)));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(own && !foreign);
    }

    #[test]
    fn reads_only_the_start_of_an_environment() {
        let long = "x".repeat(100 << 10);
        let variables = ["A", "B", "C"].map(|name| (name, &*long)).into_iter().chain([("MARKED", "late")]);
        let mut child = std::process::Command::new("sleep").arg("1000").env_clear().envs(variables).spawn().unwrap();
        let read = environment(child.id(), geteuid().as_raw());
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(read.map(|read| read.len() as u64), Some(MAX_ENVIRONMENT));
    }
}
