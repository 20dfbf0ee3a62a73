//! `credenza status --watch`: updates the status until Ctrl-C.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use rustix::termios::tcgetwinsize;
use serde_json::Value;

use crate::cli::error::CommandError;
use crate::cli::terminal::text::width_of_painted;

/// The pause between two requests: the shown times have a resolution of one second.
const INTERVAL: Duration = Duration::from_secs(1);

/// Moves the cursor to the top left.
const HOME: &str = "\x1b[H";
/// Clears the rest of the line.
const CLEAR_LINE: &str = "\x1b[K";
/// Clears everything below the cursor.
const CLEAR_BELOW: &str = "\x1b[J";

/// Loads the status every second. A terminal shows the current status in place; another output gets each change.
///
/// The loop continues while no daemon answers, and ends when the reader closes the pipe.
///
/// # Errors
/// If the output cannot be written.
pub(crate) async fn watch(
    mut load: impl AsyncFnMut() -> Result<Value, CommandError>,
    show: impl Fn(Result<&Value, &CommandError>) -> String,
) -> Result<(), CommandError> {
    let terminal = io::stdout().is_terminal();
    let mut shown: Option<Value> = None;
    loop {
        let result = load().await;
        let text = show(result.as_ref());
        // Without a terminal, print nothing if only the time has changed.
        let status = result.map_or_else(|error| Value::from(error.to_string()), without_time);
        let written = if terminal {
            // Some terminals do not know their size and report 0: assume a usual size.
            let size = tcgetwinsize(io::stdout()).ok().filter(|size| size.ws_row > 1 && size.ws_col > 0);
            let (rows, columns) = size.map_or((24, 80), |size| (size.ws_row.into(), size.ws_col.into()));
            write(&screen(&text, rows, columns))
        } else if shown.as_ref() != Some(&status) {
            write(&text)
        } else {
            Ok(())
        };
        match written {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
            written => {
                written.map_err(|error| CommandError::new(format!("cannot write to standard output: {error}")))?;
            }
        }
        shown = Some(status);
        tokio::time::sleep(INTERVAL).await;
    }
}

fn without_time(mut document: Value) -> Value {
    if let Some(fields) = document.as_object_mut() {
        fields.remove("now");
    }
    document
}

/// Returns the text and control sequences that update a screen of this size without flicker.
///
/// If not all lines fit, the last line says how many are missing.
fn screen(text: &str, rows: usize, columns: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let height = |line: &&str| width_of_painted(line).div_ceil(columns).max(1);
    // Reserve two rows: the last for the cursor, and one for the line about missing lines.
    let fit_into = |rows: usize| {
        let mut left = rows;
        lines
            .iter()
            .map(height)
            .take_while(|height| left.checked_sub(*height).map(|less| left = less).is_some())
            .count()
    };
    let all = fit_into(rows - 1);
    let fits = if all == lines.len() { all } else { fit_into(rows - 2) };
    let mut screen = String::from(HOME);
    for line in &lines[..fits] {
        screen.push_str(line);
        screen.push_str(CLEAR_LINE);
        screen.push('\n');
    }
    if fits < lines.len() {
        screen.push_str(&format!("… {} more lines; enlarge the window{CLEAR_LINE}\n", lines.len() - fits));
    }
    screen + CLEAR_BELOW
}

fn write(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn screen_shows_the_lines_that_fit() {
        assert_eq!(screen("a\nb\n", 3, 80), "\x1b[Ha\x1b[K\nb\x1b[K\n\x1b[J");
        let long = screen("a\nb\nc\nd\n", 4, 80);
        assert_eq!(long, "\x1b[Ha\x1b[K\nb\x1b[K\n… 2 more lines; enlarge the window\x1b[K\n\x1b[J");
        assert_eq!(long.matches('\n').count(), 3, "the last row stays free for the cursor");
        let wide = screen("12345\nb\nc\n", 5, 4);
        assert_eq!(wide, "\x1b[H12345\x1b[K\nb\x1b[K\nc\x1b[K\n\x1b[J", "one line needs two rows, and all lines fit");
        assert!(screen("12345\nb\nc\n", 4, 4).contains("12345\x1b[K\n… 2 more lines"));
    }

    #[test]
    fn changed_time_alone_is_no_change() {
        let at = |now: u32| without_time(serde_json::json!({ "now": now, "identities": {} }));
        assert_eq!(at(1), at(2));
        assert_ne!(at(1), without_time(serde_json::json!({ "now": 1, "identities": { "a": {} } })));
    }
}
