//! Instructions of one request, counted by callgrind.

use std::io;
use std::process::{Command, Stdio};

use super::Setting;
use crate::load::{Load, request};
use crate::process::Process;
use crate::report::{Row, Target, Unit};
use crate::scene::{Scene, TOKEN, client_token};
use crate::stats::Pairs;

/// The maximum of a request's instructions beside bare hyper's. Both read and write the same HTTP; the rest authenticates the
/// client, finds the lease and keeps time. The ratio repeats to the hundredth, so that one more hash or allocation shows.
const LIMIT: f64 = 1.40;

/// The requests of the shorter and of the longer run. Their difference cancels start and stop.
const REQUESTS: (u64, u64) = (1_000, 11_000);

/// The runs of each length. The shortest counts: timers add to the others.
const RUNS: usize = 2;

const WHAT: &str = "instructions of a request, one connection";
const WITH_CLIENTS: &str = "the same with 1,000 clients, beside the auth token alone";

/// A token is found by digest among many clients, and compared with the only one without them.
const CLIENTS: usize = 1000;

/// The maximum of a request's instructions with many clients, beside the auth token alone. The digest and the search take
/// 900. The time of a request, which is mostly the kernel's, may grow by 5 %: the rows about throughput hold that.
const CLIENTS_LIMIT: f64 = 1.10;

/// One identity from a file beside the bare server.
pub fn of_a_request(setting: &Setting) -> io::Result<Vec<Row>> {
    let version = Command::new("valgrind").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if version.is_err() {
        let row = |what| Row::without(what, Unit::Instructions, Vec::new(), "valgrind".into());
        return Ok([WHAT, WITH_CLIENTS].map(row).into());
    }
    let scene = Scene::new(&setting.program)?.with_profiles(1)?;
    let bare = setting.bare_command(&scene.serve(&[])?, "/credentials")?;
    let many = Scene::new(&setting.program)?.with_profiles(1)?.with_clients(CLIENTS, false)?;
    let [broker, with_clients] = [&scene, &many].map(|scene| scene.command(&["serve", "--listen", "127.0.0.1:0"]));
    let ready = |broker: &mut Process| broker.wait_for_lines(1, |line| line.contains("lease renewed")).map(drop);
    let of_one = |count: &dyn Fn(u64) -> io::Result<u64>| {
        let least = |requests| {
            let runs = (0..RUNS).map(|_| count(setting.scaled(requests))).collect::<io::Result<Vec<_>>>()?;
            Ok::<_, io::Error>(runs.into_iter().min().unwrap_or_default() as f64)
        };
        let (few, many) = REQUESTS;
        Ok::<_, io::Error>((least(many)? - least(few)?) / (setting.scaled(many) - setting.scaled(few)) as f64)
    };
    let ours = of_one(&|requests| count(&broker, ready, TOKEN, requests))?;
    let theirs = of_one(&|requests| count(&bare, |_| Ok(()), TOKEN, requests))?;
    let token = client_token(CLIENTS / 2);
    let of_clients = of_one(&|requests| count(&with_clients, ready, &token, requests))?;
    let row = |what, ours, theirs, limit| {
        let pairs = Pairs::of(&[(ours, theirs)], |count| *count);
        Row::pairs(what, Unit::Instructions, pairs, Target::RatioAtMost(limit))
    };
    Ok(vec![row(WHAT, ours, theirs, LIMIT), row(WITH_CLIENTS, of_clients, ours, CLIENTS_LIMIT)])
}

/// The instructions of a whole run of this server: start, so many requests, stop.
fn count(
    server: &Command,
    ready: impl Fn(&mut Process) -> io::Result<()>,
    token: &str,
    requests: u64,
) -> io::Result<u64> {
    let mut process = Process::start(under_callgrind(server))?;
    ready(&mut process)?;
    let mut load = Load::new(process.address, 1, vec![request("/credentials", process.address, token)])?;
    load.requests(requests)?;
    drop(load);
    let log = process.stop()?;
    let collected = log.iter().find_map(|line| line.split_once("Collected : ")?.1.trim().parse().ok());
    collected.ok_or_else(|| io::Error::other(format!("callgrind did not say what it counted: {log:#?}")))
}

fn under_callgrind(server: &Command) -> Command {
    let mut command = Command::new("valgrind");
    command.env_clear().args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]);
    command.arg(server.get_program()).args(server.get_args());
    command.envs(server.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
    if let Some(folder) = server.get_current_dir() {
        command.current_dir(folder);
    }
    command
}
