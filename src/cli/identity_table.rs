//! Identities as a table that fits into a terminal: one line each, failures first.

use std::time::Duration;

use crate::cli::terminal::text::{first_words, padded, width, wrap};
use crate::cli::terminal::{Screen, Tone};

/// The number of cells of the bar for the time left.
const BAR_CELLS: usize = 6;

/// The minimum width of the column of names, in columns. Longer names stand on a line of their own if space is short.
const MIN_NAME_WIDTH: usize = 16;

/// The minimum width for the reason of a failure beside its identity. With less, it stands on the next line.
const MIN_REASON_WIDTH: usize = 24;

const GAP: &str = "  ";

/// One identity. All text is escaped.
#[derive(Clone, Debug, Default)]
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) state: String,
    pub(crate) rank: Rank,
    /// The time until the credentials expire.
    pub(crate) expires: String,
    /// The part of the lifetime that is left, from 0 to 1.
    pub(crate) left: Option<f64>,
    pub(crate) key: String,
    /// The time until the next refresh.
    pub(crate) refresh: String,
    pub(crate) source: String,
    /// The problem, in place of key, refresh and source.
    pub(crate) problem: Option<Problem>,
}

/// The order of the rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Rank {
    /// There are no credentials.
    Failing,
    /// There are credentials, and a person should look at them.
    Attention,
    #[default]
    Available,
    /// No client has needed credentials yet.
    Unused,
}

impl Rank {
    fn tone(self) -> Tone {
        match self {
            Self::Failing => Tone::Bad,
            Self::Attention => Tone::Warning,
            Self::Available => Tone::Good,
            Self::Unused => Tone::Faint,
        }
    }
}

/// A problem in a few words. A command is never shortened.
#[derive(Clone, Debug)]
pub(crate) struct Problem {
    pub(crate) text: String,
    pub(crate) is_command: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Column {
    Name,
    State,
    Expires,
    Key,
    Refresh,
    Source,
}

use Column::{Expires, Key, Name, Refresh, Source, State};

/// The columns in order of preference, and if there is a bar. The first layout that fits is used.
const LAYOUTS: [(&[Column], bool); 7] = [
    (&[Name, State, Expires, Key, Refresh, Source], true),
    (&[Name, State, Expires, Key, Refresh, Source], false),
    (&[Name, State, Expires, Key, Source], false),
    (&[Name, State, Expires, Refresh, Source], false),
    (&[Name, State, Expires, Source], false),
    (&[Name, State, Expires], false),
    (&[Name, State], false),
];

impl Row {
    /// Returns true if the identity has credentials.
    pub(crate) fn is_available(&self) -> bool {
        matches!(self.rank, Rank::Attention | Rank::Available)
    }

    /// Returns true if a person should look at it.
    pub(crate) fn needs_attention(&self) -> bool {
        self.rank < Rank::Available
    }

    fn cell(&self, column: Column, has_bar: bool) -> String {
        match column {
            Name => self.name.clone(),
            State => self.state.clone(),
            Expires if has_bar && self.left.is_some() => {
                format!("{} {}", bar(self.left.unwrap_or_default()), self.expires)
            }
            Expires if has_bar && !self.expires.is_empty() => {
                format!("{}{}", " ".repeat(BAR_CELLS + 1), self.expires)
            }
            Expires => self.expires.clone(),
            Key => self.key.clone(),
            Refresh => self.refresh.clone(),
            Source => self.source.clone(),
        }
    }
}

/// Formats a duration in its two largest units, as short as possible: `2h 57m`.
pub(crate) fn short_time(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, minutes) => format!("{minutes}m"),
        (0, hours, minutes) => format!("{hours}h {minutes}m"),
        (days, hours, _) => format!("{days}d {hours}h"),
    }
}

fn bar(left: f64) -> String {
    let full = (1..=BAR_CELLS).filter(|cell| left * BAR_CELLS as f64 + 0.5 >= *cell as f64).count();
    format!("{}{}", "█".repeat(full), "░".repeat(BAR_CELLS - full))
}

/// Renders the rows, failures first. Sorts them.
pub(crate) fn render(rows: &mut [Row], screen: Screen) -> String {
    rows.sort_by_key(|row| row.rank);
    let Some((columns, has_bar)) = layout(rows, screen.width) else { return stacked(rows, screen) };
    let columns: Vec<Column> = columns.iter().copied().filter(|column| is_used(rows, *column)).collect();
    let widths: Vec<usize> = columns.iter().map(|column| column_width(rows, *column, has_bar, screen.width)).collect();
    let mut text = String::new();
    let header = columns.iter().zip(&widths).map(|(column, width)| padded(title(*column), *width));
    text += &format!("{}\n", screen.paint(Tone::Faint, header.collect::<Vec<_>>().join(GAP).trim_end()));
    for row in rows {
        write_row(&mut text, row, &columns, &widths, has_bar, screen);
    }
    text
}

fn write_row(text: &mut String, row: &Row, columns: &[Column], widths: &[usize], has_bar: bool, screen: Screen) {
    let mut name = row.name.clone();
    if width(&name) > widths[0] {
        for line in wrap(&name, screen.width.unwrap_or(usize::MAX)) {
            *text += &format!("{line}\n");
        }
        name = String::new();
    }
    let (mut line, mut used) = (String::new(), 0);
    for (column, columns_of) in columns.iter().zip(widths) {
        let is_before = matches!(column, Name | State) || *column == Expires && !row.expires.is_empty();
        if row.problem.is_some() && !is_before {
            break;
        }
        let cell = match column {
            Name => name.clone(),
            Source => {
                let left = screen.width.map_or(usize::MAX, |width| width.saturating_sub(used));
                first_words(&row.source, left).unwrap_or_default()
            }
            other => row.cell(*other, has_bar),
        };
        let tone = match column {
            State => row.rank.tone(),
            Expires if row.needs_attention() => row.rank.tone(),
            Name | Source | Expires | Key | Refresh => Tone::Plain,
        };
        let padding = " ".repeat(columns_of.saturating_sub(width(&cell)));
        line += &format!("{}{padding}{GAP}", screen.paint(tone, &cell));
        used += columns_of.max(&width(&cell)) + GAP.len();
    }
    let Some(problem) = &row.problem else {
        *text += &format!("{}\n", line.trim_end());
        return;
    };
    let left = screen.width.map_or(usize::MAX, |width| width.saturating_sub(used));
    let beside = match problem.is_command {
        true => Some(problem.text.clone()).filter(|text| width(text) <= left),
        false => first_words(&problem.text, left).filter(|_| left >= MIN_REASON_WIDTH),
    };
    match (beside, screen.width) {
        (Some(beside), _) => *text += &format!("{line}{beside}\n"),
        (None, columns) => {
            *text += &format!("{}\n", line.trim_end());
            let columns = columns.unwrap_or(usize::MAX).saturating_sub(2);
            let lines = match problem.is_command {
                true => wrap(&problem.text, columns),
                false => vec![first_words(&problem.text, columns).unwrap_or_default()],
            };
            for line in lines {
                *text += &format!("  {line}\n");
            }
        }
    }
}

/// Returns the first layout that fits. `None` if none does.
fn layout(rows: &[Row], columns: Option<usize>) -> Option<(&'static [Column], bool)> {
    let Some(available) = columns else { return Some(LAYOUTS[1]) };
    LAYOUTS.into_iter().find(|(layout, has_bar)| {
        let fixed = layout.iter().filter(|column| **column != Source);
        let used: usize = fixed.map(|column| column_width(rows, *column, *has_bar, columns) + GAP.len()).sum();
        let needed = match layout.contains(&Source) {
            true => used + min_source_width(rows),
            false => used.saturating_sub(GAP.len()),
        };
        needed <= available
    })
}

/// Returns the width of the widest source, of which at least the first word is shown.
fn min_source_width(rows: &[Row]) -> usize {
    let first = |row: &Row| match row.source.split_once(' ') {
        Some((first, _)) => (width(first) + 2).min(width(&row.source)),
        None => width(&row.source),
    };
    let shown = rows.iter().filter(|row| row.problem.is_none());
    shown.map(first).chain([width(title(Source))]).max().unwrap_or_default()
}

fn column_width(rows: &[Row], column: Column, has_bar: bool, columns: Option<usize>) -> usize {
    let shown = rows.iter().filter(|row| row.problem.is_none() || matches!(column, Name | State | Expires));
    let widest = shown.map(|row| width(&row.cell(column, has_bar))).chain([width(title(column))]).max();
    let widest = widest.unwrap_or_default();
    if !is_used(rows, column) {
        return 0;
    }
    match (column, columns) {
        (Source, _) => 0,
        (Name, Some(columns)) => widest.min(MIN_NAME_WIDTH.max(columns / 4)),
        _ => widest,
    }
}

/// Returns true if a row shows something in this column.
fn is_used(rows: &[Row], column: Column) -> bool {
    let is_beside = |row: &&Row| row.problem.is_none() || matches!(column, Name | State | Expires);
    rows.iter().filter(is_beside).any(|row| !row.cell(column, false).is_empty())
}

fn title(column: Column) -> &'static str {
    match column {
        Name => "IDENTITY",
        State => "STATE",
        Expires => "EXPIRES",
        Key => "KEY",
        Refresh => "REFRESH",
        Source => "SOURCE",
    }
}

/// Renders the rows for a terminal that is too narrow for columns.
fn stacked(rows: &[Row], screen: Screen) -> String {
    let columns = screen.width.unwrap_or(usize::MAX);
    let mut text = String::new();
    for row in rows {
        for line in wrap(&row.name, columns) {
            text += &format!("{line}\n");
        }
        let problem = row.problem.as_ref().map(|problem| problem.text.as_str());
        for part in
            [Some(&*row.state), Some(&*row.expires).filter(|part| !part.is_empty()), problem].into_iter().flatten()
        {
            for line in wrap(part, columns.saturating_sub(2)) {
                text += &format!("  {}\n", screen.paint(row.rank.tone(), &line));
            }
        }
    }
    text
}
