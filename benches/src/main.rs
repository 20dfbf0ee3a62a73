//! Measures the broker beside a bare hyper server in the same run and prints a table; `make bench` starts it.

mod load;
mod process;
mod report;
mod rows;
mod scene;
mod stats;

use std::io;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::Duration;

use clap::Parser;
use report::{MB, Row, Target, Unit};
use rows::Setting;

/// Measures a credenza beside a bare hyper server.
#[derive(Parser)]
struct Arguments {
    /// The release binary to measure
    #[arg(long)]
    program: PathBuf,
    /// The bare server; it stands beside this program
    #[arg(long)]
    bare: Option<PathBuf>,
    /// The bare client; it stands beside this program
    #[arg(long)]
    ask: Option<PathBuf>,
    /// The AWS CLI to measure beside, version 2
    #[arg(long)]
    aws: Option<PathBuf>,
    /// A Python with the boto3 to measure beside
    #[arg(long)]
    python: Option<PathBuf>,
    /// Pairs of turns
    #[arg(long, default_value_t = 15)]
    rounds: usize,
    /// Length of a turn in milliseconds
    #[arg(long, default_value_t = 1000)]
    turn: u64,
    /// Share of the million requests, of the reloads and of the idle time
    #[arg(long, default_value_t = 1.0)]
    scale: f64,
    /// Keep the table in this file, between its marks
    #[arg(long)]
    write: Option<PathBuf>,
    /// Fail if a target is missed or a row cannot be measured
    #[arg(long)]
    hold: bool,
    /// Measure only this: load, instructions, identities, clients, connects, flood, memory, hostile, long, start, get, daemon, profiles, files, upstream, idle, size
    only: Vec<String>,
}

type Measure = fn(&Setting) -> io::Result<Vec<Row>>;

/// In the order of the table.
const SUBJECTS: [(&str, Measure); 17] = [
    ("load", rows::load::one_identity),
    ("instructions", rows::instructions::of_a_request),
    ("identities", rows::load::a_thousand_identities),
    ("clients", rows::clients::of_a_thousand),
    ("connects", rows::clients::users_of_connections),
    ("flood", rows::flood::by_others),
    ("memory", rows::memory::at_rest),
    ("hostile", rows::memory::with_hostile_file),
    ("long", rows::memory::after_long),
    ("start", rows::start::cold),
    ("get", rows::start::get),
    ("daemon", rows::start::get_from_daemon),
    ("profiles", rows::profiles::of_a_thousand),
    ("files", rows::files::changes),
    ("upstream", rows::files::hanging_upstream),
    ("idle", rows::idle::wake_ups),
    ("size", binary),
];

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> io::Result<()> {
    let beside = std::env::current_exe()?;
    let version = Command::new(&arguments.program).arg("--version").output()?;
    let machine = report::machine(String::from_utf8_lossy(&version.stdout).trim())?;
    let setting = Setting {
        program: arguments.program.canonicalize()?,
        bare: arguments.bare.unwrap_or_else(|| beside.with_file_name("bare")),
        ask: arguments.ask.unwrap_or_else(|| beside.with_file_name("ask")),
        flood: beside.with_file_name("flood"),
        // Not canonical: `python` is a link, and where it stands says which packages it has.
        aws: arguments.aws.map(std::path::absolute).transpose()?,
        python: arguments.python.map(std::path::absolute).transpose()?,
        rounds: arguments.rounds.max(1),
        turn: Duration::from_millis(arguments.turn.max(1)),
        scale: arguments.scale,
    };
    let mut rows = Vec::new();
    for (name, measure) in SUBJECTS {
        if arguments.only.is_empty() || arguments.only.iter().any(|only| only == name) {
            eprintln!("measuring: {name}");
            let failed = |error: io::Error| io::Error::new(error.kind(), format!("{name}: {error}"));
            rows.extend(measure(&setting).map_err(failed)?);
        }
    }
    let turns = format!("{} pairs of turns of {} ms.\n", setting.rounds, setting.turn.as_millis());
    let text = format!("{machine}{turns}\n{}", report::table(&rows));
    println!("{text}");
    if let Some(path) = arguments.write {
        report::keep(&path, &text)?;
    }
    if arguments.hold && !rows.iter().all(Row::holds) {
        return Err(io::Error::other("a target is missed or could not be measured: see the table"));
    }
    Ok(())
}

fn binary(setting: &Setting) -> io::Result<Vec<Row>> {
    let size = rows::size(&setting.program)?;
    Ok(vec![Row::alone("release binary", Unit::Megabytes, vec![size], Target::AtMost(10.0 * MB))])
}
