//! What the person sees.

use std::io::Write;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use crate::login::sso::session::SsoSession;
use crate::model::text::Escaped;

/// Back to the first column, and nothing of the line left.
const CLEAR: &str = "\r\x1b[K";

const TICK: Duration = Duration::from_secs(1);

pub(crate) struct LoginScreen<'a> {
    out: &'a mut dyn Write,
    is_terminal: bool,
    /// Whether a line stands there that has to go.
    moving: bool,
}

impl<'a> LoginScreen<'a> {
    pub(crate) fn new(out: &'a mut dyn Write, is_terminal: bool) -> Self {
        Self { out, is_terminal, moving: false }
    }

    pub(crate) fn ask(&mut self, session: &SsoSession, page: &str, code: &str) {
        let (page, code) = (Escaped(page), Escaped(code));
        self.line(&format!(
            "{session}: to log in, open this page, and agree only if it shows this code:\n\n  {page}\n  code {code}\n"
        ));
    }

    pub(crate) fn not_opened(&mut self, why: &str) {
        self.line(&format!("(no browser was opened here: {why})"));
    }

    /// Waits for a moment, and shows how long the code is good.
    pub(crate) async fn wait(&mut self, until: Instant, end: Instant) {
        let until = until.min(end);
        if !self.is_terminal {
            return sleep_until(until).await;
        }
        loop {
            let now = Instant::now();
            if now >= until {
                return;
            }
            let left = end.saturating_duration_since(now).as_secs();
            self.moving = true;
            self.write(&format!(
                "{CLEAR}waiting for the browser, {}:{:02} left (Ctrl-C gives up)",
                left / 60,
                left % 60
            ));
            sleep_until(until.min(now + TICK)).await;
        }
    }

    pub(crate) fn done(&mut self, what: &str) {
        self.line(what);
    }

    pub(crate) fn interrupted(&mut self) {
        self.line("given up; nothing has changed");
    }

    /// Takes the moving line away.
    pub(crate) fn clear(&mut self) {
        if std::mem::take(&mut self.moving) {
            self.write(CLEAR);
        }
    }

    fn line(&mut self, text: &str) {
        self.clear();
        self.write(&format!("{text}\n"));
    }

    /// A terminal that is gone is no reason not to log in.
    fn write(&mut self, text: &str) {
        let _ = self.out.write_all(text.as_bytes()).and_then(|()| self.out.flush());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session() -> SsoSession {
        let name = Some("work".into());
        SsoSession {
            name,
            start_url: "https://d".into(),
            region: "r".into(),
            region_location: None,
            scopes: Vec::new(),
        }
    }

    async fn shown(is_terminal: bool) -> String {
        let mut out = Vec::new();
        let mut screen = LoginScreen::new(&mut out, is_terminal);
        screen.ask(&session(), "https://d/\x1b[2J", "A-B");
        let end = Instant::now() + Duration::from_secs(600);
        screen.wait(Instant::now() + Duration::from_millis(1500), end).await;
        screen.done("done");
        String::from_utf8(out).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_line_moves_on_a_terminal_and_goes_at_the_end() {
        let asked = "SSO session work: to log in, open this page, and agree only if it shows this code:\n\n  \
                     https://d/\\u{1b}[2J\n  code A-B\n\n";
        assert_eq!(shown(false).await, format!("{asked}done\n"));
        let line = |left| format!("{CLEAR}waiting for the browser, {left} left (Ctrl-C gives up)");
        assert_eq!(shown(true).await, format!("{asked}{}{}{CLEAR}done\n", line("10:00"), line("9:59")));
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_beyond_the_end() {
        let mut nowhere = std::io::sink();
        let mut screen = LoginScreen::new(&mut nowhere, true);
        let began = Instant::now();
        screen.wait(began + Duration::from_secs(60), began + Duration::from_secs(2)).await;
        assert_eq!(began.elapsed(), Duration::from_secs(2));
    }
}
