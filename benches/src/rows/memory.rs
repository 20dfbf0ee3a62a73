//! Resident memory: at the start, and after a long time.

use std::io;
use std::time::Duration;

use super::Setting;
use crate::load::{Load, request};
use crate::process::Process;
use crate::report::{MB, Row, Target, Unit};
use crate::scene::{Scene, TOKEN, in_turn, upstream};
use crate::stats::Pairs;

pub(super) const STARTS: usize = 3;

/// What a start needed is given back by then.
pub(super) const SETTLED: Duration = Duration::from_secs(1);

/// What flat means: no more than this between half of the work and all of it. Before that the allocator is still finding
/// out how much it needs.
const FLAT: f64 = 1.05;

pub fn at_rest(setting: &Setting) -> io::Result<Vec<Row>> {
    let imds = upstream()?;
    let endpoint = imds.endpoint();
    let from_imds = [("AWS_EC2_METADATA_DISABLED", "false"), ("AWS_EC2_METADATA_SERVICE_ENDPOINT", endpoint.as_str())];
    let scene = || Scene::new(&setting.program);
    let default = |server: &Process| vec![request("/credentials", server.address, TOKEN)];
    let thousand = |server: &Process| in_turn(1000, server.address);
    let file = resident(&scene()?.with_profiles(1)?, &[], default)?;
    let metadata = resident(&scene()?, &from_imds, default)?;
    let identities = resident(&scene()?.with_profiles(1001)?.with_identities(1000)?, &[], thousand)?;
    let of_many = resident(&scene()?.with_profiles(10_000)?.with_identities(1000)?, &[], thousand)?;
    let row = |what, values, most| Row::alone(what, Unit::Megabytes, values, most);
    Ok(vec![
        row("resident memory, 1 identity from a file", file, Target::AtMost(6.0 * MB)),
        row("resident memory, 1 identity from IMDS", metadata, Target::AtMost(8.0 * MB)),
        row("resident memory, 1,000 identities", identities, Target::AtMost(16.0 * MB)),
        row("resident memory, 1,000 identities of 10,000 profiles", of_many, Target::Reported),
    ])
}

/// The maximum size of a shared file that the broker reads, in bytes.
const HOSTILE: usize = 1_000_000;

/// The memory that a shared file of another user may take: the peak with the file less the peak without it.
pub fn with_hostile_file(setting: &Setting) -> io::Result<Vec<Row>> {
    let peak = |foreign: &str| {
        let scene = Scene::new(&setting.program)?.with_profiles(1)?;
        scene.write("foreign", foreign)?;
        let config = "[identities.default]\nsources = [\"profile\"]\n\
             [identities.foreign]\nsources = [{ profile = \"x\", credentials_file = \"~/foreign\" }]\n";
        scene.write("credenza.toml", config)?;
        let server = scene.listen(&[])?;
        // Whatever it says, it is an answer.
        crate::load::ask(server.address, &request("/credentials/foreign", server.address, TOKEN))?;
        std::thread::sleep(SETTLED);
        Ok::<_, io::Error>(server.peak()? as f64)
    };
    let without = peak("")?;
    // What one line can cost the parser: a section, a property, a sub-property, a longer value, a warning, nothing.
    let lines: [fn(usize) -> String; 7] = [
        |number| format!("[{number:x}]\n"),
        |number| format!("[{number:x}]\na=\n"),
        |number| format!("{number:x}=\n"),
        |number| format!("{}{number:x}=\n", if number == 0 { "a=\n " } else { " " }),
        |number| if number == 0 { "a=b\n".into() } else { " b\n".into() },
        |number| format!("{number:x}!=\n"),
        |_| "x".repeat(1000),
    ];
    let mut added = 0_f64;
    for line in lines {
        let mut text = String::from("[x]\n");
        for next in (0..).map(line) {
            if text.len() + next.len() > HOSTILE {
                break;
            }
            text.push_str(&next);
        }
        added = added.max(peak(&text)? - without);
    }
    let what = "resident memory that the worst 1 MB shared file adds, peak";
    Ok(vec![Row::alone(what, Unit::Megabytes, vec![added], Target::AtMost(16.0 * MB))])
}

/// Several starts; each identity has been asked for.
pub(super) fn resident(
    scene: &Scene,
    variables: &[(&str, &str)],
    requests: impl Fn(&Process) -> Vec<Vec<u8>>,
) -> io::Result<Vec<f64>> {
    let one = || {
        let server = scene.serve(variables)?;
        let mut load = Load::new(server.address, 1, requests(&server))?;
        load.requests(1000)?;
        std::thread::sleep(SETTLED);
        Ok(server.resident()? as f64)
    };
    (0..STARTS).map(|_| one()).collect()
}

pub fn after_long(setting: &Setting) -> io::Result<Vec<Row>> {
    let scene = Scene::new(&setting.program)?.with_profiles(100)?;
    let server = scene.serve(&[])?;
    let mut load = Load::new(server.address, 32, vec![request("/credentials", server.address, TOKEN)])?;
    let million = setting.scaled(1_000_000);
    load.requests(million / 2)?;
    let before = server.resident()? as f64;
    load.requests(million - million / 2)?;
    let requests = (server.resident()? as f64, before);

    let mut server = scene.serve(&[])?;
    let mut reload = |number: u64| {
        scene.write_profiles(100, &format!("R{number}"))?;
        server.hang_up()?;
        server.wait_for_lines(1, |line| line.contains("lease renewed"))?;
        Ok::<_, io::Error>(server.resident()? as f64)
    };
    let reloads = setting.scaled(10_000);
    let (mut before, mut after) = (0.0, 0.0);
    for number in 1..=reloads {
        let resident = reload(number)?;
        if number <= reloads.div_ceil(2) {
            before = resident;
        }
        after = resident;
    }
    let row = |what: String, (after, before)| {
        let pairs = Pairs::of(&[(after, before)], |resident| *resident);
        Row::pairs(what, Unit::Megabytes, pairs, Target::RatioAtMost(FLAT))
    };
    Ok(vec![
        row(format!("resident memory after {} requests, beside half of them", written(million)), requests),
        row(
            format!("resident memory after {} reloads of a changed file, beside half of them", written(reloads)),
            (after, before),
        ),
    ])
}

/// With commas.
fn written(number: u64) -> String {
    match number {
        0..1000 => number.to_string(),
        _ => format!("{},{:03}", written(number / 1000), number % 1000),
    }
}
