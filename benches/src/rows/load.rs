//! Requests: what one costs, how many there can be, how long each takes.

use std::io;
use std::time::Duration;

use super::Setting;
use crate::load::{Load, Pause, Turn, request};
use crate::process::Process;
use crate::report::{Row, Target, Unit};
use crate::scene::{Scene, TOKEN, in_turn as asking};
use crate::stats::{Pairs, in_turn, percentile};

/// As many as busy hosts have.
pub(super) const CONNECTIONS: usize = 32;

/// A turn of one server.
pub(super) struct Measured {
    turn: Turn,
    cpu: Duration,
}

impl Measured {
    fn cpu_of_one(&self) -> f64 {
        self.cpu.as_secs_f64() / self.turn.requests as f64
    }

    pub(super) fn throughput(&self) -> f64 {
        self.turn.requests as f64 / self.turn.took.as_secs_f64()
    }
}

pub(super) fn measure(server: &Process, load: &mut Load, lasting: Duration) -> io::Result<Measured> {
    let before = server.cpu()?;
    let turn = load.without_pauses(lasting)?;
    Ok(Measured { turn, cpu: server.cpu()? - before })
}

/// One identity from a file beside the bare server.
pub fn one_identity(setting: &Setting) -> io::Result<Vec<Row>> {
    let scene = Scene::new(&setting.program)?.with_profiles(1)?;
    let broker = scene.serve(&[])?;
    let bare = setting.beside(&broker, "/credentials")?;
    let load = |server: &Process, count| {
        Load::new(server.address, count, vec![request("/credentials", server.address, TOKEN)])
    };
    let (mut ours, mut theirs) = (load(&broker, CONNECTIONS)?, load(&bare, CONNECTIONS)?);
    let warm = setting.turn / 4;
    measure(&broker, &mut ours, warm)?;
    measure(&bare, &mut theirs, warm)?;
    let turns = in_turn(
        setting.rounds,
        || measure(&broker, &mut ours, setting.turn),
        || measure(&bare, &mut theirs, setting.turn),
    )?;
    let throughput = Pairs::of(&turns, Measured::throughput);
    let half = throughput.second.median() / 2.0;
    let awake = |load: &mut Load| Ok(percentile(&load.paced(half, setting.turn, Pause::Awake)?, 0.99));
    let at_half = in_turn(setting.rounds, || awake(&mut ours), || awake(&mut theirs))?;
    let (mut one, mut other) = (load(&broker, 1)?, load(&bare, 1)?);
    let pausing = |load: &mut Load| Ok(percentile(&load.paced(500.0, setting.turn, Pause::Asleep)?, 0.5));
    let with_pauses = in_turn(setting.rounds, || pausing(&mut one), || pausing(&mut other))?;
    Ok(vec![
        Row::pairs(
            "CPU time of a request, 32 connections",
            Unit::Microseconds,
            Pairs::of(&turns, Measured::cpu_of_one),
            Target::RatioAtMost(1.15),
        ),
        Row::pairs("throughput of the same", Unit::Requests, throughput, Target::RatioAtLeast(0.90)),
        Row::pairs(
            "p50 at one connection with pauses",
            Unit::Microseconds,
            Pairs::of(&with_pauses, |p50| *p50),
            Target::Reported,
        ),
        Row::pairs("p99 at half load", Unit::Microseconds, Pairs::of(&at_half, |p99| *p99), Target::Reported),
    ])
}

/// A thousand identities, asked in turn on every connection.
pub fn a_thousand_identities(setting: &Setting) -> io::Result<Vec<Row>> {
    let scene = Scene::new(&setting.program)?.with_profiles(1001)?.with_identities(1000)?;
    let broker = scene.serve(&[])?;
    let bare = setting.beside(&broker, "/credentials/p0")?;
    let load = |server: &Process| Load::new(server.address, CONNECTIONS, asking(1000, server.address));
    let (mut ours, mut theirs) = (load(&broker)?, load(&bare)?);
    let turns = in_turn(
        setting.rounds,
        || measure(&broker, &mut ours, setting.turn),
        || measure(&bare, &mut theirs, setting.turn),
    )?;
    Ok(vec![
        Row::pairs(
            "CPU time of a request, 1,000 identities in turn",
            Unit::Microseconds,
            Pairs::of(&turns, Measured::cpu_of_one),
            Target::Reported,
        ),
        Row::pairs("throughput of the same", Unit::Requests, Pairs::of(&turns, Measured::throughput), Target::Reported),
    ])
}

/// The p99 of a load with pauses, quiet turns beside disturbed ones: while the disturbance runs, and while it does not.
pub fn disturbed(
    setting: &Setting,
    broker: &Process,
    target: &str,
    mut disturb: impl FnMut(bool) -> io::Result<()>,
) -> io::Result<Pairs> {
    let mut load = Load::new(broker.address, 8, vec![request(target, broker.address, TOKEN)])?;
    let mut pairs = Vec::new();
    for _ in 0..setting.rounds {
        let mut turn = |disturbed| {
            disturb(disturbed)?;
            Ok::<_, io::Error>(percentile(&load.paced(1000.0, setting.turn, Pause::Asleep)?, 0.99))
        };
        let quiet = turn(false)?;
        pairs.push((turn(true)?, quiet));
    }
    disturb(false)?;
    Ok(Pairs::of(&pairs, |p99| *p99))
}
