//! Files that change, and an upstream that hangs: how fast what is new arrives, and what those who ask meanwhile feel.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::Setting;
use super::load::disturbed;
use crate::load::{Load, request};
use crate::process::Process;
use crate::report::{Row, Target, Unit};
use crate::scene::{Scene, TOKEN, upstream};
use testkit::imds::Imds;
use testkit::server::Reply;

const MANY: usize = 10_000;

/// Longer than a change needs to settle, be read and be parsed.
const DONE: Duration = Duration::from_millis(800);

/// How far a p99 may be from that of the quiet turns: neighbours on the same cores move it this much by themselves.
const KEPT: f64 = 1.5;

pub fn changes(setting: &Setting) -> io::Result<Vec<Row>> {
    let few = Scene::new(&setting.program)?.with_profiles(1)?;
    let broker = few.serve(&[])?;
    let arrival = arrivals(setting, &few, 1, &broker)?;
    let many = Scene::new(&setting.program)?.with_profiles(MANY)?;
    let broker = many.serve(&[])?;
    let mut parsing = Vec::new();
    for round in 0..setting.rounds {
        let before = broker.cpu()?;
        many.write_profiles(MANY, &format!("C{round}"))?;
        std::thread::sleep(DONE);
        parsing.push((broker.cpu()? - before).as_secs_f64());
    }
    let arrival_of_many = arrivals(setting, &many, MANY, &broker)?;
    let p99 = while_rewritten(setting, &many, &broker)?;
    Ok(vec![
        Row::alone("10,000 profiles: CPU time of parse and reload", Unit::Milliseconds, parsing, Target::AtMost(0.1)),
        Row::pairs(
            "p99 while 10,000 profiles reload, beside quiet turns",
            Unit::Microseconds,
            p99,
            Target::RatioAtMost(KEPT),
        ),
        Row::alone("changed key to first response", Unit::Milliseconds, arrival, Target::AtMost(0.5)),
        Row::alone("the same among 10,000 profiles", Unit::Milliseconds, arrival_of_many, Target::AtMost(0.5)),
    ])
}

pub fn hanging_upstream(setting: &Setting) -> io::Result<Vec<Row>> {
    let imds = upstream()?;
    let scene = Scene::new(&setting.program)?;
    let endpoint = imds.endpoint();
    let broker = scene
        .serve(&[("AWS_EC2_METADATA_DISABLED", "false"), ("AWS_EC2_METADATA_SERVICE_ENDPOINT", endpoint.as_str())])?;
    let p99 = disturbed(setting, &broker, "/credentials", |hang| {
        let token = hang.then_some(Reply::Hang);
        imds.set(|state| state.token = token);
        imds.end_sessions();
        // Now it wants to load.
        broker.hang_up()
    })?;
    assert_hung(&imds)?;
    Ok(vec![Row::pairs(
        "p99 while the upstream hangs, beside quiet turns",
        Unit::Microseconds,
        p99,
        Target::RatioAtMost(KEPT),
    )])
}

fn assert_hung(imds: &Imds) -> io::Result<()> {
    let calls = imds.server().lines().iter().filter(|line| line.starts_with("PUT")).count();
    if calls > 1 { Ok(()) } else { Err(io::Error::other("nobody asked the upstream while it hung")) }
}

/// From the moment a new key stands in the file to the end of the first response that carries it.
fn arrivals(setting: &Setting, scene: &Scene, count: usize, broker: &Process) -> io::Result<Vec<f64>> {
    let mut load = Load::new(broker.address, 1, vec![request("/credentials", broker.address, TOKEN)])?;
    let mut arrivals = Vec::new();
    for round in 0..setting.rounds {
        let key = format!("A{round}");
        scene.write_profiles(count, &key)?;
        let written = Instant::now();
        let expected = format!("{key:0>8}\"");
        while !load.one()?.windows(expected.len()).any(|window| window == expected.as_bytes()) {
            if written.elapsed() > Duration::from_secs(20) {
                return Err(io::Error::other("the changed key does not arrive"));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        arrivals.push(written.elapsed().as_secs_f64());
    }
    Ok(arrivals)
}

fn while_rewritten(setting: &Setting, scene: &Scene, broker: &Process) -> io::Result<crate::stats::Pairs> {
    let (active, ended) = (Arc::new(AtomicBool::new(false)), AtomicBool::new(false));
    std::thread::scope(|threads| {
        let writing = threads.spawn(|| -> io::Result<()> {
            let texts = [Scene::profiles(MANY, "W1"), Scene::profiles(MANY, "W2")];
            for text in texts.iter().cycle() {
                std::thread::sleep(setting.turn / 3);
                if ended.load(Ordering::Relaxed) {
                    break;
                }
                if active.load(Ordering::Relaxed) {
                    scene.write(".aws/credentials", text)?;
                }
            }
            Ok(())
        });
        let measured = disturbed(setting, broker, "/credentials", |rewrite| {
            active.store(rewrite, Ordering::Relaxed);
            if !rewrite {
                std::thread::sleep(DONE);
            }
            Ok(())
        });
        ended.store(true, Ordering::Relaxed);
        writing.join().map_err(|_| io::Error::other("the writer panicked"))??;
        measured
    })
}
