//! `credenza status --watch`: the picture stays on the screen.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use rustix::termios::tcgetwinsize;
use serde_json::Value;

use crate::cli::command::CommandError;

/// How often the daemon is asked.
const EVERY: Duration = Duration::from_secs(1);

/// Cursor to the top left.
const HOME: &str = "\x1b[H";
/// Everything from the cursor to the end of its line goes.
const REST_OF_LINE: &str = "\x1b[K";
/// Everything below the cursor goes.
const REST_OF_SCREEN: &str = "\x1b[J";

/// Asks again and again and shows the answer: on a terminal in its place, elsewhere each time that it says something
/// new. It goes on while no daemon answers, and ends when nobody reads.
///
/// # Errors
/// When the output cannot be written.
pub(crate) async fn watch(
    mut ask: impl AsyncFnMut() -> Result<Value, CommandError>,
    show: impl Fn(Result<&Value, &CommandError>) -> String,
) -> Result<(), CommandError> {
    let terminal = io::stdout().is_terminal();
    let mut shown: Option<Value> = None;
    loop {
        let answer = ask().await;
        let text = show(answer.as_ref());
        // What only moves with the time is no news where it scrolls.
        let news = answer.map_or_else(|error| Value::from(error.to_string()), without_time);
        let written = if terminal {
            // Some terminals do not know their size and say 0.
            let size = tcgetwinsize(io::stdout()).ok().filter(|size| size.ws_row > 1 && size.ws_col > 0);
            let (rows, columns) = size.map_or((24, 80), |size| (size.ws_row.into(), size.ws_col.into()));
            write(&screen(&text, rows, columns))
        } else if shown.as_ref() != Some(&news) {
            write(&text)
        } else {
            Ok(())
        };
        match written {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
            written => {
                written.map_err(|error| CommandError::because(format!("cannot write to standard output: {error}")))?;
            }
        }
        shown = Some(news);
        tokio::time::sleep(EVERY).await;
    }
}

fn without_time(mut document: Value) -> Value {
    if let Some(fields) = document.as_object_mut() {
        fields.remove("now");
    }
    document
}

/// What brings a text onto a screen of this size without flicker: as much as fits, and how much did not.
fn screen(text: &str, rows: usize, columns: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let height = |line: &&str| line.chars().count().div_ceil(columns).max(1);
    // The last row is the cursor's; the one before it says how much is missing, when something is.
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
        screen.push_str(REST_OF_LINE);
        screen.push('\n');
    }
    if fits < lines.len() {
        screen.push_str(&format!("… {} more lines: make the window higher{REST_OF_LINE}\n", lines.len() - fits));
    }
    screen + REST_OF_SCREEN
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
    fn as_much_as_fits() {
        assert_eq!(screen("a\nb\n", 3, 80), "\x1b[Ha\x1b[K\nb\x1b[K\n\x1b[J");
        let long = screen("a\nb\nc\nd\n", 4, 80);
        assert_eq!(long, "\x1b[Ha\x1b[K\nb\x1b[K\n… 2 more lines: make the window higher\x1b[K\n\x1b[J");
        assert_eq!(long.matches('\n').count(), 3, "the last row stays free for the cursor");
        let wide = screen("12345\nb\nc\n", 5, 4);
        assert_eq!(wide, "\x1b[H12345\x1b[K\nb\x1b[K\nc\x1b[K\n\x1b[J", "a line that needs two rows, and all fits");
        assert!(screen("12345\nb\nc\n", 4, 4).contains("12345\x1b[K\n… 2 more lines"));
    }

    #[test]
    fn time_alone_is_no_news() {
        let at = |now: u32| without_time(serde_json::json!({ "now": now, "identities": {} }));
        assert_eq!(at(1), at(2));
        assert_ne!(at(1), without_time(serde_json::json!({ "now": 1, "identities": { "a": {} } })));
    }
}
