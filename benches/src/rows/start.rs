//! From nothing to an answer.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::Setting;
use crate::load::{ask, request};
use crate::report::{Row, Target, Unit};
use crate::scene::{Scene, TOKEN};
use crate::stats::{Pairs, in_turn};

/// Between two attempts to connect.
const KNOCK: Duration = Duration::from_micros(50);

pub fn cold(setting: &Setting) -> io::Result<Vec<Row>> {
    let scene = Scene::new(&setting.program)?;
    let broker = |address: SocketAddr| {
        let mut command = scene.command(&["serve"]);
        let keys = [("CREDENZA_ACCESS_KEY_ID", "AKIAEXAMPLE"), ("CREDENZA_SECRET_ACCESS_KEY", "secret")];
        command.envs(keys).env("CREDENZA_LISTEN", address.to_string());
        command
    };
    let bare = |address: SocketAddr| {
        let mut command = Command::new(&setting.bare);
        command.env_clear().args(["{}", &address.to_string()]);
        command
    };
    let starts = in_turn(setting.rounds, || to_first_answer(broker, TOKEN), || to_first_answer(bare, TOKEN))?;
    let starts = Pairs::of(&starts, Duration::as_secs_f64);
    Ok(vec![Row::pairs("cold start to first 200, static keys", Unit::Milliseconds, starts, Target::AtMost(0.01))])
}

pub(super) fn to_first_answer(command: impl Fn(SocketAddr) -> Command, token: &str) -> io::Result<Duration> {
    let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let mut command = command(address);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let request = request("/credentials", address, token);
    let began = Instant::now();
    let mut child = Ended(command.spawn()?);
    loop {
        match ask(address, &request)? {
            Some((200, _)) => return Ok(began.elapsed()),
            Some((status, _)) => return Err(io::Error::other(format!("the first answer is {status}"))),
            None if child.0.try_wait()?.is_some() => return Err(io::Error::other("the server has ended")),
            None => std::thread::sleep(KNOCK),
        }
    }
}

struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        // A killed daemon would leave its control socket, and the next start would wait for a program that may bind it.
        let pid = Pid::from_raw(self.0.id().cast_signed()).expect("a child has a number");
        let _ = kill_process(pid, Signal::TERM);
        let _ = self.0.wait();
    }
}

/// `credenza get`, the whole process.
pub fn get(setting: &Setting) -> io::Result<Vec<Row>> {
    let whole = |count| {
        let scene = Scene::new(&setting.program)?.with_profiles(count)?;
        let one = || {
            let mut command = scene.command(&["get"]);
            let began = Instant::now();
            let status = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status()?;
            let took = began.elapsed().as_secs_f64();
            if status.success() { Ok(took) } else { Err(io::Error::other("`credenza get` found nothing")) }
        };
        (0..setting.rounds).map(|_| one()).collect::<io::Result<Vec<f64>>>()
    };
    Ok(vec![
        Row::alone(
            "credenza get from a shared file, whole process",
            Unit::Milliseconds,
            whole(1)?,
            Target::AtMost(0.01),
        ),
        Row::alone("the same from 10,000 profiles", Unit::Milliseconds, whole(10_000)?, Target::Reported),
    ])
}

/// `credenza get --from-daemon`, as a `credential_process` runs it, beside a process that does nothing but ask.
pub fn get_from_daemon(setting: &Setting) -> io::Result<Vec<Row>> {
    let scene = Scene::new(&setting.program)?.with_profiles(1)?;
    let broker = scene.serve(&[])?;
    let address = broker.address.to_string();
    let whole = |mut command: Command| {
        let began = Instant::now();
        let output = command.stdin(Stdio::null()).output()?;
        let took = began.elapsed().as_secs_f64();
        if output.status.success() && String::from_utf8_lossy(&output.stdout).contains("\"AKIA") {
            return Ok(took);
        }
        Err(io::Error::other(format!(
            "{command:?} printed no credentials: {}",
            String::from_utf8_lossy(&output.stderr)
        )))
    };
    let ours = || whole(scene.command(&["get", "--from-daemon", "--format", "process", "--listen", &address]));
    let theirs = || {
        let mut command = scene.surround(Command::new(&setting.ask));
        command.arg(&address).arg(scene.path("token"));
        whole(command)
    };
    // The first start reads the programs from disk.
    ours()?;
    theirs()?;
    let pairs = Pairs::of(&in_turn(setting.rounds, ours, theirs)?, |took| *took);
    Ok(vec![Row::pairs(
        "credenza get --from-daemon, whole process, beside a bare request",
        Unit::Milliseconds,
        pairs,
        Target::AtMost(0.005),
    )])
}
