//! Profiles that assume a role, and a thousand that are served: a cold `get`, the first answer, memory.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use serde_json::Value;

use super::Setting;
use super::memory::{SETTLED, STARTS};
use crate::load::{Load, ask, request};
use crate::process::Process;
use crate::report::{MB, Row, Target, Unit};
use crate::scene::{SERVED, Scene, TOKEN};
use crate::stats::{Pairs, in_turn};
use testkit::sts::{Role, Sts};

/// What `aws configure export-credentials` does.
const BOTO3: &str = "\
import boto3, json, sys
keys = boto3.Session(profile_name=sys.argv[1]).get_credentials().get_frozen_credentials()
print(json.dumps({'AccessKeyId': keys.access_key, 'SecretAccessKey': keys.secret_key, 'SessionToken': keys.token}))
";

const REGION: &str = "us-east-1";

const LIVE: usize = 20;

pub fn of_a_thousand(setting: &Setting) -> io::Result<Vec<Row>> {
    let stage = Stage::new(setting)?;
    let mut rows = stage.gets(setting)?;
    rows.extend(stage.first_answers(setting)?);
    let memory = (0..STARTS).map(|_| stage.resident()).collect::<io::Result<Vec<f64>>>()?;
    rows.push(Row::alone(
        "resident memory, 1,000 served profiles, 20 of them live",
        Unit::Megabytes,
        memory,
        Target::AtMost(16.0 * MB),
    ));
    Ok(rows)
}

/// A home with a thousand profiles, and the STS that they need.
struct Stage {
    scene: Scene,
    sts: Sts,
}

/// What the AWS CLI and boto3 are started with.
struct Other {
    name: String,
    command: Command,
}

impl Stage {
    fn new(setting: &Setting) -> io::Result<Self> {
        let sts = Sts::start(REGION);
        let keys = (Sts::ACCESS_KEY_ID, Sts::SECRET_ACCESS_KEY);
        let scene =
            Scene::new(&setting.program)?.with_served_profiles(keys, |role| sts.allow(role, Role::default()))?;
        Ok(Self { scene, sts })
    }

    /// Where STS is, for anybody.
    fn variables(&self) -> [(&'static str, String); 3] {
        [("AWS_ENDPOINT_URL_STS", self.sts.url()), ("AWS_REGION", REGION.into()), ("AWS_DEFAULT_REGION", REGION.into())]
    }

    fn gets(&self, setting: &Setting) -> io::Result<Vec<Row>> {
        let what = "cold credenza get of an assume-role profile";
        let ours = || {
            let mut command = self.scene.command(&["get", "--profile", "hub"]);
            command.envs(self.variables());
            self.whole(&mut command)
        };
        ours()?;
        let mut rows = Vec::new();
        for (wanted, found) in [("AWS CLI 2", self.aws(setting)?), ("boto3", self.boto3(setting)?)] {
            let Some(mut other) = found else {
                eprintln!("!!! NOT measured: there is no {wanted} to measure beside; `make bench` installs it");
                let values = (0..setting.rounds).map(|_| ours()).collect::<io::Result<Vec<f64>>>()?;
                rows.push(Row::without(format!("{what}, beside {wanted}"), Unit::Milliseconds, values, wanted.into()));
                continue;
            };
            let mut theirs = || self.whole(&mut other.command);
            // What Python compiles once is none of what a start costs.
            theirs()?;
            let pairs = Pairs::of(&in_turn(setting.rounds, ours, theirs)?, |took| *took);
            rows.push(Row::pairs(
                format!("{what}, beside {}", other.name),
                Unit::Milliseconds,
                pairs,
                Target::Reported,
            ));
        }
        Ok(rows)
    }

    /// A whole process that gets credentials: it asks STS once, and prints what STS issued.
    fn whole(&self, command: &mut Command) -> io::Result<f64> {
        // The AWS CLI keeps what it gets.
        match fs::remove_dir_all(self.scene.path(".aws/cli")) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let before = self.sts.server().lines().len();
        let began = Instant::now();
        let output = command.stdin(Stdio::null()).output()?;
        let took = began.elapsed().as_secs_f64();
        let calls = self.sts.server().lines().len() - before;
        if output.status.success() && calls == 1 && String::from_utf8_lossy(&output.stdout).contains("\"ASIA") {
            return Ok(took);
        }
        let said = String::from_utf8_lossy(&output.stderr);
        Err(io::Error::other(format!("{command:?}: {}, {calls} calls of STS: {said}", output.status)))
    }

    fn aws(&self, setting: &Setting) -> io::Result<Option<Other>> {
        let Some(program) = &setting.aws else { return Ok(None) };
        let arguments = ["configure", "export-credentials", "--profile", "hub", "--format", "process"];
        // `aws-cli/2.38.5 Python/3.14.8 …`. Version 1 cannot do it.
        let found = self.other(program, &["--version"], &arguments)?;
        Ok(found.filter(|other| !other.name.starts_with("aws-cli 1.")))
    }

    fn boto3(&self, setting: &Setting) -> io::Result<Option<Other>> {
        let Some(program) = &setting.python else { return Ok(None) };
        let version = "import boto3; print(f'boto3/{boto3.__version__}')";
        self.other(program, &["-c", version], &["-c", BOTO3, "hub"])
    }

    /// None when it is not there or does not even know its version.
    fn other(&self, program: &Path, version: &[&str], arguments: &[&str]) -> io::Result<Option<Other>> {
        let output = match self.beside(program).args(version).output() {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            ended => ended?,
        };
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let name = text.split_whitespace().next().filter(|_| output.status.success());
        let Some(name) = name.map(|name| name.replace('/', " ")) else { return Ok(None) };
        let mut command = self.beside(program);
        command.args(arguments);
        Ok(Some(Other { name, command }))
    }

    /// Another program in the same home and surroundings as ours.
    fn beside(&self, program: &Path) -> Command {
        let mut command = self.scene.surround(Command::new(program));
        command.envs(self.variables());
        command
    }

    fn serve(&self) -> io::Result<Process> {
        let variables = self.variables();
        self.scene.listen(&variables.each_ref().map(|(name, value)| (*name, value.as_str())))
    }

    fn first_answers(&self, setting: &Setting) -> io::Result<Vec<Row>> {
        let broker = self.serve()?;
        let first = |kind: &str| {
            let rounds = setting.rounds.min(SERVED / 4);
            let requests = (0..=rounds).map(|index| request(&named(kind, index), broker.address, TOKEN)).collect();
            let mut load = Load::new(broker.address, 1, requests)?;
            // The one that brings what all of them share.
            load.one()?;
            let one = || {
                let began = Instant::now();
                load.one()?;
                Ok(began.elapsed().as_secs_f64())
            };
            std::iter::repeat_with(one).take(rounds).collect::<io::Result<Vec<f64>>>()
        };
        let before = self.sts.server().lines().len();
        let (keys, roles) = (first("keys")?, first("role")?);
        // One for the base, one for each role.
        let (calls, expected) = (self.sts.server().lines().len() - before, roles.len() + 2);
        if calls != expected {
            return Err(io::Error::other(format!("{calls} calls of STS instead of {expected}")));
        }
        // Nobody was asked for twice.
        live(&broker, keys.len() + roles.len() + 2)?;
        let row = |what, values| Row::alone(what, Unit::Microseconds, values, Target::Reported);
        Ok(vec![
            row("first answer for one of 1,000 served profiles, static keys", keys),
            row("the same, a role over a base that others share", roles),
        ])
    }

    fn resident(&self) -> io::Result<f64> {
        let broker = self.serve()?;
        let requests = (0..LIVE).map(|index| request(&named("role", index), broker.address, TOKEN)).collect();
        Load::new(broker.address, 1, requests)?.requests(1000)?;
        std::thread::sleep(SETTLED);
        live(&broker, LIVE)?;
        Ok(broker.resident()? as f64)
    }
}

/// All profiles are known, and this many have been asked for: so says the status.
fn live(broker: &Process, count: usize) -> io::Result<()> {
    let status = match ask(broker.address, &request("/status", broker.address, TOKEN))? {
        Some((200, body)) => serde_json::from_slice::<Value>(&body)?,
        other => return Err(io::Error::other(format!("no status: {:?}", other.map(|(status, _)| status)))),
    };
    let counts = [&status["profiles"]["known"], &status["profiles"]["live"]].map(Value::as_u64);
    if counts == [Some(SERVED as u64), Some(count as u64)] {
        return Ok(());
    }
    Err(io::Error::other(format!("not {SERVED} known and {count} live profiles: {counts:?}")))
}

fn named(kind: &str, index: usize) -> String {
    format!("/credentials/{kind}{index}")
}
