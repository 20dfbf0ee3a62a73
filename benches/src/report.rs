//! The table, and the file that keeps it.

use std::fmt::Write as _;
use std::path::Path;
use std::{fs, io};

use time::OffsetDateTime;
use time::format_description::well_known::Iso8601;

use crate::stats::{Pairs, Sample};

const BEGIN: &str = "<!-- measured: begin -->";
const END: &str = "<!-- measured: end -->";

const MISSED: &str = "**missed**";
const NOT_MEASURED: &str = "**not measured**";

/// As the kernel counts it.
pub const MB: f64 = 1_048_576.0;

/// How a number is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// From seconds.
    Microseconds,
    /// From seconds.
    Milliseconds,
    /// From bytes.
    Megabytes,
    Requests,
    WakeUps,
    Instructions,
}

/// What has to be reached.
#[derive(Clone, Copy, Debug)]
pub enum Target {
    /// The median of the first column.
    AtMost(f64),
    /// The median of the ratios.
    RatioAtMost(f64),
    RatioAtLeast(f64),
    /// It is said beside the other, and that is all.
    Reported,
}

/// One line of the table.
#[derive(Clone, Debug)]
pub struct Row {
    what: String,
    unit: Unit,
    value: Sample,
    beside: Option<Sample>,
    ratios: Option<Sample>,
    /// What should have been measured beside it, and was not there.
    missing: Option<String>,
    target: Target,
}

impl Row {
    /// A measurement by itself.
    pub fn alone(what: impl Into<String>, unit: Unit, values: Vec<f64>, target: Target) -> Self {
        Self { what: what.into(), unit, value: Sample::new(values), beside: None, ratios: None, missing: None, target }
    }

    /// A measurement in turn with another.
    pub fn pairs(what: impl Into<String>, unit: Unit, pairs: Pairs, target: Target) -> Self {
        let Pairs { first, second, ratios } = pairs;
        Self {
            what: what.into(),
            unit,
            value: first,
            beside: Some(second),
            ratios: Some(ratios),
            missing: None,
            target,
        }
    }

    /// A measurement that lacks the other one.
    pub fn without(what: impl Into<String>, unit: Unit, values: Vec<f64>, missing: String) -> Self {
        Self { missing: Some(missing), ..Self::alone(what, unit, values, Target::Reported) }
    }

    /// Returns true if the row was measured and meets its target.
    pub fn holds(&self) -> bool {
        !matches!(self.verdict(), NOT_MEASURED | MISSED)
    }

    fn verdict(&self) -> &'static str {
        if self.missing.is_some() {
            return NOT_MEASURED;
        }
        let ratio = self.ratios.as_ref().map_or(f64::NAN, Sample::median);
        let reached = match self.target {
            Target::AtMost(most) => self.value.median() <= most,
            Target::RatioAtMost(most) => ratio <= most,
            Target::RatioAtLeast(least) => ratio >= least,
            Target::Reported => return "",
        };
        if reached { "reached" } else { MISSED }
    }

    fn cells(&self) -> [String; 6] {
        let target = match self.target {
            Target::AtMost(most) => format!("≤ {}", self.unit.write(most)),
            Target::RatioAtMost(most) => format!("≤ {most:.2} ×"),
            Target::RatioAtLeast(least) => format!("≥ {least:.2} ×"),
            Target::Reported => "reported".into(),
        };
        [
            self.what.clone(),
            match self.ratios {
                // The spread of these is that of the machine's load: the ratios' says more.
                Some(_) => self.unit.write(self.value.median()),
                None => spread(&self.value, |value| self.unit.write(value)),
            },
            match (&self.beside, &self.missing) {
                (Some(beside), _) => self.unit.write(beside.median()),
                (None, Some(missing)) => format!("**no {missing}**"),
                (None, None) => String::new(),
            },
            self.ratios.as_ref().map_or_else(String::new, |ratios| spread(ratios, |ratio| format!("{ratio:.3}"))),
            target,
            self.verdict().into(),
        ]
    }
}

/// The median, and the quartiles around it.
fn spread(sample: &Sample, write: impl Fn(f64) -> String) -> String {
    if sample.count() < 2 {
        return write(sample.median());
    }
    format!("{} ({} … {})", write(sample.median()), write(sample.quantile(0.25)), write(sample.quantile(0.75)))
}

impl Unit {
    fn write(self, value: f64) -> String {
        match self {
            Self::Microseconds => format!("{:.1} µs", value * 1e6),
            Self::Milliseconds => format!("{:.1} ms", value * 1e3),
            Self::Megabytes => format!("{:.2} MB", value / MB),
            Self::Requests => format!("{value:.0}/s"),
            Self::WakeUps => format!("{value:.2}/s"),
            Self::Instructions => format!("{value:.2}"),
        }
    }
}

/// The table in Markdown, which people can read too.
pub fn table(rows: &[Row]) -> String {
    let head = ["what", "Credenza", "beside", "ratio", "target", "verdict"].map(String::from);
    let cells: Vec<[String; 6]> = rows.iter().map(Row::cells).collect();
    let width = |column: usize| {
        let cells = cells.iter().chain([&head]).map(|row| row[column].chars().count());
        cells.max().unwrap_or(0)
    };
    let widths: [usize; 6] = std::array::from_fn(width);
    let mut text = String::new();
    let mut line = |row: &[String; 6]| {
        for (cell, width) in row.iter().zip(widths) {
            let _ = write!(text, "| {cell:width$} ");
        }
        text.push_str("|\n");
    };
    line(&head);
    line(&widths.map(|width| "-".repeat(width)));
    cells.iter().for_each(line);
    text
}

/// The machine, the programs, the load.
pub fn machine(program: &str) -> io::Result<String> {
    let model = fs::read_to_string("/proc/cpuinfo")?;
    let model = model.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": ")).map(|(_, name)| name);
    let memory = fs::read_to_string("/proc/meminfo")?;
    let memory = memory.lines().find_map(|line| line.strip_prefix("MemTotal:")?.trim().split(' ').next()?.parse().ok());
    let load = fs::read_to_string("/proc/loadavg")?;
    let load = load.split(' ').next().unwrap_or("?").to_owned();
    let kernel = rustix::system::uname();
    let today = OffsetDateTime::now_utc().date().format(&Iso8601::DATE).map_err(io::Error::other)?;
    Ok(format!(
        "{today}, {program}; {} × {}, {:.0} GB of memory, {} {} {}; load average before it began: {load}.\n",
        std::thread::available_parallelism()?,
        model.unwrap_or("a processor without a name").trim(),
        memory.unwrap_or(0.0) / MB,
        kernel.sysname().to_string_lossy(),
        kernel.release().to_string_lossy().split('-').next().unwrap_or_default(),
        kernel.machine().to_string_lossy(),
    ))
}

/// Puts the text between the two marks of a file.
pub fn keep(path: &Path, text: &str) -> io::Result<()> {
    let before = fs::read_to_string(path)?;
    let between = || {
        let (head, rest) = before.split_once(BEGIN)?;
        let (_, tail) = rest.split_once(END)?;
        Some(format!("{head}{BEGIN}\n{text}{END}{tail}"))
    };
    let after =
        between().ok_or_else(|| io::Error::other(format!("{}: {BEGIN} or {END} is missing", path.display())))?;
    fs::write(path, after)
}
