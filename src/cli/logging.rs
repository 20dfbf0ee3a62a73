//! Log format, log level and the subscriber that writes log lines to standard error.

use std::fmt;
use std::io::{self, IsTerminal};

use clap::ValueEnum;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::format::{Format, Full, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;

/// The format of log lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Parses `--log-level` or `RUST_LOG`: `info`, or `info,credenza=debug`.
///
/// tracing alone would take a misspelt level for the name of a target.
///
/// # Errors
/// The message says what to write, and does not show the text.
pub(crate) fn parse_log_level(text: &str) -> Result<Targets, String> {
    const WRONG: &str =
        "not a log level; write off, error, warn, info, debug, trace, or TARGET=LEVEL with commas between them";
    let is_level = |directive: &str| directive.contains('=') || directive.parse::<LevelFilter>().is_ok();
    if !text.split(',').map(str::trim).all(is_level) {
        return Err(WRONG.into());
    }
    text.parse().map_err(|_| WRONG.into())
}

/// Sends all log lines to standard error. `journal` selects the format that journald reads.
pub(crate) fn start(format: LogFormat, targets: Targets, journal: bool) {
    let registry = tracing_subscriber::registry().with(targets);
    let layer = tracing_subscriber::fmt::layer().with_writer(io::stderr);
    // A program that embeds the library may have set a subscriber already: that one stays.
    let _ = match format {
        LogFormat::Json => registry.with(layer.json().flatten_event(true).with_current_span(false)).try_init(),
        LogFormat::Text if journal => {
            let plain = Format::default().without_time().with_level(false).with_target(false).with_ansi(false);
            registry.with(layer.with_ansi(false).event_format(JournalFormat(plain))).try_init()
        }
        LogFormat::Text => registry.with(layer.with_target(false).with_ansi(io::stderr().is_terminal())).try_init(),
    };
}

/// Writes lines for journald: a syslog priority first, and no time, since journald adds it (see sd-daemon(3)).
struct JournalFormat(Format<Full, ()>);

impl<S, N> FormatEvent<S, N> for JournalFormat
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let priority = match *event.metadata().level() {
            Level::ERROR => 3,
            Level::WARN => 4,
            Level::INFO => 6,
            Level::DEBUG | Level::TRACE => 7,
        };
        write!(writer, "<{priority}>")?;
        self.0.format_event(context, writer, event)
    }
}
