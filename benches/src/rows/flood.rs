//! A client beside processes of another user that flood the listener.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::Setting;
use crate::load::{Load, ask, request};
use crate::report::{Row, Target, Unit};
use crate::scene::{Scene, TOKEN};
use crate::stats::percentile;

/// The processes that flood. They and the client share the cores with the broker.
const PROCESSES: usize = 4;

/// The user `nobody`, who owns no file.
const NOBODY: u32 = 65_534;

/// The maximum p99 of the client. An SDK gives up one attempt after a second.
const LIMIT: f64 = 0.02;

/// The time until a flood holds all that it can.
const BEGUN: Duration = Duration::from_millis(500);

/// The pause between two requests of the client.
const PAUSE: Duration = Duration::from_millis(5);

const FLOODS: [(&str, &str); 4] = [
    ("connects", "connections"),
    ("requests", "pipelined requests that nobody reads"),
    ("heads", "unfinished heads"),
    ("idle", "idle connections with a token"),
];

/// Each flood, with requests on one open connection and on new connections. A request that fails ends the run.
pub fn by_others(setting: &Setting) -> io::Result<Vec<Row>> {
    let name = |flood: &str| format!("p99 of a client during a flood of {flood}");
    if !rustix::process::geteuid().is_root() {
        let missing = || "root, to flood as another user".to_owned();
        let row = |(_, flood)| Row::without(name(flood), Unit::Milliseconds, Vec::new(), missing());
        return Ok(FLOODS.map(row).into());
    }
    // Other users must be able to run it.
    let folder = tempfile::Builder::new().prefix("credenza-flood-").tempdir()?;
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755))?;
    let program = folder.path().join("flood");
    fs::copy(&setting.flood, &program)?;
    let mut rows = Vec::new();
    for (kind, flood) in FLOODS {
        let scene = Scene::new(&setting.program)?.with_profiles(1)?;
        let broker = scene.serve(&[])?;
        let request = request("/credentials", broker.address, TOKEN);
        let mut kept = Load::new(broker.address, 1, vec![request.clone()])?;
        let start = || {
            let mut command = Command::new(&program);
            command.args([kind, &broker.address.to_string(), TOKEN]).env_clear().uid(NOBODY).gid(NOBODY);
            command.stdin(Stdio::null()).stderr(Stdio::null()).spawn().map(Ended)
        };
        let _flood = (0..PROCESSES).map(|_| start()).collect::<io::Result<Vec<_>>>()?;
        std::thread::sleep(BEGUN);
        let mut measure = || {
            let (began, mut latencies) = (Instant::now(), Vec::new());
            while began.elapsed() < setting.turn {
                let sent = Instant::now();
                kept.one()?;
                latencies.push(sent.elapsed());
                let sent = Instant::now();
                match ask(broker.address, &request)? {
                    Some((200, _)) => latencies.push(sent.elapsed()),
                    other => return Err(io::Error::other(format!("{flood}: {:?}", other.map(|(status, _)| status)))),
                }
                std::thread::sleep(PAUSE);
            }
            Ok(percentile(&latencies, 0.99))
        };
        let values = (0..setting.rounds).map(|_| measure()).collect::<io::Result<Vec<_>>>()?;
        rows.push(Row::alone(name(flood), Unit::Milliseconds, values, Target::AtMost(LIMIT)));
    }
    Ok(rows)
}

struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
