//! Log format, log level and the subscriber that writes log lines to standard error.

use std::collections::BTreeSet;
use std::fmt;
use std::io;

use clap::ValueEnum;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::format::{Format, Full, Json, JsonFields, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::{LookupSpan, SpanRef};
use tracing_subscriber::util::SubscriberInitExt;

use crate::os::progress::Progress;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Parses `--log-level` or `RUST_LOG`: `info`, or `info,credenza=debug`.
///
/// The parser of tracing would accept a misspelt level as the name of a target.
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
pub(crate) fn start(format: LogFormat, targets: Targets, journal: bool, has_colours: bool, progress: Progress) {
    let registry = tracing_subscriber::registry().with(targets);
    // Ignore errors of standard error: the layer would report them there, and panic if the reader has closed the pipe.
    let writer = move || {
        progress.erase();
        io::stderr()
    };
    let layer = tracing_subscriber::fmt::layer().with_writer(writer).log_internal_errors(false);
    // Ignore an error: a program that embeds the library may have set a subscriber already.
    let _ = match format {
        LogFormat::Json => registry.with(layer.json().event_format(JsonLines::default())).try_init(),
        LogFormat::Text if journal => {
            let plain = Format::default().without_time().with_level(false).with_target(false).with_ansi(false);
            registry.with(layer.with_ansi(false).event_format(JournalFormat(plain))).try_init()
        }
        LogFormat::Text => registry.with(layer.with_target(false).with_ansi(has_colours)).try_init(),
    };
}

/// Lines in JSON: the fields of the event and those of its spans (`identity`, `source`) are all at the top level.
struct JsonLines(Format<Json>);

impl Default for JsonLines {
    fn default() -> Self {
        Self(Format::default().json().flatten_event(true).with_current_span(false).with_span_list(false))
    }
}

impl<S> FormatEvent<S, JsonFields> for JsonLines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, JsonFields>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut line = String::new();
        self.0.format_event(context, Writer::new(&mut line), event)?;
        let Some(object) = line.trim_end().strip_suffix('}') else { return writer.write_str(&line) };
        writer.write_str(object)?;
        // A field of the event takes precedence over fields of spans. Fields of inner spans take precedence over fields
        // of outer spans.
        let mut written: BTreeSet<String> = event.metadata().fields().iter().map(|field| field.name().into()).collect();
        for span in context.lookup_current().iter().flat_map(SpanRef::scope) {
            let extensions = span.extensions();
            let fields = extensions.get::<FormattedFields<JsonFields>>();
            let fields = fields.and_then(|fields| serde_json::from_str::<serde_json::Map<_, _>>(fields).ok());
            for (name, value) in fields.unwrap_or_default() {
                if !written.contains(&name) {
                    write!(writer, ",{}:{value}", serde_json::Value::from(&*name))?;
                    written.insert(name);
                }
            }
        }
        writer.write_str("}\n")
    }
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

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::tests::CapturedLog;

    /// Logs one event within the spans of a refresher and a source, and one outside of them.
    fn log(layer: impl FnOnce(CapturedLog) -> Box<dyn Subscriber + Send + Sync>) -> Vec<String> {
        let lines = CapturedLog::default();
        tracing::subscriber::with_default(layer(lines.clone()), || {
            let refresher = tracing::error_span!("refresher", identity = "a\"b", source = "outer");
            refresher.in_scope(|| {
                tracing::error_span!("source", source = "imds").in_scope(|| {
                    tracing::warn!(error = "down", "load failed");
                });
                tracing::info!(source = "own", "lease renewed");
            });
            tracing::info!("stopped");
        });
        lines.text().lines().map(ToOwned::to_owned).collect()
    }

    #[test]
    fn json_lines_have_identity_and_source_at_the_top() {
        let lines = log(|lines| {
            let layer = tracing_subscriber::fmt::layer().with_writer(Mutex::new(lines));
            Box::new(tracing_subscriber::registry().with(layer.json().event_format(JsonLines::default())))
        });
        let lines: Vec<serde_json::Value> = lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
        let fields = |line: usize| ["message", "identity", "source", "error"].map(|name| lines[line][name].as_str());
        assert_eq!(fields(0), [Some("load failed"), Some("a\"b"), Some("imds"), Some("down")]);
        assert_eq!(fields(1), [Some("lease renewed"), Some("a\"b"), Some("own"), None]);
        assert_eq!(fields(2), [Some("stopped"), None, None, None]);
        assert!(lines.iter().all(|line| line["level"].is_string() && line["timestamp"].is_string()));
    }

    #[test]
    fn journal_lines_have_priority_identity_and_source() {
        let lines = log(|lines| {
            let plain = Format::default().without_time().with_level(false).with_target(false).with_ansi(false);
            let layer = tracing_subscriber::fmt::layer().with_writer(Mutex::new(lines)).with_ansi(false);
            Box::new(tracing_subscriber::registry().with(layer.event_format(JournalFormat(plain))))
        });
        assert_eq!(
            lines[0],
            "<4>refresher{identity=\"a\\\"b\" source=\"outer\"}:source{source=\"imds\"}: load failed error=\"down\""
        );
        assert!(lines[2].starts_with("<6>stopped"), "{lines:?}");
    }
}
