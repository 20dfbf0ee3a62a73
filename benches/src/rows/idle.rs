//! What a broker does when nobody asks.

use std::io;
use std::time::{Duration, Instant};

use super::Setting;
use crate::report::{Row, Target, Unit};
use crate::scene::Scene;

/// By then the threads that read the files have gone.
const SETTLED: Duration = Duration::from_secs(12);

/// Longer than anything that happens regularly takes to come round.
const WATCHED: Duration = Duration::from_secs(35);

pub fn wake_ups(setting: &Setting) -> io::Result<Vec<Row>> {
    let (few, many) = (Scene::new(&setting.program)?, Scene::new(&setting.program)?);
    let (few, many) = (few.with_profiles(1)?, many.with_profiles(1001)?.with_identities(1000)?);
    let servers = [few.serve(&[])?, many.serve(&[])?];
    std::thread::sleep(SETTLED.mul_f64(setting.scale));
    let sleeps = || servers.iter().map(|server| Ok(server.sleeps()? as f64)).collect::<io::Result<Vec<f64>>>();
    let (before, began) = (sleeps()?, Instant::now());
    std::thread::sleep(WATCHED.mul_f64(setting.scale));
    let seconds = began.elapsed().as_secs_f64();
    let rates: Vec<f64> = sleeps()?.iter().zip(&before).map(|(after, before)| (after - before) / seconds).collect();
    let row = |what, rate| Row::alone(what, Unit::WakeUps, vec![rate], Target::AtMost(1.0));
    Ok(vec![row("wake-ups, idle, 1 identity", rates[0]), row("wake-ups, idle, 1,000 identities", rates[1])])
}
