//! Where log lines go and how they look.

use std::fmt;
use std::io::{self, IsTerminal};

use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::format::{Format, Full, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;

use crate::cli::args::log::LogFormat;

/// Sends all log lines to standard error; `journal` says that journald reads them there.
pub(crate) fn start(format: LogFormat, targets: Targets, journal: bool) {
    let registry = tracing_subscriber::registry().with(targets);
    let layer = tracing_subscriber::fmt::layer().with_writer(io::stderr);
    // Somebody who embeds the library may have a subscriber already: theirs stays.
    let _ = match format {
        LogFormat::Json => registry.with(layer.json().flatten_event(true).with_current_span(false)).try_init(),
        LogFormat::Text if journal => {
            let plain = Format::default().without_time().with_level(false).with_target(false).with_ansi(false);
            registry.with(layer.with_ansi(false).event_format(JournalFormat(plain))).try_init()
        }
        LogFormat::Text => registry.with(layer.with_target(false).with_ansi(io::stderr().is_terminal())).try_init(),
    };
}

/// Lines as journald reads them: a syslog priority in front, no time of their own (see sd-daemon(3)).
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
