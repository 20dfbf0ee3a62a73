//! The output of a login: instructions and a countdown.

use std::io::Write;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use crate::login::sso::session::SsoSession;
use crate::model::text::Escaped;

/// Moves the cursor to the first column and clears the line.
const CLEAR: &str = "\r\x1b[K";

const TICK: Duration = Duration::from_secs(1);

pub(crate) struct LoginScreen<'a> {
    out: &'a mut dyn Write,
    is_terminal: bool,
    has_countdown: bool,
}

impl<'a> LoginScreen<'a> {
    pub(crate) fn new(out: &'a mut dyn Write, is_terminal: bool) -> Self {
        Self { out, is_terminal, has_countdown: false }
    }

    pub(crate) fn show_code(&mut self, session: &SsoSession, page: &str, code: &str) {
        let (page, code) = (Escaped(page), Escaped(code));
        self.line(&format!(
            "{session}: to log in, open this page, and agree only if it shows this code:\n\n  {page}\n  code {code}\n"
        ));
    }

    pub(crate) fn browser_not_opened(&mut self, reason: &str) {
        self.line(&format!("(no browser was opened here: {reason})"));
    }

    /// Waits until a time or the end of the code. Shows the remaining life of the code.
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
            self.has_countdown = true;
            self.write(&format!(
                "{CLEAR}waiting for the browser, {}:{:02} left (Ctrl-C cancels)",
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
        self.line("login cancelled; nothing has changed");
    }

    pub(crate) fn clear(&mut self) {
        if std::mem::take(&mut self.has_countdown) {
            self.write(CLEAR);
        }
    }

    fn line(&mut self, text: &str) {
        self.clear();
        self.write(&format!("{text}\n"));
    }

    /// Writes, and ignores errors: a login can succeed after the terminal is closed.
    fn write(&mut self, text: &str) {
        let _ = self.out.write_all(text.as_bytes()).and_then(|()| self.out.flush());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn shown(is_terminal: bool) -> String {
        let mut out = Vec::new();
        let mut screen = LoginScreen::new(&mut out, is_terminal);
        screen.show_code(&SsoSession::new("work", "https://d", "r"), "https://d/\x1b[2J", "A-B");
        let end = Instant::now() + Duration::from_secs(600);
        screen.wait(Instant::now() + Duration::from_millis(1500), end).await;
        screen.done("done");
        String::from_utf8(out).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn terminal_shows_a_countdown_and_removes_it() {
        let instructions = "SSO session work: to log in, open this page, and agree only if it shows this code:\n\n  \
                     https://d/\\u{1b}[2J\n  code A-B\n\n";
        assert_eq!(shown(false).await, format!("{instructions}done\n"));
        let line = |left| format!("{CLEAR}waiting for the browser, {left} left (Ctrl-C cancels)");
        assert_eq!(shown(true).await, format!("{instructions}{}{}{CLEAR}done\n", line("10:00"), line("9:59")));
    }

    #[tokio::test(start_paused = true)]
    async fn waits_no_longer_than_the_code_lives() {
        let mut nowhere = std::io::sink();
        let mut screen = LoginScreen::new(&mut nowhere, true);
        let began = Instant::now();
        screen.wait(began + Duration::from_secs(60), began + Duration::from_secs(2)).await;
        assert_eq!(began.elapsed(), Duration::from_secs(2));
    }
}
